"""The dial's waits: one deadline for everything, and an end at once when the dial is cancelled.

Owns nothing but the deadline; must not import anything of the package but the wake-up.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .wakeup import Wakeup, wait_ready

__all__ = ["DialCancelled", "DialDeadline"]


class DialCancelled(Exception):
    """The dial was cancelled by its owner. Not part of the public tree: no user ever sees it."""


class DialDeadline:
    """One dial's waiting. Not thread-safe; owned by the dialing thread.

    Wakes that were meant for the reader's loop are eaten here; ``restore`` gives them back when the dial is over.
    """

    def __init__(self, deadline: float, wakeup: Wakeup, cancelled: Callable[[], bool]) -> None:
        self.deadline = deadline
        self.wakeup = wakeup
        self._cancelled = cancelled
        self._was_woken = False

    def wait(self, fileno: int | None, *, read: bool = True, write: bool = False, until: float | None = None) -> None:
        """Return when the socket is ready, or after a wake (then look again). Raises DialCancelled, TimeoutError.

        ``until`` (time.monotonic) ends this wait before the dial's deadline.
        """
        end = self.deadline if until is None else min(until, self.deadline)
        if self._cancelled():
            raise DialCancelled
        remaining = end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("no answer in the time allowed for connecting")
        _, _, woken = wait_ready(fileno, self.wakeup, read=read, write=write, timeout=remaining)
        if woken:
            self.wakeup.drain()
            self._was_woken = True
            if self._cancelled():
                raise DialCancelled

    def restore(self) -> None:
        """Give back the wakes that were drained."""
        if self._was_woken:
            self.wakeup.give_back()
