"""A recording as tables: every delta, every trade, and the top of each book whenever it has changed.

Owns the columns and the writing: Parquet with pyarrow, CSV without it. Only a few thousand rows are in memory
at a time.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from ..books.book import Book
from ..errors import ConfigurationError
from ..events import FeedFault
from ..extras import how_to_install
from ..messages import OrderbookDelta, OrderbookSnapshot, Trade
from ..messages.values import Level
from ..session.timing import Timing
from .files import plain_stem
from .replaying import StepEngine

__all__ = ["COLUMNS", "Converter"]

_ROWS: Final = 8192  # in memory per table
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)

# Each table's columns and their kinds: "time" is UTC in microseconds, "price" decimal(6,4) in dollars, "size"
# decimal(18,2) in contracts. A trade's ``source`` is "feed", or "rest" if it fills a hole.
COLUMNS: Final[dict[str, dict[str, str]]] = {
    "deltas": {
        "received_at": "time",
        "received_ns": "int",
        "time": "time",
        "market_ticker": "text",
        "side": "text",
        "price": "price",
        "delta": "size",
        "sid": "int",
        "seq": "int",
    },
    "trades": {
        "received_at": "time",
        "received_ns": "int",
        "time": "time",
        "market_ticker": "text",
        "trade_id": "text",
        "yes_price": "price",
        "no_price": "price",
        "count": "size",
        "taker_side": "text",
        "source": "text",
    },
    "top": {
        "received_at": "time",
        "received_ns": "int",
        "market_ticker": "text",
        "status": "text",
        "yes_bid": "price",
        "yes_bid_size": "size",
        "yes_ask": "price",
        "yes_ask_size": "size",
        "seq": "int",
    },
}


class _Table(Protocol):
    def write(self, rows: list[tuple[Any, ...]]) -> None: ...
    def close(self) -> None: ...


class _Csv:
    def __init__(self, path: Path, columns: dict[str, str]) -> None:
        self._file = open(path, "x", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(columns)

    def write(self, rows: list[tuple[Any, ...]]) -> None:
        self._writer.writerows([[_csv_value(value) for value in row] for row in rows])

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, columns: dict[str, str]) -> None:
        pyarrow, parquet = _pyarrow()
        kinds = {
            "time": pyarrow.timestamp("us", tz="UTC"),
            "int": pyarrow.int64(),
            "text": pyarrow.string(),
            "price": pyarrow.decimal128(6, 4),
            "size": pyarrow.decimal128(18, 2),
        }
        self._pyarrow = pyarrow
        self._schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
        self._file = open(path, "xb")
        self._writer = parquet.ParquetWriter(self._file, self._schema, compression="zstd")

    def write(self, rows: list[tuple[Any, ...]]) -> None:
        arrays = [
            self._pyarrow.array(column, type=field.type)
            for column, field in zip(zip(*rows, strict=True), self._schema, strict=True)
        ]
        self._writer.write_batch(self._pyarrow.record_batch(arrays, schema=self._schema))

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            self._file.close()


class Converter:
    """One conversion of a recording to tables. Not thread-safe.

    Raises ConfigurationError for files that cannot be read or created, and if a package is missing.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        kind: Literal["parquet", "csv"],
        folder: str | os.PathLike[str] = ".",
        *,
        gaps: str = "strict",
    ) -> None:
        if kind not in ("parquet", "csv"):
            raise ConfigurationError(f"tables are written as 'parquet' or 'csv', not {kind!r}")
        if kind == "parquet":
            _pyarrow()
        self._engine = StepEngine(paths, gaps=gaps, timing=Timing())
        stem = plain_stem(self._engine.source.paths[0])
        self._files = {name: Path(folder) / f"{stem}.{name}.{kind}" for name in COLUMNS}
        for path in self._files.values():
            if path.exists():
                raise ConfigurationError(
                    f"{str(path)!r} already exists and will not be overwritten: move it or choose another "
                    "folder"
                )
        self._make: type[_Parquet | _Csv] = _Parquet if kind == "parquet" else _Csv
        self._waiting: dict[str, list[tuple[Any, ...]]] = {name: [] for name in COLUMNS}  # rows to be written
        self._tops: dict[str, tuple[Any, ...]] = {}  # the last top of each book, by ticker
        self.messages = 0
        self.rows: Counter[str] = Counter(dict.fromkeys(COLUMNS, 0))
        self.trouble: list[str] = []  # what is wrong with the recording

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that the tables are written to."""
        return tuple(self._files.values())

    @property
    def progress(self) -> float:
        """How much of the recording was read, 0 to 1."""
        return self._engine.progress

    def steps(self) -> Iterator[None]:
        """Convert the recording; yields now and then, so that progress can be shown. Raises OSError."""
        tables: dict[str, _Table] = {}
        try:
            try:
                for path in self._files.values():
                    path.parent.mkdir(parents=True, exist_ok=True)
                for name, path in self._files.items():
                    tables[name] = self._make(path, COLUMNS[name])
            except OSError as error:
                raise ConfigurationError(f"the tables cannot be created: {error}") from error
            for ns, items, changed in self._engine.steps():
                self._take(ns, items, changed)
                if any(len(rows) >= _ROWS for rows in self._waiting.values()):
                    self._write(tables)
                    yield
            self._write(tables)
        finally:
            for table in tables.values():
                table.close()

    def _write(self, tables: dict[str, _Table]) -> None:
        for name, rows in self._waiting.items():
            if rows:
                tables[name].write(rows)
                self.rows[name] += len(rows)
                rows.clear()

    def _take(self, ns: int, items: list[Any], changed: Iterable[str]) -> None:
        received_at = _EPOCH + timedelta(microseconds=ns // 1000)
        touched = dict.fromkeys(changed)
        for item in items:
            if isinstance(item, OrderbookDelta):
                touched[item.market_ticker] = None
                self._waiting["deltas"].append(
                    (
                        received_at,
                        ns,
                        item.time,
                        item.market_ticker,
                        item.side,
                        item.price,
                        item.delta,
                        item.sid,
                        item.seq,
                    )
                )
            elif isinstance(item, Trade):
                self._waiting["trades"].append(
                    (
                        received_at,
                        ns,
                        item.time,
                        item.market_ticker,
                        item.trade_id,
                        item.yes_price,
                        item.no_price,
                        item.count,
                        item.taker_outcome_side or item.taker_side,
                        item.source,
                    )
                )
            elif isinstance(item, OrderbookSnapshot):
                touched[item.market_ticker] = None
            elif isinstance(item, FeedFault):
                if item.kind == "recording":
                    self.trouble.append(item.message)
                continue
            self.messages += 1
        for ticker in touched:
            self._top(ticker, received_at, ns)

    def _top(self, ticker: str, received_at: datetime, ns: int) -> None:
        book = self._engine.store.find_locked(ticker)  # there are no other threads
        if book is None:
            return
        top = _top_of(book)
        if self._tops.get(ticker) != top:
            self._tops[ticker] = top
            self._waiting["top"].append((received_at, ns, ticker, *top, book.seq))


def _top_of(book: Book) -> tuple[Any, ...]:
    bid, ask = book.best_bid("yes"), book.best_ask("yes")
    return (book.status.value, *_parts(bid), *_parts(ask))


def _parts(level: Level | None) -> tuple[Decimal | None, Decimal | None]:
    return (None, None) if level is None else (level.price, level.quantity)


def _csv_value(value: Any) -> Any:
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Parquet needs the package pyarrow (CSV does not); {how_to_install('arrow')}"
        ) from error
    return pyarrow, pyarrow.parquet
