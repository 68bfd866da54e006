"""One job for each hole: what it asks REST, step by step, until the hole is filled or given up.

Owns the jobs and Experience. A step makes its requests one after the other, on whichever thread calls it, and
says when the next one is due. Steps of one job never overlap.

Trades may appear over REST a little late. So a first answer is delivered at once, and a second one is asked
for some seconds later, and again while trades that came over the feed are not on the list. The account's data
is late by seconds or minutes: the exchange says up to which moment it is complete, and a job goes on until
that moment has passed the end of its hole.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from ..engine.holes import STATE_CHANNELS, Hole, time_of
from ..engine.live import HoleEnd, LiveEngine
from ..messages import Message
from ..threads import log_safely
from .judging import asked_for, ids_differ, is_unfiltered, late, matched

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["Experience", "Job", "job_for"]

SETTLE: Final = 3.0  # seconds after a hole's end at which REST should list all trades
MOST_LATE: Final = 15.0  # seconds after which REST should list what came over the feed
MOST_LAG: Final = 300.0  # seconds that the account's data may be behind
GIVE_UP: Final = (
    300.0  # seconds after a hole's end, and after the first failure, for which a request is repeated
)
_UNSURE: Final = 2.0  # seconds by which our idea of the exchange's time may be off
_MILLISECOND: Final = 0.001  # by which a message's time is rounded down
_LAG_FIRST: Final = 0.5  # seconds between two looks at how far the account's data is
_LAG_LAST: Final = 5.0
_SOON: Final = 0.2  # seconds until trades are asked for again while live ones wait; twice as many each time
_PIECE: Final = 900.0  # seconds of a long hole that are asked for at a time
_MANY: Final = 50_000  # trades in an answer that are not asked for again: Holding remembers so many
_TAIL: Final = 30.0  # seconds at its end that are, because REST may list them a little late
_AT_ONCE: Final = 1000  # messages delivered at a time
_ROOM: Final = 0.05  # seconds between two looks whether the callbacks have caught up
_HISTORICAL: Final = 60 * 86_400.0  # seconds; older trades may be in the archive
_MOST_TICKERS: Final = 300  # more are not worth naming in a request
_WORDS: Final = {"trade": "trades", "fill": "fills", "user_orders": "orders", "market_positions": "positions"}
_logger: Final = logging.getLogger("kalshi_feed")


class Experience:
    """What earlier holes have shown. Thread-safe: single operations on plain attributes."""

    def __init__(self) -> None:
        self.agreed: set[str] = set()  # channels on which REST's ids were the feed's
        self.differed: set[str] = set()  # channels on which they were not
        self.rate: float | None = None  # trades a second of the whole exchange


class Job(ABC):
    """Fills one hole. Used by one thread at a time. ``is_stopping`` says whether the filler ends."""

    def __init__(
        self,
        engine: LiveEngine,
        number: int,
        channel: str,
        experience: Experience,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self.number = number
        self.channel = channel
        self._experience = experience
        self._is_stopping = is_stopping
        self.due = 0.0  # when the next step is due (time.monotonic()); the filler's
        self.failures = 0  # in a row; the filler's
        self.failing_since = 0.0  # the exchange's time of the first of them

    def hole(self) -> Hole | None:
        """The hole as it is now; None if it goes on, or is filled."""
        return self._engine.requests.look(lambda: self._engine.holes.get(self.number))

    @abstractmethod
    def step(self, rest: Rest) -> float | None:
        """Ask, and deliver what is missing. Returns the seconds until the next step; None: it is done.
        Raises RestError."""

    def give_up(self, reason: str) -> None:
        """Report the hole as not filled."""
        hole = self.hole()
        if hole is not None:
            self._end(hole, (), HoleEnd(0, False, reason))

    def _deliver(self, hole: Hole, rows: Sequence[Message], *, releases: bool = False) -> None:
        """Deliver what is missing of the rows, no faster than the callbacks take it."""
        engine = self._engine
        for first in range(0, len(rows), _AT_ONCE):
            while (first or not releases) and engine.is_behind and not self._is_stopping():
                time.sleep(_ROOM)
            last = first + _AT_ONCE >= len(rows)
            engine.fill(hole, rows[first : first + _AT_ONCE], releases=releases and last)
        if not rows and releases:
            engine.fill(hole, (), releases=True)

    def _end(self, hole: Hole, rows: Sequence[Message], end: HoleEnd) -> None:
        self._deliver(hole, rows)
        found = self._engine.fill(hole, (), releases=True, end=end)
        if found is None:
            return  # it has grown meanwhile: another job takes over
        words, span = _WORDS[hole.channel], hole.until - hole.since
        what = (
            f"{found} {words} read over REST"
            if hole.channel in STATE_CHANNELS
            else (f"a gap of {span:.1f} s on {hole.channel} is filled: {found} {words} were missing")
        )
        if end.complete:
            log_safely(_logger, logging.INFO, "%s", what)
        else:
            text = "a gap of %.1f s on %s may not be filled completely: %s"
            log_safely(_logger, logging.WARNING, text, span, hole.channel, end.reason)

    def _differ(self, hole: Hole, rows: Sequence[Message]) -> bool:
        """Whether ids cannot be compared; then that is reported, and nothing delivered."""
        known, channel = self._experience, hole.channel
        if matched(hole, rows):
            known.agreed.add(channel)
            known.differed.discard(channel)
        if not ids_differ(
            hole, rows, have_agreed=channel in known.agreed, have_differed=channel in known.differed
        ):
            return False
        reason = f"REST's ids of {_WORDS[channel]} are not those of the feed"
        if channel not in known.differed:
            known.differed.add(channel)
            text = f"{reason}: what was missed on {channel} cannot be found, so none of it is delivered"
            self._engine.report_fault("rest", text)
        self._end(hole, (), HoleEnd(0, False, reason))
        return True


class _TradesJob(Job):
    """Fills a hole in ``trade``. Used by one thread at a time."""

    _from: float | None = None  # what lies before was delivered; only in a long hole
    _extended = -1  # which state of the hole that is about
    _matched = 0  # before that moment
    _soon = _SOON

    def step(self, rest: Rest) -> float | None:
        """Ask for the trades of its markets, and deliver what is missing. See Job."""
        hole, engine = self.hole(), self._engine
        if hole is None:
            return None
        if hole.extended != self._extended:
            self._extended, self._from, self._matched = hole.extended, None, 0
        first, last = asked_for(hole)
        if self._from is not None:
            first = self._from
        until = min(first + _PIECE, last)
        asked_at = engine.exchange_time()
        rows = self._ask(rest, hole.market_tickers, first, until)
        hole = self.hole()  # what has come meanwhile
        if hole is None or hole.extended != self._extended:
            return 0.0
        if self._differ(hole, rows):
            return None
        tail = min(until, asked_at) - _TAIL
        if until < last or (len(rows) > _MANY and first < tail):
            self._deliver(hole, rows)
            self._from = goes_on = until if until < last else tail
            self._matched += matched(hole, [row for row in rows if (time_of(row) or 0.0) < goes_on])
            return 0.0
        missing = late(hole, rows, asked_at) if self._from is None else 0
        is_behind = missing and not any((time_of(row) or 0.0) >= hole.until for row in rows)
        if is_behind and engine.is_holding and asked_at < hole.until + SETTLE:
            self._soon *= 2
            return self._soon / 2  # live ones wait, and REST may still be in time for them
        self._deliver(hole, rows, releases=True)
        if asked_at < hole.until + SETTLE:
            return hole.until + SETTLE - asked_at
        if missing and asked_at < hole.until + MOST_LATE:
            return 1.0
        reason = f"REST does not list {missing} trades that came over the feed" if missing else ""
        self._end(hole, (), HoleEnd(self._matched + matched(hole, rows), not missing, reason))
        return None

    def _ask(self, rest: Rest, market_tickers: tuple[str, ...], since: float, until: float) -> list[Message]:
        """The trades of these markets (none named: of all), oldest first."""
        parts = [(since, until, False)]
        if since < self._engine.exchange_time() - _HISTORICAL:
            cutoff = rest.historical_cutoff().timestamp()
            parts = [(since, min(until, cutoff), True)] if since < cutoff else []
            parts += [(max(since, cutoff), until, False)] if until > cutoff else []
        found: list[Message] = []
        for begin, end, historical in parts:
            if is_unfiltered(market_tickers, until - since, self._experience.rate):
                rows = list(rest.trades(since=begin, until=end, historical=historical))
                self._experience.rate = len(rows) / max(end - begin, 1.0)
                lists = [rows]
            else:
                lists = [
                    list(rest.trades(ticker, since=begin, until=end, historical=historical))
                    for ticker in market_tickers
                ]
            for rows in lists:
                found += reversed(rows)
        return _in_order(found, market_tickers, since, until)


class _AccountJob(Job):
    """Fills a hole in the account's data, which is behind. Used by one thread at a time."""

    _delay = _LAG_FIRST

    def _is_up_to_date(self, rest: Rest, hole: Hole) -> tuple[bool, str]:
        """Whether the data has passed the end of the hole, and if not, why it is not complete."""
        as_of = rest.user_data_timestamp()
        return as_of.timestamp() >= hole.until + _UNSURE, (
            f"REST's data of the account is complete up to {as_of:%H:%M:%S} UTC only"
        )

    def _again(self, hole: Hole) -> float | None:
        """The seconds until the next look; None if that has lasted too long."""
        if self._engine.exchange_time() > hole.until + MOST_LAG:
            return None
        delay, self._delay = self._delay, min(self._delay * 2, _LAG_LAST)
        return delay


