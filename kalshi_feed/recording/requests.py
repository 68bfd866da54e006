"""What users ask of a replay, which can send nothing. Owns ReplayRequests. Thread-safe."""

from __future__ import annotations

from typing import Any

from ..engine.requests import UserRequests
from ..session.wanted import Change, Want, Wanted

__all__ = ["ReplayRequests"]


class ReplayRequests(UserRequests):
    """User requests to a replay: nothing is sent, and the answers are those that were recorded. Thread-safe.

    What a user subscribes to here is kept apart from what was subscribed when the recording was made
    (``recorded``, which the player alone changes). A user's subscription counts as confirmed while the
    recorded one was, so a program written for a live feed runs unchanged.
    """

    def __init__(self, recorded: UserRequests, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._recorded = recorded
        self.can_ask = False
        self._users = Wanted()  # what the users of the replay want; guarded by the store's lock

    def want_book(self, market_ticker: str) -> None:
        """Do nothing: the book is in the recording, or will never come."""

    def _check_locked(self, want: Want) -> None:
        self._users.check(want)

    def _apply_locked(self, change: Change) -> None:
        """Note what users want now. Snapshots and lists are not asked for: they come as recorded."""
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
        """Return what was open at this moment of the recording."""
        self._store.wait(lambda: True, timeout, str)  # the answer is known, but this counts as a wait
        return self.look(self.session.open_subscriptions)

    def confirmed(self, want: Want) -> bool:
        """Whether the recorded feed had this confirmed at the time; False for channels it never wanted.

        At the end of the recording the answer stays what it was then.
        """
        wanted = self._recorded.wanted.channels
        return all(
            name in wanted and self.session.confirmed(name, want.keys_of(name))
            for name in want.live_channels()
        )

    def _unconfirmed(self, want: Want) -> list[str]:
        wanted = self._recorded.wanted.channels  # the session takes others as confirmed
        missing = [name for name in want.live_channels() if name not in wanted]
        return [*missing, *(name for name in super()._unconfirmed(want) if name not in missing)]

    def reopen_books_locked(self) -> None:
        """Do nothing: the recording says when books were reopened."""
