"""Real input: all of ../shared/capture through exchange, TLS and feed, against a fold of its frames."""

# mypy: no-strict-equality

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed.simulator import Exchange
from tests.feed.captures import FILES, Fold, frames_of
from tests.feed.support import FeedMaker, Recorder, sides
from tests.support import wait_until

POINTS = 100


@pytest.mark.skipif(not FILES, reason="no recordings in ../shared/capture")
@pytest.mark.parametrize("use_yes_price", [True, False], ids=["yes_price", "own_price"])
@pytest.mark.parametrize("path", FILES, ids=[path.name[:27] for path in FILES])
def test_recording(path: Path, use_yes_price: bool, exchange: Exchange, make_feed: FeedMaker) -> None:
    frames = frames_of(path)
    (ticker,) = {frame["msg"]["market_ticker"] for frame in frames}
    feed = make_feed(use_yes_price=use_yes_price, queue_size=len(frames) + 10)
    heard = Recorder(feed)
    deltas: list[Any] = []
    trades: list[Any] = []
    feed.on_delta(deltas.append, market_tickers=[ticker])
    feed.on_trade(trades.append)
    replay = exchange.replay(path)
    replay.pause_at(0)
    assert replay.frames == len(frames)

    with feed:
        feed.subscribe(["orderbook_delta", "trade"], [ticker]).wait(5)
        book = feed.wait_for_book(ticker, timeout=5)
        told = {s["channel"]: s["use_yes_price"] for s in exchange.subscriptions}
        assert told["orderbook_delta"] is use_yes_price
        fold = Fold(frames)
        assert sides(book) == fold.sides
        points = sorted({round(len(frames) * point / POINTS) for point in range(1, POINTS + 1)})
        done, seq, emptied = 0, 1, 0
        for point in points:
            for frame in frames[done:point]:
                fold.take(frame)
                seq += frame["type"] != "trade"
                emptied += frame["type"] == "orderbook_snapshot" and len(frame["msg"]) == 2
            done = point
            replay.run_to(point)
            wait_until(lambda: book.seq == seq, what=f"seq {seq} at frame {point}")  # noqa: B023
            view = book.view(require_live=True)
            assert sides(view) == fold.sides, f"at frame {point}"
            assert (view.best_bid() is None) == (not fold.sides["yes"])
        assert done == len(frames)
        assert emptied >= 1  # each recording ends with the market's end (PROTOCOL.md 5.5)
        assert exchange.book(ticker) == fold.sides
        sent = [frame["msg"] for frame in frames if frame["type"] == "orderbook_delta"]
        dealt = [frame["msg"] for frame in frames if frame["type"] == "trade"]
        wait_until(lambda: len(heard.messages) >= len(frames) + 1, what="all callbacks")

    assert [(d.side, d.price, d.delta, d.ts, d.ts_ms) for d in deltas] == [
        (m["side"], Decimal(m["price_dollars"]), Decimal(m["delta_fp"]), m["ts"], m["ts_ms"]) for m in sent
    ]
    assert [(t.trade_id, t.yes_price, t.no_price, t.count) for t in trades] == [
        (
            m["trade_id"],
            Decimal(m["yes_price_dollars"]),
            Decimal(m["no_price_dollars"]),
            Decimal(m["count_fp"]),
        )
        for m in dealt
    ]
    assert len(heard.messages) == len(frames) + 1  # with the first snapshot
    assert heard.gaps == heard.lags == heard.faults == []
    stats = feed.stats()
    assert (stats.gaps, stats.dropped, stats.reconnects) == (0, 0, 0)
    assert stats.messages["orderbook_delta"] == len(sent)
