"""The live books as all threads see them: one store, its lock, its waiters, and the handles that users hold.

Owns BookStore, OrderBook and Books. Thread-safe.
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

from msgspec.structs import replace

from ..errors import (
    FeedClosedError,
    FeedForkedError,
    KalshiFeedError,
    StaleBookError,
    UnknownMarketError,
    WaitTimeout,
)
from ..forks import call_in_child
from ..greenlets import reentrant_lock
from ..messages import MarketLifecycle, MultivariateMarketLifecycle
from ..messages.base import Side
from ..messages.listed import Market, market_after
from ..messages.plain import Number
from ..messages.values import Level
from ..threads import waiting_threads
from ..waiting import Clock, Waiter, deadline_after, seconds_until
from .book import Book, BookStatus, BookView

__all__ = ["BookStore", "Books", "OrderBook"]

T = TypeVar("T")
# What REST calls a market's status after a lifecycle message.
_STATUS_AFTER: Final = {
    "created": "initialized",
    "activated": "active",
    "deactivated": "inactive",
    "determined": "determined",
    "settled": "finalized",
}
_MOST_FORGOTTEN: Final = 1_000  # market tickers, about 0.1 MB
_LEAST_MARKETS: Final = 1_000  # descriptions of markets that are kept in any case, about 2 MB


class BookStore:
    """The wanted books of a feed, its lock, and its waiters. Thread-safe.

    Methods ending in _locked need the lock held. A book that is no longer wanted is CLOSED, and lives on as
    long as its handle is held.
    """

    def __init__(
        self, clock: Clock = time, is_wanted: Callable[[str], bool] = lambda market_ticker: True
    ) -> None:
        self.clock = clock
        # Guards the books, the session, the wanted subscriptions, and the feed's state. Only pure code runs
        # under it: no user code, logging or I/O, and no second lock. Reentrant, so that a signal handler that
        # interrupts a holder cannot hang on it.
        self.lock = reentrant_lock()
        self.books: dict[str, Book] = {}  # of wanted markets, and of those about to be forgotten
        self.is_wanted = is_wanted  # whether the book of a market is wanted; called under the lock
        self.is_past = False  # a replay, where a book that is not wanted now may be wanted later
        self.ended: KalshiFeedError | None = None  # why nothing will change anymore
        self.forked = False  # whether this is the copy in a forked child process
        # Each market's one handle, as long as it is held. Read and written under the lock; the callback that
        # runs when a handle is collected takes no lock, and never removes a newer handle of the same market.
        self._handles: weakref.WeakValueDictionary[str, OrderBook] = weakref.WeakValueDictionary()
        self._forgotten: dict[str, None] = {}  # the markets forgotten last, guarded by the lock
        # Descriptions of markets, the newest last; guarded by the lock. See learn_market_locked().
        self.markets: dict[str, Market] = {}
        self._most_markets = 2 * _LEAST_MARKETS  # how many of them make it look for those to forget
        # weak: each waiting thread holds its own
        self._waiters: list[weakref.ref[Waiter]] = []
        call_in_child(self.leave_child)

    def leave_child(self) -> None:
        """In a forked child: nothing updates its copy of the books, so every call is refused from now on."""
        self.forked = True
        self.lock = reentrant_lock()  # the old one may be held by a thread that does not exist here

    def is_held(self) -> bool:
        """Whether this thread holds the lock; if so, the call is from a finalizer or signal handler."""
        return self.lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # what threading.Condition uses, too

    def check_not_held(self) -> None:
        """Raise KalshiFeedError if this thread holds the lock."""
        if self.is_held():
            raise KalshiFeedError(
                "this would wait for itself: a finalizer or a signal handler that interrupts the feed's code "
                "cannot wait for it"
            )

    def check_fork(self) -> None:
        """Raise FeedForkedError in a forked child."""
        if self.forked:
            raise FeedForkedError

    def book_locked(self, market_ticker: str) -> Book:
        """The book of a wanted market: the existing one, or a new one."""
        book = self.books.get(market_ticker)
        if book is None:
            book = self.books[market_ticker] = self.find_locked(market_ticker) or self._new_book_locked(
                market_ticker
            )
            self._forgotten.pop(market_ticker, None)
        return book

    def _new_book_locked(self, market_ticker: str) -> Book:
        """A new book; CLOSED if it was forgotten recently, so that no one waits for its snapshot."""
        book = Book(market_ticker)
        if market_ticker in self._forgotten:
            book.status = BookStatus.CLOSED
        return book

    def find_locked(self, market_ticker: str) -> Book | None:
        """The market's book if it is wanted or its handle is held, otherwise None."""
        book = self.books.get(market_ticker)
        if book is not None:
            return book
        handle = self._handles.get(market_ticker)
        return handle._book if handle is not None else None

    def learn_market_locked(self, market: Market) -> None:
        """Keep the description of a market: as long as its book is wanted or held, and the newest anyway."""
        markets = self.markets
        markets.pop(market.ticker, None)
        markets[market.ticker] = market
        if len(markets) >= self._most_markets:
            newest = set(list(markets)[-_LEAST_MARKETS:])
            self.markets = {
                ticker: known
                for ticker, known in markets.items()
                if ticker in newest or self.find_locked(ticker) is not None
            }
            self._most_markets = max(2 * len(self.markets), 2 * _LEAST_MARKETS)

    def hear_market_locked(self, message: MarketLifecycle | MultivariateMarketLifecycle) -> None:
        """Keep what a lifecycle message says about a market."""
        ticker = message.market_ticker
        if ticker:
            market = market_after(self.markets.get(ticker) or Market(ticker=ticker), message)
            status = _STATUS_AFTER.get(message.event_type or "", market.status)
            self.learn_market_locked(replace(market, status=status))

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
        """Forget the books among these that are no longer wanted; return all of the markets.

        A forgotten market comes with its handle, which keeps the book alive for the on_book callbacks still
        to come.
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
        """Raise StaleBookError if the book is not wanted, so that waiting for it would be pointless."""
        if self.ended is None and not self.is_past and not self.is_wanted(book.market_ticker):
            raise StaleBookError(book.market_ticker, self.status_of(book).value)

    def view(self, market_ticker: str) -> BookView | None:
        """The market's book as it is now; None if it is not wanted and its handle is not held."""
        with self.lock:
            book = self.find_locked(market_ticker)
            return self.view_locked(book) if book is not None else None

    def status_of(self, book: Book) -> BookStatus:
        """The status that users are shown. Needs no lock."""
        return book.status

    def view_locked(self, book: Book) -> BookView:
        """The book as it is now."""
        return book.view(self.clock.monotonic(), self.clock.time())

    def none_live_locked(self) -> list[str]:
        """Make all LIVE books STALE, because nothing updates them anymore; return their markets."""
        live = [book for book in self.books.values() if book.status is BookStatus.LIVE]
        for book in live:
            book.set_status(BookStatus.STALE)
        return [book.market_ticker for book in live]

    def wait(self, check: Callable[[], T | None], timeout: float | None, missing: Callable[[], str]) -> T:
        """Wait until ``check`` returns something other than None, and return that.

        ``check`` runs under the lock, also on the reader. ``timeout`` is in seconds, None waits indefinitely.
        Raises whatever check raises, the error that ended the feed, or WaitTimeout with the message from
        ``missing``.
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
                value = check_all()  # it may have come just at the deadline
                if value is not None:
                    return value
                text = missing()
            raise WaitTimeout(f"timed out after {timeout:g} s: {text}")
        finally:
            # also after a KeyboardInterrupt between any two lines; at worst it leaves a dead reference behind
            waiting_threads.discard(me)
            with self.lock:
                self._waiters[:] = [other for other in self._waiters if other() is not waiter]

    def now(self) -> datetime:
        """The current time, as an aware datetime (UTC)."""
        return datetime.fromtimestamp(self.clock.time(), timezone.utc)

    def timer_ns(self) -> int:
        """The clock that sleep_until() uses, in nanoseconds."""
        return time.monotonic_ns()

    def sleep_until(self, timer_ns: int) -> bool:
        """Wait until timer_ns() reaches ``timer_ns``; return False if the feed was closed before that.

        Raises the error that ended the feed, if it has ended before the call or failed meanwhile.
        """
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
        """Yield the time every ``period_ns`` until the feed is closed; missed periods are skipped."""
        due = self.timer_ns() + period_ns
        with suppress(FeedClosedError):
            while self.sleep_until(due):
                yield self.now()
                due += period_ns
                if (late := self.timer_ns() - due) > 0:
                    due += -(-late // period_ns) * period_ns

    @contextmanager
    def stepping_out(self) -> Iterator[None]:
        """Within this block, a replay does not wait for this thread; a live feed never does."""
        yield

    @contextmanager
    def change(self) -> Iterator[None]:
        """Hold the lock, then wake the waiters that are ready. Not for the main thread."""
        with self.lock:
            yield
            ready = self.ready_locked()
        for waiter in ready:
            waiter.signal.set()

    def ready_locked(self) -> list[Waiter]:
        """The waiters that are ready; set their signals after releasing the lock."""
        if not self._waiters:
            return []
        waiters = [waiter for reference in self._waiters if (waiter := reference()) is not None]
        if len(waiters) < len(self._waiters):
            self._waiters[:] = [reference for reference in self._waiters if reference() is not None]
        return [waiter for waiter in waiters if waiter.is_ready()]


class OrderBook:
    """The live book of one market: a thread-safe handle on what the reader keeps up to date.

    Prices are Decimal dollars in ``side``'s own price, quantities Decimal contracts. An empty side gives
    None. Each call answers for one moment; for several answers about the same moment, take a ``view()``. A
    STALE book answers with what was last known.
    """

    __slots__ = ("__weakref__", "_book", "_store")

    def __init__(self, store: BookStore, book: Book) -> None:
        self._store = store
        self._book = book

    @property
    def _now(self) -> Book:
        """The book that the reader keeps up to date. Raises FeedForkedError in a forked child."""
        self._store.check_fork()
        return self._book

    @property
    def market_ticker(self) -> str:
        """The market's ticker."""
        return self._book.market_ticker

    @property
    def market(self) -> Market | None:
        """The market's title, times, result …, as follow() or a lifecycle channel last reported them; None if
        neither has."""
        self._store.check_fork()
        return self._store.markets.get(self._book.market_ticker)

    @property
    def status(self) -> BookStatus:
        """PENDING, LIVE, STALE, UNKNOWN or CLOSED.

        PENDING: no snapshot yet. LIVE: right. STALE: out of date. UNKNOWN: the exchange does not know the
        market, or no longer does. CLOSED: not wanted, or the feed is closed.
        """
        return self._store.status_of(self._now)

    @property
    def is_live(self) -> bool:
        """Whether the book is the exchange's, as of the last message."""
        return self._store.status_of(self._now) is BookStatus.LIVE

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid is above the best ask; see BookView.is_crossed."""
        with self._store.lock:
            return self._now.is_crossed

    @property
    def version(self) -> int:
        """The number of changes so far; it never goes back, not even over a reconnect."""
        return self._now.version

    @property
    def seq(self) -> int | None:
        """The sequence number of the last change; it starts again with each subscription."""
        return self._now.seq

    @property
    def clock(self) -> int | None:
        """The market's exchange clock at the last change (PROTOCOL.md 6.2), the same on every connection."""
        return self._now.clock

    @property
    def updated_at(self) -> Any:
        """When the book last changed, as an aware datetime (UTC); None if never."""
        return self.view().updated_at

    def age(self) -> float | None:
        """Seconds since the book last changed; None if it never did.

        The book of a quiet market grows old, and is right all the same.
        """
        updated = self._now.updated
        return None if updated is None else max(0.0, self._store.clock.monotonic() - updated)

    def view(self, *, require_live: bool = False) -> BookView:
        """The book at this moment, immutable.

        With ``require_live``, raises UnknownMarketError if it is UNKNOWN, and StaleBookError if it is not
        LIVE for another reason.
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
        """Wait until ``version`` is above ``after`` (default: its value now); return the book as it is then.

        ``timeout`` is in seconds, None waits indefinitely. Raises StaleBookError if the book is not wanted
        (anymore), WaitTimeout, the feed's fatal error, or FeedClosedError.
        """
        book, store = self._now, self._store
        base = book.version if after is None else after

        def check() -> BookView | None:
            if book.version > base:
                return store.view_locked(book)
            store.check_wanted_locked(book)
            return None

        return self._store.wait(
            check,
            timeout,
            lambda: f"the book of {book.market_ticker} ({store.status_of(book).value}) did not change",
        )

    def best_bid(self, side: Side = "yes") -> Level | None:
        """The highest bid on ``side``."""
        with self._store.lock:
            return self._now.best_bid(side)

    def best_ask(self, side: Side = "yes") -> Level | None:
        """The lowest ask on ``side``: the other side's best bid at 1 − its price."""
        with self._store.lock:
            return self._now.best_ask(side)

    def bids(self, side: Side = "yes", depth: int | None = None) -> tuple[Level, ...]:
        """The bids on ``side``, best first, at most ``depth`` of them."""
        return self.view().bids(side, depth)

    def asks(self, side: Side = "yes", depth: int | None = None) -> tuple[Level, ...]:
        """The asks on ``side``, best first, at most ``depth`` of them."""
        return self.view().asks(side, depth)

    def mid(self, side: Side = "yes") -> Decimal | None:
        """The midpoint of best bid and best ask, in dollars."""
        return self.view().mid(side)

    def spread(self, side: Side = "yes") -> Decimal | None:
        """Best ask minus best bid, in dollars."""
        return self.view().spread(side)

    def microprice(self, side: Side = "yes") -> Decimal | None:
        """The midpoint weighted by size, in dollars; see BookView.microprice()."""
        return self.view().microprice(side)

    def depth_at(self, side: Side, price: Decimal | str | float) -> Decimal:
        """The contracts bid on ``side`` at exactly ``price`` dollars; 0 if there are none."""
        return self.view().depth_at(side, price)

    def imbalance(self, depth: int | None = None, side: Side = "yes") -> Decimal | None:
        """(bids − asks) / (bids + asks) in contracts over the best ``depth`` levels; None if empty."""
        return self.view().imbalance(depth, side)

    def cost_to_buy(self, side: Side, quantity: Decimal | str | float) -> Decimal | None:
        """The dollars to buy ``quantity`` contracts of ``side`` right now; None if too few are offered."""
        return self.view().cost_to_buy(side, quantity)

    def cost_to_sell(self, side: Side, quantity: Decimal | str | float) -> Decimal | None:
        """The dollars for selling ``quantity`` contracts of ``side`` right now; None if too few bids."""
        return self.view().cost_to_sell(side, quantity)

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """The book at this moment as plain data, ready for JSON; see BookView.to_dict()."""
        return self.view().to_dict(number)

    def __repr__(self) -> str:
        status = self._store.status_of(self._book).value
        return f"<OrderBook {self.market_ticker} {status} version {self._book.version}>"

    def _repr_html_(self) -> str:
        return self.view()._repr_html_()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "an OrderBook is a handle on a live book: it cannot be pickled or copied; take its view(), which "
            "can, or to_dict()"
        )


class Books(Mapping[str, OrderBook]):
    """The wanted books by market ticker, read-only.

    Thread-safe; an iteration covers the markets that were wanted when it began.
    """

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
