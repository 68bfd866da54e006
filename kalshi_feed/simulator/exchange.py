"""``Exchange``: a loopback exchange in a few threads. The face users import.

Owns the listening socket, the threads' lives, the files of key and CA. What the exchange says and does is in
``core`` and ``session``, what tests make it do in ``scripting``. Imports the package's ``credentials`` when
they are asked for.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from . import replay as replaying
from .accounts import Account, KeyType
from .certificates import Certificates
from .connection import Connection
from .core import PATH
from .generator import Generator, Mover
from .kept_keys import keys_in, write_private
from .lifecycle import Lifecycle
from .markets import Market
from .quoting import Quoting
from .references import References
from .scripting import Scripting
from .wire import WireMessage

if TYPE_CHECKING:
    from ..credentials import Credentials

CLOSE_SECONDS = 1.5  # connections get a second of it to end well
ACTIVITY_SHARE = 0.4  # of the pulses (5 a second) the account acts in
SUBPENNY_EVERY = 5  # every fifth market has a tick of 0.001 dollar


class Exchange(Scripting, Quoting, Lifecycle, References):
    """A loopback exchange that speaks Kalshi's feed protocol. Thread-safe; a context manager.

    ``markets``: tickers, or how many to make up (KXSIM-001 ...); they get two-sided books and move when
    ``rate`` (level changes per second over all of them) is above zero. ``seed`` makes books and moves
    repeatable, and picks the order in which commands that come together are answered (repeatable in any case;
    ``quirks.answers_in_order``). ``heartbeat``: seconds between pings. ``max_clock_skew``: how far, in
    seconds, a signed timestamp may be from the exchange's clock (the real tolerance is unknown).
    ``max_buffer``: bytes a connection may be behind before error 25 ends the subscription.
    ``account_activity``: while the markets move, the account places and cancels orders in them. ``keys``: a
    folder that keeps the account's key and the certificates, so that the next exchange made with it is the
    same one to its clients; ValueError if its files do not match.

    Attributes to change at any time: ``rate``, ``account_activity``, ``references_move`` (None: indices and
    underlyings move while ``rate`` is above zero), ``pings``, ``heartbeat``, ``clock_offset`` (seconds),
    ``max_clock_skew``, ``max_buffer``, ``quirks``; ``market_limit`` (markets one subscription may name, then
    error 26), ``command_limit`` (changes of one subscription per second, then error 27),
    ``tickers_per_command`` (then error 26), ``not_entitled`` (channels that draw error 9), ``dead_books``
    (markets whose deltas stop: no number is missing), ``mute_books`` (markets that get no snapshot).
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
        account, certificates = (
            (Account(key_type), Certificates()) if keys is None else keys_in(keys, key_type)
        )
        super().__init__(
            account=account,
            heartbeat=heartbeat,
            max_clock_skew=max_clock_skew,
            max_buffer=max_buffer,
            seed=seed,
        )
        self.rate = rate
        self.account_activity = account_activity
        self.paused = False
        self._host = host
        self._port = port
        self._tls = tls
        self._certificates = certificates
        self._mover = Mover(seed)
        # of what moves besides, so that the markets' moves stay repeatable
        self._chance = random.Random(seed)
        self._touched: dict[str, Market] = {}  # moved since their last ticker
        self._replays: list[replaying.Replay] = []
        self._running: _Running | None = None
        self._accepted = 0
        # Guards start and close against each other; they join threads under it, and nothing else takes it.
        self._lifecycle = threading.Lock()
        tickers = (
            [f"KXSIM-{number:03d}" for number in range(1, markets + 1)]
            if isinstance(markets, int)
            else markets
        )
        if isinstance(tickers, str):
            raise TypeError(f"markets must be a list of tickers or a number, not the text {tickers!r}")
        for number, ticker in enumerate(tickers, 1):
            market = Market(ticker, tick=100 if number % SUBPENNY_EVERY else 10, moving=True)
            self._mover.fill(market)
            self._list_market(market)

    # -- life ------------------------------------------------------------------------------------------------
    def start(self) -> Exchange:
        """Listen and serve; also after ``close``, on the same port. Returns itself. Raises OSError if the
        port is taken.
        """
        with self._lifecycle:
            if self._running is None:
                self._running = _Running(self, self._host, self._port)
                self._port = self._running.port
        return self

    def close(self) -> None:
        """Close every connection (code 1001) and end every thread, within two seconds. Idempotent."""
        with self._lifecycle:
            running, self._running = self._running, None
            if running is not None:
                running.close(time.monotonic() + CLOSE_SECONDS)

    def __enter__(self) -> Exchange:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._running is None else self.url
        return f"<Exchange {state}, {len(self._markets)} markets>"

    # -- how to reach it -------------------------------------------------------------------------------------
    @property
    def port(self) -> int:
        """The port it listens on; kept over ``close`` and ``start``. 0 before the first start."""
        return self._port

    @property
    def url(self) -> str:
        """``wss://127.0.0.1:PORT/trade-api/ws/v2``. Raises RuntimeError before the first start."""
        if not self._port:
            raise RuntimeError("the exchange has no port yet: call start() or use it in a with statement")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'wss' if self._tls else 'ws'}://{host}:{self._port}{PATH}"

    @property
    def api_key_id(self) -> str:
        """The key id of the account the exchange knows."""
        return self._account.api_key_id

    @property
    def private_key_pem(self) -> bytes:
        """Its private key, PEM."""
        return self._account.private_key_pem()

    @property
    def ca_pem(self) -> bytes:
        """The certificate of the exchange's own authority, PEM."""
        return self._certificates.ca_pem

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """A fresh client context that trusts this exchange's CA and no other."""
        return self._certificates.client_context()

    @property
    def credentials(self) -> Credentials:
        """The credentials of the account the exchange knows."""
        from ..credentials import Credentials

        return Credentials.from_pem(self.api_key_id, self.private_key_pem)

    def write_credentials(self, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write ``key.pem`` (mode 0600) and ``ca.pem`` into the folder (made if missing); returns their
        paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        key, ca = folder / "key.pem", folder / "ca.pem"
        with contextlib.suppress(FileNotFoundError):
            key.unlink()  # an old file would keep its mode
        write_private(key, self.private_key_pem)
        ca.write_bytes(self.ca_pem)
        return key, ca

    # -- movement --------------------------------------------------------------------------------------------
    def pause(self) -> None:
        """Stop the markets' own movement; when it returns nothing more is generated."""
        with self._step():
            self.paused = True
            self._send_tickers()

    def resume(self) -> None:
        """Let the markets move again."""
        with self.lock:
            self.paused = False

    def quiesce(self, timeout: float = 5.0) -> None:
        """``pause``, and wait until every frame is on its way. Raises TimeoutError."""
        self.pause()
        self.wait_until_sent(timeout)

    def _touch(self, market: Market) -> None:
        self._touched[market.ticker] = market

    def _send_tickers(self) -> None:
        for market in self._touched.values():
            self._ticker(market)
        self._touched.clear()

    def _pulse(self, beat: int) -> None:
        if self.paused:
            return
        if self.references_move if self.references_move is not None else self.rate > 0:
            self._move_references(self._chance, beat)
        if self.rate <= 0:
            return
        markets = self._moving() if self.account_activity else ()
        if markets and self._chance.random() < ACTIVITY_SHARE:
            self._act(self._chance, markets)

    def _moving(self) -> Sequence[Market]:
        return [market for market in self._markets.values() if market.moving]

    # -- replay ----------------------------------------------------------------------------------------------
    def replay(
        self,
        path: str | os.PathLike[str],
        *,
        speed: float | None = None,
        market_ticker: str | None = None,
        wait_for_subscriber: bool = True,
    ) -> replaying.Replay:
        """Serve a recording (``.ndjson``, ``.ndjson.gz``) as its markets; see ``replay`` for what is sent.

        ``speed``: None plays as fast as the slowest client reads, 1.0 in real time, 10.0 ten times as fast.
        ``market_ticker``: only that market of the file. ``wait_for_subscriber``: play the first frame when
        somebody has subscribed to the book or the trades of one of the markets; False plays at once. Raises
        OSError, ValueError.
        """
        if self._running is None:
            raise RuntimeError("the exchange is not running: call start() or use it in a with statement")
        if speed is not None and not speed > 0:
            raise ValueError(f"speed must be above zero or None, got {speed!r}")
        frames = replaying.read(path, market_ticker)
        markets = {}
        for ticker, market_id in replaying.tickers_of(frames):
            market = Market(ticker, market_id=market_id)
            market.status = "replayed"  # its book is the recording's: it takes no orders
            market.clock = None
            market.book = replaying.base_book(frames, ticker)
            markets[ticker] = market
        player = replaying.Replay(self, frames, markets, speed=speed, wait_for_subscriber=wait_for_subscriber)
        with self._step():
            for market in markets.values():
                self._list_market(market)
                self._publish_snapshot(market)
            self._replays.append(player)
        player.start()
        return player

    def _backlog(self) -> int:
        return max((item.buffered for item in self._open if not item.muted), default=0)

    def _heard(self, markets: Iterable[Market]) -> bool:
        return any(
            self._subscribed(channel, market)
            for market in markets
            for channel in ("orderbook_delta", "trade")
        )

    def _play(self, market: Market | None, channel: str, message: WireMessage) -> None:
        name = message.msg.get("index_id") or message.msg.get("underlying_ticker")
        for session, subscription in self._subscribed(channel, market):
            if name is None or subscription.wants_name(name):
                session.publish(subscription, message)


class _Running:
    """What exists between start and close: the listening socket and the threads. Owned by whoever starts and
    closes."""

    def __init__(self, exchange: Exchange, host: str, port: int) -> None:
        self._exchange = exchange
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._wake_in, self._wake_out = socket.socketpair()
        self._closing = False
        self._generator = Generator(exchange, exchange._mover)
        self._thread = threading.Thread(target=self._accept, name="kalshi-exchange-accept", daemon=True)
        self._thread.start()
        self._generator.thread.start()

    def _accept(self) -> None:
        exchange = self._exchange
        context = exchange._certificates.server_context if exchange._tls else None
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_in, selectors.EVENT_READ)
            while True:
                selector.select()
                if self._closing:
                    return
                try:
                    sock, _ = self._listener.accept()
                except OSError:
                    continue  # gone again, or out of descriptors: the next one may do
                exchange._accepted += 1
                connection = Connection(exchange, sock, context, exchange._accepted)
                with exchange.lock:
                    exchange._all.add(connection)
                connection.thread.start()

    def close(self, deadline: float) -> None:
        exchange = self._exchange
        self._closing = True
        self._wake_out.send(b"x")
        self._thread.join()
        self._listener.close()
        self._generator.stop()
        with exchange._step():
            connections = list(exchange._all)
            replays, exchange._replays = exchange._replays, []
            for connection in connections:
                connection.stop(1.0)
        for player in replays:
            player.stop(max(0.0, deadline - time.monotonic()))
        for connection in connections:
            connection.thread.join(max(0.0, deadline - time.monotonic()))
        self._generator.thread.join(max(0.0, deadline - time.monotonic()))
        self._wake_in.close()
        self._wake_out.close()
