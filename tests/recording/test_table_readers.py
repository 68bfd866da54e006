"""Tables as pandas, polars and DuckDB read them: the same rows, times in UTC, Decimals exact."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed.recording.tables import Converter
from kalshi_feed.simulator import Exchange
from kalshi_feed.sinks import TABLES, Row
from kalshi_feed.sinks.parquet import ParquetSink
from tests.feed.support import FeedMaker
from tests.sinks.support import delta, fill, filled, gap, snapshot, ticker, trade
from tests.support import wait_until

pytest.importorskip("pyarrow")
import pyarrow.parquet

Rows = list[dict[str, Any]]
NS = 1_760_000_000_123_456_789


def with_pandas(files: list[Path]) -> Rows:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.concat([pandas.read_parquet(file) for file in files])
    assert (
        isinstance(table["received_at"].dtype, pandas.DatetimeTZDtype)
        and str(table["received_at"].dt.tz) == "UTC"
    )

    def as_python(value: Any) -> Any:
        return (
            None
            if pandas.isna(value)
            else value.to_pydatetime()
            if isinstance(value, pandas.Timestamp)
            else int(value)  # no table has floats: pandas makes them of whole numbers if one is missing
            if isinstance(value, float)
            else value
        )

    return [
        {name: as_python(value) for name, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]


def with_polars(files: list[Path]) -> Rows:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    table = polars.read_parquet(files)
    assert table.schema["received_at"] == polars.Datetime("us", "UTC")
    rows: Rows = table.to_dicts()
    return rows


def with_duckdb(files: list[Path]) -> Rows:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    pytest.importorskip("pytz", reason="pytz is not installed: DuckDB gives no times to Python without it")
    with duckdb.connect() as database:
        database.execute("set timezone = 'UTC'")
        found = database.sql(f"select * from read_parquet({[str(file) for file in files]})")
        assert (
            dict(zip(found.columns, map(str, found.types), strict=True))["received_at"]
            == "TIMESTAMP WITH TIME ZONE"
        )
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


READERS = [with_pandas, with_polars, with_duckdb]


@pytest.fixture(scope="module", params=READERS)
def reader(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[list[Path]], Rows]:
    """A reader that was used before: polars opens some files once for good, which is not a leak."""
    file = tmp_path_factory.mktemp("first") / "one.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table({"received_at": pyarrow.array([1], pyarrow.timestamp("us", "UTC"))}), file
    )
    found: Callable[[list[Path]], Rows] = request.param
    found([file])
    return found


@pytest.fixture
def tables(make_feed: FeedMaker, tmp_path: Path) -> dict[str, list[Path]]:
    """The files of each table, from a converted recording and from a sink, the latter in several parts."""
    with Exchange(markets=2, rate=600, seed=5) as exchange:
        feed = make_feed(credentials=exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
        recording = feed.record(tmp_path / "game.ndjson.gz")
        feed.start().subscribe(["orderbook_delta", "trade"], exchange.market_tickers)
        wait_until(
            lambda: (
                feed.stats().messages.get("orderbook_delta", 0) > 100 and "trade" in feed.stats().messages
            ),
            20,
            "enough",
        )
        feed.close()
    converter = Converter(recording.path, "parquet", tmp_path)
    for _ in converter.steps():
        pass
    sink = ParquetSink(tmp_path / "sink")
    at = datetime(2026, 11, 30, tzinfo=timezone.utc)
    items = [snapshot(), delta(), trade(), ticker(), gap(), fill(), filled(at, at)]
    for n in range(3):
        sink.write([Row(10 * n + i, NS + n, item) for i, item in enumerate(items, 1)])
    sink.close()
    return {path.stem: [path] for path in converter.paths} | {
        f"sink's {folder.name}": sorted(folder.glob("*.parquet"))
        for folder in (tmp_path / "sink").iterdir()
        if folder.name in TABLES
    }


def test_the_tables_are_read(tables: dict[str, list[Path]], reader: Callable[[list[Path]], Rows]) -> None:
    assert len(tables) == 3 + len(TABLES)
    for name, files in tables.items():
        wanted = [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]
        found = reader(files)
        assert [list(row) for row in found] == [list(row) for row in wanted] and found, name
        for mine, theirs in zip(found, wanted, strict=True):
            for column, value in theirs.items():
                assert mine[column] == value, (name, column)
                assert isinstance(mine[column], type(value)), (name, column)
                assert not isinstance(value, datetime) or mine[column].utcoffset() == timedelta(0)
    decimals = {
        column
        for name in ("game.deltas", "game.top")
        for column, value in reader(tables[name])[-1].items()
        if type(value) is Decimal
    }
    assert {"price", "delta"} <= decimals
