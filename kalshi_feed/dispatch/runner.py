"""Calling one callback: whatever it raises, the other callbacks and the feed go on.

Owns CallbackRunner, which the workers and a replay's dispatcher share.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from .. import greenlets
from ..events import Event, FeedFault
from ..threads import log_safely
from .mailbox import Counters
from .registry import Entry, Registry, Route

if TYPE_CHECKING:
    from ..books.book import BookView

__all__ = ["CallbackRunner"]

_logger = logging.getLogger("kalshi_feed.dispatch")


class Place(Protocol):
    """Where the runner notes which callback is running, for other threads to see."""

    running: Entry | None


class CallbackRunner:
    """Calls callbacks; owned by the one thread it runs on. Refers to the registry, never to the feed.

    ``lock`` guards ``counters``, ``view_of`` returns a market's view for on_book, ``report_fault`` gets the
    faults of callbacks that raise.
    """

    def __init__(
        self,
        place: Place,
        registry: Registry,
        lock: threading.Lock,
        counters: Counters,
        view_of: Callable[[str], BookView | None],
        report_fault: Callable[[FeedFault], None],
    ) -> None:
        self._place = place
        self._registry = registry
        self._lock = lock  # the dispatcher's; here it guards the counters
        self._counters = counters
        self._view_of = view_of
        self._report_fault = report_fault

    def announce(self, event: Event) -> None:
        """Call every callback for an event."""
        for route in self._registry.table.for_event(type(event)):
            self._call(route, event)

    def show_book(self, market_ticker: str) -> None:
        """Call every on_book for a market with its book as it is now."""
        try:
            view = self._view_of(market_ticker)
        except Exception as error:
            log_safely(
                _logger,
                logging.ERROR,
                "the book of %s could not be read for on_book",
                market_ticker,
                error=error,
            )
            return
        if view is None:
            return
        for route in self._registry.table.books:
            if route[1] is None or market_ticker in route[1]:
                self._call(route, view)

    def _call(self, route: Route, item: Any) -> None:
        callback, _, entry = route
        self._place.running = entry
        try:
            callback(item)
        except BaseException as error:
            self.failed(entry, item, error)

    def failed(self, entry: Entry, item: Any, error: BaseException) -> None:
        """A callback raised: count it, log it (the first time and every 1,000th), report it to on_error.

        Call this in the frame that called the callback. A Ctrl-C that hit a greenlet goes to the main one.
        """
        if greenlets.pass_on(error):
            return
        if error.__traceback__ is not None:
            # drop our own frame, which holds the messages in hand
            error.__traceback__ = error.__traceback__.tb_next
        count = next(entry.errors)
        with self._lock:
            self._counters.callback_errors += 1
        what = getattr(item, "type", None) or type(item).__name__
        text = f"the callback {entry.name} raised {type(error).__name__} on {what}"
        if count == 1 or count % 1000 == 0:
            log_safely(
                _logger,
                logging.ERROR,
                "%s (error %d of this callback); the feed goes on",
                text,
                count,
                error=error,
            )
        if isinstance(item, FeedFault):
            return  # raised in on_error itself: logged only
        context = {
            "callback": entry.name,
            "type": what,
            "market_ticker": getattr(item, "market_ticker", None),
            "count": count,
        }
        fault = FeedFault(kind="callback", message=text, error=error, context=context)
        self.report(fault)
        self.announce(fault)

    def report(self, fault: FeedFault) -> None:
        """Have a fault counted; if that fails, it is only logged."""
        try:
            self._report_fault(fault)
        except Exception as broken:
            log_safely(_logger, logging.ERROR, "a fault could not be counted", error=broken)
