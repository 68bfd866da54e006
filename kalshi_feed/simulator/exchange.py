"""``Exchange``: a loopback exchange in a few threads. This is what users import.

Owns the parts and puts them together; each part owns what it does:

    part              class          module             what it does
    ---------------   ------------   ----------------   ---------------------------------------------------
    _market_control   MarketControl  market_control     markets and books as a test sets them
    _trading          Trading        trading            the account's orders, fills, positions, order groups
    _quoting          Quoting        quoting            RFQs, quotes and batches
    _lifecycle        Lifecycle      lifecycle          the lives of markets and events
    _references       References     references         indices and underlyings
    _scripting        Scripting      scripting          faults, frames and ends of connections
    _reception        Reception      reception          handshakes and commands, and scripted answers to them
    _movement         Movement       movement           what moves by itself
    _replays          Replays        replay             recordings that are played
    _series           SeriesRuns     series             series whose markets open and close by the clock
    _rest             RestService    rest_service       REST, on the same port

They are built on ``Core`` (lock, clock, connections), ``Listing`` (which markets there are) and ``Matching``
(the account's orders in the books). They use each other's public methods only, and get what they need when
they are made.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from .accounts import Account, KeyType
from .certificates import Certificates
from .core import Core
from .history import History
from .http_wire import PREFIX
from .kept_keys import keys_in, write_private
from .lifecycle import Lifecycle
from .listing import Listing
from .market_control import MarketControl
from .matching import Matching
from .movement import Movement
from .portfolio import Portfolio
from .quoting import Quoting
from .reception import PATH, Handshake, Reception
from .references import References
from .replay import Replay, Replays
from .rest_service import RestRequest, RestService, RestUsage
from .scripting import Scripting
from .series import SeriesRun, SeriesRuns, Timetable
from .serving import Serving
from .settings import ExchangeSettings
from .trading import Trading

if TYPE_CHECKING:
    from ..credentials import Credentials

CLOSE_SECONDS = 1.5
SUBPENNY_EVERY = 5  # every fifth market has a tick of 0.001 dollar

_Part = TypeVar("_Part")
_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


def _delegate(
    part: Callable[[Exchange], _Part], method: Callable[Concatenate[_Part, _Params], _Result]
) -> Callable[Concatenate[Exchange, _Params], _Result]:
    """A method of the exchange that calls this method of one of its parts; it has its signature and its
    docstring."""

    @functools.wraps(method)
    def delegating(exchange: Exchange, /, *args: _Params.args, **kwargs: _Params.kwargs) -> _Result:
        return method(part(exchange), *args, **kwargs)

    delegating.__qualname__ = f"Exchange.{method.__name__}"
    return delegating


class Exchange(ExchangeSettings):
    """A loopback exchange that speaks Kalshi's feed protocol. Thread-safe; a context manager.

    ``markets``: tickers, or how many to make up (KXSIM-001 ...). They get two-sided books, which move when
    ``rate`` (level changes per second over all of them) is above zero. ``seed`` makes books and moves
    repeatable, and picks the order in which commands that arrive together are answered (repeatable in any
    case; ``quirks.answers_in_order``). ``heartbeat``: seconds between pings. ``max_clock_skew``: how many
    seconds a signed timestamp may be off the exchange's clock (the real tolerance is unknown).
    ``max_buffer``: bytes a connection may be behind before error 25 ends the subscription.
    ``account_activity``: while the markets move, the account places and cancels orders in them. ``keys``: a
    folder that keeps the account's key and the certificates, so that the next exchange made with it looks the
    same to its clients; ValueError if its files do not match.

    The attributes of ``ExchangeSettings`` can be changed at any time: ``rate``, ``account_activity``,
    ``references_move``, ``pings``, ``heartbeat``, ``clock_offset``, ``max_clock_skew``, ``max_buffer``,
    ``compression``, ``quirks``, ``market_limit``, ``command_limit``, ``tickers_per_command``,
    ``not_entitled``, ``dead_books``, ``mute_books``, ``rest_tier``, ``rest_tokens``, ``rest_lag``,
    ``rest_delay``, ``rest_down``, ``rest_cursor_seconds``, ``rest_trades_seconds``, ``exchange_active``,
    ``trading_active``.

    In all methods, prices are dollars and sizes contracts, as str, Decimal or int; ``connection`` is the
    index of one connection (0 for the first that was ever accepted; LookupError if it is not open), and None
    means all open ones.
    """

    def __init__(
        self,
        markets: Iterable[str] | int = 0,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rate: float = 0.0,
        seed: int | None = None,
        heartbeat: float = 10.0,
        max_clock_skew: float = 10.0,
        key_type: KeyType = "rsa",
        tls: bool = True,
        max_buffer: int = 64 * 1024 * 1024,
        account_activity: bool = False,
        keys: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            rate=rate,
            account_activity=account_activity,
            heartbeat=heartbeat,
            max_clock_skew=max_clock_skew,
            max_buffer=max_buffer,
            seed=seed,
        )
        self._account, self._certificates = (
            (Account(key_type), Certificates()) if keys is None else keys_in(keys, key_type)
        )
        self._host = host
        self._port = port
        self._tls = tls
        # between start and close; guarded by _life
        self._serving: Serving | None = None
        self._numbers = itertools.count(1)  # of the connections, over all runs
        # Guards start and close against each other; they join threads under it, and nothing else takes it.
        self._life = threading.Lock()

        # The parts. They know the exchange itself as its settings only.
        self._core = core = Core(self)
        history = History(core)
        self._listing = listing = Listing(core, history)
        portfolio = Portfolio()
        matching = Matching(core, listing, portfolio, history)
        self._market_control = MarketControl(core, listing, matching)
        self._trading = Trading(core, listing, matching, portfolio)
        self._quoting = Quoting(core, listing, matching, portfolio)
        self._lifecycle = Lifecycle(core, listing, matching)
        self._references = References(core)
        self._rest = RestService(core, listing, history, self._account)
        self._reception = Reception(core, listing, self._references, self._account, self._rest)
        self._scripting = Scripting(core, self._reception)
        self._movement = Movement(core, listing, matching, self._references, seed)
        self._replays = Replays(core, listing, matching)
        self._series = SeriesRuns(core, listing, self._market_control, self._lifecycle, self._movement)

        if isinstance(markets, str):
            raise TypeError(f"markets must be a list of tickers or a number, not the string {markets!r}")
        if isinstance(markets, int):
            markets = [f"KXSIM-{number:03d}" for number in range(1, markets + 1)]
        for number, ticker in enumerate(markets, 1):
            self._movement.add_moving_market(ticker, tick=100 if number % SUBPENNY_EVERY else 10)

    # -- life ------------------------------------------------------------------------------------------------
    def start(self) -> Exchange:
        """Listen and serve; after ``close`` it starts again on the same port. Returns itself.

        Raises OSError if the port is taken.
        """
        with self._life:
            if self._serving is None:
                context = self._certificates.server_context if self._tls else None
                address = (self._host, self._port)
                self._serving = Serving(
                    self._core, self._reception, self._movement, address, context, self._numbers
                )
                self._port = self._serving.port
        return self

    def close(self) -> None:
        """Close every connection (code 1001) and end every thread, within two seconds. Idempotent."""
        with self._life:
            serving, self._serving = self._serving, None
            if serving is not None:
                serving.close((self._series, self._replays), time.monotonic() + CLOSE_SECONDS)

    def __enter__(self) -> Exchange:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._serving is None else self.url
        return f"<Exchange {state}, {len(self.market_tickers)} markets>"

    # -- how to reach it -------------------------------------------------------------------------------------
    @property
    def port(self) -> int:
        """The port it listens on; the same after ``close`` and ``start``. 0 before the first start."""
        return self._port

    @property
    def url(self) -> str:
        """``wss://127.0.0.1:PORT/trade-api/ws/v2``. Raises RuntimeError before the first start."""
        if not self._port:
            raise RuntimeError("the exchange has no port yet: call start() or use it in a with statement")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'wss' if self._tls else 'ws'}://{host}:{self._port}{PATH}"

    @property
    def rest_url(self) -> str:
        """``https://127.0.0.1:PORT/trade-api/v2``. Raises RuntimeError before the first start."""
        scheme, _, rest = self.url.partition("://")
        return f"{'https' if scheme == 'wss' else 'http'}://{rest.removesuffix(PATH)}{PREFIX}"

    @property
    def api_key_id(self) -> str:
        """The key id of the exchange's one account."""
        return self._account.api_key_id

    @property
    def private_key_pem(self) -> bytes:
        """The account's private key, PEM."""
        return self._account.private_key_pem()

    @property
    def ca_pem(self) -> bytes:
        """The certificate of the exchange's own authority, PEM."""
        return self._certificates.ca_pem

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """A new client context that trusts this exchange's CA and no other."""
        return self._certificates.client_context()

    @property
    def credentials(self) -> Credentials:
        """The account's credentials."""
        from ..credentials import Credentials

        return Credentials.from_pem(self.api_key_id, self.private_key_pem)

    def write_credentials(self, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write ``key.pem`` (mode 0600) and ``ca.pem`` into the folder, which is made if it is missing.

        Returns their paths. Raises OSError.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        key, ca = folder / "key.pem", folder / "ca.pem"
        with contextlib.suppress(FileNotFoundError):
            key.unlink()  # an old file would keep its mode
        write_private(key, self.private_key_pem)
        ca.write_bytes(self.ca_pem)
        return key, ca

    def now_us(self) -> int:
        """The exchange's time in microseconds since 1970; ``clock_offset`` is part of it."""
        return self._core.now_us()

    # -- movement and replay ---------------------------------------------------------------------------------
    def pause(self) -> None:
        """Stop everything that moves by itself: once this returns, nothing more is generated."""
        self._movement.pause()
        self._series.wait_for_beat()

    resume = _delegate(lambda exchange: exchange._movement, Movement.resume)

    @property
    def paused(self) -> bool:
        """Whether ``pause`` has stopped everything that moves by itself."""
        return self._movement.paused

    def quiesce(self, timeout: float = 5.0) -> None:
        """``pause``, and wait until every frame is on its way. Raises TimeoutError."""
        self.pause()
        self.wait_until_sent(timeout)

    def replay(
        self,
        path: str | os.PathLike[str],
        *,
        speed: float | None = None,
        market_ticker: str | None = None,
        wait_for_subscriber: bool = True,
    ) -> Replay:
        """Serve a recording (``.ndjson``, ``.ndjson.gz``) as markets of its own.

        A frame's fields go out as they were recorded; sid, seq and the sending time are new. ``speed``: None
        plays as fast as the slowest client reads, 1.0 in real time, 10.0 ten times as fast.
        ``market_ticker``: only that market of the file. ``wait_for_subscriber``: play the first frame once a
        client has subscribed to the book or the trades of one of the markets; False plays at once. Raises
        OSError, ValueError, RuntimeError if the exchange is not running.
        """
        self._need_running()
        return self._replays.start(path, speed, market_ticker, wait_for_subscriber)

    def run_series(
        self,
        series_ticker: str,
        *,
        every: float = 5.0,
        length: float | None = None,
        markets: int = 1,
        ahead: float | None = None,
        determine_after: float = 0.5,
        settle_after: float = 1.0,
        pace: float = 10.0,
        rounds: int | None = None,
    ) -> SeriesRun:
        """Have ``markets`` markets of a series open every ``every`` seconds, by the exchange's clock.

        They are created ``ahead`` seconds before (by default ``every``; the first at once, and they open with
        the next second), close after ``length`` seconds (``every``) without a message, are determined and
        settled so many seconds after that, and move while they are open, ``pace`` changes a second each, and
        trade at least once. ``rounds``: how many times; None goes on until the exchange closes. ``pause``
        also stops a series. Times on the wire are whole seconds, so ``every`` and ``length`` should be, too;
        ``every=3, markets=10, rounds=20`` makes 200 markets in a minute. The last 1,000 settled markets stay
        listed. Raises ValueError, and RuntimeError if the exchange is not running.
        """
        self._need_running()
        return self._series.start(
            Timetable(
                series_ticker,
                every,
                every if length is None else length,
                markets,
                every if ahead is None else ahead,
                determine_after,
                settle_after,
                pace,
                rounds,
            )
        )

    def _need_running(self) -> None:
        if self._serving is None:
            raise RuntimeError("the exchange is not running: call start() or use it in a with statement")

    # -- markets ---------------------------------------------------------------------------------------------
    add_market = _delegate(lambda exchange: exchange._market_control, MarketControl.add_market)
    remove_market = _delegate(lambda exchange: exchange._market_control, MarketControl.remove_market)
    set_book = _delegate(lambda exchange: exchange._market_control, MarketControl.set_book)
    settle = _delegate(lambda exchange: exchange._market_control, MarketControl.settle)
    snapshot = _delegate(lambda exchange: exchange._market_control, MarketControl.snapshot)
    change = _delegate(lambda exchange: exchange._market_control, MarketControl.change)
    ticker = _delegate(lambda exchange: exchange._market_control, MarketControl.ticker)
    book = _delegate(lambda exchange: exchange._market_control, MarketControl.book)
    books = _delegate(lambda exchange: exchange._market_control, MarketControl.books)
    watch = _delegate(lambda exchange: exchange._market_control, MarketControl.watch)

    @property
    def market_tickers(self) -> tuple[str, ...]:
        """Every market of the exchange."""
        return self._market_control.market_tickers

    # -- lives of markets and events -------------------------------------------------------------------------
    create_market = _delegate(lambda exchange: exchange._lifecycle, Lifecycle.create_market)
    open_market = _delegate(lambda exchange: exchange._lifecycle, Lifecycle.open_market)
    deactivate = _delegate(lambda exchange: exchange._lifecycle, Lifecycle.deactivate)
    activate = _delegate(lambda exchange: exchange._lifecycle, Lifecycle.activate)
    update_close = _delegate(lambda exchange: exchange._lifecycle, Lifecycle.update_close)
    determine = _delegate(lambda exchange: exchange._lifecycle, Lifecycle.determine)
    settle_market = _delegate(lambda exchange: exchange._lifecycle, Lifecycle.settle_market)
    update_price_levels = _delegate(lambda exchange: exchange._lifecycle, Lifecycle.update_price_levels)
    update_metadata = _delegate(lambda exchange: exchange._lifecycle, Lifecycle.update_metadata)
    create_event = _delegate(lambda exchange: exchange._lifecycle, Lifecycle.create_event)
    update_event_fees = _delegate(lambda exchange: exchange._lifecycle, Lifecycle.update_event_fees)

    # -- the account -----------------------------------------------------------------------------------------
    place_order = _delegate(lambda exchange: exchange._trading, Trading.place_order)
    cancel_order = _delegate(lambda exchange: exchange._trading, Trading.cancel_order)
    amend_order = _delegate(lambda exchange: exchange._trading, Trading.amend_order)
    decrease_order = _delegate(lambda exchange: exchange._trading, Trading.decrease_order)
    trade = _delegate(lambda exchange: exchange._trading, Trading.trade)
    take = _delegate(lambda exchange: exchange._trading, Trading.take)
    fill = _delegate(lambda exchange: exchange._trading, Trading.fill)
    create_order_group = _delegate(lambda exchange: exchange._trading, Trading.create_order_group)
    update_order_group_limit = _delegate(lambda exchange: exchange._trading, Trading.update_order_group_limit)
    trigger_order_group = _delegate(lambda exchange: exchange._trading, Trading.trigger_order_group)
    reset_order_group = _delegate(lambda exchange: exchange._trading, Trading.reset_order_group)
    delete_order_group = _delegate(lambda exchange: exchange._trading, Trading.delete_order_group)

    @property
    def orders(self) -> list[dict[str, Any]]:
        """The account's orders as user_order messages, oldest first (only the last few thousand finished)."""
        return self._trading.orders

    @property
    def fills(self) -> list[dict[str, Any]]:
        """The account's last 10,000 fills, oldest first, even those that no client was subscribed to."""
        return self._trading.fills

    @property
    def positions(self) -> list[dict[str, Any]]:
        """The account's positions as market_position messages."""
        return self._trading.positions

    # -- requests and quotes ---------------------------------------------------------------------------------
    create_rfq = _delegate(lambda exchange: exchange._quoting, Quoting.create_rfq)
    delete_rfq = _delegate(lambda exchange: exchange._quoting, Quoting.delete_rfq)
    quote = _delegate(lambda exchange: exchange._quoting, Quoting.quote)
    accept = _delegate(lambda exchange: exchange._quoting, Quoting.accept)
    execute = _delegate(lambda exchange: exchange._quoting, Quoting.execute)
    create_rfq_batch = _delegate(lambda exchange: exchange._quoting, Quoting.create_rfq_batch)
    batch_rfq_ids = _delegate(lambda exchange: exchange._quoting, Quoting.batch_rfq_ids)
    delete_rfq_batch = _delegate(lambda exchange: exchange._quoting, Quoting.delete_rfq_batch)
    quote_batch = _delegate(lambda exchange: exchange._quoting, Quoting.quote_batch)
    accept_batch = _delegate(lambda exchange: exchange._quoting, Quoting.accept_batch)
    execute_batch = _delegate(lambda exchange: exchange._quoting, Quoting.execute_batch)

    # -- reference values ------------------------------------------------------------------------------------
    publish_index = _delegate(lambda exchange: exchange._references, References.publish_index)
    publish_underlying = _delegate(lambda exchange: exchange._references, References.publish_underlying)

    # -- faults of frames, sending ---------------------------------------------------------------------------
    lose = _delegate(lambda exchange: exchange._scripting, Scripting.lose)
    duplicate = _delegate(lambda exchange: exchange._scripting, Scripting.duplicate)
    swap = _delegate(lambda exchange: exchange._scripting, Scripting.swap)
    corrupt = _delegate(lambda exchange: exchange._scripting, Scripting.corrupt)
    restart_seq = _delegate(lambda exchange: exchange._scripting, Scripting.restart_seq)
    send = _delegate(lambda exchange: exchange._scripting, Scripting.send)
    send_raw = _delegate(lambda exchange: exchange._scripting, Scripting.send_raw)
    send_bytes = _delegate(lambda exchange: exchange._scripting, Scripting.send_bytes)
    error = _delegate(lambda exchange: exchange._scripting, Scripting.error)
    end_subscription = _delegate(lambda exchange: exchange._scripting, Scripting.end_subscription)

    # -- faults of connections -------------------------------------------------------------------------------
    reset = _delegate(lambda exchange: exchange._scripting, Scripting.reset)
    disconnect = _delegate(lambda exchange: exchange._scripting, Scripting.disconnect)
    close_connections = _delegate(lambda exchange: exchange._scripting, Scripting.close_connections)
    silence = _delegate(lambda exchange: exchange._scripting, Scripting.silence)
    freeze = _delegate(lambda exchange: exchange._scripting, Scripting.freeze)
    thaw = _delegate(lambda exchange: exchange._scripting, Scripting.thaw)

    # -- REST ------------------------------------------------------------------------------------------------
    refuse_rest = _delegate(lambda exchange: exchange._rest, RestService.refuse_rest)
    break_rest = _delegate(lambda exchange: exchange._rest, RestService.break_rest)
    expire_rest_cursors = _delegate(lambda exchange: exchange._rest, RestService.expire_rest_cursors)
    rest_trade_id = _delegate(lambda exchange: exchange._rest, RestService.rest_trade_id)
    wait_for_rest_requests = _delegate(lambda exchange: exchange._rest, RestService.wait_for_rest_requests)

    @property
    def rest_requests(self) -> dict[str, int]:
        """How many REST requests have arrived, by endpoint (``/markets/{ticker}``; ``?``: an unknown one)."""
        return self._rest.rest_requests

    @property
    def rest_log(self) -> list[RestRequest]:
        """The last 10,000 REST requests, in order."""
        return self._rest.rest_log

    @property
    def rest_usage(self) -> RestUsage:
        """How close to the tier's limit the REST requests came."""
        return self._rest.rest_usage

    @property
    def trades(self) -> list[dict[str, Any]]:
        """The last 100,000 trades as REST writes them, oldest first, even those that no client was subscribed
        to."""
        return self._rest.trades

    # -- handshakes and commands -----------------------------------------------------------------------------
    reject_next = _delegate(lambda exchange: exchange._reception, Reception.reject_next)
    refuse_commands = _delegate(lambda exchange: exchange._reception, Reception.refuse_commands)
    ignore_commands = _delegate(lambda exchange: exchange._reception, Reception.ignore_commands)
    end_before_subscribed = _delegate(lambda exchange: exchange._reception, Reception.end_before_subscribed)

    def behave(self) -> None:
        """End every armed fault, scripted answer and silence, and let pings, deltas, snapshots and REST
        answers go out again."""
        with self._core.step():
            self.pings = True
            self.rest_down, self.rest_delay = None, 0.0
            self.dead_books = self.mute_books = ()
            self._reception.behave_locked()
            self._scripting.behave_locked()

    # -- looking ---------------------------------------------------------------------------------------------
    forget = _delegate(lambda exchange: exchange._reception, Reception.forget)
    wait_for_command = _delegate(lambda exchange: exchange._reception, Reception.wait_for_command)
    wait_for_handshakes = _delegate(lambda exchange: exchange._reception, Reception.wait_for_handshakes)
    wait_for_connections = _delegate(lambda exchange: exchange._scripting, Scripting.wait_for_connections)
    wait_until_sent = _delegate(lambda exchange: exchange._scripting, Scripting.wait_until_sent)

    @property
    def commands(self) -> list[dict[str, Any]]:
        """Every command received, in order, with ``connection`` (its index); one that is not a JSON object is
        under ``raw``."""
        return self._reception.commands

    @property
    def handshakes(self) -> list[Handshake]:
        """Every upgrade request answered, in order."""
        return self._reception.handshakes

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._scripting.connections

    @property
    def subscriptions(self) -> list[dict[str, Any]]:
        """The open subscriptions: connection, channel, sid, seq (the last one used), market_tickers (None:
        all), use_yes_price."""
        return self._scripting.subscriptions

    @property
    def lost(self) -> int:
        """How many frames ``lose`` has swallowed so far."""
        return self._scripting.lost

    @property
    def pongs(self) -> int:
        """Pongs received from clients."""
        return self._scripting.pongs

    @property
    def pings_received(self) -> int:
        """Pings received from clients."""
        return self._scripting.pings_received
