"""The users' requests: subscriptions, changes to them, and waiting for the results.

Owns the queue of requests, and the path from a user's thread to the data that the session works on. A request
enters the queue by one append, and leaves it after it has been applied; every step of applying it may be done
twice. So a request is made completely or not at all: if an exception interrupts the call (Ctrl-C, a signal
handler that raises), the next thread that takes the lock finishes the work. A call that interrupts this
feed's own code (a finalizer run by the garbage collector, a signal handler) is only queued, because the
interrupted code is using what the call would change. Thread-safe; methods ending in _locked need the store's
lock held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from ..books.book import BookStatus
from ..books.store import BookStore, OrderBook
from ..errors import ConfigurationError, FeedClosedError, SubscriptionError, UnknownMarketError
from ..events import FeedState
from ..session.channels import BOOK_CHANNEL, CHANNEL_OF_TYPE, CHANNELS
from ..session.session import Session
from ..session.wanted import Change, ListBox, Want, Wanted
from .state import State
from .tap import Tap

__all__ = ["FollowRequest", "UserRequests"]

T = TypeVar("T")


class FollowRequest(NamedTuple):
    """The arguments of a follow(), without ``where``. Immutable."""

    series: str | None
    event: str | None
    lead: float
    linger: float
    limit: int | None


class UserRequests:
    """The users' side of a feed. Thread-safe.

    ``check`` raises if the feed has failed or was forked; ``wake`` makes the reader look at what is wanted.
    """

    def __init__(
        self,
        store: BookStore,
        wanted: Wanted,
        session: Callable[[], Session],
        state: State,
        check: Callable[[], None],
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self.can_ask = True  # False in a replay: the answers are in the recording
        self._session = session  # returns the current one, which is replaced after a bug
        self._state = state
        self._wake = wake
        # requests not applied yet; any thread appends, they are taken out under the lock
        self.queued: deque[Change] = deque()
        self.tap: Tap | None = None  # the recording of the requests; set under the store's lock
        self.check = check
        self.check_fork = store.check_fork
        self.wanted = wanted

    def look(self, look: Callable[[], T]) -> T:
        """Return what ``look`` finds under the store's lock, after applying all requests made before.

        The lock itself is the context manager: a signal cannot interrupt its exit halfway, as it could with a
        context manager of our own.
        """
        is_on_top = self._store.is_held()
        with self._store.lock:
            if self.queued and not is_on_top:
                self.apply_queued_locked()
            return look()

    @property
    def session(self) -> Session:
        """The current session. Under the store's lock."""
        return self._session()

    def sid_of(self, channel: str) -> int | None:
        """The channel's sid on the current connection, or None."""
        return self.session.sid_of(channel)

    # -- requests --------------------------------------------------------------------------------------------

    def subscribe(self, want: Want) -> None:
        """Add a subscription. Raises ConfigurationError if it contradicts an existing one."""
        self._request(Change("subscribe", want))

    def add_markets(self, want: Want, market_tickers: Iterable[str]) -> None:
        """Add markets to a subscription."""
        self._request(Change("add_markets", want, market_tickers))

    def delete_markets(self, want: Want, market_tickers: Iterable[str]) -> None:
        """Remove markets from a subscription."""
        self._request(Change("delete_markets", want, market_tickers))

    def unsubscribe(self, want: Want) -> None:
        """Remove a subscription."""
        self._request(Change("unsubscribe", want))

    def request_snapshots(self, market_tickers: Iterable[str]) -> None:
        """Ask for fresh snapshots."""
        self._request(Change("request_snapshots", None, market_tickers))

    def ask(self, action: str, channels: Iterable[str]) -> None:
        """Request a list, which the exchange sends as a message."""
        self._request(Change("ask", None, (action, *channels)))

    def ask_again(self, market_ticker: str) -> None:
        """Ask the exchange again for a market that it does not know."""
        self._request(Change("ask_again", None, (market_ticker,)))

    def own_wants(self) -> tuple[Want, ...]:
        """The subscriptions that were not ended."""
        return self.look(lambda: tuple(self.wanted.wants))

    def note_follow(self, want: Want, lifecycle: Want, asked: FollowRequest) -> None:
        """``want`` and ``lifecycle``, which come next, are those of a follow() that has no follower here: in
        a replay that means nothing."""

    def want_book(self, market_ticker: str) -> None:
        """Subscribe to the market's book, unless it is wanted already or the feed is closed."""
        if self.look(lambda: self.wanted.wants_book(market_ticker)) or self._state.value is FeedState.CLOSED:
            return
        with self._store.lock:  # the new subscription replaces one that was refused
            refused = [
                old
                for old in self.wanted.wants
                if old.failed and old.channels == (BOOK_CHANNEL,) and [*old.keys] == [market_ticker]
            ]
        for old in refused:
            self.unsubscribe(old)
        self.subscribe(Want((BOOK_CHANNEL,), "market_tickers", (market_ticker,), {}))

    def _request(self, change: Change) -> None:
        """Queue a request, and apply it unless this call interrupts code that uses what it changes."""
        if self._store.is_held():
            self.queued.append(change)
            self._wake()
        else:
            try:
                with self._store.change():
                    self.apply_queued_locked()
                    if change.kind == "subscribe" and change.want is not None:
                        self._check_locked(change.want)
                    self.queued.append(change)
                    self.apply_queued_locked()
            finally:
                self._wake()  # also if an exception interrupts: the reader then applies what was queued

    def _check_locked(self, want: Want) -> None:
        self.wanted.check(want)

    def apply_queued_locked(self) -> None:
        """Apply the requests in order. Must not interrupt code that uses what they change."""
        queued = self.queued
        while queued:
            change = queued[0]
            self._apply_locked(change)
            if self.tap is not None:
                self.tap.wish(change)
            queued.popleft()

    def _apply_locked(self, change: Change) -> None:
        """Apply one request; every step may be done twice."""
        wanted, want, kind = self.wanted, change.want, change.kind
        if kind == "subscribe" and want is not None:
            try:
                wanted.add(want, self.open_book_locked)
            except ConfigurationError as error:
                # it was queued while another change was being made, and contradicts that one
                want.error = SubscriptionError(0, str(error), want.channels[0], None)
                want.failed.update(want.channels)
                wanted.wants[want] = None
        elif kind == "add_markets" and want is not None:
            wanted.add_keys(want, change.words, self.open_book_locked)
        elif kind == "delete_markets" and want is not None:
            wanted.delete_keys(want, change.words, self._close_book_locked)
        elif kind == "unsubscribe" and want is not None:
            wanted.remove(want, self._close_book_locked)
        elif kind == "request_snapshots":
            wanted.snapshots.update(dict.fromkeys(change.words))
        elif kind == "ask_again":
            self.session.unknown_markets.ask_soon(change.words[0])
        elif kind == "ask":
            wanted.questions.update(dict.fromkeys((change.words[0], channel) for channel in change.words[1:]))
        elif kind == "list_subscriptions" and change.box is not None:
            if not any(other is change.box for other in wanted.lists):
                wanted.lists.append(change.box)

    def _close_book_locked(self, market_ticker: str) -> None:
        self.session.books_unwanted((market_ticker,))

    def list_subscriptions(self, timeout: float | None) -> tuple[tuple[str, int], ...]:
        """Ask the exchange which channels are open; returns pairs of (channel, sid).

        Raises the exchange's SubscriptionError, WaitTimeout, the fatal error or FeedClosedError.
        """
        box: ListBox = []

        def check() -> tuple[tuple[str, int], ...] | None:
            answer = box[0] if box else None
            if isinstance(answer, SubscriptionError):
                raise answer.fresh()
            return answer

        try:
            self._request(Change("list_subscriptions", box=box))
            return self._store.wait(
                check, timeout, lambda: self._state.missing("no answer to list_subscriptions")
            )
        finally:
            with self._store.lock:
                self.wanted.lists[:] = [other for other in self.wanted.lists if other is not box]

    # -- waits -----------------------------------------------------------------------------------------------

    def confirmed(self, want: Want) -> bool:
        """Whether the exchange has confirmed everything in a subscription."""
        return self._state.is_connected and all(
            self.session.confirmed(name, want.keys_of(name)) for name in want.live_channels()
        )

    def wait_for_confirmation(self, want: Want, timeout: float | None) -> None:
        """Wait for confirmed(). Raises SubscriptionError, WaitTimeout, the fatal error or FeedClosedError."""

        def check() -> bool | None:
            if want.error is not None:
                raise want.error.fresh()
            if want.closed:
                raise FeedClosedError("the subscription was ended by unsubscribe()")
            return self.confirmed(want) or None

        def missing() -> str:
            return self._state.missing(self._why_unconfirmed(", ".join(self._unconfirmed(want))))

        self._store.wait(check, timeout, missing)

    def _unconfirmed(self, want: Want) -> list[str]:
        """The channels of a subscription that are not confirmed."""
        return [n for n in want.live_channels() if not self.session.confirmed(n, want.keys_of(n))]

    def _is_book_confirmed(self, market_ticker: str) -> bool:
        """Whether the subscription to the market's book is confirmed."""
        return self.session.confirmed(BOOK_CHANNEL, (market_ticker,))

    def _why_unconfirmed(self, what: str) -> str:
        """What to say of something that is not confirmed."""
        return f"the exchange has not confirmed {what}"

    def wait_for_book(self, market_ticker: str, timeout: float | None) -> OrderBook:
        """Subscribe to the market's book if it is not wanted yet, and wait until it is LIVE.

        Raises UnknownMarketError on the first answer that says so, StaleBookError if the book is no longer
        wanted, the SubscriptionError, WaitTimeout, the fatal error or FeedClosedError.
        """
        handle = self._store.handle(market_ticker)
        with self._store.lock:
            book = self._store.find_locked(market_ticker)
            assert book is not None  # its handle is held
            # read before it is wanted: an answer that comes at once counts, without a second question
            is_unknown, before = book.status is BookStatus.UNKNOWN, self.session.unknown_markets.serial
        self.want_book(market_ticker)
        if is_unknown and self.can_ask:
            self.ask_again(market_ticker)

        def check() -> OrderBook | None:
            if self._store.status_of(book) is BookStatus.LIVE:
                return handle
            if book.status is BookStatus.UNKNOWN and (
                not self.can_ask or self.session.unknown_markets.answered(market_ticker) > before
            ):
                raise UnknownMarketError(market_ticker, book.was_known)
            if not self.wanted.wants_book(market_ticker):
                self._check_refused_locked(market_ticker)
                self._store.check_wanted_locked(book)
            return None

        def missing() -> str:
            if not self._is_book_confirmed(market_ticker):
                return self._state.missing(self._why_unconfirmed(f"{BOOK_CHANNEL} for {market_ticker}"))
            return self._state.missing(
                f"no snapshot of {market_ticker} has come; its book is {self._store.status_of(book).value}"
            )

        return self._store.wait(check, timeout, missing)

    def _check_refused_locked(self, market_ticker: str) -> None:
        """Raise the SubscriptionError with which the market's book was refused, if it was."""
        for want in self.wanted.wants:
            if want.error is not None and market_ticker in want.refused.get(BOOK_CHANNEL, ()):
                raise want.error.fresh()

    def wanted_books(self) -> tuple[str, ...]:
        """The markets whose books are wanted."""
        return self.look(self.wanted_books_locked)

    def wanted_books_locked(self) -> tuple[str, ...]:
        """The same with the lock held.

        In a signal handler that interrupts a subscribe(), the books that it has yet to make are missing.
        """
        channel = self.wanted.channels.get(BOOK_CHANNEL)
        return (
            tuple(filter(self._store.books.__contains__, tuple(channel.holders)))
            if channel is not None
            else ()
        )

    def shown_books(self) -> tuple[str, ...]:
        """The markets of ``feed.books``."""
        return self.wanted_books()

    def shows_book(self, market_ticker: str) -> bool:
        """Whether the market's book is in ``feed.books``."""
        return self.wanted.wants_book(market_ticker)

    def open_book_locked(self, market_ticker: str) -> None:
        """A book is wanted: it is PENDING until its snapshot comes."""
        book = self._store.book_locked(market_ticker)
        book.wanted_at = self._store.clock.monotonic()
        if book.set_status(BookStatus.PENDING):
            self.session.output.status_changed.add(market_ticker)

    def reopen_books_locked(self) -> None:
        """The feed starts: all wanted books are PENDING."""
        for ticker in self.wanted_books_locked():
            self.open_book_locked(ticker)
        if self.tap is not None:
            self.tap.wish(Change("reopen_books"))

    def close_books_locked(self) -> None:
        """The feed is closed, and so is every book."""
        self.session.books_unwanted(self.wanted_books_locked())

    def why_no_message(self, type_: str) -> str:
        """The message for a wait for this type that timed out."""
        channel = CHANNEL_OF_TYPE.get(type_, type_)
        if channel not in self.wanted.channels and channel in CHANNELS:
            return f"no {type_!r} message has come, and nobody has subscribed to {channel!r}"
        return self._state.missing(f"no matching {type_!r} message has come")
