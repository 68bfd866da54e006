"""Markets, events, trades, fills, orders and positions as REST writes them.

Owns the names of the fields. Pure functions: times are arguments.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from . import wire
from .facts import rest_status
from .history import Kept, TradeRecord
from .markets import Market
from .wire import DOLLAR, go_time

_NOT_IN_REST = ("is_yes", "created_ts_ms", "last_updated_ts_ms", "expiration_ts_ms")
_OTHER_IDS = uuid.UUID("6d0b0c5a-0f3e-4c53-9a4e-2f6f0b8b7a11")


def other_id(trade_id: str) -> str:
    """The id that REST has for a trade or fill if it differs from the feed's; always the same one."""
    return str(uuid.uuid5(_OTHER_IDS, trade_id))


def market_json(market: Market, now_us: int) -> dict[str, Any]:
    """A Market. Its series is its event's: it has no such field."""
    facts, prices = market.facts, market.ticker_message(now_us)
    yes, no = market.best("yes"), market.best("no")
    found: dict[str, Any] = {
        "ticker": market.ticker,
        "event_ticker": market.event_ticker,
        "market_type": "binary",
        "title": facts.title,
        "yes_sub_title": facts.yes_sub_title,
        "no_sub_title": facts.no_sub_title,
        "status": rest_status(market.status, facts, now_us),
        "created_time": go_time(facts.created_us),
        "updated_time": go_time(facts.updated_us),
        "open_time": go_time(facts.open_us),
        "close_time": go_time(facts.close_us),
        "expected_expiration_time": go_time(facts.expiration_us),
        "latest_expiration_time": go_time(facts.expiration_us),
        "can_close_early": facts.can_close_early,
        "result": facts.result,
        "yes_bid_dollars": prices["yes_bid_dollars"],
        "yes_bid_size_fp": prices["yes_bid_size_fp"],
        "yes_ask_dollars": prices["yes_ask_dollars"],
        "yes_ask_size_fp": prices["yes_ask_size_fp"],
        "no_bid_dollars": wire.price_text(no or 0),
        "no_ask_dollars": wire.price_text(DOLLAR - (yes or 0)),
        "last_price_dollars": prices["price_dollars"],
        "volume_fp": prices["volume_fp"],
        "volume_24h_fp": prices["volume_fp"],  # an exchange that runs for a day is rare
        "open_interest_fp": prices["open_interest_fp"],
        "price_level_structure": facts.price_level_structure,
        "price_ranges": facts.price_ranges,
        "rules_primary": facts.rules_primary,
        "exchange_index": market.exchange_index,
        **facts.strikes,
    }
    if facts.result:
        found["settlement_value_dollars"] = wire.price_text(market.settlement_value)
    if facts.settled_us is not None:
        found["settlement_ts"] = go_time(facts.settled_us)
    return found


def event_json(event_ticker: str, announced: Mapping[str, Any], series_ticker: str) -> dict[str, Any]:
    """An Event; ``announced`` is what the lifecycle channel said about it."""
    found: dict[str, Any] = {
        "event_ticker": event_ticker,
        "series_ticker": series_ticker,
        "title": announced.get("title") or f"What about {event_ticker}?",
        "sub_title": announced.get("subtitle", ""),
        "category": "Simulation",
        "collateral_return_type": announced.get("collateral_return_type", ""),
        "mutually_exclusive": False,
        "exchange_index": announced.get("exchange_index", 0),
    }
    if "strike_date" in announced:
        found["strike_date"] = go_time(int(announced["strike_date"]) * 1_000_000)
    if "strike_period" in announced:
        found["strike_period"] = announced["strike_period"]
    return found


def series_json(series_ticker: str, volume: int | None) -> dict[str, Any]:
    """A Series, with its ``volume`` if that is not None."""
    found: dict[str, Any] = {
        "ticker": series_ticker,
        "title": f"The series {series_ticker}",
        "category": "Simulation",
        "frequency": "custom",
        "tags": ["simulated"],
        "fee_type": "quadratic",
        "fee_multiplier": 1,
    }
    if volume is not None:
        found["volume_fp"] = wire.size_text(volume)
    return found


