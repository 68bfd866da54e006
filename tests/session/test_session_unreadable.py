"""Frames in: those that cannot be read, or whose numbers are not numbers."""

from __future__ import annotations

from typing import Any

import pytest

from kalshi_feed import FeedFault, Gap, ProtocolError
from kalshi_feed.messages import Fill, OrderbookDelta, Trade
from kalshi_feed.session.timing import Timing
from tests.session.driver import (
    BOOK,
    Driver,
    Frame,
    delta,
    encoded,
    error,
    ok,
    snapshot,
    subscribed,
    ticker,
    trade,
    unsubscribed,
)
from tests.session.support import with_trades

UNREADABLE = [b"", b"null", b"[]", b'"x"', b"{", b'{"type":5}', b"\xff\xfe", b"{}{}", b"[" * 10**5]


@pytest.mark.parametrize("payload", UNREADABLE, ids=[repr(payload[:12]) for payload in UNREADABLE])
def test_a_frame_that_may_have_been_anything_is_a_gap_on_every_sequenced_sid(payload: bytes) -> None:
    """S16, S17."""
    driver = with_trades("A")
    driver.want("ticker")
    driver.play()
    driver.take()
    driver.turn(payload, *driver.venue.change("A", 100), trade("A", 2, 5))
    taken = driver.take()
    assert {gap.channel for gap in taken if isinstance(gap, Gap)} == {BOOK, "trade"}
    (fault,) = [fault for fault in taken if isinstance(fault, FeedFault)]
    assert fault.kind == "protocol" and "frame" in fault.context and isinstance(fault.error, ProtocolError)
    assert driver.live() == set() and any(isinstance(message, Trade) for message in taken)
    driver.play_time(1)
    assert driver.live() == {"A"} and driver.session.output.counts.messages["unreadable"] == 1


def test_also_on_a_subscription_whose_sid_is_not_known_yet() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn({"type": "subscribed", "id": 1, "channel": BOOK}, snapshot("A", None, 1))
    assert driver.live() == {"A"}
    driver.turn(b"[]")
    assert driver.live() == set()


def test_deltas_on_a_subscription_whose_sid_is_not_known_yet() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(
        {"type": "subscribed", "id": 1, "channel": BOOK},
        snapshot("A", None, 1),
        delta("A", None, 2),
        delta("A", None, 3, 5),
    )
    assert driver.books["A"].yes == {4000: 105} and driver.live() == {"A"}
    assert [message.seq for message in driver.take(OrderbookDelta)] == [2, 3]


def test_more_than_ten_in_a_minute_are_too_many() -> None:
    driver = Driver()
    driver.go_live("A")
    for _ in range(11):
        driver.play_time(6.1)
        driver.turn(b"[]")
    assert driver.give_up is None
    driver.turn(b"[]")
    assert driver.give_up == "11 unreadable frames within 60 s"
    driver.disconnect()
    driver.play(driver.connect())
    driver.turn(b"[]")
    assert driver.give_up is None


def test_after_the_last_straw_unreadable_frames_are_only_counted() -> None:
    """One read may bring twenty thousand of them."""
    driver = Driver()
    driver.go_live("A", "B")
    driver.turn(*[b"x"] * 5000)
    assert driver.give_up is not None
    taken = driver.take()
    assert len([item for item in taken if isinstance(item, Gap)]) == 11 and len(taken) < 150
    counts = driver.session.output.counts
    assert counts.faults["protocol"] == counts.messages["unreadable"] == 5000


def test_an_unreadable_frame_whose_number_and_market_are_readable() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    bad = delta("A", 1, driver.seq, side="maybe")
    driver.turn(bad, bad, *driver.venue.change("B", 100))
    assert driver.live() == {"B"} and driver.books["B"].yes == {4000: 200}
    (gap,) = driver.take(Gap)
    assert (gap.market_tickers, gap.reason) == (("A",), "unreadable frame")
    assert driver.ignored("duplicate") == 1


def test_an_unreadable_frame_whose_market_is_unknown() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    bad = delta("A", 1, driver.seq)
    bad["msg"]["market_ticker"] = 5
    driver.turn(bad)
    assert driver.live() == set()


def test_an_unreadable_frame_without_its_number() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    seq = driver.seq
    driver.turn({"type": "orderbook_delta", "sid": 1, "seq": "7"}, delta("A", 1, seq + 1))
    assert driver.live() == set() and len(driver.take(Gap)) == 1  # the next frame is in order
    driver.turn(snapshot("A", 1, seq + 2))
    assert driver.live() == {"A"} and driver.take(Gap) == []


