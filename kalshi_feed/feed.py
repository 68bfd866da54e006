"""KalshiFeed: the face of the package. Checks arguments and delegates; has no other logic. Thread-safe."""

from __future__ import annotations

import atexit
import logging
import math
import os
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, overload

from .books.store import Books, OrderBook
from .by_type import ByType
from .callbacks import Callbacks
from .connection.context import check_context, default_context, weakness
from .connection.environment import (
    DEMO_URL,
    PRODUCTION_URL,
    RELAY_VARIABLE,
    exchange_context,
    exchange_url,
)
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
from .session.channels import channel_names, check_options, names
from .session.retry import ReconnectPolicy
from .session.timing import Timing
from .session.wanted import Want
from .stats import FeedStats, Health
from .subscription import Subscription
from .waiting import checked_timeout

if TYPE_CHECKING:
    import ssl

    from .following import Following
    from .messages.listed import Market
    from .rest import Rest

__all__ = ["DEMO_URL", "PRODUCTION_URL", "KalshiFeed"]

_MIB: Final = 1024 * 1024
_EXIT_TIMEOUT: Final = 1.5
_logger: Final = logging.getLogger("kalshi_feed")
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class _BooksAttribute:
    """The wanted books by market ticker, a read-only mapping.

    Not a property, because IPython does not evaluate properties to complete ``feed.books["``.
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

    ``credentials`` sign the handshake. ``url``: PRODUCTION_URL, DEMO_URL or another wss:// address (ws:// on
    loopback only). ``ssl_context``: an ssl.SSLContext; by default certifi's CAs and TLS 1.2 or newer.
    ``proxy``: "http://host:port"; by default the environment's (HTTPS_PROXY, NO_PROXY). ``reconnect``: when
    to dial again.

    ``connect_timeout``: seconds for a whole dial, from DNS to the upgrade. ``idle_timeout``: seconds without
    a single byte after which the connection counts as lost (the exchange pings every 10 s).
    ``max_message_size``: bytes, after inflating. ``compression``: ask the exchange to compress
    (permessage-deflate); if it does not, everything is as without.

    ``queue_size``: messages that may wait for callbacks. ``overflow``, when it is full: "drop_oldest" (a
    Lagged takes their place) or "block" (reading pauses: nothing is lost until the exchange gives up; while a
    callback itself waits for the feed, the queue may grow). ``workers``: threads for callbacks; each market's
    messages stay in order.

    ``use_yes_price``: how to ask the exchange for prices of the no side; books and messages read the same
    either way. ``name``: prefix of the threads' names.

    ``fill_gaps``: what was missed on ``trade`` and ``fill`` while the connection was lost, or in a gap, is
    fetched over REST and delivered like any other message, with ``source == "rest"``; orders and positions
    are read at the first connection and after each gap. True uses the feed's key and exchange; or pass a
    Rest. on_gap_filled reports each. Live trades of the gap's markets wait for it, at most ``fill_timeout``
    seconds (0: not at all), so that each market's trades are in order; what comes later is not.
    ``fill_since``: begin there (an aware datetime or Unix seconds), for example at the last trade stored
    before a restart. Needs the extra ``rest``.

    Raises ConfigurationError for arguments that cannot work.
    """

    _timing = Timing()

    @without_locals  # the url, the proxy, or anything passed as credentials by mistake
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
        compression: bool = False,
        use_yes_price: bool = True,
        name: str | None = None,
        fill_gaps: bool | Rest = False,
        fill_timeout: float = 2.0,
        fill_since: datetime | float | None = None,
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
                    "TLS verification is off for %s (allowed on loopback only): %s",
                    endpoint,
                    weakness(ssl_context),
                )
        # a bad proxy is refused now, not at three in the morning
        route = find_proxy(endpoint, proxy, os.environ)
        _check_seconds("connect_timeout", connect_timeout)
        _check_seconds("idle_timeout", idle_timeout)
        if (
            isinstance(max_message_size, bool)
            or not isinstance(max_message_size, int)
            or max_message_size < 1024
        ):
            raise ConfigurationError(
                f"max_message_size must be at least 1024 (bytes), not {max_message_size!r}"
            )
        for argument, value in (("compression", compression), ("use_yes_price", use_yes_price)):
            if not isinstance(value, bool):
                raise ConfigurationError(f"{argument} must be True or False, not {value!r}")
        if name is not None and (not isinstance(name, str) or not name):
            raise ConfigurationError(f"name must be a non-empty string, not {name!r}")
        engine = LiveEngine(
            credentials,
            endpoint,
            ssl_context=ssl_context
            if ssl_context is not None
            else default_context()
            if endpoint.is_secure
            else None,
            proxy=route,
            rest_proxy=None if proxy is None else route or "",
            policy=reconnect,
            connect_timeout=connect_timeout,
            idle_timeout=idle_timeout,
            max_message_size=max_message_size,
            compression=compression,
            use_yes_price=use_yes_price,
            queue_size=queue_size,
            overflow=overflow,
            workers=workers,
            name=name,
            timing=self._timing,
        )
        if fill_gaps is not False or fill_timeout != 2.0 or fill_since is not None:
            from .filling import fill_gaps as fill

            fill(engine, fill_gaps, fill_timeout, fill_since)
        self._run_by(engine)

    @classmethod
    def _of_engine(cls, engine: Engine) -> KalshiFeed:
        """Make a feed around an existing engine."""
        feed = cls.__new__(cls)
        feed._run_by(engine)
        return feed

    def _run_by(self, engine: Engine) -> None:
        self._engine = engine
        self._doubtful_types = set()
        self._books = Books(engine.store, engine.requests.shown_books, engine.requests.shows_book)
        _engines.add(engine)
        weakref.finalize(self, _forgotten, engine).atexit = False

    @classmethod
    @without_locals
    def from_env(cls, *, environ: Mapping[str, str] = os.environ, **overrides: Any) -> KalshiFeed:
        """Make a feed with the credentials and the exchange named by the environment.

        Reads what Credentials.from_env() reads; KALSHI_URL or, without it, KALSHI_ENV: "production" (the
        default) or "demo"; and KALSHI_CA_FILE, the certificates (PEM) to trust instead of certifi's.
        ``overrides`` are arguments of KalshiFeed; each wins over the environment. Raises ConfigurationError.

        KALSHI_RELAY=redis://… takes the place of all that: then the feed is a consumer of that relay, see
        from_relay(). KALSHI_RELAY_NAME, KALSHI_RELAY_PASSWORD or KALSHI_RELAY_PASSWORD_FILE, and
        KALSHI_RELAY_CA_FILE belong to it. A key as well, or an override that a consumer cannot have, raises
        ConfigurationError.
        """
        if environ.get(RELAY_VARIABLE):
            from .relay.environment import consumer_from

            return consumer_from(cls.from_relay, environ, overrides)
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
        """Make a feed that plays a recording, without a key or a connection: same callbacks, books and waits.

        ``path``: a file that record() wrote (the first of several plays them all, a numbered part plays
        alone), a list of files (plays exactly these), or a capture (lines of frames, or of ``{"recv_ms": …,
        "event": frame}``).

        It plays one message at a time, and runs its callbacks to their end before the next. So a callback
        finds every book exactly as it was at its own message, nothing is dropped, ``on_book`` gets every
        change, and ``queue_size`` and ``workers`` change nothing. A callback cannot wait for the feed
        (KalshiFeedError): it would wait for itself. subscribe() sends nothing; you get what was recorded.
        run_forever() returns at the end.

        ``speed``: 1 is the original speed, 10 is ten times as fast, "max" as fast as your callbacks are.
        "wait" is for programs that block: the recording's time passes only while every thread that has ever
        waited for the feed is waiting again, so that each of them sees every change, and timeouts are in that
        time. A thread leaves when it ends, or for a while with stepping_out(). At a set speed, steps of the
        recording machine's wall clock are not waited out, including those between the parts of a rotated
        recording; neither is the time between separate recordings.

        ``at``: callbacks and waits begin at this moment (an aware datetime, or seconds from the beginning);
        the books are right by then. ``until``: the replay ends before this moment. A moment before the
        beginning raises ConfigurationError here; an ``at`` after the end is noticed only there, and
        run_forever() raises it.

        ``gaps``: "strict" works as live does: missing numbers make books STALE; "ignore" is for captures that
        have only some of a subscription's markets. ``use_yes_price``: the setting that a capture was made
        with (default False); a recording knows its own. ``name``: prefix of the threads' names. Raises
        ConfigurationError.
        """
        if speed not in ("max", "wait") and not (type(speed) in (int, float) and 0 < speed < math.inf):  # type: ignore[operator]
            raise ConfigurationError(f"must be a positive number, 'max' or 'wait', not {speed!r}", "speed")
        for argument, moment in (("at", at), ("until", until)):
            if isinstance(moment, datetime) and moment.tzinfo is None:
                raise ConfigurationError(
                    "must be an aware datetime (with a tzinfo), or seconds after the beginning", argument
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

    @classmethod
    @without_locals  # the url or the password
    def from_relay(
        cls,
        url: str,
        *,
        name: str = "main",
        account: bool = False,
        password: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        silence: float = 2.0,
        remote: bool = True,
        queue_size: int = 65_536,
        workers: int = 1,
        overflow: Literal["drop_oldest", "block"] = "drop_oldest",
        thread_name: str | None = None,
    ) -> KalshiFeed:
        """Make a feed that gets everything from a relay over Redis, without a key: same callbacks, books and
        waits. See kalshi_feed.relay.

        ``url``: redis://, rediss:// or unix://, the one that the relay was given; ``name``: the relay's.
        ``password`` wins over the url's; ``ca_file``: certificates (PEM) to trust for rediss://. ``account``:
        also read the account channels that the relay has; Redis must permit it.

        It gets everything that its relay has. It asks the relay for all else that it subscribes to and
        follows, which the relay may refuse (SubscriptionError); ``remote=False`` asks for nothing.
        ``silence``: seconds (at least 1) without a word from the relay after which the books are STALE.
        ``queue_size``, ``workers`` and ``overflow`` are KalshiFeed's, ``thread_name`` is the prefix of the
        threads' names. Needs the extra ``redis``. Raises ConfigurationError for arguments that cannot work.
        """
        from .relay.consumer import ConsumerEngine

        return cls._of_engine(
            ConsumerEngine(
                url,
                name=name,
                account=account,
                password=password,
                ca_file=ca_file,
                silence=silence,
                remote=remote,
                queue_size=queue_size,
                workers=workers,
                overflow=overflow,
                thread_name=thread_name,
                timing=cls._timing,
            )
        )

    def _checked_books(self) -> Books:
        self._engine.store.check_fork()
        return self._books

    @property
    def _own_engine(self) -> Engine:
        """The engine. Raises FeedForkedError in a forked child, where it has neither threads nor sockets."""
        self._engine.store.check_fork()
        return self._engine

    # -- life ------------------------------------------------------------------------------------------------

    @property
    def state(self) -> FeedState:
        """IDLE, CONNECTING, CONNECTED, RECONNECTING, CLOSED or FAILED."""
        return self._own_engine.state

    @property
    def url(self) -> str:
        """The exchange's url, without parts that may be secret; in a replay, the recording's name."""
        return self._own_engine.peer

    @property
    def error(self) -> KalshiFeedError | None:
        """The fatal error of a feed that has FAILED, otherwise None; a new copy each time."""
        fatal = self._own_engine.error
        return None if fatal is None else fatal.fresh()

    def start(self) -> KalshiFeed:
        """Start the threads and return the feed, without waiting for the connection. Idempotent.

        A closed feed can be started again. Raises the fatal error of a feed that has FAILED (close() it
        first), FeedForkedError, and RuntimeError or OSError if the system has no thread or descriptor left;
        then nothing is running. A concurrent close() wins.
        """
        self._engine.start()
        return self

    def wait_until_connected(self, timeout: float | None = None) -> KalshiFeed:
        """Wait for the handshake and return the feed.

        ``timeout``: seconds; None waits indefinitely. Raises WaitTimeout, the fatal error, FeedClosedError.
        """
        self._engine.wait_until_connected(timeout)
        return self

    def run_forever(self, signals: Iterable[int] = CLOSING_SIGNALS) -> None:
        """Start the feed if it never ran, and wait until it is closed. Raises the fatal error if it fails.

        Ctrl-C closes it. So do SIGTERM and SIGHUP (on Windows SIGBREAK) while this runs in the main thread,
        unless the program handles or ignores them; a second one ends the process. ``signals=()`` leaves them
        alone. Returns at once if the feed was already closed: a callback that closes it may be faster than
        this call. Raises ConfigurationError for signals that cannot be handled.
        """
        try:
            with closing(self._engine, signals) as scope:
                if self._engine.state is FeedState.IDLE:
                    self._engine.start()
                if not scope.is_asked:  # a signal came just before the start, and did not prevent it
                    self._engine.wait_until_ended()
        except KeyboardInterrupt:
            self.close()

    def closing_on_signals(self) -> AbstractContextManager[object]:
        """Return a context manager in which SIGTERM and SIGHUP (on Windows SIGBREAK) close the feed.

        For programs that do not call run_forever(), and under the same conditions: in the main thread, unless
        the program handles or ignores the signals. Waits end with FeedClosedError, and streams end; the end
        of the block waits until the feed is closed. Without a signal, it stays open. Raises FeedForkedError.
        """
        return closing(self._own_engine)

    def close(self, timeout: float = 5.0) -> None:
        """Close the connection and end the threads within ``timeout`` seconds. Idempotent.

        Queued messages are still delivered, up to the timeout. Call it from any thread; from a callback or a
        signal handler it returns at once if it would have to wait for itself. In a forked child it does
        nothing. Subscriptions and callbacks stay for the next start().
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
        """Subscribe to these channels for these markets (without any: for all, if the channel allows that).

        Never blocks. Call it before or after start(), from any thread and from callbacks. The parameters are
        the exchange's own (PROTOCOL.md 3.1). Raises ConfigurationError at once for anything that cannot work,
        and says what to write instead.
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
                f"{' and '.join(selectors)} at once: the exchange accepts only one; subscribe separately"
            )
        asked = {
            "send_initial_snapshot": send_initial_snapshot,
            "skip_ticker_ack": skip_ticker_ack,
            "user_filter": user_filter,
            "shard_factor": shard_factor,
            "shard_key": shard_key,
        }
        options = {name: value for name, value in asked.items() if value is not None}
        check_options(options)
        selector, keys = next(iter(selectors.items()), (None, ()))
        want = Want(wanted_channels, selector, keys, options)
        self._engine.requests.subscribe(want)
        return Subscription(self._engine.requests, want)

    def follow(
        self,
        *,
        series: str | None = None,
        event: str | None = None,
        channels: str | Iterable[str] = ("orderbook_delta", "trade"),
        where: Callable[[Market], object] | None = None,
        lead: float = 5.0,
        linger: float = 60.0,
        limit: int | None = None,
        rest: Rest | None = None,
    ) -> Following:
        """Subscribe to the markets of a series or an event, whichever they are: open ones now, new ones
        ``lead`` seconds before they open, and closed ones until ``linger`` seconds after their close.

        Never blocks. on_market reports what happens to them, each change once, however many calls follow the
        same market; ``book.market`` is what is known about each. ``where(market)`` chooses among them; it
        runs on the feed's own thread, again whenever something about the market has changed, and one that
        raises means no. Nothing is subscribed while it runs, so it should return at once. ``limit``: only so
        many, those that close soonest. ``rest``: a Rest to list them with; by default one without a key, for
        the feed's exchange. Also subscribes to market_lifecycle_v2.

        In a replay it follows what the recorded feed followed, and asks nothing. Needs the extra ``rest``
        otherwise. Raises ConfigurationError at once for anything that cannot work, including the combos
        (KXMVE…), whose markets no one could follow one by one.
        """
        self._engine.check()
        from .following import follow

        return follow(
            self._engine,
            series=series,
            event=event,
            channels=channels,
            where=where,
            lead=lead,
            linger=linger,
            limit=limit,
            rest=rest,
        )

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """All subscriptions that were not ended by unsubscribe()."""
        engine = self._own_engine
        return tuple(Subscription(engine.requests, want) for want in engine.requests.own_wants())

    def list_subscriptions(self, timeout: float | None = None) -> tuple[tuple[str, int], ...]:
        """Ask the exchange which channels are open; return (channel, sid) pairs.

        ``timeout``: seconds; None waits indefinitely. Raises WaitTimeout, the fatal error, FeedClosedError.
        """
        self._engine.check()
        return self._engine.requests.list_subscriptions(timeout)

    # -- books and waiting -----------------------------------------------------------------------------------

    def book(self, market_ticker: str) -> OrderBook:
        """Return the market's one handle; its status is PENDING if the book was never subscribed."""
        self._engine.check()
        return self._engine.store.handle(_one_ticker(market_ticker))

    books = _BooksAttribute()
    """The subscribed books by market ticker, a read-only mapping."""

    def wait_for_book(self, market_ticker: str, timeout: float | None = None) -> OrderBook:
        """Wait until the market's book is LIVE and return it; subscribe to it if necessary.

        ``timeout`` is in seconds; None waits indefinitely. Raises WaitTimeout (which says what was missing),
        UnknownMarketError (the exchange says that it does not know the market), StaleBookError (unsubscribed
        meanwhile), SubscriptionError, the fatal error, FeedClosedError.
        """
        checked_timeout(timeout)
        ticker = _one_ticker(market_ticker)
        self._engine.check()
        return self._engine.requests.wait_for_book(ticker, timeout)

    # -- time ------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return the time as an aware datetime (UTC): the wall clock's, in a replay the recording's."""
        return self._own_engine.store.now()

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds`` (in a replay, the recording's), or until the feed or the recording ends.

        Raises FeedClosedError if the feed was closed before the call, and the fatal error.
        """
        if checked_timeout(seconds) is None:
            raise ConfigurationError(
                "sleep() needs a number of seconds; to wait for the end of the feed, call run_forever()"
            )
        self._engine.check()
        store = self._engine.store
        store.sleep_until(store.timer_ns() + round(seconds * 1e9))

    def every(self, seconds: float) -> Iterator[datetime]:
        """Return an iterator that gives now() every ``seconds`` seconds, until the feed ends.

        In a replay, the seconds are the recording's. If the loop's body takes longer, some moments are
        skipped. Raises ConfigurationError, and the fatal error.
        """
        _check_seconds("seconds", seconds)
        self._engine.check()
        return self._engine.store.every(max(round(seconds * 1e9), 1))

    def stepping_out(self) -> AbstractContextManager[None]:
        """Return a context manager in which a replay with speed="wait" does not wait for this thread.

        Use it around anything that blocks but does not wait for the feed: ``join()``, ``input()``, a queue
        that another thread fills. With any other feed it does nothing.
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
        """Write every frame from now on, with its receive time in ns, to a new file that replay() can play.

        ``path`` ends in .ndjson, .ndjson.gz or .ndjson.zst (extra ``zstd``). After ``rotate_bytes`` or
        ``rotate_seconds`` it goes on in a new file, NAME.0002.ndjson.gz and so on; each can be replayed by
        itself. Call it before or after start(); the recording ends with its own close() or the feed's. A slow
        or full disk never disturbs the feed: missing frames are counted (``missed``) and reported to
        on_error. Raises ConfigurationError if the file exists or cannot be created, or the feed is already
        being recorded.
        """
        self._engine.check()
        self._engine.check_recordable()
        return Recording(self._engine, path, rotate_bytes=rotate_bytes, rotate_seconds=rotate_seconds).start()

    @property
    def replayed(self) -> float | None:
        """How much of its recording a replay has read, from 0 to 1; None for a live feed."""
        return self._own_engine.progress

    # -- looking inside --------------------------------------------------------------------------------------

    def stats(self) -> FeedStats:
        """Return the feed's metrics now."""
        return self._own_engine.stats()

    def health(self) -> Health:
        """Return a verdict for load balancers: status "ok", "degraded" or "down", with reasons."""
        return self._own_engine.health()

    @property
    def _dispatcher(self) -> Delivery:  # type: ignore[override]
        self._engine.check()
        return self._engine.dispatcher

    def __repr__(self) -> str:
        # half constructed: a debugger shows it while the constructor refuses an argument
        if not hasattr(self, "_engine"):
            return "<KalshiFeed>"
        return (
            f"<KalshiFeed {self._engine.peer} "
            f"{'forked' if self._engine.store.forked else self._engine.state.value}>"
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "a KalshiFeed cannot be pickled or copied, because it holds threads, a socket and a key; "
            "make a new one"
        )


def _one_ticker(market_ticker: object) -> str:
    if not isinstance(market_ticker, str):
        raise ConfigurationError(f"market_ticker must be a string, not {type(market_ticker).__name__}")
    return _checked_ticker(market_ticker)


@lru_cache(maxsize=4096)  # callbacks ask for the same books again and again
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


def _forgotten(engine: Engine) -> None:
    """Called when the last reference to a feed is gone; warns if its threads still run."""
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
