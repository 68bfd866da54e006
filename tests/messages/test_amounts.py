"""Amounts that are JSON numbers or unreadable: at most the field is lost, not the message. Row S41."""

from __future__ import annotations

import copy
import json
import pickle
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed.errors import ProtocolError
from kalshi_feed.messages import (
    Decoder,
    Fill,
    Message,
    MultivariateMarketLifecycle,
    OrderbookDelta,
    OrderbookSnapshot,
    RfqCreated,
    Ticker,
    Trade,
    decode,
)
from kalshi_feed.messages.decoder import unread

from .frames import ABSENT, DELTA, FILL, FLAT, SNAPSHOT, TICKER, TRADE, text

EXACT = ["0.48", "0.4800", "1", "0", "0.5", "0.0001", "1.0"]
INEXACT = [
    "0.1234567",
    "1e0",
    "10e-1",
    "1E2",
    "NaN",
    "Infinity",
    "1e400",
    "1e99999999999999999999",
    "0.50000000000000000001",
]


def with_literal(frame: dict[str, Any], name: str, literal: str) -> bytes:
    """The frame with our own JSON at that key of ``msg``."""
    mark = "--here--"
    return text(frame, **{name: mark}).replace(json.dumps(mark), literal).encode()


def taken(frame: bytes) -> Message:
    """The message, the same alone and in a batch."""
    (batched,) = Decoder().decode_batch([frame])
    assert batched == decode(frame)
    assert isinstance(batched, Message)
    return batched


