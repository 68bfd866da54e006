"""Filled holes, fills, and rows from REST in each store: what is stored, and that nothing is stored twice."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kalshi_feed import SinkError
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange
from kalshi_feed.sinks import Batcher, ParquetSink, PostgresSink, Row, Sink, SQLiteSink
from tests.feed.support import A, B, FeedMaker
from tests.support import wait_until

from .support import delta, fill, filled, trade

NS = 1_760_000_000_123_456_789
AT = datetime(2025, 10, 9, 8, 53, 20, 123000, timezone.utc)


class Store(NamedTuple):
    """``read(table, *columns)`` returns the rows in order, as strings; ``drop`` removes a column."""

    make: Callable[[], Sink]
    read: Callable[..., list[tuple[str, ...]]]
    drop: Callable[[str, str], object]


def sqlite_store(folder: Path) -> Store:
    file = folder / "a.db"

    def ask(query: str) -> list[Any]:
        with closing(sqlite3.connect(file)) as database:
            return database.execute(query).fetchall()

    return Store(
        lambda: SQLiteSink(file),
        lambda table, *columns: words(ask(f"select {', '.join(columns)} from {table} order by run, n")),
        lambda table, column: ask(f"alter table {table} drop column {column}"),
    )


def postgres_store(request: pytest.FixtureRequest, schema: str) -> Store:
    server = request.getfixturevalue("server")
    server.ask(f"drop schema if exists {schema} cascade")
    return Store(
        lambda: PostgresSink(server.address(), schema=schema),
        lambda table, *columns: words(
            server.ask(f"select {', '.join(columns)} from {schema}.{table} order by run, n")
        ),
        lambda table, column: server.ask(f"alter table {schema}.{table} drop column {column}"),
    )


def parquet_store(folder: Path) -> Store:
    parquet = pytest.importorskip("pyarrow.parquet")

    def read(table: str, *columns: str) -> list[tuple[str, ...]]:
        files = sorted((folder / table).glob("*.parquet"))
        rows = [row for file in files for row in parquet.read_table(file).to_pylist()]
        return words(tuple(row[column] for column in columns) for row in rows)

    def drop(table: str, column: str) -> None:
        for file in (folder / table).glob("*.parquet"):
            parquet.write_table(parquet.read_table(file).drop_columns([column]), file)

    return Store(lambda: ParquetSink(folder), read, drop)


def words(rows: Any) -> list[tuple[str, ...]]:
    """The rows as strings, alike for all stores."""
    return [tuple(_word(value) for value in row) for row in rows]


def _word(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat(timespec="microseconds")
    if isinstance(value, list):
        return "[" + ",".join(f'"{item}"' for item in value) + "]"
    return str(int(value)) if isinstance(value, bool) else str(value)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow), "parquet"])
def store(request: pytest.FixtureRequest, tmp_path: Path, schema: str) -> Store:
    if request.param == "postgres":
        return postgres_store(request, schema)
    return (sqlite_store if request.param == "sqlite" else parquet_store)(tmp_path)


def write(sink: Sink, *items: Any, n: int = 1) -> None:
    sink.write([Row(number, NS + number * 10**9, item) for number, item in enumerate(items, n)])


def test_what_is_stored(store: Store) -> None:
    sink = store.make()
    until = AT + timedelta(seconds=5)
    write(
        sink,
        trade(trade_id="a"),
        trade(trade_id="b", source="rest"),
        fill(),
        fill("fill-2", source="rest"),
        filled(AT, until),
        filled(AT, until, "fill", False, "HTTP 503"),
    )
    sink.close()
    assert store.read("trades", "trade_id", "source") == [("a", "feed"), ("b", "rest")]
    told = (AT.isoformat(timespec="microseconds"), "KX-A")
    rest = ("order-1", "no", "ask", "0.3600", "2.50", "1", "0.012345", "3")
    assert store.read(
        "fills",
        *("time", "market_ticker", "trade_id", "order_id", "outcome_side", "book_side", "yes_price"),
        *("count", "is_taker", "fee", "subaccount", "source"),
    ) == [(*told, "fill-1", *rest, "feed"), (*told, "fill-2", *rest, "rest")]
    ends = [moment.isoformat(timespec="microseconds") for moment in (AT, until)]
    assert store.read(
        "holes",
        *("kind", "what", "channel", "market_tickers", "gap_started", "gap_ended", "found", "matched"),
        "complete",
    ) == [
        ("filled", "trade: 2 found, 1 matched", "trade", '["KX-A"]', *ends, "2", "1", "1"),
        ("filled", "fill: 2 found, 1 matched: HTTP 503", "fill", '["KX-A"]', *ends, "2", "1", "0"),
    ]


def test_nothing_from_rest_is_stored_twice(store: Store) -> None:
    first = store.make()
    write(first, trade(trade_id="a"), trade(trade_id="b"), fill("x"), delta())
    first.close()
    second = store.make()  # the program was restarted
    batch = [
        *(trade(trade_id=trade_id, source="rest") for trade_id in ("a", "b", "c", "c")),
        trade(trade_id="d"),
        *(fill(trade_id, source="rest") for trade_id in ("x", "y")),
        trade(trade_id="d", source="rest"),
    ]
    for _ in range(2):  # the sink writes it again if it could not see that the first attempt succeeded
        write(second, *batch)
    write(second, trade(trade_id="c", source="rest"), fill("y", source="rest"), n=9)
    write(second, trade(trade_id="e", source="rest"), n=11)
    second.close()
    assert store.read("trades", "trade_id", "source") == [
        ("a", "feed"),
        ("b", "feed"),
        ("c", "rest"),
        ("d", "feed"),
        ("e", "rest"),
    ]
    assert store.read("fills", "trade_id", "source") == [("x", "feed"), ("y", "rest")]


def test_a_store_of_an_older_version(store: Store) -> None:
    sink = store.make()
    write(sink, trade())
    sink.close()
    store.drop("trades", "source")
    with pytest.raises(
        SinkError, match="trades was made by another program or an older version: it has no column source; "
    ):
        store.make()


def test_how_far_the_rows_reach(store: Store) -> None:
    """Beside a Batcher at work, and from the next program's sink."""
    sink = store.make()
    assert sink.stored_until() is None
    with Batcher(sink, batch_seconds=0.01) as batcher:
        batcher.put(delta(at=AT.timestamp() + 100))
        batcher.flush(10)
        assert sink.stored_until() is None
        batcher.put(trade(at=AT.timestamp() + 10))
        batcher.put(delta(at=AT.timestamp() + 200))
        batcher.flush(10)
        assert sink.stored_until() == AT + timedelta(seconds=200 - 30)
        batcher.put(
            filled(AT + timedelta(seconds=50), AT + timedelta(seconds=60), "trade", False, "HTTP 503")
        )
        batcher.flush(10)
        assert sink.stored_until() == AT + timedelta(seconds=50 - 30)
        batcher.put(trade(trade_id="late", at=AT.timestamp() + 40, source="rest"))
    again = store.make()
    assert again.stored_until() == AT + timedelta(seconds=40 - 30)
    again.close()


