"""Rows into an SQLite file: one transaction per batch, in WAL mode, so that others can read meanwhile.

Owns SQLiteSink and the file's schema. Decimals and times are stored as strings ("0.5400",
"2026-11-25T23:16:43.123456+00:00"), which are exact and sort in the right order.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

from ..errors import SinkError
from .reach import SqlRows, stored_until
from .rows import IDENTIFIED, KEY, TABLES, Row, Sink, by_table, without_stored

__all__ = ["SQLiteSink"]

_AFFINITIES: Final = {
    "int": "integer",
    "time": "text",
    "price": "text",
    "size": "text",
    "money": "text",
    "text": "text",
    "bool": "integer",
    "json": "text",
}
_MOST_ASKED: Final = 500  # ids in one query; older versions of SQLite take 999 values


class SQLiteSink(Sink):
    """Writes to the SQLite file ``path``, and creates it if necessary. Used by one thread at a time.

    A batch is stored completely or not at all, and only once, even after a kill or a power cut
    (``synchronous = full``); the table ``runs`` has the last row of each run. ``busy_timeout`` is how many
    seconds a write waits for another program's lock. Raises SinkError.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = 5.0) -> None:
        self._path = os.fspath(path)
        self._busy_timeout = busy_timeout
        self._file: tuple[int, int] | None = None  # device and inode of the open file
        self._database: sqlite3.Connection | None = None
        try:
            self._database = self._open()
            self._run = _new_run(self._database)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise SinkError(f"{self} cannot be opened: {error}") from error

    def write(self, rows: Sequence[Row]) -> None:
        """Store all rows in one transaction, unless they already are. Raises SinkError."""
        try:
            if self._database is not None and self._file != _identity(self._path):
                self.close()  # the file was moved or deleted
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

    def stored_until(self) -> datetime | None:
        """See Sink. Raises SinkError."""
        if _identity(self._path) is None:
            return None
        try:  # with a connection of its own: the sink's belongs to the Batcher's thread
            database = sqlite3.connect(self._path, timeout=self._busy_timeout, isolation_level=None)
            with contextlib.closing(database):
                database.execute("begin")  # so that all queries see the same rows
                return stored_until(
                    SqlRows(lambda query, *values: database.execute(query, values).fetchall(), "?")
                )
        except (sqlite3.Error, OSError, ValueError) as error:
            raise SinkError(f"{self} cannot be read: {error}") from error

    def close(self) -> None:
        """Close the file."""
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()

    def _open(self) -> sqlite3.Connection:
        # the thread that made the sink is not the one that uses it; transactions are begun by hand
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
                    f"its table {table} was made by another program or an older version: it has no column "
                    f"{', '.join(sorted(missing))}; choose another file"
                )
        for table in IDENTIFIED:
            database.execute(f"create index if not exists {table}_by_trade_id on {table} (trade_id)")

    def _insert(self, database: sqlite3.Connection, rows: Sequence[Row]) -> None:
        with _transaction(database):
            database.execute(
                "insert or ignore into runs values (?, 0)", (self._run,)
            )  # in case the file was created again
            (last_n,) = database.execute("select last_n from runs where run = ?", (self._run,)).fetchone()
            if last_n >= rows[-1].n:
                return  # the last attempt committed, but did not notice
            tables = without_stored(by_table(self._run, rows), partial(_stored, database))
            for table, lines in tables.items():
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


def _stored(database: sqlite3.Connection, table: str, asked: Iterable[str]) -> list[str]:
    """Return those of the ids that the table has."""
    trade_ids, found = list(asked), list[str]()
    for first in range(0, len(trade_ids), _MOST_ASKED):
        some = trade_ids[first : first + _MOST_ASKED]
        marks = ", ".join("?" * len(some))
        query = f"select trade_id from {table} where trade_id in ({marks})"
        found += (trade_id for (trade_id,) in database.execute(query, some))
    return found


def _new_run(database: sqlite3.Connection) -> int:
    run = time.time_ns() // 1000
    while not database.execute("insert or ignore into runs values (?, 0)", (run,)).rowcount:
        run += 1  # another program began its run in the same microsecond
    return run


def _identity(path: str) -> tuple[int, int] | None:
    """Return the device and inode of the file, or None if it does not exist."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return str(value) if isinstance(value, Decimal) else value
