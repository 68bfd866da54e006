"""The lives of markets and events."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed.simulator import Exchange

from .peer import Peer, wait_until

MVE = "KXMVE-COMBO-1"


def told(peer: Peer) -> list[dict[str, Any]]:
    return [message["msg"] for message in peer.barrier()]


def test_a_market_from_creation_to_settlement(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("market_lifecycle_v2", "market_positions", "user_orders")
    exchange.quirks.unknown_markets_flow = True
    peer.subscribe("orderbook_delta", tickers=("NEW-1",))
    exchange.create_market(
        "NEW-1", yes={"0.40": 5}, title="Will it?", floor_strike=4487, close_ts=2_000_000_000
    )
    created, snapshot = peer.take(2)
    assert (created["type"], created["sid"], created["seq"]) == ("market_lifecycle_v2", 1, 1)
    msg = created["msg"]
    assert (msg["event_type"], msg["market_ticker"], msg["close_ts"]) == ("created", "NEW-1", 2_000_000_000)
    assert abs(msg["open_ts"] - time.time()) < 5
    assert msg["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
    metadata = msg["additional_metadata"]
    assert (metadata["title"], metadata["floor_strike"], metadata["event_ticker"]) == (
        "Will it?",
        4487,
        "NEW",
    )
    assert snapshot["msg"]["yes_dollars_fp"] == [["0.4000", "5.00"]]
    exchange.fill("NEW-1", side="no", price="0.25", count=4)
    exchange.place_order("NEW-1", "yes", "0.30", 1)
    peer.barrier()

    exchange.deactivate("NEW-1")
    with pytest.raises(ValueError, match="takes no orders: it is inactive"):
        exchange.place_order("NEW-1", "yes", "0.30", 1)
    with pytest.raises(ValueError, match="is inactive, not active"):
        exchange.deactivate("NEW-1")
    exchange.activate("NEW-1")
    deactivated, order, wiped, activated = peer.barrier()
    assert deactivated["msg"]["is_deactivated"] is True and activated["msg"]["is_deactivated"] is False
    assert order["msg"]["last_update_reason"] == "HaltCancel"
    assert "yes_dollars_fp" not in wiped["msg"] and exchange.book("NEW-1") == {"yes": {}, "no": {}}

    exchange.update_close("NEW-1", 2_000_000_100)
    exchange.update_price_levels("NEW-1", "deci_cent")
    mixed = [{"start": "0", "end": "0.1", "step": "0.001"}, {"start": "0.1", "end": "1", "step": "0.01"}]
    exchange.update_price_levels("NEW-1", "tapered_deci_cent", mixed)
    exchange.update_metadata("NEW-1", strike_type="between", floor_strike=1, cap_strike=2.5)
    closed, levels, tapered, metadata = told(peer)
    assert (closed["event_type"], closed["close_ts"]) == ("close_date_updated", 2_000_000_100)
    assert levels["price_ranges"][0]["step"] == "0.0010" and tapered["price_ranges"] == mixed
    assert (metadata["event_type"], metadata["cap_strike"]) == ("metadata_updated", 2.5)

    with pytest.raises(ValueError, match="not determined"):
        exchange.settle_market("NEW-1")
    exchange.settle("NEW-1")
    exchange.determine("NEW-1", "no")
    exchange.settle_market("NEW-1")
    first, second, determined, settled, position = peer.barrier()
    assert first["type"] == second["type"] == "orderbook_snapshot"
    assert (determined["msg"]["result"], determined["msg"]["settlement_value"]) == ("no", "0.0000")
    assert abs(determined["msg"]["determination_ts"] - time.time()) < 5 and settled["msg"]["settled_ts"] > 0
    assert (position["msg"]["position_fp"], position["msg"]["realized_pnl_dollars"]) == ("0.00", "3.000000")
    with pytest.raises(ValueError, match="is settled, not inactive or closed"):
        exchange.activate("NEW-1")


def test_multivariate_markets_have_their_own_channel(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("market_lifecycle_v2", "multivariate_market_lifecycle")
    exchange.create_market(MVE)
    exchange.determine(MVE, "scalar", "0.25")
    exchange.settle_market(MVE)
    exchange.create_event("KXMVE-COMBO", collateral_return_type="MECNET")
    got = peer.barrier()
    assert [(message["sid"], message["seq"]) for message in got] == [(2, 1), (2, 2), (2, 3), (2, 4)]
    assert [message["type"] for message in got] == ["multivariate_market_lifecycle"] * 3 + ["event_lifecycle"]
    assert "price_ranges" not in got[0]["msg"] and got[1]["msg"]["settlement_value"] == "0.2500"
    with pytest.raises(ValueError, match="multivariate_market_lifecycle"):
        exchange.update_metadata(MVE)
    with pytest.raises(ValueError, match="multivariate_market_lifecycle"):
        exchange.update_price_levels(MVE, "deci_cent")


def test_events(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("market_lifecycle_v2", "multivariate_market_lifecycle")
    exchange.create_event("KXA-26", title="What?", subtitle="When?", strike_date=5, strike_period="day")
    exchange.update_event_fees("KXA-26", "quadratic", 1.5)
    exchange.update_event_fees("KXA-26")
    event, fees, cleared = peer.take(3)
    assert (event["type"], event["sid"], event["seq"]) == ("event_lifecycle", 1, 1)
    assert event["msg"] == {
        "event_ticker": "KXA-26",
        "exchange_index": 0,
        "title": "What?",
        "subtitle": "When?",
        "collateral_return_type": "",
        "series_ticker": "KXA",
        "strike_date": 5,
        "strike_period": "day",
    }
    assert fees["type"] == "event_fee_update" and fees["msg"]["fee_multiplier_override"] == 1.5
    assert cleared["msg"]["fee_type_override"] is cleared["msg"]["fee_multiplier_override"] is None


def test_an_impossible_lifecycle_message_is_refused(exchange: Exchange) -> None:
    with pytest.raises(ValueError, match="titel"):
        exchange.create_market("C", titel="x")
    with pytest.raises(ValueError, match="price_level_structure must be one of"):
        exchange.create_market("C", price_level_structure="cents", price_ranges=[])
    with pytest.raises(ValueError, match="price_ranges are needed"):
        exchange.update_price_levels("A", "tapered_deci_cent")
    with pytest.raises(ValueError, match="strike_type"):
        exchange.update_metadata("A", strike_type=1)
    with pytest.raises(ValueError, match="settlement_value"):
        exchange.determine("A", "scalar")
    with pytest.raises(ValueError, match="collateral_return_type"):
        exchange.create_event("E", collateral_return_type="all")
    with pytest.raises(ValueError, match="fee_type_override"):
        exchange.update_event_fees("E", "free")
    with pytest.raises(LookupError, match="add_market"):
        exchange.deactivate("NOBODY")
    assert exchange.market_tickers == ("A", "B")


def test_a_paused_market_moves_again() -> None:
    with Exchange(markets=1, rate=2000, seed=1, key_type="ed25519") as moving:
        (ticker,) = moving.market_tickers
        moving.deactivate(ticker)
        held = moving.book(ticker)
        time.sleep(0.05)
        assert moving.book(ticker) == held
        moving.activate(ticker)
        wait_until(lambda: len(moving.book(ticker)["yes"]) > 2)
        assert all(price > Decimal(0) for price in moving.book(ticker)["yes"])
