"""batch_to_sqlite.py: nothing lost at Ctrl-C, and the tables give the exchange's own books."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

from tests.cli.support import Access
from tests.support import wait_until

from .support import SAMPLES, sample, started, with_access

Books = dict[str, dict[str, dict[Decimal, Decimal]]]


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as database:
        yield database


def count(file: Path, table: str) -> int:
    if not file.exists():
        return 0
    with opened(file) as database:
        try:
            return int(database.execute(f"select count(*) from {table}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # not made yet


def folded(file: Path) -> Books:
    """The books that the tables give: every snapshot and delta in order."""
    books: Books = {}
    with opened(file) as database:
        rows = database.execute(
            "select n, market_ticker, yes, no, null, null from snapshots union all "
            "select n, market_ticker, side, price, delta, seq from deltas order by n"
        )
        for _, ticker, *rest in rows:
            if rest[2] is None:
                sides = ({Decimal(price): Decimal(size) for price, size in json.loads(side)} for side in rest[:2])
                books[ticker] = dict(zip(("yes", "no"), sides, strict=True))
            else:
                levels, price = books[ticker][rest[0]], Decimal(rest[1])
                levels[price] = levels.get(price, Decimal(0)) + Decimal(rest[2])
                if not levels[price]:
                    del levels[price]
    return books


def test_nothing_is_lost_at_ctrl_c(access: Access, tmp_path: Path) -> None:
    file = tmp_path / "deltas.db"
    options = ("KX-A", "KX-B", "--file", str(file), "--batch", "50", "--every", "60")
    script = str(SAMPLES / "batch_to_sqlite.py")
    with started(script, *options, PYTHONWARNINGS="error", **with_access(access)) as process:
        wait_until(lambda: count(file, "deltas") >= 100, 15, "a hundred rows")
        access.exchange.lose(1, "orderbook_delta")
        wait_until(lambda: count(file, "holes"), 15, "the gap on record")
        access.exchange.quiesce()
        process.send_signal(signal.SIGINT)  # with most of a batch in memory
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    found = re.fullmatch(r"received (\d+) deltas, wrote (\d+), dropped 0\n", out)
    assert found is not None, out
    assert int(found[1]) == int(found[2]) == count(file, "deltas")
    assert "gap in orderbook_delta" in err
    assert folded(file) == access.exchange.books()


def test_numbering_goes_on_in_the_next_run(tmp_path: Path) -> None:
    file = tmp_path / "deltas.db"
    written = []
    for _ in range(2):
        result = sample("batch_to_sqlite.py", "--simulate", "--seconds", "0.8", "--file", str(file), "--every", "0.1")
        assert (result.returncode, result.stderr) == (0, "")
        written.append(int(result.stdout.split()[4].rstrip(",")))
    assert count(file, "deltas") == sum(written) > written[0] > 20
    with opened(file) as database:
        assert database.execute("pragma journal_mode").fetchone() == ("wal",)
        numbers = [n for (n,) in database.execute("select n from deltas union all select n from snapshots order by 1")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_file_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    result = sample("batch_to_sqlite.py", "--simulate", "--file", str(tmp_path / "no" / "deltas.db"))
    assert result.returncode == 1
    assert "unable to open database file" in result.stderr and "Traceback" not in result.stderr


def test_a_write_that_fails_ends_it(access: Access, tmp_path: Path) -> None:
    file = tmp_path / "deltas.db"
    options = ("KX-A", "--file", str(file), "--batch", "20")
    with started(str(SAMPLES / "batch_to_sqlite.py"), *options, **with_access(access)) as process:
        wait_until(lambda: count(file, "deltas"), 15, "rows")
        with closing(sqlite3.connect(file, timeout=5)) as database:
            database.execute("drop table deltas")
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"not everything is in {file}: no such table: deltas" in err and "Traceback" not in err
