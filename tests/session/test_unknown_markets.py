"""S39, markets that the exchange does not know (PROTOCOL.md 5.4): status, and when they are retried."""

from __future__ import annotations

from typing import Any

import pytest

from kalshi_feed.errors import UnknownMarketError
from kalshi_feed.events import FeedFault, Gap
from kalshi_feed.messages import OrderbookSnapshot
from kalshi_feed.session.memory import SessionMemory
from kalshi_feed.session.server_subscription import ServerSubscriptions
from kalshi_feed.session.session import Session
from kalshi_feed.session.timing import Timing

from .driver import BOOK, Driver, delta, snapshot, subscribed, ticker


def lifecycle(market_ticker: str, event_type: str, **more: Any) -> dict[str, Any]:
    msg = {"market_ticker": market_ticker, "event_type": event_type, **more}
    return {"type": "market_lifecycle_v2", "sid": 9, "seq": 1, "msg": msg}


def changes(sent: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """The commands as (what, markets)."""
    found = []
    for command in sent:
        params = command["params"]
        found.append((params.get("action", command["cmd"]), params.get("market_tickers", [])))
    return found


def unknown(*market_tickers: str, live: tuple[str, ...] = ("A",)) -> Driver:
    """Connected; some books are LIVE, and those of ``market_tickers`` UNKNOWN."""
    driver = Driver()
    driver.venue.unknown.update(market_tickers)
    for name in live:
        driver.venue.change(name, 100)
    driver.want(BOOK, *live, *market_tickers)
    driver.play(driver.connect())
    assert driver.live() == set(live) and {driver.status(name) for name in market_tickers} == {"UNKNOWN"}
    return driver


def test_S39_an_empty_snapshot_without_an_id_makes_the_book_unknown() -> None:
    driver = unknown("TYPO")
    (fault,) = driver.take(FeedFault)
    assert fault.kind == "unknown_market" and fault.context == {"market_ticker": "TYPO"}
    assert isinstance(fault.error, UnknownMarketError) and str(fault.error) == fault.message
    assert not driver.books["TYPO"].was_known
    assert driver.pass_time(59) == [] and driver.take() == [], (
        "nothing is repaired, and nothing is reported again"
    )


@pytest.mark.parametrize("more", [{"market_id": None}, {"market_id": "u"}], ids=["missing", "known"])
def test_S39_an_empty_book_of_a_market_with_an_id_or_none_said_is_live(more: dict[str, Any]) -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    frame = snapshot("A", 1, 1)
    frame["msg"] = {key: value for key, value in {**frame["msg"], **more}.items() if value is not None}
    driver.turn(subscribed(1, BOOK, 1), frame)
    assert driver.live() == {"A"} and driver.faults() == []


def test_S39_levels_make_a_market_known() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(subscribed(1, BOOK, 1), snapshot("A", 1, 1, {"yes": {100: 1}}, market_id=""))
    assert driver.live() == {"A"} and driver.faults() == []


def test_S39_it_is_asked_for_again_by_deleting_and_adding_in_twice_the_time_each() -> None:
    driver = unknown("TYPO")
    at = driver.now
    times = []
    while driver.now < at + 2000:
        for command in driver.pass_time(1):
            if command["params"].get("action") == "delete_markets":
                times.append(round(driver.now - at))
                assert command["params"]["market_tickers"] == ["TYPO"]
            driver.play([command])
    assert times == [60, 180, 420, 900, 1500]
    actions = [command["params"].get("action") for command in driver.all_sent]
    assert actions == [None, *["delete_markets", "add_markets"] * 5]
    assert (
        driver.status("TYPO") == "UNKNOWN"
        and driver.live() == {"A"}
        and driver.faults() == ["unknown_market"]
    )


def test_S39_the_last_market_is_asked_for_again_by_a_new_subscription() -> None:
    """PROTOCOL.md 3.3: a filter is never empty."""
    driver = unknown("T1", "T2", live=())
    sent = driver.pass_time(61)
    assert changes(sent) == [("unsubscribe", [])]
    driver.venue.unknown.clear()
    driver.play(sent)
    assert driver.live() == {"T1", "T2"}
    driver.change("T1")
    assert driver.books["T1"].yes == {4000: 100}


def test_S39_more_markets_than_fit_into_one_command() -> None:
    names = [f"T{n}" for n in range(1200)]
    driver = unknown(*names)
    driver.take()
    driver.venue.unknown.clear()
    driver.play_time(62)
    assert driver.live() == {"A", *names} and driver.take(Gap) == []


def test_S39_only_a_snapshot_after_that_makes_it_live() -> None:
    """Deltas for a market that was unknown when it was subscribed may never come."""
    driver = unknown("NEW")
    driver.take()
    driver.venue.unknown.clear()
    driver.turn(snapshot("NEW", driver.sid, driver.seq, {"yes": {100: 1}}))
    assert (
        driver.status("NEW") == "UNKNOWN"
        and driver.take(OrderbookSnapshot) == []
        and driver.ignored("unknown_market") == 1
    )
    sent = [command for command in driver.all_sent if command["params"].get("action")]
    assert changes(sent) == [("delete_markets", ["NEW"])], "it is a sign that the market exists"
    driver.play(sent)
    assert driver.live() == {"A", "NEW"}
    driver.change("NEW", 300)
    assert driver.books["NEW"].yes == {4000: 300}
    assert driver.pass_time(1000) == []


def test_S39_a_delta_is_a_sign_and_neither_applied_nor_a_gap() -> None:
    driver = unknown("NEW")
    driver.take()
    driver.venue.unknown.clear()
    sent = driver.turn(delta("NEW", driver.sid, driver.seq))
    assert (
        changes(sent) == [("delete_markets", ["NEW"])]
        and driver.take() == []
        and driver.ignored("unknown_market") == 1
    )
    driver.play(sent)
    assert driver.live() == {"A", "NEW"}


def test_S39_it_is_asked_for_at_once_when_it_was_created() -> None:
    driver = unknown("NEW", "OLD")
    driver.want("market_lifecycle_v2")
    driver.turn()
    driver.turn(subscribed(2, "market_lifecycle_v2", 9))
    driver.venue.unknown.discard("NEW")
    sent = driver.turn(lifecycle("NEW", "created", close_ts=2_000_000_000))
    assert changes(sent) == [("delete_markets", ["NEW"])]
    driver.play(sent)
    assert driver.live() == {"A", "NEW"}


def test_S39_signs_one_after_the_other_do_not_make_a_flood() -> None:
    driver = unknown("NEW")
    driver.all_sent.clear()
    for _ in range(100):
        driver.play(driver.pass_time(0.01))
        driver.session.unknown_markets.ask_soon("NEW")
    driver.play()
    assert len(driver.all_sent) <= 4, "twice in one second at most"
    assert driver.status("NEW") == "UNKNOWN"


def test_S39_a_market_that_was_live_or_whose_close_has_passed_was_known() -> None:
    driver = unknown("GONE", "LATER")
    driver.want("market_lifecycle_v2")
    driver.turn()
    driver.turn(subscribed(2, "market_lifecycle_v2", 9))
    driver.turn(
        lifecycle("GONE", "close_date_updated", close_ts=1_000),
        {**lifecycle("LATER", "close_date_updated", close_ts=3_000), "seq": 2},
    )
    for name in ("GONE", "LATER", "A"):
        frame = {**snapshot(name, driver.sid, driver.seq, market_id=""), "sending_ts_ms": 2_000_000}
        driver.turn(frame)
    assert [driver.books[name].was_known for name in ("GONE", "LATER", "A")] == [True, False, True]
    assert driver.live() == set() and driver.status("A") == "UNKNOWN"
    *_, fault = driver.take(FeedFault)
    assert "no longer knows the market A" in fault.message and fault.error.was_known


@pytest.mark.parametrize("event_type", ["determined", "settled"])
def test_S39_a_market_that_was_determined_was_known(event_type: str) -> None:
    driver = unknown("GONE")
    driver.want("market_lifecycle_v2")
    driver.turn()
    driver.turn(subscribed(2, "market_lifecycle_v2", 9))
    driver.turn(lifecycle("GONE", event_type), {**lifecycle("NOBODYS", event_type, close_ts=5), "seq": 2})
    assert driver.books["GONE"].was_known and driver.session.unknown_markets.closes == {}


def test_S39_a_lost_connection_and_a_gap_leave_it_unknown() -> None:
    driver = unknown("TYPO")
    driver.turn(delta("A", driver.sid, driver.seq + 1))
    (gap,) = driver.take(Gap)
    assert gap.market_tickers == ("A",) and driver.status("TYPO") == "UNKNOWN"
    driver.play_time(1)
    assert driver.live() == {"A"}
    driver.pass_time(6)
    assert driver.disconnect(), "the session was a healthy one all the same"
    assert driver.status("TYPO") == "UNKNOWN" and driver.status("A") == "STALE"
    driver.take()
    driver.play(driver.connect())
    assert driver.status("TYPO") == "UNKNOWN" and driver.live() == {"A"} and driver.faults() == []
    driver.venue.unknown.clear()
    driver.disconnect()
    driver.play(driver.connect())
    assert driver.live() == {"A", "TYPO"}, "on a new connection nothing was subscribed before"


def test_S39_nothing_is_asked_for_while_there_is_no_connection() -> None:
    driver = unknown("TYPO")
    driver.disconnect()
    driver.session.unknown_markets.ask_soon("TYPO")
    assert driver.pass_time(500) == []


def test_S39_it_is_no_longer_wanted() -> None:
    driver = unknown("TYPO")
    (want,) = driver.wanted.wants
    driver.delete(want, "TYPO")
    driver.play()
    assert driver.status("TYPO") == "CLOSED" and driver.pass_time(1000) == []
    assert (
        driver.session.unknown_markets.questions == {}
        and not driver.session.reconciler.subscriptions[BOOK].unproven
    )
    driver.add(want, "TYPO")
    driver.take()
    driver.play()
    assert driver.status("TYPO") == "UNKNOWN" and driver.faults() == ["unknown_market"]


def test_S39_the_user_asks_for_a_snapshot_of_a_market_that_has_come_to_be() -> None:
    driver = unknown("NEW")
    driver.venue.unknown.clear()
    driver.wanted.snapshots["NEW"] = None
    driver.play()
    driver.play_time(2)
    assert driver.live() == {"A", "NEW"}


def test_S39_no_answer_to_the_question_ends_nothing() -> None:
    driver = unknown("TYPO")
    driver.venue.mute.add("TYPO")
    driver.play_time(300)
    assert driver.live() == {"A"} and driver.status("TYPO") == "UNKNOWN" and driver.give_up is None
    driver.venue.mute.clear()
    driver.venue.unknown.clear()
    driver.play_time(400)
    assert driver.live() == {"A", "TYPO"}


def test_S39_a_restored_session_asks_when_the_other_one_would_have() -> None:
    lives = []
    for is_restored in (False, True):
        driver = unknown("TYPO")
        driver.play_time(100)
        driver.session.unknown_markets.ask_soon("TYPO")
        sent = driver.turn()
        if is_restored:
            memory = SessionMemory()
            driver.session.save(memory)
            driver.session = Session(driver.books, driver.wanted, timing=driver.timing)
            driver.session.restore(memory, driver.now)
        driver.play(sent)
        driver.play_time(1000)
        lives.append((driver.all_sent, driver.session.next_deadline()))
    assert lives[0] == lives[1] and len(lives[0][0]) > 8


def test_S39_a_wait_can_see_which_question_was_answered() -> None:
    """wait_for_book() asks again, and takes only an answer to that or to a later question."""
    driver = unknown("TYPO")
    markets = driver.session.unknown_markets
    first = markets.answered("TYPO")
    assert first == markets.serial > 0 and markets.answered("A") == 0
    markets.ask_soon("TYPO")
    markets.ask_soon("A")  # a sign of a market that is known draws no question
    sent = driver.turn()
    assert changes(sent) == [("delete_markets", ["TYPO"])]
    assert markets.answered("TYPO") == first < markets.serial, "no answer yet"
    driver.play(sent)
    assert markets.answered("TYPO") == markets.serial > first


def test_S39_where_nothing_was_asked_again_a_snapshot_makes_the_book_live() -> None:
    """A replay of what was recorded before the feed asked again: the recorded answers are all there are."""
    driver = Driver()
    driver.session = Session(driver.books, driver.wanted, timing=driver.timing, asks_again=False)
    driver.want(BOOK, "NEW")
    driver.connect()
    driver.turn(subscribed(1, BOOK, 1), snapshot("NEW", 1, 1, market_id=""))
    assert driver.status("NEW") == "UNKNOWN" and driver.faults() == ["unknown_market"]
    assert driver.session.unknown_markets.answered("NEW") == 0
    assert driver.pass_time(1000) == []
    driver.turn(snapshot("NEW", 1, 2, {"yes": {4000: 100}}))
    assert driver.live() == {"NEW"}


def test_R35_what_the_session_knows_about_markets_goes_when_they_are_not_wanted() -> None:
    driver = Driver(Timing(pace=0.0))
    keeper = driver.go_live("KEEP")
    driver.venue.unknown.update(f"T{n}" for n in range(0, 50, 2))
    for n in range(50):
        name = f"T{n}"
        driver.venue.change(name, 100)
        want = driver.want((BOOK, "ticker"), name)
        driver.play()
        driver.session.repair._mute.add(name)
        driver.session.left_out._snapshotless.add(name)
        sid = driver.session.sid_of("ticker")
        for _ in range(3):
            driver.turn(ticker(name, sid, yes_bid_dollars="0.1000", yes_ask_dollars="0.9000"))
            driver.pass_time(3)
        driver.unwant(want)
        driver.play()
        del driver.books[name]  # as the store does
    driver.play_time(10)
    assert driver.live() == {"KEEP"} and not keeper.closed
    assert _sizes_above(driver.session, 20) == {}


def _sizes_above(session: Any, bound: int) -> dict[str, int]:
    """The containers of the session and its parts with more than ``bound`` items."""
    found: dict[str, int] = {}
    parts = {
        "session": session,
        "reconciler": session.reconciler,
        "repair": session.repair,
        "cross_check": session.cross_check,
    }
    parts |= {
        "left_out": session.left_out,
        "unknown_markets": session.unknown_markets,
        "output": session.output,
        "wanted": session._wanted,
    }
    parts |= {"counts": session.output.counts, "subscriptions": session.reconciler.subscriptions}
    for name, part in parts.items():
        for attribute, value in vars(part).items():
            is_bounded = attribute in ("retired", "_expired")
            if hasattr(value, "__len__") and len(value) > bound and not is_bounded:
                found[f"{name}.{attribute}"] = len(value)
    for subscription in session.reconciler.subscriptions:
        for attribute in subscription.__slots__:
            value = getattr(subscription, attribute)
            if hasattr(value, "__len__") and len(value) > bound:
                found[f"{subscription.name}.{attribute}"] = len(value)
    return found


def test_R35_only_the_last_subscriptions_that_have_ended_are_remembered() -> None:
    subscriptions = ServerSubscriptions()
    for sid in range(1, 1_201):
        subscriptions.adopt(subscriptions[BOOK], sid)
        subscriptions.retire(subscriptions[BOOK])
    assert set(subscriptions.retired) == set(range(201, 1_201))
