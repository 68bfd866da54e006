"""The conversation: commands with no answer, or a late one."""

from __future__ import annotations

import pytest

from tests.session.driver import BOOK, Driver
from tests.session.support import actions, confirmed


@pytest.mark.parametrize(
    "cmd", ["subscribe", "add_markets", "delete_markets", "unsubscribe", "list_subscriptions"]
)
def test_no_answer_is_asked_once_more_and_then_the_connection_is_given_up(cmd: str) -> None:
    driver = Driver()
    if cmd == "subscribe":
        driver.want(BOOK, "A")
        commands = driver.connect()
    else:
        want = driver.go_live("A", "B")
        if cmd == "add_markets":
            driver.add(want, "C")
        elif cmd == "delete_markets":
            driver.delete(want, "A")
        elif cmd == "unsubscribe":
            driver.unwant(want)
        else:
            driver.list_subscriptions()
        commands = driver.turn()
    assert actions(commands) == [cmd]
    assert driver.pass_time(9.9) == []
    (again,) = driver.pass_time(0.2)
    assert again == commands[0] | {"id": again["id"]} and again["id"] != commands[0]["id"]
    assert driver.give_up is None
    driver.pass_time(10)
    assert driver.give_up is not None and driver.give_up.startswith(f"no answer to {cmd}")
    driver.disconnect()
    driver.play(driver.connect())
    assert driver.give_up is None
    driver.play_time(1)
    assert driver.live() == {t for t in ("A", "B", "C") if driver.wanted.wants_book(t)}


def test_an_answer_that_may_lie_unread_is_not_overdue() -> None:
    """While a callback holds up the reader: no answer counts as missing before everything was read."""
    driver = Driver()
    driver.want(BOOK, "A")
    (command,) = driver.connect()
    for _ in range(5):
        driver.session.fell_behind(driver.now)
        assert driver.pass_time(9.9) == []
    driver.play(driver.turn(*driver.venue.answer(command)))
    assert driver.live() == {"A"} and driver.give_up is None
    driver.list_subscriptions()
    driver.turn()
    driver.session.fell_behind(driver.now)
    driver.pass_time(21)
    assert driver.give_up == "no answer to list_subscriptions"


def test_no_answer_to_a_list_that_only_the_session_asked_for() -> None:
    driver = Driver()
    want = driver.want("trade", "A")
    driver.connect()
    driver.turn({"type": "subscribed", "id": 1, "channel": "trade"})
    driver.add(want, "B")
    assert actions(driver.turn()) == ["list_subscriptions"]
    assert set(actions(driver.pass_time(10))) == {"list_subscriptions"}
    driver.pass_time(11)
    assert driver.give_up == "no answer to list_subscriptions"


def test_a_late_answer_to_the_first_try_of_a_change() -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "B")
    (add,) = driver.turn()
    (again,) = driver.pass_time(10)
    frames = driver.venue.answer(add)
    driver.turn(*frames)
    assert driver.faults() == ["unexpected_reply"] and driver.live() == {"A", "B"}
    driver.play([again])
    assert confirmed(driver) == {"A", "B"} and driver.live() == {"A", "B"}
