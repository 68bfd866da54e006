"""A conversation of others, of which only the exchange's half is known: a capture of frames, made by another
program.

Owns ListenOnly, which takes Reconciler's place then: it sends nothing, waits for nothing, and every reply
answers somebody else. Not thread-safe; owned by the session.
"""

from __future__ import annotations

from ..messages import ErrorMessage, Ok, Subscribed, Unsubscribed
from .reconciler import TERMINAL, Reconciler
from .server_subscription import ServerSubscription

__all__ = ["ListenOnly"]


class ListenOnly(Reconciler):
    """Listens. Not thread-safe; see the module. Its subscriptions are given by restore()."""

    def tick(self, now: float) -> None:
        """Nothing is asked for."""
        self._wanted.take_pending()

    def next_deadline(self) -> float:
        """Nothing is waited for."""
        return float("inf")

    def get_snapshot(self, market_tickers: tuple[str, ...], now: float) -> bool:
        """Whoever was connected has asked, or not."""
        return True

    def resubscribe(self, subscription: ServerSubscription, now: float) -> None:
        """See get_snapshot()."""

    def subscribed(self, message: Subscribed, now: float) -> None:
        """The subscription is known."""

    def ok(self, message: Ok, now: float) -> None:
        """See subscribed()."""

    def unsubscribed(self, message: Unsubscribed, now: float) -> None:
        """What came of it is no longer kept up."""
        subscription = self.subscriptions.of_sid(message.sid)
        if subscription is not None:
            self._listener.markets_left(subscription, None, now)

    def error(self, message: ErrorMessage, now: float) -> None:
        """Told; some of them end a subscription."""
        code, text = message.code or 0, message.message or "no text"
        self._output.fault("exchange_error", f"the exchange says: error {code}, {text}", now, code=code)
        subscription = self.subscriptions.of_sid(message.sid)
        if code in TERMINAL and subscription is not None:
            self._listener.subscription_died(subscription, f"error {code}, {text}", now)
