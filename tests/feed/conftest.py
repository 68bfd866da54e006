"""Each test's own exchange, and feeds that are closed after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kalshi_feed import KalshiFeed, ReconnectPolicy
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker

QUICK = ReconnectPolicy(initial_delay=0.02, max_delay=0.1)


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """Two quiet markets with two-sided books."""
    with Exchange(key_type="ed25519") as exchange:
        exchange.add_market(A, yes={"0.40": 10, "0.3950": "2.5"}, no={"0.54": 7, "0.50": 100})
        exchange.add_market(B, yes={"0.10": 1}, no={"0.80": 3})
        yield exchange


@pytest.fixture
def make_feed(exchange: Exchange) -> Iterator[FeedMaker]:
    """Makes feeds for the exchange (not started) and closes those that the test leaves open."""
    feeds: list[KalshiFeed] = []

    def make(cls: Callable[..., KalshiFeed] = KalshiFeed, **options: Any) -> KalshiFeed:
        options = {
            "credentials": exchange.credentials,
            "url": exchange.url,
            "ssl_context": exchange.ssl_context,
            "reconnect": QUICK,
            **options,
        }
        feed = cls(options.pop("credentials"), **options)
        feeds.append(feed)
        return feed

    yield make
    for feed in feeds:
        feed.close()


@pytest.fixture
def feed(make_feed: FeedMaker) -> KalshiFeed:
    """One feed for the exchange, started."""
    return make_feed().start()
