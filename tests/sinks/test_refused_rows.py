"""S45 in a store: a row that it refuses is dropped, counted and reported, and holds up no other row."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import Gap, SinkError
from kalshi_feed.sinks import Batcher, ParquetSink, PostgresSink, Row, Sink, SinkTrouble, SQLiteSink
from tests.support import wait_until

from .postgres_server import PostgresServer
from .support import QUICK, Stubborn, delta, gap

pytestmark = pytest.mark.slow

BAD = Gap("trade", 1, 2**63, None, ("KX-A",), "a number that fits into no column of 64 bits")
# what makes the sink; how to read back the seqs of the deltas and the reasons of the holes
Store = tuple[Callable[[], Sink], Callable[[], tuple[list[int], list[str]]]]


def sqlite_store(folder: Path) -> Store:
    def read() -> tuple[list[int], list[str]]:
        with sqlite3.connect(folder / "a.db") as database:
            seqs = [seq for (seq,) in database.execute("select seq from deltas order by n")]
            return seqs, [what for (what,) in database.execute("select what from holes order by n")]

    return lambda: SQLiteSink(folder / "a.db"), read


def postgres_store(server: PostgresServer, schema: str) -> Store:
    def read() -> tuple[list[int], list[str]]:
        seqs = [seq for (seq,) in server.ask(f"select seq from {schema}.deltas order by n")]
        return seqs, [what for (what,) in server.ask(f"select what from {schema}.holes order by n")]

    return lambda: PostgresSink(server.address(), schema=schema), read


def parquet_store(folder: Path) -> Store:
    parquet = pytest.importorskip("pyarrow.parquet")

    def column(table: str, name: str) -> list[Any]:
        files = (folder / table).glob("*.parquet")
        rows = [row for file in files for row in parquet.read_table(file).to_pylist()]
        return [row[name] for row in sorted(rows, key=lambda row: row["n"])]

    return lambda: ParquetSink(folder), lambda: (column("deltas", "seq"), column("holes", "what"))


@pytest.fixture(params=["sqlite", "postgres", "parquet"])
def store(request: pytest.FixtureRequest, tmp_path: Path, schema: str) -> Store:
    if request.param == "sqlite":
        return sqlite_store(tmp_path)
    if request.param == "parquet":
        return parquet_store(tmp_path)
    return postgres_store(request.getfixturevalue("server"), schema)


@pytest.mark.parametrize("place", [0, 1, 37, 98, 99])
def test_S45_a_refused_row_costs_that_row(store: Store, place: int) -> None:
    make, read = store
    reported: list[SinkTrouble] = []
    batcher = Batcher(make(), batch_rows=200, batch_seconds=60, retry=QUICK, on_trouble=reported.append)
    for seq in range(100):
        batcher.put(BAD if seq == place else delta(seq))
    batcher.flush(30)
    batcher.put(delta(100))
    assert batcher.close() == []
    stats = batcher.stats()
    assert (stats.received, stats.written, stats.pending, stats.dropped, stats.is_failing) == (
        101,
        100,
        0,
        1,
        False,
    )
    assert [trouble.kind for trouble in reported] == ["refused"]
    assert (
        "refuses a row" in reported[0].message
        and "a Gap" in reported[0].message
        and isinstance(reported[0].error, SinkError)
    )
    seqs, holes = read()
    assert seqs == [seq for seq in range(101) if seq != place]
    assert holes == ["the store refused a row: 1 rows dropped"]


def test_S45_several_and_only_those(store: Store) -> None:
    make, read = store
    batcher = Batcher(make(), batch_rows=50, batch_seconds=0.01, retry=QUICK)
    for item in (BAD, BAD, delta(1), BAD, delta(2), delta(3), BAD):
        batcher.put(item)
        batcher.flush(30)
    assert batcher.close() == []
    assert (batcher.stats().written, batcher.stats().dropped) == (3, 4)
    seqs, holes = read()
    assert seqs == [1, 2, 3] and len(holes) == 4


class Picky(Stubborn):
    """Refuses the rows that the test names."""

    def __init__(self, refuses: Callable[[Any], bool]) -> None:
        super().__init__()
        self.refuses = refuses

    def write(self, rows: Sequence[Row]) -> None:
        super().write([])
        if any(self.refuses(row.item) for row in rows):
            raise SinkError("does not fit", retryable=False)
        self.batches.append(list(rows))


def test_a_table_that_takes_nothing_does_not_cost_everything() -> None:
    """The table was altered. That is not the rows' fault, so they are kept until it is altered back."""
    sink = Picky(lambda item: not isinstance(item, Gap))
    sink.takes = (type(delta()),)  # type: ignore[misc]  # it cannot store a Dropped
    reported: list[SinkTrouble] = []
    batcher = Batcher(sink, batch_rows=100, retry=QUICK, on_trouble=reported.append)
    for seq in range(100):
        batcher.put(delta(seq))
    wait_until(lambda: batcher.stats().is_failing, what="that it is the store")
    assert (batcher.stats().dropped, batcher.stats().pending) == (10, 90)
    sink.refuses = lambda item: False
    assert batcher.close() == []
    assert [item.seq for item in sink.items] == list(range(10, 100))
    assert [trouble.kind for trouble in reported] == ["refused"] * 10 + ["failing", "writing"]


def test_an_error_that_does_not_say_so_is_no_reason_to_drop_anything() -> None:
    sink = Stubborn()
    sink.error = ValueError("away, in the words of this store")
    batcher = Batcher(sink, batch_rows=10, retry=QUICK)
    for _ in range(10):
        batcher.put(gap())
    wait_until(lambda: batcher.stats().retried > 3, what="some tries")
    assert {len(rows) for rows in sink.tries} == {10} and batcher.stats().dropped == 0
    sink.error = None
    assert batcher.close() == []
    assert batcher.stats().written == 10
