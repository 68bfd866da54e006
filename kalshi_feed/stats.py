"""Figures about a running feed: latency histograms, message rates, the FeedStats record and the Health verdict.

Owns the arithmetic only: every clock reading is passed in. Must not import anything of the package but session.events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from .session.events import FeedState

__all__ = ["FeedStats", "Health", "Histogram", "Meter", "assess"]

_WINDOW = 60.0
_SUB_BITS = 4  # 16 buckets for each doubling: a value is known to 6 %
_MAX_SHIFT = 31  # 2**36 us = 19 hours; longer ones count as that
_BUCKETS = ((_MAX_SHIFT + 2) << _SUB_BITS) + 1


class Histogram:
    """Durations in log-linear buckets of microseconds, kept for one to two windows of 60 s.

    One thread (or one lock) adds; percentile() and rotate() may be called from any other thread, and then at worst miss
    the values being added at that moment.
    """

    __slots__ = ("_current", "_previous", "_started")

    def __init__(self) -> None:
        self._current = [0] * _BUCKETS
        self._previous = [0] * _BUCKETS
        self._started: float | None = None

    def add(self, seconds: float, count: int = 1) -> None:
        """Count ``count`` values of ``seconds``. Negative ones (clocks differ) count as zero, NaN as nothing."""
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
        """Start a new window when the current one is 60 s old; ``now`` is any monotonic clock's reading in seconds."""
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
        """How many values the two windows hold."""
        return sum(self._current) + sum(self._previous)

    def percentile(self, percent: float) -> float | None:
        """The value in seconds below which ``percent`` (0 to 100) of the values lie, to 6 %; None without values."""
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
    """The middle of a bucket, in seconds."""
    if index < 32:
        return index / 1e6
    shift = (index >> _SUB_BITS) - 1
    low = (index - (shift << _SUB_BITS)) << shift
    return (low + ((1 << shift) - 1) / 2) / 1e6


_SLOTS = 256  # quarters of a second: 64 s


class Meter:
    """Messages per second over the last 1, 10 and 60 s. One thread adds, any thread reads."""

    __slots__ = ("_counts", "_first", "_stamps", "total")

    def __init__(self) -> None:
        self._counts = [0] * _SLOTS
        self._stamps = [-1] * _SLOTS
        self._first: float | None = None
        self.total = 0

    def add(self, now: float, count: int) -> None:
        """Count ``count`` messages at ``now`` (monotonic seconds, never negative); called once a batch."""
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
        """Messages per second over the last ``seconds`` (at most 60); over what there is while the meter is younger."""
        if self._first is None:
            return 0.0
        last = int(now * 4)
        first = last - 4 * seconds
        total = sum(count for stamp, count in zip(self._stamps, self._counts, strict=True) if first <= stamp <= last)
        covered = seconds + (now - last / 4)
        return total / max(1.0, min(covered, now - self._first))

    def rates(self, now: float) -> tuple[float, float, float]:
        """The rates over 1 s, 10 s and 60 s."""
        return self.rate(now, 1), self.rate(now, 10), self.rate(now, 60)


def _read_only(mapping: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(mapping))


