"""The bounded queue between the reader and the workers.

Owns the mailboxes (one per worker), the message counts, and the dropping of the oldest messages with the
Lagged that takes their place.

A mailbox is two deques. `tail` is the queue as the reader filled it. Dropping removes data from the left end
of `tail` and moves the control events that it meets there, in order, to `head`, where a growing Lag takes the
place of the messages dropped between them. The worker empties `head` first. So the cost of dropping does not
depend on how much is queued, the order is kept, and a loss is announced before the next data message.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from operator import attrgetter
from typing import Any, NamedTuple

from ..events import Event, FeedFault, Lagged
from ..greenlets import free_in_child
from ..greenlets import lock as new_lock
from ..meters import Histogram
from ..waiting import Signal
from .registry import Entry

__all__ = ["Batch", "Counters", "Lag", "Mailbox", "MessageQueue", "Token"]

TICKER_OF = attrgetter("market_ticker")
MAX_CHUNK = 64  # messages a worker takes at once, to share the cost; on_book and close() come in between
MAX_FAULTS = 10_000  # control events are never dropped, but garbage from a peer must not fill the memory
MAX_TICKERS = 1_000  # named in one Lagged
_ROOM_SLICE = 0.1  # seconds


class Counters:
    """The dispatcher's metrics over all its runs. Written under the dispatcher's lock, read by any thread.

    ``depth`` is the number of messages waiting now (without the few that a worker has in hand),
    ``high_water`` its maximum, ``dropped`` the messages lost to overflow and at close, ``callback_seconds``
    the time spent in callbacks, ``processing`` the time from socket read to callback (rotate() it with
    time.perf_counter()).
    """

    __slots__ = ("callback_errors", "callback_seconds", "depth", "dropped", "high_water", "processing")

    def __init__(self) -> None:
        self.depth = 0
        self.high_water = 0
        self.dropped = 0
        self.callback_errors = 0
        self.callback_seconds = 0.0
        self.processing = Histogram()


class Batch:
    """Messages read from ``first_read_at`` to ``last_read_at``; those before ``position`` are gone.

    Guarded by the dispatcher's lock while in a mailbox.
    """

    __slots__ = ("first_read_at", "items", "last_read_at", "position")

    def __init__(self, items: list[Any], first_read_at: float, last_read_at: float) -> None:
        self.items = items
        self.position = 0
        self.first_read_at = first_read_at
        self.last_read_at = last_read_at


class Done(NamedTuple):
    """A worker's account of a chunk: how many messages, when it ended, time in callbacks, latencies."""

    messages: int
    at: float
    spent: float
    first_latency: float
    last_latency: float


class Lag:
    """Dropped messages that become one Lagged. Guarded by the dispatcher's lock until a worker takes it."""

    __slots__ = ("at", "dropped", "tickers")

    def __init__(self) -> None:
        self.dropped = 0
        self.tickers: dict[str | None, None] = {}
        self.at = datetime.now(timezone.utc)

    def add(self, messages: Sequence[Any]) -> None:
        self.dropped += len(messages)
        if len(self.tickers) < MAX_TICKERS:
            self.tickers.update(dict.fromkeys(map(TICKER_OF, messages)))

    def merge(self, other: Lag) -> None:
        self.dropped += other.dropped
        if len(self.tickers) < MAX_TICKERS:
            self.tickers.update(other.tickers)

    def event(self) -> Lagged:
        tickers = tuple(ticker for ticker in self.tickers if ticker is not None)[:MAX_TICKERS]
        return Lagged(dropped=self.dropped, market_tickers=tickers, at=self.at)


