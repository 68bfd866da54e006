"""Rows into an SQLite file: in WAL mode, so that others read while it is written; one transaction a batch, on
disk when done.

Owns SQLiteSink and the file's schema. Must not import anything of the package but errors and rows. Decimals
and times are kept as texts ("0.5400", "2026-11-25T23:16:43.123456+00:00"): exact, and in order.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from ..errors import SinkError
from .rows import KEY, TABLES, Row, Sink, by_table

__all__ = ["SQLiteSink"]

_AFFINITIES: Final = {
    "int": "integer",
    "time": "text",
    "price": "text",
    "size": "text",
    "text": "text",
    "json": "text",
}


class SQLiteSink(Sink):
    """Writes to the SQLite file ``path``, which is made if it is not there. Used by one thread at a time.

    A batch is there whole or not at all, and once, also after a kill or a power cut (``synchronous = full``);
    ``runs`` says which row of each run was the last. ``busy_timeout``: seconds that a write waits for another
    program's lock. Raises SinkError.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = 5.0) -> None:
        self._path = os.fspath(path)
        self._busy_timeout = busy_timeout
        self._file: tuple[int, int] | None = None  # which one is open
        self._database: sqlite3.Connection | None = None
        try:
            self._database = self._open()
            self._run = _new_run(self._database)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise SinkError(f"{self} cannot be opened: {error}") from error

    def write(self, rows: Sequence[Row]) -> None:
        """See Sink. Raises SinkError."""
        try:
            if self._database is not None and self._file != _identity(self._path):
                self.close()  # somebody moved or deleted it
            if self._database is None:
                self._database = self._open()
            self._insert(self._database, rows)
        except (sqlite3.IntegrityError, sqlite3.DataError) as error:
            raise self._refusal(error) from error
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise SinkError(f"{self} cannot be written: {error}") from error
        except (
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:  # such as an int of more than 64 bits
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> SinkError:
        self.close()
        return SinkError(f"{self} refuses a row: {error}", retryable=False)

    def close(self) -> None:
        """See Sink."""
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()

    def _open(self) -> sqlite3.Connection:
        # used by one thread at a time, but made in another; transactions are begun by hand
        database = sqlite3.connect(
            self._path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = full")
            with _transaction(database):
                self._make_tables(database)
            self._file = _identity(self._path)
        except BaseException:
            database.close()
            raise
        return database

    def _make_tables(self, database: sqlite3.Connection) -> None:
        database.execute("create table if not exists runs (run integer primary key, last_n integer not null)")
        for table, columns in TABLES.items():
            types = {name: _AFFINITIES[kind] for name, kind in (KEY | columns).items()}
            listed = ", ".join(f"{name} {affinity}" for name, affinity in types.items())
            database.execute(
                f"create table if not exists {table} ({listed}, primary key ({', '.join(KEY)})) without rowid"
            )
            there = {name for _, name, *_ in database.execute(f"pragma table_info({table})")}
            if missing := types.keys() - there:
                raise sqlite3.OperationalError(
                    f"its table {table} is not one of ours, it has no column {', '.join(sorted(missing))}; "
                    "choose another file"
                )

    def _insert(self, database: sqlite3.Connection, rows: Sequence[Row]) -> None:
        with _transaction(database):
            database.execute("insert or ignore into runs values (?, 0)", (self._run,))  # in a file made anew
            (last_n,) = database.execute("select last_n from runs where run = ?", (self._run,)).fetchone()
            if last_n >= rows[-1].n:
                return  # the last try got further than it knew
            for table, lines in by_table(self._run, rows).items():
                marks = ", ".join("?" * (len(KEY) + len(TABLES[table])))
                database.executemany(
                    f"insert into {table} values ({marks})",
                    ([_plain(value) for value in line] for line in lines),
                )
            database.execute("update runs set last_n = ? where run = ?", (rows[-1].n, self._run))

    def __repr__(self) -> str:
        return f"SQLite file {self._path}"


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Any:
    database.execute("begin immediate")
    try:
        yield
        database.execute("commit")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.execute("rollback")
        raise


def _new_run(database: sqlite3.Connection) -> int:
    run = time.time_ns() // 1000
    while not database.execute("insert or ignore into runs values (?, 0)", (run,)).rowcount:
        run += 1  # another program's began in the same microsecond
    return run


def _identity(path: str) -> tuple[int, int] | None:
    """The file's, None where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return str(value) if isinstance(value, Decimal) else value
