"""What users want: the subscriptions they made, and which of them want each market of each channel.

Owns Change (one request from a user), Want (the record of one subscription) and Wanted (all of them, and what
has changed since the session last looked). Every change to Wanted is idempotent: if an exception interrupts
it (Ctrl-C, a signal handler that raises), it is simply applied again. Not thread-safe; guarded by the store's
lock: user threads change it, the session reads it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from ..errors import ConfigurationError, SubscriptionError
from .channels import ALL_MARKETS, BOOK_CHANNEL, CHANNELS, rule_of

__all__ = ["Change", "ListBox", "Pending", "Want", "Wanted", "WantedChannel"]

# Where a list_subscriptions call finds its answer: (channel, sid) pairs, or the exchange's refusal.
ListBox = list["tuple[tuple[str, int], ...] | SubscriptionError"]


# options that reduce the messages that come
_NARROWING = frozenset({"user_filter", "shard_factor", "shard_key"})
_serials = itertools.count(1)


class Change:
    """One request from a user, as it is queued and recorded. Immutable by convention, and so thread-safe."""

    __slots__ = ("box", "kind", "serial", "want", "words")

    def __init__(
        self,
        kind: Literal[
            "subscribe",
            "add_markets",
            "delete_markets",
            "unsubscribe",
            "request_snapshots",
            "ask",
            "ask_again",
            "list_subscriptions",
            "reopen_books",
        ],
        want: Want | None = None,
        words: Iterable[str] = (),
        box: ListBox | None = None,
    ) -> None:
        self.kind = kind
        self.want = want
        self.words = tuple(words)
        self.box = box  # of list_subscriptions
        self.serial = next(_serials)  # shows a recording that a change was applied twice


class Want:
    """One subscription as its user asked for it. Not thread-safe; guarded by the store's lock."""

    __slots__ = ("channels", "closed", "error", "failed", "keys", "options", "refused", "selector")

    def __init__(
        self, channels: tuple[str, ...], selector: str | None, keys: Iterable[str], options: Mapping[str, Any]
    ) -> None:
        self.channels = channels
        self.selector = selector  # the subscribe parameter that ``keys`` are for; None: no filter
        self.keys = dict.fromkeys(keys)
        self.options = dict(options)
        self.failed: set[str] = set()  # channels on which the exchange refused all of it
        self.refused: dict[str, set[str]] = {}  # by channel, the keys that the exchange refused
        self.error: SubscriptionError | None = None  # the last refusal; None again once it was forgiven
        self.closed = False  # whether the user has unsubscribed

    def live_channels(self) -> tuple[str, ...]:
        """The channels that this subscription still wants."""
        return () if self.closed else tuple(name for name in self.channels if name not in self.failed)

    def keys_of(self, channel: str) -> Iterable[str]:
        """The keys it selects on ``channel``; ALL_MARKETS if the channel does not take its filter."""
        keys = self.keys if self.filters(channel) else ALL_MARKETS
        refused = self.refused.get(channel)
        return [key for key in keys if key not in refused] if refused else keys

    def forgive(self, channel: str, keys: Iterable[str]) -> None:
        """Forget that ``keys`` were refused: the user has asked for them again, or dropped them."""
        self.refused.get(channel, set()).difference_update(keys)
        if not self.failed and not any(self.refused.values()):
            self.error = None

    def filters(self, channel: str) -> bool:
        """Whether the channel can be filtered by this subscription's selector."""
        return self.selector in rule_of(channel).selectors


class WantedChannel:
    """One channel as all subscriptions together want it. Not thread-safe; guarded by the store's lock."""

    __slots__ = ("holders", "name", "options", "wants")

    def __init__(self, name: str) -> None:
        self.name = name
        self.wants: dict[Want, None] = {}  # the subscriptions to this channel, in order
        # by market, the subscriptions that want it: at least one each
        self.holders: dict[str, tuple[Want, ...]] = {}
        self.options: dict[str, Any] = {}  # the channel-wide parameters of them all

    @property
    def keys(self) -> Iterable[str]:
        """The markets to subscribe to; ALL_MARKETS wins over any filter."""
        return ALL_MARKETS if "*all*" in self.holders else self.holders.keys()

    @property
    def selector(self) -> str | None:
        """The parameter that holds the keys in a command; None if no subscription filters."""
        return next((want.selector for want in self.wants if want.filters(self.name)), None)


