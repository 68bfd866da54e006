"""Rows into Parquet files, for pandas, polars or DuckDB: each batch becomes one file in each table's folder.

Owns ParquetSink and the names of the files. pyarrow (extra ``arrow``) is imported when a sink is made.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from ..errors import ConfigurationError, SinkError
from ..extras import how_to_install
from ..recording.files import patiently
from .reach import HoleRow, stored_until
from .rows import KEY, TABLES, Row, Sink, Values, by_table, without_stored

__all__ = ["ParquetSink"]

_NAME: Final = re.compile(r"(\d+)-(\d+)\.parquet")
_CLOCKS: Final = timedelta(hours=1)  # how much our clock and the exchange's may differ; see _stored()


class ParquetSink(Sink):
    """Writes into ``folder``, as ``deltas/RUN-N.parquet`` and so on. Used by one thread at a time.

    N is the number of the batch's first row. The Batcher's ``batch_rows`` and ``batch_seconds`` decide when a
    new file begins. A file has a temporary name (".….tmp") until it is complete and on disk, and a batch that
    is written again replaces its own files. So a kill neither loses a file nor leaves one that cannot be
    read; what is not in a file yet is pending in memory. A kill in the middle of a batch may leave the batch
    in some of the tables only; then it was not counted as written, and stored_until() does not count it
    either: ``runs/RUN`` has the number of the last row that did. Raises SinkError, and ConfigurationError if
    pyarrow is missing.
    """

    batch_rows = 50_000
    batch_seconds = 60.0

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            import pyarrow
            import pyarrow.compute
            import pyarrow.parquet
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"Parquet needs the package pyarrow; {how_to_install('arrow')}"
            ) from error
        self._pyarrow: Any = pyarrow
        self._compute: Any = pyarrow.compute
        self._parquet: Any = pyarrow.parquet
        kinds = {
            "int": pyarrow.int64(),
            "time": pyarrow.timestamp("us", tz="UTC"),
            "price": pyarrow.decimal128(6, 4),
            "size": pyarrow.decimal128(18, 2),
            "money": pyarrow.decimal128(21, 6),
            "text": pyarrow.string(),
            "bool": pyarrow.bool_(),
            "json": pyarrow.string(),
        }
        self._schemas = {
            table: pyarrow.schema([(name, kinds[kind]) for name, kind in (KEY | columns).items()])
            for table, columns in TABLES.items()
        }
        self._folder = Path(folder)
        try:
            self._run = _new_run(self._folder / "runs")
            self._check_columns()
        except (OSError, pyarrow.ArrowException) as error:
            raise SinkError(f"{self} cannot be created: {error}") from error

    def write(self, rows: Sequence[Row]) -> None:
        """Write the rows, one file for each table they belong to. Raises SinkError."""
        try:  # convert all of it before the first file is written, so that a refused batch leaves no file
            lines = by_table(self._run, rows)
            try:
                lines = without_stored(lines, partial(self._stored, rows[0].n))
            except (OSError, self._pyarrow.ArrowException) as error:
                raise SinkError(f"{self} cannot be read: {error}") from error
            tables = {table: self._columns(table, some) for table, some in lines.items()}
        except (self._pyarrow.ArrowException, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise SinkError(f"{self} refuses a row: {error}", retryable=False) from error
        try:
            for table, columns in tables.items():
                file = self._folder / table / f"{self._run}-{rows[0].n:012}.parquet"
                _replace(file, partial(self._parquet.write_table, columns, compression="zstd"))
            _replace(self._folder / "runs" / str(self._run), lambda file: file.write(b"%d" % rows[-1].n))
        except PermissionError as error:
            raise SinkError(
                f"{self} cannot be written: {error}; check who may write there, and whether another program "
                "has the file open"
            ) from error
        except (OSError, self._pyarrow.ArrowException) as error:
            raise SinkError(f"{self} cannot be written: {error}") from error

    def stored_until(self) -> datetime | None:
        """See Sink. Raises SinkError."""
        try:
            return stored_until(_ParquetRows(self._folder, self._parquet))
        except (OSError, ValueError, self._pyarrow.ArrowException) as error:
            raise SinkError(f"{self} cannot be read: {error}") from error

    def _check_columns(self) -> None:
        """Look at one file of each table: readers want all files of a folder to have the same columns."""
        for table, schema in self._schemas.items():
            file = max(_files(self._folder / table), default=None)
            there = schema.names if file is None else self._parquet.read_schema(file.path).names
            if missing := set(schema.names) - set(there):
                raise SinkError(
                    f"{self} cannot be used: its table {table} was made by another program or an older "
                    f"version: it has no column {', '.join(sorted(missing))}; choose another folder"
                )

    def _stored(self, first_n: int, table: str, asked: Mapping[str, datetime | None]) -> list[str]:
        """Return those of the ids that the table's files have; not those of an earlier attempt at this batch.

        Files last written before the oldest of these trades happened are not read.
        """
        times = [time for time in asked.values() if time is not None]
        oldest = (min(times) - _CLOCKS).timestamp() if len(times) == len(asked) else 0.0
        wanted, found = self._pyarrow.array(asked, self._pyarrow.string()), list[str]()
        for file in _files(self._folder / table):
            is_own = file.run == self._run and file.first_n >= first_n
            if not is_own and os.path.getmtime(file.path) >= oldest:
                (there,) = _read(self._parquet, file, "trade_id").columns
                found += there.filter(self._compute.is_in(there, value_set=wanted)).to_pylist()
        return found

    def _columns(self, table: str, lines: Sequence[Values]) -> Any:
        """Return the rows as a pyarrow table."""
        schema = self._schemas[table]
        columns = [
            self._pyarrow.array(column, field.type)
            for column, field in zip(zip(*lines, strict=True), schema, strict=True)
        ]
        return self._pyarrow.table(columns, schema=schema)

    def __repr__(self) -> str:
        return f"Parquet folder {self._folder}"


class _File(NamedTuple):
    """A file of a table; they sort in the order of their rows. Thread-safe: immutable."""

    run: int
    first_n: int
    path: str


def _files(folder: Path) -> list[_File]:
    """Return the folder's files, in no order."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [
        _File(int(match[1]), int(match[2]), str(folder / name))
        for name in names
        if (match := _NAME.fullmatch(name))
    ]


