"""wire_fields() and ready_fields(), from which the tables in the documentation are made."""

from __future__ import annotations

from kalshi_feed.messages import (
    MESSAGE_TYPES,
    Ok,
    OrderbookDelta,
    Subscribed,
    Ticker,
    UnknownMessage,
    Unsubscribed,
    UserOrder,
    decode,
    ready_fields,
    wire_fields,
)

from .frames import DATA, FLAT, text


def test_wire_fields() -> None:
    assert wire_fields(OrderbookDelta)["price"] == "price_cents"
    assert wire_fields(Ticker)["time"] == "time_text"
    assert wire_fields(UserOrder)["ticker"] == "ticker"
    assert wire_fields(Subscribed) == {"channel": "channel", "sid": "sid"}
    assert set(wire_fields(Ok)) >= {"market_tickers", "market_ids", "index_ids", "underlying_tickers"}
    assert wire_fields(Unsubscribed) == wire_fields(UnknownMessage) == {}


def test_ready_fields() -> None:
    assert ready_fields(OrderbookDelta) == ("time", "price", "delta")
    assert set(ready_fields(Ticker)) >= {"time", "price", "yes_bid", "volume"}
    assert set(ready_fields(UserOrder)) >= {"market_ticker", "yes_price", "taker_fees", "created_at", "time"}
    assert not {"msg", "extra", "sent_at", "ticker"} & set(ready_fields(UserOrder))
    assert ready_fields(Unsubscribed) == ready_fields(UnknownMessage) == ()


def test_they_name_attributes() -> None:
    for type_, frame in {**DATA, **FLAT}.items():
        cls = MESSAGE_TYPES[type_]
        message = decode(text(frame))
        for name in (*wire_fields(cls).values(), *ready_fields(cls)):
            getattr(message, name)
        assert set(frame["msg"]) <= set(wire_fields(cls))
