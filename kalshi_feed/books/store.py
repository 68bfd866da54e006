"""The live books as all threads see them: one store, its lock, its waiters, and the handles that users hold.

Owns BookStore and OrderBook. Must not import sockets, the connection or dispatch. Thread-safe.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Final, TypeVar

from ..errors import (
    FeedClosedError,
    FeedForkedError,
    KalshiFeedError,
    StaleBookError,
    UnknownMarketError,
    WaitTimeout,
)
from ..forks import call_in_child
from ..messages.base import Side
from ..messages.plain import Number
from ..messages.values import Level
from ..threads import waiting_threads
from ..waiting import Clock, Waiter, deadline_after, seconds_until
from .book import Book, BookStatus, BookView

__all__ = ["BookStore", "Books", "OrderBook"]

T = TypeVar("T")
_MOST_FORGOTTEN: Final = 1_000  # names of markets, about 0.1 MB


class BookStore:
    """The wanted books of a feed, its lock, and those who wait. Thread-safe; methods ending in _locked need
    the lock held.

    A book that nobody wants any more is CLOSED, and lives on for as long as somebody holds its handle.
    """

    def __init__(
        self, clock: Clock = time, is_wanted: Callable[[str], bool] = lambda market_ticker: True
    ) -> None:
        self.clock = clock
        # Guards the books, the session, what is wanted, and the feed's state. Under it only pure code runs:
        # no user code, no logging, no I/O, no second lock. Re-entrant, so that a signal handler that
        # interrupts a holder cannot hang on it.
        self.lock = threading.RLock()
        self.books: dict[str, Book] = {}  # of wanted markets, and of those that are about to be forgotten
        self.is_wanted = is_wanted  # whether anybody wants the book of a market; called under the lock
        self.is_past = False  # a replay: whoever waits for a book that nobody wants may see it wanted later
        self.ended: KalshiFeedError | None = None  # why nothing will change any more
        self.forked = False  # whether this is the copy in a child process
        # Each market's one handle, while somebody holds it. Read and written under the lock; what the garbage
        # collector calls when a handle is gone takes no lock, and removes no other handle of the same market.
        self._handles: weakref.WeakValueDictionary[str, OrderBook] = weakref.WeakValueDictionary()
        self._forgotten: dict[str, None] = {}  # the markets that were forgotten last, guarded by the lock
        # weak: each thread holds its own for as long as it waits
        self._waiters: list[weakref.ref[Waiter]] = []
        call_in_child(self.leave_child)

    def leave_child(self) -> None:
        """In a child process: nobody keeps its copy of the books, so every call is refused from now on."""
        self.forked = True
        self.lock = threading.RLock()  # the old one may be held by a thread that does not exist here

    def is_held(self) -> bool:
        """Whether this thread has the lock already: a finalizer or a signal handler that came on top of our
        own code."""
        return self.lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # what threading.Condition uses, too

    def check_not_held(self) -> None:
        """Raise KalshiFeedError where is_held()."""
        if self.is_held():
            raise KalshiFeedError(
                "this would wait for itself: a finalizer or a signal handler that interrupts the feed's code "
                "cannot wait for it"
            )

    def check_fork(self) -> None:
        """Raise FeedForkedError in a child process."""
        if self.forked:
            raise FeedForkedError

    def book_locked(self, market_ticker: str) -> Book:
        """The book of a market that is wanted: what there is of it, or a new one."""
        book = self.books.get(market_ticker)
        if book is None:
            book = self.books[market_ticker] = self.find_locked(market_ticker) or self._new_book_locked(
                market_ticker
            )
            self._forgotten.pop(market_ticker, None)
        return book

    def _new_book_locked(self, market_ticker: str) -> Book:
        """A book that nothing is known of; CLOSED if it was forgotten lately, so that nobody waits for a
        snapshot of it."""
        book = Book(market_ticker)
        if market_ticker in self._forgotten:
            book.status = BookStatus.CLOSED
        return book

    def find_locked(self, market_ticker: str) -> Book | None:
        """The market's book, if it is wanted or somebody holds its handle."""
        book = self.books.get(market_ticker)
        if book is not None:
            return book
        handle = self._handles.get(market_ticker)
        return handle._book if handle is not None else None

    def handle(self, market_ticker: str) -> OrderBook:
        """The market's one handle."""
        self.check_fork()
        with self.lock:
            handle = self._handles.get(market_ticker)
            if handle is None:
                book = self.books.get(market_ticker) or self._new_book_locked(market_ticker)
                handle = self._handles[market_ticker] = OrderBook(self, book)
            return handle

    def release_locked(self, market_tickers: Iterable[str]) -> dict[str, OrderBook | None]:
        """Forget the books among these that nobody wants any more, and return all of these markets.

        With each market that is forgotten comes its handle, for those who have yet to look at its book once
        more.
        """
        kept: dict[str, OrderBook | None] = dict.fromkeys(market_tickers)
        for ticker in kept:
            book = self.books.get(ticker)
            if book is not None and book.status is BookStatus.CLOSED and not self.is_wanted(ticker):
                kept[ticker] = self.handle(ticker)
                del self.books[ticker]
                self._forgotten[ticker] = None
                if len(self._forgotten) > _MOST_FORGOTTEN:
                    del self._forgotten[next(iter(self._forgotten))]
        return kept

    def check_wanted_locked(self, book: Book) -> None:
        """Raise StaleBookError where it would be in vain to wait for the book, because nobody wants it."""
        if self.ended is None and not self.is_past and not self.is_wanted(book.market_ticker):
            raise StaleBookError(book.market_ticker, book.status.value)

    def view(self, market_ticker: str) -> BookView | None:
        """The market's book as it is now; None if nobody wants it nor holds its handle."""
        with self.lock:
            book = self.find_locked(market_ticker)
            return self.view_locked(book) if book is not None else None

    def view_locked(self, book: Book) -> BookView:
        """The book as it is now."""
        return book.view(self.clock.monotonic(), self.clock.time())

    def none_live_locked(self) -> list[str]:
        """Nobody keeps the books any more: LIVE ones become STALE. Returns their markets."""
        live = [book for book in self.books.values() if book.status is BookStatus.LIVE]
        for book in live:
            book.set_status(BookStatus.STALE)
        return [book.market_ticker for book in live]

    def wait(self, check: Callable[[], T | None], timeout: float | None, missing: Callable[[], str]) -> T:
        """Wait until ``check`` (run under the lock, by the reader too) gives a value, and return that.

        Raises what check raises, the error the feed ended with, or WaitTimeout with the text of ``missing``.
        """
        deadline = deadline_after(timeout)
        self.check_fork()
        self.check_not_held()

        def check_all() -> T | None:
            value = check()
            if value is None and self.ended is not None:
                raise self.ended.fresh()
            return value

        waiter, me = Waiter(check_all), threading.get_ident()
        try:
            with self.lock:
                value = check_all()
                if value is not None:
                    return value
                self._waiters.append(weakref.ref(waiter))
            waiting_threads.add(me)
            while waiter.signal.wait(seconds_until(deadline)):
                with self.lock:
                    value = check_all()
                if value is not None:
                    return value
            with self.lock:
                value = check_all()  # it may have come with the deadline
                if value is not None:
                    return value
                text = missing()
            raise WaitTimeout(f"timed out after {timeout:g} s: {text}")
        finally:
            # also of a KeyboardInterrupt between any two lines; what one leaves behind is a dead reference
            waiting_threads.discard(me)
            with self.lock:
                self._waiters[:] = [other for other in self._waiters if other() is not waiter]

    def now(self) -> datetime:
        """What time it is, as an aware datetime (UTC)."""
        return datetime.fromtimestamp(self.clock.time(), timezone.utc)

    def timer_ns(self) -> int:
        """The clock that sleep_until() goes by, in nanoseconds."""
        return time.monotonic_ns()

    def sleep_until(self, timer_ns: int) -> bool:
        """Wait until timer_ns() is that; False if the feed was closed meanwhile. Raises the fatal error, or
        what it ended with."""
        self.check_fork()
        if self.ended is not None:
            raise self.ended.fresh()
        try:
            self.wait(lambda: None, max(timer_ns - self.timer_ns(), 0) / 1e9, str)
        except FeedClosedError:
            return False
        except WaitTimeout:
            pass
        return True

    def every(self, period_ns: int) -> Iterator[datetime]:
        """The time, every so often, until the feed is closed; what the caller was too slow for is left
        out."""
        due = self.timer_ns() + period_ns
        with suppress(FeedClosedError):
            while self.sleep_until(due):
                yield self.now()
                due += period_ns
                if (late := self.timer_ns() - due) > 0:
                    due += -(-late // period_ns) * period_ns

    @contextmanager
    def stepping_out(self) -> Iterator[None]:
        """Nobody waits for this thread as long as it lasts; of a live feed nobody ever does."""
        yield

    @contextmanager
    def change(self) -> Iterator[None]:
        """Hold the lock, and afterwards wake those who wait for what has changed. For threads that no signal
        handler interrupts."""
        with self.lock:
            yield
            ready = self.ready_locked()
        for waiter in ready:
            waiter.signal.set()

    def ready_locked(self) -> list[Waiter]:
        """Those who have something to see now; their signals are to be set after the lock."""
        if not self._waiters:
            return []
        waiters = [waiter for reference in self._waiters if (waiter := reference()) is not None]
        if len(waiters) < len(self._waiters):
            self._waiters[:] = [reference for reference in self._waiters if reference() is not None]
        return [waiter for waiter in waiters if waiter.is_ready()]


class OrderBook:
    """The live book of one market: a thread-safe handle on what the reader keeps up to date.

    Prices are Decimal dollars in the asked side's own price, quantities Decimal contracts. An empty side
    gives None. Each question is answered at one instant; for several answers of one instant take a
    ``view()``. A STALE book answers with what was last known.
    """

    __slots__ = ("__weakref__", "_book", "_store")

    def __init__(self, store: BookStore, book: Book) -> None:
        self._store = store
        self._book = book

    @property
    def _now(self) -> Book:
        """What the reader keeps up to date; raises FeedForkedError in a child process, where nobody does."""
        self._store.check_fork()
        return self._book

    @property
    def market_ticker(self) -> str:
        """The market."""
        return self._book.market_ticker

    @property
    def status(self) -> BookStatus:
        """PENDING (no snapshot yet), LIVE (right), STALE (was right once), UNKNOWN (the exchange knows no
        such market, or no longer), CLOSED (unwanted, or the feed is closed).
        """
        return self._now.status

    @property
    def is_live(self) -> bool:
        """Whether the book is the exchange's, as far as it has told."""
        return self._now.status is BookStatus.LIVE

    @property
    def is_crossed(self) -> bool:
        """Whether bid is above ask; see BookView.is_crossed."""
        with self._store.lock:
            return self._now.is_crossed

    @property
    def version(self) -> int:
        """Counts the changes of this handle; only grows, over reconnects too."""
        return self._now.version

    @property
    def seq(self) -> int | None:
        """The sequence number of the last change; starts again with each subscription."""
        return self._now.seq

    @property
    def clock(self) -> int | None:
        """The exchange's clock of this market at the last change (PROTOCOL.md 6.2), the same on every
        connection."""
        return self._now.clock

    @property
    def updated_at(self) -> Any:
        """When the book last changed, as an aware datetime (UTC); None if never."""
        return self.view().updated_at

    def age(self) -> float | None:
        """Seconds since the book last changed; None if it never did.

        A quiet market's book grows old and is right all the same.
        """
        updated = self._now.updated
        return None if updated is None else max(0.0, self._store.clock.monotonic() - updated)

    def view(self, *, require_live: bool = False) -> BookView:
        """The book at this instant, immutable.

        Raises StaleBookError if ``require_live`` and it is not LIVE: UnknownMarketError if it is UNKNOWN.
        """
        book = self._now
        with self._store.lock:
            view, was_known = self._store.view_locked(book), book.was_known
        if require_live and view.status is BookStatus.UNKNOWN:
            raise UnknownMarketError(view.market_ticker, was_known)
        if require_live and not view.is_live:
            raise StaleBookError(view.market_ticker, view.status.value)
        return view

    def wait_for_update(self, timeout: float | None = None, after: int | None = None) -> BookView:
        """Wait until ``version`` is greater than ``after`` (by default what it is now); the book as it is
        then.

        Raises StaleBookError where nobody wants the book (any more), WaitTimeout, the feed's fatal error, or
        FeedClosedError.
        """
        book, store = self._now, self._store
        base = book.version if after is None else after

        def check() -> BookView | None:
            if book.version > base:
                return store.view_locked(book)
            store.check_wanted_locked(book)
            return None

        return self._store.wait(
            check, timeout, lambda: f"the book of {book.market_ticker} ({book.status.value}) did not change"
        )

    def best_bid(self, side: Side = "yes") -> Level | None:
        """The highest bid of ``side``."""
        with self._store.lock:
            return self._now.best_bid(side)

    def best_ask(self, side: Side = "yes") -> Level | None:
        """The lowest ask of ``side``: the other side's best bid at 1 − price."""
        with self._store.lock:
            return self._now.best_ask(side)

    def bids(self, side: Side = "yes", depth: int | None = None) -> tuple[Level, ...]:
        """The bids of ``side``, best first, at most ``depth``."""
        return self.view().bids(side, depth)

    def asks(self, side: Side = "yes", depth: int | None = None) -> tuple[Level, ...]:
        """The asks of ``side``, best first, at most ``depth``."""
        return self.view().asks(side, depth)

    def mid(self, side: Side = "yes") -> Decimal | None:
        """Half way between best bid and best ask, in dollars."""
        return self.view().mid(side)

    def spread(self, side: Side = "yes") -> Decimal | None:
        """Best ask less best bid, in dollars."""
        return self.view().spread(side)

    def microprice(self, side: Side = "yes") -> Decimal | None:
        """The mid weighted by the size on the opposite side, in dollars."""
        return self.view().microprice(side)

    def depth_at(self, side: Side, price: Decimal | str | float) -> Decimal:
        """Contracts bid for ``side`` at exactly ``price``; 0 if none."""
        return self.view().depth_at(side, price)

    def imbalance(self, depth: int | None = None, side: Side = "yes") -> Decimal | None:
        """(bids − asks) / (bids + asks) in contracts over the best ``depth`` levels, -1 to 1; None if both
        empty."""
        return self.view().imbalance(depth, side)

    def cost_to_buy(self, side: Side, quantity: Decimal | str | float) -> Decimal | None:
        """Dollars to buy ``quantity`` contracts of ``side`` from the asks as they stand; None if there are
        too few."""
        return self.view().cost_to_buy(side, quantity)

    def cost_to_sell(self, side: Side, quantity: Decimal | str | float) -> Decimal | None:
        """Dollars for ``quantity`` contracts of ``side`` sold to the bids as they stand; None if there are
        too few."""
        return self.view().cost_to_sell(side, quantity)

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """The book at this instant as plain data, ready for JSON; see BookView.to_dict()."""
        return self.view().to_dict(number)

    def __repr__(self) -> str:
        return f"<OrderBook {self.market_ticker} {self._book.status.value} version {self._book.version}>"

    def _repr_html_(self) -> str:
        return self.view()._repr_html_()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "an OrderBook is a handle on a live book: it cannot be pickled or copied; take its view(), which "
            "can, or to_dict()"
        )


