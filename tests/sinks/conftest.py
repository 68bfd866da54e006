"""One PostgreSQL server for all tests of this folder (each has a schema of its own); the exchange and feeds
of tests/feed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.feed.conftest import exchange, make_feed

from .postgres_server import PostgresServer, running_server

__all__ = ["cluster", "exchange", "make_feed", "schema", "server"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[PostgresServer]:
    """Made once, at the first test that wants it."""
    yield from running_server()


@pytest.fixture
def server(cluster: PostgresServer) -> PostgresServer:
    """Running, whatever another test has left behind."""
    cluster.start()
    return cluster


@pytest.fixture
def schema(request: pytest.FixtureRequest) -> str:
    """The test's own."""
    return re.sub(r"\W", "_", request.node.name).lower()[:60]
