"""kalshi-feed record --to, as a process: what is in the store, what it says of an outage, and when it
cannot."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from kalshi_feed.cli.commands import group
from kalshi_feed.cli.recordings import lines_of
from tests.sinks.conftest import cluster, server
from tests.sinks.postgres_server import PASSWORD, PostgresServer
from tests.support import wait_until

from .support import Access, kalshi_feed, start

pytestmark = pytest.mark.slow

__all__ = ["cluster", "server"]


def count(file: Path, *tables: str) -> int:
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as database:
            return sum(database.execute(f"select count(*) from {table}").fetchone()[0] for table in tables)
    except sqlite3.OperationalError:
        return 0  # not made yet


def test_sqlite(access: Access, tmp_path: Path) -> None:
    file = tmp_path / "rows.db"
    words = (
        "record",
        "KX-A",
        "KX-B",
        "--to",
        f"sqlite:///{file}",
        "--seconds",
        "1.5",
        "--json",
        *access.options,
    )
    result = kalshi_feed(*words, **access.environ)
    assert (result.returncode, result.stderr) == (0, "")
    said = json.loads(result.stdout)
    assert said["store"] == f"SQLite file {file}" and said["unwritten"] == said["dropped"] == 0
    assert (
        said["rows"] == count(file, "deltas", "snapshots", "trades", "holes") > 100
        and count(file, "snapshots") >= 2
    )


def test_parquet_for_people(access: Access, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    words = (
        "record",
        "KX-A",
        "--to",
        f"parquet:{tmp_path}",
        "--channel",
        "orderbook_delta",
        "--seconds",
        "1",
        *access.options,
    )
    result = kalshi_feed(*words, **access.environ)
    assert (result.returncode, result.stderr) == (0, "")
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    rows = sum(parquet.read_table(tmp_path / table).num_rows for table in ("deltas", "snapshots"))
    assert lines["store"] == f"Parquet folder {tmp_path}" and int(lines["rows"].replace(",", "")) == rows > 20


def test_postgres_killed_and_back(access: Access, server: PostgresServer) -> None:
    with start(
        "record", "KX-A", "--to", server.address(), "--json", *access.options, **access.environ
    ) as process:
        wait_until(lambda: server.ask("select to_regclass('kalshi.deltas')") != [(None,)], 20, "the tables")
        wait_until(lambda: server.ask("select 1 from kalshi.deltas limit 1"), 20, "rows")
        server.kill()
        assert process.stderr is not None
        assert "cannot be written" in process.stderr.readline()
        server.start()
        assert "can be written again" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    said = json.loads(out)
    assert PASSWORD not in out and said["dropped"] == said["unwritten"] == 0
    tables = ("deltas", "snapshots", "trades", "holes")
    numbers = [n for table in tables for (n,) in server.ask(f"select n from kalshi.{table}")]
    assert sorted(numbers) == list(range(1, said["rows"] + 1))


def test_what_could_not_be_written(access: Access, tmp_path: Path) -> None:
    file = tmp_path / "rows.db"
    with start(
        "record", "KX-A", "--to", f"sqlite:///{file}", "--json", *access.options, **access.environ
    ) as process:
        wait_until(lambda: count(file, "deltas"), 15, "rows")
        with closing(sqlite3.connect(file, timeout=5)) as database:
            database.execute("begin immediate")
            books = set[str]()

            def has_moved_on() -> bool:
                books.add(str(access.exchange.book("KX-A")))
                return len(books) > 30

            wait_until(has_moved_on, 15, "rows that wait")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=40)
    said = json.loads(out)
    assert (
        process.returncode == 1
        and said["unwritten"] > 0
        and said["trouble"] == [f"SQLite file {file} cannot be written: database is locked"]
    )
    assert "database is locked; retrying until it succeeds" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 2, "where to? Give -o FILE or --to STORE"),
        (
            ["-o", "a.ndjson", "--to", "sqlite:///a.db"],
            2,
            "-o FILE and --to STORE contradict each other: give one of them",
        ),
        (
            ["--to", "sqlite:///a.db", "--rotate-mb", "1"],
            2,
            "--to STORE and --rotate-mb contradict each other: give one of them",
        ),
        (["--to", "mysql://host/db"], 2, "the address of a store must be postgresql://user@host/database"),
        (
            ["--to", "sqlite:///no/where/a.db"],
            1,
            "SQLite file no/where/a.db cannot be opened: unable to open database file",
        ),
        (
            ["--to", "postgresql://feed:hunter2@127.0.0.1:1/x"],
            1,
            "PostgreSQL database x at 127.0.0.1 port 1 cannot be opened",
        ),
    ],
)
def test_errors_are_one_message(access: Access, words: list[str], code: int, text: str) -> None:
    result = CliRunner().invoke(
        group, ["record", "KX-A", *words, *access.options], env={"KALSHI_ENV": "", **access.environ}
    )
    assert result.exit_code == code and text in result.output and "hunter2" not in result.output, (
        result.output
    )
    assert isinstance(result.exception, SystemExit)


def test_summary() -> None:
    summary = {"store": "SQLite file a.db", "rows": 12_345, "unwritten": 0, "trouble": []}
    assert lines_of(summary) == ["store: SQLite file a.db", "rows: 12,345", "unwritten: 0"]
