"""Frames for the tests of messages: real shapes, invented content."""

from __future__ import annotations

import json
from typing import Any

DELTA: dict[str, Any] = {
    "type": "orderbook_delta",
    "sid": 2,
    "seq": 3,
    "sending_ts_ms": 1785901540750,
    "msg": {
        "market_ticker": "MARKET-A",
        "market_id": "9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1",
        "clock": 4182061,
        "price_dollars": "0.5400",
        "delta_fp": "-54.50",
        "side": "no",
        "ts": "2026-08-05T03:45:40.722003Z",
        "ts_ms": 1785901540722,
    },
}
SNAPSHOT: dict[str, Any] = {
    "type": "orderbook_snapshot",
    "sid": 2,
    "seq": 2,
    "msg": {
        "market_ticker": "MARKET-A",
        "market_id": "9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1",
        "clock": 4182057,
        "yes_dollars_fp": [["0.0800", "300.00"], ["0.2200", "333.25"]],
        "no_dollars_fp": [["0.5400", "20.00"], ["0.5600", "146.00"]],
    },
}
TICKER: dict[str, Any] = {
    "type": "ticker",
    "sid": 11,
    "msg": {
        "market_ticker": "MARKET-A",
        "market_id": "9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1",
        "price_dollars": "0.4800",
        "yes_bid_dollars": "0.4500",
        "yes_ask_dollars": "0.5300",
        "volume_fp": "33896.00",
        "open_interest_fp": "20422.50",
        "dollar_volume": 16948,
        "dollar_open_interest": -10211,
        "yes_bid_size_fp": "300.00",
        "yes_ask_size_fp": "150.00",
        "last_trade_size_fp": "25.00",
        "ts": 1669149841,
        "ts_ms": 1669149841250,
        "time": "2022-11-22T20:44:01Z",
    },
}
TRADE: dict[str, Any] = {
    "type": "trade",
    "sid": 3,
    "seq": 2,
    "msg": {
        "trade_id": "f195de40-6a3f-418b-1a7e-9d89fee559c0",
        "market_ticker": "MARKET-A",
        "yes_price_dollars": "0.3600",
        "no_price_dollars": "0.6400",
        "count_fp": "136.00",
        "taker_side": "no",
        "taker_outcome_side": "no",
        "taker_book_side": "ask",
        "is_block_trade": False,
        "ts": 1669149841,
        "ts_ms": 1669149841250,
    },
}
FILL: dict[str, Any] = {
    "type": "fill",
    "sid": 13,
    "msg": {
        "trade_id": "d91bc706-ee49-470d-82d8-11418bda6fed",
        "order_id": "ee587a1c-8b87-4dcf-b721-9f6f790619fa",
        "client_order_id": "my-order-1",
        "market_ticker": "MARKET-A",
        "exchange_index": 2,
        "is_taker": True,
        "side": "yes",
        "yes_price_dollars": "0.7500",
        "count_fp": "278.00",
        "fee_cost": "0.012345",
        "action": "buy",
        "ts": 1671899397,
        "ts_ms": 1671899397000,
        "post_position_fp": "-500.00",
        "purchased_side": "yes",
        "outcome_side": "yes",
        "book_side": "bid",
        "subaccount": 3,
    },
}
DATA = {frame["type"]: frame for frame in (DELTA, SNAPSHOT, TICKER, TRADE, FILL)}

ABSENT: Any = object()


def text(frame: dict[str, Any], top: dict[str, Any] | None = None, **body: Any) -> str:
    """The frame as JSON with ``body`` fields of msg and ``top`` fields changed, or left out where they are ABSENT."""
    merged = {**frame, **(top or {})}
    if body:
        merged["msg"] = {key: value for key, value in {**frame["msg"], **body}.items() if value is not ABSENT}
    return json.dumps({key: value for key, value in merged.items() if value is not ABSENT})
