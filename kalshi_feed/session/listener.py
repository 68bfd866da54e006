"""Owns Listener, the protocol by which the reconciler reports what concerns the books. Not thread-safe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .server_subscription import ServerSubscription

__all__ = ["Listener"]


class Listener(Protocol):
    """Receives what the reconciler learns about the books; the Session is one. Owned by the reader."""

    def snapshots_due(self, now: float) -> None:
        """The exchange has confirmed book markets: their snapshots are on the way."""

    def subscription_died(self, subscription: ServerSubscription, reason: str, now: float) -> None:
        """The subscription ended while it was wanted: its books no longer follow the exchange."""

    def markets_left(
        self, subscription: ServerSubscription, market_tickers: Iterable[str] | None, now: float
    ) -> None:
        """The exchange no longer sends these markets (None: all); they may be wanted again."""

    def repair_refused(self, code: int, is_passing: bool, now: float) -> None:
        """The exchange refused a get_snapshot; ``is_passing``: it may accept the next one."""

    def books_unwanted(self, market_tickers: Iterable[str]) -> None:
        """These books are no longer wanted."""
