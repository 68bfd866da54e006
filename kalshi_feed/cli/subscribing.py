"""What the commands that connect subscribe to, and whether the exchange refused it.

Thread-safe: functions only.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..feed import KalshiFeed
from ..session.channels import rule_of
from ..subscription import Subscription

__all__ = ["raise_refusal", "subscribe"]


def subscribe(
    feed: KalshiFeed, channels: Iterable[str], market_tickers: Iterable[str]
) -> tuple[Subscription, ...]:
    """Subscribe to the channels for these markets.

    The channels of reference prices have no markets, and send nothing until they are asked for an index: they
    are asked for all of theirs. Raises ConfigurationError.
    """
    others: list[str] = []
    indexes: list[str] = []
    underlyings: list[str] = []
    for channel in channels:
        selectors = rule_of(channel).selectors
        if selectors == ("index_ids",):
            indexes.append(channel)
        elif selectors == ("underlying_tickers",):
            underlyings.append(channel)
        else:
            others.append(channel)
    made = []
    if others:
        made.append(feed.subscribe(others, market_tickers))
    if indexes:
        made.append(feed.subscribe(indexes, index_ids="all"))
    if underlyings:
        made.append(feed.subscribe(underlyings, underlying_tickers="all"))
    return tuple(made)


def raise_refusal(subscriptions: Iterable[Subscription]) -> None:
    """Raise the SubscriptionError of the first subscription that the exchange refused, if there is one."""
    for subscription in subscriptions:
        if subscription.error is not None:
            raise subscription.error
