"""The store that all threads share: its waiters, its handles, and what a forked child finds."""

from __future__ import annotations

import copy
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed import (
    BookStatus,
    ConfigurationError,
    FeedClosedError,
    FeedForkedError,
    OrderBook,
    StaleBookError,
    WaitTimeout,
)
from kalshi_feed.books.store import Books, BookStore
from kalshi_feed.waiting import checked_timeout
from tests.books.support import level, waiting
from tests.support import wait_until


@pytest.fixture
def store() -> BookStore:
    return BookStore()


def write(store: BookStore, ticker: str = "A", **sides: dict[int, int]) -> None:
    """What the reader does with a snapshot: apply it under the lock, then release the waiters."""
    with store.change():
        store.book_locked(ticker).replace(sides.get("yes", {}), sides.get("no", {}), 7, 3, time.monotonic())


def announce(store: BookStore) -> int:
    with store.lock:
        ready = store.ready_locked()
    for waiter in ready:
        waiter.signal.set()
    return len(ready)


# -- waiting -------------------------------------------------------------------------------------------------


def test_wait_returns_what_is_there_already(store: BookStore) -> None:
    assert store.wait(lambda: 5, 0, str) == 5
    assert store.wait(lambda: 0, None, str) == 0  # False is a value, too


def test_wait_returns_the_value_when_it_comes(store: BookStore) -> None:
    values: list[int] = []
    with waiting(store, lambda: store.wait(lambda: values[0] if values else None, 5, str)) as found:
        assert announce(store) == 0  # nothing to see yet: no thread is woken
        values.append(3)
        assert announce(store) == 1
    assert found.ends == [3]


def test_wait_without_a_timeout(store: BookStore) -> None:
    values: list[int] = []
    with waiting(store, lambda: store.wait(lambda: values[0] if values else None, None, str)) as found:
        values.append(3)
        announce(store)
    assert found.ends == [3]


@pytest.mark.parametrize("timeout", [0, 0.02, 10**-9])
def test_wait_ends_by_its_deadline_and_says_what_was_missing(store: BookStore, timeout: float) -> None:
    began = time.monotonic()
    with pytest.raises(WaitTimeout) as timed_out:
        store.wait(lambda: None, timeout, lambda: "the moon")
    assert timeout <= time.monotonic() - began < timeout + 2
    assert str(timed_out.value) == f"timed out after {timeout:g} s: the moon"
    assert isinstance(timed_out.value, TimeoutError)
    assert store._waiters == []


def test_a_value_that_comes_with_the_deadline_counts(store: BookStore) -> None:
    """It was not announced, but it is there."""
    values: list[int] = []
    with waiting(store, lambda: store.wait(lambda: values[0] if values else None, 0.3, str)) as found:
        values.append(3)
    assert found.ends == [3]


def test_a_value_that_goes_again_does_not_end_the_wait(store: BookStore) -> None:
    """The reader saw it, but the waiting thread no longer does: it keeps waiting, and can be woken again."""
    values: list[int] = []
    looked = threading.Event()

    def check() -> int | None:
        found = values[0] if values else None
        if threading.current_thread() is not threading.main_thread():
            looked.set()
        return found

    with waiting(store, lambda: store.wait(check, 20, str)) as found:
        values.append(1)
        with store.lock:
            (waiter,) = store.ready_locked()
            assert store.ready_locked() == [waiter]  # until its thread has looked
            values.clear()
        looked.clear()
        waiter.signal.set()
        assert looked.wait(5)
        values.append(2)
        wait_until(lambda: announce(store))
    assert found.ends == [2]


def test_what_check_raises_is_raised_in_the_waiting_thread(store: BookStore) -> None:
    error = ValueError("no")
    broken: list[ValueError] = []

    def check() -> None:
        if broken:
            raise broken[0]

    with waiting(store, lambda: store.wait(check, 5, str)) as found:
        broken.append(error)
        assert announce(store) == 1
    assert found.ends == [error]
    with pytest.raises(ValueError, match="no"):
        store.wait(check, 5, str)


def test_the_end_of_the_feed_ends_every_wait(store: BookStore) -> None:
    with waiting(store, lambda: store.wait(lambda: None, None, str), 20) as found:
        with store.lock:
            store.ended = FeedClosedError("closed")
        assert announce(store) == 20
    assert [type(end) for end in found.ends] == [FeedClosedError] * 20
    assert len({id(end) for end in found.ends}) == 20  # each has its own traceback
    assert store.wait(lambda: 1, 0, str) == 1  # an existing value is still returned
    with pytest.raises(FeedClosedError, match="closed"):
        store.wait(lambda: None, 5, str)


