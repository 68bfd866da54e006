"""Whether a command has ever been connected: one that has not has shown and stored nothing, and says why.

Owns FirstConnection. Imports nothing of the command line but its errors.
"""

from __future__ import annotations

from ..events import FeedState, StateChange
from ..feed import KalshiFeed
from .errors import Failed

__all__ = ["FirstConnection"]


class FirstConnection:
    """Listens to a feed that has not been started. The worker thread writes, the main thread asks when the
    feed is closed."""

    def __init__(self, feed: KalshiFeed) -> None:
        self._came = False
        self._reason = "the first attempt had not ended"
        feed.on_state(self._hear)

    def check(self) -> None:
        """Raises Failed, with the reason, if the feed has never been connected."""
        if not self._came:
            raise Failed(f"never connected: {self._reason} (`kalshi-feed check` looks into it step by step)")

    def _hear(self, change: StateChange) -> None:
        if change.state is FeedState.CONNECTED:
            self._came = True
        elif change.state is FeedState.RECONNECTING:
            self._reason = change.reason
