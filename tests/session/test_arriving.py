"""What the connection tells the session beside messages: a large one that is under way, and frames that are
no text."""

from __future__ import annotations

from tests.session.driver import BOOK, Driver, snapshot, subscribed


def arrive(driver: Driver, seconds: int, since: float | None) -> list[object]:
    """So many turns, one a second, of a connection on which a message has been arriving; the commands they
    draw."""
    sent: list[object] = []
    for _ in range(seconds):
        driver.now += 1.0
        driver.session.arriving(since, driver.now)
        sent += driver.turn()
    return sent


def test_N40_answers_behind_a_large_message_get_the_time_it_takes() -> None:
    driver = Driver()
    driver.want(BOOK, "A", "B")
    driver.connect()
    driver.session.arriving(None, driver.now)
    assert arrive(driver, 8, None) == []
    began = driver.now
    assert arrive(driver, 300, began) == [] and driver.give_up is None  # of the subscribe
    driver.turn(subscribed(1, BOOK, 1), snapshot("A", 1, 1, {}))
    began = driver.now
    assert arrive(driver, 300, began) == [] and driver.give_up is None  # of the other snapshot
    assert arrive(driver, 10, None) != []  # it is asked for, ten seconds after the large one has come
    assert driver.faults() == []


def test_N40_messages_that_come_one_after_another_hold_up_nothing() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    for _ in range(9):
        assert arrive(driver, 1, driver.now) == []  # each a second old at most
    assert arrive(driver, 1, driver.now) != []  # asked again after ten seconds


def test_N23_binary_frames_are_counted_and_too_many_of_them_are_too_many() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.session.ignored_binary(6, driver.now)
    driver.now += 59.0
    driver.session.ignored_binary(4, driver.now)
    driver.turn()
    assert driver.faults() == ["binary_frame"] * 10
    assert driver.live() == {"A"} and driver.give_up is None
    driver.now += 2.0
    driver.session.ignored_binary(6, driver.now)
    assert driver.give_up is None  # the first six are more than a minute ago
    driver.session.ignored_binary(1, driver.now)
    assert driver.give_up == "11 unreadable frames within 60 s"
