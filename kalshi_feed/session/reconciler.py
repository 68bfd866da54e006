"""The conversation with the exchange: commands out, replies in, until the confirmed state is the wanted one.

Owns the subscriptions (one per channel of the current connection), the commands in flight and their
deadlines. First connect, reconnect and a change at run time are the same code: a channel is *unsettled* until
what the exchange has confirmed equals what users want, and _settle() sends the one command that comes next.
Not thread-safe; owned by the session.

**Which reply answers which command.** The exchange answers in any order. A reply with an id answers the
command with that id. Some replies have none; such a reply answers the oldest command in flight that fits its
type and, if its sid is known, its channel. A command without an answer within ``Timing.ack`` is sent once
more, under a new id; if that one is not answered either, the connection is replaced. (A get_snapshot is not
sent again: its real answer is the snapshots, and the repair waits for those.) A late answer to the first try
counts as the answer if it opens the subscription; otherwise it is reported as an unexpected reply.

**What an error means** (PROTOCOL.md 4.1):

    10, 17, 25   the subscription has died: its books become STALE, and it is made again after a delay
    7            the exchange does not know the sid: the same
    18, 27       not now: the command is sent again after a delay; after 18 (a timeout at the exchange) it may
                 have been carried out all the same
    6            a subscribe found the channel open: it is adopted, and the markets are added
    26           too many markets: sent again with half as many per command, down to one
    any other    a refusal: a subscribe or add_markets gives up the markets named, and every user who wanted
                 one gets a SubscriptionError; an unsubscribe or delete_markets counts as done; a get_snapshot
                 moves the repair up a rung

After error 18 the affected keys are *uncertain*. ServerSubscription.next_step() then adds those that are
wanted, which does no harm if they are there, and deletes the rest. A subscribe with error 18 is settled by
list_subscriptions: if the channel is listed, it is open after all.

**Subscriptions that end early.** The error that ends a subscription may arrive before the `subscribed` that
opens it, so that its sid, or the id of its command, is not one of ours yet. ServerSubscriptions.end_early()
keeps the reason. When the `subscribed` comes, the subscription is opened and dies at once, which is how its
books and its retry are handled like those of any other that died.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from ..errors import SubscriptionError
from ..messages import ErrorMessage, Ok, Subscribed, Unsubscribed
from .channels import ALL_MARKETS, BOOK_CHANNEL
from .commands import CHUNK, Command, encode
from .listener import Listener
from .memory import ReconcilerMemory
from .output import Output
from .replies import advice, listed_keys, named_markets
from .server_subscription import ServerSubscription, ServerSubscriptions
from .timing import Timing
from .wanted import ListBox, Wanted

__all__ = ["TERMINAL", "Reconciler"]

# PROTOCOL.md 4.1
_ALREADY_SUBSCRIBED: Final = 6
_UNKNOWN_SID: Final = 7
TERMINAL: Final = frozenset({10, 17, 25})
_PUT_OFF: Final = frozenset({18, 27})
_TIMEOUT: Final = 18
_MARKET_LIMIT: Final = 26

_LIST: Final = ("list_subscriptions",)
_CHANGES: Final = ("subscribe", "add_markets", "delete_markets", "unsubscribe")
_ANY: Final = (*_CHANGES, "get_snapshot", *_LIST)


class Reconciler:
    """Sends the commands of one feed and reads their replies. Not thread-safe; owned by the session."""

    def __init__(
        self, wanted: Wanted, output: Output, timing: Timing, use_yes_price: bool, listener: Listener
    ) -> None:
        self._wanted = wanted
        self._output = output
        self._timing = timing
        self._use_yes_price = use_yes_price
        self._listener = listener
        self.next_id = 1  # of the next command
        self.unsettled: set[str] = set()  # channels that may need a command, see _settle()
        # markets for which users requested a fresh snapshot, waiting for the pace
        self._snapshots: dict[str, None] = {}
        # (action, channel) of lists to ask for once the sid is known
        self._questions: dict[tuple[str, str], None] = {}
        self._lists: dict[int, ListBox] = {}  # boxes that wait for an answer, by the id of their command
        self.online = False  # whether there is a connection
        self._snapshots_at = 0.0  # when the next get_snapshot for users may be sent
        self.not_overdue_before = 0.0  # no answer counts as overdue before this
        # get_snapshots whose answer is overdue; an error may still name one
        self._expired: deque[Command] = deque(maxlen=100)
        self.in_flight: dict[int, Command] = {}  # by id, oldest first
        self.subscriptions = ServerSubscriptions()

    def save(self, memory: ReconcilerMemory) -> None:
        """Write everything into ``memory``, including the users' requests since the last tick."""
        wanted = self._wanted
        self.subscriptions.save(memory)
        memory.next_id, memory.in_flight = self.next_id, list(self.in_flight.values())
        memory.unsettled = sorted(self.unsettled | wanted.changed)
        memory.expired = list(self._expired)
        memory.snapshots, memory.snapshots_at = list(self._snapshots | wanted.snapshots), self._snapshots_at
        memory.questions, memory.new_books = list(self._questions | wanted.questions), list(wanted.new_books)
        memory.lists, memory.lists_sent = min(len(wanted.lists), 1_000), list(self._lists)
        memory.not_overdue_before = self.not_overdue_before

    def restore(self, memory: ReconcilerMemory, online: bool) -> None:
        """Continue from ``memory``. Sends nothing; no one waits for the lists that were requested."""
        self.online, self.next_id, self.unsettled = online, memory.next_id, set(memory.unsettled)
        self.in_flight = {command.id: command for command in memory.in_flight}
        self.subscriptions.restore(memory, self.in_flight)
        self._expired = deque(memory.expired, maxlen=self._expired.maxlen)
        self._snapshots, self._snapshots_at = dict.fromkeys(memory.snapshots), memory.snapshots_at
        self._questions = dict.fromkeys(memory.questions)
        self._lists = {id_: [] for id_ in memory.lists_sent}
        self.not_overdue_before = memory.not_overdue_before
        self._wanted.take_pending()
        self._wanted.new_books.update(dict.fromkeys(memory.new_books))
        self._wanted.lists.extend([] for _ in range(memory.lists))

    # -- inputs ----------------------------------------------------------------------------------------------

    def connected(self, now: float) -> None:
        """There is a new connection, with nothing subscribed on it."""
        self.online = True
        self.not_overdue_before = 0.0
        self.unsettled = set(self._wanted.channels)
        self.tick(now)

    def disconnected(self) -> None:
        """The connection is gone, and with it every sid and every command in flight."""
        self.online = False
        self._wanted.lists.extend(self._lists.values())
        self._lists.clear()
        self._expired.clear()
        self.in_flight.clear()
        self.subscriptions.clear()

    def tick(self, now: float) -> None:
        """Send what is due: users' new requests, retries, and commands whose answer is overdue."""
        if not self.online:
            return
        lists: list[ListBox] = []
        if self._wanted.has_pending:
            changed, new_books, snapshots, questions, lists = self._wanted.take_pending()
            self.unsettled |= changed
            self._snapshots.update(snapshots)
            self._questions.update(questions)
            self._revive(new_books, now)
        for name in sorted(self.unsettled):
            self._settle(name, now)
        for box in lists:
            self._lists[self._send("list_subscriptions", "", (), now).id] = box
        if self._snapshots and now >= self._snapshots_at:
            some = tuple(islice(self._snapshots, CHUNK))
            for ticker in some:
                del self._snapshots[ticker]
            self.get_snapshot(some, now)
            self._snapshots_at = now + self._timing.pace
        for action, channel in tuple(self._questions):
            subscription = self.subscriptions.get(channel)
            if subscription is not None and subscription.sid is not None:
                self._send(action, channel, (), now)
                del self._questions[action, channel]
        while self.in_flight:
            oldest = next(iter(self.in_flight.values()))
            if max(oldest.deadline, self.not_overdue_before) > now:
                break
            self._overdue(oldest, now)

    def next_deadline(self) -> float:
        """When tick() next has something to do, as things stand."""
        due = (
            [max(next(iter(self.in_flight.values())).deadline, self.not_overdue_before)]
            if self.in_flight
            else []
        )
        if self.online and (self._snapshots or self._wanted.snapshots):
            due.append(self._snapshots_at)
        for name in self.unsettled:
            subscription = self.subscriptions.get(name)
            if subscription is not None and subscription.pending is None and subscription.retry_at:
                due.append(subscription.retry_at)
        return min(due, default=float("inf"))

    def waits_for(self, market_ticker: str) -> bool:
        """Whether an unanswered command concerns the market's book."""
        return any(
            market_ticker in command.keys or command.cmd == "unsubscribe"
            for command in self.in_flight.values()
            if command.channel == BOOK_CHANNEL
        )

    def settled(self, channel: str) -> bool:
        """Whether exactly what is wanted of the channel is confirmed."""
        return self.online and channel not in self.unsettled and channel not in self._wanted.changed

    # -- commands --------------------------------------------------------------------------------------------

    def get_snapshot(self, market_tickers: tuple[str, ...], now: float) -> bool:
        """Request snapshots of at most CHUNK markets; False if no subscription with a known sid is open."""
        subscription = self.subscriptions.get(BOOK_CHANNEL)
        if subscription is None or subscription.sid is None:
            if subscription is not None and subscription.is_open and now >= subscription.retry_at:
                self._ask_sid(subscription, now)
            return False
        self._send("get_snapshot", BOOK_CHANNEL, market_tickers, now)
        return True

    def resubscribe(self, subscription: ServerSubscription, now: float) -> None:
        """Unsubscribe, to subscribe again: a new sid, seq from 1, new snapshots (PROTOCOL.md 5.2)."""
        if subscription.pending is None and subscription.sid is not None:
            self.unsettled.add(subscription.name)
            self._change(subscription, "unsubscribe", (), now)

    def renew(self, market_tickers: Iterable[str], now: float) -> None:
        """Have book markets deleted and added again, for a snapshot and for deltas (PROTOCOL.md 5.4).

        Nothing is done for those that the exchange has yet to confirm: their snapshots are on the way.
        """
        subscription = self.subscriptions.get(BOOK_CHANNEL)
        if subscription is not None and subscription.is_open:
            subscription.renew(market_tickers)
            self.unsettled.add(BOOK_CHANNEL)
            self._settle(BOOK_CHANNEL, now)

    def _revive(self, new_books: Iterable[str], now: float) -> None:
        """Books wanted again before the unsubscribe was sent: no snapshot comes by itself, so ask for one."""
        subscription = self.subscriptions.get(BOOK_CHANNEL)
        again = [ticker for ticker in new_books if subscription is not None and subscription.keeps(ticker)]
        if again:
            self._snapshots.update(dict.fromkeys(again))
            self._listener.snapshots_due(now)

    def _settle(self, name: str, now: float) -> None:
        """Send the next command toward what is wanted of a channel, unless one is in flight or put off."""
        wanted = self._wanted.channels.get(name)
        subscription = self.subscriptions[name]
        if subscription.pending is not None or now < subscription.retry_at:
            return
        keys, selector = (wanted.keys, wanted.selector) if wanted is not None else ((), None)
        step = subscription.next_step(keys, selector)
        if step is None:
            self.unsettled.discard(name)
        elif subscription.is_open and subscription.sid is None:
            self._ask_sid(subscription, now)
        else:
            if step[0] == "subscribe":
                subscription.selector = selector
            self._change(subscription, *step, now)

    def _ask_sid(self, subscription: ServerSubscription, now: float) -> None:
        """Ask for the sid, which the 2025 guide's `subscribed` lacks and every change needs."""
        subscription.retry_at = now + self._timing.ack
        self._send("list_subscriptions", "", (), now)

    def _change(
        self,
        subscription: ServerSubscription,
        cmd: str,
        keys: tuple[str, ...],
        now: float,
        repeated: bool = False,
    ) -> None:
        subscription.pending = self._send(cmd, subscription.name, keys, now, repeated)

    def _send(
        self, cmd: str, channel: str, keys: tuple[str, ...], now: float, repeated: bool = False
    ) -> Command:
        subscription, wanted = self.subscriptions.get(channel), self._wanted.channels.get(channel)
        options = dict(wanted.options) if wanted is not None else {}
        if channel == BOOK_CHANNEL:  # always explicit: the exchange's default will flip (PROTOCOL.md 3.1)
            options["use_yes_price"] = self._use_yes_price
        sid = subscription.sid if subscription is not None else None
        command = Command(self.next_id, cmd, channel, keys, now + self._timing.ack, sid, repeated)
        self.next_id += 1
        self.in_flight[command.id] = command
        self._output.outbox.append(
            encode(command, subscription.selector if subscription is not None else None, options)
        )
        return command

    def _overdue(self, command: Command, now: float) -> None:
        """The answer did not come in time: send the command again, or replace the connection."""
        del self.in_flight[command.id]
        if command.cmd == "get_snapshot":
            self._expired.append(command)
            return  # its answer is the snapshots, and the repair waits for those
        if command.channel and self.subscriptions[command.channel].pending is not command:
            return  # a late answer to the first try has settled it, or the answer comes as a message
        if command.repeated:
            self._output.give_up = f"no answer to {command.cmd} {command.channel}".rstrip()
        elif command.channel:
            self._change(self.subscriptions[command.channel], command.cmd, command.keys, now, repeated=True)
        else:
            again = self._send(command.cmd, "", (), now, repeated=True)
            if command.id in self._lists:
                self._lists[again.id] = self._lists.pop(command.id)

    # -- replies ---------------------------------------------------------------------------------------------

    def subscribed(self, message: Subscribed, now: float) -> None:
        """A channel is open.

        It is accepted even if it answers nothing in flight, as long as its sid is new: an answer to the first
        try may come after the second was sent, and a subscription that is open but not wanted must be ended.
        """
        command = self._answered(message.id, ("subscribe",), message.channel)
        subscription = self.subscriptions.get(command.channel if command else message.channel or "")
        if command is not None and subscription is not None:
            subscription.uncertain.clear()  # it is a new subscription, with exactly the keys requested
        is_new = message.sid is not None and message.sid not in self.subscriptions.retired
        if command is None and subscription is not None and (is_new or message.sid is None):
            command = subscription.pending  # a late answer to the first try
        if subscription is None or subscription.is_open or not (command or is_new):
            self._unexpected("subscribed", now)
        else:  # even if it is no longer wanted: _settle() then ends it
            ended = self.subscriptions.ended_early(message.sid, message.id)
            self._opened(subscription, message.sid, command.keys if command else (), now)
            if ended is not None:
                self._died(subscription, ended, now)

    def ok(self, message: Ok, now: float) -> None:
        """A change was made, a subscribe found its channel already open, or a list was requested."""
        subscription = self.subscriptions.of_sid(message.sid)
        likely = _LIST if message.subscriptions is not None else _CHANGES
        command = self._answered(
            message.id, _ANY if message.id else likely, subscription.name if subscription else None
        )
        if command is None:
            self._unexpected("ok", now)
        elif command.cmd == "list_subscriptions":
            self._listed(command, message.subscriptions, now)
        elif self.subscriptions[command.channel].pending is command:
            subscription = self.subscriptions[command.channel]
            if command.cmd == "unsubscribe":
                self._closed(subscription, now)
            elif command.cmd != "subscribe":
                self._changed(subscription, command, now)
            else:  # it was open already: no snapshots come by themselves (PROTOCOL.md 5.3)
                is_new = subscription.sid is None or message.sid not in (None, subscription.sid)
                self._opened(subscription, message.sid, command.keys + listed_keys(message), now)
                if is_new:
                    subscription.lose_count()
                    subscription.next_seq = message.seq + 1 if message.seq is not None else None

    def unsubscribed(self, message: Unsubscribed, now: float) -> None:
        """A subscription has ended, at our request or not."""
        subscription = self.subscriptions.of_sid(message.sid)
        command = None
        if message.id or message.sid is None or subscription is not None:
            command = self._answered(
                message.id, ("unsubscribe",), subscription.name if subscription else None
            )
        if subscription is None and command is not None:
            subscription = self.subscriptions[command.channel]
        if subscription is None:
            if message.sid not in self.subscriptions.retired:
                self._unexpected("unsubscribed", now)
        elif subscription.pending is not None and subscription.pending.cmd == "unsubscribe":
            self._closed(subscription, now)
        else:
            self._died(subscription, "the exchange ended the subscription", now)

    def error(self, message: ErrorMessage, now: float) -> None:
        """The exchange refused a command, or one of our subscriptions has died; see the module for the codes.

        An error with an id always answers that command. One without an id may answer the oldest command in
        flight, but not if it is terminal, or if it names a sid that is not ours: then it is about a
        subscription. A terminal error for a sid that is not known ends a subscription that is being opened;
        if none is, we have lost track of what is open, and the connection is replaced.
        """
        subscription = self.subscriptions.of_sid(message.sid)
        code, text = message.code or 0, message.message or "no message"
        is_terminal = code in TERMINAL
        command = None
        if message.id or not (is_terminal or (message.sid is not None and subscription is None)):
            command = self._answered(message.id, _ANY, subscription.name if subscription else None)
        self._output.fault(
            "exchange_error", f"the exchange says: error {code}, {text}{advice(code)}", now,
            code=code, channel=command.channel if command else subscription.name if subscription else None,
        )  # fmt: skip
        if is_terminal and subscription is None:
            named = command or next((old for old in self._expired if old.id == message.id), None)
            subscription = self.subscriptions.of_command(named) if named is not None else None
        if is_terminal and subscription is not None:
            if subscription.pending is command:
                subscription.pending = None
            self._died(subscription, f"error {code}, {text}", now)
        elif command is not None:
            self._refused(command, message, now)
        elif is_terminal and not message.id and message.sid not in self.subscriptions.retired:
            if message.sid is not None and self._is_opening():
                self.subscriptions.end_early(message.sid, None, f"error {code}, {text}")
            else:
                self._output.give_up = f"error {code} for an unknown subscription"

    def _is_opening(self) -> bool:
        """Whether a subscribe is unanswered, so that an unknown sid may belong to it."""
        return any(command.cmd == "subscribe" for command in self.in_flight.values())

    def _refused(self, command: Command, message: ErrorMessage, now: float) -> None:
        """Act on an error that answers ``command``; see the module for the codes."""
        code, text = message.code or 0, message.message or "no message"
        if command.cmd == "list_subscriptions":
            box = self._lists.pop(command.id, None)
            if box is not None:
                box.append(SubscriptionError(code, text))
            return
        subscription = self.subscriptions[command.channel]
        if (
            code == _UNKNOWN_SID
            and command.cmd != "unsubscribe"
            and self.subscriptions.of_command(command) is not None
        ):
            self._died(subscription, "the exchange does not know the subscription", now)
        elif command.cmd == "get_snapshot":
            if self.subscriptions.of_command(command) is not None:
                self._listener.repair_refused(code, code in _PUT_OFF, now)
        elif subscription.pending is command:
            subscription.pending = None
            self.unsettled.add(subscription.name)
            if code in _PUT_OFF or code in TERMINAL:
                self._put_off(subscription, now)
                # its `subscribed` may still come, for a subscription that has already ended
                if code in TERMINAL and command.cmd == "subscribe":
                    self.subscriptions.end_early(message.sid, command.id, f"error {code}, {text}")
                if code == _TIMEOUT:
                    self._make_uncertain(subscription, command, now)
            elif command.cmd == "unsubscribe":
                self._closed(subscription, now)
            elif command.cmd == "delete_markets":
                self._changed(subscription, command, now)  # if their messages still come, they are ignored
            elif command.cmd == "subscribe" and code == _ALREADY_SUBSCRIBED:
                # it does not say which markets it has: all of them are added
                self._opened(subscription, message.sid, (), now)
            elif code == _MARKET_LIMIT and len(command.keys) > 1 and not named_markets(message):
                subscription.chunk = len(command.keys) // 2  # half of them may still fit
                self._settle(subscription.name, now)
            else:
                self._forget(subscription, command, message, now)

    def _make_uncertain(self, subscription: ServerSubscription, command: Command, now: float) -> None:
        """Error 18: the exchange timed out; it may still have carried out the command."""
        subscription.make_uncertain(command)
        if command.cmd == "subscribe":
            self._send("list_subscriptions", "", (), now)
        elif command.cmd != "add_markets":
            self._listener.markets_left(subscription, command.keys or None, now)

    def _forget(
        self, subscription: ServerSubscription, command: Command, message: ErrorMessage, now: float
    ) -> None:
        """A final refusal: the keys are no longer wanted, and the subscriptions to them get the error."""
        wanted = self._wanted.channels.get(subscription.name)
        if message.code == _MARKET_LIMIT and wanted is not None and not named_markets(message):
            # the subscription is full: no other market would fit either
            keys = tuple(key for key in wanted.keys if key not in subscription.confirmed)
        else:
            keys = tuple(key for key in command.keys if key in named_markets(message)) or command.keys
        tickers = None if keys == tuple(ALL_MARKETS) else keys
        refusal = SubscriptionError(
            message.code or 0, message.message or "no message", subscription.name, tickers
        )
        self._listener.books_unwanted(self._wanted.refuse(subscription.name, keys, refusal))
        self._settle(subscription.name, now)

    def _answered(self, id_: int | None, cmds: tuple[str, ...], channel: str | None) -> Command | None:
        """Take the command that a reply answers: by id, or without an id the oldest that fits."""
        candidates = (
            self.in_flight.values() if not id_ else [self.in_flight[id_]] if id_ in self.in_flight else ()
        )
        for command in candidates:
            if command.cmd in cmds and (id_ or channel in (None, command.channel)):
                return self.in_flight.pop(command.id)
        return None

    def _opened(
        self, subscription: ServerSubscription, sid: int | None, keys: tuple[str, ...], now: float
    ) -> None:
        """The exchange has the subscription open, with these keys; ``sid`` is None if it did not say."""
        subscription.pending = None
        subscription.is_open = True
        subscription.opened_at, subscription.retry_at = now, 0.0
        if sid is not None and sid != subscription.sid:
            # frames were attributed to the wrong subscription
            for wrong in (subscription, self.subscriptions.of_sid(sid)):
                if wrong is not None and wrong.sid is not None:
                    self._listener.subscription_died(wrong, "the exchange names another subscription", now)
            self.subscriptions.adopt(subscription, sid)
        self._confirm(subscription, keys, now)

    def _changed(self, subscription: ServerSubscription, command: Command, now: float) -> None:
        """A change to an open subscription is done."""
        subscription.pending = None
        subscription.failures = 0
        if command.cmd == "add_markets":
            self._confirm(subscription, command.keys, now)
        else:
            subscription.drop(command.keys)
            self._listener.markets_left(subscription, command.keys, now)
            self._settle(subscription.name, now)

    def _confirm(self, subscription: ServerSubscription, keys: tuple[str, ...], now: float) -> None:
        """The exchange has these keys; go on to the next command."""
        subscription.confirm(keys)
        # a full command: more follow, but the snapshots for this one should come first
        if len(keys) >= subscription.chunk:
            subscription.retry_at = now + self._timing.pace
        self.unsettled.add(subscription.name)
        if subscription.name == BOOK_CHANNEL:
            self._listener.snapshots_due(now)
        self._settle(subscription.name, now)

    def _listed(
        self, command: Command, subscriptions: tuple[tuple[str, int], ...] | None, now: float
    ) -> None:
        """The exchange lists its open subscriptions: settle those whose sid, or whose opening, we missed."""
        box = self._lists.pop(command.id, None)
        if box is not None:
            box.append(subscriptions or ())
        if subscriptions is None:
            return
        sids = dict(subscriptions)
        for subscription in self.subscriptions:
            if subscription.is_open and subscription.sid is None:
                if subscription.name in sids:
                    self.subscriptions.adopt(subscription, sids[subscription.name])
                    self._settle(subscription.name, now)
                else:
                    self._died(subscription, "the exchange does not list the subscription", now)
            elif (
                not subscription.is_open
                and subscription.pending is None
                and self._is_news(subscription, sids.get(subscription.name))
            ):
                # it does not say which markets it has: all of them are added
                self._opened(subscription, sids[subscription.name], (), now)
                subscription.lose_count()

    def _is_news(self, subscription: ServerSubscription, sid: int | None) -> bool:
        """Whether a listed sid is one whose `subscribed` we missed; if it is not wanted, it must end."""
        return sid is not None and sid not in self.subscriptions.retired

    def _closed(self, subscription: ServerSubscription, now: float) -> None:
        """The subscription has ended because we asked for it."""
        self._listener.markets_left(subscription, None, now)
        self._retire(subscription)
        self.unsettled.add(subscription.name)
        self._settle(subscription.name, now)

    def _died(self, subscription: ServerSubscription, reason: str, now: float) -> None:
        """The subscription ended while it was wanted: its books are STALE; make it again after a delay."""
        self._listener.subscription_died(subscription, reason, now)
        if subscription.is_open and now - subscription.opened_at >= self._timing.healthy:
            subscription.failures = 0
        self._retire(subscription)
        self.unsettled.add(subscription.name)
        self._put_off(subscription, now)

    def _put_off(self, subscription: ServerSubscription, now: float) -> None:
        """Send nothing for the subscription for a while, twice as long each time."""
        subscription.retry_at = now + min(
            self._timing.retry_initial * 2**subscription.failures, self._timing.retry_max
        )
        subscription.failures = min(subscription.failures + 1, 16)

    def _retire(self, subscription: ServerSubscription) -> None:
        """Forget an ended subscription, and the change in flight that it will never answer."""
        if subscription.pending is not None and subscription.is_open:  # not a subscribe: it will be answered
            self.in_flight.pop(subscription.pending.id, None)
            subscription.pending = None
        self.subscriptions.retire(subscription)

    def _unexpected(self, type_: str, now: float) -> None:
        self._output.fault("unexpected_reply", f"a reply of type {type_} answers none of our commands", now)
