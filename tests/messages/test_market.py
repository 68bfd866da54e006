"""The ticker and trade messages in both generations."""

from __future__ import annotations

import json
import pickle
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed.errors import ProtocolError
from kalshi_feed.messages import Ticker, Trade, decode

from .frames import ABSENT, TICKER, TRADE, text

MOMENT = datetime(2022, 11, 22, 20, 44, 1, 250000, tzinfo=timezone.utc)


def ticker(**body: Any) -> Ticker:
    message = decode(text(TICKER, **body))
    assert isinstance(message, Ticker)
    return message


def trade(**body: Any) -> Trade:
    message = decode(text(TRADE, **body))
    assert isinstance(message, Trade)
    return message


def test_ticker_fields() -> None:
    message = ticker(Clock=7)
    for name, value in TICKER["msg"].items():
        if name != "time":
            assert getattr(message, name) == value, name
    assert (message.sid, message.seq, message.type, message.clock) == (11, None, "ticker", 7)
    assert message.time_text == "2022-11-22T20:44:01Z"
    assert message.time == MOMENT
    ready = {
        name: str(getattr(message, name))
        for name in ("price", "yes_bid", "yes_ask", "volume", "open_interest")
    }
    assert ready == {
        "price": "0.4800",
        "yes_bid": "0.4500",
        "yes_ask": "0.5300",
        "volume": "33896.00",
        "open_interest": "20422.50",
    }
    assert message.yes_bid_size == Decimal(300)
    assert message.yes_ask_size == Decimal(150)
    assert message.last_trade_size == Decimal(25)
    assert pickle.loads(pickle.dumps(message)) == message
    with pytest.raises(AttributeError):
        message.msg.price_dollars = "1"  # type: ignore[misc]


def test_ticker_may_miss_everything() -> None:
    message = decode('{"type":"ticker","msg":{}}')
    names = [
        name
        for name in dir(Ticker)
        if not name.startswith("_") and name not in ("type", "msg", "to_dict", "source")
    ]
    assert len(names) > 25
    for name in names:
        assert not getattr(message, name), name


def test_ticker_generations_are_equal() -> None:
    old = {"price": 48, "yes_bid": 45, "yes_ask": 53, "volume": 33896, "open_interest": 20422}
    gone = ("price_dollars", "yes_bid_dollars", "yes_ask_dollars", "volume_fp", "open_interest_fp")
    new = ticker(open_interest_fp="20422.00")
    message = ticker(**old, **dict.fromkeys(gone, ABSENT))
    for name in old:
        assert str(getattr(message, name)) == str(getattr(new, name)), name
    assert (message.price_cents, message.yes_bid_cents, message.yes_ask_cents) == (48, 45, 53)
    assert (message.volume_int, message.open_interest_int) == (33896, 20422)


def test_an_empty_string_on_a_ticker_is_absent() -> None:
    message = ticker(price_dollars="", volume_fp="", yes_bid_size_fp="")
    assert (message.price, message.volume, message.yes_bid_size) == (None, None, None)
    assert message.price_dollars == ""
    assert ticker(price_dollars="", price=48).price == Decimal("0.48")


@pytest.mark.parametrize(
    ("body", "second"),
    [
        ({"ts_ms": ABSENT}, 1),
        ({"ts_ms": ABSENT, "time": "x"}, 1),
        ({"ts_ms": ABSENT, "time": ABSENT, "ts": 1669149842}, 2),
        ({"ts_ms": ABSENT, "time": ABSENT, "ts": "2022-11-22T20:44:03.5Z"}, 3),
    ],
)
def test_ticker_time(body: dict[str, Any], second: int) -> None:
    moment = ticker(**body).time
    assert moment is not None
    assert moment.second == second


PRICES = ["price_dollars", "yes_bid_dollars", "yes_ask_dollars"]
SIZES = ["volume_fp", "open_interest_fp", "yes_bid_size_fp", "yes_ask_size_fp", "last_trade_size_fp"]


def test_a_tickers_market_is_strict() -> None:
    with pytest.raises(ProtocolError) as caught:
        ticker(market_ticker=5)
    assert (caught.value.type, caught.value.sid) == ("ticker", 11)


@pytest.mark.parametrize(
    "wrong", ["NaN", "1e1", " 0.5", "-0.5", "0.123456", -1, 0.123456, True, [], "\u0661"]
)
@pytest.mark.parametrize("name", PRICES + SIZES)
def test_ticker_numbers_are_checked(name: str, wrong: Any) -> None:
    message = ticker(**{name: wrong})
    assert getattr(message, name) is None
    assert message.extra == json.loads(json.dumps({name: wrong}), parse_float=Decimal)
    assert message.msg == ticker(**{name: ABSENT}).msg


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("price", 101),
        ("price", -1),
        ("yes_bid", 4.5),
        ("volume", -1),
        ("open_interest", "5"),
        ("yes_ask", ""),
    ],
)
def test_ticker_old_numbers_are_checked(name: str, wrong: Any) -> None:
    message = ticker(**{name: wrong})
    assert message.msg == ticker().msg
    assert message.extra == {name: wrong}


def test_trade_fields() -> None:
    message = trade()
    for name, value in TRADE["msg"].items():
        assert getattr(message, name) == value, name
    assert (message.sid, message.seq, message.type) == (3, 2, "trade")
    assert [str(value) for value in (message.yes_price, message.no_price, message.count)] == [
        "0.3600",
        "0.6400",
        "136.00",
    ]
    assert message.time == MOMENT
    assert pickle.loads(pickle.dumps(message)) == message


def test_trade_may_miss_everything() -> None:
    message = decode('{"type":"trade","msg":{}}')
    for name in dir(Trade):
        if not name.startswith("_") and name not in ("type", "msg", "to_dict", "source"):
            assert not getattr(message, name), name


def test_trade_generations_are_equal() -> None:
    old = {"yes_price": 36, "no_price": 64, "count": 136}
    message = trade(**old, **dict.fromkeys(("yes_price_dollars", "no_price_dollars", "count_fp"), ABSENT))
    for name in old:
        assert str(getattr(message, name)) == str(getattr(trade(), name)), name
    assert (message.yes_price_cents, message.no_price_cents, message.count_int) == (36, 64, 136)


@pytest.mark.parametrize("ts", [1669149841, "2022-11-22T20:44:01Z"])
def test_trade_time_from_ts(ts: Any) -> None:
    assert trade(ts=ts, ts_ms=ABSENT).time == MOMENT.replace(microsecond=0)


@pytest.mark.parametrize("wrong", ["", "NaN", "1e1", " 0.5", "-0.5", "0.123456", -1, 0.123456, True, []])
@pytest.mark.parametrize("name", ["yes_price_dollars", "no_price_dollars", "count_fp"])
def test_trade_numbers_are_checked(name: str, wrong: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        trade(**{name: wrong})
    assert (caught.value.type, caught.value.sid, caught.value.seq) == ("trade", 3, 2)
