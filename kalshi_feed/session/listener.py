"""Whom the conversation with the exchange tells what concerns the books. Owns the protocol Listener. Not
thread-safe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .server_subscription import ServerSubscription

__all__ = ["Listener"]


class Listener(Protocol):
    """Whom the conversation tells what concerns the books."""

    def snapshots_due(self, now: float) -> None:
        """The exchange has confirmed book markets; their snapshots are on the way."""

    def subscription_died(self, subscription: ServerSubscription, reason: str, now: float) -> None:
        """The subscription has ended while it was wanted; whatever came of it is no longer kept up."""

    def markets_left(
        self, subscription: ServerSubscription, market_tickers: Iterable[str] | None, now: float
    ) -> None:
        """The exchange no longer sends these markets (None: any of the subscription's), though they may be
        wanted again."""

    def repair_refused(self, code: int, is_passing: bool, now: float) -> None:
        """The exchange did not accept a get_snapshot; ``is_passing`` if it may do so in a moment."""

    def books_unwanted(self, market_tickers: Iterable[str]) -> None:
        """Nobody wants these books any more, because the exchange refused them."""
