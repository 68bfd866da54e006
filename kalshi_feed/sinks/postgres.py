"""Rows into PostgreSQL: with COPY, one transaction per batch, and each batch exactly once.

Owns PostgresSink, its schema and its connection. Only making a sink imports psycopg (extra ``postgres``).

Exactly once means this. The table ``runs`` has the number of the last row of each run, and is updated in the
same transaction that brings the rows. If a connection breaks during the commit, we cannot know whether the
batch was stored. So the next connection first reads that number, with a lock on its row; if the earlier
transaction is still running on the server, it holds that lock, and the sink has to try again later. A batch
that turns out to be stored is not sent again, and one that is not is. No row comes twice (KEY is also a
primary key), and none is left out, except for a trade or fill from REST that is there already.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..connection.redaction import redact, without_locals
from ..errors import ConfigurationError, SinkError
from ..extras import how_to_install
from .reach import SqlRows, stored_until
from .rows import IDENTIFIED, KEY, TABLES, Row, Sink, Values, by_table, without_stored

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresSink"]

_TYPES: Final = {
    "int": "bigint",
    "time": "timestamptz",
    "price": "numeric(6, 4)",
    "size": "numeric(18, 2)",
    "money": "numeric(21, 6)",
    "text": "text",
    "bool": "boolean",
    "json": "jsonb",
}
# How long to wait for a server that does not answer, unless the address says otherwise (libpq's names, units)
_PATIENCE: Final = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
_LOCK_TIMEOUT: Final = "10s"  # if another session has locked one of our tables
_LOCK: Final = 0x6B616C736869  # for pg_advisory_xact_lock, so that two programs never create tables at once

_R = TypeVar("_R")


class PostgresSink(Sink):
    """Writes to a PostgreSQL database. Used by one thread at a time.

    ``address`` is "postgresql://user@host/database" or libpq's "host=… dbname=…". The password may be in it,
    in PGPASSWORD or in ~/.pgpass. ``schema`` and its tables are created if they do not exist.

    After an error the next write connects again. A batch counts as stored once PostgreSQL has it on disk: if
    synchronous_commit is off, it is switched on for these transactions. Raises SinkError, and
    ConfigurationError for an address that cannot be parsed or if psycopg is missing.
    """

    @without_locals
    def __init__(self, address: str, *, schema: str = "kalshi") -> None:
        try:
            import psycopg
            import psycopg.conninfo
        except ImportError as error:
            raise ConfigurationError(
                f"PostgreSQL needs the package psycopg; {how_to_install('postgres')}"
            ) from error
        self._psycopg = psycopg
        try:
            given = psycopg.conninfo.conninfo_to_dict(address)
        except psycopg.ProgrammingError:  # its message may show the password
            given = {}
        if not given:
            raise ConfigurationError(
                "the address of the PostgreSQL database cannot be parsed: write "
                "postgresql://user@host:port/database (with %40 for an @ in a name or password), and use "
                "only options that libpq knows"
            )
        self._secrets = [str(given[name]) for name in ("password", "sslpassword") if given.get(name)]
        self._address = psycopg.conninfo.make_conninfo("", **{**_PATIENCE, **given})
        place = "".join(
            f" {word} {given[name]}" for word, name in (("at", "host"), ("port", "port")) if given.get(name)
        )
        self._name = f"PostgreSQL database {given.get('dbname') or given.get('user') or ''}{place}"
        self._schema = _quoted(schema)
        self._schema_name = schema
        self._run = time.time_ns() // 1000
        self._connection: psycopg.Connection[Any] | None = None
        try:
            self._try("cannot be opened", self._begin)
        except SinkError:
            self.close()
            raise

    def write(self, rows: Sequence[Row]) -> None:
        """Store all rows in one transaction, unless they already are. Raises SinkError."""
        try:
            tables = by_table(self._run, rows)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise SinkError(f"{self} refuses a row: {error}", retryable=False) from error
        try:
            self._try("cannot be written", self._store, tables, rows[-1].n)
        except SinkError:
            self.close()  # the next write connects again
            raise

    def stored_until(self) -> datetime | None:
        """See Sink. Raises SinkError."""
        return self._try("cannot be read", self._reach)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(self._psycopg.Error):
                connection.close()

    def _begin(self) -> None:
        self._connection = self._connect()
        while not self._add_run(self._connection):
            self._run += 1  # another program began its run in the same microsecond

    def _reach(self) -> datetime | None:
        # with a connection of its own: the sink's belongs to the Batcher's thread
        connection = self._connect()
        with contextlib.closing(connection), connection.transaction():
            # so that all queries see the same rows
            connection.execute("set transaction isolation level repeatable read, read only")
            connection.execute("select set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
            return stored_until(
                SqlRows(
                    lambda query, *values: connection.execute(query, values).fetchall(),
                    "%s",
                    f"{self._schema}.",
                )
            )

    def _store(self, tables: dict[str, list[Values]], last_n: int) -> None:
        if self._connection is None:
            self._connection = self._connect()
        with self._connection.transaction(), self._connection.cursor() as cursor:
            if self._last_n(cursor) >= last_n:
                return  # the last attempt committed, but never heard back
            for table, lines in without_stored(tables, partial(self._stored, cursor)).items():
                columns = ", ".join(map(_quoted, KEY | TABLES[table]))
                with cursor.copy(f"copy {self._schema}.{table} ({columns}) from stdin") as copy:
                    for line in lines:
                        copy.write_row([_storable(value) for value in line])
            cursor.execute(f"update {self._schema}.runs set last_n = %s where run = %s", (last_n, self._run))

    def _stored(self, cursor: psycopg.Cursor[Any], table: str, asked: Iterable[str]) -> list[str]:
        """Return those of the ids that the table has."""
        query = f"select trade_id from {self._schema}.{table} where trade_id = any(%s)"
        return [trade_id for (trade_id,) in cursor.execute(query, (list(map(_storable, asked)),))]

    def _last_n(self, cursor: psycopg.Cursor[Any]) -> int:
        """Return the number of this run's last stored row, and lock it.

        Raises the server's error if another transaction has the lock.
        """
        found = cursor.execute(
            "select last_n, set_config('lock_timeout', %s, true), case current_setting('synchronous_commit') "
            "when 'off' then "
            f"set_config('synchronous_commit', 'on', true) end from {self._schema}.runs where run = %s for "
            "update nowait",
            (_LOCK_TIMEOUT, self._run),
        ).fetchone()
        if found is None:  # the table was emptied
            self._add_run(cursor)
        return 0 if found is None else int(found[0])

    def _connect(self) -> psycopg.Connection[Any]:
        # no prepared statements: a connection pooler in between may not support them
        connection = self._psycopg.connect(self._address, autocommit=True, prepare_threshold=None)
        try:
            with connection.transaction():
                self._make_tables(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_tables(self, connection: psycopg.Connection[Any]) -> None:
        """Create only what is missing: not every user that may write to tables may create them."""
        connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        there: dict[str, set[str]] = {}
        for table, column in connection.execute(
            "select table_name, column_name from information_schema.columns where table_schema = %s",
            (self._schema_name,),
        ):
            there.setdefault(table, set()).add(column)
        if not there and connection.execute("select to_regnamespace(%s)", (self._schema,)).fetchone() == (
            None,
        ):
            connection.execute(f"create schema {self._schema}")
        wanted = {"runs": {"run": "bigint primary key", "last_n": "bigint not null"}}
        for table, columns in TABLES.items():
            wanted[table] = {name: _TYPES[kind] for name, kind in (KEY | columns).items()}
        for table, types in wanted.items():
            if table not in there:
                listed = [f"{_quoted(name)} {type_}" for name, type_ in types.items()]
                if table != "runs":
                    listed.append(f"primary key ({', '.join(KEY)})")
                connection.execute(f"create table {self._schema}.{table} ({', '.join(listed)})")
                if table in IDENTIFIED:
                    connection.execute(f"create index on {self._schema}.{table} (trade_id)")
            elif missing := types.keys() - there[table]:
                raise self._psycopg.ProgrammingError(
                    f"the table {self._schema_name}.{table} was made by another program or an older version: "
                    f"it has no column {', '.join(sorted(missing))}; choose another schema"
                )

    def _add_run(self, connection: psycopg.Connection[Any] | psycopg.Cursor[Any]) -> bool:
        """Add this run to the table ``runs``; False if it was already there."""
        added = connection.execute(
            f"insert into {self._schema}.runs values (%s, 0) on conflict do nothing", (self._run,)
        )
        return added.rowcount == 1

    def _try(self, what: str, call: Callable[..., _R], *arguments: Any) -> _R:
        """Call, and turn psycopg's errors into SinkErrors without a password."""
        try:
            return call(*arguments)
        except self._psycopg.Error as error:
            # the other lines are hints
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            text = redact(first_line, self._secrets)
            # these two are about the content of a row
            if isinstance(error, (self._psycopg.DataError, self._psycopg.IntegrityError)):
                failure = SinkError(f"{self} refuses a row: {text}", retryable=False)
            else:
                failure = SinkError(f"{self} {what}: {text}")
            # psycopg's own error holds the connection, whose repr shows the password
            failure.__cause__ = type(error)(text)
        raise failure  # here, so that psycopg's error is not its context

    def __repr__(self) -> str:
        return self._name


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _storable(value: Any) -> Any:
    """Replace NULs: a PostgreSQL text cannot contain one, not even as an escape in JSON."""
    if isinstance(value, str) and ("\0" in value or "\\u0000" in value):
        return value.replace("\0", "\ufffd").replace("\\u0000", "\\ufffd")
    return value
