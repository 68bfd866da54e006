"""The thread that plays a recording, and what time it is meanwhile.

Owns the thread and the clock. What is played is its host's business (replaying.py). Must not import anything
of the package but threads and waiting.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Final, Protocol

from ..threads import FeedingThread
from ..waiting import Signal

__all__ = ["Player", "ReplayClock", "moment_of", "ns_of"]

_LONGEST_NAP: Final = 1.0  # seconds; then the time is looked at again
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment_of(ns: int) -> datetime:
    """The aware datetime (UTC) of Unix nanoseconds."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


def ns_of(moment: datetime) -> int:
    """The Unix nanoseconds of an aware datetime."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


class Played(Protocol):
    """What is played. Both are called on the player's thread."""

    def play(self, player: Player) -> None:
        """Everything, to the end or until the player is stopping."""

    def on_end(self, error: BaseException | None) -> None:
        """The last call."""


class ReplayClock:
    """The time in a recording. Written by the player, read by any thread: one attribute, replaced in one
    step."""

    def __init__(self, ns: int = 0) -> None:
        self._times = (ns, 0)  # Unix ns, and what the session's clock is behind it

    def set(self, ns: int, offset_ns: int) -> float:
        """It is ``ns`` (Unix); returns the session's time."""
        self._times = (ns, offset_ns)
        return self.monotonic()

    def advance(self, ns: int) -> None:
        """It is ``ns`` (Unix), and nothing has been received."""
        self._times = (ns, self._times[1])

    @property
    def ns(self) -> int:
        """Unix time in nanoseconds."""
        return self._times[0]

    @property
    def offset_ns(self) -> int:
        """Unix time less the session's, in nanoseconds."""
        return self._times[1]

    def monotonic(self) -> float:
        """The session's time, in seconds."""
        ns, offset_ns = self._times
        return (ns - offset_ns) / 1e9

    def time(self) -> float:
        """Unix time in seconds."""
        return self._times[0] / 1e9


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

    def nap(self, until: float) -> bool:
        """Wait until time.monotonic() is ``until``; False if wake() came first, as stop() does."""
        while (left := until - time.monotonic()) > 0:
            if self._nap.wait(min(left, _LONGEST_NAP)):
                return False
        return True