class Books(Mapping[str, OrderBook]):
    """The wanted books by market ticker, read-only. Thread-safe; iterating goes over what was wanted at that
    moment."""

    def __init__(
        self, store: BookStore, wanted: Callable[[], tuple[str, ...]], is_wanted: Callable[[str], bool]
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._is_wanted = is_wanted

    def __getitem__(self, market_ticker: str) -> OrderBook:
        self._store.check_fork()
        if not self._is_wanted(market_ticker):
            raise KeyError(market_ticker)
        return self._store.handle(market_ticker)

    def __iter__(self) -> Iterator[str]:
        return iter(self._checked_wanted())

    def __len__(self) -> int:
        return len(self._checked_wanted())

    def _ipython_key_completions_(self) -> list[str]:
        """What IPython and Jupyter offer after ``feed.books["``: the tickers."""
        return list(self)

    def _checked_wanted(self) -> tuple[str, ...]:
        self._store.check_fork()
        return self._wanted()

    def __repr__(self) -> str:
        wanted = self._wanted()
        return f"<Books {', '.join(wanted[:5])}{' …' if len(wanted) > 5 else ''}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "feed.books holds handles on live books: it cannot be pickled or copied; "
            "take {ticker: book.view() for ticker, book in feed.books.items()}"
        )
