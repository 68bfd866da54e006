"""From a feed into a store: the tables give the exchange's books, every loss on record in its place."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import FeedState, OrderbookSnapshot, StateChange
from kalshi_feed.simulator import Exchange
from kalshi_feed.sinks import Batcher, SQLiteSink
from tests.feed.support import A, B, FeedMaker, HurriedFeed, Recorder, wait_equal
from tests.support import wait_until

from .support import Stubborn, folded


def rows(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute(query).fetchall()


def test_the_tables_give_the_books(make_feed: FeedMaker, exchange: Exchange, tmp_path: Path) -> None:
    file = tmp_path / "rows.db"
    feed = make_feed(HurriedFeed)
    recorder = Recorder(feed)
    with Batcher(SQLiteSink(file), batch_seconds=0.01) as batcher:
        batcher.subscribe_to(feed)
        subscription = feed.subscribe(["orderbook_delta", "ticker", "trade"], [A, B])
        feed.start()
        subscription.wait(5)
        wait_equal(feed, exchange, A, B)
        for cents in range(1, 40):
            exchange.change(A, "yes", f"0.{cents:02}", cents)
            exchange.change(B, "no", f"0.{cents:02}", cents)
        exchange.trade(A, "yes", "0.36", 1)
        exchange.ticker(A)
        exchange.lose(1, "orderbook_delta")
        exchange.change(A, "yes", "0.01", 5)
        exchange.change(A, "yes", "0.02", 5)
        wait_until(lambda: feed.stats().gaps == 1, what="the gap")
        wait_equal(feed, exchange, A, B)
        exchange.send_raw(b'{"type":"trade","sid":3,"msg":{"market_ticker":7}}')
        wait_until(lambda: recorder.kinds() == ["protocol"], what="the frame that cannot be read")
        exchange.reject_next(2, 503)
        exchange.reset()
        wait_until(lambda: feed.stats().reconnects == 1, 10, "the reconnect")
        wait_equal(feed, exchange, A, B)
        feed.close()
        stats = batcher.stats()
    assert batcher.stats().pending == 0 and stats.dropped == 0
    deltas = rows(file, "select n, market_ticker, side, price, delta from deltas")
    assert folded(rows(file, "select n, market_ticker, yes, no from snapshots"), deltas) == {
        A: exchange.book(A),
        B: exchange.book(B),
    }
    holes = rows(file, "select kind, what, gap_started is null, gap_ended is null from holes order by n")
    assert holes[0] == ("gap", "gap in orderbook_delta: sequence gap", 1, 1)
    assert holes[1][0] == "fault" and holes[1][1].startswith("protocol: ")
    assert holes[-2][1].startswith("RECONNECTING: ") and holes[-2][2:] == (0, 1)
    assert holes[-1] == ("state", "CONNECTED: connected", 0, 0)
    assert len(holes) == len(recorder.gaps) + len(recorder.faults) + 2
    assert len(rows(file, "select * from trades")) == 1 and rows(file, "select * from tickers")
    numbers = [
        n
        for table in ("deltas", "snapshots", "trades", "tickers", "holes")
        for (n,) in rows(file, f"select n from {table}")
    ]
    assert sorted(numbers) == list(range(1, stats.received + 1))


@pytest.mark.greenlets
def test_everything_in_the_order_of_the_callbacks(make_feed: FeedMaker, exchange: Exchange) -> None:
    sink = Stubborn()
    feed = make_feed(HurriedFeed)
    recorder = Recorder(feed)
    with Batcher(sink, batch_seconds=0.01) as batcher:
        batcher.subscribe_to(feed)
        feed.subscribe("orderbook_delta", [A, B])
        feed.start()
        wait_equal(feed, exchange, A, B)
        for cents in range(1, 40):
            exchange.change(A, "yes", f"0.{cents:02}", cents)
        exchange.reset()
        wait_until(lambda: feed.stats().reconnects == 1, 10, "the reconnect")
        wait_equal(feed, exchange, A, B)
        feed.close()
    reported = [
        item
        for item in recorder.received
        if not isinstance(item, StateChange) or item.gap_started is not None
    ]
    assert sink.items == reported
    assert [item.state for item in sink.items if isinstance(item, StateChange)] == [
        FeedState.RECONNECTING,
        FeedState.CONNECTED,
    ]


def test_only_some_markets(make_feed: FeedMaker, exchange: Exchange) -> None:
    sink = Stubborn()
    feed = make_feed()
    with Batcher(sink) as batcher:
        batcher.subscribe_to(feed, market_tickers=[B])
        feed.subscribe("orderbook_delta", [A, B])
        feed.start()
        wait_equal(feed, exchange, A, B)
        feed.close()
    assert [type(item).__name__ for item in sink.items] == ["OrderbookSnapshot"]
    assert isinstance(sink.items[0], OrderbookSnapshot) and sink.items[0].market_ticker == B


def test_a_full_batcher_that_blocks_shows_as_lagged(make_feed: FeedMaker, exchange: Exchange) -> None:
    """A slow store fills the feed's own queue, and the loss is on record as the feed's."""
    sink = Stubborn()
    feed = make_feed(queue_size=16)
    sink.go_on.clear()
    with Batcher(sink, max_pending=5, when_full="block", batch_seconds=0.01) as batcher:
        batcher.subscribe_to(feed)
        feed.subscribe("orderbook_delta", [A])
        feed.start()
        wait_until(lambda: feed.book(A).is_live)
        for count in range(1, 300):
            exchange.change(A, "yes", "0.30", count)
        wait_until(lambda: feed.stats().dropped > 0, what="a loss")
        wait_equal(feed, exchange, A)
        sink.go_on.set()
        wait_until(lambda: feed.stats().queue_depth == 0)
        feed.close()
    assert batcher.stats().dropped == 0
    lagged = [item for item in sink.items if type(item).__name__ == "Lagged"]
    assert sum(item.dropped for item in lagged) == feed.stats().dropped
