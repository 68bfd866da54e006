"""Wrong books: STALE at once, reported before anything later, repaired by the mildest means that works."""

from __future__ import annotations

import pytest

from kalshi_feed import FeedFault, Gap
from kalshi_feed.messages import OrderbookDelta, OrderbookSnapshot
from kalshi_feed.session.timing import Timing
from tests.session.driver import BOOK, Driver, delta, error, ok, snapshot, unsubscribed
from tests.session.support import action, actions, asked, lose

MANY = [f"M{n}" for n in range(1200)]


# -- the gap -------------------------------------------------------------------------------------------------


def test_gap_makes_every_book_of_the_sid_stale_and_is_repaired() -> None:
    """S01. Reported before anything later; no deltas applied or delivered until each market's snapshot."""
    driver = Driver()
    driver.go_live("A", "B")
    before = dict(driver.books["A"].yes)
    lost = driver.venue.change("A", 100)[0]["seq"]
    driver.turn(*driver.venue.change("A", 100), *driver.venue.change("B", 100))
    assert driver.status("A") == driver.status("B") == "STALE" and driver.books["A"].yes == before
    (gap,) = driver.take()
    assert isinstance(gap, Gap)
    assert (gap.channel, gap.sid, gap.expected, gap.received) == (BOOK, 1, lost, lost + 1)
    assert set(gap.market_tickers) == {"A", "B"} and gap.reason == "sequence gap"
    assert driver.ignored("stale_book") == 2
    assert driver.pass_time(0.019) == []
    (get,) = driver.pass_time(0.001)
    assert asked([get]) == {"A", "B"}
    first, second = driver.venue.answer(get)
    market = first["msg"]["market_ticker"]
    driver.turn(first)
    assert driver.live() == {market}
    (item,) = driver.take()
    assert isinstance(item, OrderbookSnapshot)
    driver.turn(*driver.venue.change("A", 100), *driver.venue.change("B", 100))
    driver.take()
    driver.turn(delta("A", 1, second["seq"] + 3))  # after the second snapshot was lost
    assert driver.live() == set()


def test_gaps_within_20_ms_are_one_repair() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    lose(driver)
    assert driver.pass_time(0.015) == []
    lose(driver)
    lose(driver)
    commands = driver.pass_time(0.005)
    assert len(commands) == 1 and len(driver.take(Gap)) == 3
    driver.play(commands)
    assert driver.live() == {"A", "B"} and driver.session.output.counts.resyncs == 1
    assert driver.pass_time(100) == []


def test_any_snapshot_after_the_gap_is_good() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    lose(driver)
    driver.turn(snapshot("A", 1, driver.seq), snapshot("B", 1, driver.seq))
    assert driver.live() == {"A", "B"}
    assert driver.pass_time(100) == []


def test_the_snapshot_that_shows_the_gap_is_good_itself() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    driver.venue.change("B", 100)
    driver.turn(snapshot("A", 1, driver.seq))
    assert driver.live() == {"A"}
    assert asked(driver.pass_time(0.02)) == {"B"}


def test_a_gap_concerns_a_book_that_is_not_confirmed_yet() -> None:
    """Its snapshot came before the `ok`, and the gap may hide a change to it."""
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "B")
    (add,) = driver.turn()
    ok_, base = driver.venue.answer(add)
    ok_["seq"], base["seq"] = base["seq"], ok_["seq"]
    driver.turn(base)
    assert driver.live() == {"A", "B"}
    driver.venue.change("B", 100)
    driver.turn(ok_ | {"seq": driver.seq})
    assert driver.live() == set()
    driver.play_time(11)
    assert driver.live() == {"A", "B"}


def test_a_gap_with_every_frame_names_the_books_once_and_ends_the_connection() -> None:
    """One tuple for all of them, or a thousand gaps of five thousand markets would fill the memory."""
    driver = Driver()
    want = driver.go_live(*MANY)
    driver.want("trade")
    driver.play()
    for _ in range(1000):
        lose(driver, MANY[0])
    first, *others = driver.take(Gap)
    assert len(others) == 999 and set(first.market_tickers) == set(MANY)
    assert all(gap.market_tickers is first.market_tickers for gap in others)
    assert driver.give_up is None
    driver.delete(want, MANY[1])
    lose(driver, MANY[0])
    (gap,) = driver.take(Gap)
    assert set(gap.market_tickers) == set(MANY) - {MANY[1]}
    assert driver.give_up is not None and "more than 1000 gaps within 60 s" in driver.give_up


