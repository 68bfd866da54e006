"""What consumers want of a relay, all together. Owns the bounds, the allow-list, and when a wish ends.

Each (channel, selector, key) is wanted by a number of consumers; the relay's feed hears only of the first and
of the last one. Pure: times are passed in, and what is to be done is returned. Belongs to the thread that
serves wishes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from ..errors import ConfigurationError
from ..session.channels import CHANNELS, is_name, rule_of
from ..session.wanted import Want, Wanted
from .encoding import ACCOUNT_CHANNELS
from .wishes import LEASE, FollowWish, OneTimeRequest, SubscribeWish, Wishes

__all__ = ["FollowKey", "Group", "Taken", "WishRegistry"]

MOST_CONSUMERS: Final = 5_000
MOST_KEYS: Final = 200_000  # that all consumers together want
MOST_HELD: Final = 2_000_000  # the sum over all consumers of what each wants
MOST_FOLLOWS: Final = 200  # each has a thread
REQUESTS_PER_SECOND: Final = 20.0
MOST_REQUESTS: Final = 100  # at once, after a while without any
_WHOLE: Final = frozenset(("",))  # the one key of a group without a selector
_NAMED: Final = 3  # keys that a refusal names
_REQUESTS: Final = frozenset(("request_snapshots", "ask", "ask_again", "checkpoint"))


class Group(NamedTuple):
    """One subscription of the relay's feed: all that consumers want of a channel by one selector."""

    channel: str
    selector: str | None


class FollowKey(NamedTuple):
    """One follow() of the relay's feed."""

    series: str | None
    event: str | None
    channels: tuple[str, ...]
    lead: float
    linger: float
    limit: int | None


@dataclass
class Taken:
    """What follows from wishes: in ``added`` and ``removed`` the keys by group, for a group without a
    selector the key "". ``repeated`` are keys of this consumer that others wanted before."""

    added: dict[Group, list[str]] = field(default_factory=dict)
    repeated: dict[Group, list[str]] = field(default_factory=dict)
    removed: dict[Group, list[str]] = field(default_factory=dict)
    follow: list[FollowKey] = field(default_factory=list)
    unfollow: list[FollowKey] = field(default_factory=list)
    requests: list[OneTimeRequest] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


class _Consumer:
    """One consumer: its lease, and what it wants by the numbers of its wishes."""

    __slots__ = ("follows", "heard", "keys", "refused", "serial")

    def __init__(self) -> None:
        self.serial = -1  # of the wishes that were taken in
        self.heard = 0.0  # when it last sent them
        self.keys: dict[int, dict[Group, frozenset[str]]] = {}
        self.follows: dict[int, FollowKey] = {}
        self.refused: dict[int, str] = {}


