"""What users want: subscriptions as they were asked for, and which of them hold each channel's markets.

Owns Change (one request of a user), Want (one subscription's record) and Wanted (all of them and the
difference to make). Every change of Wanted is idempotent: one that an exception interrupts (Ctrl-C, a signal
handler that raises) is simply applied again, and only then is it done. Not thread-safe; whoever holds the
store's lock may use it: user threads change it, the session reads it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from ..errors import ConfigurationError, SubscriptionError
from .channels import ALL_MARKETS, BOOK_CHANNEL, CHANNELS, rule_of

__all__ = ["Change", "ListBox", "Pending", "Want", "Wanted", "WantedChannel"]

# Where a list_subscriptions call finds its answer: (channel, sid) pairs, or the exchange's refusal
ListBox = list["tuple[tuple[str, int], ...] | SubscriptionError"]


# with it fewer messages come than without
_NARROWING = frozenset({"user_filter", "shard_factor", "shard_key"})
_serials = itertools.count(1)


class Change:
    """One request of a user, as it is queued and recorded. Immutable by convention, hence thread-safe."""

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
        self.serial = next(_serials)  # by which a recording tells one that was applied twice


class Want:
    """One subscription as its user asked for it. Not thread-safe; see the module."""

    __slots__ = ("channels", "closed", "error", "failed", "keys", "options", "refused", "selector")

    def __init__(
        self, channels: tuple[str, ...], selector: str | None, keys: Iterable[str], options: Mapping[str, Any]
    ) -> None:
        self.channels = channels
        self.selector = selector
        self.keys = dict.fromkeys(keys)
        self.options = dict(options)
        self.failed: set[str] = set()  # channels of which nothing is left
        self.refused: dict[str, set[str]] = {}  # by channel, what the exchange would not give
        self.error: SubscriptionError | None = None
        self.closed = False

    def live_channels(self) -> tuple[str, ...]:
        """The channels that are still wanted."""
        return () if self.closed else tuple(name for name in self.channels if name not in self.failed)

    def keys_of(self, channel: str) -> Iterable[str]:
        """What this subscription selects on ``channel``: its markets; ALL_MARKETS where that takes no such
        filter.
        """
        keys = self.keys if self.filters(channel) else ALL_MARKETS
        refused = self.refused.get(channel)
        return [key for key in keys if key not in refused] if refused else keys

    def forgive(self, channel: str, keys: Iterable[str]) -> None:
        """The user has thought again about ``keys``: that they were refused on ``channel`` no longer counts.
        """
        self.refused.get(channel, set()).difference_update(keys)
        if not self.failed and not any(self.refused.values()):
            self.error = None

    def filters(self, channel: str) -> bool:
        """Whether this subscription's selector is one that the channel knows."""
        return self.selector in rule_of(channel).selectors


class WantedChannel:
    """One channel as all subscriptions together want it. Not thread-safe; see the module."""

    __slots__ = ("holders", "name", "options", "wants")

    def __init__(self, name: str) -> None:
        self.name = name
        self.wants: dict[Want, None] = {}
        # by market: the subscriptions that want it, never none
        self.holders: dict[str, tuple[Want, ...]] = {}
        self.options: dict[str, Any] = {}

    @property
    def keys(self) -> Iterable[str]:
        """The markets to be subscribed; ALL_MARKETS wins over any filter; empty if nobody wants the channel.
        """
        return ALL_MARKETS if "*all*" in self.holders else self.holders.keys()

    @property
    def selector(self) -> str | None:
        """What the keys are called in a command; None if nobody filters."""
        return next((want.selector for want in self.wants if want.filters(self.name)), None)


class Pending(NamedTuple):
    """What users have asked for since the session last looked; the fields are those of Wanted. Not
    thread-safe; see the module.
    """

    changed: set[str]
    new_books: dict[str, None]
    snapshots: dict[str, None]
    questions: dict[tuple[str, str], None]
    lists: list[ListBox]


