"""Two hundred reconnects while REST lags, refuses and fails: callbacks and a database get the exchange's
history, each message once and in order, and the replay of the run gets the same."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import GapFilled, KalshiFeed
from kalshi_feed.engine import holes
from kalshi_feed.filling import filler, jobs
from kalshi_feed.simulator import Exchange
from kalshi_feed.sinks import Batcher, SQLiteSink
from tests.support import wait_until

from .support import Heard, filling, replayed, rest_of

pytestmark = pytest.mark.slow
MARKETS = ("KX-A", "KX-B", "KX-C", "KX-D")
RECONNECTS = 200


def test_two_hundred_reconnects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "_MERGE", 0.05)
    chance = random.Random(14)
    path, database = tmp_path / "chaos.ndjson", tmp_path / "chaos.db"
    with (
        Exchange(key_type="ed25519", markets=MARKETS, rate=300, seed=5) as exchange,
        rest_of(exchange) as rest,
        Batcher(SQLiteSink(database)) as batcher,
    ):
        exchange.rest_tokens, exchange.rest_lag, exchange.account_activity = 3000.0, 0.3, True
        exchange.pause()
        feed = filling(exchange, rest, fill_timeout=1.0)
        batcher.subscribe_to(feed)
        heard = Heard(feed)
        feed.record(path)
        with feed:
            wanted = [feed.subscribe("trade", MARKETS), feed.subscribe(("fill", "user_orders"))]
            for one in wanted:
                one.wait(5)
            exchange.resume()
            for number in range(1, RECONNECTS + 1):
                what = chance.randrange(12)
                if what < 2:
                    exchange.refuse_rest(chance.randrange(1, 4), status=chance.choice((429, 500, 503)))
                elif what == 2:
                    exchange.lose(chance.randrange(1, 3), "trade")
                elif what == 3:
                    exchange.break_rest(1, chance.choice(("reset", "close", "cut", "garbage")))
                time.sleep(chance.random() * 0.07)
                exchange.disconnect() if chance.random() < 0.5 else exchange.reset()
                wait_until(partial(has_reconnected, feed, number), 10)
            exchange.behave()
            exchange.pause()
            wait_until(lambda: all(one.sids for one in wanted))
            wait_until(lambda: not any(feed._engine.holes._open.values()), 30)  # type: ignore[attr-defined]
        trades, fills = exchange.trades, exchange.fills
        usage = exchange.rest_usage
    assert usage.refused == 0, usage
    check(heard, trades, fills)
    assert all(gap.complete for gap in heard.gaps) and len(heard.gaps) > 10  # neighbors are merged
    filled = sum(trade.source == "rest" for trade in heard.trades)
    assert filled > len(trades) / 10 and any(fill.source == "rest" for fill in heard.fills)
    with closing(sqlite3.connect(database)) as connection:
        stored_trades, stored_fills = (
            [row[0] for row in connection.execute(f"select trade_id from {table} order by n")]
            for table in ("trades", "fills")
        )
    assert stored_trades == [trade.trade_id for trade in heard.trades]
    assert stored_fills == [fill.trade_id for fill in heard.fills]
    again = replayed(path)
    assert again.order == heard.order and again.messages == heard.messages and again.gaps == heard.gaps


def has_reconnected(feed: KalshiFeed, times: int) -> bool:
    return feed.stats().reconnects >= times


def check(heard: Heard, trades: list[dict[str, Any]], fills: list[dict[str, Any]]) -> None:
    """Everything once, and in the order of each market, except for what came too late for that."""
    places = {trade["trade_id"]: number for number, trade in enumerate(trades)}
    got = [trade.trade_id for trade in heard.trades]
    assert len(got) == len(set(got)) and set(got) == set(places), set(places) - set(got)
    for market in MARKETS:
        latest = -1
        for trade in heard.trades:
            if trade.market_ticker == market:
                place = places[trade.trade_id]
                assert place > latest or trade.source == "rest", (market, trade)
                latest = max(latest, place)
    # where the account has traded with itself, both of its fills have the same id
    account, truth = (
        Counter(fill.trade_id for fill in heard.fills),
        Counter(fill["trade_id"] for fill in fills),
    )
    assert set(account) == set(truth) and account <= truth


def test_while_rest_stays_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "_MERGE", 0.05)
    monkeypatch.setattr(jobs, "GIVE_UP", 1.0)
    monkeypatch.setattr(filler, "GIVE_UP", 1.0)
    with (
        Exchange(key_type="ed25519", markets=MARKETS, rate=300, seed=6) as exchange,
        rest_of(exchange) as rest,
    ):
        exchange.rest_tier, exchange.account_activity = None, True
        exchange.pause()
        feed = filling(exchange, rest, fill_timeout=0.2)
        heard = Heard(feed)
        with feed:
            wanted = [feed.subscribe("trade", MARKETS), feed.subscribe("fill")]
            for one in wanted:
                one.wait(5)
            exchange.resume()
            for number in range(1, 16):
                if number == 5:
                    exchange.rest_down = 503
                elif number == 12:  # everything until here has been given up
                    wait_until(lambda: not any(feed._engine.holes._open.values()), 30)  # type: ignore[attr-defined]
                    exchange.rest_down = None
                time.sleep(0.2)
                exchange.reset()
                wait_until(partial(has_reconnected, feed, number), 10)
            exchange.pause()
            wait_until(lambda: not any(feed._engine.holes._open.values()), 30)  # type: ignore[attr-defined]
        trades, fills = exchange.trades, exchange.fills
    failed = [gap for gap in heard.gaps if not gap.complete]
    assert failed and all("503" in gap.reason for gap in failed)
    missing = [
        ("trade", wire["ticker"], wire["created_time"])
        for wire in trades
        if wire["trade_id"] not in {trade.trade_id for trade in heard.trades}
    ]
    assert missing
    got = [trade.trade_id for trade in heard.trades]
    assert len(got) == len(set(got))
    for channel, market, at in missing:
        assert any(announced(gap, channel, market, at) for gap in failed), (market, at)
    assert {fill.trade_id for fill in heard.fills} <= {fill["trade_id"] for fill in fills}


def announced(gap: GapFilled, channel: str, market: str, at: str) -> bool:
    return (
        gap.channel == channel
        and (not gap.market_tickers or market in gap.market_tickers)
        and gap.since.isoformat()[:23] <= at[:23] <= gap.until.isoformat()[:23]
    )
