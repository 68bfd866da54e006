"""An exchange, and a feed and a Rest for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kalshi_feed import KalshiFeed
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(key_type="ed25519") as running:
        running.rest_tier = None
        yield running


@pytest.fixture
def rest(exchange: Exchange) -> Iterator[Rest]:
    with Rest(url=exchange.rest_url, ssl_context=exchange.ssl_context) as found:
        yield found


@pytest.fixture
def feed(exchange: Exchange) -> Iterator[KalshiFeed]:
    with KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as found:
        yield found
