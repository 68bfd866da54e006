"""What the feed itself says, beside the exchange's messages: changes of state, gaps, losses and faults.

Owns the frozen event types and FeedState; must not import anything of the package but messages.plain.
Thread-safe: immutable.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from .messages.plain import Number, number_function, plain

__all__ = ["Event", "FeedFault", "FeedState", "Gap", "Lagged", "StateChange"]


class FeedState(enum.Enum):
    """Where the feed stands between start() and close()."""

    IDLE = "IDLE"
    CONNECTING = "CONNECTING"
    CONNECTED = "CONNECTED"
    RECONNECTING = "RECONNECTING"
    CLOSED = "CLOSED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Event:
    """Base of the feed's own events. Messages are dropped before them; only of faults no endless number is
    kept."""

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """The event as plain data, ready for JSON: its attributes under their names.

        Times are ISO 8601 strings in UTC, a state is its value, an error its string. Decimals are passed
        through ``number``.
        """
        passed = number_function(number)
        return {item.name: plain(getattr(self, item.name), passed) for item in fields(self)}


@dataclass(frozen=True)
class StateChange(Event):
    """The feed went from ``previous`` to ``state``.

    ``attempt`` counts the dials since the last healthy session, ``delay`` is the wait in seconds before the
    next one. ``gap_started`` and ``gap_ended`` (aware datetimes, UTC) bound the interval in which messages
    may have been missed: the first is set when a connection is lost, both when the next one stands.
    """

    previous: FeedState
    state: FeedState
    reason: str = ""
    attempt: int = 0
    delay: float | None = None
    gap_started: datetime | None = None
    gap_ended: datetime | None = None


@dataclass(frozen=True)
class Gap(Event):
    """Messages of one subscription are missing; the books named are STALE until their next snapshot.

    ``expected`` and ``received`` are sequence numbers, None where the reason is another one than a number.
    ``gap_started`` (an aware datetime, UTC) is when the last byte was received before the machine slept, None
    for any other reason.
    """

    channel: str
    sid: int | None
    expected: int | None
    received: int | None
    market_tickers: tuple[str, ...] = ()
    reason: str = "sequence gap"
    gap_started: datetime | None = None


@dataclass(frozen=True)
class Lagged(Event):
    """Callbacks were too slow: ``dropped`` messages were left out at this place; at most 1,000 tickers are
    named."""

    dropped: int
    market_tickers: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, eq=False)
class FeedFault(Event):
    """Something went wrong that did not end the feed: a frame that could not be read, a callback that raised
    …

    ``kind`` is a short stable name ("protocol", "callback", "unknown_market" …), ``error`` the exception if
    there is one, ``context`` what else is known (frame, callback's name, counts). Two faults are equal if
    they say the same; their errors then are of one type and have the same arguments, because a copy of an
    exception never equals it.
    """

    kind: str
    message: str
    error: BaseException | None = None
    context: Mapping[str, Any] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeedFault):
            return NotImplemented
        mine, theirs = self.error, other.error
        return (self.kind, self.message, type(mine), self.context) == (
            other.kind,
            other.message,
            type(theirs),
            other.context,
        ) and (mine is theirs or getattr(mine, "args", ()) == getattr(theirs, "args", ()))

    def __hash__(self) -> int:
        return hash((self.kind, self.message))
