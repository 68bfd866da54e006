"""Bugs of a consumer that the chaos must find: otherwise a run that finds nothing proves nothing.

``python -m tests.soak --relay --minutes 0.4 --plant NAME --only KIND`` must end with exit code 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from kalshi_feed.relay.consumer import ConsumerEngine
from kalshi_feed.relay.layout import EntryId
from kalshi_feed.relay.tracking import Tracker

__all__ = ["PLANTS"]


def _ignores_holes() -> None:
    """A number that is missing is not noticed."""

    def is_next(self: Tracker, id: EntryId) -> bool:
        position = self.position
        return position is not None and id > position and id.generation == position.generation

    Tracker.is_next = is_next  # type: ignore[method-assign]


def _hides_holes() -> None:
    """It begins again after a hole, but does not say that anything was missed."""
    real = ConsumerEngine._begin_again

    def begin_again(self: ConsumerEngine, reason: str) -> None:
        real(self, reason)
        self._was_current = False

    ConsumerEngine._begin_again = begin_again  # type: ignore[method-assign]


def _live_at_the_checkpoint() -> None:
    """Books are LIVE before what came since the checkpoint is in them."""
    real = ConsumerEngine.start_from

    def start_from(self: ConsumerEngine, id: EntryId, fields: Mapping[bytes, bytes]) -> float:
        delay = real(self, id, fields)
        if not delay:
            self._tracker.is_current, self._tracker.wants_end = True, False
            self._be_current()
            time.sleep(0.3)  # many entries
        return delay

    ConsumerEngine.start_from = start_from  # type: ignore[method-assign]


def _live_in_silence() -> None:
    """Nothing comes, and the books stay LIVE."""

    def is_silent(self: Tracker, now: float) -> bool:
        return False

    Tracker.is_silent = is_silent  # type: ignore[method-assign]
    real = ConsumerEngine.out_of_reach

    def out_of_reach(self: ConsumerEngine, error: Any) -> None:
        if "timed out" not in str(error).lower():
            real(self, error)

    ConsumerEngine.out_of_reach = out_of_reach  # type: ignore[method-assign]


PLANTS: Final[dict[str, Callable[[], None]]] = {
    "ignores holes": _ignores_holes,  # --only "beyond MAXLEN"
    "hides holes": _hides_holes,  # --only "relay ended"
    "live at the checkpoint": _live_at_the_checkpoint,  # --only "consumer killed"
    "live in silence": _live_in_silence,  # --only "frozen long"
}
