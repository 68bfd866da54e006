"""What the commands that connect subscribe to, and whether the exchange refused it.

Owns Subject. Thread-safe: functions, and a value that does not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError
from ..feed import KalshiFeed
from ..following import Following
from ..session.channels import CHANNELS as CHANNELS_BY_NAME
from ..session.channels import rule_of
from ..subscription import Subscription

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["CHANNELS", "Subject", "follow", "hidden_types", "raise_failure", "raise_refusal", "subscribe"]

CHANNELS: Final = ("orderbook_delta", "trade")  # unless others are named
_LIFECYCLE: Final = "market_lifecycle_v2"


@dataclass(frozen=True)
class Subject:
    """What a command was asked to watch or to record. Immutable."""

    market_tickers: Sequence[str]
    channels: Sequence[str]
    series: Sequence[str] = ()
    events: Sequence[str] = ()

    @property
    def follows(self) -> bool:
        """Whether there are series or events."""
        return bool(self.series or self.events)


def subscribe(feed: KalshiFeed, subject: Subject, *, whole: bool = False) -> tuple[Subscription, ...]:
    """Subscribe to the channels for the markets that were given by name; ``whole``: if there are none, to all
    that a channel has.

    The channels of reference prices have no markets, and send nothing until they are asked for an index: they
    are asked for all of theirs. Raises ConfigurationError.
    """
    others: list[str] = []
    indexes: list[str] = []
    underlyings: list[str] = []
    for channel in subject.channels:
        selectors = rule_of(channel).selectors
        if selectors == ("index_ids",):
            indexes.append(channel)
        elif selectors == ("underlying_tickers",):
            underlyings.append(channel)
        elif subject.market_tickers or whole or not _has_markets(channel):
            others.append(channel)
    made = []
    if others:
        made.append(feed.subscribe(others, subject.market_tickers or None))
    if indexes:
        made.append(feed.subscribe(indexes, index_ids="all"))
    if underlyings:
        made.append(feed.subscribe(underlyings, underlying_tickers="all"))
    return tuple(made)


def follow(feed: KalshiFeed, subject: Subject, rest: Rest | None, **times: float) -> tuple[Following, ...]:
    """Follow the series and events, on those of the channels that have markets; ``times`` are as for
    feed.follow(). Raises ConfigurationError."""
    channels = [channel for channel in subject.channels if _has_markets(channel)]
    if subject.follows and not channels:
        raise ConfigurationError(
            "--series and --event need a channel of markets: add --channel orderbook_delta, for example"
        )
    return (
        *(feed.follow(series=one, channels=channels, rest=rest, **times) for one in subject.series),  # type: ignore[arg-type]
        *(feed.follow(event=one, channels=channels, rest=rest, **times) for one in subject.events),  # type: ignore[arg-type]
    )


def hidden_types(channels: Sequence[str], *, follows: bool, relayed: bool = False) -> frozenset[str]:
    """The types of message that no one asked for: following subscribes to the lifecycle of all markets of the
    exchange; a relay's consumer (``relayed``) gets what others have asked for, too."""
    if relayed:
        others = (rule.types for name, rule in CHANNELS_BY_NAME.items() if name not in channels)
        return frozenset(chain.from_iterable(others))
    hides = follows and _LIFECYCLE not in channels
    return frozenset(CHANNELS_BY_NAME[_LIFECYCLE].types if hides else ())


def _has_markets(channel: str) -> bool:
    return "market_tickers" in rule_of(channel).selectors


def raise_failure(feed: KalshiFeed) -> None:
    """Raise the fatal error of a feed that has failed."""
    error = feed.error
    if error is not None:
        raise error


def raise_refusal(subscriptions: Iterable[Subscription | Following]) -> None:
    """Raise the SubscriptionError of the first subscription that the exchange refused, if there is one."""
    for subscription in subscriptions:
        if subscription.error is not None:
            raise subscription.error
