"""KalshiFeed: the face of the package. Validates and delegates; holds no logic of its own. Thread-safe."""

from __future__ import annotations

import atexit
import logging
import math
import os
import time
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, overload

from .books.store import Books, OrderBook
from .by_type import ByType
from .callbacks import Callbacks
from .connection.context import check_context, default_context, weakness
from .connection.environment import DEMO_URL, PRODUCTION_URL, exchange_context, exchange_url
from .connection.proxy import find_proxy
from .connection.redaction import without_locals
from .connection.url import parse_url
from .credentials import Credentials
from .dispatch import Delivery
from .engine.engine import Engine
from .engine.live import LiveEngine
from .engine.signals import CLOSING_SIGNALS, closing
from .errors import ConfigurationError, KalshiFeedError
from .events import FeedState
from .recording.replaying import ReplayEngine
from .recording.writing import Recording
from .session.channels import channel_names, names
from .session.retry import ReconnectPolicy
from .session.timing import Timing
from .session.wanted import Want
from .stats import FeedStats, Health
from .subscription import Subscription
from .waiting import checked_timeout

if TYPE_CHECKING:
    import ssl

__all__ = ["DEMO_URL", "PRODUCTION_URL", "KalshiFeed"]

_MIB: Final = 1024 * 1024
_EXIT_TIMEOUT: Final = 1.5
_logger: Final = logging.getLogger("kalshi_feed")
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class _BooksAttribute:
    """The wanted books by market ticker, a read-only mapping.

    Not a property, because IPython evaluates no property to complete ``feed.books["``.
    """

    @overload
    def __get__(self, feed: None, owner: type) -> _BooksAttribute: ...
    @overload
    def __get__(self, feed: KalshiFeed, owner: type) -> Mapping[str, OrderBook]: ...
    def __get__(self, feed: KalshiFeed | None, owner: type) -> Mapping[str, OrderBook] | _BooksAttribute:
        return self if feed is None else feed._checked_books()

    def __set__(self, feed: KalshiFeed, value: object) -> NoReturn:
        raise AttributeError("feed.books cannot be set")


