"""The feed's state, and why it is so.

Owns the current FeedState, the error a feed has failed with, and the changes not yet delivered to callbacks.
Guarded by the store's lock; a single attribute may be read without it.
"""

from __future__ import annotations

from typing import Any

from ..errors import KalshiFeedError
from ..events import Event, FeedState, StateChange

__all__ = ["State"]


class State:
    """The feed's state. Changed under the store's lock."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self.value = FeedState.IDLE
        self.fatal: KalshiFeedError | None = None  # the error that the feed has failed with
        self.last_error = ""  # the last failed dial or lost connection, "" if none since start()
        self.undelivered: list[Event] = []  # changes that the reader has yet to hand on

    def change(self, value: FeedState, reason: str, **details: Any) -> StateChange:
        """Change the state, and queue the event; ``details`` are StateChange's."""
        previous, self.value = self.value, value
        change = StateChange(previous, value, reason, **details)
        self.undelivered.append(change)
        return change

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self.value is FeedState.CONNECTED

    def why_not_connected(self) -> str:
        """The message for a wait that timed out without a connection."""
        if self.value is FeedState.IDLE:
            return "the feed was not started; call start() or use it in a with statement"
        detail = f" (last error: {self.last_error})" if self.last_error else ""
        return f"not connected to {self._peer}, the feed is {self.value.value}{detail}"

    def missing(self, text: str) -> str:
        """``text``; without a connection, the message about that, which explains everything else."""
        return text if self.is_connected else self.why_not_connected()
