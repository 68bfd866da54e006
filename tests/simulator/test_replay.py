"""Recordings served as markets: made-up files, and the real captures if they are there."""

from __future__ import annotations

import gzip
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed.simulator import Exchange

from .peer import Fold, Peer, wait_until

CAPTURES = sorted(Path("/work/shared/capture").glob("*.ndjson.gz"))


def delta(ticker: str, side: str, price: str, size: str, **more: Any) -> dict[str, Any]:
    msg = {
        "market_ticker": ticker,
        "market_id": f"id-{ticker}",
        "price_dollars": price,
        "delta_fp": size,
        "side": side,
    }
    return {"type": "orderbook_delta", "sid": 9, "seq": 1234, "msg": {**msg, **more}}


def snapshot(ticker: str, **sides: Any) -> dict[str, Any]:
    return {
        "type": "orderbook_snapshot",
        "sid": 9,
        "seq": 99,
        "msg": {"market_ticker": ticker, "market_id": f"id-{ticker}", **sides},
    }


def trade(ticker: str) -> dict[str, Any]:
    msg = {"trade_id": "t", "market_ticker": ticker, "yes_price_dollars": "0.3", "count_fp": "1.00"}
    return {"type": "trade", "sid": 8, "seq": 7, "msg": msg}


FRAMES = [
    delta("X", "yes", "0.0500", "-10.00", ts="2026-01-01T00:00:00.5Z"),
    delta("X", "yes", "0.0500", "3.00"),
    delta("X", "no", "0.2000", "-1.50"),
    trade("X"),
    snapshot("Y", yes_dollars_fp=[["0.1000", "5.00"]]),
    delta("X", "yes", "0.0500", "-20.25"),
    snapshot("X"),
    delta("X", "no", "0.3000", "4.00"),
    delta("Y", "yes", "0.1000", "-5.00"),
]


def write(path: Path, frames: list[dict[str, Any]], *, wrapped: bool = True, spacing_ms: int = 0) -> Path:
    lines = [
        json.dumps({"recv_ms": 1_000 + n * spacing_ms, "event": frame} if wrapped else frame)
        for n, frame in enumerate(frames)
    ]
    data = ("\n".join(lines) + "\n\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    ("name", "wrapped"), [("a.ndjson", False), ("a.ndjson", True), ("a.ndjson.gz", True)]
)
def test_a_file_is_served_in_order_with_its_own_fields(
    exchange: Exchange, peer: Peer, tmp_path: Path, name: str, wrapped: bool
) -> None:
    replay = exchange.replay(write(tmp_path / name, FRAMES, wrapped=wrapped))
    assert (replay.frames, replay.position, replay.done) == (9, 0, False)
    assert replay.market_tickers == ("X", "Y")
    # the smallest book to which the deltas before the first snapshot can be applied
    assert exchange.book("X") == {
        "yes": {Decimal("0.05"): Decimal("27.25")},
        "no": {Decimal("0.2"): Decimal("1.5")},
    }
    assert exchange.book("Y") == {"yes": {}, "no": {}}
    peer.send("subscribe", {"channels": ["orderbook_delta", "trade"], "market_tickers": ["X", "Y"]})
    messages = peer.take(4 + len(FRAMES))
    assert replay.wait(5) and replay.done and replay.position == 9
    fold = Fold()
    for message in messages:
        fold.feed(message)  # checks that numbers are dense
    assert fold.books == {ticker: exchange.book(ticker) for ticker in ("X", "Y")}
    assert exchange.book("X") == {"yes": {}, "no": {Decimal("0.3"): Decimal(4)}}
    acks = {m["msg"]["channel"]: n for n, m in enumerate(messages) if m["type"] == "subscribed"}
    assert acks == {"orderbook_delta": 0, "trade": 3}
    assert [(m["type"], m["msg"]) for m in messages[4:]] == [(f["type"], f["msg"]) for f in FRAMES]
    assert messages[1]["msg"]["market_id"] == "id-X" and "clock" not in messages[1]["msg"]
    assert all("sending_ts_ms" in message for message in messages)


def test_run_to_stops_at_the_position(exchange: Exchange, tmp_path: Path) -> None:
    replay = exchange.replay(write(tmp_path / "a.ndjson", FRAMES))
    replay.run_to(5)
    assert replay.position == 5
    assert exchange.book("X")["yes"] == {Decimal("0.05"): Decimal("20.25")}
    with Peer(exchange) as peer:
        _, first = peer.subscribe(
            "orderbook_delta", tickers=("X",)
        )  # a late subscriber gets the book as it is
        assert first["msg"]["yes_dollars_fp"] == [["0.0500", "20.25"]]
        assert peer.barrier() == []
        replay.pause_at(6)
        assert peer.recv()["msg"]["delta_fp"] == "-20.25"
        assert peer.barrier() == []
        assert not replay.wait(0.01)
        replay.resume()
        assert replay.wait(5)
        replay.run_to(2)  # it is past that: nothing happens
        assert replay.position == 9


def test_use_yes_price_turns_a_recording_too(exchange: Exchange, peer: Peer, tmp_path: Path) -> None:
    frames = [
        snapshot("X", no_dollars_fp=[["0.2000", "5.00"], ["0.4000", "1.00"]]),
        delta("X", "no", "0.4000", "2.00"),
    ]
    exchange.replay(write(tmp_path / "a.ndjson", frames))
    peer.send("subscribe", {"channels": ["orderbook_delta"], "market_tickers": ["X"], "use_yes_price": True})
    *_, book, change = peer.take(4)
    assert book["msg"]["no_dollars_fp"] == [["0.6000", "1.00"], ["0.8000", "5.00"]]
    assert change["msg"]["price_dollars"] == "0.6000" and change["msg"]["delta_fp"] == "2.00"


