"""The proxy does what it says. Otherwise the tests that rely on it prove nothing."""

from __future__ import annotations

import time

import pytest

from kalshi_feed import FeedState
from kalshi_feed.simulator import Exchange
from tests.faults.toxic_proxy import ToxicProxy
from tests.feed.support import A, FeedMaker, HurriedFeed, wait_equal
from tests.support import wait_until


def test_passes_a_session_unharmed(exchange: Exchange, make_feed: FeedMaker) -> None:
    with ToxicProxy(exchange.port) as proxy:
        proxy.down.slice = 3
        feed = make_feed(url=exchange.url.replace(str(exchange.port), str(proxy.port))).start()
        feed.subscribe("orderbook_delta", A)
        for _ in range(50):
            exchange.change(A, "yes", "0.41", "1")
        wait_equal(feed, exchange, A)
        assert feed.stats().reconnects == 0
        feed.close()


@pytest.mark.parametrize("reset", [False, True])
def test_cuts_and_the_feed_comes_back(exchange: Exchange, make_feed: FeedMaker, reset: bool) -> None:
    with ToxicProxy(exchange.port) as proxy:
        feed = make_feed(HurriedFeed, url=exchange.url.replace(str(exchange.port), str(proxy.port))).start()
        feed.wait_for_book(A, 5)
        proxy.cut(reset=reset)
        wait_until(lambda: feed.stats().reconnects == 1)
        wait_equal(feed, exchange, A)
        feed.close()


def test_limit_cuts_after_so_many_bytes(exchange: Exchange, make_feed: FeedMaker) -> None:
    with ToxicProxy(exchange.port) as proxy:
        proxy.down.limit = 700
        feed = make_feed(url=exchange.url.replace(str(exchange.port), str(proxy.port))).start()
        wait_until(lambda: proxy.accepted >= 3)
        assert feed.state is not FeedState.CONNECTED or proxy.passed >= 700
        proxy.heal()
        feed.wait_until_connected(5)
        feed.close()


def test_black_hole_and_latency(exchange: Exchange, make_feed: FeedMaker) -> None:
    with ToxicProxy(exchange.port) as proxy:
        feed = make_feed(
            url=exchange.url.replace(str(exchange.port), str(proxy.port)), idle_timeout=0.5
        ).start()
        feed.wait_for_book(A, 5)
        proxy.down.black_hole = True
        wait_until(lambda: feed.state is FeedState.RECONNECTING)
        proxy.heal()
        book = feed.wait_for_book(A, 5)
        proxy.down.latency = 0.2
        seen, began = book.version, time.monotonic()
        exchange.change(A, "yes", "0.41", "1")
        book.wait_for_update(5, after=seen)
        assert time.monotonic() - began >= 0.2
        feed.close()
