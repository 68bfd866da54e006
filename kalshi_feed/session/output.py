"""What the session hands to its thread after each input: things to deliver, bytes to send, counts.

Owns Output and Counts. Not thread-safe; hold the store's lock to use them.
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
    """Counters that only grow. Not thread-safe; guarded by the store's lock."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()  # by wire type
        self.bytes: Counter[str] = Counter()  # by wire type
        self.ignored: Counter[str] = Counter()  # frames left out, by reason
        self.faults: Counter[str] = Counter()  # by kind
        self.gaps = 0  # Gap events
        self.resyncs = 0  # repairs that ended well

    def add(self, type_: str, size: int, count: int = 1) -> None:
        """Count ``count`` messages of ``size`` bytes in total.

        A peer may invent types without end; after ``_MOST_TYPES`` of them, new ones count as "other".
        """
        if type_ not in self.messages and (len(self.messages) >= _MOST_TYPES or len(type_) > _LONGEST_TYPE):
            type_ = "other"
        self.messages[type_] += count
        self.bytes[type_] += size


class Output:
    """Collects the effects of an input, in order. Not thread-safe; guarded by the store's lock."""

    def __init__(self, faults_a_second: int) -> None:
        self.items: list[Message | Event] = []  # to deliver, in order
        self.status_changed: set[str] = set()  # markets whose book changed its status
        self.outbox: list[bytes] = []  # commands to send
        self.give_up: str | None = None  # why this connection must be replaced
        self.counts = Counts()
        self._limit = faults_a_second
        self._second = 0  # the second (of the session's clock) that the next number is about
        self._reported = 0  # faults reported in it
        self._suppressed = 0  # faults counted but not reported since the last one that was

    def save(self) -> OutputMemory:
        """The state between two inputs, as plain values; the counts start again with every session."""
        return OutputMemory(self._second, self._reported, self._suppressed)

    def restore(self, memory: OutputMemory) -> None:
        """Continue from ``memory``."""
        self._second, self._reported, self._suppressed = memory.second, memory.reported, memory.suppressed

    def take(self) -> tuple[list[Message | Event], set[str], list[bytes]]:
        """Hand over items to deliver, markets whose book changed its status, and commands to send."""
        taken = self.items, self.status_changed, self.outbox
        self.items, self.status_changed, self.outbox = [], set(), []
        return taken

    def fault(
        self, kind: str, message: str, now: float, error: BaseException | None = None, **context: Any
    ) -> None:
        """Count a fault, and report it unless a misbehaving peer has used up this second's quota."""
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
