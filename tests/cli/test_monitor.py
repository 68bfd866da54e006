"""What the view gathers from a feed: of the chosen market, of tickers where no book is watched, of markets
that come later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal

import pytest

from kalshi_feed import KalshiFeed
from kalshi_feed.cli.model import Room, Screen
from kalshi_feed.cli.monitor import Monitor
from kalshi_feed.cli.notes import other_text
from kalshi_feed.cli.recordings import heard_nothing
from kalshi_feed.messages import decode
from kalshi_feed.simulator import Exchange
from tests.support import wait_until

MARKETS = ("KX-A", "KX-B", "KX-C")
ROOM = Room(depth=3, rows=2, trades=2, notes=1)


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(tls=False) as exchange:
        for ticker in MARKETS:
            exchange.add_market(ticker, yes={"0.40": 100, "0.39": 5}, no={"0.55": 50})
        yield exchange


@pytest.fixture
def feed(exchange: Exchange) -> Iterator[KalshiFeed]:
    with KalshiFeed(exchange.credentials, url=exchange.url) as feed:
        yield feed


def test_levels_are_marked_that_have_changed(exchange: Exchange, feed: KalshiFeed) -> None:
    monitor = Monitor(feed, MARKETS, "t")
    feed.subscribe("orderbook_delta", MARKETS)
    book = feed.wait_for_book("KX-A", timeout=10)

    def changes(screen: Screen) -> list[str]:
        assert screen.ladder is not None
        return [str(rung.change) for rung in (*screen.ladder.asks, *screen.ladder.bids)]

    assert changes(monitor.screen(ROOM)) == ["0.00", "0.00", "0.00"]
    version = book.version
    exchange.change("KX-A", "yes", "0.39", "-2")
    exchange.change("KX-A", "no", "0.55", "7")
    wait_until(lambda: book.version == version + 2)
    assert changes(monitor.screen(ROOM)) == ["7.00", "0.00", "-2.00"]
    feed.wait_for_book("KX-B", timeout=10)
    assert changes(monitor.screen(ROOM, 1)) == ["0.00", "0.00", "0.00"]  # another market's book


def test_without_a_book_the_ticker_tells_the_best_prices(exchange: Exchange, feed: KalshiFeed) -> None:
    monitor = Monitor(feed, ("KX-A",), "t")
    feed.subscribe("ticker", ("KX-A",)).wait(10)
    exchange.ticker("KX-A")
    wait_until(lambda: monitor.screen(ROOM).rows[0].bid is not None)
    screen = monitor.screen(ROOM)
    assert screen.ladder is not None and screen.ladder.quote == screen.rows[0]
    assert screen.rows[0].status == "" and screen.statuses == {}
    bid, ask = screen.rows[0].bid, screen.rows[0].ask
    assert bid is not None and ask is not None
    assert (bid.price, bid.quantity, ask.price, ask.quantity) == (Decimal("0.40"), 100, Decimal("0.45"), 50)


def test_the_trades_are_those_of_the_chosen_market(exchange: Exchange, feed: KalshiFeed) -> None:
    monitor = Monitor(feed, MARKETS, "t")
    feed.subscribe("trade", MARKETS).wait(10)
    for ticker, price in (("KX-A", "0.4000"), ("KX-B", "0.4100"), ("KX-A", "0.4200"), ("KX-A", "0.4300")):
        msg = {
            "market_ticker": ticker,
            "yes_price_dollars": price,
            "no_price_dollars": "0.5000",
            "count_fp": "1.00",
        }
        exchange.send("trade", msg | {"taker_outcome_side": "yes"}, check=False)
    wait_until(lambda: monitor.trade_count == 4)
    # the newest first
    assert [str(trade.price) for trade in monitor.screen(ROOM).trades] == ["0.4300", "0.4200", "0.4000"]
    assert monitor.summary() == "watched 3 markets for 0:00:00, 0 deltas, 4 trades, 0 gaps, 0 reconnects"
    assert [str(trade.price) for trade in monitor.screen(ROOM, 1).trades] == ["0.4100"]
    assert monitor.screen(ROOM, 2).trades == ()


def test_messages_of_other_channels_are_notes(exchange: Exchange, feed: KalshiFeed) -> None:
    monitor = Monitor(feed, ("KX-A",), "t")
    feed.subscribe("market_lifecycle_v2").wait(10)
    exchange.deactivate("KX-A")
    wait_until(lambda: monitor.other_count == 1)
    note = monitor.screen(ROOM).notes[-1]
    assert note.text.startswith("KX-A market_lifecycle_v2 ") and "event_type=deactivated" in note.text
    assert note.style == "" and "None" not in note.text
    assert monitor.summary().endswith(", 0 trades, 1 other message, 0 gaps, 0 reconnects")


def test_the_rows_shown_follow_the_chosen_market(feed: KalshiFeed) -> None:
    monitor = Monitor(feed, MARKETS, "t")
    shown = [
        (screen.first_row, screen.selected)
        for screen in (monitor.screen(ROOM, place) for place in (0, 1, 2, 99, -1))
    ]
    assert shown == [(0, 0), (0, 1), (1, 2), (1, 2), (0, 0)]


def test_a_filter_leaves_the_markets_that_contain_it(exchange: Exchange, feed: KalshiFeed) -> None:
    monitor = Monitor(feed, (*MARKETS, "OTHER-B"), "t")
    feed.subscribe("orderbook_delta", MARKETS)
    feed.wait_for_book("KX-B", timeout=10)
    screen = monitor.screen(ROOM, 0, "-b")
    assert [row.market_ticker for row in screen.rows] == ["KX-B", "OTHER-B"] and screen.markets == 2
    assert screen.ladder is not None and screen.ladder.market_ticker == "KX-B"
    assert sum(screen.statuses.values()) == len(MARKETS)  # of all books
    nothing = monitor.screen(ROOM, 0, "nope")
    assert (nothing.ladder, nothing.markets, nothing.rows) == (None, 0, ())


def test_without_tickers_the_markets_are_those_of_the_feed(exchange: Exchange, feed: KalshiFeed) -> None:
    monitor = Monitor(feed, (), "t")
    nothing = monitor.screen(ROOM)
    assert (nothing.ladder, nothing.markets, nothing.rows) == (None, 0, ())
    feed.subscribe("orderbook_delta", "KX-B")
    feed.wait_for_book("KX-B", timeout=10)
    screen = monitor.screen(ROOM)
    assert screen.ladder is not None and (screen.ladder.market_ticker, screen.markets) == ("KX-B", 1)


def test_a_lost_connection_counts_down_to_the_next_attempt(exchange: Exchange, feed: KalshiFeed) -> None:
    monitor = Monitor(feed, ("KX-A",), "t")
    feed.wait_until_connected(10)
    assert (monitor.screen(ROOM).retry, monitor.screen(ROOM).reason) == ("", "")
    exchange.reject_next(100, 503, {"Retry-After": "30"})
    exchange.reset()
    wait_until(lambda: monitor.screen(ROOM).retry.startswith("in "))
    first = monitor.screen(ROOM)
    assert "answered the handshake with 503" in first.reason and "wss://" not in first.reason
    seconds = int(first.retry.split()[1])
    assert 5 <= seconds <= 60
    wait_until(lambda: monitor.screen(ROOM).retry == f"in {seconds - 1} s")


def test_a_recording_is_worth_keeping_once_a_book_was_live(exchange: Exchange, feed: KalshiFeed) -> None:
    feed.subscribe("orderbook_delta", ["KX-NOBODY"])
    wait_until(lambda: feed.book("KX-NOBODY").view().status.value == "UNKNOWN")
    assert heard_nothing(feed)
    feed.wait_for_book("KX-A", timeout=10)
    assert not heard_nothing(feed)
    feed.close()
    assert not heard_nothing(feed)


def test_a_line_begins_with_what_its_message_is_about() -> None:
    order = {"order_id": "1", "ticker": "KX-A", "status": "resting", "outcome_side": "no", "subaccount": 1}
    for kind, msg, begin in (
        ("cfbenchmarks_value", {"index_id": "BRTI", "data": "{}"}, "cfbenchmarks_value index_id=BRTI "),
        ("user_order", order, "KX-A user_order status=resting outcome_side=no "),
    ):
        message = decode(json.dumps({"type": kind, "sid": 1, "seq": 1, "msg": msg}))
        assert other_text(message).startswith(begin), other_text(message)
