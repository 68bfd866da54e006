"""Up to when the trades and fills in a store are complete: a restarted program asks for what came later.

Owns stored_until(), the rule, and SqlRows, which puts its questions to an SQL database.

The rule. Rows are stored in the order in which they came, so what the exchange sent before the newest row is
stored as well, on every channel. The row's own ``time`` says how new it is: that is the exchange's clock, and
ours may be minutes off. But the program may have ended while it was filling a hole: a lost connection, a
gap, or its own start, if it went on where an earlier run had ended. A hole is open until a complete "filled"
row of each channel follows it, or until it is so old that its filling has ended, which is on record. What
counts are the rows before the first open hole. If the start of a run is open, the run before it decides. The
filling of a long hole may take longer: then rows from REST, oldest first, follow the last "filled" row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final, NamedTuple, Protocol

from .rows import TABLES

__all__ = ["HoleRow", "SqlRows", "StoredRows", "stored_until"]

# Messages of different markets may be stored in another order than they were sent in, if there are several
# workers.
_OVERLAP: Final = timedelta(seconds=30)
# By then the filling of a hole has ended, complete or not, unless it brings so much that it takes longer.
_OVER_AFTER: Final = timedelta(minutes=10)
_SETTLED: Final = timedelta(seconds=30)  # a newer "filled" row may be about another hole than the last
_TABLES: Final = {"trade": "trades", "fill": "fills"}  # of the channels that are filled
_TIMED: Final = tuple(table for table, columns in TABLES.items() if "time" in columns)


class HoleRow(NamedTuple):
    """A row of ``holes``, of kind "state", "gap" or "filled". Thread-safe: immutable."""

    n: int
    received_at: datetime
    kind: str
    channel: str | None
    gap_started: datetime | None
    complete: bool | None


class StoredRows(Protocol):
    """What a store answers about its rows. A run is what one sink wrote."""

    def newest_run(self, table: str, before: int | None) -> int | None:
        """Return the newest run in the table, of those older than ``before``; None if there is none."""

    def received(self, run: int, table: str) -> tuple[datetime, datetime] | None:
        """Return when the run's first and last rows of the table came; None if there are none."""

    def newest_time(self, run: int, table: str, before: int | None) -> datetime | None:
        """Return the ``time`` of the run's last row that has one, of those with ``n`` below ``before``."""

    def holes(self, run: int, since: datetime) -> Sequence[HoleRow]:
        """Return the run's holes of the three kinds that came at ``since`` or later, in any order."""

    def being_filled(self, run: int, table: str, channel: str) -> datetime | None:
        """Return the oldest ``time`` of the run's rows from REST after the channel's last "filled" row."""


def stored_until(rows: StoredRows) -> datetime | None:
    """Return up to when trades and fills are complete; None if there are none, or none that has a time."""
    newest = {channel: rows.newest_run(table, None) for channel, table in _TABLES.items()}
    channels = {channel for channel, run in newest.items() if run is not None}
    run = max((run for run in newest.values() if run is not None), default=None)
    found: datetime | None = None
    while run is not None:
        reach, is_start_open = _reach(rows, run, channels)
        found = reach or found
        before = [rows.newest_run(table, run) for table in _TABLES.values()] if is_start_open else []
        run = max((run for run in before if run is not None), default=None)
    return None if found is None else found - _OVERLAP


