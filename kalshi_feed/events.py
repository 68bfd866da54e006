"""What the feed itself reports, besides the exchange's messages: state changes, gaps, losses and faults.

Owns the frozen event types and FeedState. Thread-safe: immutable.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from .messages.listed import Market
from .messages.plain import Number, number_function, plain

__all__ = [
    "Event",
    "FeedFault",
    "FeedState",
    "Gap",
    "GapFilled",
    "Lagged",
    "MarketChange",
    "MarketStep",
    "StateChange",
]


MarketStep = Literal[
    "announced", "opened", "paused", "resumed", "rescheduled", "closed", "determined", "settled"
]


class FeedState(enum.Enum):
    """The feed's state, from start() to close()."""

    IDLE = "IDLE"  # not started yet
    CONNECTING = "CONNECTING"  # the first dial
    CONNECTED = "CONNECTED"
    RECONNECTING = "RECONNECTING"  # the connection was lost, or the first dial failed
    CLOSED = "CLOSED"  # by close(), a signal or the end of the program
    FAILED = "FAILED"  # by an error that another dial would not fix


@dataclass(frozen=True)
class Event:
    """Base class of the feed's own events. They outlive messages in a full queue; only faults are capped."""

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """The event as plain data, ready for JSON: its attributes under their names.

        Times are ISO 8601 strings in UTC, states their values, errors their messages. ``number`` converts
        each Decimal.
        """
        passed = number_function(number)
        return {item.name: plain(getattr(self, item.name), passed) for item in fields(self)}


@dataclass(frozen=True)
class StateChange(Event):
    """The feed went from ``previous`` to ``state``.

    ``attempt`` counts the dials since the last healthy session; ``delay`` is the wait before the next one, in
    seconds. ``gap_started`` and ``gap_ended`` (aware datetimes, UTC) bound the interval in which messages may
    have been missed: when a connection is lost, only the first is set; when the next one is there, both are.
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

    ``expected`` and ``received`` are sequence numbers; None if the reason is something else. ``gap_started``
    (an aware datetime, UTC) is when the last byte came before the machine slept; None for any other reason.
    """

    channel: str
    sid: int | None
    expected: int | None
    received: int | None
    market_tickers: tuple[str, ...] = ()
    reason: str = "sequence gap"
    gap_started: datetime | None = None


@dataclass(frozen=True)
class GapFilled(Event):
    """What was missed on a channel from ``since`` to ``until`` has been asked for over REST.

    The times are aware datetimes (UTC) by the exchange's clock. ``found`` messages were missing and have been
    delivered; ``matched`` ones that REST listed had come over the feed. If ``complete`` is False, some may
    still be missing, and ``reason`` says why; otherwise it is "". ``market_tickers`` is empty for a gap that
    concerns all markets.
    """

    channel: str
    since: datetime
    until: datetime
    market_tickers: tuple[str, ...]
    found: int
    matched: int
    complete: bool
    reason: str = ""


@dataclass(frozen=True)
class Lagged(Event):
    """Callbacks were too slow: ``dropped`` messages were dropped here; at most 1,000 tickers are named."""

    dropped: int
    market_tickers: tuple[str, ...]
    at: datetime


@dataclass(frozen=True)
class MarketChange(Event):
    """Something happened to a market that follow() follows, or was already so when it began.

    ``change``: "announced", "opened", "closed", "determined" and "settled" come in this order, each once,
    even if the feed learned of several at once; in between come "paused", "resumed" and "rescheduled". A
    market that is to close later after it has closed goes on with "opened". Markets open and close by the
    clock, in no fixed order with their first and last trades. ``market`` is what is known about it by then.
    """

    market_ticker: str
    event_ticker: str | None
    series_ticker: str
    change: MarketStep
    market: Market


@dataclass(frozen=True, eq=False)
class FeedFault(Event):
    """Something went wrong that did not end the feed, such as an unreadable frame or a callback that raised.

    ``kind`` is a short, stable name ("protocol", "callback", "unknown_market" …), ``error`` the exception if
    there is one, ``context`` what else is known (frame, callback's name, counts). Two faults are equal if all
    of these are; two errors count as equal if they have the same type and arguments, because a copy of an
    exception never equals the original.
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
