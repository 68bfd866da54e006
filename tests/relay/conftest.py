"""Redis servers for the tests of the relay; the fixtures of tests/feed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.toxic_proxy import ToxicProxy
from tests.feed.conftest import exchange, feed, make_feed

from .consumers import make_consumer, make_relay, relay
from .redis_server import Cluster, RedisServer

__all__ = ["exchange", "feed", "make_consumer", "make_feed", "make_relay", "relay"]  # fixtures


@pytest.fixture
def make_redis() -> Iterator[Callable[..., RedisServer]]:
    """Make servers, which take RedisServer's arguments; they run, and end with the test."""
    with contextlib.ExitStack() as servers:
        yield lambda **options: servers.enter_context(RedisServer(**options))


@pytest.fixture
def redis_server(make_redis: Callable[..., RedisServer]) -> RedisServer:
    """A server without passwords, empty and running."""
    return make_redis()


@pytest.fixture
def redis_proxy(redis_server: RedisServer) -> Iterator[ToxicProxy]:
    """A proxy in front of ``redis_server``: ``redis_server.address(port=redis_proxy.port)``, ``cut()``,
    ``freeze()``, ``refusing``, ``heal()``."""
    with ToxicProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def make_cluster() -> Iterator[Callable[..., Cluster]]:
    """Make clusters of three, which take Cluster's arguments; they run, and end with the test."""
    with contextlib.ExitStack() as clusters:

        def make(**options: Any) -> Cluster:
            return clusters.enter_context(Cluster(**options))

        yield make
