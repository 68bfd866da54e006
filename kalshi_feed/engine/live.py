"""The engine on a real connection: dialing it, and what happens when it is lost.

Owns the credentials, the retries, and the offset between our clock and the exchange's. Thread-safe; the
methods of Host are for the reader thread only.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

from ..clocks import elapsed, moment
from ..connection.dial import dial
from ..connection.environment import REST_VARIABLE, rest_url_of
from ..connection.proxy import Proxy
from ..connection.reader import LEAST_STALL, Reader
from ..connection.transport import Transport
from ..connection.url import Endpoint
from ..credentials import Credentials
from ..errors import AuthenticationError, ConnectionLost, KalshiFeedError
from ..events import FeedState, GapFilled
from ..greenlets import unpatched_socketio
from ..messages import Message
from ..session.channels import ALL_MARKETS
from ..session.retry import ReconnectPolicy, Retries
from .engine import Engine, log
from .holding import Holding
from .holes import STREAM_CHANNELS, Hole, Holes
from .second_feed import started
from .tap import QUIET, Reading
from .wire_log import dial_progress

__all__ = ["HoleEnd", "LiveEngine"]

_LEAST_SKEW: Final = 2.0  # seconds; the Date header has whole ones
_MOST_SKEW: Final = 86_400.0
# more than this means that the wall clock was set; less is the time between two readings
_SET_BACK: Final = timedelta(seconds=0.5)
_MOST_DEFECTS: Final = 3
_DEFECTS_WINDOW: Final = 60.0  # seconds
_PATCH: Final = {
    "gevent": "'from gevent import monkey; monkey.patch_all()'",
    "eventlet": "'import eventlet; eventlet.monkey_patch()'",
}
_STOOD_STILL: Final = (
    "the reader stood still for %.1f s, so pongs and callbacks were late by up to that; no message was lost. "
    "Either one call kept Python's lock (a large json.loads(), sum() over a long range, a regex that "
    "backtracks): run it in another process. Or the process was stopped (SIGSTOP, a debugger, a starved "
    "machine), or a logging handler was slow (stalls so far: %d, the longest %.1f s)"
)


class HoleEnd(NamedTuple):
    """How the filling of a hole has ended; see GapFilled. Immutable."""

    matched: int
    complete: bool
    reason: str = ""


class LiveEngine(Engine):
    """One feed's inside, connected to the exchange. Thread-safe like Engine, which gets ``options``."""

    def __init__(
        self,
        credentials: Credentials,
        endpoint: Endpoint,
        *,
        ssl_context: Any,
        proxy: Proxy | None,
        rest_proxy: Proxy | str | None,
        policy: ReconnectPolicy,
        connect_timeout: float,
        idle_timeout: float,
        max_message_size: int,
        compression: bool,
        **options: Any,
    ) -> None:
        super().__init__(endpoint.redacted, idle_timeout=idle_timeout, **options)
        self._credentials = credentials
        self._endpoint = endpoint
        self._ssl_context = ssl_context
        self._proxy = proxy
        self.rest_proxy = rest_proxy  # for REST: "" for none, None for the environment's
        self._connect_timeout = connect_timeout
        self._max_message_size = max_message_size
        self._compression = compression
        self._policy = policy
        self._retries = Retries(policy, random.random)
        # when the last byte of the lost connection came; None while connected. See Transport.last_byte
        self._last_byte: tuple[float, float] | None = None
        self._clock_offset = 0.0  # seconds to add to our clock in signatures
        self._transport: Transport | None = None  # the current connection; the reader's
        self._binary_ignored = 0  # binary frames on it that were reported
        # The clock for what gaps are filled with: the exchange's time less elapsed(). And what elapsed() said
        # at the last byte, with the time.monotonic() of that byte.
        self._exchange_offset = time.time() - elapsed()
        self._byte_at: tuple[float, float] = (0.0, 0.0)
        self._fills_since: float | None = None  # fill_since, until the first start (Unix seconds)
        # when our own code raised (time.monotonic())
        self._defects: deque[float] = deque(maxlen=_MOST_DEFECTS)
        self._socketio_warned = False  # whether _warn_of_socketio() has warned
        self._clock_tried = False  # whether the exchange's time was tried since the last connection

    @property
    def rest_context(self) -> Any:
        """The TLS settings for the exchange's REST API: those of the feed; None where the feed needs none."""
        return self._ssl_context

    @property
    def rest_url(self) -> str:
        """The url of the exchange's REST API. Raises ConfigurationError for an exchange of which that is not
        known."""
        return os.environ.get(REST_VARIABLE) or rest_url_of(self._endpoint.url)

    @property
    def credentials(self) -> Credentials:
        """The feed's key."""
        return self._credentials

    # -- the filling of gaps ---------------------------------------------------------------------------------

    def exchange_time(self) -> float:
        """The exchange's time, in Unix seconds, to about a second. No one sets that clock."""
        return elapsed() + self._exchange_offset

    def set_exchange_time(self, skew: float) -> None:
        """The exchange has just said what time it is: our wall clock was ahead by ``skew`` seconds."""
        # its Date has whole seconds: half of one is missing on average, and a small difference means nothing
        ahead = skew - 0.5 if abs(skew) >= _LEAST_SKEW else 0.0
        self._exchange_offset = time.time() - ahead - elapsed()

    def fill_gaps(self, timeout: float, since: float | None) -> None:
        """Note from now on which messages are missed, and hold back trades for at most ``timeout`` seconds
        until they are there. ``since``: see KalshiFeed's ``fill_since``."""
        self._fills_since = since
        self.holding = Holding(
            holds=timeout > 0,
            begins=since is not None,
            holes=Holes(self.exchange_time, self._last_byte_at),
            timeout=timeout,
        )

    def missed(self, channels: Iterable[str], market_tickers: tuple[str, ...], since: float) -> None:
        """With fill_gaps: what was sent about these markets since then is missing (the exchange's time, Unix
        seconds), because they are subscribed to too late. Of markets that another subscription wants already,
        nothing is. Any thread."""
        with self.store.lock:
            if self.holding is not None:
                for channel in channels:
                    wanted = self.wanted.channels.get(channel)
                    keys = frozenset(wanted.keys) if wanted is not None else frozenset()
                    late = tuple(ticker for ticker in market_tickers if ticker not in keys)
                    if channel in STREAM_CHANNELS and late and keys != ALL_MARKETS:
                        self.holes.missed(channel, late, since)

    @property
    def holes(self) -> Holes:
        """The holes to fill. Under the store's lock. Only with fill_gaps()."""
        assert self.holding is not None
        assert self.holding.holes is not None
        return self.holding.holes

    @property
    def is_holding(self) -> bool:
        """Whether trades wait for REST's answer."""
        return self.holding is not None and self.holding.is_holding

    @property
    def is_behind(self) -> bool:
        """Whether the callbacks have so much to do that they should not get more at once."""
        # those that the reader has not taken yet, perhaps because it waits between two dials, come on top
        return (self.dispatcher.counters.depth + len(self.session.output.items)) * 2 > self._queue_size

    def fill(
        self, hole: Hole, rows: Iterable[Message], *, releases: bool = False, end: HoleEnd | None = None
    ) -> int | None:
        """Deliver those of REST's messages for a hole, oldest first, that are missing. Any thread.

        ``releases``: the trades that wait for them are delivered now. ``end``: the hole has been filled as
        far as it can be. Returns how many were missing so far, or None, without doing anything, if the hole
        has been filled or has grown.
        """
        with self.store.change():
            found = self._fill_locked(hole, rows, releases, end, time.monotonic())
        self.wake()
        return found

    def _fill_locked(
        self, hole: Hole, rows: Iterable[Message], releases: bool, end: HoleEnd | None, now: float
    ) -> int | None:
        holes, holding, channel = self.holes, self.holding, hole.channel
        assert holding is not None
        if not holes.is_current(hole):
            return None
        wanted = self.wanted.channels.get(channel)
        if wanted is None:
            rows = ()
            if end is not None and end.complete:
                end = HoleEnd(end.matched, False, "no longer subscribed to")
        elif (keys := frozenset(wanted.keys)) != ALL_MARKETS:
            # also those that were subscribed when it began: follow() may have left them meanwhile
            keys = keys.union(hole.market_tickers)
            rows = [row for row in rows if row.market_ticker in keys]
        entries = holding.missing(hole, rows)
        found = holes.delivered(hole.number, sum(isinstance(entry, Message) for entry in entries))
        # a newer hole has trades of its own wait
        releases = releases and channel == "trade" and holes.newest(channel) == hole.number
        event = None
        if end is not None:
            holes.close(hole.number)
            event = GapFilled(
                channel, moment(hole.since), moment(hole.until), hole.market_tickers, found, *end
            )
        if self.tap is not None:
            self.tap.filled(channel, entries, releases, event, now)
        holding.fill(self.session, now, channel, entries, releases=releases, event=event)
        return found

    def _end_holding_locked(self, now: float, reason: str) -> None:
        """The feed ends: report the holes that are not filled."""
        if self.holding is not None and self.holding.holes is not None:
            for hole in self.holes.all():
                self._fill_locked(hole, (), False, HoleEnd(0, False, reason), now)
        super()._end_holding_locked(now, reason)

    def start(self) -> None:
        """Start the threads, and log a warning about a second feed for the same account. See Engine."""
        super().start()
        started(self, self._credentials.api_key_id)

    def _reading(self) -> Reading:
        """What the connection reports besides this turn's payloads."""
        transport = self._transport
        if transport is None:
            return QUIET
        if self.holding is not None and (at := transport.last_byte[0]) != self._byte_at[0]:
            self._byte_at = at, elapsed()
        binaries = transport.binary_ignored - self._binary_ignored
        slept = transport.slept
        if not (transport.is_behind or binaries or slept or transport.arriving_since is not None):
            return QUIET
        self._binary_ignored += binaries
        transport.slept = 0.0
        return Reading(
            transport.is_behind,
            transport.arriving_since,
            binaries,
            slept,
            transport.awake_at if slept else 0.0,
        )

    def _last_received(self) -> float | None:
        transport = self._transport  # read once: the reader may set it to None
        return transport.last_received if transport is not None else None

    def _new_reader(self, name: str) -> Reader:
        return Reader(name, self._dial, self)

    def _starting_locked(self) -> None:
        self._retries = Retries(self._policy, random.random)
        self._clock_tried = False
        if self.holding is not None:
            self.holes.start(self._fills_since)
            self._fills_since = None

    def _dial(self, reader: Reader) -> Transport:
        with self.store.lock:
            items, changed, _ = self._take_locked(time.monotonic())
        self._hand_on(items, changed)
        return dial(
            self._endpoint,
            self._headers,
            ssl_context=self._ssl_context,
            proxy=self._proxy,
            deadline=time.monotonic() + self._connect_timeout,
            wakeup=reader.wakeup,
            cancelled=reader.stopping,
            max_message_size=self._max_message_size,
            compression=self._compression,
            idle_timeout=self._idle_timeout,
            progress=dial_progress(),
        )

    def _headers(self) -> dict[str, str]:
        """The signed headers, new for every attempt; with the exchange's time once it has refused ours."""
        return self._credentials.headers(
            self._endpoint.sign_path, int((time.time() + self._clock_offset) * 1000)
        )

    def connected(self, transport: Transport, now: float) -> None:
        """There is a connection: note it, and let the session subscribe. See Host."""
        wall = datetime.now(timezone.utc)
        self._transport = transport
        self._binary_ignored = 0
        self._clock_tried = False
        if transport.server_time is not None:
            self._metering.clock_skew = (wall - transport.server_time).total_seconds()
            self.set_exchange_time(self._metering.clock_skew)
        log(logging.INFO, "connected to %s", self._endpoint.redacted)
        self._warn_of_socketio()
        with self.store.lock:
            self._metering.connected(now, wall)
            gap_started = self._gap_started(now, wall)
            change = self._state.change(
                FeedState.CONNECTED, "connected", gap_started=gap_started, gap_ended=gap_started and wall
            )
            self._last_byte = None
            if self.tap is not None:
                self.tap.connected(now, change, self._metering.clock_skew)
            self.session.connected(now)

    def _warn_of_socketio(self) -> None:
        """Warn once if a Socket.IO server of this process runs in a mode whose library has not patched."""
        library = None if self._socketio_warned else unpatched_socketio()
        if library is None:
            return
        self._socketio_warned = True
        log(
            logging.WARNING,
            "Socket.IO runs in %s mode here, and %s has not patched the standard library: what a callback "
            "emits will reach the browsers late. Put %s above all other imports, or use "
            "async_mode='threading'",
            library,
            library,
            _PATCH[library],
        )

    def stood_still(self, seconds: float, now: float) -> None:
        """Count a stall, and log it now and then. See Host. Waiting for room in the queue is not one."""
        seconds -= self._waited
        if seconds < LEAST_STALL:
            return
        with self.store.lock:
            stalls, is_news = self._metering.stood_still(seconds, now)
        if is_news:
            log(logging.WARNING, _STOOD_STILL, seconds, stalls.count, stalls.longest)

    def lost(self, error: KalshiFeedError, now: float) -> float:
        """The connection was lost, or a dial failed: return the seconds until the next dial. See Host.

        Raises the error with which the feed fails if there will be no other dial.
        """
        if self.store.forked:  # a greenlet's copy: the connection goes on in the parent
            return 0.0
        transport, self._transport = self._transport, None
        self._state.last_error = str(error)
        if self._clock_was_wrong(error):
            return 0.0
        no_more: KalshiFeedError | None = None
        with self.store.change():  # at once: REST's answers come before all of this in a recording, or after
            if transport is not None:
                self._last_byte = transport.last_byte
            if self.holding is not None:
                self.holding.lost(self.session, now)
            healthy = self.session.disconnected(now)
            items, changed, _ = self._take_locked(now)
            try:
                delay = self._retries.next_delay(error, healthy=healthy)
            except KalshiFeedError as fatal:
                no_more = fatal
            else:
                change = self._state.change(
                    FeedState.RECONNECTING,
                    str(error),
                    attempt=self._retries.count,
                    delay=delay,
                    gap_started=self._gap_started(now, datetime.now(timezone.utc)),
                )
                if self.tap is not None:
                    self.tap.lost(now, change)
        if no_more is not None:
            self._hand_on(items, changed)
            raise no_more
        # a level up for an error that is not expected to go away by itself
        level = logging.WARNING if error.retryable else logging.ERROR
        log(level, "%s; next attempt (%d) in %.2f s", error, self._retries.count, delay)
        self._hand_on(items, changed)
        return delay

    def _last_byte_at(self) -> float:
        """The exchange's time when the last byte of this connection, or of the one just lost, came."""
        before, then = self._byte_at
        at = self._last_byte[0] if self._last_byte is not None else before
        if at != before:  # a byte without a turn; one follows when the machine has slept
            then = elapsed() - max(time.monotonic() - at, 0.0)
        return then + self._exchange_offset

    def _gap_started(self, now: float, wall: datetime) -> datetime | None:
        """When the last byte came; None if there was no connection.

        By the wall clock of that moment, because only the wall clock goes on while the machine sleeps. If it
        was set back since then, the time is computed from the seconds that have passed.
        """
        if self._last_byte is None:
            return None
        at, unix = self._last_byte
        as_it_was, by_seconds = moment(unix), wall - timedelta(seconds=max(now - at, 0.0))
        return by_seconds if as_it_was - by_seconds > _SET_BACK else as_it_was

    def failed(self, defect: Exception, now: float) -> float:
        """Replace session and connection after a bug; the third within a minute ends the feed. See Host."""
        if self.store.forked:
            return 0.0
        self._defects.append(now)
        if len(self._defects) == _MOST_DEFECTS and now - self._defects[0] < _DEFECTS_WINDOW:
            raise defect
        self.renew_session(defect, now)
        delay = self.lost(
            ConnectionLost(None, f"a defect in kalshi_feed ended the connection: {defect!r}"), now
        )
        with self.store.lock:
            if self.tap is not None:
                self.tap.renewed(now)
        return delay

    def on_end(self, error: BaseException | None) -> None:
        """Let go of the connection, and end the feed. See Host."""
        self._transport = None
        super().on_end(error)

    def _clock_was_wrong(self, error: KalshiFeedError) -> bool:
        """Whether a 401's Date is so far from our clock that a try with the exchange's time is worth it."""
        if (
            not isinstance(error, AuthenticationError)
            or error.status != 401
            or error.server_time is None
            or self._clock_tried
        ):
            return False
        ahead = error.server_time.timestamp() - time.time()
        self._metering.clock_skew = -ahead
        if abs(ahead) > _MOST_SKEW or abs(ahead - self._clock_offset) < _LEAST_SKEW:
            return False
        self._clock_tried = True
        self._clock_offset = ahead
        log(
            logging.WARNING,
            "refused with 401, and this machine's clock is %+.0f s off the exchange's: trying once with its "
            "time",
            -ahead,
        )
        return True