class KalshiFeed(Callbacks, ByType):
    """Kalshi's WebSocket feed for synchronous programs. Thread-safe.

    ``credentials``: who signs the handshake. ``url``: PRODUCTION_URL, DEMO_URL or another wss:// address
    (ws:// on loopback only). ``ssl_context``: an ssl.SSLContext; by default certifi's authorities and TLS 1.2
    at least. ``proxy``: "http://host:port"; by default the environment's (HTTPS_PROXY, NO_PROXY).
    ``connect_timeout``: seconds for all of a dial, from DNS to the upgrade. ``idle_timeout``: seconds without
    any byte after which a connection is given up (the exchange pings every 10 s). ``queue_size``: messages
    that may wait for callbacks; ``overflow``: "drop_oldest" (with a Lagged in their place) or "block"
    (reading pauses: lossless until the exchange gives up; while a callback itself waits for the feed, the
    queue may grow). ``workers``: threads for callbacks, each market stays in order. ``max_message_size``:
    bytes. ``use_yes_price``: how the exchange is asked to send prices of the no side; books and messages read
    the same either way. ``name``: prefix of the threads' names.

    Raises ConfigurationError for arguments that cannot work.
    """

    _timing = Timing()

    @without_locals  # the url, the proxy, or whatever was taken for credentials
    def __init__(
        self,
        credentials: Credentials,
        *,
        url: str = PRODUCTION_URL,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        reconnect: ReconnectPolicy = ReconnectPolicy(),
        connect_timeout: float = 10.0,
        idle_timeout: float = 30.0,
        queue_size: int = 65_536,
        overflow: Literal["drop_oldest", "block"] = "drop_oldest",
        workers: int = 1,
        max_message_size: int = 16 * _MIB,
        use_yes_price: bool = True,
        name: str | None = None,
    ) -> None:
        if not isinstance(credentials, Credentials):
            raise ConfigurationError(
                "credentials must be a Credentials: write Credentials.from_file(api_key_id, path) or "
                "KalshiFeed.from_env()"
            )
        if not isinstance(reconnect, ReconnectPolicy):
            raise ConfigurationError(f"reconnect must be a ReconnectPolicy, not {type(reconnect).__name__}")
        endpoint = parse_url(url)
        if ssl_context is not None:
            check_context(ssl_context, endpoint)
            if endpoint.is_secure and weakness(ssl_context):
                _logger.warning(
                    "%s will not be verified, which loopback alone is spared: %s",
                    endpoint,
                    weakness(ssl_context),
                )
        # a bad one is refused now, not at three in the morning
        route = find_proxy(endpoint, proxy, os.environ)
        _check_seconds("connect_timeout", connect_timeout)
        _check_seconds("idle_timeout", idle_timeout)
        if (
            isinstance(max_message_size, bool)
            or not isinstance(max_message_size, int)
            or max_message_size < 1024
        ):
            raise ConfigurationError(
                f"max_message_size must be a number of bytes of at least 1024, not {max_message_size!r}"
            )
        if not isinstance(use_yes_price, bool):
            raise ConfigurationError(f"use_yes_price must be True or False, not {use_yes_price!r}")
        if name is not None and (not isinstance(name, str) or not name):
            raise ConfigurationError(f"name must be a text, not {name!r}")
        engine = LiveEngine(
            credentials,
            endpoint,
            ssl_context=ssl_context
            if ssl_context is not None
            else default_context()
            if endpoint.is_secure
            else None,
            proxy=route,
            policy=reconnect,
            connect_timeout=connect_timeout,
            idle_timeout=idle_timeout,
            max_message_size=max_message_size,
            use_yes_price=use_yes_price,
            queue_size=queue_size,
            overflow=overflow,
            workers=workers,
            name=name,
            timing=self._timing,
        )
        self._run_by(engine)

    @classmethod
    def _of_engine(cls, engine: Engine) -> KalshiFeed:
        """A feed around an engine that is there already."""
        feed = cls.__new__(cls)
        feed._run_by(engine)
        return feed

    def _run_by(self, engine: Engine) -> None:
        self._engine = engine
        self._doubtful_types = set()
        self._books = Books(engine.store, engine.requests.wanted_books, engine.wanted.wants_book)
        _engines.add(engine)
        weakref.finalize(self, _forgotten, engine).atexit = False

    @classmethod
    @without_locals
    def from_env(cls, *, environ: Mapping[str, str] = os.environ, **overrides: Any) -> KalshiFeed:
        """A feed with the credentials and the exchange that the environment names.

        Reads what Credentials.from_env() reads; KALSHI_URL, or else KALSHI_ENV: "production" (the default) or
        "demo"; and KALSHI_CA_FILE, the certificates (PEM) to trust instead of certifi's. ``overrides`` are
        arguments of KalshiFeed, and each of them wins over the environment. Raises ConfigurationError.
        """
        if "url" not in overrides:
            overrides["url"] = exchange_url(environ)
        if "ssl_context" not in overrides:
            overrides["ssl_context"] = exchange_context(environ)
        credentials = overrides.pop("credentials", None) or Credentials.from_env(environ)
        return cls(credentials, **overrides)

    @classmethod
    def replay(
        cls,
        path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        speed: float | Literal["max", "wait"] = "max",
        at: datetime | float | None = None,
        until: datetime | float | None = None,
        gaps: Literal["strict", "ignore"] = "strict",
        use_yes_price: bool | None = None,
        queue_size: int = 65_536,
        workers: int = 1,
        name: str | None = None,
    ) -> KalshiFeed:
        """A recording as a feed, without a key and a connection: the same callbacks, books and waits as when
        it was made.

        ``path``: the file that record() wrote (the first of several plays them all, a numbered part plays
        alone), a list of files (plays what it lists), or a capture (lines of frames, or of ``{"recv_ms": …,
        "event": frame}``). One message is played at a time, and its callbacks run to their end before the
        next: a callback finds every book as it was at its own message, nothing is dropped, ``on_book`` gets
        every change, and ``queue_size`` and ``workers`` change nothing. A callback cannot wait for the feed
        (KalshiFeedError): it would wait for itself. ``speed``: 1 is as it was, 10 ten times as fast, "max" as
        fast as your callbacks are. "wait" is for programs that block: the recording's time passes only while
        every thread that has ever waited for the feed does, so that each sees every change; timeouts are in
        that time. A thread leaves when it ends, or with stepping_out(). ``at``: callbacks and waits begin at
        this moment (an aware datetime, or seconds after the beginning); the books are right by then.
        ``until``: it ends before this moment. Raises ConfigurationError for one before the beginning; an
        ``at`` after the end is known when that is reached, and then run_forever() raises it. ``gaps``:
        "strict" as live, where missing numbers make books STALE; "ignore" for captures that hold some of a
        subscription's markets only. ``use_yes_price``: what a capture was made with (default False); a
        recording knows it. run_forever() returns at the end. subscribe() sends nothing: what was recorded
        comes. Raises ConfigurationError.
        """
        if speed not in ("max", "wait") and not (type(speed) in (int, float) and 0 < speed < math.inf):  # type: ignore[operator]
            raise ConfigurationError(f"speed must be a positive number, 'max' or 'wait', not {speed!r}")
        for argument, moment in (("at", at), ("until", until)):
            if isinstance(moment, datetime) and moment.tzinfo is None:
                raise ConfigurationError(
                    f"{argument} must be an aware datetime (with a tzinfo), or seconds after the beginning"
                )
            if moment is not None and not isinstance(moment, datetime):
                checked_timeout(moment)
        return cls._of_engine(
            ReplayEngine(
                path,
                speed=speed if isinstance(speed, str) else float(speed),
                at=at,
                until=until,
                gaps=gaps,
                use_yes_price=use_yes_price,
                queue_size=queue_size,
                workers=workers,
                name=name,
                timing=cls._timing,
            )
        )

    def _checked_books(self) -> Books:
        self._engine.store.check_fork()
        return self._books

    @property
    def _own_engine(self) -> Engine:
        """The engine; raises FeedForkedError in a child process, where it has neither threads nor sockets."""
        self._engine.store.check_fork()
        return self._engine

    # -- life ------------------------------------------------------------------------------------------------

    @property
    def state(self) -> FeedState:
        """IDLE, CONNECTING, CONNECTED, RECONNECTING, CLOSED or FAILED."""
        return self._own_engine.state

    @property
    def url(self) -> str:
        """The exchange's address without what may be secret in it; in a replay the recording's name."""
        return self._own_engine.peer

    @property
    def error(self) -> KalshiFeedError | None:
        """What the feed has FAILED with, None in every other state: a new copy each time, to look at or to
        raise."""
        fatal = self._own_engine.error
        return None if fatal is None else fatal.fresh()

    def start(self) -> KalshiFeed:
        """Start the threads and return the feed; does not wait for the connection. Also after close().
        Idempotent.

        Raises the fatal error of a feed that has FAILED (close() it first), FeedForkedError, and what the
        system says if it has no thread or descriptor to give (RuntimeError, OSError); nothing runs then. A
        close() that comes meanwhile wins.
        """
        self._engine.start()
        return self

    def wait_until_connected(self, timeout: float | None = None) -> KalshiFeed:
        """Wait for the handshake and return the feed. Raises WaitTimeout, the fatal error,
        FeedClosedError."""
        self._engine.wait_until_connected(timeout)
        return self

    def run_forever(self, signals: Iterable[int] = CLOSING_SIGNALS) -> None:
        """Start a feed that never was, and wait until it is closed. Raises the fatal error if it fails.

        Ctrl-C closes it. So do SIGTERM and SIGHUP (on Windows SIGBREAK) while this runs in the main thread,
        unless the program handles or ignores them; a second one ends the process. ``signals=()`` leaves them
        alone. Returns at once if the feed has been closed: a callback that closes it may be faster than this
        call. Raises ConfigurationError for signals that cannot be handled.
        """
        try:
            with closing(self._engine, signals) as scope:
                if self._engine.state is FeedState.IDLE:
                    self._engine.start()
                if not scope.is_asked:  # just before the start, which it did not keep from happening
                    self._engine.wait_until_ended()
        except KeyboardInterrupt:
            self.close()

    def closing_on_signals(self) -> AbstractContextManager[object]:
        """A block in which SIGTERM and SIGHUP (on Windows SIGBREAK) close the feed, for programs that do not
        run_forever().

        As in run_forever(): in the main thread, unless the program handles or ignores them. Waits end with
        FeedClosedError and streams end; the end of the block waits until the feed is closed. Without a signal
        the feed stays as it is. Raises FeedForkedError.
        """
        return closing(self._own_engine)

    def close(self, timeout: float = 5.0) -> None:
        """Close the connection and end the threads within ``timeout`` seconds. Idempotent; nothing to do in a
        child process.

        What is queued is still delivered, up to the timeout. May be called from any thread; from a callback
        or a signal handler it returns at once where it would have to wait for itself. Subscriptions and
        callbacks stay for the next start().
        """
        seconds = checked_timeout(timeout)
        self._engine.close(seconds if seconds is not None else math.inf)

    def __enter__(self) -> KalshiFeed:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    # -- subscribing -----------------------------------------------------------------------------------------

    def subscribe(
        self,
        channels: str | Iterable[str],
        market_tickers: str | Iterable[str] | None = None,
        *,
        market_ids: str | Iterable[str] | None = None,
        send_initial_snapshot: bool | None = None,
        skip_ticker_ack: bool | None = None,
        user_filter: str | None = None,
        shard_factor: int | None = None,
        shard_key: int | None = None,
        index_ids: str | Iterable[str] | None = None,
        underlying_tickers: str | Iterable[str] | None = None,
        allow_unknown: bool = False,
    ) -> Subscription:
        """Want these channels, of these markets (without any: of all, where the channel allows that).

        Never blocks; before or after start(), from any thread and from callbacks. The parameters are the
        exchange's own (PROTOCOL.md 3.1). Raises ConfigurationError, at once, for what cannot work, and says
        what to write instead.
        """
        self._engine.check()
        wanted_channels = channel_names(channels, allow_unknown=allow_unknown)
        given = {
            "market_tickers": market_tickers,
            "market_ids": market_ids,
            "index_ids": index_ids,
            "underlying_tickers": underlying_tickers,
        }
        selectors = {name: names(value, name) for name, value in given.items() if value is not None}
        if len(selectors) > 1:
            raise ConfigurationError(
                f"{' and '.join(selectors)} at once: the exchange takes one kind; make a subscription of each"
            )
        asked = {
            "send_initial_snapshot": send_initial_snapshot,
            "skip_ticker_ack": skip_ticker_ack,
            "user_filter": user_filter,
            "shard_factor": shard_factor,
            "shard_key": shard_key,
        }
        options = {name: value for name, value in asked.items() if value is not None}
        _check_options(options)
        selector, keys = next(iter(selectors.items()), (None, ()))
        want = Want(wanted_channels, selector, keys, options)
        self._engine.requests.subscribe(want)
        return Subscription(self._engine.requests, want)

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Every subscription that was not ended by unsubscribe()."""
        engine = self._own_engine
        wants = engine.requests.look(lambda: tuple(engine.wanted.wants))
        return tuple(Subscription(engine.requests, want) for want in wants)

    def list_subscriptions(self, timeout: float | None = None) -> tuple[tuple[str, int], ...]:
        """Ask the exchange which channels are open, as (channel, sid). Raises as every wait does."""
        self._engine.check()
        return self._engine.requests.list_subscriptions(timeout)

    # -- books and waiting -----------------------------------------------------------------------------------

    def book(self, market_ticker: str) -> OrderBook:
        """The market's one handle; PENDING if nobody has wanted its book yet."""
        self._engine.check()
        return self._engine.store.handle(_one_ticker(market_ticker))

    books = _BooksAttribute()
    """The wanted books by market ticker, a read-only mapping."""

    def wait_for_book(self, market_ticker: str, timeout: float | None = None) -> OrderBook:
        """Wait until the market's book is LIVE and return it; subscribes if nobody has.

        Raises WaitTimeout (it says what was missing), UnknownMarketError (the exchange answers that it knows
        no such market), StaleBookError (somebody unsubscribes meanwhile), SubscriptionError, the fatal error,
        FeedClosedError.
        """
        checked_timeout(timeout)
        ticker = _one_ticker(market_ticker)
        self._engine.check()
        return self._engine.requests.wait_for_book(ticker, timeout)

    # -- time ------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """What time it is, as an aware datetime (UTC): by the wall clock, in a replay the moment of the
        recording."""
        return self._own_engine.store.now()

    def sleep(self, seconds: float) -> None:
        """Wait for so long, in a replay of the recording's time; less if the feed is closed or its recording
        ends meanwhile.

        Raises FeedClosedError if it was closed before, and the fatal error.
        """
        if checked_timeout(seconds) is None:
            raise ConfigurationError(
                "sleep() takes a number of seconds; to wait for the end of the feed, call run_forever()"
            )
        self._engine.check()
        store = self._engine.store
        store.sleep_until(store.timer_ns() + round(seconds * 1e9))

    def every(self, seconds: float) -> Iterator[datetime]:
        """now(), again and again every ``seconds`` seconds, in a replay of the recording's time; ends when
        the feed does.

        If the loop's body takes longer, moments are left out. Raises ConfigurationError, and the fatal error.
        """
        _check_seconds("seconds", seconds)
        self._engine.check()
        return self._engine.store.every(max(round(seconds * 1e9), 1))

    def stepping_out(self) -> AbstractContextManager[None]:
        """With a replay of speed="wait": its time passes without this thread while the ``with`` block lasts;
        else nothing.

        For whatever blocks and is no wait for the feed: ``join()``, ``input()``, a queue that another thread
        fills.
        """
        return self._own_engine.store.stepping_out()

    # -- recording -------------------------------------------------------------------------------------------

    def record(
        self,
        path: str | os.PathLike[str],
        *,
        rotate_bytes: int | None = None,
        rotate_seconds: float | None = None,
    ) -> Recording:
        """Write every frame from now on to a new file, with its receive time in ns; KalshiFeed.replay() plays
        it.

        ``path`` ends in .ndjson, .ndjson.gz or .ndjson.zst (extra ``zstd``). ``rotate_bytes``,
        ``rotate_seconds``: after so much a next file begins, NAME.0002.ndjson.gz; each can be replayed by
        itself. Before or after start(); it ends with close() of either. A disk that is slow or full never
        disturbs the feed: what is missing is counted (``missed``) and told to on_error. Raises
        ConfigurationError: the file exists, cannot be made, or the feed is being recorded.
        """
        self._engine.check()
        self._engine.check_recordable()
        return Recording(self._engine, path, rotate_bytes=rotate_bytes, rotate_seconds=rotate_seconds).start()

    @property
    def replayed(self) -> float | None:
        """How much of its recording a replay has read, 0 to 1; None for a live feed."""
        return self._own_engine.progress

    # -- looking inside --------------------------------------------------------------------------------------

    def stats(self) -> FeedStats:
        """The feed's figures at this instant."""
        return self._own_engine.stats()

    def health(self) -> Health:
        """A verdict for load balancers: status "ok", "degraded" or "down", with reasons."""
        return self._own_engine.health()

    @property
    def _dispatcher(self) -> Delivery:  # type: ignore[override]
        self._engine.check()
        return self._engine.dispatcher

    def __repr__(self) -> str:
        # half made: a debugger shows it while its constructor refuses an argument
        if not hasattr(self, "_engine"):
            return "<KalshiFeed>"
        return (
            f"<KalshiFeed {self._engine.peer} "
            f"{'forked' if self._engine.store.forked else self._engine.state.value}>"
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "a KalshiFeed holds threads, a socket and a key: it cannot be pickled or copied; make a new one "
            "instead"
        )


