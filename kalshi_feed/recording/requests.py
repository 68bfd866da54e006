"""What users ask of a replay.

Owns ReplayRequests. Thread-safe.
"""

from __future__ import annotations

from typing import Any

from ..engine.requests import UserRequests
from ..session.wanted import Change, Want, Wanted

__all__ = ["ReplayRequests"]


class ReplayRequests(UserRequests):
    """What users ask of a replay: nothing is sent, and what they get is what was recorded. Thread-safe.

    A subscription is confirmed when the recorded one was, so that programs written for a live feed run as
    they are.
    """

    def __init__(self, recorded: UserRequests, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._recorded = recorded
        self.can_ask = False
        self._users = Wanted()

    def want_book(self, market_ticker: str) -> None:
        """The book is in the recording, or will never come."""

    def _check_locked(self, want: Want) -> None:
        self._users.check(want)

    def _apply_locked(self, change: Change) -> None:
        """Snapshots and lists are those that were recorded."""
        want = change.want
        if want is None:
            return
        if change.kind == "subscribe":
            self._users.add(want)
        elif change.kind == "add_markets":
            self._users.add_keys(want, change.words)
        elif change.kind == "delete_markets":
            self._users.delete_keys(want, change.words)
        elif want in self._users.wants:
            self._users.remove(want)

    def list_subscriptions(self, timeout: float | None) -> tuple[tuple[str, int], ...]:
        """What was open at this moment of the recording."""
        self._store.wait(lambda: True, timeout, str)  # answered already, and a wait like any other
        return self.look(self.session.open_subscriptions)

    def confirmed(self, want: Want) -> bool:
        """See UserRequests; False of channels that nobody wanted when it was recorded, and at its end as it
        was then."""
        wanted = self._recorded.wanted.channels
        return all(
            name in wanted and self.session.confirmed(name, want.keys_of(name))
            for name in want.live_channels()
        )

    def reopen_books_locked(self) -> None:
        """The recording says when."""
