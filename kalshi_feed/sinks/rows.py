"""What is stored: the tables, their columns, and the values that a message or event has in them.

Owns Row, Sink, Dropped and TABLES, and which rows from REST are left out because the store has them. Pure,
hence thread-safe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from operator import attrgetter
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from ..events import Event, FeedFault, Gap, GapFilled, Lagged, StateChange
from ..messages import Fill, OrderbookDelta, OrderbookSnapshot, Ticker, Trade

__all__ = ["IDENTIFIED", "KEY", "TABLES", "Dropped", "Row", "Sink", "Values", "by_table", "without_stored"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Dropped(Event):
    """``dropped`` messages and events are missing at this place, because of ``reason``.

    The Batcher was full, or the store refused a row. At most 1,000 tickers are named. Immutable.
    """

    dropped: int
    market_tickers: tuple[str, ...]
    reason: str = "the store was too slow or down"


class Row(NamedTuple):
    """One message or event on its way into a store.

    ``item`` is the message or event itself, ``n`` its number in the order of put() (from 1, without holes),
    ``received_ns`` the time of that put() in nanoseconds since 1970. Thread-safe: immutable.
    """

    n: int
    received_ns: int
    item: Any


class Sink(ABC):
    """What a Batcher writes to. Only the Batcher's thread uses it, so it need not be thread-safe.

    A sink belongs to one Batcher, which closes it. Subclass this, or write any class with these methods.
    """

    takes: ClassVar[tuple[type[Any], ...]] = (OrderbookDelta, OrderbookSnapshot, Trade, Ticker, Fill, Event)
    """The types it can store. put() refuses anything else, and subscribe_to() does not pass it on."""

    batch_rows: ClassVar[int] = 1_000
    batch_seconds: ClassVar[float] = 1.0
    """The defaults for the Batcher's arguments of the same names."""

    batcher: object = None
    """The Batcher it belongs to, once it has one."""

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Store all of ``rows``, or none and raise; then the same rows come again until they are stored.

        Raise ``SinkError(…, retryable=False)`` if the store refuses the content of a row. The Batcher then
        passes fewer rows at a time until it has found that row, and drops it. After a restart with
        ``fill_since`` a trade or fill whose ``source`` is "rest" may be in the store already, under its
        ``trade_id``.
        """

    def stored_until(self) -> datetime | None:
        """Return up to when the stored trades and fills are complete, for ``KalshiFeed(fill_since=…)``.

        Thread-safe, although the sink is not. The time is an aware datetime (UTC) by the exchange's clock. It
        is rather too early than too late: what REST returns again is not stored again. What is missing from
        before is in ``holes``. None if there are no trades or fills, or if the sink cannot say. Raises
        SinkError.
        """
        return None

    def close(self) -> None:  # noqa: B027  # not every sink holds something
        """Release what the sink holds; nothing more will be written."""


# The kinds of columns: "int" has 64 bits; "time" is UTC in microseconds; "price" is dollars with 4 decimals;
# "size" is contracts with 2; "money" is dollars with 6; "text" is a string; "bool" is true or false; "json"
# is a string of JSON: levels as [["0.5400", "12.00"], …], best first, in the side's own prices, and tickers
# as ["A", …]. A ``source`` is "feed", or "rest" if the row fills a hole.
KEY: Final[dict[str, str]] = {"run": "int", "n": "int"}
"""The first columns of every table, and its primary key.

