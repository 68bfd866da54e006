"""The subscriptions at the exchange, one per channel of the present connection: sid, next seq, which markets
are confirmed.

Owns ServerSubscription with the decision which command comes next, and ServerSubscriptions: which sid belongs
to which channel, and which sids have ended. What is made of a set is sorted: a replay sends what the feed
sent. Not thread-safe; owned by the session.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from .channels import ALL_MARKETS, CHANNEL_OF_TYPE, Channel, rule_of
from .commands import CHUNK, Command
from .memory import ReconcilerMemory, SubscriptionMemory

__all__ = ["ServerSubscription", "ServerSubscriptions"]

_MOST_ENDED_EARLY = 1_000  # of one connection: what an exchange may send that names numbers of nobody
_MOST_RETIRED: Final = 1_000


class ServerSubscription:
    """One channel on the present connection. Not thread-safe; see the module."""

    __slots__ = (
        "_named",
        "chunk",
        "confirmed",
        "failures",
        "floor",
        "hole",
        "is_open",
        "name",
        "next_seq",
        "opened_at",
        "pending",
        "renewing",
        "retry_at",
        "rule",
        "selector",
        "sid",
        "uncertain",
        "unproven",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.rule: Channel = rule_of(name)
        self.failures = 0  # subscriptions that died or were put off since one stood
        self.opened_at = 0.0
        self.retry_at = 0.0
        self.selector: str | None = None  # what the keys are called, from the subscribe on
        self.pending: Command | None = (
            None  # one change at a time: the last wish wins, and the rate stays polite
        )
        self.reset()

    def reset(self) -> None:
        """The exchange has no such subscription."""
        self.sid: int | None = None
        self.is_open = False
        self.next_seq: int | None = 1  # None: see lose_count()
        self.floor = 0
        # the numbers that the last gap left out; a frame with one of them is merely late
        self.hole = range(0)
        self.confirmed: set[str] = set()  # changed by confirm() and drop() only
        self.uncertain: set[str] = set()  # what the exchange may have or not; see make_uncertain()
        # confirmed ones that the exchange did not know: whether their deltas come nobody knows
        self.unproven: set[str] = set()
        self.renewing: set[str] = set()  # those of them that are to be deleted and added again; see renew()
        self._named: tuple[str, ...] | None = None
        self.chunk = CHUNK  # keys a command; fewer near the exchange's limit of markets

    def save(self) -> SubscriptionMemory:
        """All of it as plain values."""
        return SubscriptionMemory(
            channel=self.name,
            sid=self.sid,
            is_open=self.is_open,
            next_seq=self.next_seq,
            selector=self.selector,
            confirmed=list(self.confirmed),
            uncertain=list(self.uncertain),
            pending=self.pending.id if self.pending is not None else None,
            failures=self.failures,
            opened_at=self.opened_at,
            retry_at=self.retry_at,
            chunk=self.chunk,
            floor=self.floor,
            hole=(self.hole.start, self.hole.stop),
            unproven=list(self.unproven),
            renewing=list(self.renewing),
        )

    @classmethod
    def restored(cls, memory: SubscriptionMemory, in_flight: Mapping[int, Command]) -> ServerSubscription:
        """What save() returned, as a subscription again."""
        subscription = cls(memory.channel)
        subscription.sid, subscription.is_open, subscription.next_seq = (
            memory.sid,
            memory.is_open,
            memory.next_seq,
        )
        subscription.selector = memory.selector
        subscription.confirm(memory.confirmed)
        subscription.uncertain.update(memory.uncertain)
        subscription.pending = in_flight.get(memory.pending) if memory.pending is not None else None
        subscription.failures, subscription.opened_at, subscription.retry_at = (
            memory.failures,
            memory.opened_at,
            memory.retry_at,
        )
        subscription.chunk = memory.chunk if memory.chunk is not None else CHUNK
        subscription.floor, subscription.hole = memory.floor, range(*memory.hole)
        subscription.unproven.update(memory.unproven)
        subscription.renewing.update(memory.renewing)
        return subscription

    def confirm(self, keys: Iterable[str]) -> None:
        """The exchange has these."""
        self.confirmed.update(keys)
        self.uncertain.difference_update(keys)
        self._named = None

    def drop(self, keys: Iterable[str]) -> None:
        """The exchange no longer has these."""
        for known in (self.confirmed, self.uncertain, self.unproven, self.renewing):
            known.difference_update(keys)
        self._named = None

    def renew(self, keys: Iterable[str]) -> None:
        """Delete these and add them again, for a snapshot and deltas anew."""
        self.renewing.update(self.confirmed.intersection(keys))
        self.unproven |= self.renewing

    def make_uncertain(self, command: Command) -> None:
        """Nobody knows whether the exchange has carried ``command`` out (error 18).

        What it named is added once more where it is wanted, which does no harm if it is there, and else
        deleted.
        """
        keys = self.confirmed.copy() if command.cmd == "unsubscribe" else set(command.keys)
        if command.cmd != "add_markets":
            self.drop(keys)
        self.uncertain |= keys

    def named(self) -> tuple[str, ...]:
        """The markets confirmed; empty where all are. One tuple for as long as they are the same."""
        if self._named is None:
            self._named = tuple(sorted(self.confirmed - ALL_MARKETS))
        return self._named

    def lose_count(self, floor: int = 0) -> None:
        """Whatever number comes next is taken for the right one, but for those below ``floor``: they were
        counted already.
        """
        self.next_seq, self.floor = None, floor

    def keeps(self, key: str) -> bool:
        """Whether the exchange has ``key`` and is not being asked to drop it."""
        leaving = self.pending is not None and (
            self.pending.cmd == "unsubscribe"
            or (self.pending.cmd == "delete_markets" and key in self.pending.keys)
        )
        return key in self.confirmed and not leaving

    def next_step(self, wanted: Iterable[str], selector: str | None) -> tuple[str, tuple[str, ...]] | None:
        """The next command (cmd, keys) on the way to ``wanted``, or None when there is nothing to do.

        Markets are added before others are deleted, so that a filter is never empty (what the exchange would
        then send is unknown, PROTOCOL.md 3.3); the last one goes by unsubscribing, and so does a filter of
        another kind. What is to be renewed goes like what is no longer wanted, and is added again.
        """
        keys = wanted if isinstance(wanted, (set, frozenset)) else set(wanted)
        if not self.is_open:
            return ("subscribe", tuple(islice(wanted, self.chunk))) if keys else None
        if not keys:
            return "unsubscribe", ()
        if not self.renewing and keys == self.confirmed and (keys == ALL_MARKETS or self.uncertain <= keys):
            return None
        if (
            ALL_MARKETS in (keys, self.confirmed)
            or self.uncertain >= ALL_MARKETS
            or selector != self.selector
        ):
            return "unsubscribe", ()
        missing = tuple(islice((key for key in wanted if key not in self.confirmed), self.chunk))
        if missing:
            return "add_markets", missing
        leaving = (self.confirmed | self.uncertain) - keys | self.renewing
        if leaving >= self.confirmed:
            return "unsubscribe", ()
        return "delete_markets", tuple(sorted(leaving)[:CHUNK])


class ServerSubscriptions:
    """At most one subscription per channel, and at most one per sid. Not thread-safe; see the module."""

    def __init__(self) -> None:
        self._by_name: dict[str, ServerSubscription] = {}
        self.by_sid: dict[int, ServerSubscription] = {}
        # by ("sid" or "id", number): why, of those not confirmed yet
        self._ended_early: dict[tuple[str, int], str] = {}
        # sids of this connection that have ended, the last ones: late frames of theirs mean nothing
        self.retired: dict[int, None] = {}

    def __iter__(self) -> Iterator[ServerSubscription]:
        return iter(tuple(self._by_name.values()))

    def __getitem__(self, name: str) -> ServerSubscription:
        """The channel's subscription, made if there was none."""
        subscription = self._by_name.get(name)
        if subscription is None:
            subscription = self._by_name[name] = ServerSubscription(name)
        return subscription

    def get(self, name: str) -> ServerSubscription | None:
        """The channel's subscription, None if nothing was ever asked of it on this connection."""
        return self._by_name.get(name)

    def save(self, memory: ReconcilerMemory) -> None:
        """Write all of it into ``memory``."""
        memory.subscriptions = [subscription.save() for subscription in self]
        memory.retired = list(self.retired)
        memory.ended_early = [(kind, number, reason) for (kind, number), reason in self._ended_early.items()]

    def restore(self, memory: ReconcilerMemory, in_flight: Mapping[int, Command]) -> None:
        """Go on where ``memory`` was saved."""
        self.clear()
        self.retired.update(dict.fromkeys(memory.retired))
        self._ended_early.update({(kind, number): reason for kind, number, reason in memory.ended_early})
        for one in memory.subscriptions:
            if one.channel in self._by_name or one.sid in self.by_sid:
                continue  # a file that was changed may say anything
            subscription = ServerSubscription.restored(one, in_flight)
            self._by_name[subscription.name] = subscription
            if subscription.sid is not None:
                self.by_sid[subscription.sid] = subscription

    def clear(self) -> None:
        """The connection is gone."""
        for known in (self._by_name, self.by_sid, self.retired, self._ended_early):
            known.clear()

    def of_sid(self, sid: int | None) -> ServerSubscription | None:
        """The subscription with this sid."""
        return self.by_sid.get(sid) if sid is not None else None

    def of_frame(self, sid: int | None, type_: str) -> ServerSubscription | None:
        """The subscription a data frame belongs to, or None.

        A frame may come before the `subscribed` that tells its sid (or never does): then it tells it.
        """
        subscription = self.of_sid(sid)
        if subscription is not None or sid in self.retired:
            return subscription
        subscription = self._by_name.get(CHANNEL_OF_TYPE.get(type_, type_))
        if subscription is None or not (subscription.is_open or subscription.pending):
            return None
        if sid is not None:
            if subscription.sid is not None:
                return None
            self.adopt(subscription, sid)
        return subscription

    def of_command(self, command: Command) -> ServerSubscription | None:
        """The open subscription that the command was sent to, None if there was none or it has ended."""
        subscription = self._by_name.get(command.channel)
        return (
            subscription
            if subscription is not None and subscription.is_open and subscription.sid == command.sid
            else None
        )

    def adopt(self, subscription: ServerSubscription, sid: int) -> None:
        """The exchange calls the subscription ``sid``, whatever bore that number before."""
        if subscription.sid is not None:
            del self.by_sid[subscription.sid]
            subscription.next_seq = 1
        other = self.by_sid.get(sid)
        if other is not None:
            other.sid = None
            other.next_seq = 1
            if other.is_open:
                other.lose_count()
        subscription.sid = sid
        subscription.retry_at = 0.0
        self.by_sid[sid] = subscription
        self.retired.pop(sid, None)

    def end_early(self, sid: int | None, id_: int | None, reason: str) -> None:
        """The exchange has ended a subscription whose `subscribed` it has not sent yet, known by its sid or
        its command's id.
        """
        for kind, number in (("sid", sid), ("id", id_)):
            if number is not None and len(self._ended_early) < _MOST_ENDED_EARLY:
                self._ended_early[kind, number] = reason

    def ended_early(self, sid: int | None, id_: int | None) -> str | None:
        """Why the subscription that is confirmed now has ended already; None if it has not."""
        found = [
            self._ended_early.pop((kind, number), None)
            for kind, number in (("sid", sid), ("id", id_))
            if number is not None
        ]
        return next(filter(None, found), None)

    def retire(self, subscription: ServerSubscription) -> None:
        """The exchange has ended the subscription."""
        if subscription.sid is not None:
            del self.by_sid[subscription.sid]
            self.retired[subscription.sid] = None
            if len(self.retired) > _MOST_RETIRED:
                del self.retired[next(iter(self.retired))]
        subscription.reset()
