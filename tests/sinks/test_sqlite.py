"""SQLiteSink: the file's content; and a lock, a full disk, a lost file, a kill."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import SinkError
from kalshi_feed.sinks import TABLES, Batcher, Dropped, Row, SinkTrouble, SQLiteSink
from tests.support import wait_until

from .support import QUICK, delta, gap, killed_writer, snapshot, ticker, trade

NS = 1_760_000_000_123_456_789


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.db"


def ask(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as database:
        return database.execute(query).fetchall()


@contextmanager
def batcher_for(sink: SQLiteSink, **arguments: Any) -> Iterator[tuple[Batcher, list[SinkTrouble]]]:
    reported: list[SinkTrouble] = []
    with Batcher(sink, batch_seconds=0.01, retry=QUICK, on_trouble=reported.append, **arguments) as batcher:
        yield batcher, reported


def test_what_is_in_the_tables(file: Path) -> None:
    sink = SQLiteSink(file)
    items = [snapshot(), delta(), trade(), ticker(), gap(), Dropped(3, ("KX-B",))]
    sink.write([Row(n, NS, item) for n, item in enumerate(items, 1)])
    sink.close()
    at, time = "2025-10-09T08:53:20.123456+00:00", "2025-10-09T08:53:20.123000+00:00"
    assert {table: [row[1:] for row in ask(file, f"select * from {table}")] for table in TABLES} == {
        "snapshots": [(1, at, "KX-A", '[["0.5400","1.50"],["0.5300","10.00"]]', '[["0.4000","7.00"]]', 1, 1)],
        "deltas": [(2, at, time, "KX-A", "yes", "0.5400", "3.00", 1, 2)],
        "trades": [
            (
                *(3, at, time, "KX-A", "d91bc706-ee49-470d-82d8-11418bda6fed"),
                *("0.3600", "0.6400", "136.00", "no", "feed"),
            )
        ],
        "fills": [],
        "tickers": [(4, at, None, "KX-A", "0.4800", "0.4500", None, None, None, None, "33896.00", None)],
        "holes": [
            (
                5,
                at,
                "gap",
                "gap in orderbook_delta: sequence gap",
                "orderbook_delta",
                1,
                7,
                9,
                None,
                '["KX-A","KX-B"]',
                *[None] * 5,
            ),
            (
                6,
                at,
                "dropped",
                "the store was too slow or down: 3 rows dropped",
                *[None] * 4,
                3,
                '["KX-B"]',
                *[None] * 5,
            ),
        ],
    }
    for table, columns in TABLES.items():
        assert [name for _, name, *_ in ask(file, f"pragma table_info({table})")] == ["run", "n", *columns]
    assert ask(file, "pragma journal_mode") == [("wal",)]


def test_a_batch_that_comes_again_is_stored_once(file: Path) -> None:
    sink = SQLiteSink(file)
    rows = [Row(1, NS, delta(1)), Row(2, NS, delta(2))]
    sink.write(rows)
    sink.write(rows)
    sink.close()
    sink.write([Row(3, NS, delta(3))])  # opens it again
    sink.close()
    assert ask(file, "select n from deltas order by n") == [(1,), (2,), (3,)]
    assert [last_n for _, last_n in ask(file, "select * from runs")] == [3]


def test_each_run_has_its_own_numbers(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: NS)  # at the same moment, as can happen
    sinks = [SQLiteSink(file) for _ in range(3)]
    for sink in sinks:
        sink.write([Row(1, NS, delta())])
        sink.close()
    assert ask(file, "select run - (select min(run) from runs), n from deltas order by run") == [
        (0, 1),
        (1, 1),
        (2, 1),
    ]


def test_a_locked_database_loses_nothing(file: Path) -> None:
    with batcher_for(SQLiteSink(file, busy_timeout=0.01)) as (batcher, reported):
        batcher.put(delta(1))
        batcher.flush(5)
        with closing(sqlite3.connect(file)) as other:
            other.execute("begin immediate")
            for seq in range(2, 50):
                batcher.put(delta(seq))
            wait_until(lambda: batcher.stats().retried >= 3, what="some tries")
            assert reported[0].message == (
                f"SQLite file {file} cannot be written: database is locked; retrying until it succeeds, "
                "keeping up to 200000 rows"
            )
            assert batcher.stats().written == 1
            other.execute("rollback")
        batcher.flush(5)
    assert ask(file, "select seq from deltas order by n") == [(seq,) for seq in range(1, 50)]
    assert [trouble.kind for trouble in reported] == ["failing", "writing"]


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Like a full disk: a write beyond that size fails (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_loses_nothing(file: Path) -> None:
    with batcher_for(SQLiteSink(file), batch_rows=100) as (batcher, reported):
        batcher.put(delta(1))
        batcher.flush(5)
        with no_file_larger_than(os.path.getsize(f"{file}-wal") + 20_000):
            for seq in range(2, 2001):
                batcher.put(delta(seq))
            wait_until(lambda: batcher.stats().retried >= 3, 10, "some tries")
        batcher.flush(10)
    assert ask(file, "select seq from deltas order by n") == [(seq,) for seq in range(1, 2001)]
    assert {trouble.kind for trouble in reported} == {"failing", "writing"} and reported[0].error is not None


def test_a_file_that_was_moved_is_created_again(file: Path, tmp_path: Path) -> None:
    with batcher_for(SQLiteSink(file)) as (batcher, _):
        batcher.put(delta(1))
        batcher.flush(5)
        with closing(sqlite3.connect(file)) as database:
            database.execute("pragma wal_checkpoint(truncate)")
        for end in ("", "-wal", "-shm"):
            os.replace(f"{file}{end}", f"{tmp_path / 'before.db'}{end}")
        batcher.put(delta(2))
        batcher.flush(5)
    assert ask(tmp_path / "before.db", "select seq from deltas") == [(1,)]
    assert ask(file, "select seq from deltas") == [(2,)]


def test_a_table_that_was_dropped_is_created_again(file: Path) -> None:
    with batcher_for(SQLiteSink(file)) as (batcher, reported):
        batcher.put(delta(1))
        batcher.flush(5)
        with closing(sqlite3.connect(file, timeout=5)) as database:
            database.execute("drop table deltas")
        batcher.put(delta(2))
        batcher.flush(5)
    assert ask(file, "select seq from deltas") == [(2,)]
    assert "no such table: deltas" in reported[0].message and reported[-1].kind == "writing"


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(
        SinkError, match=r"SQLite file .*rows.db cannot be opened: unable to open database file"
    ):
        SQLiteSink(tmp_path / "nowhere" / "rows.db")
    (tmp_path / "text").write_text(
        "this is not a database, and longer than its header " * 10, encoding="utf-8"
    )
    with pytest.raises(SinkError, match="file is not a database"):
        SQLiteSink(tmp_path / "text")


def test_tables_of_another_program(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("create table trades (n integer primary key, price real)")
    with pytest.raises(
        SinkError,
        match="its table trades was made by another program or an older version: it has no column count, ",
    ):
        SQLiteSink(file)


def test_kill_9_of_the_writer(file: Path) -> None:
    announced = killed_writer(f"sqlite:///{file}")
    numbers = [n for (n,) in ask(file, "select n from deltas order by n")]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= announced
    assert len(numbers) % 50 == 0 or len(numbers) < announced + 500, "batches are there whole"
    assert ask(file, "select seq from deltas where seq <> n") == []
    with Batcher(SQLiteSink(file)) as batcher:  # and it continues from there
        batcher.put(delta())
    assert ask(file, "select count(*) from deltas") == [(len(numbers) + 1,)]
