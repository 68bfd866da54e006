"""What the connection reports besides messages: a large one under way, binary frames, a sleep."""

from __future__ import annotations

from datetime import datetime, timezone

from kalshi_feed import Gap
from tests.session.driver import BOOK, Driver, snapshot, subscribed


def arrive(driver: Driver, seconds: int, since: float | None) -> list[object]:
    """One turn per second while a message is arriving; returns the commands they draw."""
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
    assert arrive(driver, 10, None) != []  # it is requested ten seconds after the large one has come
    assert driver.faults() == []


def test_N40_messages_that_come_one_after_another_hold_up_nothing() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    for _ in range(9):
        assert arrive(driver, 1, driver.now) == []  # each at most a second old
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
    assert driver.give_up is None  # the first six were more than a minute ago
    driver.session.ignored_binary(1, driver.now)
    assert driver.give_up == "11 unreadable frames within 60 s"


# -- the machine slept ---------------------------------------------------------------------------------------

BEFORE = datetime(2026, 11, 30, 23, 0, tzinfo=timezone.utc)


def test_N44_after_a_sleep_no_book_is_live_until_its_next_snapshot() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    driver.now += 5.0
    driver.session.slept(28_800.0, BEFORE, driver.now)
    commands = driver.turn()
    assert [driver.status(name) for name in ("A", "B")] == ["STALE", "STALE"]
    (gap,) = driver.take()
    assert gap == Gap(
        BOOK, driver.sid, None, None, ("A", "B"), "the machine slept for 28800 s", gap_started=BEFORE
    )
    driver.play(commands + driver.pass_time(0.1))
    assert driver.live() == {"A", "B"}


def test_N44_a_book_is_as_much_older_as_the_machine_slept() -> None:
    """The clock of the books stood still meanwhile."""
    driver = Driver()
    driver.go_live("A", "B")
    went_live = driver.now
    driver.now += 5.0
    driver.change("B")
    driver.want(BOOK, "NEW")  # without a snapshot yet: it has no age
    driver.session.slept(60.0, BEFORE, driver.now)
    ages = {name: book.view(driver.now, 0.0).age() for name, book in driver.books.items()}
    assert ages == {"A": 65.0, "B": 0.0, "NEW": None}, "B changed after the machine woke up"
    assert driver.books["A"].updated == went_live - 60.0


def test_N44_without_a_live_book_a_sleep_is_not_a_gap() -> None:
    driver = Driver()
    driver.venue.mute.add("A")
    driver.want(BOOK, "A")
    driver.play(driver.connect())
    driver.take()
    driver.session.slept(60.0, BEFORE, driver.now)
    assert driver.status("A") == "PENDING"
    assert driver.turn() == [] and driver.take() == [] and driver.session.output.counts.gaps == 0
