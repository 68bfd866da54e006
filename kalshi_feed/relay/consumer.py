"""The engine of a relay's consumer. Owns ConsumerEngine."""

from __future__ import annotations

from typing import Any

from ..recording.reading import Turn
from ..recording.recorded import RecordedEngine
from ..threads import FeedingThread

__all__ = ["ConsumerEngine"]


class ConsumerEngine(RecordedEngine):
    """The engine of a relay's consumer. Thread-safe like Engine."""

    _KIND = "relay"

    def __init__(self, url: str, **options: Any) -> None:
        raise NotImplementedError

    def _turn(self, turn: Turn, now: float) -> None:
        raise NotImplementedError

    def _new_reader(self, name: str) -> FeedingThread:
        raise NotImplementedError