@dataclass(frozen=True)
class FeedStats:
    """The feed's figures at one moment. Immutable, hence thread-safe.

    ``messages`` and ``bytes`` are counted by wire type, ``faults`` by kind, ``ignored`` (frames left out: a duplicate, a delta
    of a STALE book …) by reason; counters go on over reconnects and restarts. Ages, latencies and the skew are in seconds and
    None while unknown. ``processing_latency`` is from socket read to callback, ``exchange_latency`` from the exchange's
    timestamp to the socket read (both over the last 1 to 2 minutes); ``clock_skew`` is our clock minus the exchange's.
    """

    state: FeedState
    connected_since: datetime | None = None
    reconnects: int = 0
    messages: Mapping[str, int] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)
    rate_1s: float = 0.0
    rate_10s: float = 0.0
    rate_60s: float = 0.0
    gaps: int = 0
    resyncs: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    queue_depth: int = 0
    queue_high_water: int = 0
    dropped: int = 0
    callback_errors: int = 0
    callback_seconds: float = 0.0
    last_message_age: float | None = None
    processing_latency_p50: float | None = None
    processing_latency_p99: float | None = None
    exchange_latency_p50: float | None = None
    exchange_latency_p99: float | None = None
    clock_skew: float | None = None

    def __post_init__(self) -> None:
        for name in ("messages", "bytes", "faults", "ignored"):
            object.__setattr__(self, name, _read_only(getattr(self, name)))

    @property
    def messages_total(self) -> int:
        """Messages of all types."""
        return sum(self.messages.values())

    @property
    def bytes_total(self) -> int:
        """Bytes of the messages of all types."""
        return sum(self.bytes.values())

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values: the state's name, the time as ISO 8601 text."""
        values: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, FeedState):
                value = value.value
            elif isinstance(value, datetime):
                value = value.isoformat()
            elif isinstance(value, Mapping):
                value = dict(value)
            values[item.name] = value
        values["messages_total"] = self.messages_total
        values["bytes_total"] = self.bytes_total
        return values

    def __reduce__(self) -> tuple[Any, ...]:  # a mapping proxy does not pickle
        values = (getattr(self, item.name) for item in fields(self))
        return type(self), tuple(dict(v) if isinstance(v, Mapping) else v for v in values)


Status = Literal["ok", "degraded", "down"]


@dataclass(frozen=True)
class Health:
    """``down``: no data can arrive now; ``degraded``: connected, but see ``reasons``; ``ok``: neither."""

    status: Status
    reasons: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        """True when the status is "ok"."""
        return self.status == "ok"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: ``{"status": ..., "reasons": [...]}``."""
        return {"status": self.status, "reasons": list(self.reasons)}


def assess(
    *,
    state: FeedState,
    error: str | None = None,
    books: Mapping[str, int] | None = None,
    overdue: Sequence[str] = (),
    failed_subscriptions: int = 0,
    queue_depth: int = 0,
    queue_size: int = 0,
    dropped_recently: int = 0,
    stuck_callback: str | None = None,
    last_received_age: float | None = None,
    idle_timeout: float | None = None,
    clock_skew: float | None = None,
) -> Health:
    """The verdict on a feed.

    ``error`` is the text of the last connection error; ``books`` the number of wanted books by status name;
    ``overdue`` the markets whose first snapshot has not come in time; ``last_received_age`` the seconds since any
    byte came (a quiet market is not dead: the exchange pings every 10 s).
    """
    if state is not FeedState.CONNECTED:
        return Health("down", (f"the feed is {state.value}" + (f": {error}" if error else ""),))
    reasons: list[str] = []
    stale = (books or {}).get("STALE", 0)
    if stale:
        reasons.append(f"{stale} {_books(stale)} STALE")
    if overdue:
        named = ", ".join(overdue[:3]) + (" …" if len(overdue) > 3 else "")
        reasons.append(f"{len(overdue)} {_books(len(overdue))} still without a snapshot: {named}")
    if failed_subscriptions:
        reasons.append(f"{failed_subscriptions} subscription(s) refused by the exchange")
    if stuck_callback:
        reasons.append(f"the callback {stuck_callback} does not return")
    if dropped_recently:
        reasons.append(f"callbacks are too slow: {dropped_recently} messages dropped lately")
    elif queue_size and queue_depth * 2 >= queue_size:
        reasons.append(f"callbacks are behind: {queue_depth} of {queue_size} queue places taken")
    if last_received_age is not None and idle_timeout and last_received_age > idle_timeout / 2:
        reasons.append(f"nothing received for {last_received_age:.0f} s")
    if clock_skew is not None and abs(clock_skew) > 5:
        reasons.append(f"this machine's clock is {clock_skew:+.0f} s off the exchange's")
    return Health("degraded" if reasons else "ok", tuple(reasons))


def _books(count: int) -> str:
    return "book is" if count == 1 else "books are"
