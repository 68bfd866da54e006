"""A series whose markets open and close by the clock."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed.simulator import Exchange, series

from .peer import Peer, wait_until
from .rest_client import RestClient

pytestmark = pytest.mark.slow


def events_of(messages: list[dict[str, Any]], ticker: str) -> list[str]:
    return [
        message["msg"]["event_type"]
        for message in messages
        if message["type"] == "market_lifecycle_v2" and message["msg"]["market_ticker"] == ticker
    ]


def test_the_life_of_a_series(exchange: Exchange, tmp_path: Path) -> None:
    exchange.rest_tier = None
    states: dict[str, list[str]] = {}
    with Peer(exchange) as peer, RestClient(exchange, tmp_path) as rest:
        peer.subscribe("market_lifecycle_v2", "trade")
        run = exchange.run_series("KXSIM15M", every=1, markets=2, ahead=2, rounds=3, pace=200.0)
        with pytest.raises(TimeoutError, match="6 markets of the series settled"):
            run.wait_for(6, timeout=0.01)
        done = False
        while not done:
            done = run.counts["settled"] == 6  # and look once more
            for market in rest.json("/markets", series_ticker="KXSIM15M")["markets"]:
                seen = states.setdefault(market["ticker"], [])
                if seen[-1:] != [market["status"]]:
                    seen.append(market["status"])
                has_book = market["yes_bid_dollars"] != "0.0000" or market["yes_ask_dollars"] != "1.0000"
                assert not has_book or market["status"] in ("active", "closed")
            time.sleep(0.02)
        messages = peer.barrier()
        event = rest.json(f"/events/{run.market_tickers[0].rpartition('-')[0]}")
    assert run.counts == dict.fromkeys(series.STEPS, 6) and len(set(run.market_tickers)) == 6
    assert set(states) == set(run.market_tickers)
    for ticker in run.market_tickers:
        assert events_of(messages, ticker) == ["created", "determined", "settled"]
        left = iter(["initialized", "active", "closed", "determined", "finalized"])
        assert all(state in left for state in states[ticker]), states[ticker]  # in this order
        assert states[ticker][-1] == "finalized"
    assert len({state for seen in states.values() for state in seen}) == 5
    created = {
        message["msg"]["market_ticker"]: message["msg"]
        for message in messages
        if message["msg"].get("event_type") == "created"
    }
    trades = [message["msg"] for message in messages if message["type"] == "trade"]
    assert {trade["market_ticker"] for trade in trades} == set(run.market_tickers)
    for trade in trades:
        times = created[trade["market_ticker"]]
        assert times["open_ts"] * 1000 <= trade["ts_ms"] < times["close_ts"] * 1000 + 100
        assert times["close_ts"] - times["open_ts"] == 1
    assert event["event"]["series_ticker"] == "KXSIM15M" and len(event["markets"]) == 2
    metadata = created[run.market_tickers[0]]["additional_metadata"]
    assert metadata["event_ticker"] == event["event"]["event_ticker"] and metadata["floor_strike"] == 100
    wait_until(lambda: "kalshi-exchange-series" not in [one.name for one in threading.enumerate()])


def test_a_book_is_empty_before_the_opening_and_filled_by_deltas(exchange: Exchange) -> None:
    exchange.create_market("NEW-1", opened=False)
    with Peer(exchange) as peer:
        snapshot = peer.subscribe("orderbook_delta", tickers=("NEW-1",))[-1]
        assert snapshot["msg"]["market_id"] and "yes_dollars_fp" not in snapshot["msg"]
        exchange.open_market("NEW-1", yes={"0.40": 5})
        (delta,) = peer.barrier()
        assert (delta["type"], delta["msg"]["delta_fp"]) == ("orderbook_delta", "5.00")
    with pytest.raises(ValueError, match="NEW-1 is active, not initialized"):
        exchange.open_market("NEW-1")


def test_a_pause_stops_a_series(exchange: Exchange) -> None:
    run = exchange.run_series("KXS", every=1, pace=500.0)
    wait_until(lambda: exchange.trades)
    exchange.pause()
    counts, books, trades = run.counts, exchange.books(), len(exchange.trades)
    time.sleep(1.2)
    assert (run.counts, exchange.books(), len(exchange.trades)) == (counts, books, trades)
    exchange.resume()
    run.wait_for(2, "opened")
    run.stop()
    counts = run.counts
    time.sleep(0.1)
    assert run.counts == counts


def test_once_paused_nothing_more_comes(exchange: Exchange) -> None:
    """A beat is made of many steps: a pause waits for the one that is under way."""
    exchange.run_series("KXS", every=30, markets=30, pace=3000.0)
    for _ in range(30):
        time.sleep(0.03)
        exchange.pause()
        books = exchange.books()
        time.sleep(0.01)
        assert exchange.books() == books
        exchange.resume()


def test_old_markets_are_removed(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "KEEP_SETTLED", 3)
    run = exchange.run_series("KXS", every=0.1, rounds=8, determine_after=0, settle_after=0)
    run.wait_for(8)
    wait_until(lambda: len(exchange.market_tickers) == 2 + 3)
    assert exchange.market_tickers[2:] == run.market_tickers[-3:]
    assert len(set(run.market_tickers)) == 8  # several closed in one second


def test_a_jump_of_the_clock_skips_what_is_over(exchange: Exchange) -> None:
    run = exchange.run_series("KXS", every=2, ahead=2)
    run.wait_for(1, "opened")
    run.wait_for(2, "created")
    exchange.place_order(run.market_tickers[0], "yes", "0.01", 1)
    with pytest.raises(ValueError, match="takes no orders: it is initialized"):
        exchange.place_order(run.market_tickers[1], "yes", "0.01", 1)
    exchange.clock_offset = 3600.0
    run.wait_for(2, "settled")
    run.wait_for(3, "opened")
    assert run.counts["created"] <= 5


def test_a_series_needs_a_running_exchange_and_sense() -> None:
    exchange = Exchange(key_type="ed25519")
    with pytest.raises(RuntimeError, match="not running"):
        exchange.run_series("KXS")
    with exchange:
        with pytest.raises(ValueError, match="every must be above zero"):
            exchange.run_series("KXS", every=0)
        with pytest.raises(ValueError, match="markets must be above zero"):
            exchange.run_series("KXS", markets=0)
        with pytest.raises(ValueError, match="settled after it is determined"):
            exchange.run_series("KXS", determine_after=2)
        exchange.run_series("KXS", every=1)
    assert "kalshi-exchange-series" not in [one.name for one in threading.enumerate()]
