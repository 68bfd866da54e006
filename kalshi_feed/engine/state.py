"""Where the feed stands, and why.

Owns the present FeedState, the error a feed has failed with, and the changes that callbacks have yet to hear
of. Must not import the connection or the engine. Guarded by the store's lock; a single attribute may be read
without it.
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
        self.fatal: KalshiFeedError | None = None  # what the feed has failed with
        self.last_error = ""
        self.undelivered: list[Event] = []  # changes that the reader has yet to hand on

    def change(self, value: FeedState, reason: str, **details: Any) -> StateChange:
        """Go to another state and remember to tell it; ``details`` are StateChange's."""
        previous, self.value = self.value, value
        change = StateChange(previous, value, reason, **details)
        self.undelivered.append(change)
        return change

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands."""
        return self.value is FeedState.CONNECTED

    def why_not_connected(self) -> str:
        """What to tell someone who waited in vain and is not connected."""
        if self.value is FeedState.IDLE:
            return "the feed was not started; call start() or use it in a with statement"
        detail = f" (last error: {self.last_error})" if self.last_error else ""
        return f"not connected to {self._peer}, the feed is {self.value.value}{detail}"

    def missing(self, text: str) -> str:
        """``text``, or that there is no connection, which explains everything else."""
        return text if self.is_connected else self.why_not_connected()