def _one_ticker(market_ticker: object) -> str:
    if not isinstance(market_ticker, str):
        raise ConfigurationError(f"market_ticker must be one text, not {type(market_ticker).__name__}")
    return _checked_ticker(market_ticker)


@lru_cache(maxsize=4096)  # a callback asks for the same books again and again
def _checked_ticker(market_ticker: str) -> str:
    return names(market_ticker, "market_ticker")[0]


def _check_seconds(name: str, value: object) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or value <= 0
    ):
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")


def _check_options(options: Mapping[str, object]) -> None:
    """What the exchange would answer with errors 1, 11 and 19 to 22 (PROTOCOL.md 3.1), or JSON could not
    hold."""
    for name in ("send_initial_snapshot", "skip_ticker_ack"):
        if not isinstance(options.get(name, False), bool):
            raise ConfigurationError(f"{name} must be True or False, not {options[name]!r}")
    if options.get("user_filter", "") not in ("", "self"):
        raise ConfigurationError(f"user_filter must be 'self' or '', not {options['user_filter']!r}")
    factor = options.get("shard_factor", 1)
    if type(factor) is not int or not 1 <= factor <= 100:
        raise ConfigurationError(f"shard_factor must be a whole number from 1 to 100, not {factor!r}")
    key = options.get("shard_key", 0)
    if "shard_key" in options and "shard_factor" not in options:
        raise ConfigurationError("shard_key needs a shard_factor: how many parts the stream is split into")
    if type(key) is not int or not 0 <= key < factor:
        raise ConfigurationError(f"shard_key must be a whole number from 0 to {factor - 1}, not {key!r}")


def _forgotten(engine: Engine) -> None:
    """The last reference to a feed is gone while its threads run."""
    if engine.abandonable:
        engine.stop(time.monotonic())
        warnings.warn(
            f"a KalshiFeed for {engine.peer} was dropped without close()", ResourceWarning, stacklevel=2
        )


def _at_exit() -> None:
    deadline = time.monotonic() + _EXIT_TIMEOUT  # for all feeds together
    engines = list(_engines)
    for engine in engines:
        engine.stop(deadline)
    for engine in engines:
        engine.close(max(deadline - time.monotonic(), 0.0))


atexit.register(_at_exit)
