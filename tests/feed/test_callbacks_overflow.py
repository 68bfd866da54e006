"""Callbacks that are slower than the feed: overflow, backlogs, several workers."""

# mypy: no-strict-equality

from __future__ import annotations

import threading
import time
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed import FeedState, Gap, Lagged
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.feed.support import A, B, FeedMaker, Held, HurriedFeed, Recorder, in_thread, wait_equal
from tests.support import wait_until

# -- overflow ------------------------------------------------------------------------------------------------


def test_R04_drop_oldest_says_how_many_and_keeps_events_and_books(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(queue_size=50)
    heard = Recorder(feed)
    entered, go_on = threading.Event(), threading.Event()

    @feed.on_delta
    def slow(delta: Any) -> None:
        entered.set()
        go_on.wait(10)

    feed.start().subscribe("orderbook_delta", A).wait(5)
    wait_equal(feed, exchange, A)
    total = 1000
    exchange.change(A, "yes", "0.30", 1)
    assert entered.wait(5)
    for n in range(2, total + 1):
        exchange.change(A, "yes", "0.30", 1)
        if n == total // 2:
            exchange.send_raw("{")  # a control event in the middle
    wait_equal(feed, exchange, A)  # the book is always right
    assert feed.stats().queue_depth <= 50
    assert feed.health().status == "degraded"
    go_on.set()
    wait_until(
        lambda: heard.received and getattr(heard.received[-1], "seq", None) == feed.book(A).seq,
        what="the last delta",
    )
    stats = feed.stats()
    assert stats.dropped == sum(lag.dropped for lag in heard.lags) > 0
    assert stats.queue_high_water <= 50 + 64
    assert feed.health().reasons == (f"callbacks are too slow: {stats.dropped} messages dropped recently",)
    ignored = inside.session(feed).output.counts.ignored.total()
    assert len(heard.of("orderbook_delta")) + stats.dropped + ignored >= total - 1
    assert all(lag.market_tickers == (A,) and lag.at.tzinfo is not None for lag in heard.lags)
    assert "protocol" in heard.kinds()
    # announced in its place: seq jumps only across a Lagged (or a Gap)
    seq, announced = None, False
    for item in heard.received:
        if isinstance(item, (Lagged, Gap)):
            announced = True
        elif getattr(item, "seq", None) is not None:
            assert announced or seq is None or item.seq == seq + 1
            seq, announced = item.seq, False


def test_R04_block_loses_nothing(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(queue_size=10, overflow="block")
    seen: list[Any] = []
    entered, go_on = threading.Event(), threading.Event()

    @feed.on_trade
    def slow(trade: Any) -> None:
        entered.set()
        if not go_on.is_set():
            go_on.wait(10)
        seen.append(trade.count)

    feed.start().subscribe("trade", A).wait(5)
    for count in range(1, 2001):
        exchange.trade(A, "yes", "0.5", count)
    assert entered.wait(5)
    wait_until(lambda: feed.stats().queue_depth)
    assert feed.stats().messages["trade"] < 2000  # reading has stopped
    assert not seen
    go_on.set()
    wait_until(lambda: len(seen) == 2000, 20)
    assert seen == list(range(1, 2001))
    stats = feed.stats()
    assert (stats.dropped, stats.gaps, stats.reconnects) == (0, 0, 0)
    assert stats.queue_high_water <= 10


def test_an_answer_behind_a_backlog_is_not_overdue(exchange: Exchange, make_feed: FeedMaker) -> None:
    """A slow consumer with "block": unread bytes in front of the answer do not cost the connection."""
    feed = make_feed(HurriedFeed, queue_size=10, overflow="block")
    entered, go_on = threading.Event(), threading.Event()
    seen: list[Any] = []

    @feed.on_trade
    def slow(trade: Any) -> None:
        entered.set()
        go_on.wait(10)
        seen.append(trade.count)
        time.sleep(0.0004)

    books = feed.subscribe("orderbook_delta", A)
    with feed:
        feed.subscribe("trade", A).wait(5)
        feed.wait_for_book(A, 5)
        for count in range(1, 2001):
            exchange.trade(A, "yes", "0.45", count)  # which does not deny the book
        assert entered.wait(5)
        books.add_markets(B)
        go_on.set()
        exchange.wait_for_command("update_subscription", 5)
        began = len(seen)
        feed.wait_for_book(B, 20)
        assert len(seen) - began > 900  # they were in front of the answer, for well over two ack times
        wait_until(lambda: len(seen) == 2000, 20)
        assert (feed.stats().gaps, feed.stats().reconnects) == (0, 0)
        assert sum(command["cmd"] == "update_subscription" for command in exchange.commands) == 1


def test_reading_paused_for_longer_than_the_idle_timeout_is_not_a_loss(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    exchange.heartbeat = 0.2
    feed = make_feed(queue_size=2, overflow="block", idle_timeout=1.0)
    held = feed.on_trade(Held())
    feed.start().subscribe("trade", A).wait(5)
    for count in range(1, 20):
        exchange.trade(A, "yes", "0.5", count)
    assert not held.go_on.wait(1.5)  # no condition to wait for: the point is that time passes
    held.go_on.set()
    wait_until(lambda: len(held.seen) == 19)
    exchange.trade(A, "yes", "0.5", 20)
    wait_until(lambda: len(held.seen) == 20)
    assert feed.stats().reconnects == 0


@pytest.mark.parametrize("overflow", ["block", "drop_oldest"])
def test_R03_close_while_a_callback_holds_everything_up(
    overflow: str, exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(queue_size=5, overflow=overflow)
    held = feed.on_trade(Held())
    feed.start().subscribe("trade", A).wait(5)
    for count in range(1, 100):
        exchange.trade(A, "yes", "0.5", count)
    assert held.entered.wait(5)
    closing = in_thread(lambda: feed.close(timeout=0.3))
    closing.result(3)
    assert feed.state is FeedState.CLOSED
    exchange.wait_for_connections(0)
    held.go_on.set()  # the abandoned thread ends


# -- several workers -----------------------------------------------------------------------------------------


def test_four_workers_keep_each_market_in_order(exchange: Exchange, make_feed: FeedMaker) -> None:
    tickers = [f"KXMANY-{n}" for n in range(12)]
    for ticker in tickers:
        exchange.add_market(ticker, yes={"0.5": 1})
    feed = make_feed(workers=4)
    seen: dict[str, list[Decimal]] = defaultdict(list)
    ran_on: dict[str, set[str]] = defaultdict(set)
    states: list[Any] = []
    feed.on_state(states.append)

    @feed.on_trade
    def keep(trade: Any) -> None:
        seen[trade.market_ticker].append(trade.count)
        ran_on[trade.market_ticker].add(threading.current_thread().name)

    feed.start().subscribe("trade", tickers).wait(5)
    for count in range(1, 201):
        for ticker in tickers:
            exchange.trade(ticker, "yes", "0.5", count)
    wait_until(lambda: sum(map(len, seen.values())) == 200 * len(tickers))
    assert all(seen[ticker] == list(range(1, 201)) for ticker in tickers)
    assert all(len(threads) == 1 for threads in ran_on.values())
    used = set().union(*ran_on.values())
    assert 1 < len(used) <= 4
    assert used <= {f"kalshi-feed-worker-{n}" for n in range(4)}
    # once, not four times
    assert [change.state for change in states] == [
        FeedState.CONNECTING,
        FeedState.CONNECTED,
    ]


def test_R03_a_stuck_worker_holds_up_only_its_markets(exchange: Exchange, make_feed: FeedMaker) -> None:
    tickers = [f"KXMANY-{n}" for n in range(12)]
    for ticker in tickers:
        exchange.add_market(ticker, yes={"0.5": 1})
    feed = make_feed(workers=4)
    go_on = threading.Event()
    seen: set[str] = set()

    def keep(trade: Any) -> None:
        if trade.market_ticker == tickers[0]:
            go_on.wait(10)
        seen.add(trade.market_ticker)

    feed.on_trade(keep)
    feed.start().subscribe("trade", tickers).wait(5)
    for ticker in tickers:
        exchange.trade(ticker, "yes", "0.5", 1)
    held_up = {t for t in tickers if hash(t) % 4 == hash(tickers[0]) % 4}  # how the mailboxes are chosen
    wait_until(lambda: seen == set(tickers) - held_up)
    go_on.set()
    wait_until(lambda: seen == set(tickers))