``run`` is one sink from start to end, named by its start in microseconds since 1970; ``n`` orders the rows of
all its tables.
"""

TABLES: Final[dict[str, dict[str, str]]] = {
    "deltas": {
        "received_at": "time",
        "time": "time",
        "market_ticker": "text",
        "side": "text",
        "price": "price",
        "delta": "size",
        "sid": "int",
        "seq": "int",
    },
    "snapshots": {
        "received_at": "time",
        "market_ticker": "text",
        "yes": "json",
        "no": "json",
        "sid": "int",
        "seq": "int",
    },
    "trades": {
        "received_at": "time",
        "time": "time",
        "market_ticker": "text",
        "trade_id": "text",
        "yes_price": "price",
        "no_price": "price",
        "count": "size",
        "taker_side": "text",
        "source": "text",
    },
    "fills": {
        "received_at": "time",
        "time": "time",
        "market_ticker": "text",
        "trade_id": "text",
        "order_id": "text",
        "outcome_side": "text",
        "book_side": "text",
        "yes_price": "price",
        "count": "size",
        "is_taker": "bool",
        "fee": "money",
        "subaccount": "int",
        "source": "text",
    },
    "tickers": {
        "received_at": "time",
        "time": "time",
        "market_ticker": "text",
        "price": "price",
        "yes_bid": "price",
        "yes_bid_size": "size",
        "yes_ask": "price",
        "yes_ask_size": "size",
        "last_trade_size": "size",
        "volume": "size",
        "open_interest": "size",
    },
    "holes": {
        "received_at": "time",
        "kind": "text",
        "what": "text",
        "channel": "text",
        "sid": "int",
        "expected": "int",
        "received": "int",
        "dropped": "int",
        "market_tickers": "json",
        "gap_started": "time",
        "gap_ended": "time",
        "found": "int",
        "matched": "int",
        "complete": "bool",
    },
}
"""The tables by name, each with the columns that follow KEY, and their kinds."""

IDENTIFIED: Final = ("trades", "fills")
"""The tables whose rows have a ``trade_id`` and a ``source``."""

Values = tuple[Any, ...]


def by_table(run: int, rows: Sequence[Row]) -> dict[str, list[Values]]:
    """Sort the rows by table, each as the values of the table's columns, KEY first."""
    found: dict[str, list[Values]] = {}
    for n, received_ns, item in rows:
        table, values_of = _place(type(item))
        received_at = _EPOCH + timedelta(microseconds=received_ns // 1000)
        found.setdefault(table, []).append((run, n, received_at, *values_of(item)))
    return found


def without_stored(
    tables: dict[str, list[Values]],
    stored: Callable[[str, dict[str, datetime | None]], Iterable[str]],
) -> dict[str, list[Values]]:
    """Leave out trades and fills from REST that the store has, or that come earlier in the batch.

    A restarted program asks REST for a little more than it missed. What came over the feed is new, so it is
    not looked up. ``stored(table, asked)`` returns those of the ids that the table has; ``asked`` has the
    time of each.
    """
    found = dict(tables)
    for table in IDENTIFIED:
        columns = list(KEY | TABLES[table])
        source, trade_id, time = map(columns.index, ("source", "trade_id", "time"))
        asked = {line[trade_id]: line[time] for line in tables.get(table, ()) if line[source] == "rest"}
        if not asked:
            continue
        known, found[table] = set(stored(table, asked)), []
        for line in tables[table]:
            if line[source] != "rest" or line[trade_id] not in known:
                found[table].append(line)
            known.add(line[trade_id])
        if not found[table]:
            del found[table]
    return found


def _place(cls: type[Any]) -> tuple[str, Callable[[Any], Values]]:
    return next(_PLACES[base] for base in cls.__mro__ if base in _PLACES)


def _attributes(table: str) -> Callable[[Any], Values]:
    """Return what reads the values of a table whose columns are named like the message's attributes."""
    return attrgetter(*(column for column in TABLES[table] if column != "received_at"))


def _snapshot(snapshot: OrderbookSnapshot) -> Values:
    return (snapshot.market_ticker, _json(snapshot.yes), _json(snapshot.no), snapshot.sid, snapshot.seq)


def _trade(trade: Trade) -> Values:
    side = trade.taker_outcome_side or trade.taker_side
    return (
        trade.time,
        trade.market_ticker,
        trade.trade_id,
        trade.yes_price,
        trade.no_price,
        trade.count,
        side,
        trade.source,
    )


def _gap(gap: Gap) -> Values:
    return _hole(
        "gap",
        f"gap in {gap.channel}: {gap.reason}",
        channel=gap.channel,
        sid=gap.sid,
        expected=gap.expected,
        received=gap.received,
        market_tickers=_json(gap.market_tickers),
        gap_started=gap.gap_started,
    )


def _filled(filled: GapFilled) -> Values:
    what = f"{filled.channel}: {filled.found} found, {filled.matched} matched"
    return _hole(
        "filled",
        f"{what}: {filled.reason}" if filled.reason else what,
        channel=filled.channel,
        market_tickers=_json(filled.market_tickers),
        gap_started=filled.since,
        gap_ended=filled.until,
        found=filled.found,
        matched=filled.matched,
        complete=filled.complete,
    )


def _lagged(lagged: Lagged) -> Values:
    return _left_out("lagged", f"callbacks were too slow: {lagged.dropped} messages dropped", lagged)


def _dropped(dropped: Dropped) -> Values:
    return _left_out("dropped", f"{dropped.reason}: {dropped.dropped} rows dropped", dropped)


def _left_out(kind: str, what: str, event: Lagged | Dropped) -> Values:
    return _hole(kind, what, dropped=event.dropped, market_tickers=_json(event.market_tickers))


def _state(change: StateChange) -> Values:
    what = f"{change.state.value}: {change.reason}" if change.reason else change.state.value
    return _hole("state", what, gap_started=change.gap_started, gap_ended=change.gap_ended)


def _fault(fault: FeedFault) -> Values:
    return _hole("fault", f"{fault.kind}: {fault.message}")


def _event(event: Event) -> Values:
    return _hole(type(event).__name__, str(event))


def _hole(kind: str, what: str, **others: Any) -> Values:
    """Return the values of a row of ``holes``, without received_at."""
    values = {"kind": kind, "what": what, **others}
    return tuple(values.get(column) for column in TABLES["holes"] if column != "received_at")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()  # a Decimal becomes a string with all of its digits


_PLACES: Final[dict[type[Any], tuple[str, Callable[[Any], Values]]]] = {
    OrderbookDelta: ("deltas", _attributes("deltas")),
    OrderbookSnapshot: ("snapshots", _snapshot),
    Trade: ("trades", _trade),
    Ticker: ("tickers", _attributes("tickers")),
    Fill: ("fills", _attributes("fills")),
    Gap: ("holes", _gap),
    GapFilled: ("holes", _filled),
    Lagged: ("holes", _lagged),
    Dropped: ("holes", _dropped),
    StateChange: ("holes", _state),
    FeedFault: ("holes", _fault),
    Event: ("holes", _event),
}
