"""From the reader to the callbacks of a live feed: a bounded queue and worker threads.

Owns the worker threads, the choice of what is queued for which worker, and closing.

close() may run in a signal handler that interrupts any other method of the Dispatcher. That is safe because
only the reader, the workers and close() take the lock of the mailboxes and counters: the main thread can be
inside it only in close(), and a close() that interrupts a close() of the same thread returns at once.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter, length_hint
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigurationError
from ..events import Event, FeedFault
from ..threads import ServiceThread, log_safely, waiting_threads
from ..waiting import seconds_until
from .delivery import Delivery, checked_count
from .mailbox import TICKER_OF, Lag, Mailbox, MessageQueue
from .registry import BOOK_TYPES, Deliverable, Registry, Table
from .worker import Worker

if TYPE_CHECKING:
    from ..books.book import BookView

__all__ = ["Dispatcher"]

_logger = logging.getLogger("kalshi_feed.dispatch")
_TYPE_OF = attrgetter("type")
_STUCK_AFTER = 5.0  # seconds a callback may run before it is named in the log
_WATCH_EVERY = 1.0  # seconds
_GRACE = 0.25  # seconds after the deadline for workers that only have to announce the last loss
Overflow = Literal["drop_oldest", "block"]


class _WorkerThread(ServiceThread):
    """A worker's thread. It refers to its worker and the registry, not to the Dispatcher."""

    def __init__(self, worker: Worker, registry: Registry, name: str) -> None:
        super().__init__(worker.run, name)
        self.registry = registry


class Dispatcher(Delivery):
    """Passes the messages and events of a live feed to callbacks and streams.

    Thread-safe, except put() and watch(), which only the reader calls. Callbacks run on the threads
    ``kalshi-feed-worker-N``, in order and under no lock. With several workers, each market stays in order; a
    control event is delivered before all later messages, but may overtake older ones of a market whose worker
    is behind.

    ``view_of`` returns a market's newest view for on_book. ``report_fault`` gets the faults of callbacks that
    raise, for counting; on_error gets them from the worker itself. Both are called on worker threads and must
    not refer to the feed.
    """

    def __init__(
        self,
        *,
        queue_size: int = 65_536,
        overflow: Overflow = "drop_oldest",
        workers: int = 1,
        name: str | None = None,
        view_of: Callable[[str], BookView | None],
        report_fault: Callable[[FeedFault], None] = lambda fault: None,
    ) -> None:
        queue_size, workers = checked_count("queue_size", queue_size), checked_count("workers", workers)
        if overflow not in ("drop_oldest", "block"):
            raise ConfigurationError(f"overflow must be 'drop_oldest' or 'block', not {overflow!r}")
        super().__init__()
        self._queue_size = queue_size
        self._block = overflow == "block"
        self._workers = workers
        self._prefix = f"{name}-" if name else ""
        self._view_of = view_of
        self._report_fault = report_fault
        self._queue = self._new_queue()
        self._threads: list[tuple[ServiceThread, Mailbox]] = []  # those that were started
        self._closers: set[int] = set()  # idents of the threads in close()
        self._next_watch = 0.0  # when watch() is due, by perf_counter()
        # by worker, where it was when watch() last saw it move, and when that was
        self._seen: dict[Mailbox, tuple[tuple[object, ...], float]] = {}
        self._stuck: dict[Mailbox, tuple[object, ...]] = {}  # where the stuck ones are, once logged

    def _new_queue(self) -> MessageQueue:
        return MessageQueue(
            self._lock, self.counters, self._queue_size, self._workers, self._block, self._while_full
        )

    # -- the reader's side -----------------------------------------------------------------------------------

    def put(self, items: list[Any], read_at: float, status_changed: Iterable[str] = ()) -> None:
        """Reader only: queue messages and events in order; the list is the dispatcher's from then on.

        ``read_at`` is the time.perf_counter() of the socket read, ``status_changed`` the markets whose book
        changed its status; if that is a mapping, its values are kept until on_book was called for the market.
        Never blocks with "drop_oldest". With "block" it waits for room, but not after close(), and not while
        a callback itself waits for something that only the reader can bring.
        """
        table = self._registry.table
        messages = items
        try:
            kinds = set(map(_TYPE_OF, items))
        except AttributeError:  # events have no type
            messages = [item for item in items if not isinstance(item, Event)]
            kinds = set(map(_TYPE_OF, messages))
        entries: list[list[Any] | Event | Lag] = []
        lag, warnings = self._feed_streams(messages, kinds) if self._streams else (None, [])
        if lag is not None:
            entries.append(lag)  # ahead of the messages
        if messages is items:
            if chosen := _choose(items, kinds, table):
                entries.append(chosen)
        else:
            for is_event, run in itertools.groupby(items, lambda item: isinstance(item, Event)):
                if is_event:
                    entries.extend(event for event in run if table.for_event(type(event)))
                elif chosen := _choose(list(run), kinds, table):
                    entries.append(chosen)
        dirty = _changed_books(messages, kinds, status_changed, table) if table.books else {}
        if entries or dirty:
            warnings += self._queue.put(entries, dirty, read_at)
        for warning in warnings:
            log_safely(_logger, logging.WARNING, "%s", warning)
        if read_at >= self._next_watch:
            self.watch(read_at)

    def _while_full(self) -> bool:
        """Reader only: whether to let a full queue grow although "block" was asked for."""
        now = time.perf_counter()
        if now >= self._next_watch:
            self.watch(now)
        return any(thread.ident in waiting_threads for thread, _ in self._threads)

    def watch(self, now: float) -> None:
        """Reader only: log, once, a callback that has been running for over 5 s. ``now``: perf_counter().

        put() calls it once a second; a reader without messages calls it at next_watch().
        """
        self._next_watch = now + _WATCH_EVERY
        for box in self._queue.boxes:
            position = _position(box)
            place, since = self._seen.get(box, (None, 0.0))
            if position[0] is None or position != place:
                self._seen[box] = (position, now)
                self._stuck.pop(box, None)
            elif now - since >= _STUCK_AFTER and box not in self._stuck:
                self._stuck[box] = position
                log_safely(
                    _logger,
                    logging.WARNING,
                    "the callback %s has been running for over %.0f s; its worker delivers nothing until it "
                    "returns",
                    _running(box),
                    _STUCK_AFTER,
                )

    def next_watch(self) -> float:
        """Reader only: when watch() is due (perf_counter()); never while no callback runs."""
        return self._next_watch if any(box.running is not None for box in self._queue.boxes) else math.inf

    @property
    def stuck_callback(self) -> str | None:
        """The callback that watch() has logged and that is still running, or None."""
        for box, position in tuple(self._stuck.items()):
            if _position(box) == position:
                return _running(box)
        return None

    # -- starting and closing --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the worker threads, new ones after a close(). Raises RuntimeError if none can be started."""
        if self._threads and not self._queue.closing:
            return
        if self._queue.closing:
            self._queue = self._new_queue()
            self._threads = []
            self._seen.clear()
            self._stuck.clear()
        self._end = None
        queue, threads = self._queue, self._threads
        for number, box in enumerate(queue.boxes):
            worker = Worker(
                queue, box, self._registry, self._lock, self.counters, self._view_of, self._report_fault
            )
            thread = _WorkerThread(worker, self._registry, f"{self._prefix}kalshi-feed-worker-{number}")
            try:
                thread.start()
            except BaseException:
                queue.begin_close(0.0)
                raise
            # only now: a close() in a signal handler cannot join a thread not yet running
            threads.append((thread, box))

    def close(self, deadline: float) -> None:
        """Stop the workers: deliver what is queued until ``deadline`` (time.monotonic()), and drop the rest.

        Idempotent. Returns at once if called from a callback; the workers then end on their own, by the
        deadline. A callback that does not return is named in the log, and its daemon thread is abandoned.
        """
        queue, threads = self._queue, tuple(self._threads)
        queue.begin_close(deadline)
        me = threading.get_ident()
        if me in self._closers or self.is_worker():
            return
        try:
            self._closers.add(me)
            _join(threads, deadline)
            queue.discard()
            left = _join(threads, max(deadline, time.monotonic()) + _GRACE) if threads else []
            if left and not queue.abandoned:
                queue.discard(abandon=True)
                for thread, box in left:
                    log_safely(
                        _logger,
                        logging.WARNING,
                        "the callback %s did not return in time; abandoning its thread %s",
                        _running(box),
                        thread.name,
                    )
        finally:
            self._closers.discard(me)

    def is_worker(self) -> bool:
        """Whether the caller is a callback, on one of the worker threads."""
        thread = ServiceThread.current()
        return isinstance(thread, _WorkerThread) and thread.registry is self._registry

    def unblock(self) -> None:
        """Keep put() from waiting for room ("block"); call it before joining the reader. Takes no lock."""
        self._queue.unblock()

    def leave_child(self) -> None:
        """In a forked child: nothing is delivered, because the workers stayed in the parent."""
        self._queue.leave_child()
        super().leave_child()


