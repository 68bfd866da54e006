"""Frames in: the sequence check, what is applied, what is delivered, and what is left out and told."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed import FeedFault, Gap, ProtocolError
from kalshi_feed.messages import Fill, Message, OrderbookDelta, OrderbookSnapshot, Ticker, Trade, UnknownMessage
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


def with_trades(*market_tickers: str) -> Driver:
    """The books LIVE on sid 1, all trades on sid 2."""
    driver = Driver()
    driver.go_live(*market_tickers)
    driver.want("trade")
    driver.play()
    driver.take()
    return driver


# -- books -------------------------------------------------------------------------------------------------------------


def test_snapshot_and_deltas() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    levels = {"yes": {100: 15853, 4000: 250}, "no": {5400: 7}}
    driver.turn(subscribed(1, BOOK, 1), snapshot("A", 1, 1, levels, clock=5))
    book = driver.books["A"]
    assert (book.yes, book.no, book.seq, book.clock, book.updated) == ({**levels["yes"]}, {5400: 7}, 1, 5, driver.now)
    driver.now += 1
    driver.turn(delta("A", 1, 2, size=-250), delta("A", 1, 3, size=3, price=5400, side="no", clock=9), delta("A", 1, 4, 0, 9000))
    assert (book.yes, book.no, book.seq, book.updated) == ({100: 15853}, {5400: 10}, 4, driver.now)
    first, second, third = driver.take(OrderbookDelta)
    assert (second.price, second.delta, second.side, second.clock) == (Decimal("0.54"), Decimal("0.03"), "no", 9)
    assert first.delta == Decimal("-2.5") and third.delta == 0
    counts = driver.session.output.counts
    assert counts.messages == {"subscribed": 1, "orderbook_snapshot": 1, "orderbook_delta": 3}
    assert counts.bytes["orderbook_snapshot"] == len(encoded(snapshot("A", 1, 1, levels, clock=5)))
    assert set(counts.bytes) == set(counts.messages)


def test_the_other_price_convention() -> None:
    """S35: whatever use_yes_price was, the book holds own prices."""
    driver = Driver(use_yes_price=False)
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(subscribed(1, BOOK, 1), snapshot("A", 1, 1, {"no": {5400: 7}}, use_yes_price=False))
    driver.turn(delta("A", 1, 2, size=1, price=4600, side="no"))  # written as 0.54
    assert driver.books["A"].no == {5400: 8}


def test_unsolicited_snapshot_replaces_the_book_and_an_empty_one_empties_it() -> None:
    """S09, S10, protocol 5.5."""
    driver = Driver()
    driver.go_live("A", "B")
    driver.turn(snapshot("A", 1, driver.seq, {"no": {100: 1}}))
    assert driver.books["A"].yes == {} and driver.books["A"].no == {100: 1}
    driver.turn(snapshot("A", 1, driver.seq), snapshot("A", 1, driver.seq))
    assert driver.books["A"].no == {} and driver.live() == {"A", "B"}
    assert len(driver.take(OrderbookSnapshot)) == 3 and driver.pass_time(100) == []


def test_unknown_market() -> None:
    """Protocol 5.4: an empty snapshot without market_id; LIVE, empty, and told."""
    driver = Driver()
    driver.want(BOOK, "TYPO")
    driver.connect()
    driver.turn(subscribed(1, BOOK, 1), snapshot("TYPO", 1, 1, market_id=""))
    assert driver.live() == {"TYPO"}
    (fault,) = driver.take(FeedFault)
    assert fault.kind == "unknown_market" and fault.context == {"market_ticker": "TYPO"} and "TYPO" in fault.message
    driver.turn(snapshot("TYPO", 1, 2, {"yes": {100: 1}}, market_id=""))
    assert driver.faults() == []


def test_books_that_nobody_wants_are_left_alone() -> None:
    driver = Driver()
    want = driver.go_live("A", "B")
    driver.delete(want, "A")
    version = driver.books["A"].version
    driver.turn(delta("A", 1, driver.seq), snapshot("A", 1, driver.seq), delta("NEW", 1, driver.seq), snapshot("X", 1, driver.seq))
    assert driver.ignored("unwanted") == 4 and driver.take(OrderbookDelta) == []
    assert (driver.status("A"), driver.books["A"].version, set(driver.books)) == ("CLOSED", version, {"A", "B"})
    assert driver.live() == {"B"}


@pytest.mark.parametrize(
    "fields",
    [
        {"price_dollars": "NaN"},
        {"price_dollars": "Infinity"},
        {"price_dollars": "1.0001"},
        {"price_dollars": "1e-1"},
        {"price_dollars": ""},
        {"price_dollars": "0.٤"},
        {"delta_fp": "1_0"},
        {"delta_fp": "1e400"},
        {"delta_fp": "0.001"},
    ],
)
@pytest.mark.parametrize("others", [0, 3])
def test_numbers_that_are_none_touch_one_market(fields: dict[str, str], others: int) -> None:
    """S14; alone, and in a batch with good frames."""
    driver = Driver()
    driver.go_live("A", "B")
    good = [driver.venue.change("B", 100)[0] for _ in range(others)]
    bad = delta("A", 1, driver.seq)
    bad["msg"].update(fields)
    driver.turn(*good, bad)
    assert driver.live() == {"B"} and driver.books["A"].yes == {4000: 100}
    assert [fault.kind for fault in driver.told if isinstance(fault, FeedFault)] == ["protocol"]
    (fault, gap) = driver.take()[-2:]
    assert isinstance(fault, FeedFault) and isinstance(fault.error, ProtocolError)
    assert isinstance(gap, Gap) and gap.market_tickers == ("A",)
    driver.play_time(0.1)
    assert driver.live() == {"A", "B"} and driver.sid == 1


@pytest.mark.parametrize("bad", ["negative size", "no number", "no side", "market that is none", "bad snapshot", "unknown type"])
def test_a_bad_frame_in_the_middle_of_a_read_costs_only_itself(bad: str) -> None:
    """The others of the read are applied and delivered, in order: those before it on the quick way, and those behind it."""
    driver = with_trades("A", "B")
    changes = [driver.venue.change("B", size, price)[0] for size, price in ((100, 4000), (55, 1700), (-200, 4000))]
    if bad == "bad snapshot":
        frame = snapshot("A", 1, driver.seq, {"yes": {4000: 1}})
        frame["msg"]["yes_dollars_fp"][0][1] = "1_0"
    elif bad == "market that is none":
        frame = delta("NONE", 1, driver.seq)
    elif bad == "unknown type":
        frame = {"type": "hello_v9", "sid": 1, "seq": driver.seq, "msg": {}}
    else:
        frame = delta("A", 1, driver.seq, -101)
        frame["msg"].update({"no number": {"delta_fp": "x"}, "no side": {"side": 7}}.get(bad, {}))
    changes += [driver.venue.change("B", size, price, "no")[0] for size, price in ((300, 4100), (1, 4200), (5, 4100))]
    driver.turn(*changes[:3], frame, trade("B", 2, 1), *changes[3:])
    told = [item for item in driver.take() if isinstance(item, (OrderbookDelta, Trade))]
    seqs = [change["seq"] for change in changes]
    assert [(item.type, item.seq) for item in told] == [
        *(("orderbook_delta", seq) for seq in seqs[:3]),
        ("trade", 1),
        *(("orderbook_delta", seq) for seq in seqs[3:]),
    ]
    assert (driver.books["B"].yes, driver.books["B"].no) == ({1700: 55}, {4100: 305, 4200: 1})
    assert driver.live() == ({"A", "B"} if bad in ("market that is none", "unknown type") else {"B"})
    sizes = sum(len(encoded(change)) for change in changes) + (len(encoded(frame)) if frame["type"] == "orderbook_delta" else 0)
    counts = driver.session.output.counts
    assert counts.bytes["orderbook_delta"] + counts.bytes["unreadable"] == sizes


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_duplicates_are_ignored_and_counted() -> None:
    """S02."""
    driver = with_trades("A")
    change = driver.venue.change("A", 100)[0]
    driver.turn(change, change, trade("A", 2, 1), trade("A", 2, 1))
    assert driver.books["A"].yes == {4000: 200} and driver.ignored("duplicate") == 2
    assert len(driver.take()) == 2 and driver.live() == {"A"}


def test_swapped_frames_are_a_gap_and_the_late_one_is_ignored() -> None:
    """S03."""
    driver = Driver()
    driver.go_live("A", "B")
    one, two = driver.venue.change("A", 100)[0], driver.venue.change("B", 100)[0]
    driver.turn(two, one)
    assert driver.live() == set() and driver.ignored("late") == 1 and len(driver.take(Gap)) == 1
    driver.play_time(1)
    assert driver.live() == {"A", "B"}


def test_numbers_that_start_again() -> None:
    """S04: never taken for old duplicates for ever, and never merged."""
    driver = Driver()
    driver.go_live("A", "B")
    for _ in range(10):
        driver.change("A", 100)
    driver.take()
    driver.venue.subscriptions[BOOK].seq = 0
    driver.turn(*driver.venue.change("A", 100))
    assert driver.live() == set()
    assert [gap.reason for gap in driver.take(Gap)] == ["sequence went back"]
    driver.play_time(1)
    assert driver.live() == {"A", "B"} and driver.books["A"].yes == driver.venue.books["A"]["yes"]


def test_numbers_that_start_again_long_after_a_gap() -> None:
    """While a market that does not answer waits to be asked again."""
    driver = Driver()
    driver.venue.mute.add("C")
    driver.want(BOOK, "A", "B", "C")
    driver.play(driver.connect())
    driver.venue.change("A", 100)
    driver.change("A", 100)
    driver.play_time(25)
    assert driver.live() == {"A", "B"}
    for _ in range(10):
        driver.change("A", 100)
    driver.venue.subscriptions[BOOK].seq = 0
    driver.change("A", 100)
    assert driver.live() == set()
    driver.venue.mute.clear()
    driver.play_time(30)
    assert driver.live() == {"A", "B", "C"} and driver.sid == 1


def test_a_trade_that_went_back_is_dropped_and_told() -> None:
    driver = with_trades("A")
    driver.turn(*[trade("A", 2, n) for n in (1, 2, 3, 1, 2, 4)])
    told = driver.take()
    assert [m.seq for m in told if isinstance(m, Trade)] == [1, 2, 3, 2, 4]
    assert [g.reason for g in told if isinstance(g, Gap)] == ["sequence went back", "sequence gap"]
    assert driver.live() == {"A"}


def test_a_snapshot_whose_number_is_far_ahead_is_not_believed_for_long() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.turn(snapshot("A", 1, 10**6, {"yes": {1000: 100}}))
    assert driver.live() == {"A"}  # nothing shows that it is wrong
    driver.change("A", 100)
    assert driver.live() == set() and [gap.reason for gap in driver.take(Gap)] == ["sequence gap", "sequence went back"]
    driver.play_time(1)
    assert driver.live() == {"A"} and driver.books["A"].yes == driver.venue.books["A"]["yes"]


def test_a_number_far_ahead_does_not_silence_the_trades() -> None:
    driver = with_trades("A")
    driver.turn(*[trade("A", 2, n) for n in (1, 10**12, 2, 3, 4)])
    assert [m.seq for m in driver.take(Trade)] == [1, 10**12, 3, 4]


@pytest.mark.parametrize("counts", [True, False])
def test_replies_use_up_a_number_or_repeat_the_last_one(counts: bool) -> None:
    """S31."""
    driver = Driver()
    driver.venue.counts_replies = counts
    want = driver.go_live("A", "B")
    driver.add(want, "C")
    driver.play()
    driver.change("A")
    driver.delete(want, "B")
    driver.play()
    driver.change("A")
    driver.turn(error(27, sid=1, seq=driver.seq if counts else driver.books["A"].seq))
    driver.change("A")
    driver.unwant(want)
    driver.play()
    assert driver.take(Gap) == [] and driver.books["A"].yes == {4000: 400}


def test_a_reply_that_repeats_numbers_shows_a_loss_too() -> None:
    """Once this exchange has been seen to repeat the last number, one that we still expect is of a lost frame."""
    driver = Driver()
    driver.venue.counts_replies = False
    want = driver.go_live("A", "B")
    driver.add(want, "C")
    driver.play()
    assert driver.live() == {"A", "B", "C"}
    driver.venue.change("A", 100)  # lost
    driver.delete(want, "B")
    driver.play()
    assert driver.live() == set()
    (gap,) = driver.take(Gap)
    assert gap.received == (gap.expected or 0) + 1
    driver.play_time(1)
    assert driver.live() == {"A", "C"} and driver.books["A"].yes == driver.venue.books["A"]["yes"]


def test_a_reply_shows_a_loss() -> None:
    driver = Driver()
    want = driver.go_live("A", "B")
    driver.add(want, "C")
    (add,) = driver.turn()
    driver.venue.change("A", 100)
    driver.turn(driver.venue.answer(add)[0])
    assert driver.live() == set() and len(driver.take(Gap)) == 1
    driver.play_time(11)
    assert driver.live() == {"A", "B", "C"}


def test_numbers_on_a_channel_that_has_none_mean_nothing() -> None:
    driver = Driver()
    driver.want("fill", "A")
    driver.play(driver.connect())
    fill = {"type": "fill", "sid": 1, "msg": {"market_ticker": "A", "trade_id": "t"}}
    driver.turn(ok(None, 1, 44), fill | {"seq": 3}, fill | {"seq": 2}, fill)
    told = driver.take()
    assert sum(isinstance(message, Fill) for message in told) == 3
    assert not any(isinstance(event, Gap) for event in told)


def test_a_book_frame_without_a_number_may_be_anything() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    driver.turn(delta("A", 1, None))
    assert driver.live() == set()
    fault, gap = driver.take()
    assert isinstance(fault, FeedFault) and "seq is missing" in fault.message and isinstance(gap, Gap)
    driver.play_time(1)
    assert driver.live() == {"A", "B"}
    driver.turn(snapshot("A", 1, None, {"yes": {100: 1}}))
    assert driver.live() == set() and driver.books["A"].yes == {4000: 100}


def test_trades_without_a_number_are_delivered() -> None:
    """Frames of 2025."""
    driver = with_trades("A")
    driver.turn(trade("A", 2, None), trade("A", None, None), trade("A", 2, 1))
    assert len(driver.take(Trade)) == 3


# -- whose frame -------------------------------------------------------------------------------------------------------


def test_unknown_sid_is_told_once() -> None:
    """S05."""
    driver = with_trades("A")
    driver.turn(delta("A", 999, 5), delta("A", 999, 6), snapshot("A", 999, 7), trade("A", 998, 1))
    assert driver.ignored("unknown_sid") == 4 and driver.live() == {"A"} and driver.books["A"].yes == {4000: 100}
    assert [fault.context for fault in driver.take(FeedFault)] == [{"sid": 999}, {"sid": 998}]
    driver.turn(*[trade("A", 2000 + n, 1) for n in range(200)])
    assert len(driver.faults()) == 98  # memory is bounded


def test_frames_of_a_channel_nobody_asked_for() -> None:
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
def test_a_book_message_under_anothers_sid(channel: str) -> None:
    """Neither applied nor delivered: in what order it belongs nobody knows."""
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


def test_events_that_two_channels_share() -> None:
    """event_lifecycle comes on both lifecycle channels; it must not give one the other's sid for good."""
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
    """S21: counted, delivered, and their numbers count."""
    driver = Driver()
    driver.go_live("A", "B")
    hello = {"type": "hello_v9", "sid": 1, "seq": driver.seq, "msg": {"x": 1}}
    driver.turn(hello, *driver.venue.change("A", 100), {"type": "hello_v9"}, {"type": "hello_v9", "sid": 77})
    assert driver.live() == {"A", "B"} and driver.books["A"].yes == {4000: 200}
    assert len(driver.take(UnknownMessage)) == 2 and driver.ignored("unknown_sid") == 1
    driver.turn({"type": "hello_v9", "sid": 1})  # without a number: not checkable, and no book message
    assert driver.live() == {"A", "B"} and len(driver.take(UnknownMessage)) == 1
    driver.turn({"type": "hello_v9", "sid": 1, "seq": driver.seq + 1})
    assert driver.live() == set()
    assert driver.session.output.counts.messages["hello_v9"] == 5