def test_one_market_of_a_file(exchange: Exchange, tmp_path: Path) -> None:
    replay = exchange.replay(
        write(tmp_path / "a.ndjson", FRAMES), market_ticker="Y", wait_for_subscriber=False
    )
    assert replay.wait(5) and replay.frames == 2
    assert exchange.book("Y") == {"yes": {}, "no": {}}
    assert "X" not in exchange.market_tickers


def test_speed_keeps_the_recorded_pace(exchange: Exchange, tmp_path: Path) -> None:
    path = write(tmp_path / "a.ndjson", FRAMES, spacing_ms=50)
    started = time.monotonic()
    assert exchange.replay(path, speed=2.0, wait_for_subscriber=False).wait(5)
    assert 0.19 <= time.monotonic() - started < 2
    with pytest.raises(ValueError, match="speed"):
        exchange.replay(path, speed=0)


def test_a_hole_in_the_recording_is_counted(exchange: Exchange, tmp_path: Path) -> None:
    frames = [snapshot("X", yes_dollars_fp=[["0.1000", "1.00"]]), delta("X", "yes", "0.1000", "-2.00")]
    replay = exchange.replay(write(tmp_path / "a.ndjson", frames), wait_for_subscriber=False)
    assert replay.wait(5) and replay.anomalies == 1
    assert exchange.book("X") == {"yes": {}, "no": {}}


def test_a_file_that_cannot_be_played_is_refused(exchange: Exchange, tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text('{"type":"orderbook_delta","msg":{"market_ticker":"X"}}\nnot json\n')
    with pytest.raises(ValueError, match="line 2"):
        exchange.replay(path)
    with pytest.raises(OSError):
        exchange.replay(tmp_path / "missing")
    exchange.close()
    with pytest.raises(RuntimeError, match="not running"):
        exchange.replay(path)


def test_close_ends_a_waiting_replay(exchange: Exchange, tmp_path: Path) -> None:
    replay = exchange.replay(write(tmp_path / "a.ndjson", FRAMES))
    exchange.close()
    assert not replay.wait(1)
    with pytest.raises(TimeoutError, match="at frame 0 of 3"):
        replay.run_to(3, timeout=0.1)


@pytest.mark.skipif(not CAPTURES, reason="the captures are not on this machine")
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name[:24])
def test_real_captures_play_true(path: Path) -> None:
    with Exchange(key_type="ed25519") as exchange, Peer(exchange) as peer:
        replay = exchange.replay(path)
        (ticker,) = replay.market_tickers
        replay.pause_at(0)
        fold = Fold()
        for message in peer.subscribe("orderbook_delta", "trade", tickers=(ticker,)):
            fold.feed(message)
        with gzip.open(path) as file:
            recorded = [json.loads(line)["event"] for line in file]
        step = max(1, replay.frames // 20)
        for stop in [*range(step, replay.frames, step), replay.frames]:
            start = replay.position
            replay.pause_at(stop)
            for position in range(start, stop):
                message = peer.recv()
                assert (message["type"], message["msg"]) == (
                    recorded[position]["type"],
                    recorded[position]["msg"],
                )
                fold.feed(message)
            wait_until(lambda stop=stop: replay.position == stop)  # type: ignore[misc]
            assert fold.books[ticker] == exchange.book(ticker)
        assert replay.done and replay.anomalies == 0
        assert exchange.book(ticker) == {"yes": {}, "no": {}}


def test_every_channel_is_replayed(exchange: Exchange, peer: Peer, tmp_path: Path) -> None:
    """Frames go to their subscribers; a replayed market's book is the recording's, so it takes no orders."""
    frames: list[tuple[str, dict[str, Any]]] = [
        ("user_order", {"ticker": "X", "status": "resting"}),
        ("market_position", {"market_ticker": "X", "position_fp": "1.00"}),
        ("event_lifecycle", {"event_ticker": "E"}),
        ("event_lifecycle", {"event_ticker": "KXMVE-E"}),
        ("rfq_batch_created", {"id": "b"}),
        ("pyth_value", {"underlying_ticker": "Metal.XAG/USD"}),
        ("pyth_value", {"underlying_ticker": "Metal.XAU/USD"}),
        ("pyth_value_underlying_list", {"underlying_tickers": ["Metal.XAU/USD"]}),  # an answer to a command
    ]
    path = write(tmp_path / "all.ndjson", [{"type": type_, "sid": 1, "msg": msg} for type_, msg in frames])
    peer.subscribe("user_orders", "market_positions", tickers=("X",))
    peer.subscribe("multivariate_market_lifecycle", "market_lifecycle_v2", "communications")
    peer.send("subscribe", {"channels": ["pyth_value"], "underlying_tickers": ["Metal.XAU/USD"]})
    peer.recv()
    replay = exchange.replay(path, wait_for_subscriber=False)
    assert replay.wait(5) and replay.frames == 7
    got = [(message["type"], message["sid"], message["msg"]) for message in peer.barrier()]
    sids = [1, 2, 4, 3, 5, 6]
    wanted = [frame for frame in frames[:-1] if frame[1].get("underlying_ticker") != "Metal.XAG/USD"]
    assert got == [(type_, sid, msg) for (type_, msg), sid in zip(wanted, sids, strict=True)]
    with pytest.raises(ValueError, match="takes no orders: it is replayed"):
        exchange.place_order("X", "yes", "0.5", 1)