class _ParquetRows:
    """The rows in a folder's files, as StoredRows. Used by one thread at a time."""

    def __init__(self, folder: Path, parquet: Any) -> None:
        self._parquet = parquet
        last_n = {path.name: int(path.read_bytes() or 0) for path in (folder / "runs").glob("[0-9]*")}
        self._files = {
            table: sorted(
                file for file in _files(folder / table) if file.first_n <= last_n.get(str(file.run), 0)
            )
            for table in TABLES
        }

    def newest_run(self, table: str, before: int | None) -> int | None:
        runs = (file.run for file in self._files[table] if before is None or file.run < before)
        return max(runs, default=None)

    def received(self, run: int, table: str) -> tuple[datetime, datetime] | None:
        files = self._of(run, table)
        if not files:
            return None
        first, last = (self._rows(file, "received_at") for file in (files[0], files[-1]))
        return _utc(first[0]["received_at"]), _utc(last[-1]["received_at"])

    def newest_time(self, run: int, table: str, before: int | None) -> datetime | None:
        for file in reversed(self._of(run, table)):
            if before is None or file.first_n < before:
                for row in reversed(self._rows(file, "n", "time")):
                    if row["time"] is not None and (before is None or row["n"] < before):
                        return _utc(row["time"])
        return None

    def holes(self, run: int, since: datetime) -> Sequence[HoleRow]:
        found: list[HoleRow] = []
        for file in reversed(self._of(run, "holes")):
            rows = self._rows(file, *HoleRow._fields)
            found += (
                HoleRow(**row)
                for row in rows
                if row["received_at"] >= since and row["kind"] in ("state", "gap", "filled")
            )
            if rows[-1]["received_at"] < since:
                break
        return found

    def being_filled(self, run: int, table: str, channel: str) -> datetime | None:
        filled_to = 0
        for file in reversed(self._of(run, "holes")):
            rows = self._rows(file, "n", "kind", "channel")
            numbers = [row["n"] for row in rows if (row["kind"], row["channel"]) == ("filled", channel)]
            if numbers:
                filled_to = max(numbers)
                break
        found: list[datetime] = []
        for file in reversed(self._of(run, table)):
            rows = self._rows(file, "n", "time", "source")
            found += (row["time"] for row in rows if row["n"] > filled_to and row["source"] == "rest")
            if file.first_n <= filled_to:
                break
        return min((_utc(time) for time in found if time is not None), default=None)

    def _of(self, run: int, table: str) -> list[_File]:
        return [file for file in self._files[table] if file.run == run]

    def _rows(self, file: _File, *columns: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = _read(self._parquet, file, *columns).to_pylist()
        return rows


def _read(parquet: Any, file: _File, *columns: str) -> Any:
    # no partitioning: a folder above may be named "date=2026-11-30"
    return parquet.read_table(file.path, columns=list(columns), partitioning=None)


def _utc(time: datetime) -> datetime:
    return time.astimezone(timezone.utc)


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Create or replace the file: it is there once all of it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        with open(unfinished, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        patiently(partial(os.replace, unfinished, path))
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _new_run(folder: Path) -> int:
    """Return a number for this run, claimed by creating an empty file of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    run = time.time_ns() // 1000
    while True:
        try:
            open(folder / str(run), "x").close()
            return run
        except FileExistsError:
            run += 1  # another program began its run in the same microsecond


def _sync_folder(folder: Path) -> None:
    """Make sure that the new name is on disk as well."""
    with contextlib.suppress(OSError):  # Windows cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
