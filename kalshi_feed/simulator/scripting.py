"""What a test can make the exchange do, and ask of it afterwards.

Owns no state: every method is one step of ``core``. All are thread-safe. ``connection`` is the index of one
connection (0 for the first that was ever accepted); None means all that are open. Prices are dollars, sizes
contracts, as str, Decimal or int.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import schemas, wire
from .commands import TERMINAL
from .connection import Close, Fin, Refusal
from .core import Handshake, Watcher, _Answer
from .faults import Fault
from .markets import Book, Market, known_side
from .subscriptions import MESSAGE_TYPE, SEQUENCED
from .trading import Trading
from .wire import Number, Side, WireMessage, levels_units, price_units, size_units


class Scripting(Trading):
    """The scripting face of the exchange. Thread-safe."""

    # -- markets ---------------------------------------------------------------------------------------------
    def add_market(self, market_ticker: str, yes: Side = None, no: Side = None) -> None:
        """A market that stands still, with these levels ({price: size}); replaces one of the same name.

        Whoever is subscribed to its book gets a snapshot. No lifecycle message tells of it: see
        ``create_market``.
        """
        market = Market(market_ticker)
        market.set_book(levels_units(yes), levels_units(no))
        with self._step():
            self._list_market(market)
            self._publish_snapshot(market)

    def remove_market(self, market_ticker: str) -> None:
        """Know the market no longer, as it happens some time after it was settled. Raises LookupError.

        Nothing tells of it; whoever asks for its book gets that of an unknown market (PROTOCOL.md 5.4).
        """
        with self._step():
            market = self._market(market_ticker)
            del self._markets[market_ticker], self._by_id[market.market_id]

    def set_book(self, market_ticker: str, yes: Side = None, no: Side = None) -> None:
        """Replace the book and send an unsolicited snapshot to its subscribers.

        The account's orders in it are cancelled (HaltCancel).
        """
        new_yes, new_no = levels_units(yes), levels_units(no)
        with self._step():
            self._replace_book(self._market(market_ticker), new_yes, new_no, "HaltCancel")

    def settle(self, market_ticker: str) -> None:
        """End the market's book as the exchange does: an unsolicited empty snapshot, no deltas (PROTOCOL.md
        5.5)."""
        with self._step():
            market = self._market(market_ticker)
            market.moving = False
            market.status = "closed"
            self._replace_book(market, {}, {}, "CloseCancel")

    def snapshot(self, market_ticker: str, *, connection: int | None = None) -> None:
        """Send an unsolicited snapshot of the book as it is."""
        with self._step():
            self._publish_snapshot(self._market(market_ticker), connection)

    def change(self, market_ticker: str, side: str, price: Number, delta: Number) -> None:
        """Change one level and send the delta.

        Raises ValueError if the level would go below zero or into the account's own orders (use ``send``).
        """
        with self._step():
            changes = [(known_side(side), price_units(price), size_units(delta))]
            self._change(self._market(market_ticker), changes)

    def ticker(self, market_ticker: str) -> None:
        """A ticker message with the market's present figures."""
        with self._step():
            self._ticker(self._market(market_ticker))

    def book(self, market_ticker: str) -> Book:
        """The truth: {"yes": {price: size}, "no": {...}} in Decimals, each side in its own prices."""
        with self.lock:
            return self._market(market_ticker).truth()

    def books(self) -> dict[str, Book]:
        """The truth of every market, at one instant."""
        with self.lock:
            return {ticker: market.truth() for ticker, market in self._markets.items()}

    def watch(self, watcher: Watcher) -> None:
        """Have ``watcher(market, change)`` called after every change of a book (not of replayed ones), and
        now for each.

        So it sees every true state, before anything is sent of it. ``change`` is (side, price, delta) in
        units, None if the book was replaced. It runs under the exchange's lock: it must be quick and must not
        call the exchange.
        """
        with self.lock:
            self._watcher = watcher
            for market in self._markets.values():
                watcher(market, None)

    @property
    def market_tickers(self) -> tuple[str, ...]:
        """Every market of the exchange."""
        with self.lock:
            return tuple(self._markets)

    # -- faults of frames ------------------------------------------------------------------------------------
    def _arm(self, connection: int | None, kind: Any, type_: str | None, n: int, **more: Any) -> None:
        with self._step():
            for item in self._chosen(connection):
                item.faults.arm(Fault(kind, type_, n, **more))

    def lose(self, n: int = 1, type: str | None = None, *, connection: int | None = None) -> None:
        """The next ``n`` frames of a type are numbered but not sent (None: any sequenced data frame); truth
        goes on."""
        self._arm(connection, "lose", type, n)

    def duplicate(self, n: int = 1, type: str | None = None, *, connection: int | None = None) -> None:
        """The next ``n`` frames are sent twice, with the same number."""
        self._arm(connection, "duplicate", type, n)

    def swap(self, type: str | None = None, *, connection: int | None = None) -> None:
        """The next frame is sent after the one that follows it."""
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
        """In the next ``n`` frames these fields of ``msg`` (or sid, seq, type, id, msg themselves) are
        replaced or removed.
        """
        self._arm(connection, "corrupt", type, n, fields=dict(fields), remove=remove)

    def restart_seq(self, channel: str, *, connection: int | None = None) -> None:
        """The channel's next frame has number 1 again, on the same sid."""
        with self._step():
            for _, subscription in self._subscribed(channel, None, connection):
                subscription.seq = 0

    @property
    def lost(self) -> int:
        """How many frames ``lose`` has swallowed so far."""
        with self.lock:
            return self._lost + sum(item.faults.lost for item in self._all)

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
        """A data message with the channel's sid and next number to everyone subscribed to it; truth is not
        touched.

        ``type``: None is the channel's usual one. ``check``: raise ValueError, naming the field, for a
        message that the exchange would not write like this (PROTOCOL.md 6); a type nobody knows is not
        checked.
        """
        if channel not in SEQUENCED:
            raise ValueError(f"unknown channel {channel!r}")
        message = WireMessage(type or MESSAGE_TYPE.get(channel, channel), dict(msg))
        if check:
            schemas.check_message(channel, message.type, msg)
        with self._step():
            for session, subscription in self._subscribed(channel, None, connection):
                session.publish(subscription, message)

    def send_raw(self, text: str | bytes, *, connection: int | None = None) -> None:
        """A text frame with exactly this payload."""
        payload = text.encode() if isinstance(text, str) else text
        self.send_bytes(wire.frame(wire.TEXT, payload), connection=connection)

    def send_bytes(self, raw: bytes, *, connection: int | None = None) -> None:
        """Raw bytes on the stream, below websocket framing (above TLS)."""
        with self._step():
            for item in self._chosen(connection):
                item.queue(bytes(raw))

    def error(
        self, code: int, msg: str | None = None, channel: str | None = None, *, connection: int | None = None
    ) -> None:
        """An error frame: of the channel's sid, numbered (10, 17 and 25 end the subscription); without a
        channel, of nothing.
        """
        with self._step():
            if channel is None:
                for item in self._chosen(connection):
                    item.session.error(code, msg)
            else:
                for session, subscription in self._subscribed(channel, None, connection):
                    session.fail(subscription, code, msg)

    def end_subscription(self, channel: str, *, connection: int | None = None) -> None:
        """An ``unsubscribed`` nobody asked for."""
        with self._step():
            for session, subscription in self._subscribed(channel, None, connection):
                session.end(subscription)

    # -- faults of connections -------------------------------------------------------------------------------
    def reset(self, *, connection: int | None = None) -> None:
        """RST at once; what was queued is not sent."""
        with self._step():
            for item in self._chosen(connection):
                item.reset()

    def disconnect(self, *, connection: int | None = None) -> None:
        """FIN after what was queued, without a close frame and without TLS's goodbye."""
        self._finish(connection, Fin(notify=False))

    def close_connections(
        self, code: int | None = 1000, reason: str = "", *, connection: int | None = None
    ) -> None:
        """A close frame after what was queued (any code, None for none), then the closing handshake, bounded
        to a second.
        """
        self._finish(connection, Close(code, reason))

    def _finish(self, connection: int | None, how: Close | Fin) -> None:
        with self._step():
            for item in self._chosen(connection):
                self._set_state(item, muted=False, deaf=False)
                item.queue(how)

    def silence(self, *, connection: int | None = None) -> None:
        """Send nothing more, also no pings and pongs; commands are still read and answered when thawed."""
        self._set_states(connection, muted=True, deaf=False)

    def freeze(self, *, connection: int | None = None) -> None:
        """Neither send nor read; the connection stays open."""
        self._set_states(connection, muted=True, deaf=True)

    def thaw(self, *, connection: int | None = None) -> None:
        """End ``silence`` and ``freeze``; what has piled up is sent."""
        self._set_states(connection, muted=False, deaf=False)

    def _set_states(self, connection: int | None, *, muted: bool, deaf: bool) -> None:
        with self._step():
            for item in self._chosen(connection):
                self._set_state(item, muted=muted, deaf=deaf)

    # -- handshakes and commands -----------------------------------------------------------------------------
    def reject_next(
        self, n: int = 1, status: int = 503, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        """Answer the next ``n`` upgrade requests with this instead; calls add up, in order."""
        with self.lock:
            self._rejections.extend(Refusal(status, dict(headers or {}), body) for _ in range(n))

    def refuse_commands(
        self, code: int, msg: str | None = None, cmd: str | None = None, n: int | None = 1
    ) -> None:
        """Answer the next ``n`` commands (of one kind; n=None: all) with this error."""
        self._add_answer(_Answer(cmd, code, msg, n))

    def ignore_commands(self, cmd: str | None = None, n: int | None = 1) -> None:
        """Do not answer, and do not carry out, the next ``n`` commands (of one kind; n=None: all)."""
        self._add_answer(_Answer(cmd, None, None, n))

    def end_before_subscribed(self, channel: str, code: int = 25, n: int = 1) -> None:
        """End the channel's next ``n`` subscriptions (of any connection) before they are confirmed: the error
        comes first, with the sid, then a ``subscribed`` of what is dead already.

        ``code``: 10, 17 or 25. Raises ValueError for another code or an unknown channel.
        """
        if channel not in SEQUENCED:
            raise ValueError(f"unknown channel {channel!r}")
        if code not in TERMINAL:
            raise ValueError(
                f"error {code} does not end a subscription; {', '.join(map(str, sorted(TERMINAL)))} do"
            )
        with self.lock:
            self.early_ends.setdefault(channel, []).extend([code] * n)

    def _add_answer(self, answer: _Answer) -> None:
        with self.lock:
            self._answers.append(answer)

    def behave(self) -> None:
        """End every armed fault, refusal, silence and quirk of pings; the exchange is a good one again."""
        with self._step():
            self._rejections.clear()
            self._answers.clear()
            self.early_ends.clear()
            self.pings = True
            self.dead_books = self.mute_books = ()
            for item in self._open:
                item.faults.clear()
                self._set_state(item, muted=False, deaf=False)

    # -- looking ---------------------------------------------------------------------------------------------
    @property
    def commands(self) -> list[dict[str, Any]]:
        """Every command received, in order, with ``connection`` (index); what was no JSON object as
        ``raw``."""
        with self.lock:
            return list(self._commands)

    @property
    def handshakes(self) -> list[Handshake]:
        """Every upgrade request answered, in order."""
        with self.lock:
            return list(self._handshakes)

    def forget(self) -> None:
        """Drop the records of commands and handshakes so far: in a run of hours they would fill the
        memory."""
        with self.lock:
            self._commands.clear()
            self._handshakes.clear()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        with self.lock:
            return len(self._open)

    @property
    def subscriptions(self) -> list[dict[str, Any]]:
        """What is subscribed now: connection, channel, sid, seq (the last one used), market_tickers (None:
        all)."""
        with self.lock:
            return [
                {
                    "connection": item.index,
                    "channel": one.channel,
                    "sid": one.sid,
                    "seq": one.seq,
                    "market_tickers": None if one.everything else list(one.market_tickers),
                    "use_yes_price": one.use_yes_price,
                }
                for item in self._open
                for one in item.session.subscriptions.values()
            ]

    @property
    def pongs(self) -> int:
        """Pongs received from clients."""
        with self.lock:
            return self._pongs + sum(item.pongs for item in self._all)

    @property
    def pings_received(self) -> int:
        """Pings received from clients."""
        with self.lock:
            return self._pings_received + sum(item.pings_received for item in self._all)

    def wait_for_command(self, cmd: str, timeout: float = 5.0, *, n: int = 1) -> dict[str, Any]:
        """Wait until ``n`` commands of a kind have ever come, and return the n-th. Raises TimeoutError."""

        def found() -> list[dict[str, Any]]:
            return [command for command in self._commands if command.get("cmd") == cmd]

        self._wait_for(lambda: len(found()) >= n, timeout, f"command {n} of kind {cmd!r}")
        with self.lock:
            return found()[n - 1]

    def wait_for_connections(self, n: int, timeout: float = 5.0) -> None:
        """Wait until exactly ``n`` connections are open. Raises TimeoutError."""
        self._wait_for(lambda: len(self._open) == n, timeout, f"{n} open connections")

    def wait_for_handshakes(self, n: int, timeout: float = 5.0) -> list[Handshake]:
        """Wait until at least ``n`` upgrade requests have been answered, and return them all. Raises
        TimeoutError."""
        self._wait_for(lambda: len(self._handshakes) >= n, timeout, f"{n} handshakes")
        return self.handshakes

    def wait_until_sent(self, timeout: float = 5.0) -> None:
        """Wait until the sockets have taken all that was queued (muted connections aside). Raises
        TimeoutError."""

        def sent() -> bool:
            return not any(item.buffered for item in self._open if not item.muted)

        self._wait_for(sent, timeout, "its outboxes to empty")
