"""Frames in: the sequence check, what is applied, what is delivered; whether a connection was healthy."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kalshi_feed import FeedFault, Gap, ProtocolError
from kalshi_feed.messages import Fill, OrderbookDelta, OrderbookSnapshot, Trade
from tests.session.driver import BOOK, Driver, delta, encoded, error, ok, snapshot, subscribed, trade
from tests.session.support import with_trades

# -- books ---------------------------------------------------------------------------------------------------


def test_snapshot_and_deltas() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    levels = {"yes": {100: 15853, 4000: 250}, "no": {5400: 7}}
    driver.turn(subscribed(1, BOOK, 1), snapshot("A", 1, 1, levels, clock=5))
    book = driver.books["A"]
    assert (book.yes, book.no, book.seq, book.clock, book.updated) == (
        {**levels["yes"]},
        {5400: 7},
        1,
        5,
        driver.now,
    )
    driver.now += 1
    driver.turn(
        delta("A", 1, 2, size=-250),
        delta("A", 1, 3, size=3, price=5400, side="no", clock=9),
        delta("A", 1, 4, 0, 9000),
    )
    assert (book.yes, book.no, book.seq, book.updated) == ({100: 15853}, {5400: 10}, 4, driver.now)
    first, second, third = driver.take(OrderbookDelta)
    assert (second.price, second.delta, second.side, second.clock) == (
        Decimal("0.54"),
        Decimal("0.03"),
        "no",
        9,
    )
    assert first.delta == Decimal("-2.5") and third.delta == 0
    counts = driver.session.output.counts
    assert counts.messages == {"subscribed": 1, "orderbook_snapshot": 1, "orderbook_delta": 3}
    assert counts.bytes["orderbook_snapshot"] == len(encoded(snapshot("A", 1, 1, levels, clock=5)))
    assert set(counts.bytes) == set(counts.messages)


def test_the_other_price_convention() -> None:
    """S35: whatever use_yes_price is, the book holds each side's own prices."""
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


def test_books_that_are_not_wanted_are_left_alone() -> None:
    driver = Driver()
    want = driver.go_live("A", "B")
    driver.delete(want, "A")
    version = driver.books["A"].version
    driver.turn(
        delta("A", 1, driver.seq),
        snapshot("A", 1, driver.seq),
        delta("NEW", 1, driver.seq),
        snapshot("X", 1, driver.seq),
    )
    assert driver.ignored("unwanted") == 4 and driver.take(OrderbookDelta) == []
    assert (driver.status("A"), driver.books["A"].version, set(driver.books)) == (
        "CLOSED",
        version,
        {"A", "B"},
    )
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
def test_bad_numbers_affect_one_market(fields: dict[str, str], others: int) -> None:
    """S14: alone, and in a batch with good frames."""
    driver = Driver()
    driver.go_live("A", "B")
    good = [driver.venue.change("B", 100)[0] for _ in range(others)]
    bad = delta("A", 1, driver.seq)
    bad["msg"].update(fields)
    driver.turn(*good, bad)
    assert driver.live() == {"B"} and driver.books["A"].yes == {4000: 100}
    assert [fault.kind for fault in driver.delivered if isinstance(fault, FeedFault)] == ["protocol"]
    (fault, gap) = driver.take()[-2:]
    assert isinstance(fault, FeedFault) and isinstance(fault.error, ProtocolError)
    assert isinstance(gap, Gap) and gap.market_tickers == ("A",)
    driver.play_time(0.1)
    assert driver.live() == {"A", "B"} and driver.sid == 1