def _choose(items: Sequence[Deliverable], kinds: set[str], table: Table) -> list[Any]:
    """The messages that some callback wants, by type and ticker."""
    wants = table.wants
    verdicts = {wants(kind) for kind in kinds}
    if verdicts == {True}:
        return items if isinstance(items, list) else list(items)
    if verdicts == {False}:
        return []
    chosen = []
    for item in items:
        verdict = wants(item.type)
        if verdict is True or (verdict and item.market_ticker in verdict):
            chosen.append(item)
    return chosen


def _changed_books(
    messages: Sequence[Deliverable], kinds: set[str], status_changed: Iterable[str], table: Table
) -> Mapping[str, object]:
    """The markets for which on_book has something new."""
    if kinds <= BOOK_TYPES:
        tickers: dict[str | None, object] = dict.fromkeys(map(TICKER_OF, messages))
    elif kinds & BOOK_TYPES:
        tickers = dict.fromkeys(m.market_ticker for m in messages if m.type in BOOK_TYPES)
    else:
        tickers = {}
    tickers.update(status_changed if isinstance(status_changed, Mapping) else dict.fromkeys(status_changed))
    markets = table.book_markets
    return {
        t: kept
        for t, kept in tickers.items()
        if t is not None and (isinstance(markets, bool) or t in markets)
    }


def _position(box: Mailbox) -> tuple[object, ...]:
    """What changes as a worker gets on: the running callback, the piece of work, the messages left of it."""
    return box.running, box.serial, length_hint(box.current)


def _running(box: Mailbox) -> str:
    entry = box.running
    return entry.name if entry is not None else "(none)"


def _join(
    threads: Iterable[tuple[ServiceThread, Mailbox]], deadline: float
) -> list[tuple[ServiceThread, Mailbox]]:
    """Wait for the threads until the deadline; return those still running."""
    for thread, _ in threads:
        remaining = seconds_until(deadline)
        thread.join(None if remaining is None else min(remaining, threading.TIMEOUT_MAX))
    return [(thread, box) for thread, box in threads if thread.is_alive()]
