"""The store's clocks: now(), sleep_until() and every(), as a live feed uses them."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone

import pytest

from kalshi_feed import ConnectionFailed, FeedClosedError, FeedForkedError
from kalshi_feed.books.store import BookStore
from kalshi_feed.errors import KalshiFeedError
from tests.books.support import waiting

MILLISECOND = 1_000_000


class FixedClock:
    """A clock that stands still: Unix time 1785901540.25."""

    def monotonic(self) -> float:
        return 100.0

    def time(self) -> float:
        return 1_785_901_540.25


class SteppedStore(BookStore):
    """A store whose timer moves only when a test moves it, or when a sleep ends."""

    def __init__(self) -> None:
        super().__init__(FixedClock())
        self.at = 1_000
        self.sleeps: list[int] = []  # what every sleep waited for

    def timer_ns(self) -> int:
        return self.at

    def sleep_until(self, timer_ns: int) -> bool:
        self.sleeps.append(timer_ns)
        self.at = max(self.at, timer_ns)
        return super().sleep_until(timer_ns)


def end(store: BookStore, error: KalshiFeedError) -> None:
    """The feed ends, as its reader does it."""
    with store.change():
        store.ended = error


def test_now_is_the_clocks_time_in_utc() -> None:
    now = BookStore(FixedClock()).now()
    assert now == datetime(2026, 8, 5, 3, 45, 40, 250_000, tzinfo=timezone.utc)
    assert now.tzinfo is timezone.utc


def test_the_timer_is_the_machines_monotonic_clock() -> None:
    before = time.monotonic_ns()
    assert before <= BookStore(FixedClock()).timer_ns() <= time.monotonic_ns()


def test_a_sleep_lasts_until_its_moment() -> None:
    store = BookStore()
    due = store.timer_ns() + 30 * MILLISECOND
    assert store.sleep_until(due)
    assert store.timer_ns() >= due


def test_a_sleep_until_a_moment_that_has_passed_returns_at_once() -> None:
    store = BookStore()
    began = time.monotonic()
    assert store.sleep_until(store.timer_ns() - 3600 * 1000 * MILLISECOND)
    assert time.monotonic() - began < 2


def test_a_closed_feed_wakes_the_sleeper_and_refuses_the_next_one() -> None:
    store = BookStore()
    with waiting(store, lambda: store.sleep_until(store.timer_ns() + 60_000 * MILLISECOND)) as found:
        end(store, FeedClosedError("closed"))
    assert found.ends == [False]
    with pytest.raises(FeedClosedError, match="closed"):
        store.sleep_until(store.timer_ns())


def test_a_fatal_error_is_raised_in_the_sleeper() -> None:
    store = BookStore()
    fatal = ConnectionFailed("refused")
    with waiting(store, lambda: store.sleep_until(store.timer_ns() + 60_000 * MILLISECOND)) as found:
        end(store, fatal)
    (error,) = found.ends
    assert type(error) is ConnectionFailed and str(error) == "refused"
    assert error is not fatal, "each thread gets its own traceback"
    with pytest.raises(ConnectionFailed, match="refused"):
        store.sleep_until(store.timer_ns())


def test_no_sleep_in_a_child_process() -> None:
    store = BookStore()
    store.leave_child()
    with pytest.raises(FeedForkedError):
        store.sleep_until(store.timer_ns())


def test_every_gives_the_time_once_per_period() -> None:
    store = SteppedStore()
    ticks = store.every(10)
    assert [next(ticks) for _ in range(3)] == [store.now()] * 3
    assert store.sleeps == [1_010, 1_020, 1_030]


@pytest.mark.parametrize(
    ("busy", "following"),
    [
        (4, 1_020),  # the caller was quick
        (10, 1_020),  # ready exactly when the next one is due
        (11, 1_030),  # too slow for one
        (20, 1_030),
        (45, 1_060),  # too slow for four
    ],
)
def test_every_skips_the_moments_that_the_caller_was_too_slow_for(busy: int, following: int) -> None:
    store = SteppedStore()
    ticks = store.every(10)
    next(ticks)
    store.at += busy
    next(ticks)
    next(ticks)
    assert store.sleeps == [1_010, following, following + 10], "the grid stays where it was"


def test_every_ends_with_the_feed() -> None:
    store = SteppedStore()
    ticks = store.every(10)
    next(ticks)
    end(store, FeedClosedError("closed"))
    assert list(ticks) == []
    assert list(store.every(10)) == []


def test_a_close_ends_a_loop_that_waits_in_every() -> None:
    store = BookStore()
    with waiting(store, lambda: list(store.every(60_000 * MILLISECOND))) as found:
        end(store, FeedClosedError("closed"))
    assert found.ends == [[]]


def test_every_raises_the_fatal_error() -> None:
    store = SteppedStore()
    ticks = store.every(10)
    next(ticks)
    end(store, ConnectionFailed("refused"))
    with pytest.raises(ConnectionFailed, match="refused"):
        next(ticks)


def test_stepping_out_of_a_live_feed_changes_nothing() -> None:
    """It holds no lock meanwhile, and what is raised inside gets out."""
    store = BookStore()
    with pytest.raises(ZeroDivisionError), store.stepping_out():
        other = threading.Thread(target=end, args=(store, FeedClosedError("closed")))
        other.start()
        other.join(5)
        assert not other.is_alive()
        raise ZeroDivisionError
    assert isinstance(store.ended, FeedClosedError)
