"""Books that no one wants any more: forgotten with the next turn, and found again through their handles."""

from __future__ import annotations

import gc
import pickle
import time
import weakref

import pytest

from kalshi_feed import BookStatus, KalshiFeedError, StaleBookError, UnknownMarketError
from kalshi_feed.books.store import Books, BookStore
from kalshi_feed.waiting import Waiter


def open_book(store: BookStore, market_ticker: str, status: BookStatus = BookStatus.LIVE) -> None:
    with store.lock:
        store.book_locked(market_ticker).set_status(status)


def release(store: BookStore, *market_tickers: str) -> dict[str, bool]:
    """Release these as the end of a turn does; whether each was forgotten, with a handle."""
    with store.lock:
        return {ticker: handle is not None for ticker, handle in store.release_locked(market_tickers).items()}


def test_only_closed_books_that_no_one_wants_are_forgotten() -> None:
    store = BookStore(is_wanted={"WANTED"}.__contains__)
    for ticker, status in (
        ("GONE", BookStatus.CLOSED),
        ("WANTED", BookStatus.CLOSED),
        ("LIVE", BookStatus.LIVE),
    ):
        open_book(store, ticker, status)
    assert release(store, "GONE", "WANTED", "LIVE", "NEVER") == {
        "GONE": True,
        "WANTED": False,
        "LIVE": False,
        "NEVER": False,
    }
    assert set(store.books) == {"WANTED", "LIVE"}


def test_a_handle_keeps_a_forgotten_book_and_the_book_comes_back_with_it() -> None:
    store = BookStore(is_wanted=lambda market_ticker: False)
    with store.lock:
        store.book_locked("A").replace({4000: 100}, {}, 7, 3, time.monotonic())
    handle = store.handle("A")
    open_book(store, "A", BookStatus.CLOSED)
    with store.lock:
        kept = store.release_locked(["A"])
    assert kept["A"] is handle and "A" not in store.books
    view = store.view("A")
    assert view is not None and view.status is BookStatus.CLOSED and view.bids() == handle.bids() != ()
    with pytest.raises(StaleBookError):
        handle.wait_for_update(5)
    with store.lock:
        book = store.book_locked("A")
        book.set_status(BookStatus.PENDING)
    assert handle.status is BookStatus.PENDING and handle.bids() != ()


def test_a_forgotten_book_without_a_handle_is_gone_and_a_new_handle_finds_it_closed() -> None:
    """No one waits for a snapshot that will not come: PENDING would promise one."""
    store = BookStore(is_wanted=lambda market_ticker: False)
    open_book(store, "A", BookStatus.CLOSED)
    assert release(store, "A") == {"A": True}
    gc.collect()
    assert store.view("A") is None
    assert store.handle("A").status is BookStatus.CLOSED
    assert store.handle("NEVER").status is BookStatus.PENDING
    gc.collect()
    open_book(store, "A")  # wanted again, so it is no longer a forgotten one
    del store.books["A"]
    assert store.handle("A").status is BookStatus.PENDING


def test_the_last_thousand_forgotten_markets_are_remembered() -> None:
    store = BookStore(is_wanted=lambda market_ticker: False)
    names = [f"M{n}" for n in range(1_001)]
    for name in names:
        open_book(store, name, BookStatus.CLOSED)
    assert all(release(store, *names).values())
    assert store.handle(names[0]).status is BookStatus.PENDING
    assert {store.handle(name).status for name in names[1:]} == {BookStatus.CLOSED}


def test_a_book_of_an_unknown_market_is_not_live() -> None:
    store = BookStore()
    with store.lock:
        store.book_locked("TYPO").empty(7, 3, time.monotonic())
    book = store.handle("TYPO")
    assert book.view().status is BookStatus.UNKNOWN
    with pytest.raises(UnknownMarketError, match="TYPO") as unknown:
        book.view(require_live=True)
    assert not unknown.value.was_known


def test_a_thread_that_holds_the_lock_cannot_wait() -> None:
    """Such as a finalizer that interrupted our own code: it would wait for the code that it interrupted."""
    store = BookStore()
    with store.lock, pytest.raises(KalshiFeedError, match="would wait for itself"):
        store.wait(lambda: 1, 5, str)
    assert store.wait(lambda: 1, 5, str) == 1


def test_a_waiter_that_a_ctrl_c_left_behind_is_cleared_away() -> None:
    """An interrupt in the last lines of wait() can leave a reference to a waiter that no longer exists."""
    store = BookStore()
    ready, gone = Waiter(lambda: 1), Waiter(lambda: 1)
    store._waiters += [weakref.ref(gone), weakref.ref(ready)]
    del gone
    gc.collect()
    with store.lock:
        assert store.ready_locked() == [ready]
    assert [reference() for reference in store._waiters] == [ready]


def test_the_mapping_of_the_books_says_what_to_pickle_in_its_place() -> None:
    mapping = Books(BookStore(), lambda: ("A",), "A".__eq__)
    with pytest.raises(TypeError, match=r"book\.view\(\) for ticker, book in feed\.books\.items\(\)"):
        pickle.dumps(mapping)