class Token:
    """A control event, the same object in every mailbox.

    The worker that claims it runs the callbacks while the others wait.
    """

    __slots__ = ("_claim", "done", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.done = False  # the callbacks have run
        # taken once and never released: decides which worker runs the callbacks
        self._claim = new_lock()

    def claim(self) -> bool:
        return self._claim.acquire(blocking=False)


class Mailbox:
    """What waits for one worker. Guarded by the dispatcher's lock; only the worker writes the second half."""

    def __init__(self) -> None:
        self.head: deque[Lag | Token] = deque()  # delivered before the tail, see the module
        self.tail: deque[Batch | Lag | Token] = deque()  # the queue as the reader filled it
        # markets whose book changed, for on_book; the values keep such a book alive
        self.dirty: dict[str, object] = {}
        self.dirty_due = False  # on_book is next, even if messages wait: the two take turns
        self.depth = 0  # messages in the tail
        self.wake = Signal()  # there may be work
        self.attention = False  # the reader wants the dirty markets served within the chunk in hand

        # The worker's. The reader reads them to see whether it still moves; close() takes the rest away. The
        # messages in hand: consuming this elsewhere ends the worker's loop.
        self.current: Iterator[Any] = iter(())
        self.started = math.inf  # perf_counter() when the chunk in hand was begun
        self.running: Entry | None = None  # the callback that is running, or ran last; None: nothing to do
        self.serial = 0  # counts the pieces of work
        self.chunk = 16  # how many messages to take next; adapts to how long callbacks take


class MessageQueue:
    """The mailboxes of one run of the workers. Thread-safe; shares the dispatcher's lock.

    With ``block``, the reader waits for room, and calls ``while_full`` several times a second to ask whether
    to let the queue grow instead. Deadlines are time.monotonic(), but ``read_at`` is time.perf_counter().
    """

    def __init__(
        self,
        lock: threading.Lock,
        counters: Counters,
        queue_size: int,
        workers: int,
        block: bool,
        while_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._lock = lock
        self._counters = counters
        self._block = block
        self._while_full = while_full
        self._wait_allowed = True  # False after unblock(): put() no longer waits for room
        self.queue_size = queue_size
        self.boxes = tuple(Mailbox() for _ in range(workers))
        self.depth = 0  # messages in all mailboxes
        self.closing = False  # workers end when all is delivered, or at the deadline
        self.deadline = math.inf  # of that, by time.monotonic()
        self.discarded = False  # all messages were dropped; only events and losses are still delivered
        self.abandoned = False  # nothing at all is delivered anymore
        self._lagging = False  # messages were dropped since half the queue was last free; warned once
        self._flooded = False  # too many events wait, so that faults are dropped; warned once
        self._room = Signal(for_real_thread=True)  # a worker has made room

    # -- the reader's side -----------------------------------------------------------------------------------

    def put(
        self, entries: Sequence[list[Any] | Event | Lag], dirty: Mapping[str, object], read_at: float
    ) -> list[str]:
        """Queue lists of messages and events in order; return warnings for the log."""
        warnings: list[str] = []
        if dirty or any(box.dirty for box in self.boxes):
            self._mark(dirty, read_at)
        for entry in entries:
            if not isinstance(entry, list):
                self._put_control(entry, warnings)
            elif not self._block:
                self._put_data(entry, read_at, warnings)
            else:
                for start in range(0, len(entry), self.queue_size):
                    piece = entry[start : start + self.queue_size]
                    self._wait_for_room(len(piece))
                    self._put_data(piece, read_at, warnings)
        self.wake_all()
        return warnings

    def _mark(self, dirty: Mapping[str, object], read_at: float) -> None:
        marked = self._by_box(dirty, None) if dirty else ()
        with self._lock:
            for index, tickers in marked:
                self.boxes[index].dirty.update({ticker: dirty[ticker] for ticker in tickers})
            for box in self.boxes:
                if box.dirty and read_at - box.started > 0.05:
                    box.attention = True

    def _put_control(self, entry: Event | Lag, warnings: list[str]) -> None:
        with self._lock:
            if isinstance(entry, Lag):
                self._counters.dropped += entry.dropped
                if not self.discarded:
                    _append_lag(self.boxes[0].tail or self.boxes[0].head, entry)
                return
            first = self.boxes[0]
            flooded = len(first.head) + len(first.tail) >= self.queue_size + MAX_FAULTS
            if flooded and isinstance(entry, FeedFault):
                if not self._flooded:
                    warnings.append(
                        f"over {MAX_FAULTS} events are waiting for callbacks: faults are no longer reported "
                        "to on_error"
                    )
                self._flooded = True
                return
            self._flooded = flooded
            token = Token(entry)
            for box in self.boxes:
                box.tail.append(token)

    def _put_data(self, items: list[Any], read_at: float, warnings: list[str]) -> None:
        parts = self._by_box(items, TICKER_OF)
        counters = self._counters
        with self._lock:
            if self.discarded:
                counters.dropped += len(items)
                return
            if self.depth * 2 <= self.queue_size:
                self._lagging = False
            for index, part in parts:
                box = self.boxes[index]
                last = box.tail[-1] if box.tail else None
                if isinstance(last, Batch) and len(last.items) + len(part) <= MAX_CHUNK:
                    last.items += part  # small reads share the cost of being taken
                    last.last_read_at = read_at
                else:
                    box.tail.append(Batch(part, read_at, read_at))
                box.depth += len(part)
            self._count(len(items))
            excess = 0 if self._block else self.depth - self.queue_size
            if excess > 0:
                if not self._lagging:
                    self._lagging = True
                    warnings.append(
                        f"callbacks are too slow: the queue of {self.queue_size} messages is full, and the "
                        "oldest are dropped; on_lagged reports how many"
                    )
                self._drop(excess)
            if self.depth > counters.high_water:
                counters.high_water = self.depth

    def _by_box(self, items: Iterable[Any], ticker_of: Any) -> list[tuple[int, list[Any]]]:
        """The items by mailbox, in order: markets by their hash, items without a market to the first."""
        workers = len(self.boxes)
        if workers == 1:
            return [(0, items if isinstance(items, list) else list(items))]
        parts: dict[int, list[Any]] = {}
        for item in items:
            ticker = item if ticker_of is None else ticker_of(item)
            parts.setdefault(0 if ticker is None else hash(ticker) % workers, []).append(item)
        return list(parts.items())

    def _wait_for_room(self, count: int) -> None:
        while self.depth and self.depth + count > self.queue_size and self._wait_allowed:
            self.wake_all()
            if self._while_full():
                return
            self._room.wait(_ROOM_SLICE)

    def _count(self, change: int) -> None:
        """Lock held: count messages that came or went."""
        self.depth += change
        self._counters.depth += change

    def _drop(self, count: int) -> None:
        """Lock held: drop the oldest ``count`` messages, of the fullest mailbox first."""
        while count:
            box = max(self.boxes, key=lambda b: b.depth)
            some = min(count, box.depth)
            count -= some
            self._count(-some)
            self._counters.dropped += some
            box.depth -= some
            while some:
                entry = box.tail[0]
                if not isinstance(entry, Batch):
                    box.tail.popleft()
                    if isinstance(entry, Lag):
                        _append_lag(box.head, entry)
                    else:
                        box.head.append(entry)
                    continue
                gone = entry.items[entry.position : entry.position + some]
                if not box.head or not isinstance(box.head[-1], Lag):
                    box.head.append(Lag())
                last = box.head[-1]
                assert isinstance(last, Lag)
                last.add(gone)
                some -= len(gone)
                entry.position += len(gone)
                if entry.position == len(entry.items):
                    box.tail.popleft()

    # -- the workers' side -----------------------------------------------------------------------------------

    def take(self, box: Mailbox, done: Done | None = None) -> Batch | Lag | Token | dict[str, object] | None:
        """The next messages, loss, control event, or markets with new books; None if there is nothing."""
        with self._lock:
            if done is not None:
                self._account(done)
            if self.abandoned:
                return None
            if self.closing and not self.discarded and time.monotonic() >= self.deadline:
                self._discard()
            box.serial += 1
            if box.dirty and (box.dirty_due or not (box.head or box.tail)):
                box.dirty_due = False
                dirty, box.dirty = box.dirty, {}
                return dirty
            box.dirty_due = True
            if box.head:
                return box.head.popleft()
            if not box.tail:
                box.running = None
                return None
            entry = box.tail[0]
            if not isinstance(entry, Batch):
                box.tail.popleft()
                return entry
            start, end = entry.position, entry.position + box.chunk
            if end >= len(entry.items):
                box.tail.popleft()
            entry.position = end
            chunk = Batch(entry.items[start:end], entry.first_read_at, entry.last_read_at)
            box.current = iter(chunk.items)
            box.depth -= len(chunk.items)
            self._count(-len(chunk.items))
        if self._block:
            self._room.set()
        return chunk

    def _account(self, done: Done) -> None:
        """Lock held: add a chunk to the counters.

        Its first and last latency stand for half of its messages each: one clock call per message is too
        expensive.
        """
        self._counters.callback_seconds += done.spent
        if done.messages:
            processing = self._counters.processing
            processing.rotate(done.at)
            processing.add(done.first_latency, (done.messages + 1) // 2)
            processing.add(done.last_latency, done.messages // 2)

    def take_dirty(self, box: Mailbox) -> dict[str, object]:
        """The markets with new books, to be served within a chunk."""
        with self._lock:
            box.attention = False
            dirty, box.dirty = box.dirty, {}
        return dirty

    # -- closing ---------------------------------------------------------------------------------------------

    def unblock(self) -> None:
        """Keep put() from waiting for room. Takes no lock."""
        self._wait_allowed = False
        self._room.set()

    def begin_close(self, deadline: float) -> None:
        """Have the workers end when all is delivered, or at ``deadline``. Takes no lock."""
        self.deadline = min(self.deadline, deadline)
        self.closing = True
        self.unblock()
        self.wake_all()

    def discard(self, abandon: bool = False) -> None:
        """Drop all messages, also those in workers' hands; with ``abandon``, deliver no events either."""
        with self._lock:
            self._discard()
            if abandon:
                self.abandoned = True
                for box in self.boxes:
                    box.head.clear()
                    box.tail.clear()
        self.wake_all()

    def _discard(self) -> None:
        """The same, with the lock held."""
        self.discarded = True
        self._drop(self.depth)
        for box in self.boxes:
            box.dirty.clear()
            self._drop_in_hand(box)

    def drop_in_hand(self, box: Mailbox) -> None:
        """Drop what the worker has taken and not yet delivered."""
        with self._lock:
            self._drop_in_hand(box)

    def _drop_in_hand(self, box: Mailbox) -> None:
        """The same, with the lock held."""
        rest = list(box.current)
        if rest:
            self._counters.dropped += len(rest)
            if not box.head or not isinstance(box.head[0], Lag):
                box.head.appendleft(Lag())
            first = box.head[0]
            assert isinstance(first, Lag)
            first.add(rest)

    def leave_child(self) -> None:
        """In a forked child: deliver nothing, even if a worker forked and returns from its callback here.

        The lock may be held by a thread that does not exist here, so it is replaced.
        """
        free_in_child(self._lock)
        for box in self.boxes:
            tuple(box.current)  # consumed: it ends the worker's loop
        self.closing = self.discarded = self.abandoned = True

    def wake_all(self) -> None:
        """Wake the workers. Takes no lock."""
        for box in self.boxes:
            box.wake.set()


def _append_lag(queue: deque[Any], lag: Lag) -> None:
    """Lock held: put a loss at the end of ``queue``; two in a row are merged."""
    if queue and isinstance(queue[-1], Lag):
        queue[-1].merge(lag)
    else:
        queue.append(lag)
