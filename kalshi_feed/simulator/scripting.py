"""How a test disturbs connections and what is sent on them, and looks at them.

Owns no state: every method is one step of ``core``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import schemas, wire
from .connection import Close, Fin
from .core import Core
from .faults import Fault
from .reception import Reception
from .subscriptions import MESSAGE_TYPE, SEQUENCED
from .wire import WireMessage


class Scripting:
    """Faults, frames and ends of connections as a test orders them. Thread-safe.

    ``connection`` is the index of one connection (0 for the first that was ever accepted; LookupError if it
    is not open); None means all open ones.
    """

    def __init__(self, core: Core, reception: Reception) -> None:
        self._core = core
        self._reception = reception

    # -- faults of frames ------------------------------------------------------------------------------------
    def _arm(self, connection: int | None, kind: Any, type_: str | None, n: int, **more: Any) -> None:
        with self._core.step():
            for item in self._core.chosen(connection):
                item.faults.arm(Fault(kind, type_, n, **more))

    def lose(self, n: int = 1, type: str | None = None, *, connection: int | None = None) -> None:
        """Lose the next ``n`` frames of a type (None: any sequenced data frame): numbered, but not sent. The
        truth goes on.
        """
        self._arm(connection, "lose", type, n)

    def duplicate(self, n: int = 1, type: str | None = None, *, connection: int | None = None) -> None:
        """Send the next ``n`` frames twice, with the same number."""
        self._arm(connection, "duplicate", type, n)

    def swap(self, type: str | None = None, *, connection: int | None = None) -> None:
        """Send the next frame after the one that follows it."""
        self._arm(connection, "swap", type, 1)

    def corrupt(
        self,
        fields: Mapping[str, Any],
        *,
        remove: tuple[str, ...] = (),
        type: str | None = None,
        n: int = 1,
        connection: int | None = None,
    ) -> None:
        """Replace or remove these fields of ``msg`` (or sid, seq, type, id, msg themselves) in the next ``n``
        frames."""
        self._arm(connection, "corrupt", type, n, fields=dict(fields), remove=remove)

    def restart_seq(self, channel: str, *, connection: int | None = None) -> None:
        """Give the channel's next frame number 1 again, on the same sid."""
        with self._core.step():
            for _, subscription in self._core.subscribed(channel, None, connection):
                subscription.seq = 0

    @property
    def lost(self) -> int:
        """How many frames ``lose`` has swallowed so far."""
        with self._core.lock:
            return self._core.lost()

    # -- sending ---------------------------------------------------------------------------------------------
    def send(
        self,
        channel: str,
        msg: Mapping[str, Any],
        *,
        type: str | None = None,
        connection: int | None = None,
        check: bool = True,
    ) -> None:
        """Send a data message with the channel's sid and next number to all its subscribers; the truth does
        not change.

        ``type``: None is the channel's usual one. ``check``: raise ValueError, which names the field, for a
        message that the exchange would not write like this (PROTOCOL.md 6); unknown types are not checked.
        """
        if channel not in SEQUENCED:
            raise ValueError(f"unknown channel {channel!r}")
        message = WireMessage(type or MESSAGE_TYPE.get(channel, channel), dict(msg))
        if check:
            schemas.check_message(channel, message.type, msg)
        with self._core.step():
            for session, subscription in self._core.subscribed(channel, None, connection):
                session.publish(subscription, message)

    def send_raw(self, text: str | bytes, *, connection: int | None = None) -> None:
        """Send a text frame with exactly this payload."""
        payload = text.encode() if isinstance(text, str) else text
        self.send_bytes(wire.frame(wire.TEXT, payload), connection=connection)

    def send_bytes(self, raw: bytes, *, connection: int | None = None) -> None:
        """Send raw bytes, below websocket framing and above TLS."""
        with self._core.step():
            for item in self._core.chosen(connection):
                item.queue(bytes(raw))

    def error(
        self, code: int, msg: str | None = None, channel: str | None = None, *, connection: int | None = None
    ) -> None:
        """Send an error frame: with the channel's sid and a number (10, 17 and 25 end the subscription), or,
        without a channel, with neither."""
        with self._core.step():
            if channel is None:
                for item in self._core.chosen(connection):
                    item.session.error(code, msg)
            else:
                for session, subscription in self._core.subscribed(channel, None, connection):
                    session.fail(subscription, code, msg)

    def end_subscription(self, channel: str, *, connection: int | None = None) -> None:
        """End a subscription with an ``unsubscribed`` that the client did not ask for."""
        with self._core.step():
            for session, subscription in self._core.subscribed(channel, None, connection):
                session.end(subscription)

    # -- faults of connections -------------------------------------------------------------------------------
    def reset(self, *, connection: int | None = None) -> None:
        """End the connection with RST at once; queued frames are not sent."""
        with self._core.step():
            for item in self._core.chosen(connection):
                item.reset()

    def disconnect(self, *, connection: int | None = None) -> None:
        """End the connection with FIN after everything queued, without a close frame and without TLS
        close_notify."""
        self._finish(connection, Fin(notify=False))

    def close_connections(
        self, code: int | None = 1000, reason: str = "", *, connection: int | None = None
    ) -> None:
        """Send a close frame after everything queued (any code; None: without one), then wait up to a second
        for the answer."""
        self._finish(connection, Close(code, reason))

    def _finish(self, connection: int | None, how: Close | Fin) -> None:
        with self._core.step():
            for item in self._core.chosen(connection):
                self._reception.set_state_locked(item, muted=False, deaf=False)
                item.queue(how)

    def silence(self, *, connection: int | None = None) -> None:
        """Send nothing, not even pings and pongs; commands are still read, and ``thaw`` sends the answers."""
        self._set_states(connection, muted=True, deaf=False)

    def freeze(self, *, connection: int | None = None) -> None:
        """Neither send nor read; the connection stays open."""
        self._set_states(connection, muted=True, deaf=True)

    def thaw(self, *, connection: int | None = None) -> None:
        """End ``silence`` and ``freeze``; everything that has piled up is sent."""
        self._set_states(connection, muted=False, deaf=False)

    def _set_states(self, connection: int | None, *, muted: bool, deaf: bool) -> None:
        with self._core.step():
            for item in self._core.chosen(connection):
                self._reception.set_state_locked(item, muted=muted, deaf=deaf)

    def behave_locked(self) -> None:
        """End every armed fault and every silence."""
        for item in self._core.open:
            item.faults.clear()
            self._reception.set_state_locked(item, muted=False, deaf=False)

    # -- looking ---------------------------------------------------------------------------------------------
    @property
    def connections(self) -> int:
        """How many connections are open."""
        with self._core.lock:
            return len(self._core.open)

    @property
    def subscriptions(self) -> list[dict[str, Any]]:
        """The open subscriptions: connection, channel, sid, seq (the last one used), market_tickers (None:
        all), use_yes_price."""
        with self._core.lock:
            return [
                {
                    "connection": item.index,
                    "channel": one.channel,
                    "sid": one.sid,
                    "seq": one.seq,
                    "market_tickers": None if one.everything else list(one.market_tickers),
                    "use_yes_price": one.use_yes_price,
                }
                for item in self._core.open
                for one in item.session.subscriptions.values()
            ]

    @property
    def pongs(self) -> int:
        """Pongs received from clients."""
        with self._core.lock:
            return self._core.pongs()

    @property
    def pings_received(self) -> int:
        """Pings received from clients."""
        with self._core.lock:
            return self._core.pings_received()

    def wait_for_connections(self, n: int, timeout: float = 5.0) -> None:
        """Wait until exactly ``n`` connections are open. Raises TimeoutError."""
        self._core.wait_for(lambda: len(self._core.open) == n, timeout, f"{n} open connections")

    def wait_until_sent(self, timeout: float = 5.0) -> None:
        """Wait until the sockets have taken everything queued (except on muted connections). Raises
        TimeoutError."""

        def sent() -> bool:
            return not any(item.buffered for item in self._core.open if not item.muted)

        self._core.wait_for(sent, timeout, "its outboxes to empty")