def test_many_gaps_in_a_long_time_are_bearable() -> None:
    driver = Driver()
    driver.go_live("A")
    for _ in range(1500):
        lose(driver)
        driver.play(driver.pass_time(0.07))
    assert driver.live() == {"A"} and driver.give_up is None
    assert driver.session.output.counts.resyncs == 1500


def test_markets_that_only_the_exchange_names_do_no_harm() -> None:
    """A list of more markets than requested; then a gap, a look for missing snapshots, a failed repair."""
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(ok(1, 9, 41, ["A", "X"]))
    driver.turn(snapshot("A", 9, 42), snapshot("X", 9, 43), delta("X", 9, 44), delta("A", 9, 46))
    (gap,) = driver.take(Gap)
    assert gap.market_tickers == ("A",) and driver.status("A") == "STALE"
    assert asked(driver.pass_time(0.02)) == {"A"}
    driver.pass_time(30)
    assert set(driver.books) == {"A"}


def test_a_connection_that_is_lost_leaves_no_book_live_not_even_an_unconfirmed_one() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(snapshot("A", 1, 1))
    assert driver.live() == {"A"}
    driver.disconnect()
    assert driver.status("A") == "STALE"


def test_a_gap_on_another_channel_is_only_reported() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.want("trade")
    driver.play()
    driver.take()
    driver.turn({"type": "trade", "sid": 2, "seq": 4, "msg": {"market_ticker": "A"}})
    gap, message = driver.take()
    assert isinstance(gap, Gap) and (gap.channel, gap.market_tickers) == ("trade", ())
    assert getattr(message, "type", "") == "trade"
    assert driver.live() == {"A"} and driver.pass_time(100) == []


# -- a gap while one is being repaired -----------------------------------------------------------------------


def test_a_gap_during_the_repair_begins_it_again() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    lose(driver)
    (get,) = driver.pass_time(0.02)
    first, second = driver.venue.answer(get)
    driver.turn(first)
    driver.turn(delta("A", 1, driver.seq + 1))  # the second one is lost, and a delta
    driver.seq  # noqa: B018  # used up by that delta
    assert driver.live() == set()
    (again,) = driver.pass_time(0.02)
    assert asked([again]) == {"A", "B"}
    driver.play([again])
    assert driver.live() == {"A", "B"} and driver.give_up is None
    assert second["seq"] > first["seq"]


def test_three_failed_repairs_within_a_minute_are_too_many() -> None:
    """S32."""
    driver = Driver()
    driver.go_live("A", "B")
    lose(driver)
    for _ in range(2):
        assert driver.pass_time(0.02)
        lose(driver)
        assert driver.give_up is None
    assert driver.pass_time(0.02)
    lose(driver)
    assert driver.give_up == "three repairs of the books failed within a minute"
    driver.disconnect()
    driver.play(driver.connect())
    assert driver.give_up is None and driver.live() == {"A", "B"}
    lose(driver)
    driver.pass_time(0.02)
    lose(driver)  # the new connection starts from zero
    assert driver.give_up is None


def test_three_failed_repairs_in_more_than_a_minute_are_not() -> None:
    driver = Driver(Timing(snapshot=100.0))
    driver.go_live("A", "B")
    lose(driver)
    for _ in range(5):
        driver.pass_time(31)
        lose(driver)
    assert driver.give_up is None


# -- refused -------------------------------------------------------------------------------------------------


def test_a_refused_get_snapshot_leads_to_a_new_subscription() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    driver.venue.refused["get_snapshot"] = 13
    lose(driver)
    driver.play_time(1)
    assert driver.sid == 2 and driver.live() == {"A", "B"} and driver.give_up is None


