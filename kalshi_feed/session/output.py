"""What the session hands to its thread after each input: things to deliver, bytes to send, counts.

Owns Output and Counts. Not thread-safe; owned by whoever holds the store's lock.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from ..events import Event, FeedFault
from ..messages import Message
from .memory import OutputMemory

__all__ = ["Counts", "Output"]

_MOST_TYPES: Final = 200
_LONGEST_TYPE: Final = 100  # characters


class Counts:
    """Counters that only grow. Not thread-safe; see the module."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()  # by wire type
        self.bytes: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()  # frames that were left out, by reason
        self.faults: Counter[str] = Counter()  # by kind
        self.gaps = 0
        self.resyncs = 0

    def add(self, type_: str, size: int, count: int = 1) -> None:
        """Count messages of ``size`` bytes together. A peer may make up types without end; only so many are
        told apart."""
        if type_ not in self.messages and (len(self.messages) >= _MOST_TYPES or len(type_) > _LONGEST_TYPE):
            type_ = "other"
        self.messages[type_] += count
        self.bytes[type_] += size


class Output:
    """Collects the effects of an input, in order. Not thread-safe; see the module."""

    def __init__(self, faults_a_second: int) -> None:
        self.items: list[Message | Event] = []
        self.status_changed: set[str] = set()
        self.outbox: list[bytes] = []
        self.give_up: str | None = None  # why this connection must be replaced
        self.counts = Counts()
        self._limit = faults_a_second
        self._second = 0
        self._reported = 0
        self._suppressed = 0

    def save(self) -> OutputMemory:
        """What is left between two inputs, as plain values; counts begin anew with every session."""
        return OutputMemory(self._second, self._reported, self._suppressed)

    def restore(self, memory: OutputMemory) -> None:
        """Go on where ``memory`` was saved."""
        self._second, self._reported, self._suppressed = memory.second, memory.reported, memory.suppressed

    def take(self) -> tuple[list[Message | Event], set[str], list[bytes]]:
        """What has been collected: things to deliver, markets whose book's status changed, commands to
        send."""
        taken = self.items, self.status_changed, self.outbox
        self.items, self.status_changed, self.outbox = [], set(), []
        return taken

    def fault(
        self, kind: str, message: str, now: float, error: BaseException | None = None, **context: Any
    ) -> None:
        """Count a fault, and tell it unless a peer that misbehaves all the time has filled this second's
        share."""
        self.counts.faults[kind] += 1
        if int(now) != self._second:
            self._second, self._reported = int(now), 0
        if self._reported >= self._limit:
            self._suppressed += 1
            return
        self._reported += 1
        if self._suppressed:
            context["suppressed"], self._suppressed = self._suppressed, 0
        self.items.append(FeedFault(kind, message, error, context))
