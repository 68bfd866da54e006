"""A replay's dispatcher: every callback runs on the thread that feeds the session, message by message.

Owns InlineDispatcher. There is no queue and there are no workers, so a callback finds everything exactly as
it was at its own message.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from ..events import Event, FeedFault
from ..greenlets import free_in_child
from ..threads import log_safely
from .delivery import Delivery
from .registry import BOOK_TYPES, Entry
from .runner import CallbackRunner
from .stream import Blocking

if TYPE_CHECKING:
    from ..books.book import BookView

__all__ = ["InlineDispatcher"]

_logger: Final = logging.getLogger("kalshi_feed.dispatch")
_STUCK_AFTER: Final = 5.0  # seconds


class InlineDispatcher(Delivery):
    """Calls the callbacks in put(), under no lock. Thread-safe, except put(), which only the player calls.

    ``blocking`` is how streams wait, ``view_of`` returns a market's view for on_book, ``report_fault`` gets
    the faults of callbacks that raise, and ``now`` returns the replay's time.
    """

    def __init__(
        self,
        *,
        blocking: Blocking,
        view_of: Callable[[str], BookView | None],
        report_fault: Callable[[FeedFault], None],
        now: Callable[[], datetime],
    ) -> None:
        super().__init__(blocking)
        self.running: Entry | None = None  # the callback that is running, or ran last
        self._started = math.inf  # perf_counter() at the start of this put(); inf outside of it
        self._thread: int | None = None  # ident of the thread that is in put()
        self._closed = False  # nothing is delivered anymore
        self._now = now
        self._runner = CallbackRunner(self, self._registry, self._lock, self.counters, view_of, report_fault)

    def put(self, items: list[Any], read_at: float, status_changed: Iterable[str] = ()) -> None:
        """Call the callbacks. on_book gets every change; books that change together come sorted by market."""
        if self._closed:
            return
        registry = self._registry
        begun = self._started = perf_counter()
        self._thread = threading.get_ident()
        count = 0
        try:
            if self._streams:
                self._fill_streams(items)
            for item in items:
                if self._closed:  # a callback took too long, and close() did not wait for it
                    return
                if isinstance(item, Event):
                    self._runner.announce(item)
                    continue
                count += 1
                table = registry.table
                for callback, market_tickers, entry in table.routes.get(item.type, table.all_data):
                    if market_tickers is None or item.market_ticker in market_tickers:
                        self.running = entry
                        try:
                            callback(item)
                        except BaseException as error:
                            self._runner.failed(entry, item, error)
            if registry.table.books:
                self._show_books(items, status_changed)
        finally:
            self._thread = None
            self._started = math.inf
        ended = perf_counter()
        counters = self.counters  # only this thread writes the times in it
        counters.callback_seconds += ended - begun
        if count:
            counters.processing.rotate(ended)
            counters.processing.add(begun - read_at, count)

    def _show_books(self, items: list[Any], status_changed: Iterable[str]) -> None:
        touched = {
            item.market_ticker: None
            for item in items
            if not isinstance(item, Event) and item.type in BOOK_TYPES
        }
        touched.update(dict.fromkeys(sorted(status_changed)))
        for market_ticker in touched:
            if not self._closed:
                self._runner.show_book(market_ticker)

    def _fill_streams(self, items: list[Any]) -> None:
        """Fill the streams; what they drop is announced before the messages."""
        messages = [item for item in items if not isinstance(item, Event)]
        lag, warnings = self._feed_streams(messages, {message.type for message in messages})
        for warning in warnings:
            log_safely(_logger, logging.WARNING, "%s", warning)
        if lag is not None:
            self.counters.dropped += lag.dropped
            self._runner.announce(replace(lag.event(), at=self._now()))

    def watch(self, now: float) -> None:
        """Do nothing: the thread that would look is running the callback. health() reports a stuck one."""

    def next_watch(self) -> float:
        """Never: there is nothing to watch from outside."""
        return math.inf

    @property
    def stuck_callback(self) -> str | None:
        """The callback that has been running for over 5 s, or None."""
        running = self.running
        return running.name if running is not None and perf_counter() - self._started > _STUCK_AFTER else None

    def start(self) -> None:
        """Deliver from now on, also after a close()."""
        self._closed, self._end = False, None

    def close(self, deadline: float) -> None:
        """Deliver nothing more. A callback that has not returned is named in the log."""
        self._closed = True
        running = self.running
        if running is not None and self._thread is not None and not self.is_worker():
            text = "the callback %s did not return in time; abandoning the replay's thread"
            log_safely(_logger, logging.WARNING, text, running.name)

    def is_worker(self) -> bool:
        """Whether the caller is a callback, on the player's thread."""
        return self._thread == threading.get_ident()

    def unblock(self) -> None:
        """Do nothing: put() never waits for room."""

    def leave_child(self) -> None:
        """In a forked child: nothing is delivered, because the player stayed in the parent."""
        free_in_child(self._lock)
        self._closed = True
        super().leave_child()
