"""Whether a command ever got a connection: one that did not has shown and stored nothing, and says why.

Owns FirstConnection.
"""

from __future__ import annotations

from ..events import FeedState, StateChange
from ..feed import KalshiFeed
from .errors import CHECK, Failed
from .notes import why_connecting

__all__ = ["FirstConnection"]


class FirstConnection:
    """Listens to a feed that has not been started. The worker thread writes; the main thread asks once the
    feed is closed."""

    def __init__(self, feed: KalshiFeed) -> None:
        self._feed = feed
        self._connected = False  # was once
        self._reason = "the first attempt had not finished"
        feed.on_state(self._on_state)

    def look(self) -> None:
        """While the feed runs: see what a relay's consumer waits for, which is not an event."""
        if not self._connected:
            self._reason = why_connecting(self._feed) or self._reason

    def check(self) -> None:
        """Raise Failed, with the last reason, if the feed has never been connected."""
        if not self._connected:
            raise Failed(f"never connected: {self._reason} ({CHECK})")

    def _on_state(self, change: StateChange) -> None:
        if change.state is FeedState.CONNECTED:
            self._connected = True
        elif change.state is FeedState.RECONNECTING:
            self._reason = change.reason
