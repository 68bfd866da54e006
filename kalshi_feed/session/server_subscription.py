"""The subscriptions at the exchange, one per channel of the current connection: sid, seq, markets.

Owns ServerSubscription, which decides which command comes next, and ServerSubscriptions: which sid belongs to
which channel, and which sids have ended. Whatever is made from a set is sorted, so that a replay sends
exactly what the feed sent. Not thread-safe; owned by the session.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from .channels import ALL_MARKETS, CHANNEL_OF_TYPE, Channel, rule_of
from .commands import CHUNK, Command
from .memory import ReconcilerMemory, SubscriptionMemory

__all__ = ["ServerSubscription", "ServerSubscriptions"]

_MOST_ENDED_EARLY = 1_000  # per connection: the limit for an exchange that invents sids
_MOST_RETIRED: Final = 1_000


class ServerSubscription:
    """One channel on the current connection. Not thread-safe; owned by the session."""

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
        self.failures = 0  # how often it died or was put off since it was last healthy: doubles the delay
        self.opened_at = 0.0  # when the exchange confirmed it, on the session's clock
        self.retry_at = 0.0  # no command before this, on the session's clock
        self.selector: str | None = None  # the parameter that holds the keys; set with each subscribe
        # The change in flight. One at a time: only the latest request counts, and the rate stays polite.
        self.pending: Command | None = None
        self.reset()

    def reset(self) -> None:
        """The exchange has no such subscription."""
        self.sid: int | None = None  # None: not open, or `subscribed` did not say
        self.is_open = False  # whether the exchange has confirmed it
        self.next_seq: int | None = 1  # the seq that the next frame must have; None: see lose_count()
        self.floor = 0  # with next_seq None: frames below this were counted before
        # the seqs that the last gap skipped; a frame with one of them is merely late
        self.hole = range(0)
        self.confirmed: set[str] = set()  # keys the exchange has; changed by confirm() and drop() only
        self.uncertain: set[str] = set()  # keys the exchange may or may not have; see make_uncertain()
        # confirmed keys that the exchange did not know: their deltas may or may not come
        self.unproven: set[str] = set()
        self.renewing: set[str] = set()  # those of them that are to be deleted and added again; see renew()
        self._named: tuple[str, ...] | None = None  # what named() returned last; None: the keys have changed
        self.chunk = CHUNK  # keys per command; fewer near the exchange's market limit

    def is_next(self, seq: int | None) -> bool:
        """Whether a data frame with ``seq`` is the one that must come next; if so, it is counted."""
        if not self.rule.sequenced:
            return True
        if seq is None or seq != self.next_seq:
            return False
        self.next_seq = seq + 1
        return True

    def save(self) -> SubscriptionMemory:
        """Everything as plain values."""
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
        """The subscription that save() saved."""
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
        """The exchange has these keys."""
        self.confirmed.update(keys)
        self.uncertain.difference_update(keys)
        self._named = None

    def drop(self, keys: Iterable[str]) -> None:
        """The exchange no longer has these keys."""
        for known in (self.confirmed, self.uncertain, self.unproven, self.renewing):
            known.difference_update(keys)
        self._named = None

    def renew(self, keys: Iterable[str]) -> None:
        """Have these keys deleted and added again, for a fresh snapshot and for deltas."""
        self.renewing.update(self.confirmed.intersection(keys))
        self.unproven |= self.renewing

    def make_uncertain(self, command: Command) -> None:
        """The exchange may or may not have carried out ``command`` (error 18).

        next_step() settles it: a key that is wanted is added again, which does no harm if the exchange has
        it; one that is not is deleted.
        """
        keys = self.confirmed.copy() if command.cmd == "unsubscribe" else set(command.keys)
        if command.cmd != "add_markets":
            self.drop(keys)
        self.uncertain |= keys

    def named(self) -> tuple[str, ...]:
        """The confirmed markets, sorted; empty if all are. The same tuple as long as they do not change."""
        if self._named is None:
            self._named = tuple(sorted(self.confirmed - ALL_MARKETS))
        return self._named

    def lose_count(self, floor: int = 0) -> None:
        """Accept the next seq whatever it is, unless it is below ``floor``: those were counted before."""
        self.next_seq, self.floor = None, floor

    def keeps(self, key: str) -> bool:
        """Whether the exchange has ``key``, and no command in flight tells it to drop it."""
        leaving = self.pending is not None and (
            self.pending.cmd == "unsubscribe"
            or (self.pending.cmd == "delete_markets" and key in self.pending.keys)
        )
        return key in self.confirmed and not leaving

    def next_step(self, wanted: Iterable[str], selector: str | None) -> tuple[str, tuple[str, ...]] | None:
        """The next command (cmd, keys) on the way to ``wanted``, or None if there is nothing to do.

        Markets are added before others are deleted, so that a filter is never empty (it is unknown what the
        exchange would send then, PROTOCOL.md 3.3). The last market is removed by unsubscribing; so is a
        filter of another kind. A key to be renewed is deleted as if it were no longer wanted, and then added
        again.
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
    """At most one subscription per channel, and one per sid. Not thread-safe; owned by the session."""

    def __init__(self) -> None:
        self._by_name: dict[str, ServerSubscription] = {}  # by channel
        self.by_sid: dict[int, ServerSubscription] = {}  # those whose sid is known
        # subscriptions that ended before they were confirmed, see end_early(): ("sid" or "id", number) to the
        # reason
        self._ended_early: dict[tuple[str, int], str] = {}
        # the last sids of this connection that have ended: late frames for them mean nothing
        self.retired: dict[int, None] = {}

    def __iter__(self) -> Iterator[ServerSubscription]:
        return iter(tuple(self._by_name.values()))

    def __getitem__(self, name: str) -> ServerSubscription:
        """The channel's subscription; created if there is none."""
        subscription = self._by_name.get(name)
        if subscription is None:
            subscription = self._by_name[name] = ServerSubscription(name)
        return subscription

    def get(self, name: str) -> ServerSubscription | None:
        """The channel's subscription; None if nothing was ever sent for it on this connection."""
        return self._by_name.get(name)

    def save(self, memory: ReconcilerMemory) -> None:
        """Write everything into ``memory``."""
        memory.subscriptions = [subscription.save() for subscription in self]
        memory.retired = list(self.retired)
        memory.ended_early = [(kind, number, reason) for (kind, number), reason in self._ended_early.items()]

    def restore(self, memory: ReconcilerMemory, in_flight: Mapping[int, Command]) -> None:
        """Continue from ``memory``."""
        self.clear()
        self.retired.update(dict.fromkeys(memory.retired))
        self._ended_early.update({(kind, number): reason for kind, number, reason in memory.ended_early})
        for one in memory.subscriptions:
            if one.channel in self._by_name or one.sid in self.by_sid:
                continue  # an edited file may say anything
            subscription = ServerSubscription.restored(one, in_flight)
            self._by_name[subscription.name] = subscription
            if subscription.sid is not None:
                self.by_sid[subscription.sid] = subscription

    def clear(self) -> None:
        """Forget everything: the connection is gone."""
        for known in (self._by_name, self.by_sid, self.retired, self._ended_early):
            known.clear()

    def of_sid(self, sid: int | None) -> ServerSubscription | None:
        """The subscription with this sid, or None."""
        return self.by_sid.get(sid) if sid is not None else None

    def of_frame(self, sid: int | None, type_: str) -> ServerSubscription | None:
        """The subscription a data frame belongs to, or None.

        A frame may come before the `subscribed` that states its sid, and some `subscribed` never do: then the
        subscription takes the sid from the frame.
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
        """The open subscription that the command was sent to; None if there was none or it has ended."""
        subscription = self._by_name.get(command.channel)
        return (
            subscription
            if subscription is not None and subscription.is_open and subscription.sid == command.sid
            else None
        )

    def adopt(self, subscription: ServerSubscription, sid: int) -> None:
        """``sid`` is the subscription's from now on, whichever subscription had it before."""
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
        """Note that the exchange ended a subscription before its `subscribed`.

        Commands and subscriptions answer in no fixed order, so the error that ends a subscription may
        overtake the reply that opens it. It is known by its sid or by its command's id.
        """
        for kind, number in (("sid", sid), ("id", id_)):
            if number is not None and len(self._ended_early) < _MOST_ENDED_EARLY:
                self._ended_early[kind, number] = reason

    def ended_early(self, sid: int | None, id_: int | None) -> str | None:
        """Why the subscription that is being confirmed has already ended; None if it has not."""
        found = [
            self._ended_early.pop((kind, number), None)
            for kind, number in (("sid", sid), ("id", id_))
            if number is not None
        ]
        return next(filter(None, found), None)

    def retire(self, subscription: ServerSubscription) -> None:
        """The subscription has ended: forget its sid, except that late frames for it mean nothing."""
        if subscription.sid is not None:
            del self.by_sid[subscription.sid]
            self.retired[subscription.sid] = None
            if len(self.retired) > _MOST_RETIRED:
                del self.retired[next(iter(self.retired))]
        subscription.reset()
