"""Meters of a running feed: latency histograms and message rates.

Owns the arithmetic only: every clock reading is passed in.
"""

from __future__ import annotations

import math

__all__ = ["Histogram", "Meter"]

_WINDOW = 60.0
_SUB_BITS = 4  # 16 buckets per doubling: a value is known to within 6 %
_MAX_SHIFT = 31  # 2**36 us = 19 hours; longer durations count as that
_BUCKETS = ((_MAX_SHIFT + 2) << _SUB_BITS) + 1


class Histogram:
    """Durations in log-linear buckets of microseconds, kept for one to two windows of 60 s.

    Only one thread at a time may call add(). Any thread may call percentile() and rotate(); at worst, they
    miss the values being added at that moment.
    """

    __slots__ = ("_current", "_previous", "_started")

    def __init__(self) -> None:
        self._current = [0] * _BUCKETS  # counts per bucket in the current window
        self._previous = [0] * _BUCKETS  # and in the one before
        self._started: float | None = None  # when the current window began; None: no rotate() yet

    def add(self, seconds: float, count: int = 1) -> None:
        """Add ``count`` values of ``seconds``. Negative ones (clocks differ) count as 0; NaN is ignored."""
        try:
            us = int(seconds * 1e6)
        except OverflowError:
            us = 1 << 62 if seconds > 0 else 0
        except ValueError:
            return
        if us < 32:
            self._current[us if us > 0 else 0] += count
            return
        shift = us.bit_length() - 5
        if shift > _MAX_SHIFT:
            self._current[-1] += count
        else:
            self._current[(shift << _SUB_BITS) + (us >> shift)] += count

    def rotate(self, now: float) -> None:
        """Start a new window if the current one is 60 s old; ``now`` is any monotonic clock's, in seconds."""
        if self._started is None:
            self._started = now
            return
        age = now - self._started
        if age < _WINDOW:
            return
        self._previous = self._current if age < 2 * _WINDOW else [0] * _BUCKETS
        self._current = [0] * _BUCKETS
        self._started = now

    @property
    def count(self) -> int:
        """The number of values in the two windows."""
        return sum(self._current) + sum(self._previous)

    def percentile(self, percent: float) -> float | None:
        """The percentile (``percent`` from 0 to 100) in seconds, to within 6 %; None without values."""
        counts = [a + b for a, b in zip(self._current, self._previous, strict=True)]
        total = sum(counts)
        if not total:
            return None
        rank = max(1, math.ceil(total * percent / 100))
        seen = 0
        for index, count in enumerate(counts):
            seen += count
            if seen >= rank:
                return _middle(index)
        return _middle(_BUCKETS - 1)


def _middle(index: int) -> float:
    """A bucket's midpoint, in seconds."""
    if index < 32:
        return index / 1e6
    shift = (index >> _SUB_BITS) - 1
    low = (index - (shift << _SUB_BITS)) << shift
    return (low + ((1 << shift) - 1) / 2) / 1e6


_SLOTS = 256  # quarters of a second: 64 s


class Meter:
    """Messages per second over the last 1, 10 and 60 s. One thread adds, any thread may read."""

    __slots__ = ("_counts", "_first", "_stamps", "total")

    def __init__(self) -> None:
        self._counts = [0] * _SLOTS  # a ring: messages per quarter of a second
        self._stamps = [-1] * _SLOTS  # which quarter each of them is about
        self._first: float | None = None  # when the first message came
        self.total = 0

    def add(self, now: float, count: int) -> None:
        """Add ``count`` messages at ``now`` (monotonic seconds, never negative); called once per batch."""
        slot = int(now * 4)
        index = slot % _SLOTS
        if self._stamps[index] == slot:
            self._counts[index] += count
        else:
            self._counts[index] = count
            self._stamps[index] = slot
        if self._first is None:
            self._first = now
        self.total += count

    def rate(self, now: float, seconds: int) -> float:
        """Messages per second over the last ``seconds`` (at most 60), or since the first message."""
        if self._first is None:
            return 0.0
        last = int(now * 4)
        first = last - 4 * seconds
        total = sum(
            count for stamp, count in zip(self._stamps, self._counts, strict=True) if first <= stamp <= last
        )
        covered = seconds + (now - last / 4)
        return total / max(1.0, min(covered, now - self._first))

    def rates(self, now: float) -> tuple[float, float, float]:
        """The rates over 1 s, 10 s and 60 s."""
        return self.rate(now, 1), self.rate(now, 10), self.rate(now, 60)
