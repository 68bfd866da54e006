"""batch_to_sqlite.py: nothing lost at Ctrl-C, and the tables give the exchange's own books."""

from __future__ import annotations

import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import takewhile
from pathlib import Path

import pytest

from tests.cli.support import Access
from tests.sinks.support import folded
from tests.support import wait_until

from .support import SAMPLES, sample, started, with_access

pytestmark = pytest.mark.slow


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as database:
        yield database


def count(file: Path, *tables: str) -> int:
    if not file.exists():
        return 0
    with opened(file) as database:
        try:
            return sum(database.execute(f"select count(*) from {table}").fetchone()[0] for table in tables)
        except sqlite3.OperationalError:
            return 0  # not made yet


def asks_for_snapshots(access: Access) -> bool:
    return any(one.get("params", {}).get("action") == "get_snapshot" for one in access.exchange.commands)


def test_nothing_is_lost_at_ctrl_c(access: Access, tmp_path: Path) -> None:
    file = tmp_path / "deltas.db"
    options = ("KX-A", "KX-B", "--file", str(file), "--batch", "50", "--every", "60")
    script = str(SAMPLES / "batch_to_sqlite.py")
    with started(script, *options, PYTHONWARNINGS="error", **with_access(access)) as process:
        wait_until(lambda: count(file, "deltas") >= 100, 15, "a hundred rows")
        access.exchange.lose(1, "orderbook_delta")
        wait_until(lambda: count(file, "holes"), 15, "the gap on record")
        wait_until(lambda: asks_for_snapshots(access), 15, "the repair")
        access.exchange.quiesce()
        access.exchange.send_bytes(b"\x89\x00")  # a ping, behind everything else
        wait_until(lambda: access.exchange.pongs, 5, "all to be read")
        process.send_signal(signal.SIGINT)  # with most of a batch in memory
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    found = re.fullmatch(r"received (\d+) rows, wrote (\d+), dropped 0\n", out)
    assert found is not None, out
    assert int(found[1]) == int(found[2]) == count(file, "deltas", "snapshots", "holes")
    with opened(file) as database:
        snapshots = database.execute("select n, market_ticker, yes, no from snapshots").fetchall()
        deltas = database.execute("select n, market_ticker, side, price, delta from deltas").fetchall()
        assert database.execute("select kind, channel from holes").fetchall() == [("gap", "orderbook_delta")]
    assert folded(snapshots, deltas) == access.exchange.books()


@pytest.mark.simulates
def test_the_next_run_goes_into_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "deltas.db"
    written = []
    for _ in range(2):
        result = sample(
            "batch_to_sqlite.py", "--simulate", "--seconds", "0.8", "--file", str(file), "--every", "0.1"
        )
        assert (result.returncode, result.stderr) == (0, "")
        written.append(int(result.stdout.split()[4].rstrip(",")))
    assert count(file, "deltas", "snapshots") == sum(written) > written[0] > 20
    with opened(file) as database:
        keys = database.execute(
            "select run, n from deltas union all select run, n from snapshots order by run, n"
        ).fetchall()
    assert [n for _, n in keys] == [*range(1, written[0] + 1), *range(1, written[1] + 1)]


@pytest.mark.simulates
def test_a_file_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    result = sample("batch_to_sqlite.py", "--simulate", "--file", str(tmp_path / "no" / "deltas.db"))
    assert result.returncode == 1
    assert "unable to open database file" in result.stderr and "Traceback" not in result.stderr


def test_an_outage_is_reported_and_so_are_the_rows_it_leaves(access: Access, tmp_path: Path) -> None:
    file = tmp_path / "deltas.db"
    options = ("KX-A", "--file", str(file), "--batch", "20", "--patience", "0.2")
    with started(str(SAMPLES / "batch_to_sqlite.py"), *options, **with_access(access)) as process:
        wait_until(lambda: count(file, "deltas"), 15, "rows")
        with closing(sqlite3.connect(file, timeout=5)) as database:
            database.execute("drop table deltas")
        wait_until(lambda: count(file, "deltas"), 15, "rows again")
        with closing(sqlite3.connect(file, timeout=5)) as database:
            database.execute("begin immediate")  # until after its end
            assert process.stderr is not None
            before = list(takewhile(lambda line: "locked" not in line, process.stderr))  # rows wait
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        err = "".join(before) + err
    assert process.returncode == 1 and "Traceback" not in err
    assert f"SQLite file {file} cannot be written: no such table: deltas; retrying until it succeeds" in err
    assert f"SQLite file {file} can be written again" in err
    assert re.search(rf"^\d+ rows are not in {file}: ", err, re.MULTILINE), err