def test_a_refused_get_snapshot_for_one_of_two_keeps_the_other_live_until_the_end() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    driver.venue.refused["get_snapshot"] = 13
    driver.turn(delta("A", 1, driver.seq, size=-50_000))
    (get,) = driver.pass_time(0.02)
    (end,) = driver.turn(*driver.venue.answer(get))
    assert action(end) == "unsubscribe" and driver.live() == {"B"}
    driver.take()
    commands = driver.turn(*driver.venue.answer(end))
    assert driver.live() == set() and [gap.market_tickers for gap in driver.take(Gap)] == [("B",)]
    driver.play(commands)
    assert driver.live() == {"A", "B"}


@pytest.mark.parametrize("code", [18, 27])
def test_get_snapshot_put_off(code: int) -> None:
    driver = Driver()
    driver.go_live("A")
    driver.venue.refused["get_snapshot"] = code
    lose(driver)
    driver.play_time(3)
    assert (
        driver.sid == 1
        and driver.live() == set()
        and actions(driver.all_sent).count("get_snapshot") in range(4, 8)
    )
    driver.venue.refused.clear()
    driver.play_time(1)
    assert driver.live() == {"A"}


def test_a_refused_user_request_is_not_a_failed_repair() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.wanted.snapshots["A"] = None
    (get,) = driver.turn()
    assert driver.turn(error(13, get["id"])) == [] and driver.live() == {"A"}


# -- one market ----------------------------------------------------------------------------------------------


def test_negative_size_touches_one_market() -> None:
    """S11."""
    driver = Driver()
    driver.go_live("A", "B")
    driver.turn(delta("A", 1, driver.seq, size=-5400, price=4000))
    assert driver.live() == {"B"} and driver.books["A"].yes == {4000: 100}
    fault, gap = driver.take()
    assert isinstance(fault, FeedFault) and fault.kind == "negative_size" and fault.message.count("A:") == 1
    assert fault.error is not None and fault.error.__traceback__ is None
    assert isinstance(gap, Gap) and (gap.market_tickers, gap.reason) == (("A",), "negative size")
    (get,) = driver.pass_time(0.02)
    assert asked([get]) == {"A"}
    driver.play([get])
    assert driver.live() == {"A", "B"} and driver.session.output.counts.gaps == 1


def test_delta_before_snapshot() -> None:
    """S07: neither applied nor delivered, reported once; the snapshot is requested."""
    driver = Driver()
    driver.venue.mute.add("A")
    driver.want(BOOK, "A")
    driver.play(driver.connect())
    driver.take()
    driver.turn(delta("A", 1, driver.seq), delta("A", 1, driver.seq))
    assert driver.books["A"].yes == {} and driver.status("A") == "PENDING"
    fault, gap = driver.take()
    assert isinstance(fault, FeedFault) and fault.kind == "delta_before_snapshot" and isinstance(gap, Gap)
    driver.venue.mute.clear()
    driver.play(driver.pass_time(0.02))
    assert driver.live() == {"A"}
    driver.turn(*driver.venue.change("A", 100))
    assert len(driver.take(OrderbookDelta)) == 1


def test_deltas_before_snapshots_are_not_failed_repairs() -> None:
    driver = Driver()
    driver.venue.mute |= {"A", "B", "C", "D"}
    driver.want(BOOK, "A", "B", "C", "D")
    driver.play(driver.connect())
    for ticker in ("A", "B", "C", "D"):
        driver.turn(delta(ticker, 1, driver.seq))
        driver.pass_time(0.02)
    assert driver.give_up is None and driver.session.output.counts.gaps == 1


def test_an_unreadable_snapshot_is_asked_for_again_but_not_in_a_storm() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    bad = [["0.40001", "1.00"]]
    driver.turn(snapshot("A", 1, driver.seq, yes_dollars_fp=bad))
    assert driver.live() == {"B"}
    assert asked(driver.pass_time(0.02)) == {"A"}
    driver.turn(snapshot("A", 1, driver.seq, yes_dollars_fp=bad))
    assert driver.pass_time(9) == []
    driver.play_time(2)
    assert driver.live() == {"A", "B"} and driver.sid == 1


def test_markets_that_end_on_another_channel_do_not_affect_books() -> None:
    driver = Driver()
    driver.go_live("A")
    want = driver.want("trade", "A")
    driver.play()
    driver.unwant(want)
    driver.play()
    assert driver.live() == {"A"} and driver.take(Gap) == []
    driver.turn(unsubscribed(None, 2))
    assert driver.live() == {"A"} and driver.faults() == []