def test_a_kill_between_two_tables_of_a_batch(tmp_path: Path) -> None:
    """The batch may be in some tables only, and which holes it had is not known, so it does not count."""
    store = parquet_store(tmp_path)
    sink = store.make()
    write(sink, trade(trade_id="a"))
    (tmp_path / "holes").write_text("in the way", encoding="utf-8")
    with pytest.raises(SinkError, match="cannot be written"):
        write(sink, trade(trade_id="b", at=AT.timestamp() + 90), filled(AT, AT, complete=False), n=2)
    (tmp_path / "holes").unlink()
    again = store.make()
    assert store.read("trades", "trade_id") == [("a",), ("b",)]
    assert again.stored_until() == AT - timedelta(seconds=30)
    write(again, *(trade(trade_id=trade_id, source="rest") for trade_id in ("b", "c")))
    assert store.read("trades", "trade_id") == [("a",), ("b",), ("c",)]


def test_a_restart_misses_nothing(store: Store, make_feed: FeedMaker, exchange: Exchange) -> None:
    """What fill_since= does, done by hand: what REST has since then is stored, and nothing twice."""
    for run in range(2):
        sink = store.make()
        since = sink.stored_until()
        feed = make_feed()
        with Batcher(sink, batch_seconds=0.01) as batcher:
            batcher.subscribe_to(feed)
            feed.start().subscribe(["trade", "fill"], [A, B]).wait(10)
            if since is not None:
                with Rest(
                    exchange.credentials, url=exchange.rest_url, ssl_context=exchange.ssl_context
                ) as rest:
                    for message in (*rest.trades(since=since), *rest.fills(since=since)):
                        batcher.put(message)
                feed._dispatcher.put([filled(since, AT)], time.perf_counter())
            for count in range(1, 5):
                exchange.trade(A, "yes", "0.36", count)
                exchange.place_order(A, "yes", "0.50", 1)
            wait_until(
                lambda: feed.stats().messages.get("fill") == 4 and feed.stats().queue_depth == 0,  # noqa: B023
                10,
                "the trades and fills",
            )
            feed.close()
        if run == 0:
            exchange.trade(B, "no", "0.50", 7)
            exchange.place_order(A, "yes", "0.50", 1)
    for table, true in (("trades", exchange.trades), ("fills", exchange.fills)):
        ids = [trade_id for (trade_id,) in store.read(table, "trade_id")]
        assert sorted(ids) == sorted(one["trade_id"] for one in true) and len(ids) >= 9
        assert ("rest",) in store.read(table, "source")
    assert store.read("holes", "kind") == [("filled",)]