def _reach(rows: StoredRows, run: int, channels: Iterable[str]) -> tuple[datetime | None, bool]:
    """Return up to when the run's rows are complete, and whether something before them may be missing.

    ``channels`` are those that the store has rows of, so that a "filled" row of each is to be expected.
    """
    received = [both for table in TABLES if (both := rows.received(run, table)) is not None]
    begun, ended = min(first for first, _ in received), max(last for _, last in received)
    holes = rows.holes(run, ended - _OVER_AFTER)
    filled = dict.fromkeys(channels, 0)  # n of the last complete "filled" row of each channel
    for hole in holes:
        if hole.kind == "filled" and hole.channel in _TABLES:
            is_over = hole.complete and hole.received_at <= ended - _SETTLED
            filled[hole.channel] = max(filled.get(hole.channel, 0), hole.n if is_over else 0)
    filled_to = min(filled.values())
    unfinished = [rows.being_filled(run, table, channel) for channel, table in _TABLES.items()]
    reaches = [_newest(rows, run, _TIMED, None), *filter(None, unfinished)]
    for hole in holes:
        if hole.kind == "filled":
            if not hole.complete and hole.channel in _TABLES:
                reaches.append(hole.gap_started)
        elif hole.n < filled_to:
            continue
        elif hole.kind == "state":
            reaches.append(_newest(rows, run, _TIMED, hole.n))
        elif hole.channel in _TABLES:  # what is missing came after the channel's last message, maybe long ago
            reaches.append(_newest(rows, run, (_TABLES[hole.channel],), hole.n))
    known = [time for time in reaches if time is not None]
    is_start_open = (begun > ended - _OVER_AFTER and not filled_to) or len(known) < len(reaches)
    return min(known, default=None), is_start_open


def _newest(rows: StoredRows, run: int, tables: Iterable[str], before: int | None) -> datetime | None:
    times = [rows.newest_time(run, table, before) for table in tables]
    return max((time for time in times if time is not None), default=None)


class SqlRows:
    """The rows in an SQL database. Used by one thread at a time.

    ``ask(query, *values)`` returns rows, ``mark`` stands for a value in a query, and ``prefix`` goes before
    the name of a table.
    """

    def __init__(self, ask: Callable[..., Sequence[Sequence[Any]]], mark: str, prefix: str = "") -> None:
        self._ask = ask
        self._mark = mark
        self._prefix = prefix

    def newest_run(self, table: str, before: int | None) -> int | None:
        """Return the newest run in the table, of those older than ``before``; None if there is none."""
        limits = {} if before is None else {"run <": before}
        found: int | None = self._first(table, "run", "order by run desc", **limits)
        return found

    def received(self, run: int, table: str) -> tuple[datetime, datetime] | None:
        """Return when the run's first and last rows of the table came; None if there are none."""
        first, last = (
            self._first(table, "received_at", f"order by n {order}", **{"run =": run})
            for order in ("asc", "desc")
        )
        return None if first is None or last is None else (_time(first), _time(last))

    def newest_time(self, run: int, table: str, before: int | None) -> datetime | None:
        """Return the ``time`` of the run's last row that has one, of those with ``n`` below ``before``."""
        limits = {"run =": run} | ({} if before is None else {"n <": before})
        found = self._first(table, "time", "and time is not null order by n desc", **limits)
        return None if found is None else _time(found)

    def _first(self, table: str, column: str, order: str, **limits: int) -> Any:
        """Return the column of the first row in that order, or None."""
        where = " and ".join(f"{limit} {self._mark}" for limit in limits)
        found = self._ask(
            f"select {column} from {self._prefix}{table} {where and 'where '}{where} {order} limit 1",
            *limits.values(),
        )
        return found[0][0] if found else None

    def holes(self, run: int, since: datetime) -> Sequence[HoleRow]:
        """Return the run's holes of the three kinds that came at ``since`` or later."""
        found = self._ask(
            "select n, received_at, kind, channel, gap_started, complete "
            f"from {self._prefix}holes where run = {self._mark} and received_at >= {self._mark} "
            "and kind in ('state', 'gap', 'filled')",
            run,
            since.isoformat(timespec="microseconds"),
        )
        return [
            HoleRow(n, _time(at), kind, channel, started and _time(started), complete)
            for n, at, kind, channel, started, complete in found
        ]

    def being_filled(self, run: int, table: str, channel: str) -> datetime | None:
        """Return the oldest ``time`` of the run's rows from REST after the channel's last "filled" row."""
        mark, prefix = self._mark, self._prefix
        ((oldest,),) = self._ask(
            f"select min(time) from {prefix}{table} where run = {mark} and source = 'rest' and n > coalesce("
            f"(select n from {prefix}holes where run = {mark} and kind = 'filled' and channel = {mark} "
            "order by n desc limit 1), 0)",
            run,
            run,
            channel,
        )
        return None if oldest is None else _time(oldest)


def _time(value: datetime | str) -> datetime:
    """Return a time of either database as an aware datetime in UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(timezone.utc)