def book_json(market: Market, depth: int) -> dict[str, Any]:
    """A book: the best ``depth`` levels of each side (0: all), ascending."""
    found = {}
    for side in ("yes", "no"):
        levels = wire.levels(market.book[side])
        found[f"{side}_dollars"] = levels[-depth:] if depth else levels
    return {"orderbook_fp": found}


def trade_json(trade: TradeRecord, *, ids_differ: bool) -> dict[str, Any]:
    """A trade."""
    return {
        "trade_id": other_id(trade.trade_id) if ids_differ else trade.trade_id,
        "ticker": trade.ticker,
        "yes_price_dollars": wire.price_text(trade.yes_price),
        "no_price_dollars": wire.price_text(DOLLAR - trade.yes_price),
        "count_fp": wire.size_text(trade.count),
        "taker_side": trade.taker_side,
        "taker_outcome_side": trade.taker_side,
        "taker_book_side": "bid" if trade.taker_side == "yes" else "ask",
        "created_time": go_time(trade.created_us),
        "is_block_trade": False,
    }


def fill_json(kept: Kept, *, ids_differ: bool) -> dict[str, Any]:
    """A fill, from its message on the feed; its time is the message's, which has milliseconds."""
    msg = kept.msg
    fill_id = other_id(str(msg["trade_id"])) if ids_differ else msg["trade_id"]
    found: dict[str, Any] = {
        "fill_id": fill_id,
        "trade_id": fill_id,
        "order_id": msg["order_id"],
        "ticker": msg["market_ticker"],
        "market_ticker": msg["market_ticker"],
        "outcome_side": msg["outcome_side"],
        "book_side": msg["book_side"],
        "side": msg["side"],
        "action": msg["action"],
        "count_fp": msg["count_fp"],
        "yes_price_dollars": msg["yes_price_dollars"],
        "no_price_dollars": _no_price(msg["yes_price_dollars"]),
        "is_taker": msg["is_taker"],
        "created_time": go_time(fill_ms(kept) * 1000),
        "fee_cost": msg["fee_cost"],
        "subaccount_number": msg.get("subaccount", 0),
        "exchange_index": msg["exchange_index"],
        "ts": fill_ms(kept) // 1000,
    }
    if "client_order_id" in msg:
        found["client_order_id"] = msg["client_order_id"]
    return found


def fill_ms(kept: Kept) -> int:
    """When a fill was made, in milliseconds since 1970."""
    at = kept.msg.get("ts_ms")
    return at if isinstance(at, int) else kept.time_us // 1000


def order_json(kept: Kept) -> dict[str, Any]:
    """An order, from its message on the feed."""
    found = {name: value for name, value in kept.msg.items() if name not in _NOT_IN_REST}
    return {**found, "type": "limit", "no_price_dollars": _no_price(kept.msg["yes_price_dollars"])}


def positions_json(kept: Iterable[Kept]) -> list[dict[str, Any]]:
    """Market positions: those of all subaccounts in a market are one."""
    sums: dict[str, dict[str, int]] = {}
    for item in kept:
        mine = sums.setdefault(item.msg["market_ticker"], {"time_us": 0})
        mine["time_us"] = max(mine["time_us"], item.time_us)
        for name in ("quantity", "cost", "traded", "realized", "fees"):
            mine[name] = mine.get(name, 0) + item.msg[name]
    return [
        {
            "ticker": ticker,
            "position_fp": wire.size_text(mine["quantity"]),
            "market_exposure_dollars": wire.money_text(mine["cost"]),
            "total_traded_dollars": wire.money_text(mine["traded"]),
            "realized_pnl_dollars": wire.money_text(mine["realized"]),
            "fees_paid_dollars": wire.money_text(mine["fees"]),
            "last_updated_ts": go_time(mine["time_us"]),
        }
        for ticker, mine in sums.items()
    ]


def _no_price(yes_price: Any) -> Any:
    """The other outcome's price; a price that a test has made up may have none."""
    try:
        return wire.price_text(DOLLAR - wire.price_units(yes_price))
    except ValueError:
        return yes_price
