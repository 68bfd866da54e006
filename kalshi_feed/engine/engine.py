"""The engine: one feed's parts put together, from start() to close().

Owns the feed's state, the start and end of its threads, and what happens with each read: turn() runs the
session under the store's lock, and then, without it, queues messages for the callbacks and returns the
commands to send. Where the reads come from is up to the subclasses (live.py, recording/replaying.py). The
threads refer to the engine, never to the KalshiFeed, so that a feed that is dropped can be garbage-collected.
Thread-safe.

**Ending.** One thread does the work of ending: the reader. close() asks it to stop, and then waits for it;
on_end() is the reader's last call, which ends the recording, makes the books CLOSED, sets the state, wakes
every waiter, and lets the workers deliver what is queued until the deadline. So the end is the same whether
it was requested (close(), a signal, interpreter exit), or came from an error. close() does it itself, in
_mark_closed(), only if there is no reader to do it (never started, already failed). README.md of this package
goes through a close() step by step.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from .. import greenlets
from ..books.store import BookStore
from ..clocks import moment
from ..connection.redaction import detach
from ..dispatch import Delivery, Dispatcher
from ..errors import ConfigurationError, ConnectionLost, FeedClosedError, KalshiFeedError
from ..events import Event, FeedFault, FeedState, MarketChange, MarketStep
from ..messages import Message
from ..messages.listed import Market
from ..session.session import Session
from ..session.timing import Timing
from ..session.wanted import Wanted
from ..stats import FeedStats, Health
from ..threads import FeedingThread, ServiceThread, is_logging, log_safely
from ..waiting import Clock
from .companion import Companion
from .holding import Holding
from .metering import Metering
from .requests import UserRequests
from .state import State
from .tap import QUIET, Reading, Tap
from .wire_log import log_turn

__all__ = ["Engine", "log"]

_logger: Final = logging.getLogger("kalshi_feed")
_RUNNING: Final = (FeedState.CONNECTING, FeedState.CONNECTED, FeedState.RECONNECTING)
_LONGEST_CLOSE: Final = 1e6  # seconds; Thread.join() takes no infinity
_GRACE: Final = 0.5  # seconds after the deadline for a reader that is about to end
_FAILED_CLOSE: Final = 5.0  # seconds for the callbacks to take what is queued after a fatal error


class Engine(ABC):
    """One feed's inside. Thread-safe; turn(), next_deadline() and on_end() are for the reader thread only."""

    def __init__(
        self,
        peer: str,
        *,
        idle_timeout: float,
        use_yes_price: bool,
        queue_size: int,
        overflow: Any,
        workers: int,
        name: str | None,
        timing: Timing,
        clock: Clock = time,
        session_options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.peer = peer
        self._thread_kind = greenlets.thread_kind()  # what its locks and signals were made for
        self.use_yes_price = use_yes_price
        self.tap: Tap | None = None  # the recording of this feed; set under the store's lock
        self.recording: Tap | None = None  # the last one, which may still be writing
        self._idle_timeout = idle_timeout
        self._queue_size = queue_size
        self._name = name
        self._timing = timing
        self.wanted = Wanted()
        self.store = self._new_store(clock)
        self._new_session = functools.partial(
            Session,
            self.store.books,
            self.wanted,
            use_yes_price=use_yes_price,
            timing=timing,
            describe=self.store.hear_market_locked,
            **session_options,
        )
        self.session = self._new_session()  # replaced after a bug, under the store's lock
        self.dispatcher = self._new_dispatcher(
            queue_size=queue_size, overflow=overflow, workers=workers, name=name
        )
        self._reader: FeedingThread | None = None  # the last one, running or not
        self.holding: Holding | None = None  # with fill_gaps; in a replay, if the recorded feed had it
        self.companions: dict[Companion, None] = {}  # start and end with the feed; single operations only
        self.troubles: dict[object, str] = {}  # what companions have health() say; single operations only
        self._closings = 0  # calls of close() so far: shows start() that one came in between
        self._closers: set[int] = set()  # idents of the threads that wait in close()
        self._metering = Metering(clock)
        self._may_wait = overflow == "block"  # whether the dispatcher's put() waits for room
        self._waited = 0.0  # seconds that it took in this turn, if it may wait; the reader's
        self._state = State(peer)
        self.requests = UserRequests(
            self.store, self.wanted, lambda: self.session, self._state, self.check, self.wake
        )

    # -- what subclasses add or change -----------------------------------------------------------------------

    @abstractmethod
    def _new_reader(self, name: str) -> FeedingThread:
        """The thread that feeds the session, not started."""

    def _new_store(self, clock: Clock) -> BookStore:
        """The store of the books and their waiters."""
        return BookStore(clock, self.wanted.wants_book)

    def _new_dispatcher(self, **options: Any) -> Delivery:
        """The dispatcher, which passes messages to callbacks; ``options`` are Dispatcher's."""
        return Dispatcher(**options, view_of=self.store.view, report_fault=self._count_fault)

    @property
    def progress(self) -> float | None:
        """How much of its recording a replay has read, from 0 to 1; None for a live feed."""
        return None

    def check_recordable(self) -> None:  # noqa: B027  # every live feed can
        """Raise ConfigurationError if this feed cannot be recorded."""

    def _reading(self) -> Reading:
        """What the connection reports with this turn's payloads."""
        return QUIET

    def _last_received(self) -> float | None:
        """When the last byte came (time.monotonic()); None without a connection."""
        return None

    def _starting_locked(self) -> None:  # noqa: B027  # an optional hook
        """Called when a new reader is about to start."""

    # -- life ------------------------------------------------------------------------------------------------

    @property
    def state(self) -> FeedState:
        """The feed's state."""
        return self._state.value

    @property
    def error(self) -> KalshiFeedError | None:
        """The error the feed has failed with, or None."""
        return self._state.fatal

    def check(self) -> None:
        """Raise FeedForkedError in a forked child, or the error that the feed has failed with.

        Raises ConfigurationError for a feed made before threads became greenlets: it would block them all.
        """
        self.store.check_fork()
        if (kind := greenlets.thread_kind()) != self._thread_kind:
            raise ConfigurationError(
                f"this feed was made before {kind} patched the standard library, and would block all "
                "greenlets: patch in the program's first lines, or make the feed after that"
            )
        fatal = self._state.fatal
        if fatal is not None:
            raise fatal.fresh()

    def start(self) -> None:
        """Start the threads; do nothing if they are running.

        May be called by several threads at once, and again after close(). Each call makes a reader. The first
        one to take the lock still finds the reader that it saw at its beginning, and replaces it with its
        own; the others find a different one, and cancel theirs. A close() that comes in between, say from a
        signal handler, wins over all of them: it counts up ``_closings``, and a start() that sees this gives
        up.

        A reader that is still ending is given a few seconds first. After an exception in here (also Ctrl-C),
        a reader that has not begun never will, and the feed is CLOSED; one that has begun keeps running, and
        close() ends it.

        Raises the fatal error of a feed that has failed, and KalshiFeedError if the feed is still closing.
        """
        self.check()
        before, closings = self._reader, self._closings
        if self._state.value in _RUNNING and not (before and before.stopping()):
            return
        if before is not None and not before.has_ended:
            if not self._inside():
                before.join(time.monotonic() + _FAILED_CLOSE)
            if not before.has_ended:
                raise KalshiFeedError(
                    "the feed is still closing; start it again later, and not from its own callbacks"
                )
        reader = self._new_reader(self.thread_name("reader"))
        try:
            with self.store.lock:
                # the first of several concurrent calls, and no close() since, say from a signal handler
                is_first = self._reader is before and self._closings == closings
                if is_first:
                    # again, in case a bug skipped it last time
                    self.session.disconnected(self.store.clock.monotonic())
                    self._reader = reader
                    self._starting_locked()
                    self._state.last_error = ""
                    self.store.ended = None
                    self.requests.apply_queued_locked()
                    self.requests.reopen_books_locked()
                    self._state.change(FeedState.CONNECTING, "start")
            if is_first:
                self.dispatcher.start()
                reader.start()
                for companion in tuple(self.companions):
                    companion.start()
            else:
                reader.cancel()
        except BaseException:  # also Ctrl-C, or any exception from a signal handler, between any two lines
            if not reader.is_running:  # otherwise it has started, and close() will end it
                reader.cancel()
                if self._reader is reader:
                    self.dispatcher.close(time.monotonic())
                    self._mark_closed("start() was interrupted, or no thread could be started")
            raise

    def close(self, timeout: float, *, wait: bool = True) -> None:
        """End the threads within ``timeout`` seconds, and wait for that.

        It asks the reader to stop, then waits until it has ended. With ``wait=False`` it only asks, and the
        reader finishes alone. It does the same where waiting would never end: in a callback or a logging
        handler (on the feed's own threads), and in a signal handler that interrupted a close() or a holder of
        the store's lock, or that runs in a greenlet library's event loop.

        A reader that does not end in time is stuck, most likely in a logging handler: it is abandoned, being
        a daemon thread. Then, or if there was no reader to do so, the feed is marked CLOSED here. If start()
        has made a new reader meanwhile, the feed is running again and stays so. At the end, it waits for the
        recording to be on disk.
        """
        if self.store.forked:
            return
        self._closings += 1
        deadline = time.monotonic() + min(timeout, _LONGEST_CLOSE)
        reader, me = self.stop(deadline), threading.get_ident()
        if reader is not None and reader.is_running:
            on_top = me in self._closers or self.store.lock._is_owned()  # type: ignore[attr-defined]  # in a signal handler
            if not wait or on_top or self._inside() or not greenlets.may_wait():
                return
            try:
                self._closers.add(me)
                reader.join(deadline + _GRACE)
                if not reader.has_ended and self._reader is reader:
                    self._leave_behind(reader, timeout)
            finally:
                self._closers.discard(me)
        if self._reader is reader:  # otherwise it was started again meanwhile
            self._mark_closed("close")
        for companion in tuple(self.companions):
            if wait:
                companion.join(deadline + _GRACE)
        if wait and self.recording is not None:
            self.recording.join(max(deadline - time.monotonic(), 0.0) + 0.5)

    def _leave_behind(self, reader: FeedingThread, timeout: float) -> None:
        """Abandon a reader that is stuck, most likely in a logging handler: no one need wait for it."""
        self.dispatcher.close(time.monotonic())
        if not is_logging(reader.thread.ident):  # otherwise this record would hang where the reader does
            log(
                logging.WARNING,
                "the reader thread did not end within %.1f s; abandoning it (daemon thread)",
                timeout,
            )

    def _mark_closed(self, reason: str) -> None:
        """Set CLOSED if there is no reader thread to do it: never started, failed, or about to start."""
        with self.store.lock:
            self._state.fatal = None
            self._end_tap_locked()
            self.requests.close_books_locked()
            self.store.ended = FeedClosedError("the feed is closed; start() opens it again")
            if self._state.value is not FeedState.CLOSED:
                self._state.change(FeedState.CLOSED, reason)
            self._state.undelivered.clear()
            ready = self.store.ready_locked()
        for waiter in ready:
            waiter.signal.set()
        self.dispatcher.end_streams(None)

    def stop(self, deadline: float) -> FeedingThread | None:
        """Ask the threads to end by ``deadline``, without waiting; return the reader, if any."""
        reader, tap = self._reader, self.tap
        if self.store.forked:
            return reader
        for companion in tuple(self.companions):
            companion.stop()
        if reader is not None:
            reader.stop(deadline)
            self.dispatcher.unblock()
        elif tap is not None:
            tap.abandon()
        return reader

    @property
    def abandonable(self) -> bool:
        """Whether threads are running that would have to be stopped if the feed object went away."""
        reader = self._reader
        if reader is None:
            return self.tap is not None
        return reader.is_running and not reader.stopping() and self.store.ended is None

    def wake(self) -> None:
        """Have the reader look at what is wanted now."""
        reader = self._reader
        if reader is not None:
            reader.wake()

    def wait_until_connected(self, timeout: float | None) -> None:
        """Wait for CONNECTED. Raises WaitTimeout, the fatal error or FeedClosedError."""
        self.store.wait(lambda: self._state.is_connected or None, timeout, self._state.why_not_connected)

    def wait_until_ended(self) -> None:
        """Wait until the feed is closed, by any thread. Raises the fatal error."""
        try:
            self.store.wait(lambda: None, None, str)
        except FeedClosedError:
            pass

    def _inside(self) -> bool:
        """Whether the caller is one of the feed's own threads, which must not wait for the others."""
        reader = self._reader
        thread = ServiceThread.current()
        return thread is not None and (thread is (reader and reader.thread) or self.dispatcher.is_worker())

    # -- the reader's side (Host) ----------------------------------------------------------------------------

    def turn(self, payloads: list[bytes], now: float) -> list[bytes]:
        """Process one read: session under the lock, then waiters, log, callbacks without it. See Host."""
        read_at = time.perf_counter()
        self._waited = 0.0
        session, output, store = self.session, self.session.output, self.store
        reading = self._reading()
        with store.lock:  # store.change() by hand: every read comes this way
            if self.requests.queued:
                self.requests.apply_queued_locked()
            tap = self.tap
            if self.holding is not None and self.holding.release_at <= now:
                self.release_locked(now)
            if tap is not None:
                tap.turn(payloads, now, reading)
            if payloads:
                session.receive(payloads, now)
            if reading is not QUIET:
                if reading.is_behind:
                    session.fell_behind(now)
                session.arriving(reading.arriving_since, now)
                session.ignored_binary(reading.binaries, now)
                if reading.slept:
                    session.slept(reading.slept, moment(reading.last_byte_at), now)
            session.tick(now)
            items, changed, outbox = self._take_locked(now)
            if tap is not None and outbox:
                tap.sent(outbox)
            if payloads:
                self._metering.received(len(payloads), items, self.dispatcher.counters.dropped, now)
            ready = store.ready_locked()
        for waiter in ready:
            waiter.signal.set()
        log_turn(items, outbox, changed)
        if items or changed or self._state.undelivered:
            self._hand_on(items, changed, read_at)
        elif read_at >= self.dispatcher.next_watch():
            self.dispatcher.watch(read_at)
        if output.give_up is not None:
            raise ConnectionLost(None, output.give_up)
        return outbox

    def _take_locked(self, now: float) -> tuple[list[Message | Event], Iterable[str], list[bytes]]:
        """Take the session's output, and forget those changed books that are no longer wanted."""
        items, changed, outbox = self.session.output.take()
        if self.holding is not None:
            items = self.holding.pass_on(items, self.session, now)
        return items, self.store.release_locked(changed) if changed else (), outbox

    def next_deadline(self) -> float:
        """When turn() must be called next, even if nothing is received (time.monotonic())."""
        with self.store.lock:
            release_at = self.holding.release_at if self.holding is not None else float("inf")
            due = min(self.session.next_deadline(), release_at)
        return min(due, time.monotonic() + max(self.dispatcher.next_watch() - time.perf_counter(), 0.0))

    def on_end(self, error: BaseException | None) -> None:
        """End the feed: the reader's last call, with the error that ended it, or None for close()."""
        items, changed, defect = self._leave_session(closing=error is None)
        fatal = _as_fatal(error if error is not None else defect)
        if fatal is not None:
            log(logging.ERROR, "the feed has failed: %s", fatal)
        else:
            log(logging.INFO, "closing the feed of %s", self.peer)
        with self.store.change():
            self._state.fatal = fatal
            self.store.ended = fatal or FeedClosedError("the feed was closed")
            if fatal or self._state.value is not FeedState.CLOSED:  # close() may have given up on us
                self._state.change(
                    FeedState.FAILED if fatal else FeedState.CLOSED, str(fatal) if fatal else "close"
                )
            self._metering.ended()
        try:
            self._hand_on(items, changed)
        except BaseException as broken:  # the dispatcher has failed
            _as_fatal(broken)
        self.dispatcher.end_streams(fatal)
        for companion in tuple(self.companions):
            companion.stop()
        reader = self._reader
        self.dispatcher.close(
            reader.close_deadline if reader and fatal is None else time.monotonic() + _FAILED_CLOSE
        )

    def _leave_session(
        self, *, closing: bool
    ) -> tuple[list[Message | Event], Iterable[str], BaseException | None]:
        """End the session: its last items, the changed markets, its bug if it hit one. No book stays LIVE."""
        try:
            with self.store.change():
                now = self.store.clock.monotonic()
                self._end_holding_locked(now, "the feed was closed" if closing else "the feed has failed")
                self._end_tap_locked()  # first, so that the recording ends with the books as they were
                self.session.disconnected(now)
                if closing:
                    self.requests.close_books_locked()
                items, changed, _ = self._take_locked(now)
            return items, changed, None
        except BaseException as defect:
            with self.store.change():
                return [], self.store.none_live_locked(), defect

    def renew_session(self, defect: Exception, now: float) -> None:
        """Replace the session after a bug in our own code: nothing in the old one can be trusted.

        What it had finished before is still delivered, followed by the fault; every LIVE book becomes STALE.
        Reader only.
        """
        text = (
            f"a defect in kalshi_feed: {defect!r}; the connection is replaced, please report it with the "
            "traceback in the log"
        )
        log(logging.ERROR, "defect in kalshi_feed; the connection is replaced", error=defect)
        with self.store.change():
            old = self.session
            if self.holding is not None:
                self.holding.leave(old, now)
            self.session = self._new_session()
            self.session.output.counts = old.output.counts
            items, changed, _ = old.output.take()
            with suppress(Exception):
                old.reconciler.disconnected()  # lists that users wait for are requested again
            changed.update(self.store.none_live_locked())
            self.session.output.fault("defect", text, now, detach(defect))
            more, _, _ = self.session.output.take()
            kept = self.store.release_locked(changed)
        self._hand_on(items + more, kept)

    @property
    def is_running(self) -> bool:
        """Whether it was started, and has not ended."""
        return self._state.value in _RUNNING

    @property
    def clock_skew(self) -> float | None:
        """Our clock minus the exchange's at the last handshake, in seconds; None before the first."""
        return self._metering.clock_skew

    @property
    def connected_at(self) -> float | None:
        """When the current connection was made (time.monotonic()); None without one."""
        return self.session.connected_at if self._state.is_connected else None

    def thread_name(self, role: str) -> str:
        """The name of one of the feed's threads, such as "kalshi-feed-reader"."""
        return f"{self._name}-kalshi-feed-{role}" if self._name else f"kalshi-feed-{role}"

    # -- being recorded --------------------------------------------------------------------------------------

    def record(self, tap: Tap) -> None:
        """Record every input of the session with ``tap`` from now on."""
        with self.store.lock:
            self.tap = self.recording = self.requests.tap = tap

    def stop_recording(self, tap: Tap) -> None:
        """Stop recording with ``tap``; do nothing if another one is recording."""
        with self.store.lock:
            if self.tap is tap:
                self._end_tap_locked()

    def _end_tap_locked(self) -> None:
        tap = self.tap
        if tap is not None:
            tap.end(self.store.clock.monotonic())
            # only now: an interruption in between leaves a tap that has ended
            self.tap = self.requests.tap = None

    def report_fault(self, kind: str, message: str, error: BaseException | None = None) -> None:
        """Report a fault to on_error. Any thread."""
        with self.store.lock:
            self.session.output.fault(kind, message, self.store.clock.monotonic(), error)
        self.wake()

    def learn_markets(self, learned: Iterable[tuple[Market, MarketStep | None]]) -> None:
        """Take in what is known about markets now, and report what has happened to them. Any thread."""
        with self.store.change():
            for market, change in learned:
                if self.tap is not None:
                    self.tap.learned(market, change)
                self.learn_locked(market, change)
        self.wake()

    def learn_locked(self, market: Market, change: MarketStep | None) -> None:
        """Keep a market's description, and report the change at the next turn."""
        self.store.learn_market_locked(market)
        if change is not None:
            self.session.output.items.append(
                MarketChange(market.ticker, market.event_ticker, market.series_ticker, change, market)
            )

    def release_locked(self, now: float) -> None:
        """Deliver the trades that are held back at the next turn."""
        if self.holding is not None and self.holding.is_holding:
            self.holding.release(self.session, now, self.tap)

    def _end_holding_locked(self, now: float, reason: str) -> None:
        """The feed ends, for this reason: deliver what is held back."""
        self.release_locked(now)

    def _hand_on(
        self, items: list[Message | Event], changed: Iterable[str], read_at: float | None = None
    ) -> None:
        """Pass everything on to the dispatcher, state changes first. Reader only, without the lock."""
        events: list[Message | Event] = []
        if self._state.undelivered:
            # a close() that no longer waits for this thread may clear them meanwhile
            with self.store.lock:
                events += self._state.undelivered
                self._state.undelivered.clear()
        began = time.perf_counter()
        self.dispatcher.put(
            events + items if events else items, read_at if read_at is not None else began, changed
        )
        if self._may_wait:
            self._waited += time.perf_counter() - began

    def _count_fault(self, fault: FeedFault) -> None:
        """Count the fault of a callback; the worker itself reports it to on_error."""
        with self.store.lock:
            self.session.output.counts.faults[fault.kind] += 1

    # -- looking inside --------------------------------------------------------------------------------------

    def stats(self) -> FeedStats:
        """The feed's metrics at this moment."""
        with self.store.lock:
            return self._metering.stats(self._state, self.session.output.counts, self.dispatcher)

    def health(self) -> Health:
        """Whether the feed is well, for load balancers and monitors."""
        with self.store.lock:
            return self._metering.health(
                self._state,
                self.store,
                self.requests.own_wants(),
                self.requests.wanted_books_locked(),
                self.dispatcher,
                troubles=tuple(self.troubles.values()),
                overdue_after=self._timing.snapshot,
                queue_size=self._queue_size,
                last_received=self._last_received(),
                idle_timeout=self._idle_timeout,
            )


def _as_fatal(error: BaseException | None) -> KalshiFeedError | None:
    """The error that ends the feed; an exception from outside our error tree is a bug of ours."""
    if error is None or isinstance(error, KalshiFeedError):
        return error
    log(logging.ERROR, "defect in kalshi_feed", error=error)
    fatal = KalshiFeedError(
        f"a defect in kalshi_feed ended the feed: {error!r}; the log has the traceback, please report it"
    )
    fatal.__cause__ = detach(error)
    return fatal


def log(level: int, text: str, *args: object, error: BaseException | None = None) -> None:
    """Log a line; a handler that raises or blocks does no harm. Never called under a lock."""
    log_safely(_logger, level, text, *args, error=error)