def test_a_channel_we_do_not_know() -> None:
    driver = Driver()
    driver.want("new_channel", "A", speed="high")
    (first,) = driver.connect()
    assert first["params"] == {"channels": ["new_channel"], "speed": "high", "market_tickers": ["A"]}
    driver.turn(subscribed(1, "new_channel", 4), {"type": "new_channel", "sid": 4, "seq": 1, "msg": {"market_ticker": "A"}})
    assert [message.market_ticker for message in driver.take(UnknownMessage)] == ["A"]
    assert driver.session.confirmed("new_channel", ["A"]) and driver.session.sid_of("new_channel") == 4


# -- frames that cannot be read ----------------------------------------------------------------------------------------


UNREADABLE = [b"", b"null", b"[]", b'"x"', b"{", b'{"type":5}', b"\xff\xfe", b"{}{}", b"[" * 10**5]


@pytest.mark.parametrize("payload", UNREADABLE, ids=[repr(payload[:12]) for payload in UNREADABLE])
def test_a_frame_that_may_have_been_anything_is_a_gap_on_every_sequenced_sid(payload: bytes) -> None:
    """S16, S17."""
    driver = with_trades("A")
    driver.want("ticker")
    driver.play()
    driver.take()
    driver.turn(payload, *driver.venue.change("A", 100), trade("A", 2, 5))
    told = driver.take()
    assert {gap.channel for gap in told if isinstance(gap, Gap)} == {BOOK, "trade"}
    (fault,) = [fault for fault in told if isinstance(fault, FeedFault)]
    assert fault.kind == "protocol" and "frame" in fault.context and isinstance(fault.error, ProtocolError)
    assert driver.live() == set() and any(isinstance(message, Trade) for message in told)
    driver.play_time(1)
    assert driver.live() == {"A"} and driver.session.output.counts.messages["unreadable"] == 1


