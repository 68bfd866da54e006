"""Batcher: collects messages and events, and writes them to a sink in batches from a thread of its own.

Owns the queue of rows, when a batch is due, when one is retried, and what is reported.

The promise: what put() accepted stays in memory until the sink has stored it, and no outage of the store,
however long, loses any of it. Memory is bounded by ``max_pending`` rows. When that many are waiting, put()
either waits (``when_full="block"``) or drops the newest (``"drop_newest"``). Drops are counted, reported once
each time they begin, and stored as a Dropped in the place of what is missing. A row whose content the store
refuses is dropped in the same way, so that it does not hold up everything behind it. Not promised: memory
does not survive the process, so a kill loses what was pending.

The path of a row: put() appends it to the pending ones (or, when full, adds it to the _Drops at their end).
When a batch is due, the thread takes it in hand. From there it leaves only by being stored, or by being
refused and dropped; a write that fails for another reason is repeated with the same rows, after growing
delays. close() has the thread try at once and until a deadline, and returns what is left.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from ..errors import ConfigurationError, FeedForkedError, SinkError, WaitTimeout
from ..events import FeedFault, FeedState, StateChange
from ..session.retry import ReconnectPolicy
from ..threads import ServiceThread, log_safely
from ..waiting import checked_timeout
from .rows import Dropped, Row, Sink

if TYPE_CHECKING:
    from ..feed import KalshiFeed

__all__ = ["Batcher", "BatcherStats", "SinkTrouble"]

# short delays: once the store is back, there is no reason to wait
_RETRY: Final = ReconnectPolicy(initial_delay=0.1, max_delay=2.0)
_MAX_TICKERS: Final = 1_000
# Rows refused in a row, with none stored in between: after so many the table must be wrong, not the rows.
_MOST_REFUSED: Final = 10
_EXIT_TIMEOUT: Final = 5.0
_logger: Final = logging.getLogger("kalshi_feed.sinks")
_batchers: weakref.WeakSet[Batcher] = weakref.WeakSet()


@dataclass(frozen=True)
class BatcherStats:
    """A Batcher's counters at one moment: ``received`` = ``written`` + ``pending`` + ``dropped``. Immutable.

    ``dropped`` counts rows that there was no room for, and rows that the store refused. ``written`` includes
    trades and fills from REST that the store already had. ``batches`` counts writes that succeeded,
    ``retried`` writes that failed and were repeated. ``is_failing`` says that the last write failed, and
    ``last_error`` why.
    """

    received: int
    written: int
    pending: int
    retried: int
    dropped: int
    batches: int
    is_failing: bool
    last_error: str


@dataclass(frozen=True)
class SinkTrouble:
    """What ``on_trouble`` is called with, once for each change. Immutable.

    ``kind`` is "failing" (the store cannot be written to), "writing" (now it can again), "full" (the bound
    was reached), "room" (no more than half of it is pending again), or "refused" for each row that was
    dropped because the store does not accept its content.
    """

    kind: Literal["failing", "writing", "full", "room", "refused"]
    message: str
    stats: BatcherStats
    error: Exception | None = None


class _Drops:
    """What was dropped at one place of the queue; it grows while it is last. Under the Batcher's lock."""

    def __init__(self) -> None:
        self.count = 0
        self.market_tickers: dict[str, None] = {}

    def add(self, market_ticker: str | None) -> None:
        self.count += 1
        if market_ticker is not None and len(self.market_tickers) < _MAX_TICKERS:
            self.market_tickers[market_ticker] = None

    def event(self) -> Dropped:
        return Dropped(self.count, tuple(self.market_tickers))