class Pending(NamedTuple):
    """The users' requests since the session last looked; its fields are Wanted's. Not thread-safe."""

    changed: set[str]
    new_books: dict[str, None]
    snapshots: dict[str, None]
    questions: dict[tuple[str, str], None]
    lists: list[ListBox]


class Wanted:
    """All subscriptions, and what each channel needs for them.

    Not thread-safe; guarded by the store's lock.
    """

    def __init__(self) -> None:
        self.wants: dict[Want, None] = {}  # in the order in which they were made
        self.channels: dict[str, WantedChannel] = {}  # those with at least one subscription
        # The in-trays: users fill them, take_pending() empties them.
        self.changed: set[str] = set()  # channels on which something else is wanted now
        self.new_books: dict[str, None] = {}  # markets whose books were not wanted before
        self.snapshots: dict[str, None] = {}  # markets for which a user requested a fresh snapshot
        # (action, channel) of requested lists, which come as messages
        self.questions: dict[tuple[str, str], None] = {}
        self.lists: list[ListBox] = []  # boxes of list_subscriptions calls that wait for an answer

    @property
    def has_pending(self) -> bool:
        """Whether take_pending() would return anything."""
        return bool(self.changed or self.new_books or self.snapshots or self.questions or self.lists)

    def take_pending(self) -> Pending:
        """The users' requests since the last call, which are the caller's from now on."""
        taken = Pending(self.changed, self.new_books, self.snapshots, self.questions, self.lists)
        self.changed, self.new_books, self.snapshots, self.questions, self.lists = set(), {}, {}, {}, []
        return taken

    def check(self, want: Want) -> None:
        """Raise ConfigurationError if ``want`` contradicts an existing subscription."""
        for name in want.channels:
            self._check(want, name)

    def add(self, want: Want, opened: Callable[[str], object] | None = None) -> list[str]:
        """Add a subscription; return the newly wanted books' markets, each passed to ``opened``.

        Raises ConfigurationError, with nothing changed, if it contradicts an existing subscription.
        """
        if want not in self.wants:
            self.check(want)
        self.wants[want] = None
        new = []
        for name in want.channels:
            channel = self.channels.setdefault(name, WantedChannel(name))
            channel.wants[want] = None
            channel.options = _options_of_all(channel)
            new += self._hold(channel, want, want.keys_of(name), opened)
        return new

    def add_keys(
        self, want: Want, keys: Iterable[str], opened: Callable[[str], object] | None = None
    ) -> list[str]:
        """Add markets, or retry refused ones; return the newly wanted books' markets, as add() does.

        A channel that has failed goes on with these markets.
        """
        new = []
        for name in () if want.closed else want.channels:
            if want.filters(name):
                if name in want.failed and not self._rejoin(want, name):
                    continue
                want.forgive(name, keys)
                new += self._hold(self.channels[name], want, keys, opened)
        want.keys.update(dict.fromkeys(keys))
        return new

    def delete_keys(
        self, want: Want, keys: Iterable[str], closed: Callable[[str], object] | None = None
    ) -> list[str]:
        """Remove markets; return those whose books are no longer wanted, each passed to ``closed``."""
        gone = []
        for name in want.live_channels():
            if want.filters(name):
                want.forgive(name, keys)
                gone += self._release(self.channels[name], want, keys, closed)
        for key in keys:
            want.keys.pop(key, None)
        return gone

    def remove(self, want: Want, closed: Callable[[str], object] | None = None) -> list[str]:
        """Remove a subscription; return the markets whose books are no longer wanted."""
        gone = []
        for name in want.live_channels():
            channel = self.channels.get(name)
            if channel is not None:
                gone += self._release(channel, want, list(want.keys_of(name)), closed)
                self._leave(channel, want)
        want.closed = True
        self.wants.pop(want, None)
        return gone

    def refuse(self, channel: str, keys: Iterable[str], error: SubscriptionError) -> list[str]:
        """The exchange refused ``keys`` on ``channel``: every subscription that wanted one gets ``error``.

        A subscription that has nothing left on the channel has failed there; one that keeps other markets
        continues with those. Returns the markets whose books are no longer wanted.
        """
        gone: list[str] = []
        for want in list(self.channels[channel].wants if channel in self.channels else ()):
            held = set(want.keys_of(channel))
            refused = held.intersection(keys)
            if not refused:
                continue
            want.error = error
            gone += self._release(self.channels[channel], want, refused, None)
            want.refused.setdefault(channel, set()).update(refused)
            if refused == held:
                want.failed.add(channel)
                self._leave(self.channels[channel], want)
        return gone

    def wants_book(self, market_ticker: str) -> bool:
        """Whether any subscription wants the book of this market."""
        channel = self.channels.get(BOOK_CHANNEL)
        return channel is not None and market_ticker in channel.holders

    def _check(self, want: Want, name: str) -> None:
        rule = rule_of(name)
        if want.selector not in (None, "market_tickers", *rule.selectors):
            what = " or ".join(f"{selector}=[…]" for selector in rule.selectors) or "no filter"
            raise ConfigurationError(
                f"{name} takes {what}, so {want.selector} cannot be used; subscribe to it in a separate call"
            )
        if rule.filter_required and want.selector not in rule.selectors:
            raise ConfigurationError(
                f"{name} needs markets (the exchange answers 'Params required'): write subscribe({name!r}, "
                "['MARKET-TICKER', …])"
            )
        known = self.channels.get(name)
        if known is None:
            return
        if want.selector in rule.selectors and known.selector not in (None, want.selector):
            raise ConfigurationError(
                f"{name} is already subscribed by {known.selector}; the exchange takes one kind of filter "
                f"per channel, so write {known.selector}=… here too"
            )
        mine = _options_of(want, name)
        for option in (*mine, *known.options):
            is_given_twice = option in mine and option in known.options
            if (is_given_twice or option in _NARROWING) and mine.get(option) != known.options.get(option):
                raise ConfigurationError(
                    f"{name} is already subscribed {_said(option, known.options)}; the exchange keeps one "
                    f"subscription per channel, so it cannot also be subscribed {_said(option, mine)}: "
                    "unsubscribe the other one first"
                )

    def _rejoin(self, want: Want, name: str) -> bool:
        """Want a channel again on which all was refused; False if that contradicts another subscription."""
        try:
            self._check(want, name)
        except ConfigurationError:
            return False
        channel = self.channels.setdefault(name, WantedChannel(name))
        channel.wants[want] = None
        channel.options = _options_of_all(channel)
        want.failed.discard(name)
        return True

    def _hold(
        self, channel: WantedChannel, want: Want, keys: Iterable[str], opened: Callable[[str], object] | None
    ) -> list[str]:
        """Add ``want``'s keys. A market's holders come last: until then, a retry finds it new."""
        new = []
        self.changed.add(channel.name)
        holders, is_book = channel.holders, channel.name == BOOK_CHANNEL
        alone = (want,)  # one tuple for all the markets that only this one wants
        for key in keys:
            others = holders.get(key, ())
            if want in others:
                continue
            if is_book and not others:
                new.append(key)
                self.new_books[key] = None
                if opened is not None:
                    opened(key)
            holders[key] = (*others, want) if others else alone
        return new

    def _release(
        self, channel: WantedChannel, want: Want, keys: Iterable[str], closed: Callable[[str], object] | None
    ) -> list[str]:
        """``want`` no longer wants these keys: _hold() in reverse."""
        gone = []
        self.changed.add(channel.name)
        holders, is_book = channel.holders, channel.name == BOOK_CHANNEL
        for key in keys:
            others = tuple(other for other in holders.get(key, ()) if other is not want)
            if others:
                holders[key] = others
            elif key in holders:
                if is_book:
                    gone.append(key)
                    if closed is not None:
                        closed(key)
                del holders[key]
        return gone

    def _leave(self, channel: WantedChannel, want: Want) -> None:
        channel.wants.pop(want, None)
        if channel.wants:
            channel.options = _options_of_all(channel)
        else:
            self.channels.pop(channel.name, None)


def _said(option: str, options: Mapping[str, Any]) -> str:
    return f"with {option}={options[option]!r}" if option in options else f"without {option}"


def _options_of(want: Want, name: str) -> dict[str, Any]:
    """The channel-wide parameters of ``want`` that apply to this channel."""
    allowed = CHANNELS[name].options if name in CHANNELS else tuple(want.options)
    return {
        option: value
        for option, value in want.options.items()
        if option in allowed or option == "skip_ticker_ack"
    }


def _options_of_all(channel: WantedChannel) -> dict[str, Any]:
    return {name: value for want in channel.wants for name, value in _options_of(want, channel.name).items()}
