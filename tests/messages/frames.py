"""Frames for the message tests: real shapes, invented content."""

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

LEG = {
    "event_ticker": "EVENT-A",
    "market_ticker": "MARKET-A",
    "side": "no",
    "yes_settlement_value_dollars": "1.0000",
}
OTHER_LEG = {"event_ticker": "EVENT-B", "market_ticker": "MARKET-B", "side": "yes"}
METADATA = {
    "name": "A name",
    "title": "A title",
    "yes_sub_title": "Yes, above",
    "no_sub_title": "No, below",
    "rules_primary": "The first rule",
    "rules_secondary": "",
    "can_close_early": True,
    "event_ticker": "EVENT-A",
    "expected_expiration_ts": 1694721600,
    "strike_type": "between",
    "floor_strike": 4487,
    "cap_strike": 4487.250,
    "custom_strike": {"Team": "A-1", "Weight": 1.5},
}
_LIFECYCLE = {
    "market_ticker": "MARKET-A",
    "event_type": "created",
    "exchange_index": 0,
    "open_ts": 1694635200,
    "close_ts": 1694721600,
    "is_deactivated": False,
    "determination_ts": 1694721700,
    "result": "yes",
    "settlement_value": "1.0000",
    "settled_ts": 1694721800,
    "additional_metadata": METADATA,
    "price_level_structure": "deci_cent",
}
_RFQ = {
    "id": "rfq-1",
    "creator_id": "creator-1",
    "market_ticker": "MARKET-A",
    "event_ticker": "EVENT-A",
    "contracts_fp": "100.00",
    "target_cost_dollars": "0.3500",
}
_QUOTE = {
    "quote_id": "quote-1",
    "rfq_id": "rfq-1",
    "quote_creator_id": "creator-2",
    "rfq_creator_id": "creator-1",
    "market_ticker": "MARKET-A",
    "event_ticker": "EVENT-A",
    "yes_bid_dollars": "0.3500",
    "no_bid_dollars": "0.6500",
    "yes_contracts_offered_fp": "100.00",
    "no_contracts_offered_fp": "200.00",
    "rfq_target_cost_dollars": "0.3500",
    "subaccount": 3,
}
_BATCH_QUOTE = {key: value for key, value in _QUOTE.items() if "creator" not in key and key != "subaccount"}
_AVERAGE = {
    "value": "68000.12000000",
    "window_size": 60,
    "window_start_ts_ms": 1709999940123,
    "window_end_ts_exclusive": 1710000000123,
}
_BODIES: dict[str, dict[str, Any]] = {
    "user_order": {
        "order_id": "ee587a1c-8b87-4dcf-b721-9f6f790619fa",
        "user_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
        "ticker": "MARKET-A",
        "exchange_index": 2,
        "status": "resting",
        "side": "yes",
        "is_yes": True,
        "outcome_side": "yes",
        "book_side": "bid",
        "yes_price_dollars": "0.3550",
        "fill_count_fp": "2.50",
        "remaining_count_fp": "7.50",
        "initial_count_fp": "10.00",
        "taker_fill_cost_dollars": "0.500000",
        "maker_fill_cost_dollars": "0.387500",
        "taker_fees_dollars": "0.012345",
        "maker_fees_dollars": "-0.000001",
        "client_order_id": "my-order-1",
        "order_group_id": "og-1",
        "self_trade_prevention_type": "taker_at_cross",
        "created_time": "2024-12-01T10:00:00.5Z",
        "last_update_time": "2024-12-01T10:30:00Z",
        "expiration_time": "2024-12-01T11:00:00Z",
        "created_ts_ms": 1733047200500,
        "last_updated_ts_ms": 1733049000000,
        "expiration_ts_ms": 1733050800000,
        "last_update_reason": "Trade",
        "subaccount_number": 0,
    },
    "market_position": {
        "user_id": "user-1",
        "market_ticker": "MARKET-A",
        "position_fp": "-100.00",
        "position_cost_dollars": "50.0000",
        "realized_pnl_dollars": "-10.2500",
        "fees_paid_dollars": "1.0001",
        "position_fee_cost_dollars": "0.5000",
        "volume_fp": "15.00",
        "subaccount": 3,
    },
    "order_group_updates": {
        "event_type": "limit_updated",
        "order_group_id": "og-1",
        "contracts_limit_fp": "150.00",
        "ts_ms": 1733047200000,
    },
    "market_lifecycle_v2": {
        **_LIFECYCLE,
        "price_ranges": [
            {"start": "0.0000", "end": "0.1000", "step": "0.0010"},
            {"start": "0.1000", "end": "1.0000", "step": "0.0100"},
        ],
        "strike_type": "between",
        "floor_strike": 95000,
        "cap_strike": 95250.125,
        "custom_strike": {"Name": "x"},
        "yes_sub_title": "above",
    },
    "multivariate_market_lifecycle": _LIFECYCLE,
    "event_lifecycle": {
        "event_ticker": "EVENT-A",
        "exchange_index": 0,
        "title": "A title",
        "subtitle": "A subtitle",
        "collateral_return_type": "MECNET",
        "series_ticker": "SERIES",
        "strike_date": 1694721600,
        "strike_period": "15 min",
    },
    "event_fee_update": {
        "event_ticker": "EVENT-A",
        "fee_type_override": "quadratic",
        "fee_multiplier_override": 0.35,
    },
    "rfq_created": {
        **_RFQ,
        "created_ts": "2024-12-01T10:00:00Z",
        "mve_collection_ticker": "COMBO",
        "mve_selected_legs": [LEG, OTHER_LEG],
    },
    "rfq_deleted": {**_RFQ, "deleted_ts": "2024-12-01T10:05:00Z"},
    "quote_created": {**_QUOTE, "created_ts": "2024-12-01T10:02:00Z"},
    "quote_accepted": {**_QUOTE, "accepted_side": "yes", "contracts_accepted_fp": "50.00"},
    "quote_executed": {
        "quote_id": "quote-1",
        "rfq_id": "rfq-1",
        "quote_creator_id": "creator-2",
        "rfq_creator_id": "creator-1",
        "order_id": "order-1",
        "client_order_id": "my-order-1",
        "market_ticker": "MARKET-A",
        "executed_ts": "2024-12-01T10:05:00.123456789Z",
        "subaccount": 3,
        "rfq_batch_id": "batch-1",
    },
    "rfq_batch_created": {
        "id": "batch-1",
        "creator_id": "creator-1",
        "created_ts": "2024-12-01T10:00:00Z",
        "legs": [LEG, OTHER_LEG],
        "rfqs": [
            {
                **{key: value for key, value in _RFQ.items() if key != "creator_id"},
                "mve_collection_ticker": "COMBO",
                "leg_indices": [0, 1],
            },
            {"id": "rfq-2", "market_ticker": "MARKET-B", "leg_indices": []},
        ],
    },
    "rfq_batch_deleted": {
        "id": "batch-1",
        "creator_id": "creator-1",
        "rfq_ids": ["rfq-1", "rfq-2"],
        "deleted_ts": "2024-12-01T10:05:00Z",
    },
    "batch_quote_created": {
        "batch_quote_id": "batch-quote-1",
        "rfq_batch_id": "batch-1",
        "quote_creator_id": "creator-2",
        "created_ts": "2024-12-01T10:02:00Z",
        "quotes": [_BATCH_QUOTE, {"quote_id": "quote-2"}],
        "subaccount": 2,
    },
    "rfq_batch_best_quotes": {
        "rfq_batch_id": "batch-1",
        "client_batch_id": "my-batch",
        "version": 7,
        "updated_ts": "2024-12-01T10:02:30Z",
        "yes_complete": False,
        "no_complete": True,
        "rfqs": [
            {
                **{key: value for key, value in _BATCH_QUOTE.items() if key != "quote_id"},
                "contracts_fp": "6.25",
            },
            {"rfq_id": "rfq-2"},
        ],
        "subaccount": 2,
    },
    "batch_quote_accepted": {
        "batch_quote_id": "batch-quote-1",
        "rfq_batch_id": "batch-1",
        "quote_creator_id": "creator-2",
        "rfq_creator_id": "creator-1",
        "accepted_side": "no",
        "accepted_ts": "2024-12-01T10:03:00Z",
        "quotes": [{**_BATCH_QUOTE, "contracts_accepted_fp": "20.00"}],
        "subaccount": 2,
    },
    "rfq_batch_executed": {
        "rfq_batch_id": "batch-1",
        "client_batch_id": "my-batch",
        "rfq_creator_id": "creator-1",
        "executed_rfq_ids": ["rfq-1"],
        "failed_rfq_ids": ["rfq-2"],
        "executed_ts": "2024-12-01T10:03:05Z",
        "close_reason": "partially executed",
        "subaccount": 2,
    },
    "batch_quote_executed": {
        "batch_quote_id": "batch-quote-1",
        "rfq_batch_id": "batch-1",
        "rfq_creator_id": "creator-1",
        "executed_rfq_ids": ["rfq-1"],
        "failed_rfq_ids": [],
        "executed_ts": "2024-12-01T10:03:05Z",
        "close_reason": "executed",
        "subaccount": 2,
    },
    "cfbenchmarks_value": {
        "index_id": "BRTI",
        "received_at": 1710000000123,
        "data": '{"type":"value","id":"BRTI","time":1710000000100,"value":"68000.12","more":0.10}',
        "avg_60s_data": _AVERAGE,
        "last_60s_windowed_average_15min": {**_AVERAGE, "value": "68000.23000000"},
    },
    "cfbenchmarks_value_indexlist": {"index_ids": ["BRTI", "ETHUSD_RTI"]},
    "cfbenchmarks_value_5hz": {
        "index_id": "BRTI",
        "value_usd": "68000.12000001",
        "source_ts_ms": 1710000000323,
        "received_at": 1710000000341,
        "data": '{"type":"value","id":"BRTI","time":1710000000323,"value":"68000.12"}',
    },
    "cfbenchmarks_value_5hz_indexlist": {"index_ids": ["BRTI"]},
    "pyth_value": {
        "underlying_ticker": "Metal.XAU/USD",
        "value_usd": "2365.12345000",
        "source_ts_ms": 1710000000100,
        "received_at": 1710000000123,
    },
    "pyth_value_underlying_list": {"underlying_tickers": ["Metal.XAG/USD", "Metal.XAU/USD"]},
    "ticker_v2": {
        "market_ticker": "MARKET-A",
        "market_id": "9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1",
        "price_dollars": "0.480",
        "volume_delta_fp": "100.00",
        "open_interest_delta_fp": "-10.00",
        "dollar_volume_delta": 50,
        "dollar_open_interest_delta": -5,
        "ts": 1669149841,
        "ts_ms": 1669149841250,
    },
    "multivariate_lookup": {
        "collection_ticker": "COLLECTION",
        "event_ticker": "COLLECTION-E",
        "market_ticker": "COLLECTION-E-M",
        "selected_markets": [LEG, OTHER_LEG],
    },
}
FLAT: dict[str, dict[str, Any]] = {
    "fill": FILL,
    **{
        type_: {"type": type_, "sid": 15, "seq": 4, "sending_ts_ms": 1785901540750, "msg": body}
        for type_, body in _BODIES.items()
    },
}
"""One frame of each FlatMessage type, with every field of the newest schema."""

