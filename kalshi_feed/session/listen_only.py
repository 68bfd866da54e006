"""Another program's conversation, of which only the exchange's half is known: a capture of frames.

Owns ListenOnly, which then replaces the Reconciler: it sends nothing and waits for nothing, and every reply
answers the other program. Not thread-safe; owned by the session.
"""

from __future__ import annotations

from ..messages import ErrorMessage, Ok, Subscribed, Unsubscribed
from .reconciler import TERMINAL, Reconciler
from .server_subscription import ServerSubscription

__all__ = ["ListenOnly"]


class ListenOnly(Reconciler):
    """A Reconciler that only listens; restore() brings its subscriptions. Owned by the session."""

    def tick(self, now: float) -> None:
        """Send nothing; empty the in-trays."""
        self._wanted.take_pending()

    def next_deadline(self) -> float:
        """Never: nothing is waited for."""
        return float("inf")

    def get_snapshot(self, market_tickers: tuple[str, ...], now: float) -> bool:
        """Pretend that it was sent: only the program that was connected could ask."""
        return True

    def resubscribe(self, subscription: ServerSubscription, now: float) -> None:
        """Do nothing: only the program that was connected could subscribe again."""

    def subscribed(self, message: Subscribed, now: float) -> None:
        """Do nothing: the capture names the subscription."""

    def ok(self, message: Ok, now: float) -> None:
        """Do nothing: the books of the markets that were added come by their snapshots."""

    def unsubscribed(self, message: Unsubscribed, now: float) -> None:
        """The books of the subscription no longer follow the exchange."""
        subscription = self.subscriptions.of_sid(message.sid)
        if subscription is not None:
            self._listener.markets_left(subscription, None, now)

    def error(self, message: ErrorMessage, now: float) -> None:
        """Report it; some errors end a subscription."""
        code, text = message.code or 0, message.message or "no message"
        self._output.fault("exchange_error", f"the exchange says: error {code}, {text}", now, code=code)
        subscription = self.subscriptions.of_sid(message.sid)
        if code in TERMINAL and subscription is not None:
            self._listener.subscription_died(subscription, f"error {code}, {text}", now)