class Batcher:
    """Collects messages and events, and writes them to ``sink`` in batches. Thread-safe.

    A batch is written when ``batch_rows`` are pending, or the oldest has been for ``batch_seconds`` (the
    defaults are the sink's). After a failure it is written again, with growing delays (``retry``), until it
    is stored. ``max_pending`` rows may be pending; then ``when_full`` decides: "drop_newest" drops and counts
    new ones, "block" makes put() wait. ``on_trouble`` is called with a SinkTrouble, on the thread where it
    happens; the log ``kalshi_feed.sinks`` has the same. From now on the sink belongs to the Batcher. Raises
    ConfigurationError.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        batch_rows: int | None = None,
        batch_seconds: float | None = None,
        max_pending: int = 200_000,
        when_full: Literal["drop_newest", "block"] = "drop_newest",
        retry: ReconnectPolicy = _RETRY,
        on_trouble: Callable[[SinkTrouble], object] | None = None,
        name: str = "kalshi-sink",
    ) -> None:
        if not callable(getattr(sink, "write", None)) or not callable(getattr(sink, "close", None)):
            raise ConfigurationError(
                f"a sink is an object with write(rows) and close(), not {type(sink).__name__}"
            )
        self._batch_rows = _whole(
            "batch_rows", getattr(sink, "batch_rows", Sink.batch_rows) if batch_rows is None else batch_rows
        )
        seconds = checked_timeout(
            getattr(sink, "batch_seconds", Sink.batch_seconds) if batch_seconds is None else batch_seconds
        )
        if seconds is None or seconds <= 0:
            raise ConfigurationError("batch_seconds must be a positive number of seconds")
        self._batch_seconds = seconds
        self._max_pending = _whole("max_pending", max_pending)
        if max_pending < self._batch_rows:
            raise ConfigurationError(
                f"max_pending ({max_pending}) must not be smaller than batch_rows ({self._batch_rows})"
            )
        if when_full not in ("drop_newest", "block"):
            raise ConfigurationError(f"when_full must be 'drop_newest' or 'block', not {when_full!r}")
        if not isinstance(retry, ReconnectPolicy) or retry.max_retries is not None:
            raise ConfigurationError(
                "retry must be a ReconnectPolicy without max_retries: accepted rows are never given up"
            )
        if isinstance(sink, Sink):
            if sink.batcher is not None:
                raise ConfigurationError(
                    f"{sink} already has a Batcher: make another sink for another Batcher"
                )
            sink.batcher = self
        self._sink = sink
        self._takes = getattr(sink, "takes", Sink.takes)
        self._marks_drops = issubclass(Dropped, self._takes)
        self._blocks = when_full == "block"
        self._retry = retry
        self._on_trouble = on_trouble
        self._pid = os.getpid()
        # Guards everything below, and is notified of each change. It is never held while the sink writes, or
        # while on_trouble or the log is called.
        self._changed = threading.Condition()
        self._pending: deque[Row] = deque()  # the item of the last one may be a _Drops, which still grows
        self._in_hand: list[Row] = []  # the batch that the sink is writing, or will be given again
        self._oldest_at = 0.0  # when the first of the pending rows came, monotonic seconds
        self._last_n = 0  # number of the last row that was queued
        self._flush_to = 0  # flush() asked for everything up to this row
        self._stored_n = 0  # number of the last row that was stored, or refused and dropped
        self._accepted = self._written = self._retried = self._dropped = self._batches = 0  # see BatcherStats
        self._last_error: Exception | None = None  # of the last write; None if it succeeded
        self._is_full = False  # "full" was reported, and "room" not yet
        self._has_ended = False  # the writing thread has done its last write
        self._give_up_at: float | None = (
            None  # monotonic seconds; set by close(), and then nothing can be put
        )
        # rows refused since the last one was stored; the writing thread's
        self._refused = 0
        # the start of the last outage that was stored, so that it is not stored again at each retry
        self._gap_started: object = None
        self._thread = ServiceThread(self._run, name)
        self._thread.start()
        _batchers.add(self)

    # -- what comes ------------------------------------------------------------------------------------------

    def subscribe_to(self, feed: KalshiFeed, *, market_tickers: str | Iterable[str] | None = None) -> None:
        """Register callbacks that put every message of the feed that the sink takes, and every loss.

        A loss is a Gap, a Lagged, a StateChange with an interval, or a frame that could not be read. What was
        fetched after a loss comes with a GapFilled.
        """
        feed.on_message(self._put_taken, market_tickers=market_tickers)
        feed.on_gap(self._put_taken)
        feed.on_gap_filled(self._put_taken)
        feed.on_lagged(self._put_taken)
        feed.on_state(self._put_state)
        feed.on_error(self._put_fault)

    def _put_taken(self, item: Any) -> None:
        if isinstance(item, self._takes):
            self.put(item)

    def _put_state(self, change: StateChange) -> None:
        if change.gap_started is not None and (
            change.gap_started != self._gap_started or change.state is FeedState.CONNECTED
        ):
            self._gap_started = change.gap_started
            self._put_taken(change)

    def _put_fault(self, fault: FeedFault) -> None:
        if fault.kind == "protocol":
            self._put_taken(fault)

    def put(self, item: Any) -> None:
        """Accept a message or an event; can be used as a callback.

        It waits only if the Batcher is full and ``when_full="block"``. Raises SinkError after close(),
        TypeError for a type that the sink does not take, FeedForkedError in a forked child.
        """
        if not isinstance(item, self._takes):
            raise TypeError(
                f"{self._sink} takes {', '.join(cls.__name__ for cls in self._takes)}, not "
                f"{type(item).__name__}"
            )
        self._check_fork()
        received_ns = time.time_ns()
        with self._changed:
            self._check_open()
            if self._has_room():
                self._append(item, received_ns)
                return
            is_news, self._is_full = not self._is_full, True
        if is_news:
            self._report_full()
        with self._changed:
            while self._blocks and self._give_up_at is None and not self._has_room():
                self._changed.wait()
            self._check_open()
            if self._has_room():
                self._append(item, received_ns)
            else:
                self._drop(item, received_ns)

    def _has_room(self) -> bool:
        return len(self._pending) + len(self._in_hand) < self._max_pending

    def _append(self, item: Any, received_ns: int) -> None:
        self._accepted += 1
        self._queue(item, received_ns)

    def _drop(self, item: Any, received_ns: int) -> None:
        self._dropped += 1
        if not self._marks_drops:
            return
        if not self._pending or not isinstance(self._pending[-1].item, _Drops):
            self._queue(_Drops(), received_ns)
        self._pending[-1].item.add(getattr(item, "market_ticker", None))

    def _queue(self, item: Any, received_ns: int) -> None:
        if not self._pending:
            self._oldest_at = time.monotonic()
        self._last_n += 1
        self._pending.append(Row(self._last_n, received_ns, item))
        if len(self._pending) in (1, self._batch_rows):
            self._changed.notify_all()

    def _check_open(self) -> None:
        if self._give_up_at is not None:
            raise SinkError("the Batcher is closed, so nothing more can be put; close the feed first")

    def _check_fork(self) -> None:
        # before the lock, which another thread may have held while the process was forked
        if os.getpid() != self._pid:
            raise FeedForkedError(
                "this Batcher was made before fork(): its thread stayed in the parent process. Make a new "
                "Batcher in this process"
            )

    # -- statistics and the end ------------------------------------------------------------------------------

    def stats(self) -> BatcherStats:
        """Return the counters as they are now."""
        self._check_fork()
        with self._changed:
            return self._stats()

    def _stats(self) -> BatcherStats:
        return BatcherStats(
            received=self._accepted + self._dropped,
            written=self._written,
            pending=self._accepted - self._written,
            retried=self._retried,
            dropped=self._dropped,
            batches=self._batches,
            is_failing=self._last_error is not None,
            last_error="" if self._last_error is None else str(self._last_error),
        )

    def flush(self, timeout: float | None = None) -> None:
        """Write everything that was accepted so far, and wait for it. Raises WaitTimeout, which says why."""
        seconds = checked_timeout(timeout)
        self._check_fork()
        with self._changed:
            upto = self._flush_to = self._last_n
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._stored_n >= upto or self._has_ended, seconds):
                raise WaitTimeout(f"timed out after {seconds:g} s: {self._waiting()}")
            if self._stored_n < upto:
                raise WaitTimeout(f"the Batcher was closed: {self._waiting()}")

    def _waiting(self) -> str:
        stats = self._stats()
        why = f" ({stats.last_error})" if stats.is_failing else ""
        return f"{stats.pending} rows are not in {self._sink}{why}"

    def close(self, timeout: float = 10.0) -> list[Row]:
        """Write what is pending, close the sink, and return the rows that could not be written.

        It tries at once, then with the usual delays, for ``timeout`` seconds. An empty list means that
        everything was stored. Returned rows are not tried any more, except that a write in progress at that
        moment may still succeed. Idempotent. Called from on_trouble it does not wait.
        """
        seconds = checked_timeout(timeout)
        if os.getpid() != self._pid:
            return []  # the rows are the parent's
        with self._changed:
            give_up_at = time.monotonic() + (threading.TIMEOUT_MAX if seconds is None else seconds)
            if self._give_up_at is None or give_up_at < self._give_up_at:
                self._give_up_at = give_up_at
            self._changed.notify_all()
        if ServiceThread.current() is not self._thread:
            self._thread.join(min(max(0.0, give_up_at - time.monotonic()) + 0.1, threading.TIMEOUT_MAX))
        _batchers.discard(self)
        with self._changed:
            return [
                row for row in (*self._in_hand, *self._pending) if not isinstance(row.item, (_Drops, Dropped))
            ]

    def __enter__(self) -> Batcher:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        stats = self.stats()
        return (
            f"<Batcher {self._sink}: {stats.written} written, {stats.pending} pending, {stats.dropped} "
            "dropped>"
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "a Batcher holds a thread and a store: it cannot be pickled or copied; make one where it is "
            "needed"
        )

    # -- the writing thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._next_batch() and self._write():
            pass
        try:
            self._sink.close()
        except Exception as error:
            log_safely(_logger, logging.ERROR, "closing %s failed: %s", self._sink, error)
        with self._changed:
            self._has_ended = True
            left, waiting = self._accepted - self._written, self._waiting()
            self._changed.notify_all()
        if left:
            log_safely(_logger, logging.ERROR, "closed, but %s", waiting)

    def _next_batch(self) -> bool:
        """Wait until a batch is due, and take it in hand; False if there will be no more."""
        with self._changed:
            while not self._is_due():
                if self._give_up_at is not None:
                    return False
                self._changed.wait(
                    self._oldest_at + self._batch_seconds - time.monotonic() if self._pending else None
                )
            count = min(len(self._pending), self._batch_rows)
            taken = (self._pending.popleft() for _ in range(count))
            self._in_hand = [
                row._replace(item=row.item.event()) if isinstance(row.item, _Drops) else row for row in taken
            ]
            self._oldest_at = time.monotonic()
            return True

    def _is_due(self) -> bool:
        if not self._pending:
            return False
        now = time.monotonic()
        if self._give_up_at is not None:
            return now < self._give_up_at
        is_asked_for = self._stored_n < self._flush_to
        return (
            is_asked_for
            or len(self._pending) >= self._batch_rows
            or now >= self._oldest_at + self._batch_seconds
        )

    def _write(self) -> bool:
        """Pass the rows in hand to the sink until they are stored; False if close() gives up on them.

        They go all at once. If the store refuses a row, half of them are tried, then half of that, until the
        bad row is alone, and is dropped. From there each success doubles the number again. After ten refusals
        in a row, with nothing stored in between, the table must be wrong and not the rows, so the next one
        counts as a failure of the store and is retried.
        """
        failures, count = 0, len(self._in_hand)
        while self._in_hand:
            try:
                self._sink.write(self._in_hand[:count])
            except Exception as error:
                is_refusal = isinstance(error, SinkError) and not error.retryable
                if is_refusal and count > 1:
                    count //= 2
                elif is_refusal and self._refused < _MOST_REFUSED:
                    self._drop_refused(error)
                    count = len(self._in_hand)
                else:
                    failures += 1
                    if not self._wait_to_retry(error, failures):
                        return False
            else:
                failures = 0
                self._stored(count)
                count = min(2 * count, len(self._in_hand))
        return True

    def _drop_refused(self, error: Exception) -> None:
        """Drop the first row in hand. A Dropped takes its place, unless that is what the store refuses."""
        with self._changed:
            row = self._in_hand[0]
            ticker = getattr(row.item, "market_ticker", None)
            is_mark = isinstance(row.item, Dropped)
            if not is_mark:
                self._refused += 1
                self._accepted -= 1
                self._dropped += 1
            if self._marks_drops and not is_mark:
                event = Dropped(1, () if ticker is None else (ticker,), "the store refused a row")
                self._in_hand[0] = row._replace(item=event)
            else:
                self._stored_n = row.n
                del self._in_hand[0]
            stats = self._stats()
            self._changed.notify_all()
        what = type(row.item).__name__ + (f" of {ticker}" if ticker else "")
        self._report(
            "refused", f"{error}; dropped that row, a {what}; the others will be stored", stats, error
        )

    def _stored(self, count: int) -> None:
        """The first ``count`` rows in hand are in the store."""
        with self._changed:
            stored = sum(not isinstance(row.item, Dropped) for row in self._in_hand[:count])
            self._written += stored
            if stored:
                self._refused = 0
            self._stored_n = self._in_hand[count - 1].n
            del self._in_hand[:count]
            self._batches += 1
            was_failing, self._last_error = self._last_error is not None, None
            has_room = self._is_full and len(self._pending) <= self._max_pending // 2
            if has_room:
                self._is_full = False
            stats = self._stats()
            self._changed.notify_all()
        if was_failing:
            self._report(
                "writing", f"{self._sink} can be written again; {stats.pending} rows are pending", stats
            )
        if has_room:
            self._report(
                "room",
                f"there is room again for {self._sink}; {stats.dropped} rows were dropped in total",
                stats,
            )

    def _wait_to_retry(self, error: Exception, failures: int) -> bool:
        """After a failure, wait until it is time to try again; False if close() gives up first."""
        with self._changed:
            self._retried += 1
            is_new, self._last_error = self._last_error is None, error
            stats, closing = self._stats(), self._give_up_at is not None
        if is_new:
            reason = (
                f"{error}" if isinstance(error, SinkError) else f"{self._sink} cannot be written: {error!r}"
            )
            self._report(
                "failing",
                f"{reason}; retrying until it succeeds, keeping up to {self._max_pending} rows",
                stats,
                error,
            )
        delay = self._retry.delay(failures, random.random())
        with self._changed:
            left = math.inf if self._give_up_at is None else self._give_up_at - time.monotonic()
            # close() has it try at once
            self._changed.wait_for(
                lambda: not closing and self._give_up_at is not None, max(0.0, min(delay, left))
            )
            return self._give_up_at is None or time.monotonic() < self._give_up_at

    # -- reports ---------------------------------------------------------------------------------------------

    def _report_full(self) -> None:
        stats = self.stats()
        then = (
            "put() waits for room" if self._blocks else "new ones are dropped and counted until there is room"
        )
        self._report(
            "full", f"{self._max_pending} rows are pending for {self._sink}, the limit: {then}", stats
        )

    def _report(
        self,
        kind: Literal["failing", "writing", "full", "room", "refused"],
        message: str,
        stats: BatcherStats,
        error: Exception | None = None,
    ) -> None:
        unexpected = None if isinstance(error, SinkError) else error  # its traceback says where
        log_safely(
            _logger,
            logging.INFO if kind in ("writing", "room") else logging.WARNING,
            "%s",
            message,
            error=unexpected,
        )
        if self._on_trouble is not None:
            try:
                self._on_trouble(SinkTrouble(kind, message, stats, error))
            except Exception as raised:
                log_safely(
                    _logger, logging.ERROR, "on_trouble raised %s", type(raised).__name__, error=raised
                )


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number of rows, at least 1, not {value!r}")
    return value


def _at_exit() -> None:
    for batcher in list(_batchers):
        batcher.close(_EXIT_TIMEOUT)


atexit.register(_at_exit)