@pytest.mark.parametrize(
    "bad", ["negative size", "no number", "no side", "unwanted market", "bad snapshot", "unknown type"]
)
def test_a_bad_frame_in_the_middle_of_a_read_costs_only_itself(bad: str) -> None:
    """The rest of the read is applied and delivered in order, before it on the fast path and after it."""
    driver = with_trades("A", "B")
    changes = [
        driver.venue.change("B", size, price)[0] for size, price in ((100, 4000), (55, 1700), (-200, 4000))
    ]
    if bad == "bad snapshot":
        frame = snapshot("A", 1, driver.seq, {"yes": {4000: 1}})
        frame["msg"]["yes_dollars_fp"][0][1] = "1_0"
    elif bad == "unwanted market":
        frame = delta("NONE", 1, driver.seq)
    elif bad == "unknown type":
        frame = {"type": "hello_v9", "sid": 1, "seq": driver.seq, "msg": {}}
    else:
        frame = delta("A", 1, driver.seq, -101)
        frame["msg"].update({"no number": {"delta_fp": "x"}, "no side": {"side": 7}}.get(bad, {}))
    changes += [
        driver.venue.change("B", size, price, "no")[0] for size, price in ((300, 4100), (1, 4200), (5, 4100))
    ]
    driver.turn(*changes[:3], frame, trade("B", 2, 1), *changes[3:])
    taken = [item for item in driver.take() if isinstance(item, (OrderbookDelta, Trade))]
    seqs = [change["seq"] for change in changes]
    assert [(item.type, item.seq) for item in taken] == [
        *(("orderbook_delta", seq) for seq in seqs[:3]),
        ("trade", 1),
        *(("orderbook_delta", seq) for seq in seqs[3:]),
    ]
    assert (driver.books["B"].yes, driver.books["B"].no) == ({1700: 55}, {4100: 305, 4200: 1})
    assert driver.live() == ({"A", "B"} if bad in ("unwanted market", "unknown type") else {"B"})
    sizes = sum(len(encoded(change)) for change in changes) + (
        len(encoded(frame)) if frame["type"] == "orderbook_delta" else 0
    )
    counts = driver.session.output.counts
    assert counts.bytes["orderbook_delta"] + counts.bytes["unreadable"] == sizes


# -- numbers -------------------------------------------------------------------------------------------------


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
    """S04: not mistaken for old duplicates indefinitely, and never merged."""
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
    """While a mute market waits to be asked for again."""
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


def test_a_trade_that_went_back_is_dropped_and_reported() -> None:
    driver = with_trades("A")
    driver.turn(*[trade("A", 2, n) for n in (1, 2, 3, 1, 2, 4)])
    taken = driver.take()
    assert [m.seq for m in taken if isinstance(m, Trade)] == [1, 2, 3, 2, 4]
    assert [g.reason for g in taken if isinstance(g, Gap)] == ["sequence went back", "sequence gap"]
    assert driver.live() == {"A"}


def test_a_snapshot_whose_number_is_far_ahead_is_not_believed_for_long() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.turn(snapshot("A", 1, 10**6, {"yes": {1000: 100}}))
    assert driver.live() == {"A"}  # nothing shows that it is wrong
    driver.change("A", 100)
    assert driver.live() == set() and [gap.reason for gap in driver.take(Gap)] == [
        "sequence gap",
        "sequence went back",
    ]
    driver.play_time(1)
    assert driver.live() == {"A"} and driver.books["A"].yes == driver.venue.books["A"]["yes"]


def test_a_seq_far_ahead_does_not_silence_the_trades() -> None:
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
    """Once replies are known to repeat the last seq, one with the next seq shows that a frame was lost."""
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


def test_seqs_on_an_unsequenced_channel_mean_nothing() -> None:
    driver = Driver()
    driver.want("fill", "A")
    driver.play(driver.connect())
    fill = {"type": "fill", "sid": 1, "msg": {"market_ticker": "A", "trade_id": "t"}}
    driver.turn(ok(None, 1, 44), fill | {"seq": 3}, fill | {"seq": 2}, fill)
    taken = driver.take()
    assert sum(isinstance(message, Fill) for message in taken) == 3
    assert not any(isinstance(event, Gap) for event in taken)


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


# -- the connection ------------------------------------------------------------------------------------------


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
    assert not driver.disconnect()  # a failed dial is not a session


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


def test_a_replay_sets_the_id_of_the_next_command() -> None:
    """Then the replies in the recording belong to the commands that this session makes."""
    driver = Driver()
    driver.connect()
    assert driver.session.next_id == 1
    driver.session.next_id = 40
    driver.want("trade")
    driver.want("fill")
    assert [command["id"] for command in driver.turn()] == [40, 41]
    assert driver.session.next_id == 42


def test_the_open_subscriptions_are_those_that_the_exchange_has_confirmed() -> None:
    driver = Driver()
    assert driver.session.open_subscriptions() == ()
    driver.go_live("A")
    trades = driver.want("trade")
    driver.play()
    driver.want("fill")
    (subscribe,) = driver.turn()
    assert driver.session.open_subscriptions() == ((BOOK, 1), ("trade", 2)), "no answer to the third"
    driver.play([subscribe])
    driver.unwant(trades)
    driver.play()
    assert driver.session.open_subscriptions() == ((BOOK, 1), ("fill", 3))
    driver.turn({"type": "subscribed", "id": 9, "channel": "ticker"})  # of 2025: without a sid
    assert driver.session.open_subscriptions() == ((BOOK, 1), ("fill", 3))
    driver.disconnect()
    assert driver.session.open_subscriptions() == ()
