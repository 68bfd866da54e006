"""Trades, fills, orders and positions of REST as the feed's own messages."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed import Fill, MarketPosition, Message, Trade, UserOrder
from kalshi_feed.messages import MESSAGE_TYPES, decode, from_rest

TRADE: dict[str, Any] = {
    "trade_id": "t1",
    "ticker": "A",
    "yes_price_dollars": "0.3600",
    "no_price_dollars": "0.6400",
    "count_fp": "13.00",
    "taker_outcome_side": "yes",
    "taker_book_side": "bid",
    "created_time": "2026-11-30T12:00:00.722003Z",
    "is_block_trade": False,
}
FILL: dict[str, Any] = {
    "fill_id": "f1",
    "trade_id": "f1",
    "order_id": "o1",
    "ticker": "A",
    "market_ticker": "A",
    "outcome_side": "no",
    "book_side": "ask",
    "yes_price_dollars": "0.3600",
    "no_price_dollars": "0.6400",
    "count_fp": "2.00",
    "fee_cost": "0.0100",
    "is_taker": True,
    "created_time": "2026-11-30T12:00:00Z",
    "subaccount_number": 3,
    "ts": 1796040000,
}
ORDER: dict[str, Any] = {
    "order_id": "o1",
    "ticker": "A",
    "status": "brand new",
    "yes_price_dollars": "0.36",
    "no_price_dollars": "0.64",
    "remaining_count_fp": "2.00",
    "type": "limit",
}
POSITION: dict[str, Any] = {"ticker": "A", "position_fp": "-3.00", "market_exposure_dollars": "1.2000"}
ALL: list[Message] = [
    from_rest.trade(TRADE),
    from_rest.fill(FILL),
    from_rest.order(ORDER),
    from_rest.position(POSITION),
]


def test_the_fields_are_the_feeds() -> None:
    trade, fill, order, position = ALL
    assert isinstance(trade, Trade) and isinstance(fill, Fill)
    assert isinstance(order, UserOrder) and isinstance(position, MarketPosition)
    assert (trade.market_ticker, trade.trade_id, trade.count) == ("A", "t1", 13)
    assert trade.time == datetime(2026, 11, 30, 12, 0, 0, 722_000, timezone.utc)  # the feed has milliseconds
    assert (fill.market_ticker, fill.trade_id, fill.fee, fill.subaccount) == ("A", "f1", Decimal("0.01"), 3)
    assert fill.time == datetime(2026, 11, 30, 12, tzinfo=timezone.utc) and fill.extra == {}
    assert (order.market_ticker, order.status, order.extra) == ("A", "brand new", {"type": "limit"})
    assert (position.position, position.extra) == (-3, {"market_exposure_dollars": "1.2000"})


def test_a_fill_has_the_id_that_the_feed_has() -> None:
    assert from_rest.fill({**FILL, "trade_id": "old name"}).trade_id == "f1"
    assert from_rest.fill({**FILL, "fill_id": None}).trade_id == "f1"


@pytest.mark.parametrize("message", ALL, ids=lambda message: message.type)
def test_they_say_where_they_come_from(message: Message) -> None:
    live = decode(f'{{"type": "{message.type}", "msg": {{}}}}')
    assert (message.source, live.source) == ("rest", "feed")
    assert isinstance(message, MESSAGE_TYPES[message.type]) and type(message).__name__ == type(live).__name__
    assert message.to_dict().keys() == live.to_dict().keys()
    assert (message.to_dict()["source"], live.to_dict()["source"]) == ("rest", "feed")
    assert f"{type(live).__name__}(A source rest " in repr(message) and "source" not in repr(live)
    for twin in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert (twin, twin.source, type(twin)) == (message, "rest", type(message))


def test_other_types_have_a_source_too_but_no_key_for_it() -> None:
    ticker = decode('{"type": "ticker", "msg": {}}')
    assert ticker.source == "feed" and "source" not in ticker.to_dict()


def test_the_wire_cannot_say_it() -> None:
    assert decode('{"type": "trade", "source": "rest", "msg": {"source": "rest"}}').source == "feed"
    assert from_rest.trade({**TRADE, "source": "feed"}).source == "rest"


@pytest.mark.parametrize(
    ("read", "wire"),
    [
        (from_rest.trade, {**TRADE, "trade_id": ""}),
        (from_rest.trade, {**TRADE, "count_fp": "-1.00"}),
        (from_rest.trade, {**TRADE, "created_time": "yesterday"}),
        (from_rest.fill, {**FILL, "yes_price_dollars": "1.5"}),
        (from_rest.fill, {**FILL, "fill_id": None, "trade_id": 7}),
        (from_rest.order, {"ticker": "A"}),
        (from_rest.position, {"ticker": ["A"]}),
    ],
)
def test_what_matters_must_be_readable(read: Any, wire: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        read(wire)


@pytest.mark.parametrize("message", ALL, ids=lambda message: message.type)
def test_as_json_they_are_the_same_messages(message: Message) -> None:
    again = from_rest.from_json(from_rest.to_json(message))
    assert again == message and type(again) is type(message) and again.source == "rest"
    with pytest.raises(ValueError, match="'ticker' does not come over REST"):
        from_rest.from_json(b'{"type":"ticker","msg":{}}')
