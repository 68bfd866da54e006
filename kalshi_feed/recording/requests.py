"""What users ask of a replay.

Owns ReplayRequests; must not import the engine. Thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..engine.requests import UserRequests
from ..session.wanted import Want, Wanted

__all__ = ["ReplayRequests"]


class ReplayRequests(UserRequests):
    """What users ask of a replay: nothing is sent, and what they get is what was recorded. Thread-safe.

    A subscription is confirmed when the recorded one was, so that programs written for a live feed run as they are.
    """

    def __init__(self, recorded: UserRequests, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._recorded = recorded
        self._users = Wanted()

    def _subscribe_locked(self, want: Want) -> None:
        self._users.add(want)

    def want_book(self, market_ticker: str) -> None:
        """The book is in the recording, or will never come."""

    def add_markets(self, want: Want, market_tickers: Iterable[str]) -> None:
        """See UserRequests."""
        with self.lock:
            self._users.add_keys(want, market_tickers)

    def delete_markets(self, want: Want, market_tickers: Iterable[str]) -> None:
        """See UserRequests."""
        with self.lock:
            self._users.delete_keys(want, market_tickers)

    def unsubscribe(self, want: Want) -> None:
        """See UserRequests."""
        with self.lock:
            if want in self._users.wants:
                self._users.remove(want)

    def request_snapshots(self, market_tickers: Iterable[str]) -> None:
        """The recording has the snapshots it has."""

    def ask(self, action: str, channels: Iterable[str]) -> None:
        """The recording has the lists it has."""

    def list_subscriptions(self, timeout: float | None) -> tuple[tuple[str, int], ...]:
        """What was open at this moment of the recording."""
        with self.lock:
            return tuple(
                (subscription.name, subscription.sid)
                for subscription in self._session.reconciler.subscriptions
                if subscription.is_open and subscription.sid is not None
            )

    def confirmed(self, want: Want) -> bool:
        """See UserRequests; False of channels that nobody wanted when it was recorded, and at its end as it was then."""
        wanted = self._recorded.wanted.channels
        return all(name in wanted and self._session.confirmed(name, want.keys_of(name)) for name in want.live_channels())

    def reopen_books_locked(self) -> None:
        """The recording says when."""
