"""One PostgreSQL server for all tests here, a schema for each; the fixtures of tests/feed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.feed.conftest import exchange, make_feed

from .postgres_server import PostgresServer, running_server

__all__ = ["cluster", "exchange", "make_feed", "schema", "server"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[PostgresServer]:
    """The server, made once, for the first test that needs it."""
    yield from running_server()


@pytest.fixture
def server(cluster: PostgresServer) -> PostgresServer:
    """The server, running, whatever state another test left it in."""
    cluster.start()
    return cluster


@pytest.fixture
def schema(request: pytest.FixtureRequest) -> str:
    """The name of the test's own schema."""
    return re.sub(r"\W", "_", request.node.name).lower()[:60]
