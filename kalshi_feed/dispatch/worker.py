"""Running the callbacks.

Owns the worker's loop: it delivers in order, and calls on_book with the newest view only, however many
changes led to it.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING

from .. import greenlets
from ..events import FeedFault
from ..threads import log_safely
from .mailbox import MAX_CHUNK, Batch, Counters, Done, Lag, Mailbox, MessageQueue, Token
from .registry import Registry
from .runner import CallbackRunner

if TYPE_CHECKING:
    from ..books.book import BookView

__all__ = ["Worker"]

_logger = logging.getLogger("kalshi_feed.dispatch")
_LONG_CHUNK = 0.02  # seconds; a chunk that takes longer makes the next ones smaller


class Worker:
    """One worker thread's work; the thread owns it. Refers to queue and registry, never to the feed."""

    def __init__(
        self,
        queue: MessageQueue,
        box: Mailbox,
        registry: Registry,
        lock: threading.Lock,
        counters: Counters,
        view_of: Callable[[str], BookView | None],
        report_fault: Callable[[FeedFault], None],
    ) -> None:
        self._queue = queue
        self._box = box
        self._registry = registry
        self._runner = CallbackRunner(box, registry, lock, counters, view_of, report_fault)
        # the account of the last piece of work, handed in when the next one is taken
        self._done: Done | None = None

    def run(self) -> None:
        """Deliver until the queue is closed and empty, or abandoned."""
        defects = 0
        is_greenlet = greenlets.thread_kind() != "thread"
        while True:
            try:
                if self.step():
                    if is_greenlet:  # or nothing else runs while there is work
                        greenlets.take_turns()
                    continue
                if self._queue.closing:
                    return
                self._box.wake.wait()
            except BaseException as error:  # a bug of ours: callbacks' errors do not get here
                if greenlets.pass_on(error):
                    continue
                defects += 1
                self._defect(error, defects)
                if defects > 1:
                    self._box.wake.wait(0.1)  # in case it never stops

    def step(self) -> bool:
        """Deliver the next piece of work; return whether there was one."""
        done, self._done = self._done, None
        work = self._queue.take(self._box, done)
        if work is None:
            return False
        self._done = self._deliver(work) if isinstance(work, Batch) else self._deliver_rare(work)
        return True

    def _defect(self, error: BaseException, count: int) -> None:
        """A bug of ours: the messages in hand are lost, which is counted and announced; then go on."""
        if count == 1 or count % 1000 == 0:
            text = "defect %d of this worker in kalshi_feed; the feed goes on, please report it"
            log_safely(_logger, logging.ERROR, text, count, error=error)
        try:
            self._queue.drop_in_hand(self._box)
            fault = FeedFault(
                "defect", f"a defect in kalshi_feed kept messages from the callbacks: {error!r}", error
            )
            self._runner.report(fault)
            self._runner.announce(fault)
        except Exception as broken:
            log_safely(_logger, logging.ERROR, "a defect could not be counted", error=broken)

    def _deliver(self, chunk: Batch) -> Done:
        """Call every callback for every message. The hot loop."""
        box, registry = self._box, self._registry
        count = len(chunk.items)
        table = registry.table
        routes, others = table.routes.get, table.all_data
        begun = box.started = perf_counter()
        for message in box.current:
            if box.attention:
                self._serve_books(self._queue.take_dirty(box))
                box.started = perf_counter()
            if registry.table is not table:
                table = registry.table
                routes, others = table.routes.get, table.all_data
            for callback, market_tickers, entry in routes(message.type, others):
                if market_tickers is None or message.market_ticker in market_tickers:
                    box.running = entry
                    try:
                        callback(message)
                    except BaseException as error:  # R01, R02: the others and the feed go on
                        self._runner.failed(entry, message, error)
        ended = perf_counter()
        box.started = math.inf
        spent = ended - begun
        if spent > _LONG_CHUNK:
            box.chunk = max(1, int(count * _LONG_CHUNK / spent))
        elif box.chunk < MAX_CHUNK:
            box.chunk = min(MAX_CHUNK, box.chunk * 2)
        last_begun = ended - spent / count  # approximately when the last message's callback was called
        return Done(count, ended, spent, begun - chunk.first_read_at, last_begun - chunk.last_read_at)

    def _deliver_rare(self, work: Lag | Token | dict[str, object]) -> Done | None:
        """Deliver a loss, a control event, or the markets with new books."""
        begun = perf_counter()
        if isinstance(work, dict):
            self._serve_books(work)
        elif isinstance(work, Lag):
            self._runner.announce(work.event())
        elif work.claim():
            try:
                self._runner.announce(work.event)
            finally:
                work.done = True
                if len(self._queue.boxes) > 1:
                    self._queue.wake_all()
        else:
            while not (work.done or self._queue.discarded):
                self._box.wake.wait()
            return None
        ended = perf_counter()
        return Done(0, ended, ended - begun, 0.0, 0.0)

    def _serve_books(self, dirty: Iterable[str]) -> None:
        """Call on_book with the newest view of each market."""
        for market_ticker in dirty:
            if self._queue.discarded or not self._registry.table.books:
                return
            self._box.serial += 1
            self._runner.show_book(market_ticker)
