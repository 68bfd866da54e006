"""The engine: the parts put together, and the feed's state.

Owns the feed's state, the start and end of its threads, and what the reader does with each read: session under the lock, then
callbacks' queue and commands outside of it. Everything users call ends here; the threads know the engine, never the KalshiFeed.
Must not import the feed, the command line or the simulator. Thread-safe.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from .books import BookStore, OrderBook
from .connection.dial import dial
from .connection.proxy import find_proxy
from .connection.reader import Reader
from .connection.transport import Transport
from .connection.url import Endpoint
from .credentials import Credentials
from .dispatch import Dispatcher
from .errors import AuthenticationError, ConnectionLost, FeedClosedError, KalshiFeedError
from .messages import Message
from .orderbook import BookStatus
from .session.channels import BOOK_CHANNEL, CHANNEL_OF_TYPE, CHANNELS
from .session.events import Event, FeedState, StateChange
from .session.retry import ReconnectPolicy, Retries
from .session.session import Session
from .session.timing import Timing
from .session.wanted import Want, Wanted
from .stats import FeedStats, Health, Histogram, Meter, assess

__all__ = ["Engine"]

_log: Final = logging.getLogger("kalshi_feed")
_RUNNING: Final = (FeedState.CONNECTING, FeedState.CONNECTED, FeedState.RECONNECTING)
_LEAST_SKEW: Final = 2.0  # seconds; the Date header counts whole ones
_MOST_SKEW: Final = 86_400.0
_LONGEST_CLOSE: Final = 1e6  # seconds; Thread.join() takes no infinity
_FAILED_CLOSE: Final = 5.0  # seconds for the callbacks to take what is queued after a fatal error


class Engine:
    """One feed's inside. Thread-safe; the methods of Host are for the reader thread alone."""

    def __init__(
        self,
        credentials: Credentials,
        endpoint: Endpoint,
        *,
        ssl_context: Any,
        proxy: Any,
        policy: ReconnectPolicy,
        connect_timeout: float,
        idle_timeout: float,
        max_message_size: int,
        use_yes_price: bool,
        queue_size: int,
        overflow: Any,
        workers: int,
        name: str | None,
        timing: Timing,
    ) -> None:
        self._credentials = credentials
        self._endpoint = endpoint
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._max_message_size = max_message_size
        self._queue_size = queue_size
        self._name = name
        self._timing = timing
        self.store = BookStore()
        self.wanted = Wanted()
        self.session = Session(self.store.books, self.wanted, use_yes_price=use_yes_price, timing=timing)
        self.dispatcher = Dispatcher(
            queue_size=queue_size, overflow=overflow, workers=workers, name=name, view_of=self.store.view
        )
        self._policy = policy
        self._retries = Retries(policy, random.random)
        self._reader: Reader | None = None
        self._transport: Transport | None = None
        self._state = FeedState.IDLE
        self._fatal: KalshiFeedError | None = None
        self._last_error = ""
        self._events: list[Event] = []  # changes of state that the reader has yet to hand on
        self._connected_at: tuple[float, datetime] | None = None
        self._gap_started: datetime | None = None
        self._clock_offset = 0.0
        self._clock_tried = False
        self._skew: float | None = None
        self._reconnects = 0
        self._meter = Meter()
        self._exchange_latency = Histogram()
        self._last_message: float | None = None
        self._binary_ignored = 0  # of the present connection

    # -- life ------------------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> FeedState:
        """Where the feed stands."""
        return self._state

    def check(self) -> None:
        """Raise what makes any further call pointless: the fork, or the error the feed failed with."""
        self.store.check_fork()
        fatal = self._fatal
        if fatal is not None:
            raise fatal.fresh()

    def start(self) -> None:
        """Start the threads; nothing to do if they run. Raises the fatal error of a feed that has failed."""
        self.check()
        before = self._reader
        if self._state in _RUNNING and not (before and before.stopping()):
            return
        if before is not None and before.thread.is_alive():
            if not self._inside():
                before.thread.join(_FAILED_CLOSE)
            if before.thread.is_alive():
                raise KalshiFeedError("the feed is still closing; start it again later, from outside of its own callbacks")
        reader = Reader(f"{self._name}-kalshi-feed-reader" if self._name else "kalshi-feed-reader", self._dial, self)
        with self.store.lock:
            is_first = self._reader is before  # of several threads that start the feed at once
            if is_first:
                self._reader = reader
                self._retries = Retries(self._policy, random.random)
                self._clock_tried = False
                self._last_error = ""
                self.store.ended = None
                for ticker in self._wanted_books():
                    self._open_book(ticker)
                self._change_state(FeedState.CONNECTING, "start")
        if not is_first:
            reader.wakeup.close()
            return
        try:
            self.dispatcher.start()
            reader.start()
        except BaseException:
            self.dispatcher.close(time.monotonic())
            reader.wakeup.close()
            self._end_now("no thread could be started")
            raise

    def close(self, timeout: float) -> None:
        """End the threads within ``timeout`` seconds; returns at once where it would wait for itself."""
        if self.store.forked:
            return
        deadline = time.monotonic() + min(timeout, _LONGEST_CLOSE)
        reader = self._reader
        if reader is not None:
            reader.stop(deadline)
            self.dispatcher.unblock()
            if reader.thread.is_alive():
                if self._inside() or self.store.lock._is_owned():  # type: ignore[attr-defined]  # a signal handler on top of a call
                    return
                reader.thread.join(max(deadline - time.monotonic(), 0.0) + 0.5)
                if reader.thread.is_alive():
                    _log.warning("the reader thread did not end within %.1f s; it is left behind", timeout)
                    return
        if self._reader is reader:  # else started anew meanwhile
            self._end_now("close")

    def _end_now(self, reason: str) -> None:
        """CLOSED, where no reader thread is there to say so: never started, failed, or about to start."""
        with self.store.lock:
            self._fatal = None
            self._close_books()
            self.store.ended = FeedClosedError("the feed is closed; start() opens it again")
            if self._state is not FeedState.CLOSED:
                self._change_state(FeedState.CLOSED, reason)
            self._events.clear()
            ready = self.store.ready_locked()
        for waiter in ready:
            waiter.release()
        self.dispatcher.end(None)

    def abandon(self) -> None:
        """The feed object is gone: end the threads without waiting for them."""
        reader = self._reader
        if reader is not None:
            reader.stop(time.monotonic())
            self.dispatcher.unblock()

    @property
    def abandonable(self) -> bool:
        """Whether threads run that nobody could stop any more if the feed object went away."""
        reader = self._reader
        return reader is not None and reader.thread.is_alive() and not reader.stopping()

    def wake(self) -> None:
        """Have the reader look what is wanted now."""
        reader = self._reader
        if reader is not None:
            reader.wakeup.wake()

    def wait_until_connected(self, timeout: float | None) -> None:
        """Wait for CONNECTED. Raises WaitTimeout, the fatal error or FeedClosedError."""
        self.store.wait(lambda: self._state is FeedState.CONNECTED or None, timeout, self.why_not_connected)

    def wait_until_ended(self) -> None:
        """Wait until the feed is closed (by whomever). Raises the fatal error."""
        try:
            self.store.wait(lambda: None, None, str)
        except FeedClosedError:
            pass

    def why_not_connected(self) -> str:
        """What to tell someone who waited in vain and is not connected."""
        if self._state is FeedState.IDLE:
            return "the feed was not started; call start() or use it in a with statement"
        detail = f" (last error: {self._last_error})" if self._last_error else ""
        return f"not connected to {self._endpoint.redacted}, the feed is {self._state.value}{detail}"

    def why_no_message(self, type_: str) -> str:
        """What to tell someone who waited in vain for a message of this type."""
        channel = CHANNEL_OF_TYPE.get(type_, type_)
        if channel not in self.wanted.channels and channel in CHANNELS:
            return f"no {type_!r} message has come, and nobody has subscribed to {channel!r}"
        return self._missing(f"no {type_!r} message has come that was waited for")

    def _inside(self) -> bool:
        """Whether this is one of the feed's own threads, which must not wait for the others."""
        reader = self._reader
        return threading.current_thread() is (reader and reader.thread) or self.dispatcher.is_worker()

    # -- what is wanted --------------------------------------------------------------------------------------------------------

    def subscribe(self, want: Want) -> None:
        """Want it. Raises ConfigurationError where it contradicts what is wanted already."""
        with self.store.lock:
            for ticker in self.wanted.add(want):
                self._open_book(ticker)
        self.wake()

    def want_book(self, market_ticker: str) -> None:
        """Want the market's book, unless somebody does or the feed is closed."""
        with self.store.lock:
            if self.wanted.wants_book(market_ticker) or self._state is FeedState.CLOSED:
                return
            for old in tuple(self.wanted.wants):  # what was refused before: the new one takes its place
                if old.failed and old.channels == (BOOK_CHANNEL,) and tuple(old.keys) == (market_ticker,):
                    self.wanted.remove(old)
            for ticker in self.wanted.add(Want((BOOK_CHANNEL,), "market_tickers", (market_ticker,), {})):
                self._open_book(ticker)
        self.wake()

    def add_markets(self, want: Want, market_tickers: Iterable[str]) -> None:
        """Want more markets."""
        with self.store.lock:
            for ticker in self.wanted.add_keys(want, market_tickers):
                self._open_book(ticker)
        self.wake()

    def delete_markets(self, want: Want, market_tickers: Iterable[str]) -> None:
        """Want fewer markets."""
        with self.store.lock:
            self.session.books_unwanted(self.wanted.delete_keys(want, market_tickers))
        self.wake()

    def unsubscribe(self, want: Want) -> None:
        """Want it no longer."""
        with self.store.lock:
            self.session.books_unwanted(self.wanted.remove(want))
        self.wake()

    def request_snapshots(self, market_tickers: Iterable[str]) -> None:
        """Ask for fresh snapshots."""
        with self.store.lock:
            self.wanted.snapshots.update(dict.fromkeys(market_tickers))
        self.wake()

    def list_subscriptions(self, timeout: float | None) -> tuple[tuple[str, int], ...]:
        """Ask the exchange which channels are open, as (channel, sid)."""
        box: list[tuple[tuple[str, int], ...]] = []
        with self.store.lock:
            self.wanted.lists.append(box)
        self.wake()
        try:
            return self.store.wait(
                lambda: box[0] if box else None, timeout, lambda: self._missing("no answer to list_subscriptions")
            )
        finally:
            with self.store.lock:
                self.wanted.lists[:] = [other for other in self.wanted.lists if other is not box]

    def confirmed(self, want: Want) -> bool:
        """Whether the exchange has confirmed all of a subscription."""
        return self._state is FeedState.CONNECTED and all(
            self.session.confirmed(name, want.keys_of(name)) for name in want.live_channels()
        )

    def wait_for_confirmation(self, want: Want, timeout: float | None) -> None:
        """Wait for confirmed(). Raises the SubscriptionError, WaitTimeout, the fatal error or FeedClosedError."""

        def check() -> bool | None:
            if want.error is not None:
                raise want.error.fresh()
            if want.closed:
                raise FeedClosedError("the subscription was ended by unsubscribe()")
            return self.confirmed(want) or None

        def missing() -> str:
            names = ", ".join(n for n in want.live_channels() if not self.session.confirmed(n, want.keys_of(n)))
            return self._missing(f"the exchange has not confirmed {names}")

        self.store.wait(check, timeout, missing)

    def wait_for_book(self, market_ticker: str, timeout: float | None) -> OrderBook:
        """Wait until the market's book is LIVE. Raises the SubscriptionError, WaitTimeout, the fatal error or FeedClosedError."""
        handle = self.store.handle(market_ticker)
        book = self.store.books[market_ticker]

        def check() -> OrderBook | None:
            if book.status is BookStatus.LIVE:
                return handle
            if not self.wanted.wants_book(market_ticker):
                for want in self.wanted.wants:
                    if want.error is not None and market_ticker in want.refused.get(BOOK_CHANNEL, ()):
                        raise want.error.fresh()
            return None

        def missing() -> str:
            if not self.session.confirmed(BOOK_CHANNEL, (market_ticker,)):
                return self._missing(f"the exchange has not confirmed {BOOK_CHANNEL} of {market_ticker}")
            return self._missing(f"no snapshot of {market_ticker} has come, its book is {book.status.value}")

        return self.store.wait(check, timeout, missing)

    def wanted_books(self) -> tuple[str, ...]:
        """The markets whose books are wanted."""
        with self.store.lock:
            return self._wanted_books()

    def _wanted_books(self) -> tuple[str, ...]:
        channel = self.wanted.channels.get(BOOK_CHANNEL)
        return tuple(channel.counts) if channel is not None else ()

    def _open_book(self, market_ticker: str) -> None:
        if self.store.book_locked(market_ticker).set_status(BookStatus.PENDING):
            self.session.output.status_changed.add(market_ticker)

    def _close_books(self) -> None:
        self.session.books_unwanted(self._wanted_books())

    def _missing(self, text: str) -> str:
        return text if self._state is FeedState.CONNECTED else self.why_not_connected()

    # -- the reader's side (Host) ----------------------------------------------------------------------------------------------

    def _dial(self, reader: Reader) -> Transport:
        self._hand_on([], ())
        return dial(
            self._endpoint,
            self._headers,
            ssl_context=self._ssl_context,
            proxy=find_proxy(self._endpoint, self._proxy, os.environ),
            deadline=time.monotonic() + self._connect_timeout,
            wakeup=reader.wakeup,
            cancelled=reader.stopping,
            max_message_size=self._max_message_size,
            idle_timeout=self._idle_timeout,
        )

    def _headers(self) -> dict[str, str]:
        """Signed anew for every attempt, with the exchange's idea of the time once it has refused ours."""
        return self._credentials.headers(self._endpoint.sign_path, int((time.time() + self._clock_offset) * 1000))

    def connected(self, transport: Transport, now: float) -> None:
        """See Host."""
        wall = datetime.now(timezone.utc)
        self._transport = transport
        self._binary_ignored = 0
        self._clock_tried = False
        if transport.server_time is not None:
            self._skew = (wall - transport.server_time).total_seconds()
        _log.info("connected to %s", self._endpoint.redacted)
        with self.store.lock:
            if self._connected_at is not None:
                self._reconnects += 1
            self._connected_at = (now, wall)
            self._change_state(
                FeedState.CONNECTED, "connected", gap_started=self._gap_started, gap_ended=self._gap_started and wall
            )
            self._gap_started = None
            self.session.connected(now)

    def turn(self, payloads: list[bytes], now: float) -> list[bytes]:
        """See Host."""
        read_at = time.perf_counter()
        session, output = self.session, self.session.output
        with self.store.lock:
            if payloads:
                self._meter.add(now, len(payloads))
                self._last_message = now
                session.receive(payloads, now)
            session.tick(now)
            if self._transport is not None and self._transport.binary_ignored > self._binary_ignored:
                self._binary_ignored = self._transport.binary_ignored
                output.fault("binary_frame", "a binary frame is ignored: the exchange sends text", now)
            items, output.items = output.items, []
            changed, output.status_changed = output.status_changed, set()
            outbox, output.outbox = output.outbox, []
            if items:
                self._sample_latency(items[-1], now)
            ready = self.store.ready_locked()
        for waiter in ready:
            waiter.release()
        if items or changed or self._events:
            self._hand_on(items, changed, read_at)
        if output.give_up is not None:
            raise ConnectionLost(None, output.give_up)
        return outbox

    def next_deadline(self) -> float:
        """See Host."""
        with self.store.lock:
            return self.session.next_deadline()

    def lost(self, error: KalshiFeedError, now: float) -> float:
        """See Host."""
        transport, self._transport = self._transport, None
        self._last_error = str(error)
        if self._clock_was_wrong(error):
            return 0.0
        with self.store.lock:
            healthy = self.session.disconnected(now)
            if transport is not None:
                ago = timedelta(seconds=max(now - transport.last_received, 0.0))
                self._gap_started = datetime.now(timezone.utc) - ago
            output = self.session.output
            items, output.items = output.items, []
            changed, output.status_changed = output.status_changed, set()
            output.outbox.clear()
        try:
            delay = self._retries.next_delay(error, healthy=healthy)
        except KalshiFeedError:
            self._hand_on(items, changed)
            raise
        with self.store.lock:
            self._change_state(
                FeedState.RECONNECTING,
                str(error),
                attempt=self._retries.count,
                delay=delay,
                gap_started=self._gap_started,
            )
            ready = self.store.ready_locked()
        for waiter in ready:
            waiter.release()
        _log.warning("%s; next attempt (%d) in %.2f s", error, self._retries.count, delay)
        self._hand_on(items, changed)
        return delay

    def ended(self, error: BaseException | None) -> None:
        """See Host."""
        fatal = _as_fatal(error)
        if fatal is not None:
            _log.error("the feed has failed: %s", fatal)
        with self.store.lock:
            self.session.disconnected(time.monotonic())
            self._transport = None
            if fatal is None:
                self._close_books()
            self._fatal = fatal
            self.store.ended = fatal or FeedClosedError("the feed was closed")
            self._change_state(FeedState.FAILED if fatal else FeedState.CLOSED, str(fatal) if fatal else "close")
            self._connected_at = None
            output = self.session.output
            items, output.items = output.items, []
            changed, output.status_changed = output.status_changed, set()
            output.outbox.clear()
            ready = self.store.ready_locked()
        for waiter in ready:
            waiter.release()
        self._hand_on(items, changed)
        self.dispatcher.end(fatal)
        reader = self._reader
        self.dispatcher.close(reader.close_deadline if reader and fatal is None else time.monotonic() + _FAILED_CLOSE)

    def _hand_on(self, items: list[Message | Event], changed: Iterable[str], read_at: float | None = None) -> None:
        """Give what has come to the callbacks, changes of state first. Reader only, without the lock."""
        events: list[Message | Event] = []
        while self._events:
            events.append(self._events.pop(0))
        self.dispatcher.put(
            events + items if events else items, read_at if read_at is not None else time.perf_counter(), changed
        )

    def _change_state(self, state: FeedState, reason: str, **details: Any) -> None:
        previous, self._state = self._state, state
        self._events.append(StateChange(previous, state, reason, **details))

    def _clock_was_wrong(self, error: KalshiFeedError) -> bool:
        """Whether a 401 came with a Date far from our clock, so that one more try with the exchange's time is worth it."""
        if (
            not isinstance(error, AuthenticationError)
            or error.status != 401
            or error.server_time is None
            or self._clock_tried
        ):
            return False
        ahead = error.server_time.timestamp() - time.time()
        self._skew = -ahead
        if not _LEAST_SKEW < abs(ahead - self._clock_offset) < _MOST_SKEW:
            return False
        self._clock_tried = True
        self._clock_offset = ahead
        _log.warning(
            "refused with 401, and this machine's clock is %+.0f s off the exchange's: trying once with its time",
            -ahead,
        )
        return True

    def _sample_latency(self, item: Message | Event, now: float) -> None:
        """One sample a read: from the exchange's timestamp to now."""
        if not isinstance(item, Event):
            sent = item.sending_ts_ms or getattr(item, "ts_ms", None)
            if isinstance(sent, int):
                self._exchange_latency.add(max(time.time() - sent / 1000, 0.0))
        self._exchange_latency.rotate(now)

    # -- looking inside --------------------------------------------------------------------------------------------------------

    def stats(self) -> FeedStats:
        """The figures at this instant."""
        now = time.monotonic()
        counters = self.dispatcher.counters
        with self.store.lock:
            counts = self.session.output.counts
            rate_1s, rate_10s, rate_60s = self._meter.rates(now)
            return FeedStats(
                state=self._state,
                connected_since=self._connected_at[1]
                if self._connected_at and self._state is FeedState.CONNECTED
                else None,
                reconnects=self._reconnects,
                messages=counts.messages,
                bytes=counts.bytes,
                rate_1s=rate_1s,
                rate_10s=rate_10s,
                rate_60s=rate_60s,
                gaps=counts.gaps,
                resyncs=counts.resyncs,
                faults=counts.faults,
                queue_depth=counters.depth,
                queue_high_water=counters.high_water,
                dropped=counters.dropped,
                callback_errors=counters.callback_errors,
                callback_seconds=counters.callback_seconds,
                last_message_age=None if self._last_message is None else now - self._last_message,
                processing_latency_p50=counters.processing.percentile(50),
                processing_latency_p99=counters.processing.percentile(99),
                exchange_latency_p50=self._exchange_latency.percentile(50),
                exchange_latency_p99=self._exchange_latency.percentile(99),
                clock_skew=self._skew,
            )

    def health(self) -> Health:
        """A verdict for load balancers and monitors."""
        now = time.monotonic()
        with self.store.lock:
            wanted = self._wanted_books()
            statuses = Counter(self.store.books[ticker].status.value for ticker in wanted)
            connected_for = now - self._connected_at[0] if self._connected_at else 0.0
            late = connected_for > self._timing.snapshot
            overdue = [t for t in wanted if late and self.store.books[t].status is BookStatus.PENDING]
            failed = sum(want.error is not None for want in self.wanted.wants)
            state, transport = self._state, self._transport
        counters = self.dispatcher.counters
        return assess(
            state=state,
            error=self._last_error,
            books=statuses,
            overdue=overdue,
            failed_subscriptions=failed,
            queue_depth=counters.depth,
            queue_size=self._queue_size,
            stuck_callback=self.dispatcher.stuck_callback,
            last_received_age=now - transport.last_received if transport is not None else None,
            idle_timeout=self._idle_timeout,
            clock_skew=self._skew,
        )


def _as_fatal(error: BaseException | None) -> KalshiFeedError | None:
    """What the feed has failed with; an error that is not ours is a defect of ours."""
    if error is None or isinstance(error, KalshiFeedError):
        return error
    _log.error("defect in kalshi_feed", exc_info=error)
    fatal = KalshiFeedError(
        f"a defect in kalshi_feed ended the feed: {error!r}; the log has the traceback, please report it"
    )
    fatal.__cause__ = error.with_traceback(None)
    return fatal