def test_also_on_a_subscription_whose_sid_nobody_has_told() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn({"type": "subscribed", "id": 1, "channel": BOOK}, snapshot("A", None, 1))
    assert driver.live() == {"A"}
    driver.turn(b"[]")
    assert driver.live() == set()


def test_deltas_on_a_subscription_whose_sid_nobody_has_told() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(
        {"type": "subscribed", "id": 1, "channel": BOOK}, snapshot("A", None, 1), delta("A", None, 2), delta("A", None, 3, 5)
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
    """Twenty thousand of them may come with one read."""
    driver = Driver()
    driver.go_live("A", "B")
    driver.turn(*[b"x"] * 5000)
    assert driver.give_up is not None
    told = driver.take()
    assert len([item for item in told if isinstance(item, Gap)]) == 11 and len(told) < 150
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
    assert driver.live() == set() and len(driver.take(Gap)) == 1  # what comes next is in order
    driver.turn(snapshot("A", 1, seq + 2))
    assert driver.live() == {"A"} and driver.take(Gap) == []


def test_a_frame_from_before_an_unreadable_one_is_late() -> None:
    driver = with_trades("A")
    driver.turn(trade("A", 2, 1), trade("A", 2, 2), b"no JSON", trade("A", 2, 2), trade("A", 2, 4), trade("A", 2, 3))
    assert [m.seq for m in driver.take(Trade)] == [1, 2, 4] and driver.ignored("late") == 1


def test_an_unreadable_frame_of_nobody_and_of_a_channel_without_numbers() -> None:
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


def test_an_unreadable_frame_in_a_channel_without_numbers_only() -> None:
    driver = Driver()
    driver.want("ticker")
    driver.play(driver.connect())
    driver.turn(b"[]")
    assert driver.take(Gap) == []


def test_faults_are_told_at_a_bounded_rate() -> None:
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
    driver.venue.subscriptions.pop(BOOK, None)  # wherever the session stands, it asks again
    driver.session.receive([encoded(unsubscribed(None, driver.session.sid_of(BOOK)))], driver.now)
    driver.play_time(60)
    driver.change("A")
    assert driver.live() == {"A"} and driver.give_up is None


# -- the connection ----------------------------------------------------------------------------------------------------


def test_verdict_on_a_session() -> None:
    def verdict(seconds: float, live: bool) -> bool:
        driver = Driver()
        if not live:
            driver.venue.mute.add("A")
        driver.want(BOOK, "A")
        driver.play(driver.connect())
        driver.now += seconds
        return driver.disconnect()

    assert [verdict(s, True) for s in (4.9, 5.0)] == [False, True]
    assert [verdict(s, False) for s in (29.9, 30.0)] == [False, True]


def test_verdict_without_books() -> None:
    driver = Driver()
    driver.connect()
    driver.now += 5
    assert driver.disconnect()
    assert not driver.disconnect()  # a dial that failed is no session


def test_nothing_is_due_while_nothing_is_wanted() -> None:
    driver = Driver()
    assert driver.connect() == [] and driver.session.next_deadline() == float("inf")
    assert driver.session.confirmed("trade", [])
    driver.disconnect()
    assert not driver.session.confirmed("trade", ["A"]) and driver.session.sid_of("trade") is None


def test_unwanted_books_are_closed_once() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.session.books_unwanted(["A"])
    assert driver.session.output.status_changed == {"A"}
    driver.session.output.status_changed.clear()
    driver.session.books_unwanted(["A"])
    assert driver.session.output.status_changed == set()


def test_status_changes_are_named() -> None:
    driver = Driver()
    driver.want(BOOK, "A", "B")
    driver.connect()
    changed = driver.session.output.status_changed
    driver.session.receive([encoded(subscribed(1, BOOK, 1)), encoded(snapshot("A", 1, 1))], driver.now)
    assert changed == {"A"}
    changed.clear()
    driver.session.receive([encoded(delta("A", 1, 2))], driver.now)
    assert changed == set()
    driver.session.receive([encoded(delta("A", 1, 4))], driver.now)
    assert changed == {"A"}
