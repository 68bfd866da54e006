"""The thread that plays a recording, and what time it is meanwhile.

Owns the thread and the clock. What is played is its host's business (replaying.py). Must not import anything of the package but
dispatch.wakeup and threads.
"""

from __future__ import annotations

import time
from typing import Final, Protocol

from ..threads import FeedingThread
from ..waiting import Signal

__all__ = ["Player", "ReplayClock"]

_LONGEST_NAP: Final = 1.0  # seconds; then the time is looked at again


class Played(Protocol):
    """What is played. Both are called on the player's thread."""

    def play(self, player: Player) -> None:
        """Everything, to the end or until the player is stopping."""

    def on_end(self, error: BaseException | None) -> None:
        """The last call."""


class ReplayClock:
    """The time in a recording. Written by the player, read by any thread: one attribute, replaced in one step."""

    def __init__(self) -> None:
        self._times = (0.0, 0.0)

    def set(self, ns: int, offset_ns: int) -> float:
        """It is ``ns`` (Unix); returns the session's time."""
        now = (ns - offset_ns) / 1e9
        self._times = (now, ns / 1e9)
        return now

    def monotonic(self) -> float:
        """The session's time, in seconds."""
        return self._times[0]

    def time(self) -> float:
        """Unix time in seconds."""
        return self._times[1]


class Player(FeedingThread):
    """Plays in a thread of its own; see FeedingThread for who may call what.

    What connection.reader.Reader is to an engine on a connection.
    """

    def __init__(self, name: str, host: Played) -> None:
        super().__init__(name)
        self._host = host
        self._nap = Signal()

    def wake(self) -> None:
        """See FeedingThread."""
        self._nap.set()

    def _work(self) -> None:
        self._host.play(self)

    def _report_end(self, error: BaseException | None) -> None:
        self._host.on_end(error)

    def sleep_until(self, when: float) -> None:
        """Wait until time.monotonic() is ``when``, unless stop() comes first."""
        while not self._stopping and (left := when - time.monotonic()) > 0:
            self._nap.wait(min(left, _LONGEST_NAP))
