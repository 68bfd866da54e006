"""convert: the tables hold what callbacks got, in types that other programs read."""

from __future__ import annotations

import csv
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import ConfigurationError
from kalshi_feed.recording import tables
from kalshi_feed.recording.tables import COLUMNS, Converter
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, sides, wait_equal
from tests.recording.support import Heard, capture, frames
from tests.support import wait_until

pytest.importorskip("pyarrow")
import pyarrow as pa
import pyarrow.parquet

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def rows_of(path: Path) -> list[list[str]]:
    """Read a CSV file, with its header."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


def as_text(value: Any) -> str:
    """Return a value as a CSV file has it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return "" if value is None else str(value)


def run(converter: Converter) -> None:
    for _ in converter.steps():
        pass


@pytest.fixture
def recorded(make_feed: FeedMaker, tmp_path: Path) -> tuple[Path, Heard, dict[str, Any]]:
    """A second of a moving exchange, with a loss: the file, what callbacks got, and the last books."""
    with Exchange(markets=3, rate=600, seed=5) as exchange:
        feed = make_feed(credentials=exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
        heard = Heard(feed)
        with feed.record(tmp_path / "moving.ndjson.gz") as recording, feed:
            feed.subscribe(["orderbook_delta", "trade"], exchange.market_tickers)
            for ticker in exchange.market_tickers:
                feed.wait_for_book(ticker, timeout=5)
            exchange.lose(1)
            wait_until(
                lambda: len(heard.messages) > 300 and heard.gaps and "trade" in feed.stats().messages,
                20,
                "enough",
            )
            exchange.pause()
            exchange.wait_until_sent(5)
            wait_equal(feed, exchange, *exchange.market_tickers)
            books = {ticker: sides(book) for ticker, book in feed.books.items()}
        return recording.path, heard, books


def test_parquet(
    recorded: tuple[Path, Heard, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_ROWS", 50)  # many batches
    path, heard, books = recorded
    converter = Converter(path, "parquet", tmp_path / "out")
    run(converter)
    assert [file.name for file in converter.paths] == [f"moving.{name}.parquet" for name in COLUMNS]
    deltas, trades, top = (pa.parquet.read_table(file) for file in converter.paths)
    for table in (deltas, trades, top):
        assert table.schema.field("received_at").type == pa.timestamp("us", tz="UTC")
        assert table["received_ns"].to_pylist() == sorted(table["received_ns"].to_pylist())
        for ns, at in zip(table["received_ns"].to_pylist(), table["received_at"].to_pylist(), strict=True):
            assert ns // 1000 == (at - EPOCH) // timedelta(microseconds=1)
    assert deltas.schema.field("price").type == pa.decimal128(6, 4) and deltas.schema.field(
        "delta"
    ).type == pa.decimal128(18, 2)
    reported = [m for m in heard.messages if m.type == "orderbook_delta"]
    assert [
        tuple(row.values()) for row in deltas.drop_columns(["received_at", "received_ns"]).to_pylist()
    ] == [(m.time, m.market_ticker, m.side, m.price, m.delta, m.sid, m.seq) for m in reported]
    dealt = [m for m in heard.messages if m.type == "trade"]
    assert trades["trade_id"].to_pylist() == [m.trade_id for m in dealt] and trades["count"].to_pylist() == [
        m.count for m in dealt
    ]
    assert trades["yes_price"].to_pylist() == [m.yes_price for m in dealt]
    assert trades["taker_side"].to_pylist() == [m.taker_outcome_side for m in dealt]
    assert set(trades["source"].to_pylist()) == {"feed"}
    last: dict[str, Any] = {}
    stale = 0
    for row in top.to_pylist():
        before = last.get(row["market_ticker"])
        parts = ("status", "yes_bid", "yes_bid_size", "yes_ask", "yes_ask_size")
        assert before is None or [before[part] for part in parts] != [row[part] for part in parts], (
            "nothing has changed"
        )
        stale += row["status"] == "STALE"
        last[row["market_ticker"]] = row
    assert stale >= 1 and len(heard.gaps) == 1  # the loss shows
    for ticker, levels in books.items():
        bid, ask = max(levels["yes"]), 1 - max(levels["no"])
        row = last[ticker]
        assert (row["yes_bid"], row["yes_bid_size"]) == (bid, levels["yes"][bid])
        assert (row["yes_ask"], row["yes_ask_size"]) == (ask, levels["no"][1 - ask])
    assert (
        converter.rows == {"deltas": len(reported), "trades": len(dealt), "top": len(top)}
        and converter.trouble == []
    )


def test_csv_is_the_same(recorded: tuple[Path, Heard, dict[str, Any]], tmp_path: Path) -> None:
    path, _, _ = recorded
    both = [Converter(path, kind, tmp_path) for kind in ("parquet", "csv")]  # type: ignore[arg-type]
    for converter in both:
        run(converter)
    for parquet, text in zip(both[0].paths, both[1].paths, strict=True):
        header, *rows = rows_of(text)
        table = pa.parquet.read_table(parquet)
        assert header == table.column_names
        assert rows == [[as_text(value) for value in row.values()] for row in table.to_pylist()] and rows


def test_the_top_is_exact_within_one_read(tmp_path: Path) -> None:
    """Frames that came in the same read each get their own row."""
    lines = [{"recv_ms": 5, "event": frame} for frame in frames()]
    converter = Converter(capture(tmp_path / "a.ndjson", lines), "csv", tmp_path)
    run(converter)
    header, *rows = rows_of(converter.paths[2])
    places = [
        header.index(name)
        for name in ("market_ticker", "status", "yes_bid", "yes_bid_size", "yes_ask", "seq")
    ]
    assert [[row[place] for place in places] for row in rows if "LIVE" in row] == [
        [A, "LIVE", "0.4000", "5.00", "", "1"],
        [B, "LIVE", "0.4000", "5.00", "", "2"],
        [A, "LIVE", "0.4000", "6.00", "", "3"],
        [A, "LIVE", "0.4000", "7.00", "", "4"],
        [A, "LIVE", "0.4000", "8.00", "", "5"],
    ]


def test_a_cut_off_recording_is_converted_as_far_as_it_goes(
    recorded: tuple[Path, Heard, dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "cut.ndjson.gz"
    path.write_bytes(recorded[0].read_bytes()[:-20])
    converter = Converter(path, "csv", tmp_path)
    run(converter)
    (text,) = converter.trouble
    assert "was read as far as it goes" in text and converter.messages > 200


def test_what_cannot_be_done(
    recorded: tuple[Path, Heard, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recorded[0]
    (tmp_path / "moving.trades.csv").write_text("precious")
    with pytest.raises(
        ConfigurationError, match=r"moving.trades.csv' already exists and will not be overwritten"
    ):
        Converter(path, "csv", tmp_path)
    with pytest.raises(ConfigurationError, match="tables are written as 'parquet' or 'csv', not 'xlsx'"):
        Converter(path, "xlsx", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"the tables cannot be created: .*Not a directory"):
        run(Converter(path, "csv", path / "below"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ConfigurationError, match=r"\(CSV does not\); install kalshi-feed\[arrow\]: pip install"
    ):
        Converter(path, "parquet", tmp_path / "new")
    run(Converter(path, "csv", tmp_path / "new"))  # CSV needs no package
    assert (tmp_path / "moving.trades.csv").read_text() == "precious"
