"""ParquetSink: the files' content, and that there is never a file that cannot be read."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import SinkError
from kalshi_feed.recording import files
from kalshi_feed.sinks import TABLES, Batcher, Row
from kalshi_feed.sinks.parquet import ParquetSink
from tests.cli.support import environment
from tests.support import wait_until

from .support import QUICK, delta, gap, killed_writer, snapshot, ticker, trade

pytest.importorskip("pyarrow", reason="pyarrow is not installed: the Parquet sink is not tried")
import pyarrow.parquet

NS = 1_760_000_000_123_456_789


def read(folder: Path, table: str) -> list[dict[str, Any]]:
    files = sorted((folder / table).glob("*.parquet"))
    return [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]


def test_what_is_in_the_files(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    items = [snapshot(), delta(), trade(), ticker(), gap()]
    sink.write([Row(n, NS, item) for n, item in enumerate(items, 1)])
    sink.close()
    at = datetime(2025, 10, 9, 8, 53, 20, 123456, timezone.utc)
    for n, table in enumerate(("snapshots", "deltas", "trades", "tickers", "holes"), 1):
        (row,) = read(tmp_path, table)
        assert list(row) == ["run", "n", *TABLES[table]] and (row["n"], row["received_at"]) == (n, at)
    assert {
        name: value
        for name, value in read(tmp_path, "deltas")[0].items()
        if name not in ("run", "received_at")
    } == {
        "n": 2,
        "time": at.replace(microsecond=123000),
        "market_ticker": "KX-A",
        "side": "yes",
        "price": Decimal("0.5400"),
        "delta": Decimal("3.00"),
        "sid": 1,
        "seq": 2,
    }
    assert read(tmp_path, "snapshots")[0]["yes"] == '[["0.5400","1.50"],["0.5300","10.00"]]'
    assert read(tmp_path, "tickers")[0]["yes_ask"] is None and read(tmp_path, "holes")[0]["expected"] == 7


def test_a_batch_is_a_file_and_stored_once(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    first, second = [Row(1, NS, delta(1)), Row(2, NS, trade())], [Row(3, NS, delta(3))]
    for rows in (first, first, second):
        sink.write(rows)
    assert [row["n"] for row in read(tmp_path, "deltas")] == [1, 3] and len(read(tmp_path, "trades")) == 1
    names = [file.name.partition("-")[2] for file in sorted((tmp_path / "deltas").iterdir())]
    assert names == ["000000000001.parquet", "000000000003.parquet"]


def test_an_outage_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    with Batcher(ParquetSink(folder), batch_rows=10, batch_seconds=0.01, retry=QUICK) as batcher:
        batcher.put(delta(1))
        batcher.flush(10)
        (folder / "trades").write_text("in the way", encoding="utf-8")
        for seq in range(2, 100):
            batcher.put(delta(seq))
            batcher.put(trade())
        while batcher.stats().retried < 3:
            pass
        assert "cannot be written" in batcher.stats().last_error
        (folder / "trades").unlink()
        batcher.flush(10)
    assert [row["seq"] for row in read(folder, "deltas")] == list(range(1, 100)) and len(
        read(folder, "trades")
    ) == 98
    assert {
        file.parent.name for file in folder.rglob("*") if file.is_file() and file.suffix != ".parquet"
    } == {"runs"}


def test_no_unfinished_file_is_left_behind_by_a_failure(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    name = f"{sink._run}-000000000001.parquet"
    (tmp_path / "deltas" / name).mkdir(parents=True)  # os.replace() will fail, after everything was written
    with pytest.raises(SinkError, match=r"Parquet folder .* cannot be written"):
        sink.write([Row(1, NS, delta())])
    assert [file.name for file in (tmp_path / "deltas").iterdir()] == [name]


class HeldOpen:
    """os.replace() as on Windows while another program has the file open: it refuses ``times`` times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self.times = times
        self._replace = os.replace
        monkeypatch.setattr(os, "replace", self)

    def __call__(self, *names: Path) -> None:
        if self.times:
            self.times -= 1
            raise PermissionError(errno.EACCES, "Access is denied", str(names[0]), None, str(names[1]))
        self._replace(*names)


def test_a_file_that_is_open_elsewhere_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = HeldOpen(monkeypatch, 3)
    ParquetSink(tmp_path).write([Row(1, NS, delta(1))])
    assert held.times == 0 and [row["seq"] for row in read(tmp_path, "deltas")] == [1]


def test_a_file_that_stays_open_elsewhere_costs_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_PATIENCE", 0.05)
    with Batcher(ParquetSink(tmp_path), batch_rows=10, batch_seconds=0.01, retry=QUICK) as batcher:
        held = HeldOpen(monkeypatch, 1_000_000)
        for seq in range(1, 50):
            batcher.put(delta(seq))
        wait_until(lambda: batcher.stats().retried > 2, what="several attempts")
        assert "whether another program has the file open" in batcher.stats().last_error
        assert not list((tmp_path / "deltas").iterdir())
        held.times = 0
        batcher.flush(10)
    assert [row["seq"] for row in read(tmp_path, "deltas")] == list(range(1, 50))


def test_runs_of_one_microsecond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: NS)
    for seq in range(3):
        ParquetSink(tmp_path).write([Row(1, NS, delta(seq))])
    assert [(row["run"] - NS // 1000, row["n"], row["seq"]) for row in read(tmp_path, "deltas")] == [
        (0, 1, 0),
        (1, 1, 1),
        (2, 1, 2),
    ]


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot be created"):
        ParquetSink(tmp_path / "file")


def test_kill_9_of_the_writer(tmp_path: Path) -> None:
    announced = killed_writer(f"parquet:{tmp_path}", at_least=300)
    rows = read(tmp_path, "deltas")
    assert [row["n"] for row in rows] == [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= announced


@pytest.mark.parametrize(
    ("package", "call", "text"),
    [
        (
            "pyarrow",
            "ParquetSink('x')",
            "Parquet needs the package pyarrow; install kalshi-feed[arrow]: pip install ",
        ),
        (
            "psycopg",
            "PostgresSink('x')",
            "PostgreSQL needs the package psycopg; install kalshi-feed[postgres]: pip install ",
        ),
    ],
)
def test_without_its_extra_it_says_which(package: str, call: str, text: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None\nfrom kalshi_feed.sinks import *\n{call}"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=30
    )
    assert f"ConfigurationError: {text}" in result.stderr
