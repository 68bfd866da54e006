"""The dial's waits: one deadline for all of them, and an immediate end when the dial is cancelled.

Owns the deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from .wakeup import Wakeup, wait_connects, wait_ready

__all__ = ["DialCancelled", "DialDeadline"]


class DialCancelled(Exception):
    """The dial was cancelled by its owner. Not in the public tree: users never see it."""


class DialDeadline:
    """One dial's waiting. Not thread-safe; owned by the dialing thread.

    Wakes that were meant for the reader's loop are swallowed here; ``restore`` gives them back when the dial
    is over.
    """

    def __init__(self, deadline: float, wakeup: Wakeup, cancelled: Callable[[], bool]) -> None:
        self.deadline = deadline
        self.wakeup = wakeup
        self._cancelled = cancelled
        self._was_woken = False  # whether a wake was drained that the reader's loop may still need

    def wait(
        self, fileno: int | None, *, read: bool = True, write: bool = False, until: float | None = None
    ) -> None:
        """Return when the socket is ready, or after a wake: look again. Raises DialCancelled, TimeoutError.

        ``until`` (time.monotonic()) ends this wait before the dial's deadline.
        """
        remaining = self._remaining(self.deadline if until is None else min(until, self.deadline))
        _, _, woken = wait_ready(fileno, self.wakeup, read=read, write=write, timeout=remaining)
        self._heed(woken)

    def wait_for_connects(self, filenos: Collection[int], until: float | None) -> set[int]:
        """Return the sockets whose connect has ended: none after a wake, or at ``until`` (time.monotonic()).

        Reaching ``until`` is not a failure. Raises DialCancelled, TimeoutError.
        """
        remaining = self._remaining(self.deadline)
        pause = remaining if until is None else min(remaining, max(until - time.monotonic(), 0.0))
        ended, woken = wait_connects(filenos, self.wakeup, pause)
        self._heed(woken)
        return ended

    def _remaining(self, end: float) -> float:
        if self._cancelled():
            raise DialCancelled
        remaining = end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("no answer in the time allowed for connecting")
        return remaining

    def _heed(self, woken: bool) -> None:
        if woken:
            self.wakeup.drain()
            self._was_woken = True
            if self._cancelled():
                raise DialCancelled

    def restore(self) -> None:
        """Give back the wakes that were drained."""
        if self._was_woken:
            self.wakeup.give_back()
