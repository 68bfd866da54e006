"""Rows into Parquet files, for pandas, polars or DuckDB: each batch becomes one file in each table's folder.

Owns ParquetSink and the names of the files. pyarrow (extra ``arrow``) is imported when a sink is made.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, SinkError
from ..extras import how_to_install
from ..recording.files import patiently
from .rows import KEY, TABLES, Row, Sink, Values, by_table

__all__ = ["ParquetSink"]


class ParquetSink(Sink):
    """Writes into ``folder``, as ``deltas/RUN-N.parquet`` and so on. Used by one thread at a time.

    N is the number of the batch's first row. The Batcher's ``batch_rows`` and ``batch_seconds`` decide when a
    new file begins. A file has a temporary name (".….tmp") until it is complete and on disk, and a batch that
    is written again replaces its own files. So a kill neither loses a file nor leaves one that cannot be
    read; what is not in a file yet is pending in memory. A kill in the middle of a batch may leave the batch
    in some of the tables only; it was not counted as written then. Raises SinkError, and ConfigurationError
    if pyarrow is missing.
    """

    batch_rows = 50_000
    batch_seconds = 60.0

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"Parquet needs the package pyarrow; {how_to_install('arrow')}"
            ) from error
        self._pyarrow: Any = pyarrow
        self._parquet: Any = pyarrow.parquet
        kinds = {
            "int": pyarrow.int64(),
            "time": pyarrow.timestamp("us", tz="UTC"),
            "price": pyarrow.decimal128(6, 4),
            "size": pyarrow.decimal128(18, 2),
            "text": pyarrow.string(),
            "json": pyarrow.string(),
        }
        self._schemas = {
            table: pyarrow.schema([(name, kinds[kind]) for name, kind in (KEY | columns).items()])
            for table, columns in TABLES.items()
        }
        self._folder = Path(folder)
        try:
            self._run = _new_run(self._folder / "runs")
        except OSError as error:
            raise SinkError(f"{self} cannot be created: {error}") from error

    def write(self, rows: Sequence[Row]) -> None:
        """Write the rows, one file for each table they belong to. Raises SinkError."""
        try:  # convert all of it before the first file is written, so that a refused batch leaves no file
            tables = {
                table: self._columns(table, lines) for table, lines in by_table(self._run, rows).items()
            }
        except (self._pyarrow.ArrowException, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise SinkError(f"{self} refuses a row: {error}", retryable=False) from error
        try:
            for table, columns in tables.items():
                self._write(table, f"{self._run}-{rows[0].n:012}.parquet", columns)
        except PermissionError as error:
            raise SinkError(
                f"{self} cannot be written: {error}; check who may write there, and whether another program "
                "has the file open"
            ) from error
        except (OSError, self._pyarrow.ArrowException) as error:
            raise SinkError(f"{self} cannot be written: {error}") from error

    def _columns(self, table: str, lines: Sequence[Values]) -> Any:
        """Return the rows as a pyarrow table."""
        schema = self._schemas[table]
        columns = [
            self._pyarrow.array(column, field.type)
            for column, field in zip(zip(*lines, strict=True), schema, strict=True)
        ]
        return self._pyarrow.table(columns, schema=schema)

    def _write(self, table: str, name: str, columns: Any) -> None:
        folder = self._folder / table
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{name}.tmp"
        try:
            with open(unfinished, "wb") as file:
                self._parquet.write_table(columns, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            patiently(partial(os.replace, unfinished, folder / name))
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        _sync_folder(folder)

    def __repr__(self) -> str:
        return f"Parquet folder {self._folder}"


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
