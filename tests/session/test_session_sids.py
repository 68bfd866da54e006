"""Frames in: to which subscription they belong.

Those that belong to none, to one that has ended, or to another channel are left out and reported.
"""

from __future__ import annotations

import pytest

from kalshi_feed import FeedFault, Gap
from kalshi_feed.messages import Fill, Message, Ticker, Trade, UnknownMessage
from tests.session.driver import BOOK, Driver, delta, snapshot, subscribed, ticker, trade
from tests.session.support import with_trades


def test_unknown_sid_is_reported_once() -> None:
    """S05."""
    driver = with_trades("A")
    driver.turn(delta("A", 999, 5), delta("A", 999, 6), snapshot("A", 999, 7), trade("A", 998, 1))
    assert (
        driver.ignored("unknown_sid") == 4 and driver.live() == {"A"} and driver.books["A"].yes == {4000: 100}
    )
    assert [fault.context for fault in driver.take(FeedFault)] == [{"sid": 999}, {"sid": 998}]
    driver.turn(*[trade("A", 2000 + n, 1) for n in range(200)])
    assert len(driver.faults()) == 98  # memory is bounded


def test_frames_of_a_channel_that_was_not_requested() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.turn(trade("A", None, None), ticker("A", None), trade("A", 7, 1))
    assert driver.ignored("unknown_sid") == 3 and driver.take(Trade) == []


def test_frames_of_the_past_are_ignored_in_silence() -> None:
    driver = with_trades("A")
    want = driver.want("fill")
    driver.play()
    driver.unwant(want)
    driver.play()
    driver.turn({"type": "fill", "sid": 3, "msg": {"market_ticker": "A"}})
    assert driver.ignored("ended_subscription") == 1 and driver.take(Fill) == []


def test_a_frame_without_sid_after_the_end_changes_nothing() -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.unwant(want)
    driver.play()
    driver.turn(delta("A", None, 57))
    driver.want(BOOK, "A")
    driver.play()
    assert driver.live() == {"A"} and driver.take(Gap) == []


def test_the_same_sid_after_a_reconnect_is_another_subscription() -> None:
    """S06."""
    driver = Driver()
    driver.go_live("A")
    for _ in range(3):
        driver.change("A")
    driver.disconnect()
    driver.play(driver.connect())
    assert driver.sid == 1 and driver.books["A"].seq == 1 and driver.live() == {"A"}
    driver.change("A")
    assert driver.live() == {"A"} and driver.take(Gap) == [] and driver.books["A"].yes == {4000: 500}


@pytest.mark.parametrize("channel", ["trade", "ticker"])
def test_a_book_message_under_another_channels_sid(channel: str) -> None:
    """Neither applied nor delivered: its ordering is undefined."""
    driver = Driver()
    driver.go_live("A")
    driver.want(channel)
    driver.play()
    driver.take()
    driver.turn(delta("A", 2, 1), snapshot("A", 2, 2), delta("A", 2, None))
    assert driver.books["A"].yes == {4000: 100} and driver.live() == {"A"}
    assert driver.ignored("other_channel") == 3
    (first, *_) = driver.take()
    assert isinstance(first, FeedFault) and f"subscription 2, which is {channel}" in first.message
    driver.turn(trade("A", 2, 3) if channel == "trade" else ticker("A", 2))
    assert [type(message) for message in driver.take()] == [Trade if channel == "trade" else Ticker]


def test_a_trade_under_the_books_sid_takes_a_number() -> None:
    """Whatever its place in the read."""
    driver = Driver()
    driver.go_live("A")
    for _ in range(2):
        driver.turn(
            trade("A", driver.sid, driver.seq),
            delta("A", driver.sid, driver.seq),
            ticker("A", driver.sid) | {"seq": driver.seq},
            delta("A", driver.sid, driver.seq),
        )
    assert driver.take(Gap) == [] and driver.live() == {"A"}
    assert driver.books["A"].yes == {4000: 500}


def test_events_that_two_channels_share() -> None:
    """event_lifecycle comes on both lifecycle channels, and must not mix up their sids for good."""
    driver = Driver()
    driver.want(("market_lifecycle_v2", "multivariate_market_lifecycle"))
    driver.connect()
    driver.turn({"type": "event_lifecycle", "sid": 2, "seq": 1, "msg": {}})
    driver.turn(subscribed(2, "multivariate_market_lifecycle", 2), subscribed(1, "market_lifecycle_v2", 1))
    reconciler = driver.session.reconciler
    assert {sid: subscription.name for sid, subscription in reconciler.subscriptions.by_sid.items()} == {
        1: "market_lifecycle_v2", 2: "multivariate_market_lifecycle",
    }  # fmt: skip
    driver.take()
    driver.turn(
        {"type": "market_lifecycle_v2", "sid": 1, "seq": 1, "msg": {}},
        {"type": "event_lifecycle", "sid": 2, "seq": 2, "msg": {}},
    )
    assert [message.sid for message in driver.take(Message)] == [1, 2]


def test_unknown_types() -> None:
    """S21: counted, delivered, and their seqs count."""
    driver = Driver()
    driver.go_live("A", "B")
    hello = {"type": "hello_v9", "sid": 1, "seq": driver.seq, "msg": {"x": 1}}
    driver.turn(hello, *driver.venue.change("A", 100), {"type": "hello_v9"}, {"type": "hello_v9", "sid": 77})
    assert driver.live() == {"A", "B"} and driver.books["A"].yes == {4000: 200}
    assert len(driver.take(UnknownMessage)) == 2 and driver.ignored("unknown_sid") == 1
    driver.turn({"type": "hello_v9", "sid": 1})  # without a seq: cannot be checked, and not a book message
    assert driver.live() == {"A", "B"} and len(driver.take(UnknownMessage)) == 1
    driver.turn({"type": "hello_v9", "sid": 1, "seq": driver.seq + 1})
    assert driver.live() == set()
    assert driver.session.output.counts.messages["hello_v9"] == 5


def test_a_channel_we_do_not_know() -> None:
    driver = Driver()
    driver.want("new_channel", "A", speed="high")
    (first,) = driver.connect()
    assert first["params"] == {"channels": ["new_channel"], "speed": "high", "market_tickers": ["A"]}
    driver.turn(
        subscribed(1, "new_channel", 4),
        {"type": "new_channel", "sid": 4, "seq": 1, "msg": {"market_ticker": "A"}},
    )
    assert [message.market_ticker for message in driver.take(UnknownMessage)] == ["A"]
    assert driver.session.confirmed("new_channel", ["A"]) and driver.session.sid_of("new_channel") == 4


def test_which_markets_are_confirmed_on_a_channel() -> None:
    driver = Driver()
    assert driver.session.connected_at is None
    driver.want("trade", "B", "A")
    commands = driver.connect()
    assert driver.session.connected_at == driver.now
    assert driver.session.markets_of("trade") is None  # asked for, but not confirmed
    driver.play(commands)
    markets = driver.session.markets_of("trade")
    assert markets == ("A", "B") and driver.session.markets_of("trade") is markets
    driver.want("fill")
    driver.play()
    assert driver.session.markets_of("fill") == ()  # all
    driver.disconnect()
    assert driver.session.connected_at is None and driver.session.markets_of("trade") is None
