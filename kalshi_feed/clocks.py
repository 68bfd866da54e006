"""The machine's clocks, and what it means when they diverge: the machine slept, or the wall clock was set.

time.monotonic() stands still while the machine sleeps; CLOCK_BOOTTIME (where it exists) and the wall clock go
on. Owns the reading of these clocks, and ClockWatch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Final, NamedTuple

__all__ = ["ClockReadings", "ClockWatch", "Jump", "elapsed", "moment", "read_clocks"]

LEAST_JUMP: Final = 2.0  # seconds; anything less is a clock being adjusted
# seconds between two readings of all the clocks, and the longest wait of a connected reader
LOOK_EVERY: Final = 1.0
# readings that take longer do not belong together: another thread ran in between
_STEADY_NS: Final = 10_000_000
_TRIES: Final = 5
_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


class ClockReadings(NamedTuple):
    """The clocks at one moment, in nanoseconds.

    ``boot_ns`` includes the time asleep; None where there is no such clock.
    """

    monotonic_ns: int
    wall_ns: int
    boot_ns: int | None

    @property
    def wall_offset_ns(self) -> int:
        """The wall clock minus the monotonic clock."""
        return self.wall_ns - self.monotonic_ns


class Jump(NamedTuple):
    """What happened from one look to the next.

    The machine slept for ``slept`` seconds; or, if that is 0, the wall clock was set by ``stepped`` seconds.
    """

    slept: float
    stepped: float

    def __str__(self) -> str:
        return (
            f"the machine slept for {self.slept:.0f} s"
            if self.slept
            else f"the wall clock was set by {self.stepped:+.0f} s"
        )


def elapsed() -> float:
    """Seconds since some fixed moment, by a clock that no one sets and that includes the time asleep where
    there is such a clock (otherwise time.monotonic())."""
    if _BOOTTIME is not None:
        return time.clock_gettime(_BOOTTIME)
    if sys.platform == "darwin":  # there it is time.monotonic() alone that stands still
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


def read_clocks() -> ClockReadings:
    """Read all clocks together."""
    for _ in range(_TRIES):
        before = time.monotonic_ns()
        boot = None if _BOOTTIME is None else time.clock_gettime_ns(_BOOTTIME)
        wall = time.time_ns()
        if time.monotonic_ns() - before < _STEADY_NS:
            break
    return ClockReadings(before, wall, boot)


def moment(unix: float) -> datetime:
    """The aware datetime (UTC) for Unix seconds."""
    return _EPOCH + timedelta(microseconds=round(unix * 1e6))


class ClockWatch:
    """Notices when the clocks diverge. Not thread-safe; owned by the thread that looks.

    ``read`` returns the readings to compare.
    """

    def __init__(self, read: Callable[[], ClockReadings] = read_clocks) -> None:
        self._read = read
        self._keep(read())

    def look(self, now: float, wall: float) -> Jump | None:
        """Return what has happened since the last look, or None.

        ``now`` is time.monotonic(), and ``wall`` is time.time(), read just after it. Cheap: it reads all the
        clocks only once a second, or if these two have diverged.
        """
        if now < self._look_at and self._least < wall - now < self._most:
            return None
        before, readings = self._last, self._read()
        self._keep(readings)
        stepped = (readings.wall_offset_ns - before.wall_offset_ns) / 1e9
        slept = 0.0
        if readings.boot_ns is not None and before.boot_ns is not None:
            slept = (readings.boot_ns - before.boot_ns - readings.monotonic_ns + before.monotonic_ns) / 1e9
        if slept > LEAST_JUMP:
            return Jump(slept, stepped)
        return Jump(0.0, stepped) if abs(stepped) > LEAST_JUMP else None

    def _keep(self, readings: ClockReadings) -> None:
        self._last = readings
        offset = readings.wall_offset_ns / 1e9
        # within these bounds, wall clock minus monotonic clock means that nothing has happened
        self._least, self._most = offset - LEAST_JUMP, offset + LEAST_JUMP
        self._look_at = readings.monotonic_ns / 1e9 + LOOK_EVERY
