"""The heart of the exchange: its lock, its clock, its open connections, and who is subscribed to what.

Owns the one lock of the simulator. Every change is one step under it, so that the truth and the frames that
report it never differ. A connection owns its own socket and thread.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .connection import Connection
from .markets import Market
from .session import ServerSession
from .settings import ExchangeSettings
from .subscriptions import OpenChannel
from .wire import WireMessage

Listeners = list[tuple[ServerSession, OpenChannel]]


class Core:
    """What every part of the exchange is built on. Thread-safe; the methods of the second group need ``lock``
    held."""

    def __init__(self, settings: ExchangeSettings) -> None:
        self.settings = settings
        # Guards markets, sessions, numbers and outboxes: everything in the simulator but the account's keys
        # and what a class says it guards itself. Only arithmetic and encoding happen under it; connections
        # are woken after it is released (``step``), and threads wait on ``changed`` only.
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.open: list[Connection] = []  # after the upgrade, in order
        self._all: set[Connection] = set()  # from accept to the end of the thread
        self._opened = 0  # upgrades so far
        # totals of the connections that have ended
        self._lost = self._pongs = self._pings_received = 0

    # -- without the lock ------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Make one change to the exchange under the lock, then wake the connections that have something to
        send."""
        with self.lock:
            yield
            awake = [connection for connection in self._all if connection.dirty]
        for connection in awake:
            connection.wake()

    def wait_for(self, predicate: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait until the predicate, evaluated under the lock, is true. Raises TimeoutError."""
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                raise TimeoutError(f"the exchange waited {timeout:g} s for {what}")

    def now_us(self) -> int:
        """The exchange's time in microseconds since 1970; ``clock_offset`` is part of it."""
        return time.time_ns() // 1000 + int(self.settings.clock_offset * 1e6)

    def accepted(self, connection: Connection) -> None:
        """Include a connection whose thread is about to start."""
        with self.lock:
            self._all.add(connection)

    def opened(self, connection: Connection, answer: bytes) -> None:
        """A connection is upgraded: ``answer`` is the first thing it sends."""
        with self.changed:
            connection.index = self._opened
            self._opened += 1
            self.open.append(connection)
            connection.queue(answer)
            self.changed.notify_all()

    def ended(self, connection: Connection) -> None:
        """A connection's thread is about to end."""
        with self.changed:
            self._all.discard(connection)
            if connection in self.open:
                self.open.remove(connection)
            self._lost += connection.faults.lost
            self._pongs += connection.pongs
            self._pings_received += connection.pings_received
            self.changed.notify_all()

    def stop_connections(self, timeout: float) -> list[Connection]:
        """Ask every connection to end within ``timeout`` seconds; returns them. Does not wait."""
        with self.step():
            connections = list(self._all)
            for connection in connections:
                connection.stop(timeout)
        return connections

    # -- with the lock: connections --------------------------------------------------------------------------
    def chosen(self, connection: int | None) -> list[Connection]:
        """All open connections, or the one with this index. Raises LookupError if it is not open."""
        if connection is None:
            return list(self.open)
        for item in self.open:
            if item.index == connection:
                return [item]
        raise LookupError(f"connection {connection} is not open")

    def backlog(self) -> int:
        """How many bytes the slowest connection that is not muted is behind."""
        return max((item.buffered for item in self.open if not item.muted), default=0)

    def lost(self) -> int:
        """Frames that a fault has swallowed, over all connections."""
        return self._lost + sum(item.faults.lost for item in self._all)

    def pongs(self) -> int:
        """Pongs received, over all connections."""
        return self._pongs + sum(item.pongs for item in self._all)

    def pings_received(self) -> int:
        """Pings received, over all connections."""
        return self._pings_received + sum(item.pings_received for item in self._all)

    # -- with the lock: subscribers --------------------------------------------------------------------------
    def subscribed(
        self, channel: str, market: Market | None = None, connection: int | None = None
    ) -> Listeners:
        """The subscriptions to a channel; with ``market``, those that want it."""
        found = []
        for item in self.open if connection is None else self.chosen(connection):
            subscription = item.session.subscriptions.get(channel)
            if subscription is not None and (market is None or subscription.wants(market)):
                found.append((item.session, subscription))
        return found

    def heard(self, markets: Iterable[Market]) -> bool:
        """Whether a client is subscribed to the book or the trades of one of these markets."""
        return any(
            self.subscribed(channel, market) for market in markets for channel in ("orderbook_delta", "trade")
        )

    def publish(
        self, channel: str, market: Market | None, type_: str, make: Callable[[], dict[str, Any]]
    ) -> None:
        """Send a message to every subscription that wants it; ``make`` is called only if there is one."""
        self.send(self.subscribed(channel, market), type_, make)

    def send(self, listeners: Listeners, type_: str, make: Callable[[], dict[str, Any]]) -> None:
        """Send a message to these subscriptions; ``make`` is called only if there are any."""
        if listeners:
            message = WireMessage(type_, make())
            for session, subscription in listeners:
                session.publish(subscription, message)
