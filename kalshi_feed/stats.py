"""The metrics of a running feed: the FeedStats record, with its Stalls, and the Health verdict.

Owns the records and the rules for a verdict; every clock reading is passed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal

from .events import FeedState
from .messages.plain import Number, number_function, plain

__all__ = ["NAMED", "ConsumerStats", "FeedStats", "Health", "Stalls", "assess"]


def _read_only(mapping: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(mapping))


@dataclass(frozen=True)
class Stalls:
    """The times the reader stood still for over half a second while connected. Immutable.

    One call kept Python's lock, or the process was stopped. ``count`` is how many there were, ``longest`` the
    length of the longest one in seconds.
    """

    count: int = 0
    longest: float = 0.0

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """As plain data, ready for JSON: ``{"count": ..., "longest": ...}``. ``number`` is not used."""
        passed = number_function(number)
        return {item.name: plain(getattr(self, item.name), passed) for item in fields(self)}


@dataclass(frozen=True)
class ConsumerStats:
    """What a relay's consumer has read. Immutable.

    ``entries`` of the relay's stream were taken in; ``holes``: how often something was missing;
    ``bootstraps``: how often it has begun with a checkpoint. ``lag``: by how many seconds the last entry came
    later than the quickest one of the last minute or two.
    """

    entries: int = 0
    holes: int = 0
    bootstraps: int = 0
    lag: float = 0.0

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """As plain data, ready for JSON. ``number`` is not used: there are no Decimals."""
        passed = number_function(number)
        return {item.name: plain(getattr(self, item.name), passed) for item in fields(self)}


@dataclass(frozen=True)
class FeedStats:
    """The feed's metrics at one moment. Immutable, and so thread-safe.

    ``messages`` and ``bytes`` are counted by wire type, ``faults`` by kind, ``ignored`` (frames left out,
    such as a duplicate or a delta for a STALE book) by reason; counters continue over reconnects and
    restarts. Ages, latencies and the skew are in seconds, and None while unknown. ``processing_latency`` is
    from socket read to callback, ``exchange_latency`` from the exchange's timestamp to the socket read (both
    over the last 1 to 2 minutes); ``clock_skew`` is our clock minus the exchange's. ``stalls`` are the times
    the reader stood still. ``relay`` is what a relay's consumer has read, None for any other feed.
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
    stalls: Stalls = Stalls()
    relay: ConsumerStats | None = None

    def __post_init__(self) -> None:
        for name in ("messages", "bytes", "faults", "ignored"):
            object.__setattr__(self, name, _read_only(getattr(self, name)))

    @property
    def messages_total(self) -> int:
        """The number of messages of all types."""
        return sum(self.messages.values())

    @property
    def bytes_total(self) -> int:
        """The number of bytes in messages of all types."""
        return sum(self.bytes.values())

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """Everything as plain data, ready for JSON.

        The state is its value, the time an ISO 8601 string in UTC, NaN is None. ``number`` is not used: there
        are no Decimals.
        """
        passed = number_function(number)
        values = {item.name: plain(getattr(self, item.name), passed) for item in fields(self)}
        return values | {"messages_total": self.messages_total, "bytes_total": self.bytes_total}

    def __repr__(self) -> str:
        """The state, and every metric that is not zero or unknown; counts by type or kind as their sums."""
        since = f" since {self.connected_since.isoformat()}" if self.connected_since else ""
        shown = [f"{self.state.value}{since}", f"messages {self.messages_total}", f"bytes {self.bytes_total}"]
        for name in (
            item.name
            for item in fields(self)
            if item.name not in ("state", "connected_since", "messages", "bytes", "stalls", "relay")
        ):
            value = getattr(self, name)
            metric = sum(value.values()) if isinstance(value, Mapping) else value
            if metric:
                shown.append(f"{name} {metric:.3g}" if isinstance(metric, float) else f"{name} {metric}")
        if self.stalls.count:
            shown.append(f"stalls {self.stalls.count} (longest {self.stalls.longest:.3g} s)")
        if self.relay is not None:
            shown.append(
                f"relay: entries {self.relay.entries}, holes {self.relay.holes}, "
                f"bootstraps {self.relay.bootstraps}, lag {self.relay.lag:.3g}"
            )
        return f"FeedStats({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:  # a mapping proxy does not pickle
        values = (getattr(self, item.name) for item in fields(self))
        return type(self), tuple(dict(v) if isinstance(v, Mapping) else v for v in values)


