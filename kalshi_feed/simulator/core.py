"""The heart of the exchange: markets, connections, and everything that happens to them.

Owns the one lock of the simulator and the truth: a change to a book and the numbering of the frames that tell
of it are one step under it. Sockets and threads are the connections' affair. Imports connection, session,
reordering, markets, accounts and wire.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import commands as command_reading
from .accounts import KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, Account
from .connection import Connection, Refusal
from .markets import Change, Market
from .portfolio import Order
from .reordering import PendingCommand, reordered, touched_by
from .session import Quirks, ServerSession
from .subscriptions import OpenChannel
from .wire import WireMessage, encode_json

PATH = "/trade-api/ws/v2"

Listeners = list[tuple[ServerSession, OpenChannel]]
Watcher = Callable[[Market, Change | None], None]


@dataclass(frozen=True)
class Handshake:
    """One upgrade request the exchange has answered. The signature itself is not kept."""

    path: str
    headers: Mapping[str, str]  # by upper-case name, without the signature
    api_key_id: str
    timestamp_ms: str  # the header's text
    signature_sha256: str  # "" if there was none
    status: int  # 101 or what it was refused with


@dataclass
class _Answer:
    """How the next commands of a kind are answered: with an error, or (code None) not at all."""

    cmd: str | None
    code: int | None
    text: str | None
    remaining: int | None


class Core:
    """Thread-safe. Its own methods with a leading underscore run under ``lock``, but ``_step`` and
    ``_wait_for``."""

    def __init__(
        self, *, account: Account, heartbeat: float, max_clock_skew: float, max_buffer: int, seed: int | None
    ) -> None:
        # Guards markets, sessions, numbers and outboxes. Only arithmetic and encoding under it; connections
        # are woken after it is released (``_step``), and waiting is done on ``changed`` alone.
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.heartbeat = heartbeat
        self.pings = True
        self.max_clock_skew = max_clock_skew
        self.max_buffer = max_buffer
        # of the order in which each connection's commands are answered; None is as repeatable as a number
        self.seed = seed
        self.clock_offset = 0.0
        self.quirks = Quirks()
        self.market_limit: int | None = None  # markets one subscription may name, then error 26
        self.tickers_per_command: int | None = None  # markets one command may name, then error 26
        self.command_limit: int | None = None  # changes of one subscription per second, then error 27
        self.not_entitled: Collection[str] = ()  # channels that draw error 9
        self.dead_books: Collection[str] = ()  # markets whose changes draw no delta, and take no number
        self.mute_books: Collection[str] = ()  # markets that get no snapshot
        # by channel, the errors that end its next ones before their ``subscribed``
        self.early_ends: dict[str, list[int]] = {}
        self._account = account
        self._markets: dict[str, Market] = {}
        self._by_id: dict[str, Market] = {}
        self._open: list[Connection] = []  # after the upgrade
        self._all: set[Connection] = set()  # from accept to the end of the thread
        self._opened = 0
        self._commands: list[dict[str, Any]] = []
        self._handshakes: list[Handshake] = []
        self._rejections: list[Refusal] = []
        self._answers: list[_Answer] = []
        self._lost = self._pongs = self._pings_received = 0  # of connections that have ended
        self._watcher: Watcher | None = None

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """One change to the exchange, under the lock; then the connections with something to send are
        woken."""
        with self.lock:
            yield
            awake = [connection for connection in self._all if connection.dirty]
        for connection in awake:
            connection.wake()

    def _wait_for(self, predicate: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait (without the lock) until the predicate, asked under it, is true. Raises TimeoutError."""
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                raise TimeoutError(f"the exchange waited {timeout:g} s for {what}")

    # -- what connections and sessions ask -------------------------------------------------------------------
    def now_us(self) -> int:
        """The exchange's idea of the time, in microseconds since 1970."""
        return time.time_ns() // 1000 + int(self.clock_offset * 1e6)

    def find_market(self, ticker: str) -> Market | None:
        """The market of this ticker, if there is one (with the lock)."""
        return self._markets.get(ticker)

    def find_market_by_id(self, market_id: str) -> Market | None:
        """The market of this id, if there is one (with the lock)."""
        return self._by_id.get(market_id)

    def reference_names(self, channel: str) -> list[str]:
        """What an index or underlying channel offers; none here (see ``references``)."""
        return []

    def admit(self, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """Whether an upgrade request is let in (without the lock)."""
        with self.lock:
            if self._rejections:
                return self._rejections.pop(0)
        path = path.partition("?")[0]
        if path != PATH:
            return Refusal(404, body=b"404 page not found\n")
        now_ms = self.now_us() // 1000
        details = self._account.refusal(headers, path, now_ms, self.max_clock_skew * 1000)
        if details is not None:
            body = encode_json({"code": "authentication_error", "details": details})
            return Refusal(401, {"Content-Type": "application/json"}, body)
        if "ORIGIN" in headers:
            return Refusal(403, {"Sec-Websocket-Version": "13"}, b"Forbidden\n")
        return None

    def handshaken(self, path: str, headers: Mapping[str, str], status: int) -> None:
        """An upgrade request was answered (without the lock)."""
        signature = headers.get(SIGNATURE_HEADER, "")
        record = Handshake(
            path,
            {name: value for name, value in headers.items() if name != SIGNATURE_HEADER},
            headers.get(KEY_HEADER, ""),
            headers.get(TIMESTAMP_HEADER, ""),
            hashlib.sha256(signature.encode()).hexdigest() if signature else "",
            status,
        )
        with self.changed:
            self._handshakes.append(record)
            self.changed.notify_all()

    def opened(self, connection: Connection, answer: bytes) -> None:
        """A connection stands: its answer goes out first (without the lock)."""
        with self.changed:
            connection.index = self._opened
            self._opened += 1
            self._open.append(connection)
            connection.queue(answer)
            self.changed.notify_all()

    def ended(self, connection: Connection) -> None:
        """A connection is over (without the lock)."""
        with self.changed:
            self._all.discard(connection)
            if connection in self._open:
                self._open.remove(connection)
            self._lost += connection.faults.lost
            self._pongs += connection.pongs
            self._pings_received += connection.pings_received
            self.changed.notify_all()

    def drained(self, connection: Connection) -> None:
        """A connection has nothing more to send (with the lock)."""
        self.changed.notify_all()

    def received(self, connection: Connection, payloads: Sequence[bytes]) -> None:
        """Commands of a client that came together (without the lock)."""
        with self._step():
            if connection.deaf:
                connection.unheard += payloads
            else:
                self._take(connection, payloads)

    def _take(self, connection: Connection, payloads: Sequence[bytes]) -> None:
        pending = [self._pending(connection, payload) for payload in payloads]
        for item in pending if self.quirks.answers_in_order else reordered(pending, connection.chance):
            item.carry_out()
        self.changed.notify_all()

    def _pending(self, connection: Connection, payload: bytes) -> PendingCommand:
        """A command and what will be done about it; which ones are refused or ignored goes by the order they
        came in."""
        command, session = command_reading.parse(payload), connection.session
        if command is None:
            text = payload.decode("utf-8", "replace")
            self._commands.append({"cmd": None, "raw": text, "connection": connection.index})
            return PendingCommand({}, lambda: session.error(1))
        self._commands.append({**command, "connection": connection.index})
        answer = self._scripted(command)
        if answer is None:
            return PendingCommand(
                touched_by(command, session.subscriptions), lambda: session.command(command)
            )
        return PendingCommand({}, lambda: self._give(session, answer, command))

    def _set_state(self, connection: Connection, *, muted: bool, deaf: bool) -> None:
        connection.set_state(muted=muted, deaf=deaf)
        if not deaf:
            unheard, connection.unheard = connection.unheard, []
            self._take(connection, unheard)

    def _scripted(self, command: dict[str, Any]) -> _Answer | None:
        """The answer that a test has ordered for this command."""
        for answer in self._answers:
            if answer.cmd in (None, command.get("cmd")):
                if answer.remaining is not None:
                    answer.remaining -= 1
                    if answer.remaining <= 0:
                        self._answers.remove(answer)
                return answer
        return None

    def _give(self, session: ServerSession, answer: _Answer, command: dict[str, Any]) -> None:
        if answer.code is not None:
            id_ = command.get("id")
            session.error(answer.code, answer.text, id_ if isinstance(id_, int) and id_ else None)

    # -- connections -----------------------------------------------------------------------------------------
    def _chosen(self, connection: int | None) -> list[Connection]:
        """The open connections meant: all, or the one with this index. Raises LookupError if it is not
        open."""
        if connection is None:
            return list(self._open)
        for item in self._open:
            if item.index == connection:
                return [item]
        raise LookupError(f"connection {connection} is not open")

    def _subscribed(
        self, channel: str, market: Market | None = None, connection: int | None = None
    ) -> Listeners:
        """Who listens on a channel (to a market)."""
        found = []
        for item in self._open if connection is None else self._chosen(connection):
            subscription = item.session.subscriptions.get(channel)
            if subscription is not None and (market is None or subscription.wants(market)):
                found.append((item.session, subscription))
        return found

    # -- markets ---------------------------------------------------------------------------------------------
    def _market(self, ticker: str) -> Market:
        try:
            return self._markets[ticker]
        except KeyError:
            raise LookupError(f"the exchange has no market {ticker!r}: use add_market first") from None

    def _list_market(self, market: Market) -> None:
        self._markets[market.ticker] = market
        self._by_id[market.market_id] = market
        self._watched(market)

    def _watched(self, market: Market, change: Change | None = None) -> None:
        if self._watcher is not None:
            self._watcher(market, change)

    def _publish(
        self, channel: str, market: Market | None, type_: str, make: Callable[[], dict[str, Any]]
    ) -> None:
        """A message to all who want it; made only if somebody does."""
        self._tell(self._subscribed(channel, market), type_, make)

    def _tell(self, listeners: Listeners, type_: str, make: Callable[[], dict[str, Any]]) -> None:
        if listeners:
            message = WireMessage(type_, make())
            for session, subscription in listeners:
                session.publish(subscription, message)

    def _publish_snapshot(self, market: Market, connection: int | None = None) -> None:
        for session, subscription in self._subscribed("orderbook_delta", market, connection):
            session.snapshot(subscription, market.ticker)

    def _change(self, market: Market, changes: Sequence[Change], orders: Sequence[Order | None] = ()) -> None:
        """One action of the exchange: the changes share one clock and one time (PROTOCOL.md 6.2).

        ``orders``: for each change the account's order that caused it; on the order's own side the size is
        its own.
        """
        now_us = self.now_us()
        market.tick_clock()
        listeners = (
            self._subscribed("orderbook_delta", market) if market.ticker not in self.dead_books else []
        )
        for number, (side, price, delta) in enumerate(changes):
            order = orders[number] if orders else None
            market.apply(side, price, delta, delta if order is not None and order.side == side else 0)
            self._watched(market, (side, price, delta))
            if listeners:
                msg = market.delta(side, price, delta, now_us)
                if order is not None:
                    msg.update(order.annotation)
                message = WireMessage("orderbook_delta", msg)
                for session, subscription in listeners:
                    session.publish(subscription, message)

    def _trade(self, market: Market, taker_side: str, yes_price: int, count: int) -> str:
        """A trade; returns its id."""
        market.record_trade(yes_price, count)
        now_us, trade_id = self.now_us(), str(uuid.UUID(int=uuid.uuid4().int))
        self._publish(
            "trade", market, "trade", lambda: market.trade(taker_side, yes_price, count, now_us, trade_id)
        )
        return trade_id

    def _ticker(self, market: Market) -> None:
        self._publish("ticker", market, "ticker", lambda: market.ticker_message(self.now_us()))
