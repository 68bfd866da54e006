"""What users ask of a feed: subscriptions, their changes, and waiting for what comes of them.

Owns the way from a user's thread to what the session works on: change what is wanted under the lock, wake the reader, wait. Must
not import the connection or the engine. Thread-safe; methods ending in _locked need the store's lock held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from ..books.book import BookStatus
from ..books.store import BookStore, OrderBook
from ..errors import FeedClosedError, SubscriptionError
from ..events import FeedState
from ..session.channels import BOOK_CHANNEL, CHANNEL_OF_TYPE, CHANNELS
from ..session.session import Session
from ..session.wanted import ListBox, Want, Wanted
from .state import State
from .tap import Tap

__all__ = ["UserRequests"]


class UserRequests:
    """The users' side of a feed. Thread-safe. ``check`` raises what makes a call pointless, ``wake`` makes the reader look."""

    def __init__(
        self,
        store: BookStore,
        wanted: Wanted,
        session: Session,
        state: State,
        check: Callable[[], None],
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._session = session
        self._state = state
        self._wake = wake
        self.tap: Tap | None = None  # who records the users' wishes; set under the store's lock
        self.check = check
        self.check_fork = store.check_fork
        self.wanted = wanted

    @property
    def lock(self) -> threading.RLock:
        """The store's lock."""
        return self._store.lock

    def sid_of(self, channel: str) -> int | None:
        """The channel's sid on the present connection."""
        return self._session.sid_of(channel)

    def subscribe(self, want: Want) -> None:
        """Want it. Raises ConfigurationError where it contradicts what is wanted already."""
        with self._store.lock:
            self._subscribe_locked(want)
        self._wake()

    def _subscribe_locked(self, want: Want) -> None:
        for ticker in self.wanted.add(want):
            self.open_book_locked(ticker)
        self._record_wish("subscribe", want)

    def _record_wish(self, name: str, want: Want | None = None, words: Iterable[str] = ()) -> None:
        """The lock is held."""
        if self.tap is not None:
            self.tap.wish(name, want, words)

    def want_book(self, market_ticker: str) -> None:
        """Want the market's book, unless somebody does or the feed is closed."""
        with self._store.lock:
            if self.wanted.wants_book(market_ticker) or self._state.value is FeedState.CLOSED:
                return
            for old in tuple(self.wanted.wants):  # what was refused before: the new one takes its place
                if old.failed and old.channels == (BOOK_CHANNEL,) and tuple(old.keys) == (market_ticker,):
                    self.wanted.remove(old)
                    self._record_wish("unsubscribe", old)
            self._subscribe_locked(Want((BOOK_CHANNEL,), "market_tickers", (market_ticker,), {}))
        self._wake()

    def add_markets(self, want: Want, market_tickers: Iterable[str]) -> None:
        """Want more markets."""
        with self._store.lock:
            for ticker in self.wanted.add_keys(want, market_tickers):
                self.open_book_locked(ticker)
            self._record_wish("add_markets", want, market_tickers)
        self._wake()

    def delete_markets(self, want: Want, market_tickers: Iterable[str]) -> None:
        """Want fewer markets."""
        with self._store.lock:
            self._session.books_unwanted(self.wanted.delete_keys(want, market_tickers))
            self._record_wish("delete_markets", want, market_tickers)
        self._wake()

    def unsubscribe(self, want: Want) -> None:
        """Want it no longer."""
        with self._store.lock:
            self._session.books_unwanted(self.wanted.remove(want))
            self._record_wish("unsubscribe", want)
        self._wake()

    def request_snapshots(self, market_tickers: Iterable[str]) -> None:
        """Ask for fresh snapshots."""
        with self._store.lock:
            self.wanted.snapshots.update(dict.fromkeys(market_tickers))
            self._record_wish("request_snapshots", None, market_tickers)
        self._wake()

    def ask(self, action: str, channels: Iterable[str]) -> None:
        """Ask for a list that the exchange sends as a message."""
        with self.lock:
            self.wanted.questions.update(dict.fromkeys((action, channel) for channel in channels))
            self._record_wish("ask", None, (action, *channels))
        self._wake()

    def list_subscriptions(self, timeout: float | None) -> tuple[tuple[str, int], ...]:
        """Ask the exchange which channels are open, as (channel, sid)."""
        box: ListBox = []

        def check() -> tuple[tuple[str, int], ...] | None:
            answer = box[0] if box else None
            if isinstance(answer, SubscriptionError):
                raise answer.fresh()
            return answer

        with self._store.lock:
            self.wanted.lists.append(box)
            self._record_wish("list_subscriptions")
        self._wake()
        try:
            return self._store.wait(check, timeout, lambda: self._state.missing("no answer to list_subscriptions"))
        finally:
            with self._store.lock:
                self.wanted.lists[:] = [other for other in self.wanted.lists if other is not box]

    def confirmed(self, want: Want) -> bool:
        """Whether the exchange has confirmed all of a subscription."""
        return self._state.is_connected and all(self._session.confirmed(name, want.keys_of(name)) for name in want.live_channels())

    def wait_for_confirmation(self, want: Want, timeout: float | None) -> None:
        """Wait for confirmed(). Raises the SubscriptionError, WaitTimeout, the fatal error or FeedClosedError."""

        def check() -> bool | None:
            if want.error is not None:
                raise want.error.fresh()
            if want.closed:
                raise FeedClosedError("the subscription was ended by unsubscribe()")
            return self.confirmed(want) or None

        def missing() -> str:
            names = ", ".join(n for n in want.live_channels() if not self._session.confirmed(n, want.keys_of(n)))
            return self._state.missing(f"the exchange has not confirmed {names}")

        self._store.wait(check, timeout, missing)

    def wait_for_book(self, market_ticker: str, timeout: float | None) -> OrderBook:
        """Wait until the market's book is LIVE. Raises the SubscriptionError, WaitTimeout, the fatal error or FeedClosedError."""
        handle = self._store.handle(market_ticker)
        book = self._store.books[market_ticker]

        def check() -> OrderBook | None:
            if book.status is BookStatus.LIVE:
                return handle
            if not self.wanted.wants_book(market_ticker):
                for want in self.wanted.wants:
                    if want.error is not None and market_ticker in want.refused.get(BOOK_CHANNEL, ()):
                        raise want.error.fresh()
            return None

        def missing() -> str:
            if not self._session.confirmed(BOOK_CHANNEL, (market_ticker,)):
                return self._state.missing(f"the exchange has not confirmed {BOOK_CHANNEL} of {market_ticker}")
            return self._state.missing(f"no snapshot of {market_ticker} has come, its book is {book.status.value}")

        return self._store.wait(check, timeout, missing)

    def wanted_books(self) -> tuple[str, ...]:
        """The markets whose books are wanted."""
        with self._store.lock:
            return self.wanted_books_locked()

    def wanted_books_locked(self) -> tuple[str, ...]:
        """As wanted_books(), with the lock held.

        In a signal handler on top of a subscribe() that has not made its books yet, without those.
        """
        channel = self.wanted.channels.get(BOOK_CHANNEL)
        return tuple(filter(self._store.books.__contains__, tuple(channel.counts))) if channel is not None else ()

    def open_book_locked(self, market_ticker: str) -> None:
        """A book is wanted: PENDING until its snapshot comes."""
        book = self._store.book_locked(market_ticker)
        book.wanted_at = self._store.clock.monotonic()
        if book.set_status(BookStatus.PENDING):
            self._session.output.status_changed.add(market_ticker)

    def reopen_books_locked(self) -> None:
        """The feed starts."""
        for ticker in self.wanted_books_locked():
            self.open_book_locked(ticker)
        self._record_wish("reopen_books")

    def close_books_locked(self) -> None:
        """The feed is closed, and with it every book."""
        self._session.books_unwanted(self.wanted_books_locked())

    def why_no_message(self, type_: str) -> str:
        """What to tell someone who waited in vain for a message of this type."""
        channel = CHANNEL_OF_TYPE.get(type_, type_)
        if channel not in self.wanted.channels and channel in CHANNELS:
            return f"no {type_!r} message has come, and nobody has subscribed to {channel!r}"
        return self._state.missing(f"no {type_!r} message has come that was waited for")
