"""The books of a relay's consumer as its users see them, and the relay's time. Owns both."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ..books.book import Book, BookStatus, BookView
from ..books.store import BookStore
from ..recording.player import ReplayClock
from ..waiting import Clock

__all__ = ["ConsumerStore", "RelayClock"]

_WINDOW: Final = 60.0  # seconds in which at least one entry comes through without delay


class ConsumerStore(BookStore):
    """The books of a consumer. While it may lag behind its relay, LIVE books are shown with another status.

    The session works with the true status meanwhile: what it takes in is right, and merely late. Thread-safe
    like BookStore.
    """

    def __init__(self, clock: Clock, is_wanted: Callable[[str], bool]) -> None:
        super().__init__(clock, is_wanted)
        # What LIVE books are shown as; None: as LIVE. Changed under the lock.
        self._live_as: BookStatus | None = BookStatus.PENDING

    def status_of(self, book: Book) -> BookStatus:
        """The status that users are shown. Needs no lock."""
        shown, status = self._live_as, book.status
        return shown if shown is not None and status is BookStatus.LIVE else status

    def view_locked(self, book: Book) -> BookView:
        """The book as it is now."""
        view = super().view_locked(book)
        status = self.status_of(book)
        if status is view.status:
            return view
        return BookView(
            view.market_ticker,
            status,
            view.version,
            view.seq,
            view.clock,
            view._age,
            view._wall,
            view._levels,
        )

    def show_live_as_locked(self, status: BookStatus | None) -> list[str]:
        """Show LIVE books with this status from now on, None for LIVE; return their markets."""
        if status is self._live_as:
            return []
        self._live_as = status
        live = [book for book in self.books.values() if book.status is BookStatus.LIVE]
        for book in live:
            book.version += 1
        return [book.market_ticker for book in live]


class RelayClock(ReplayClock):
    """A relay's monotonic clock as it goes on here, for the books; and this machine's wall clock.

    Both clocks run alike, but from different beginnings. The difference is known from the entries: it is the
    largest one seen lately, that of the entry which came with the least delay. The reader sets it, any thread
    reads it.
    """

    def __init__(self) -> None:
        super().__init__()
        # The relay's clock less ours in seconds: the largest in this window of time, and in the one before.
        self._ahead: float | None = None
        self._ahead_before: float | None = None
        self._window_ends = 0.0  # time.monotonic()

    def restart(self) -> None:
        """Another relay's clock comes next."""
        self._ahead = self._ahead_before = None

    def set(self, ns: int, offset_ns: int) -> float:
        """Set the clock to the time of a record, ``ns`` (Unix); returns the session's time."""
        self._times = (ns, offset_ns)
        return (ns - offset_ns) / 1e9

    def arrived(self, at: float, now: float) -> float:
        """What happened at ``at`` by the relay's clock has come now (time.monotonic()). Returns the delay in
        seconds, compared with the shortest one."""
        ahead = at - now
        if now >= self._window_ends:
            self._ahead_before, self._ahead, self._window_ends = self._ahead, ahead, now + _WINDOW
        elif self._ahead is None or ahead > self._ahead:
            self._ahead = ahead
        return max(self._ahead or ahead, self._ahead_before or self._ahead or ahead) - ahead

    def monotonic(self) -> float:
        """The relay's time now, in seconds."""
        ns, offset_ns = self._times
        at, ahead, before = (ns - offset_ns) / 1e9, self._ahead, self._ahead_before
        if ahead is None:
            return at
        return max(at, time.monotonic() + (ahead if before is None else max(ahead, before)))

    def time(self) -> float:
        """Unix time by this machine's clock, in seconds."""
        return time.time()