def refused(frame: bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        decode(frame)
    return caught.value


@pytest.mark.parametrize("literal", EXACT)
def test_S41_an_exact_number_is_an_amount_on_book_messages(literal: str) -> None:
    delta = taken(with_literal(DELTA, "price_dollars", literal))
    assert isinstance(delta, OrderbookDelta)
    assert (delta.price_dollars, delta.price) == (literal, Decimal(literal))
    delta = taken(with_literal(DELTA, "delta_fp", "-" + literal[:4]))
    assert isinstance(delta, OrderbookDelta)
    assert delta.delta == -Decimal(literal[:4])
    snapshot = taken(with_literal(SNAPSHOT, "yes_dollars_fp", f'[[{literal},{literal[:4]}],[0.25,"1"]]'))
    assert isinstance(snapshot, OrderbookSnapshot)
    held = {level.price: level.quantity for level in snapshot.yes}
    assert held == {
        price: size
        for price, size in ((Decimal(literal), Decimal(literal[:4])), (Decimal("0.25"), 1))
        if size
    }
    snapshot = taken(
        with_literal(SNAPSHOT, "yes_dollars_fp", "null").replace(
            b'"no_dollars_fp"', b'"yes_dollars":[[0.25,5]],"no_dollars_fp"'
        )
    )
    assert isinstance(snapshot, OrderbookSnapshot)
    assert snapshot.yes == ((Decimal("0.25"), Decimal(5)),)


@pytest.mark.parametrize("literal", INEXACT)
def test_S41_what_is_not_exact_is_refused_where_there_is_no_guessing(literal: str) -> None:
    for frame, names in (
        (DELTA, ("price_dollars", "delta_fp")),
        (TRADE, ("yes_price_dollars", "no_price_dollars", "count_fp")),
        (FILL, ("yes_price_dollars", "count_fp")),
    ):
        for name in names:
            error = refused(with_literal(frame, name, literal))
            assert error.type in (frame["type"], None)
    for level in (f"[{literal},1]", f'["0.5",{literal}]'):
        refused(with_literal(SNAPSHOT, "no_dollars_fp", f"[{level}]"))


@pytest.mark.parametrize(
    "frame", [TICKER, TRADE, *(FLAT[type_] for type_ in sorted(FLAT))], ids=lambda frame: frame["type"]
)
def test_S41_every_amount_may_be_a_number(frame: dict[str, Any]) -> None:
    names = [
        name
        for name in frame["msg"]
        if name.endswith(("_dollars", "_fp")) or name in ("fee_cost", "settlement_value", "value_usd")
    ]
    for name in names:
        for literal in ("0.25", "1"):
            message = taken(with_literal(frame, name, literal))
            assert getattr(message, name) == literal
            assert message == decode(text(frame, **{name: literal}))
            assert not unread(message)
    assert names or frame["type"] not in (
        "fill",
        "user_order",
        "ticker",
        "trade",
        "market_position",
        "quote_created",
    )


def test_S41_no_float_comes_near_a_value() -> None:
    message = taken(with_literal(FILL, "fee_cost", "123456789.123456"))
    assert isinstance(message, Fill)
    assert message.fee == Decimal("123456789.123456")
    delta = taken(with_literal(DELTA, "delta_fp", "9999999999999.99"))
    assert isinstance(delta, OrderbookDelta)
    assert delta.units()[1] == 999_999_999_999_999
    trade = taken(with_literal(TRADE, "yes_price_dollars", "0.1"))
    assert isinstance(trade, Trade)
    assert trade.yes_price == Decimal("0.1")
    for literal in ("36.0", "36.00000000000000000001", "3600e-2"):  # the old integers are integers
        refused(with_literal(TRADE, "yes_price", literal))


@pytest.mark.parametrize(
    "junk", ["", "NaN", "1e2", " 1.00", "+1.00", "\u0661.00", "9" * 50, "0.123456789", True, [], {"a": 1}]
)
def test_S41_a_money_field_that_cannot_be_read_costs_that_field(junk: Any) -> None:
    fill = taken(text(FILL, fee_cost=junk).encode())
    assert isinstance(fill, Fill)
    assert (fill.fee_cost, fill.fee, fill.count) == (None, None, Decimal(278))
    determined = taken(text(FLAT["multivariate_market_lifecycle"], settlement_value=junk).encode())
    assert isinstance(determined, MultivariateMarketLifecycle)
    assert (determined.settlement, determined.result) == (None, "yes")
    for message, name in ((fill, "fee_cost"), (determined, "settlement_value")):
        assert unread(message) == message.extra == {name: junk}
        assert message.msg[name] == junk
        assert pickle.loads(pickle.dumps(message)) == copy.copy(message) == message
    if junk:
        ticker = taken(text(TICKER, volume_fp=junk, ts=[]).encode())
        assert isinstance(ticker, Ticker)
        assert ticker == decode(text(TICKER, volume_fp=junk, ts=ABSENT))
        assert (ticker.volume, ticker.price) == (None, Decimal("0.48"))
        assert unread(ticker) == ticker.extra == {"volume_fp": junk}
        twin = pickle.loads(pickle.dumps(ticker))
        assert (twin, twin.extra) == (ticker, ticker.extra)


def test_S41_inside_a_part_it_costs_that_field_too() -> None:
    legs = [
        {"market_ticker": "A", "yes_settlement_value_dollars": ""},
        {"market_ticker": "B", "yes_settlement_value_dollars": 0.5},
    ]
    message = taken(text(FLAT["rfq_created"], mve_selected_legs=legs).encode())
    assert isinstance(message, RfqCreated)
    assert message.mve_selected_legs is not None
    assert [leg.yes_settlement_value for leg in message.mve_selected_legs] == [None, Decimal("0.5")]
    sent = json.loads(json.dumps(legs), parse_float=Decimal)
    assert unread(message) == message.extra == {"mve_selected_legs": sent}
    assert message.msg["mve_selected_legs"] == sent


def test_what_only_the_decoder_fills_cannot_be_sent() -> None:
    for sent in ('""', '"AAAA"', '"e30="', "5", "null", "{}"):
        frame = text(TICKER).replace("{", '{"extra_json":' + sent + ",", 1).encode()
        message = taken(frame)
        assert message == decode(text(TICKER))
        assert message.extra == {}