Status = Literal["ok", "degraded", "down"]
NAMED: Final = 3  # markets that a reason names


@dataclass(frozen=True)
class Health:
    """``down``: no data can arrive now; ``degraded``: connected, but see ``reasons``; ``ok``: neither.

    ``notes`` says what is worth knowing and no reason to worry: which markets have closed or settled.
    """

    status: Status
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        """True when the status is "ok"."""
        return self.status == "ok"

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """As plain data, ready for JSON: ``{"status": ..., "reasons": [...], "notes": [...]}``. ``number`` is
        not used."""
        passed = number_function(number)
        return {item.name: plain(getattr(self, item.name), passed) for item in fields(self)}

    def __repr__(self) -> str:
        said = "; ".join((*self.reasons, *self.notes))
        return f"Health({self.status}{': ' if said else ''}{said})"


def assess(
    *,
    state: FeedState,
    error: str | None = None,
    books: Mapping[str, int] | None = None,
    overdue: Sequence[str] = (),
    unknown: Sequence[str] = (),
    ended: Sequence[str] = (),
    troubles: Sequence[str] = (),
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

    ``error`` is the message of the last connection error; ``books`` the number of wanted books by status
    name; ``overdue`` the markets whose first snapshot has not come in time; ``unknown`` those that the
    exchange does not know and never did; ``ended`` describes markets that have closed, which are in none of
    these; ``troubles`` are further reasons; ``last_received_age`` is the seconds since any byte came (also on
    a quiet market something does: the exchange pings every 10 s).
    """
    if state is not FeedState.CONNECTED:
        return Health("down", (f"the feed is {state.value}" + (f": {error}" if error else ""),))
    reasons: list[str] = []
    stale = (books or {}).get("STALE", 0)
    if stale:
        reasons.append(f"{stale} {_books(stale)} STALE")
    if overdue:
        reasons.append(f"{len(overdue)} {_books(len(overdue))} still without a snapshot: {_named(overdue)}")
    if unknown:
        markets = "market is" if len(unknown) == 1 else "markets are"
        reasons.append(f"{len(unknown)} {markets} unknown to the exchange: {_named(unknown)}")
    if failed_subscriptions:
        reasons.append(f"{failed_subscriptions} subscription(s) refused by the exchange")
    if stuck_callback:
        reasons.append(f"the callback {stuck_callback} is stuck")
    if dropped_recently:
        reasons.append(f"callbacks are too slow: {dropped_recently} messages dropped recently")
    elif queue_size and queue_depth * 2 >= queue_size:
        reasons.append(f"callbacks are behind: {queue_depth} of {queue_size} queue places are taken")
    if last_received_age is not None and idle_timeout and last_received_age > idle_timeout / 2:
        reasons.append(f"nothing received for {last_received_age:.0f} s")
    if clock_skew is not None and abs(clock_skew) > 5:
        reasons.append(f"this machine's clock is {clock_skew:+.0f} s off the exchange's")
    reasons += troubles
    notes: tuple[str, ...] = ()
    if ended:
        markets = "market has" if len(ended) == 1 else "markets have"
        notes = (f"{len(ended)} {markets} ended: {_named(ended)}",)
    return Health("degraded" if reasons else "ok", tuple(reasons), notes)


def _named(markets: Sequence[str]) -> str:
    return ", ".join(markets[:NAMED]) + (" …" if len(markets) > NAMED else "")


def _books(count: int) -> str:
    return "book is" if count == 1 else "books are"
