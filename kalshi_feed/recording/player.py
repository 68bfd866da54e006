"""The thread that plays a recording, and the clock it sets. Its host (replaying.py) says what is played."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Final, Protocol

from .. import greenlets
from ..threads import FeedingThread
from ..waiting import Signal

__all__ = ["Player", "ReplayClock", "moment_of", "ns_of"]

_LONGEST_NAP: Final = 1.0  # seconds until the clock is read again
_TURN_EVERY: Final = 0.01  # seconds
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment_of(ns: int) -> datetime:
    """Return Unix nanoseconds as an aware datetime (UTC)."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


def ns_of(moment: datetime) -> int:
    """Return an aware datetime as Unix nanoseconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


class Played(Protocol):
    """What a player plays. Both methods are called on the player's thread."""

    def play(self, player: Player) -> None:
        """Play everything, to the end or until the player is stopping."""

    def on_end(self, error: BaseException | None) -> None:
        """The last call: playing has ended, with ``error`` if it failed."""


class ReplayClock:
    """The time in a recording, on both of its clocks: Unix time, and the session's monotonic one.

    The player sets it, any thread reads it: it is one attribute, replaced in one step.
    """

    def __init__(self, ns: int = 0) -> None:
        self._times = (ns, 0)  # Unix ns, and how far the session's clock is behind it

    def set(self, ns: int, offset_ns: int) -> float:
        """Set the clock to the time of a record, ``ns`` (Unix); returns the session's time."""
        self._times = (ns, offset_ns)
        return self.monotonic()

    def advance(self, ns: int) -> None:
        """Set the clock to ``ns`` (Unix), a moment between two records."""
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
    """The thread that plays a recording: what connection.reader.Reader is to a live feed.

    FeedingThread says which thread may call which method.
    """

    IS_REAL = False  # it runs the callbacks

    def __init__(self, name: str, host: Played) -> None:
        super().__init__(name)
        self._host = host
        self._nap = Signal()
        self._is_greenlet = greenlets.thread_kind() != "thread"
        self._next_turn = 0.0  # when it is the others' turn again (time.monotonic())

    def wake(self) -> None:
        """End a nap, so that the player looks again at what it waits for. Any thread may call this."""
        self._nap.set()

    def _work(self) -> None:
        self._host.play(self)

    def _report_end(self, error: BaseException | None) -> None:
        self._host.on_end(error)

    def give_way(self) -> None:
        """Where threads are greenlets, let the others run, every 10 ms."""
        if self._is_greenlet and (now := time.monotonic()) >= self._next_turn:
            greenlets.take_turns()
            self._next_turn = now + _TURN_EVERY

    def nap(self, until: float) -> bool:
        """Wait until time.monotonic() is ``until``; False if wake() came first, as it does with stop()."""
        while (left := until - time.monotonic()) > 0:
            if self._nap.wait(min(left, _LONGEST_NAP)):
                return False
        return True