class Wanted:
    """All subscriptions, and for each channel what must be asked of the exchange. Not thread-safe; see the
    module.
    """

    def __init__(self) -> None:
        self.wants: dict[Want, None] = {}
        self.channels: dict[str, WantedChannel] = {}
        # The in-trays: users fill them, take_pending() empties them.
        self.changed: set[str] = set()  # channels whose wishes changed since the session last looked
        # markets whose books nobody had wanted, since the session last looked
        self.new_books: dict[str, None] = {}
        self.snapshots: dict[str, None] = {}  # markets whose user asked for a fresh snapshot
        # (action, channel) of lists asked for; they come as messages
        self.questions: dict[tuple[str, str], None] = {}
        self.lists: list[ListBox] = []  # boxes of list_subscriptions calls that wait for an answer

    @property
    def has_pending(self) -> bool:
        """Whether take_pending() would return anything."""
        return bool(self.changed or self.new_books or self.snapshots or self.questions or self.lists)

    def take_pending(self) -> Pending:
        """What users have asked for since the last call. It is the caller's from now on."""
        taken = Pending(self.changed, self.new_books, self.snapshots, self.questions, self.lists)
        self.changed, self.new_books, self.snapshots, self.questions, self.lists = set(), {}, {}, {}, []
        return taken

    def check(self, want: Want) -> None:
        """Raise ConfigurationError where ``want`` contradicts what is wanted already."""
        for name in want.channels:
            self._check(want, name)

    def add(self, want: Want, opened: Callable[[str], object] | None = None) -> list[str]:
        """Want what ``want`` says; returns the markets whose books are wanted for the first time, each given
        to ``opened``.

        Raises ConfigurationError, with nothing changed, where it contradicts what is wanted already.
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
        """More markets for a subscription, or once more what was refused; returns those whose books are new,
        as add() does.
        """
        new = []
        for name in want.live_channels():
            if want.filters(name):
                want.forgive(name, keys)
                new += self._hold(self.channels[name], want, keys, opened)
        want.keys.update(dict.fromkeys(keys))
        return new

    def delete_keys(
        self, want: Want, keys: Iterable[str], closed: Callable[[str], object] | None = None
    ) -> list[str]:
        """Fewer markets for a subscription; returns those whose books nobody wants any more, each given to
        ``closed``.
        """
        gone = []
        for name in want.live_channels():
            if want.filters(name):
                want.forgive(name, keys)
                gone += self._release(self.channels[name], want, keys, closed)
        for key in keys:
            want.keys.pop(key, None)
        return gone

    def remove(self, want: Want, closed: Callable[[str], object] | None = None) -> list[str]:
        """Forget a subscription; returns the markets whose books nobody wants any more, as delete_keys()
        does.
        """
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
        """The exchange refused ``keys`` of ``channel``: whoever wanted them gets ``error``.

        Returns the markets whose books nobody wants any more.

        A subscription left with nothing on the channel has failed there; one that keeps other markets goes on
        with those.
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
        """Whether anybody wants the book of this market."""
        channel = self.channels.get(BOOK_CHANNEL)
        return channel is not None and market_ticker in channel.holders

    def _check(self, want: Want, name: str) -> None:
        rule = rule_of(name)
        if want.selector not in (None, "market_tickers", *rule.selectors):
            what = " or ".join(f"{selector}=[…]" for selector in rule.selectors) or "no filter"
            raise ConfigurationError(
                f"{name} takes no {want.selector} but {what}; make a subscription of its own for it"
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
                "for a "
                f"channel, so write {known.selector}=… here too"
            )
        mine = _options_of(want, name)
        for option in (*mine, *known.options):
            is_given_twice = option in mine and option in known.options
            if (is_given_twice or option in _NARROWING) and mine.get(option) != known.options.get(option):
                raise ConfigurationError(
                    f"{name} is already subscribed {_said(option, known.options)}; the exchange keeps one "
                    "subscription "
                    f"a channel, so it cannot be {_said(option, mine)} as well: unsubscribe the other one "
                    "first"
                )

    def _hold(
        self, channel: WantedChannel, want: Want, keys: Iterable[str], opened: Callable[[str], object] | None
    ) -> list[str]:
        """``want`` wants these too. A market's holders are written last: until then it is new, and is done
        once more.
        """
        new = []
        self.changed.add(channel.name)
        holders, is_book = channel.holders, channel.name == BOOK_CHANNEL
        alone = (want,)  # one tuple for all markets that nobody else wants
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
        """``want`` no longer wants these; as _hold(), the other way around."""
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
    """The channel-wide parameters of ``want`` that concern this channel."""
    allowed = CHANNELS[name].options if name in CHANNELS else tuple(want.options)
    return {
        option: value
        for option, value in want.options.items()
        if option in allowed or option == "skip_ticker_ack"
    }


def _options_of_all(channel: WantedChannel) -> dict[str, Any]:
    return {name: value for want in channel.wants for name, value in _options_of(want, channel.name).items()}