class _FillsJob(_AccountJob):
    """Fills a hole in ``fill``. Used by one thread at a time."""

    def step(self, rest: Rest) -> float | None:
        """Ask for the fills, and deliver what is missing. See Job."""
        hole = self.hole()
        if hole is None:
            return None
        is_complete, reason = self._is_up_to_date(rest, hole)
        first, last = asked_for(hole)
        markets = hole.market_tickers if len(hole.market_tickers) <= _MOST_TICKERS else ()
        listed = list(rest.fills(since=first, until=last, market_tickers=markets or None))
        rows = _in_order(reversed(listed), hole.market_tickers, first, last)
        if self._differ(hole, rows):
            return None
        self._deliver(hole, rows)
        if not is_complete and (delay := self._again(hole)) is not None:
            return delay
        self._end(hole, (), HoleEnd(matched(hole, rows), is_complete, "" if is_complete else reason))
        return None


class _StatesJob(_AccountJob):
    """Reads orders or positions again after a hole. Used by one thread at a time."""

    def step(self, rest: Rest) -> float | None:
        """Read all orders or positions once they are up to date. See Job."""
        hole = self.hole()
        if hole is None:
            return None
        is_complete, reason = self._is_up_to_date(rest, hole)
        if not is_complete and (delay := self._again(hole)) is not None:
            return delay
        listed: Iterable[Message] = rest.orders() if hole.channel == "user_orders" else rest.positions()
        rows = _of_markets(list(listed), hole.market_tickers)
        rows.reverse()  # the oldest first
        self._end(hole, rows, HoleEnd(matched(hole, rows), is_complete, "" if is_complete else reason))
        return None


def _of_markets(rows: Iterable[Message], market_tickers: tuple[str, ...]) -> list[Message]:
    markets = frozenset(market_tickers)
    return [row for row in rows if not markets or row.market_ticker in markets]


def _in_order(
    rows: Iterable[Message], market_tickers: tuple[str, ...], since: float, until: float
) -> list[Message]:
    """Those of the markets and the interval, oldest first: REST goes by whole seconds. Those of the same time
    stay in REST's order."""
    found = [
        (at if (at := time_of(row)) is not None else since, row) for row in _of_markets(rows, market_tickers)
    ]
    found.sort(key=lambda one: one[0])
    return [row for at, row in found if since - _MILLISECOND <= at <= until]


_JOBS: Final = {"trade": _TradesJob, "fill": _FillsJob}


def job_for(
    engine: LiveEngine, number: int, channel: str, experience: Experience, is_stopping: Callable[[], bool]
) -> Job:
    """Return the job for a hole."""
    return _JOBS.get(channel, _StatesJob)(engine, number, channel, experience, is_stopping)