def test_a_frame_from_before_an_unreadable_one_is_late() -> None:
    driver = with_trades("A")
    driver.turn(
        trade("A", 2, 1), trade("A", 2, 2), b"no JSON", trade("A", 2, 2), trade("A", 2, 4), trade("A", 2, 3)
    )
    assert [m.seq for m in driver.take(Trade)] == [1, 2, 4] and driver.ignored("late") == 1


def test_an_unreadable_frame_of_an_unknown_sid_and_of_a_channel_without_seqs() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.want("ticker")
    driver.play()
    driver.take()
    bad: Frame = {"type": "ticker", "msg": 5}
    driver.turn(bad | {"sid": 88}, bad | {"sid": 2}, bad | {"sid": 2, "seq": 4})
    assert driver.live() == {"A"} and driver.faults() == ["protocol"] * 3
    assert driver.give_up is None


def test_an_unreadable_frame_concerns_no_subscription_that_has_ended() -> None:
    driver = with_trades("A")
    want = driver.want("order_group_updates")
    driver.play()
    driver.unwant(want)
    driver.play()
    driver.take()
    driver.turn(b"[]")
    assert {gap.channel for gap in driver.take(Gap)} == {BOOK, "trade"}


def test_an_unreadable_frame_with_only_an_unsequenced_channel() -> None:
    driver = Driver()
    driver.want("ticker")
    driver.play(driver.connect())
    driver.turn(b"[]")
    assert driver.take(Gap) == []


def test_faults_are_reported_at_a_bounded_rate() -> None:
    driver = Driver(Timing(faults_a_second=5))
    driver.go_live("A")
    driver.turn(*[{"type": "ticker", "sid": 88, "msg": 5}] * 50)
    assert len(driver.faults()) == 5 and driver.session.output.counts.faults["protocol"] == 50
    driver.now += 1
    driver.turn({"type": "ticker", "sid": 88, "msg": 5})
    assert driver.take(FeedFault)[0].context["suppressed"] == 45


@pytest.mark.parametrize("value", ["1", 1.5, True, -1, 2**70, [], {}], ids=str)
@pytest.mark.parametrize("field", ["sid", "seq", "id"])
def test_odd_numbers_end_nothing(field: str, value: Any) -> None:
    """S15: and all is well soon after."""
    driver = with_trades("A")
    frames: list[Frame] = [
        delta("A", 1, 2), snapshot("A", 1, 2), trade("A", 2, 1), subscribed(1, BOOK, 1), ok(1, 1, 2),
        unsubscribed(9, 1, 2), error(27, 9, 1),
    ]  # fmt: skip
    for frame in frames:
        driver.play(driver.turn(frame | {field: value}))
    if driver.give_up is not None:
        driver.disconnect()
        driver.play(driver.connect())
    driver.venue.subscriptions.pop(BOOK, None)  # whatever state the session is in, it asks again
    driver.session.receive([encoded(unsubscribed(None, driver.session.sid_of(BOOK)))], driver.now)
    driver.play_time(60)
    driver.change("A")
    assert driver.live() == {"A"} and driver.give_up is None


def test_an_amount_that_cannot_be_read_costs_its_field_and_is_reported_once_per_type() -> None:
    """PROTOCOL.md 7."""
    driver = Driver()
    driver.go_live("A")
    for channel in ("fill", "ticker"):
        driver.want(channel)
        driver.play()
    driver.take()

    def fill(**fields: str) -> Frame:
        sid = driver.session.sid_of("fill")
        return {"type": "fill", "sid": sid, "msg": {"market_ticker": "A", "trade_id": "t", **fields}}

    driver.turn(fill(fee_cost="0.01", post_position_fp="1.00"))
    assert driver.faults() == []
    driver.turn(fill(fee_cost="dear", post_position_fp="1.00"))
    message, fault = driver.take()
    assert isinstance(message, Fill) and message.fee_cost is None
    assert message.extra == {"fee_cost": "dear"} and message.post_position_fp is not None
    assert isinstance(fault, FeedFault) and fault.kind == "unreadable_amount"
    assert fault.context == {"market_ticker": "A", "fields": ("fee_cost",)}
    assert "fill: fee_cost 'dear' cannot be read" in fault.message

    driver.turn(fill(fee_cost="dearer", post_position_fp="many"))
    driver.disconnect()
    driver.play(driver.connect())
    driver.turn(fill(fee_cost="dear"))
    assert driver.faults() == [], "once for fills, on later connections too"

    driver.turn(ticker("A", driver.session.sid_of("ticker"), yes_bid_dollars="y" * 100))
    (fault,) = driver.take(FeedFault)
    assert fault.kind == "unreadable_amount" and f"yes_bid_dollars '{'y' * 60}' cannot" in fault.message
    assert driver.live() == {"A"}