OLD: dict[str, dict[str, Any]] = {
    "fill": {"yes_price": 75, "count": 278, "post_position": -500},
    "market_position": {
        "position": -100,
        "volume": 15,
        "position_cost": 500000,
        "realized_pnl": -102500,
        "fees_paid": 10001,
        "position_fee_cost": 5000,
    },
    "rfq_created": {"contracts": 100, "target_cost": 3500},
    "rfq_deleted": {"contracts": 100, "target_cost": 3500},
    "quote_created": {
        "yes_bid": 35,
        "no_bid": 65,
        "yes_contracts_offered": 100,
        "no_contracts_offered": 200,
        "rfq_target_cost": 3500,
    },
    "quote_accepted": {
        "yes_bid": 35,
        "no_bid": 65,
        "yes_contracts_offered": 100,
        "no_contracts_offered": 200,
        "rfq_target_cost": 3500,
        "contracts_accepted": 50,
    },
    "ticker_v2": {"price": 48, "volume_delta": 100, "open_interest_delta": -10},
}
"""What the integer format had instead of the strings, with the same values (PROTOCOL.md 8)."""


class _Absent:
    def __repr__(self) -> str:  # part of test names, which must be the same in every process
        return "ABSENT"


ABSENT: Any = _Absent()


def text(frame: dict[str, Any], top: dict[str, Any] | None = None, **body: Any) -> str:
    """The frame as JSON, with fields of msg (``body``) and ``top`` changed, or left out if ABSENT."""
    merged = {**frame, **(top or {})}
    if body:
        merged["msg"] = {key: value for key, value in {**frame["msg"], **body}.items() if value is not ABSENT}
    return json.dumps({key: value for key, value in merged.items() if value is not ABSENT})
