"""The conversation with the exchange: commands out, replies in, until what is confirmed is what is wanted.

Owns the links (one per channel of the present connection), the commands in flight and their deadlines; the same code serves the
first connect, every reconnect and each change at run time. Must not import sockets, threads or clocks. Not thread-safe; owned
by the session.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, Protocol

from ..errors import SubscriptionError
from ..messages import ErrorMessage, Ok, Subscribed, Unsubscribed
from .channels import ALL_MARKETS, BOOK_CHANNEL, CHANNEL_OF_TYPE
from .link import CHUNK, Command, Link
from .output import Output
from .timing import Timing
from .wanted import Wanted

__all__ = ["Control", "Listener"]

# protocol.md 4.1
_UNKNOWN_SID: Final = 7
_TERMINAL: Final = frozenset({10, 17, 25})
_PUT_OFF: Final = frozenset({18, 27})
_OVERFLOW: Final = 25


class Listener(Protocol):
    """Whom the conversation tells what concerns the books."""

    def snapshots_due(self, now: float) -> None:
        """The exchange has confirmed book markets; their snapshots are on the way."""

    def subscription_died(self, link: Link, reason: str, now: float) -> None:
        """The subscription has ended while it was wanted; whatever came of it is no longer kept up."""

    def repair_refused(self, reason: str, now: float) -> None:
        """The exchange did not accept a get_snapshot."""

    def books_unwanted(self, market_tickers: Iterable[str]) -> None:
        """Nobody wants these books any more, because the exchange refused them."""


class Control:
    """Commands and replies of one feed. Not thread-safe; owned by the session."""

    def __init__(self, wanted: Wanted, output: Output, timing: Timing, use_yes_price: bool, listener: Listener) -> None:
        self._wanted = wanted
        self._output = output
        self._timing = timing
        self._use_yes_price = use_yes_price
        self._listener = listener
        self._next_id = 1
        self._unsettled: set[str] = set()
        self._lists: dict[int, list[tuple[tuple[str, int], ...]]] = {}  # boxes that wait, by the id of their command
        self._online = False
        self.in_flight: dict[int, Command] = {}
        self.links: dict[str, Link] = {}
        self.by_sid: dict[int, Link] = {}
        self.retired: set[int] = set()  # sids of this connection that have ended; late frames of theirs mean nothing

    # -- inputs ----------------------------------------------------------------------------------------------------------------

    def connected(self, now: float) -> None:
        """A new connection stands: nothing is subscribed on it."""
        self._online = True
        self._unsettled = set(self._wanted.channels)
        self.tick(now)

    def disconnected(self) -> None:
        """The connection is gone, and with it every sid and every command in flight."""
        self._online = False
        self._wanted.lists.extend(self._lists.values())
        for known in (self.in_flight, self.links, self.by_sid, self.retired, self._lists):
            known.clear()

    def tick(self, now: float) -> None:
        """Send what has become due: new wishes, retries, commands whose answer is overdue."""
        if not self._online:
            return
        self._unsettled |= self._wanted.changed
        self._wanted.changed.clear()
        for name in sorted(self._unsettled):
            self._settle(name, now)
        for box in self._wanted.lists:
            self._lists[self._send("list_subscriptions", "", (), now).id] = box
        self._wanted.lists.clear()
        if self._wanted.snapshots:
            self.get_snapshot(tuple(self._wanted.snapshots), now)
            self._wanted.snapshots.clear()
        while self.in_flight:
            oldest = next(iter(self.in_flight.values()))
            if oldest.deadline > now:
                break
            self._overdue(oldest, now)

    def next_deadline(self) -> float:
        """When tick() has something to do next, as things stand."""
        due = [next(iter(self.in_flight.values())).deadline] if self.in_flight else []
        for name in self._unsettled:
            link = self.links.get(name)
            if link is not None and link.pending is None and link.retry_at:
                due.append(link.retry_at)
        return min(due, default=float("inf"))

    def link_of(self, sid: int | None, type_: str) -> Link | None:
        """The link a frame belongs to, or None. A frame may come before the `subscribed` that tells its sid (or never does)."""
        link = self.by_sid.get(sid) if sid is not None else None
        if link is not None or sid in self.retired:
            return link
        link = self.links.get(CHANNEL_OF_TYPE.get(type_, type_))
        if link is None or link.sid is not None or not (link.is_open or link.pending):
            return link if link is not None and sid is None else None
        self._adopt(link, sid)
        return link

    def settled(self, channel: str) -> bool:
        """Whether everything wanted of the channel is confirmed, and nothing more."""
        return self._online and channel not in self._unsettled and channel not in self._wanted.changed

    # -- commands --------------------------------------------------------------------------------------------------------------

    def get_snapshot(self, market_tickers: tuple[str, ...], now: float) -> bool:
        """Ask for fresh snapshots of book markets, at most CHUNK a command; False if there is no subscription to ask on."""
        link = self.links.get(BOOK_CHANNEL)
        if link is None or link.sid is None:
            return False
        for i in range(0, len(market_tickers), CHUNK):
            self._send("get_snapshot", BOOK_CHANNEL, market_tickers[i : i + CHUNK], now)
        return True

    def resubscribe(self, link: Link, now: float) -> None:
        """Unsubscribe, and so subscribe again: a new sid, seq from 1, every snapshot anew (protocol.md 5.2)."""
        if link.pending is None:
            self._unsettled.add(link.name)
            self._change(link, "unsubscribe", (), now)

    def _settle(self, name: str, now: float) -> None:
        """Send the next command toward what is wanted of a channel, unless one is in flight or put off."""
        wanted = self._wanted.channels.get(name)
        link = self.links.get(name)
        if link is None:
            link = self.links[name] = Link(name)
        if link.pending is not None or now < link.retry_at:
            return
        step = link.next_step(wanted.keys if wanted is not None else ())
        if step is None:
            self._unsettled.discard(name)
        elif link.is_open and link.sid is None:
            if not any(command.cmd == "list_subscriptions" for command in self.in_flight.values()):
                self._send("list_subscriptions", "", (), now)  # the 2025 guide's `subscribed` names no sid
        else:
            self._change(link, *step, now)

    def _change(self, link: Link, cmd: str, keys: tuple[str, ...], now: float, repeated: bool = False) -> None:
        link.pending = self._send(cmd, link.name, keys, now, repeated)

    def _send(self, cmd: str, channel: str, keys: tuple[str, ...], now: float, repeated: bool = False) -> Command:
        command = Command(self._next_id, cmd, channel, keys, now + self._timing.ack, repeated)
        self._next_id += 1
        self.in_flight[command.id] = command
        self._output.outbox.append(self._encode(command))
        return command

    def _encode(self, command: Command) -> bytes:
        wanted = self._wanted.channels.get(command.channel)
        options: dict[str, Any] = dict(wanted.options) if wanted is not None else {}
        selector = (wanted.selector if wanted is not None else None) or "market_tickers"
        sid = self.links[command.channel].sid if command.channel else None
        message: dict[str, Any] = {"id": command.id, "cmd": command.cmd}
        if command.cmd == "subscribe":
            params = {"channels": [command.channel], **options}
            if command.channel == BOOK_CHANNEL:
                params["use_yes_price"] = (
                    self._use_yes_price
                )  # always said: the exchange's default will flip (protocol.md 3.1)
            if command.keys != tuple(ALL_MARKETS):
                params[selector] = list(command.keys)
            message["params"] = params
        elif command.cmd == "unsubscribe":
            message["params"] = {"sids": [sid]}
        elif command.cmd != "list_subscriptions":
            message["cmd"] = "update_subscription"
            params = {"sids": [sid], selector: list(command.keys), "action": command.cmd}
            if command.cmd == "add_markets" and "send_initial_snapshot" in options:
                params["send_initial_snapshot"] = options["send_initial_snapshot"]
            message["params"] = params
        return json.dumps(message, separators=(",", ":")).encode()

    def _overdue(self, command: Command, now: float) -> None:
        del self.in_flight[command.id]
        if command.cmd == "get_snapshot":
            return  # its answer is the snapshots, and the repair watches for those
        if command.repeated:
            self._output.give_up = f"no answer to {command.cmd} {command.channel}".rstrip()
        elif command.channel:
            self._change(self.links[command.channel], command.cmd, command.keys, now, repeated=True)
        else:
            again = self._send(command.cmd, "", (), now, repeated=True)
            if command.id in self._lists:
                self._lists[again.id] = self._lists.pop(command.id)

    # -- replies ---------------------------------------------------------------------------------------------------------------

    def subscribed(self, message: Subscribed, now: float) -> None:
        """A channel was opened."""
        command = self._answered(message.id, "subscribe", message.channel)
        link = self.links.get(command.channel if command else message.channel or "")
        if link is None or link.pending is None or link.pending.cmd != "subscribe":
            self._unexpected("subscribed", now)
            return
        self._opened(link, message.sid, now)

    def ok(self, message: Ok, now: float) -> None:
        """A change was made, a subscribe found its channel open already, or a list was asked for."""
        link = self.by_sid.get(message.sid) if message.sid is not None else None
        command = self._answered(
            message.id, "", link.name if link else "" if message.subscriptions is not None else None
        )
        if command is None:
            self._unexpected("ok", now)
        elif command.cmd == "list_subscriptions":
            self._listed(command, message.subscriptions or (), now)
        elif command.cmd != "get_snapshot" and self.links[command.channel].pending is command:
            link = self.links[command.channel]
            if (
                command.cmd == "subscribe"
            ):  # the exchange had it open: no snapshots come by themselves (protocol.md 5.3)
                self._opened(link, message.sid, now)
                link.next_seq = None
            else:
                self._changed(link, command, now)

    def unsubscribed(self, message: Unsubscribed, now: float) -> None:
        """A subscription has ended, asked for or not."""
        link = self.by_sid.get(message.sid) if message.sid is not None else None
        command = self._answered(message.id, "unsubscribe", link.name if link else None)
        if link is None and command is not None:
            link = self.links[command.channel]
        if link is None:
            self._unexpected("unsubscribed", now)
        elif link.pending is not None and link.pending.cmd == "unsubscribe":
            self._closed(link, now)
        else:
            self._died(link, "the exchange ended the subscription", now)

    def error(self, message: ErrorMessage, now: float) -> None:
        """The exchange refused a command, or a subscription of ours has died."""
        link = self.by_sid.get(message.sid) if message.sid is not None else None
        command = self._answered(message.id, "", link.name if link else None)
        code, text = message.code or 0, message.message or "no text"
        self._output.fault(
            "exchange_error", f"the exchange says: error {code}, {text}{_advice(code)}", now,
            code=code, channel=command.channel if command else link.name if link else None,
        )  # fmt: skip
        if code in _TERMINAL and command is None:
            if link is None:
                self._output.give_up = f"error {code} for a subscription that is not named"
            else:
                self._died(link, f"error {code}, {text}", now)
        elif command is not None:
            self._refused(command, code, text, now)

    def _refused(self, command: Command, code: int, text: str, now: float) -> None:
        if command.cmd == "list_subscriptions":
            if command.id in self._lists:
                self._wanted.lists.append(self._lists.pop(command.id))
            return
        link = self.links[command.channel]
        if command.cmd == "get_snapshot":
            self._listener.repair_refused(f"error {code}", now)
            return
        if link.pending is not command:
            return  # a repetition has taken its place
        link.pending = None
        self._unsettled.add(link.name)
        if code in _PUT_OFF or code in _TERMINAL:
            self._put_off(link, now)
        elif command.cmd == "unsubscribe":
            self._closed(link, now)
        elif code == _UNKNOWN_SID and link.is_open:
            self._died(link, "the exchange does not know the subscription", now)
        elif command.cmd == "delete_markets":
            self._changed(link, command, now)  # what comes of them all the same is ignored
        else:
            named = None if command.keys == tuple(ALL_MARKETS) else command.keys
            refusal = SubscriptionError(code, text, link.name, named)
            self._listener.books_unwanted(self._wanted.refuse(link.name, command.keys, refusal))
            self._settle(link.name, now)

    def _answered(self, id_: int | None, cmd: str, channel: str | None) -> Command | None:
        """The command a reply answers: by id, and for a reply without one the oldest that fits."""
        if id_:
            return self.in_flight.pop(id_, None)
        for command in self.in_flight.values():
            if cmd in ("", command.cmd) and channel in (None, command.channel):
                return self.in_flight.pop(command.id)
        return None

    def _opened(self, link: Link, sid: int | None, now: float) -> None:
        pending, link.pending = link.pending, None
        link.is_open = True
        link.failures, link.retry_at = 0, 0.0
        if sid is not None and sid != link.sid:
            self._adopt(link, sid)
        self._confirm(link, pending.keys if pending is not None else (), now)

    def _changed(self, link: Link, command: Command, now: float) -> None:
        link.pending = None
        if command.cmd == "add_markets":
            self._confirm(link, command.keys, now)
        else:
            link.confirmed.difference_update(command.keys)
            self._settle(link.name, now)

    def _confirm(self, link: Link, keys: tuple[str, ...], now: float) -> None:
        link.confirmed.update(keys)
        self._unsettled.add(link.name)
        if link.name == BOOK_CHANNEL:
            self._listener.snapshots_due(now)
        self._settle(link.name, now)

    def _listed(self, command: Command, subscriptions: tuple[tuple[str, int], ...], now: float) -> None:
        box = self._lists.pop(command.id, None)
        if box is not None:
            box.append(subscriptions)
        for channel, sid in subscriptions:
            link = self.links.get(channel)
            if link is not None and link.sid is None and link.is_open:
                self._adopt(link, sid)
                self._settle(channel, now)

    def _closed(self, link: Link, now: float) -> None:
        self._retire(link)
        self._unsettled.add(link.name)
        self._settle(link.name, now)

    def _died(self, link: Link, reason: str, now: float) -> None:
        """Wanted, and gone: the books first, then a new subscription, each time a little later."""
        self._listener.subscription_died(link, reason, now)
        self._retire(link)
        self._unsettled.add(link.name)
        self._put_off(link, now)

    def _put_off(self, link: Link, now: float) -> None:
        link.retry_at = now + min(self._timing.retry_initial * 2**link.failures, self._timing.retry_max)
        link.failures = min(link.failures + 1, 16)

    def _retire(self, link: Link) -> None:
        if link.pending is not None:
            self.in_flight.pop(link.pending.id, None)
            link.pending = None
        if link.sid is not None:
            self.by_sid.pop(link.sid, None)
            self.retired.add(link.sid)
        link.reset()

    def _adopt(self, link: Link, sid: int | None) -> None:
        if link.sid is not None:
            self.by_sid.pop(link.sid, None)
        link.sid = sid
        if sid is not None:
            self.by_sid[sid] = link

    def _unexpected(self, type_: str, now: float) -> None:
        self._output.fault("unexpected_reply", f"a reply of type {type_} that answers nothing we asked", now)


def _advice(code: int) -> str:
    return (
        " (this program reads too slowly, or subscribes to too many markets on one connection)"
        if code == _OVERFLOW
        else ""
    )
