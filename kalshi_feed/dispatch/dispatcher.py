"""From the reader to the users: callbacks on worker threads, streams and waits in the users' own threads.

Owns the worker threads, the choice of what is queued for whom, and closing. Must not import anything of the package but
errors, session.events, stats, threads and its siblings; no sockets.

Signals: close() and end() may run in a signal handler on top of any other method of the Dispatcher. The lock of the
mailboxes and counters is taken by the reader, the workers and close() only, so the main thread can be inside it only
in close(), and a close() on top of a close() of the same thread returns at once. The registry, the streams and
waking (wakeup.py) need no lock.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter, length_hint
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigurationError, FeedClosedError, KalshiFeedError, WaitTimeout
from ..events import Event, FeedFault
from ..threads import ServiceThread, log_safely, waiting_threads
from ..waiting import deadline_after, seconds_until
from .mailbox import TICKER_OF, Counters, Lag, Mailbox, MessageQueue
from .registry import BOOK_TYPES, Callback, Deliverable, Kind, Registry, Table
from .stream import MessageStream
from .worker import Worker

if TYPE_CHECKING:
    from ..books.book import BookView

__all__ = ["Dispatcher"]

_logger = logging.getLogger("kalshi_feed.dispatch")
_TYPE_OF = attrgetter("type")
_STUCK_AFTER = 5.0  # seconds a callback may run before it is named in the log
_LOOK = 0.05  # seconds between two looks at whether it was stopped
_WATCH_EVERY = 1.0  # seconds
_GRACE = 0.25  # seconds after the deadline for workers that only have to announce the last loss
Overflow = Literal["drop_oldest", "block"]


class _WorkerThread(ServiceThread):
    """A thread that knows whose it is. It refers to its worker and the registry, not to the Dispatcher."""

    def __init__(self, worker: Worker, registry: Registry, name: str) -> None:
        super().__init__(target=worker.run, name=name, daemon=True)
        self.registry = registry


class Dispatcher:
    """Hands messages and events to callbacks and streams.

    Thread-safe, but for put() and watch(), which the reader alone calls. Callbacks run on the threads
    ``kalshi-feed-worker-N``, in order and under no lock; with several workers each market stays in order, and a control
    event is delivered before all later messages, but may come before older ones of a market whose worker is behind.

    ``view_of`` gives a market's newest view for on_book; ``report_fault`` is told of callbacks that raise (for
    counting: on_error gets the fault from the worker itself). Both are called on worker threads and must not refer to
    the feed.
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
        for what, number in (("queue_size", queue_size), ("workers", workers)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ConfigurationError(f"{what} must be a whole number, at least 1, not {number!r}")
        if overflow not in ("drop_oldest", "block"):
            raise ConfigurationError(f"overflow must be 'drop_oldest' or 'block', not {overflow!r}")
        self.counters = Counters()
        # Guards the mailboxes and the counters. Under it only code of mailbox.py and stats.Histogram is called.
        self._lock = threading.Lock()
        self._registry = Registry()
        self._queue_size = queue_size
        self._block = overflow == "block"
        self._workers = workers
        self._prefix = f"{name}-" if name else ""
        self._view_of = view_of
        self._report_fault = report_fault
        self._queue = self._new_queue()
        self._threads: list[tuple[threading.Thread, Mailbox]] = []
        self._closers: set[int] = set()
        self._streams: dict[weakref.ref[MessageStream[Any]], None] = {}  # no lock: single dict operations only
        self._end: KalshiFeedError | None = None
        self._next_watch = 0.0
        self._seen: dict[Mailbox, tuple[tuple[object, ...], float]] = {}
        self._stuck: dict[Mailbox, tuple[object, ...]] = {}
        _dispatchers.add(self)

    def _new_queue(self) -> MessageQueue:
        return MessageQueue(self._lock, self.counters, self._queue_size, self._workers, self._block, self._while_full)

    # -- registering ------------------------------------------------------------------------------------------------

    def register(self, kind: Kind, callback: Callback, market_tickers: str | Iterable[str] | None = None) -> None:
        """Call ``callback`` with every object of ``kind``: a wire type, an Event class, BOOKS or ALL_DATA.

        With ``market_tickers`` only with those of these markets, never with a message that has no ticker. Takes
        effect from the next message on. Raises ConfigurationError.
        """
        self._registry.register(kind, callback, market_tickers)

    def off(self, callback: Callback) -> int:
        """Remove every registration of ``callback``, from the next message on; returns how many there were."""
        return self._registry.off(callback)

    # -- the reader's side ------------------------------------------------------------------------------------------

    def put(self, items: Sequence[Any], read_at: float, status_changed: Iterable[str] = ()) -> None:
        """Reader only: hand over messages and events in order; the list belongs to the dispatcher from then on.

        ``read_at`` is the time.perf_counter() of the socket read, ``status_changed`` the markets whose book changed its
        status; of a mapping, the values are kept until on_book was told of the market. Never blocks with "drop_oldest";
        with "block" it waits for room, until close(), or until a callback itself waits for what the reader has yet to
        bring.
        """
        table = self._registry.table
        messages = items
        try:
            kinds = set(map(_TYPE_OF, items))
        except AttributeError:  # events have no type
            messages = [item for item in items if not isinstance(item, Event)]
            kinds = set(map(_TYPE_OF, messages))
        entries: list[list[Any] | Event | Lag] = []
        warnings = self._feed_streams(messages, kinds, entries) if self._streams else []
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
        """Reader only: the queue is full and "block" was asked for. Whether to let it grow all the same."""
        now = time.perf_counter()
        if now >= self._next_watch:
            self.watch(now)
        return any(thread.ident in waiting_threads for thread, _ in self._threads)

    def _feed_streams(self, messages: Sequence[Any], kinds: set[str], entries: list[list[Any] | Event | Lag]) -> list[str]:
        """Fill the streams; what they drop becomes one Lagged, ahead of the messages."""
        warnings = []
        total: Lag | None = None
        for reference in list(self._streams):
            stream = reference()
            if stream is not None and stream.type in kinds:
                lag, news = stream.feed(messages)
                if news:
                    warnings.append(f"a stream of {stream.type!r} messages is not read fast enough: the oldest are dropped")
                if lag is not None and total is not None:
                    total.merge(lag)
                else:
                    total = total or lag
        if total is not None:
            entries.append(total)
        return warnings

    def watch(self, now: float) -> None:
        """Reader only: name a callback in the log that has been running for over 5 s, once. ``now``: perf_counter().

        put() calls it once a second; a reader without messages calls it when next_watch() has come.
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
                    "the callback %s has been running for over %.0f s; its worker delivers nothing else meanwhile",
                    _running(box),
                    _STUCK_AFTER,
                )

    def next_watch(self) -> float:
        """Reader only: when watch() is due (perf_counter()); never while no callback runs."""
        return self._next_watch if any(box.running is not None for box in self._queue.boxes) else math.inf

    @property
    def stuck_callback(self) -> str | None:
        """The callback that watch() has named and that still runs, or None."""
        for box, position in tuple(self._stuck.items()):
            if _position(box) == position:
                return _running(box)
        return None

    # -- starting and closing ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the worker threads; after a close() new ones. Raises RuntimeError when the system gives no thread."""
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
            worker = Worker(queue, box, self._registry, self._lock, self.counters, self._view_of, self._report_fault)
            thread = _WorkerThread(worker, self._registry, f"{self._prefix}kalshi-feed-worker-{number}")
            try:
                thread.start()
            except BaseException:
                queue.begin_close(0.0)
                raise
            threads.append((thread, box))  # only now: a close() in a signal handler cannot join a thread not yet running

    def close(self, deadline: float) -> None:
        """Stop the workers: what is queued is delivered until ``deadline`` (time.monotonic()), then counted as dropped.

        Idempotent. Returns at once when called from a callback; the workers then end by themselves, by the deadline. A
        callback that does not return is named in the log and its daemon thread left behind.
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
                        "the callback %s did not return in time; its thread %s is left behind",
                        _running(box),
                        thread.name,
                    )
        finally:
            self._closers.discard(me)

    def drain(self, stopped: Callable[[], bool]) -> None:
        """Wait until everything queued is delivered, however long that takes, unless ``stopped()``. Nothing may be put any more."""
        queue, threads = self._queue, tuple(self._threads)
        queue.begin_close(math.inf)
        while not stopped() and _join(threads, time.monotonic() + _LOOK):
            pass

    def is_worker(self) -> bool:
        """Whether this is called from a callback, on one of the worker threads."""
        thread = threading.current_thread()
        return isinstance(thread, _WorkerThread) and thread.registry is self._registry

    def unblock(self) -> None:
        """Let put() no longer wait for room ("block"): to be called before the reader is joined. Takes no lock."""
        self._queue.unblock()

    def end_streams(self, error: KalshiFeedError | None) -> None:
        """End every stream and wait: with ``error``, or because the feed was closed. start() lets new ones begin."""
        self._end = end = error or FeedClosedError("the feed was closed")
        for reference in list(self._streams):
            stream = reference()
            if stream is not None:
                stream.end(end)

    def leave_child(self) -> None:
        """In a child process: the threads stayed in the parent, and so does what waits for them."""
        self._queue.leave_child()
        for reference in list(self._streams):
            stream = reference()
            if stream is not None:
                stream.leave_child()

    # -- streams and waits ------------------------------------------------------------------------------------------

    def stream(self, type: str, market_tickers: str | Iterable[str] | None = None, maxsize: int = 10_000) -> MessageStream[Any]:
        """A blocking iterator over the messages of one wire type from now on. Raises ConfigurationError."""
        streams = self._streams
        stream: MessageStream[Any] = MessageStream(type, market_tickers, maxsize)
        reference = weakref.ref(stream, lambda gone: streams.pop(gone, None))
        stream.on_close(lambda: streams.pop(reference, None))
        streams[reference] = None
        if self._end is not None:
            stream.end(self._end)
        return stream

    def wait_for(
        self,
        type: str,
        predicate: Callable[[Any], object] | None = None,
        timeout: float | None = None,
        *,
        market_tickers: str | Iterable[str] | None = None,
        describe: Callable[[], str] | None = None,
    ) -> Any:
        """The next message of a wire type for which ``predicate`` is true.

        The predicate is called in this thread and its errors pass through. ``timeout`` in seconds, None for ever.
        Raises WaitTimeout with the text of ``describe``, FeedClosedError, or the feed's error when it has failed.
        """
        deadline = deadline_after(timeout)
        with self.stream(type, market_tickers) as stream:
            while True:
                try:
                    message = stream.get(seconds_until(deadline))
                except WaitTimeout:
                    break
                if predicate is None or predicate(message):
                    return message
        raise WaitTimeout(describe() if describe else f"no such {type!r} message within {timeout} s")


def _choose(items: Sequence[Deliverable], kinds: set[str], table: Table) -> list[Any]:
    """The messages some callback wants, by type and ticker."""
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
    """The markets of which on_book has something new to say."""
    if kinds <= BOOK_TYPES:
        tickers: dict[str | None, object] = dict.fromkeys(map(TICKER_OF, messages))
    elif kinds & BOOK_TYPES:
        tickers = dict.fromkeys(m.market_ticker for m in messages if m.type in BOOK_TYPES)
    else:
        tickers = {}
    tickers.update(status_changed if isinstance(status_changed, Mapping) else dict.fromkeys(status_changed))
    markets = table.book_markets
    return {t: kept for t, kept in tickers.items() if t is not None and (isinstance(markets, bool) or t in markets)}


def _position(box: Mailbox) -> tuple[object, ...]:
    """What changes whenever a worker gets on: the callback running, the piece of work, the messages left of it."""
    return box.running, box.serial, length_hint(box.current)


def _running(box: Mailbox) -> str:
    entry = box.running
    return entry.name if entry is not None else "(none)"


def _join(threads: Iterable[tuple[threading.Thread, Mailbox]], deadline: float) -> list[tuple[threading.Thread, Mailbox]]:
    """Wait for the threads until the deadline; returns those still running."""
    for thread, _ in threads:
        remaining = seconds_until(deadline)
        thread.join(None if remaining is None else min(remaining, threading.TIMEOUT_MAX))
    return [(thread, box) for thread, box in threads if thread.is_alive()]


_dispatchers: weakref.WeakSet[Dispatcher] = weakref.WeakSet()


def _after_fork() -> None:
    for dispatcher in list(_dispatchers):
        dispatcher.leave_child()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
