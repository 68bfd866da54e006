"""The conversation: subscriptions that the exchange ends."""

from __future__ import annotations

import pytest

from kalshi_feed import Gap
from tests.session.driver import BOOK, Driver, error, snapshot, subscribed, unsubscribed
from tests.session.support import actions


@pytest.mark.parametrize("code", [10, 17, 25])
@pytest.mark.parametrize("pending", [True, False])
def test_terminal_error_with_a_sid(code: int, pending: bool) -> None:
    """S24: whatever is in flight, the subscription is dead, and its books are not LIVE."""
    driver = Driver()
    want = driver.go_live("A", "B")
    late = None
    if pending:
        driver.add(want, "C")
        (late,) = driver.turn()
    assert driver.turn(error(code, sid=driver.sid, seq=driver.seq)) == []
    assert driver.live() == set() and driver.session.sid_of(BOOK) is None
    (gap,) = driver.take(Gap)
    assert set(gap.market_tickers) == {"A", "B"} and f"error {code}" in gap.reason
    if late is not None:
        assert driver.turn(error(7, late["id"])) == []
    driver.venue.subscriptions.clear()
    assert driver.pass_time(0.4) == []
    driver.play_time(1)
    assert driver.live() == {"A", "B", "C"} if pending else {"A", "B"}
    assert want.error is None and driver.give_up is None


def test_terminal_error_without_a_sid() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.turn(error(25))
    assert driver.give_up == "error 25 for an unknown subscription"
    assert driver.take()[0].message.endswith(
        "(this program reads too slowly, or subscribes to too many markets on one connection)"
    )


def test_terminal_error_with_an_unknown_sid() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.turn(error(10, sid=77))
    assert driver.give_up is not None


def test_terminal_error_that_names_an_overdue_get_snapshot() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.wanted.snapshots["A"] = None
    (command,) = driver.turn()
    driver.pass_time(11)
    driver.turn(error(25, command["id"]))
    assert driver.live() == set() and driver.session.sid_of(BOOK) is None and driver.give_up is None
    driver.venue.subscriptions.clear()
    driver.play_time(1)
    assert driver.live() == {"A"}


def test_terminal_error_reported_twice() -> None:
    driver = Driver()
    driver.go_live("A")
    frame = error(10, sid=driver.sid, seq=driver.seq)
    driver.turn(frame, frame, error(10, id=12345))
    assert driver.give_up is None and len(driver.faults()) == 3


@pytest.mark.parametrize("has_sid", [True, False])
def test_terminal_error_as_the_answer_to_a_change(has_sid: bool) -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "B")
    (add,) = driver.turn()
    driver.turn(error(10, add["id"], sid=driver.sid if has_sid else None))
    assert driver.live() == set() and driver.session.sid_of(BOOK) is None
    driver.venue.subscriptions.clear()
    driver.play_time(1)
    assert driver.live() == {"A", "B"} and want.error is None


@pytest.mark.parametrize("seen", [True, False])
def test_terminal_error_as_the_answer_to_a_subscribe(seen: bool) -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    if seen:  # its sid is known from a frame
        driver.turn(snapshot("A", 1, 1))
    assert driver.turn(error(10, 1, sid=1 if seen else None)) == []
    assert driver.live() == set()
    driver.play_time(1)
    assert driver.live() == {"A"} and driver.give_up is None


def test_a_subscription_that_dies_while_its_answer_is_awaited() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    (first,) = driver.connect()
    driver.turn(snapshot("A", 1, 1), error(10, sid=1))
    assert driver.status("A") == "STALE" and driver.turn() == []
    driver.turn(subscribed(first["id"], BOOK, 2), snapshot("A", 2, 1))
    assert driver.live() == {"A"} and driver.sid == 2


def test_a_subscription_that_dies_again_and_again_is_made_more_and_more_slowly() -> None:
    driver = Driver()
    driver.go_live("A")
    waits = []
    for _ in range(9):
        driver.turn(error(25, sid=driver.sid))
        del driver.venue.subscriptions[BOOK]
        before = driver.now
        while not (commands := driver.pass_time(0.25)):
            pass
        waits.append(round(driver.now - before, 1))
        driver.play(commands)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    driver.play_time(31)
    driver.turn(error(25, sid=driver.sid))
    assert actions(driver.pass_time(0.5)) == ["subscribe"]  # it was open long enough for a fresh start


def test_unsubscribed_unprompted() -> None:
    """S30: still wanted, so the books are STALE, and it is subscribed again; with or without a seq."""
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "B")
    driver.turn()
    driver.turn(unsubscribed(None, driver.sid, driver.seq))
    assert driver.status("A") == "STALE"
    assert [gap.reason for gap in driver.take(Gap)] == ["the exchange ended the subscription"]
    driver.venue.subscriptions.clear()
    driver.play_time(1)
    assert driver.live() == {"A", "B"}