class WishRegistry:
    """All consumers' wishes. Pure; for one thread.

    ``allow``: patterns for markets, series, events and other keys. ``account``: whether there are account
    channels at all.
    """

    def __init__(self, allow: Iterable[str], *, account: bool) -> None:
        self._allow = tuple(allow)
        self._allows_all = "*" in self._allow
        self._account = account
        self._consumers: dict[str, _Consumer] = {}  # those heard from longest ago first
        self._holders: dict[Group, dict[str, int]] = {}  # how many wishes hold each key
        self._follows: dict[FollowKey, int] = {}
        self._held = 0  # the sum of _holders
        self._distinct = 0  # the number of keys in _holders
        self._tokens, self._tokens_at = float(MOST_REQUESTS), 0.0  # for one-time requests
        self.refused = 0  # wishes and requests that were refused so far

    @property
    def consumers(self) -> int:
        """How many consumers have a lease."""
        return len(self._consumers)

    @property
    def keys(self) -> int:
        """How many different keys they want, on all channels."""
        return self._distinct

    @property
    def follows(self) -> int:
        """How many different follow() they want."""
        return len(self._follows)

    def take(self, wishes: Wishes, now: float, *, account: bool = False, is_old: bool = False) -> Taken:
        """Take in what a consumer wants; ``account``: it reads the account's stream. ``is_old``: it was sent
        before the relay began, so its one-time requests are not carried out."""
        taken = Taken()
        consumer = self._consumers.pop(wishes.consumer, None)
        if consumer is None:
            if len(self._consumers) >= MOST_CONSUMERS:
                text = f"the relay has {MOST_CONSUMERS} consumers already"
                numbers = [wish.number for wish in wishes.subscribe] + [wish.number for wish in wishes.follow]
                taken.refused = dict.fromkeys(numbers, text)
                self.refused += 1
                return taken
            consumer = _Consumer()
        self._consumers[wishes.consumer] = consumer
        consumer.heard = now
        if wishes.serial > consumer.serial:
            consumer.serial = wishes.serial
            self._change(consumer, wishes, taken, account)
            if not is_old:
                self._take_requests(wishes.requests, taken, now)
        taken.refused = dict(consumer.refused)
        return taken

    def expire(self, now: float) -> Taken:
        """Drop the consumers whose lease has ended."""
        taken = Taken()
        for name in list(self._consumers):
            consumer = self._consumers[name]
            if now - consumer.heard < LEASE:
                break
            del self._consumers[name]
            self._drop(consumer, taken)
        return taken

    def extend(self, seconds: float) -> None:
        """No consumer could be heard for so long: their leases last longer by that."""
        for consumer in self._consumers.values():
            consumer.heard += seconds

    def clear(self) -> Taken:
        """Drop all consumers."""
        taken = Taken()
        for consumer in self._consumers.values():
            self._drop(consumer, taken)
        self._consumers.clear()
        return taken

    def refuse(self, name: str, subject: Group | FollowKey, text: str) -> Taken:
        """The relay's feed does not accept what this consumer was the first to want: its wishes that contain
        it are refused. Returns what follows from that."""
        consumer, taken = self._consumers[name], Taken()
        for number in [number for number, groups in consumer.keys.items() if subject in groups]:
            self._release(consumer.keys.pop(number), taken)
            taken.refused[number] = text
        for number in [number for number, follow in consumer.follows.items() if follow == subject]:
            self._unfollow(consumer.follows.pop(number), taken)
            taken.refused[number] = text
        consumer.refused.update(taken.refused)
        self.refused += len(taken.refused)
        return taken

    def holds(self, group: Group) -> bool:
        """Whether any consumer wants something of the group."""
        return group in self._holders

    def wanted_of(self, group: Group, keys: Iterable[str]) -> list[str]:
        """Those of the keys that any consumer wants."""
        holders = self._holders.get(group, {})
        return [key for key in keys if key in holders]

    def is_followed(self, key: FollowKey) -> bool:
        """Whether any consumer wants it."""
        return key in self._follows

    # -- one consumer's change -------------------------------------------------------------------------------

    def _change(self, consumer: _Consumer, wishes: Wishes, taken: Taken, account: bool) -> None:
        """Replace all that the consumer wanted. What it wants still is never dropped in between."""
        before, consumer.keys = consumer.keys, {}
        followed, consumer.follows = consumer.follows, {}
        consumer.refused = {}
        for wish in wishes.subscribe:
            try:
                groups = self._groups_of(wish, account)
                self._check_bounds(groups, before.get(wish.number))
            except ConfigurationError as error:
                consumer.refused[wish.number] = str(error)
                continue
            if before.get(wish.number) == groups:
                consumer.keys[wish.number] = before.pop(wish.number)
            elif wish.number not in consumer.keys:
                self._hold(groups, taken)
                consumer.keys[wish.number] = groups
        for one in wishes.follow:
            try:
                key = self._follow_of(one, account)
            except ConfigurationError as error:
                consumer.refused[one.number] = str(error)
                continue
            if one.number not in consumer.follows:
                self._follow(key, taken)
                consumer.follows[one.number] = key
        for groups in before.values():
            self._release(groups, taken)
        for key in followed.values():
            self._unfollow(key, taken)
        self.refused += len(consumer.refused)

    def _drop(self, consumer: _Consumer, taken: Taken) -> None:
        for groups in consumer.keys.values():
            self._release(groups, taken)
        for key in consumer.follows.values():
            self._unfollow(key, taken)

    def _hold(self, groups: Mapping[Group, frozenset[str]], taken: Taken) -> None:
        for group, keys in groups.items():
            holders = self._holders.setdefault(group, {})
            for key in keys:
                count = holders.get(key, 0)
                holders[key] = count + 1
                if count:
                    taken.repeated.setdefault(group, []).append(key)
                else:
                    taken.added.setdefault(group, []).append(key)
                    self._distinct += 1
            self._held += len(keys)

    def _release(self, groups: Mapping[Group, frozenset[str]], taken: Taken) -> None:
        for group, keys in groups.items():
            holders = self._holders[group]
            for key in keys:
                holders[key] -= 1
                if not holders[key]:
                    del holders[key]
                    taken.removed.setdefault(group, []).append(key)
                    self._distinct -= 1
            self._held -= len(keys)
            if not holders:
                del self._holders[group]

    def _follow(self, key: FollowKey, taken: Taken) -> None:
        count = self._follows.get(key, 0)
        self._follows[key] = count + 1
        if not count:
            taken.follow.append(key)

    def _unfollow(self, key: FollowKey, taken: Taken) -> None:
        self._follows[key] -= 1
        if not self._follows[key]:
            del self._follows[key]
            taken.unfollow.append(key)

    # -- what is allowed -------------------------------------------------------------------------------------

    def _groups_of(self, wish: SubscribeWish, account: bool) -> dict[Group, frozenset[str]]:
        """What the wish means. Raises ConfigurationError, which says why it is refused."""
        channels = self._checked_channels(wish.channels, account)
        keys = frozenset(map(sys.intern, wish.keys))  # the same strings for all consumers
        Wanted().check(Want(channels, wish.selector, keys, {}))
        if (wish.selector is None) is not (not keys):
            raise ConfigurationError("a selector without keys, or keys without a selector")
        self._check_keys(wish.selector or "", keys)
        groups: dict[Group, frozenset[str]] = {}
        for channel in channels:
            selectors = rule_of(channel).selectors
            if wish.selector in selectors:
                groups[Group(channel, wish.selector)] = keys
                continue
            if selectors and not self._allows_all:
                raise ConfigurationError(f"the relay does not allow all of {channel}: name the markets")
            groups[Group(channel, None)] = _WHOLE
        return groups

    def _checked_channels(self, channels: Iterable[str], account: bool) -> tuple[str, ...]:
        for channel in channels:
            if channel not in CHANNELS:
                raise ConfigurationError(
                    f"the relay does not know the channel {channel!r}; it may be an older version"
                )
            if channel in ACCOUNT_CHANNELS and not self._account:
                raise ConfigurationError(
                    f"{channel} is about the account: the relay was started without account=True (--account)"
                )
            if channel in ACCOUNT_CHANNELS and not account:
                raise ConfigurationError(
                    f"{channel} is about the account: call from_relay() with account=True"
                )
        return tuple(dict.fromkeys(channels))

    def _check_keys(self, selector: str, keys: Iterable[str]) -> None:
        for key in keys:
            if not is_name(key):
                raise ConfigurationError(f"{key!r} cannot be the name of a market or anything else")
        if self._allows_all:
            return
        if selector == "market_ids":
            raise ConfigurationError("the relay allows only some markets, so name them by ticker, not by id")
        denied = sorted(key for key in keys if not self._is_allowed(key))
        if denied:
            more = " …" if len(denied) > _NAMED else ""
            raise ConfigurationError(f"the relay does not allow {', '.join(denied[:_NAMED])}{more}")

    def _is_allowed(self, name: str) -> bool:
        return self._allows_all or any(fnmatchcase(name, pattern) for pattern in self._allow)

    def _follow_of(self, wish: FollowWish, account: bool) -> FollowKey:
        subject = wish.event if wish.series is None else wish.series
        if subject is None or (wish.series is not None and wish.event is not None):
            raise ConfigurationError("follow() needs either a series or an event")
        self._check_keys("", (subject,))
        channels = self._checked_channels(wish.channels, account)
        key = FollowKey(wish.series, wish.event, channels, wish.lead, wish.linger, wish.limit)
        if key not in self._follows and len(self._follows) >= MOST_FOLLOWS:
            raise ConfigurationError(f"the relay follows {MOST_FOLLOWS} series and events already")
        return key

    def _check_bounds(
        self, groups: Mapping[Group, frozenset[str]], before: Mapping[Group, frozenset[str]] | None
    ) -> None:
        if groups == before:
            return
        held = sum(map(len, groups.values()))
        new = sum(len(keys.difference(self._holders.get(group, ()))) for group, keys in groups.items())
        if self._held + held > MOST_HELD or self._distinct + new > MOST_KEYS:
            raise ConfigurationError(
                f"the relay's consumers want {self._distinct} markets already; it accepts {MOST_KEYS}"
            )

    def _take_requests(self, requests: Iterable[OneTimeRequest], taken: Taken, now: float) -> None:
        """Accept one-time requests, at a bounded rate."""
        self._tokens += max(now - self._tokens_at, 0.0) * REQUESTS_PER_SECOND
        self._tokens, self._tokens_at = min(self._tokens, MOST_REQUESTS), now
        for request in requests:
            if request.do not in _REQUESTS or self._tokens < 1 or not self._is_request_allowed(request):
                self.refused += 1
                continue
            self._tokens -= 1
            taken.requests.append(request)

    def _is_request_allowed(self, request: OneTimeRequest) -> bool:
        if request.do == "ask":
            return len(request.words) > 1 and all(word in CHANNELS for word in request.words[1:])
        return all(is_name(word) and self._is_allowed(word) for word in request.words)