def test_twenty_waiters_for_one_book(store: BookStore) -> None:
    handle = store.handle("A")
    book = store.book_locked("A")

    def check() -> OrderBook | None:
        return handle if book.status is BookStatus.LIVE else None

    with waiting(store, lambda: store.wait(check, 5, str), 20) as found:
        write(store, "B")
        assert found.ends == []
        write(store, "A", yes={4000: 100})
    assert found.ends == [handle] * 20


def test_waiters_and_a_writer_in_a_hurry(store: BookStore) -> None:
    """Each of many short waits ends with its value, however the two threads interleave."""
    handle = store.handle("A")
    done = threading.Event()

    def writer() -> None:
        while not done.is_set():
            write(store)

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        versions = [handle.wait_for_update(5).version for _ in range(200)]
    finally:
        done.set()
        thread.join(5)
    assert versions == sorted(set(versions))


@pytest.mark.parametrize(
    "timeout", [-1, -0.001, float("nan"), float("-inf"), "5", True, b"", [], -(10**400)], ids=str
)
def test_bad_timeouts(store: BookStore, timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds of 0 or more, or None"):
        store.wait(lambda: 1, timeout, str)


def test_timeouts() -> None:
    assert checked_timeout(None) is None
    assert checked_timeout(0) == 0.0
    assert checked_timeout(2) == 2.0
    assert checked_timeout(float("inf")) is checked_timeout(1e300) is checked_timeout(10**400) is None


def test_waiting_in_slices(store: BookStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where Ctrl-C gets its chance between them."""
    monkeypatch.setattr("kalshi_feed.waiting._SLICE", 0.005)
    values: list[int] = []
    with waiting(store, lambda: store.wait(lambda: values[0] if values else None, None, str)) as found:
        values.append(3)
        announce(store)
    assert found.ends == [3]
    with pytest.raises(WaitTimeout):
        store.wait(lambda: None, 0.02, str)


# -- handles -------------------------------------------------------------------------------------------------


def test_one_handle_per_market(store: BookStore) -> None:
    handle = store.handle("A")
    assert store.handle("A") is handle and handle.market_ticker == "A"
    assert store.handle("B") is not handle
    write(store)
    assert store.handle("A") is handle and handle.is_live
    with pytest.raises(TypeError, match=r"view\(\)"):
        copy.copy(handle)


def test_a_book_before_its_snapshot(store: BookStore) -> None:
    book = store.handle("A")
    assert (book.status, book.is_live, book.version, book.seq, book.clock) == (
        BookStatus.PENDING,
        False,
        0,
        None,
        None,
    )
    assert book.age() is None and book.updated_at is None
    answers = (
        book.best_bid(),
        book.best_ask(),
        book.mid(),
        book.spread(),
        book.microprice(),
        book.imbalance(),
    )
    assert set(answers) == {None} and book.bids() == book.asks() == ()
    assert repr(book) == "<OrderBook A PENDING version 0>"
    assert store.view("NOBODY") is None and "NOBODY" not in store.books


def test_the_questions_of_a_book(store: BookStore) -> None:
    write(store, yes={4000: 1000, 3900: 500}, no={5400: 250})
    book = store.handle("A")
    assert (book.status, book.version, book.seq, book.clock) == (BookStatus.LIVE, 1, 7, 3)
    assert book.best_bid() == level("0.40", "10") and book.best_bid("no") == level("0.54", "2.5")
    assert book.best_ask() == level("0.46", "2.5") and book.best_ask("no") == level("0.60", "10")
    assert book.bids() == (level("0.40", "10"), level("0.39", "5")) and book.bids("yes", 1) == book.bids()[:1]
    assert (
        book.asks("no") == (level("0.60", "10"), level("0.61", "5"))
        and book.asks("no", depth=1) == book.asks("no")[:1]
    )
    assert (book.mid(), book.mid("no"), book.spread(), book.spread("no")) == (
        Decimal("0.43"), Decimal("0.57"), Decimal("0.06"), Decimal("0.06"),
    )  # fmt: skip
    assert book.microprice() == Decimal("0.448")
    assert book.depth_at("yes", "0.39") == 5 and book.depth_at("no", 0.1) == 0
    assert book.imbalance(1) == Decimal("0.6") and book.imbalance(side="no") < 0  # type: ignore[operator]
    assert book.cost_to_buy("yes", 2) == Decimal("0.92") and book.cost_to_buy("yes", 3) is None
    assert book.cost_to_sell("yes", 11) == Decimal("4.39") and book.cost_to_sell("no", 3) is None
    assert book.to_dict()["yes"] == [["0.4000", "10.00"], ["0.3900", "5.00"]]
    view = book.view(require_live=True)
    assert view == store.view("A") and view.is_live
    assert book.is_crossed is view.is_crossed is False
    with pytest.raises(ConfigurationError):
        book.best_bid("maybe")


def test_age_and_updated_at(store: BookStore) -> None:
    write(store)
    book = store.handle("A")
    age, updated_at = book.age(), book.updated_at
    assert age is not None and 0 <= age < 5
    assert updated_at is not None and updated_at.tzinfo is timezone.utc
    assert abs((datetime.now(timezone.utc) - updated_at).total_seconds()) < 5
    store.books["A"].updated = time.monotonic() + 100  # from a clock that was read before this one
    assert book.age() == 0


def test_require_live(store: BookStore) -> None:
    write(store, yes={4000: 100})
    book = store.handle("A")
    with store.lock:
        store.books["A"].set_status(BookStatus.STALE)
    assert book.view().best_bid() == level("0.40", "1")  # as last known
    with pytest.raises(StaleBookError, match="book of A is STALE, not LIVE") as stale:
        book.view(require_live=True)
    assert (stale.value.market_ticker, stale.value.status) == ("A", "STALE")


def test_wait_for_update(store: BookStore) -> None:
    book = store.handle("A")
    with waiting(store, lambda: book.wait_for_update(5), 2) as found:
        write(store, "B")
        write(store, "A", yes={4000: 100})
    assert [view.best_bid() for view in found.ends] == [level("0.40", "1")] * 2
    with pytest.raises(WaitTimeout, match=r"the book of A \(LIVE\) did not change"):
        book.wait_for_update(0.01)
    assert book.wait_for_update(0, after=0).version == 1
    assert book.wait_for_update(timeout=0, after=-5).version == 1
    with pytest.raises(WaitTimeout):
        book.wait_for_update(0, after=book.version)
    with pytest.raises(ConfigurationError):
        book.wait_for_update(-1)


def test_a_change_of_status_is_an_update(store: BookStore) -> None:
    write(store)
    book = store.handle("A")
    with waiting(store, lambda: book.wait_for_update(5)) as found:
        with store.lock:
            store.books["A"].set_status(BookStatus.STALE)
        announce(store)
    assert found.ends[0].status is BookStatus.STALE


# -- the mapping of the wanted ones --------------------------------------------------------------------------


def test_a_store_without_a_reader_has_no_live_book(store: BookStore) -> None:
    write(store, "A", yes={4000: 100})
    with store.lock:
        store.book_locked("B")
    with waiting(store, lambda: store.handle("A").wait_for_update(5)) as found, store.change():
        assert store.none_live_locked() == ["A"]
    assert [store.handle(ticker).status for ticker in ("A", "B")] == [BookStatus.STALE, BookStatus.PENDING]
    assert found.ends[0].status is BookStatus.STALE


def test_books_is_a_mapping_of_what_is_wanted(store: BookStore) -> None:
    wanted = ["A", "B"]
    mapping = Books(store, lambda: tuple(wanted), wanted.__contains__)
    store.handle("C")
    assert list(mapping) == ["A", "B"] and len(mapping) == 2 and "C" not in mapping and "A" in mapping
    assert mapping["A"] is store.handle("A") and mapping.get("C") is None
    with pytest.raises(KeyError):
        mapping["C"]
    for ticker in mapping:
        wanted.append(f"{ticker}{ticker}")  # wanted in the middle of an iteration
    assert dict(mapping).keys() == {"A", "B", "AA", "BB"}
    assert repr(mapping) == "<Books A, B, AA, BB>"
    wanted += ["X", "Y"]
    assert repr(mapping) == "<Books A, B, AA, BB, X …>"
    assert not hasattr(mapping, "__setitem__")


# -- another process -----------------------------------------------------------------------------------------


def in_child(look: Callable[[], object]) -> int:
    """The exit code of a forked child: 0 if ``look`` raises FeedForkedError, 1 if it returns, 2 otherwise."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            look()
            code = 1
        except FeedForkedError as error:
            code = 0 if "before fork()" in str(error) else 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_a_fork_does_to_a_store(store: BookStore) -> None:
    book, lock = store.handle("A"), store.lock
    store.leave_child()
    assert store.lock is not lock
    with pytest.raises(FeedForkedError):
        book.view()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_after_a_fork(store: BookStore) -> None:
    """The lock is held by another thread when the process forks: the child must not hang on it."""
    write(store, yes={4000: 100})
    book = store.handle("A")
    mapping = Books(store, lambda: ("A",), "A".__eq__)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.lock:
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(5)
    looks: list[Callable[[], object]] = [
        book.view, book.best_bid, book.best_ask, book.mid, book.to_dict, lambda: book.wait_for_update(5),
        lambda: store.handle("B"), lambda: mapping["A"], lambda: store.wait(lambda: 1, 5, str), store.check_fork,  # noqa: E501
    ]  # fmt: skip
    try:
        assert [in_child(look) for look in looks] == [0] * len(looks)
        assert in_child(lambda: store.view("A")) == 1  # for the streams that dispatch must still end
    finally:
        done.set()
        holder.join(5)
    assert book.view().is_live  # nothing changed here
