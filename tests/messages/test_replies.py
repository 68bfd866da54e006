"""Answers to commands, in their current and older forms (PROTOCOL.md 4, 8)."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from kalshi_feed.errors import ProtocolError
from kalshi_feed.messages import ErrorMessage, ListSubscriptions, Ok, Reply, Subscribed, Unsubscribed, decode


def reply(**frame: Any) -> Any:
    message = decode(json.dumps(frame))
    assert isinstance(message, Reply)
    assert pickle.loads(pickle.dumps(message)) == message
    assert message.type == frame["type"]
    return message


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"id": 1, "msg": {"channel": "orderbook_delta", "sid": 4}}, (1, "orderbook_delta", 4)),
        ({"msg": {"channel": "orderbook_delta", "sid": 4}}, (None, "orderbook_delta", 4)),
        ({"id": 1, "channel": "orderbook_delta"}, (1, "orderbook_delta", None)),  # 2025 guide
        ({"id": 1, "channel": "orderbook_delta", "sid": 4}, (1, "orderbook_delta", 4)),
        ({"id": 1, "sid": 4, "msg": {"channel": "orderbook_delta"}}, (1, "orderbook_delta", 4)),
        ({"id": 1, "channel": "old", "sid": 9, "msg": {"channel": "new", "sid": 4}}, (1, "new", 4)),
        ({"id": 1}, (1, None, None)),
        ({"id": 1, "msg": {}}, (1, None, None)),
        ({"id": None, "msg": None}, (None, None, None)),
    ],
)
def test_subscribed(frame: dict[str, Any], expected: tuple[object, ...]) -> None:
    message = reply(type="subscribed", **frame)
    assert isinstance(message, Subscribed)
    assert (message.id, message.channel, message.sid) == expected
    assert message.seq is None
    assert message.market_ticker is None


def test_unsubscribed() -> None:
    message = reply(type="unsubscribed", id=102, sid=2, seq=7, sending_ts_ms=1669149841234)
    assert isinstance(message, Unsubscribed)
    assert (message.id, message.sid, message.seq, message.sending_ts_ms) == (102, 2, 7, 1669149841234)
    assert reply(type="unsubscribed", sid=2).seq is None


@pytest.mark.parametrize("frame", [{"msg": {"market_tickers": ["A", "B"]}}, {"market_tickers": ["A", "B"]}])
def test_ok_with_markets(frame: dict[str, Any]) -> None:
    message = reply(type="ok", id=123, sid=456, seq=222, **frame)
    assert isinstance(message, Ok)
    assert (message.id, message.sid, message.seq) == (123, 456, 222)
    assert message.market_tickers == ("A", "B")
    assert message.subscriptions is None


def test_ok_prefers_the_list_inside() -> None:
    assert reply(type="ok", market_tickers=["OLD"], msg={"market_tickers": ["NEW"]}).market_tickers == (
        "NEW",
    )
    assert reply(type="ok", market_tickers=["OLD"], msg={"market_ids": ["i"]}).market_tickers == ("OLD",)


def test_ok_with_other_lists() -> None:
    message = reply(
        type="ok", msg={"market_ids": ["i"], "index_ids": ["all"], "underlying_tickers": ["Metal.XAU/USD"]}
    )
    assert (message.market_ids, message.index_ids, message.underlying_tickers) == (
        ("i",),
        ("all",),
        ("Metal.XAU/USD",),
    )
    assert message.market_tickers is None


@pytest.mark.parametrize("frame", [{}, {"msg": None}, {"msg": {}}])
def test_ok_without_lists(frame: dict[str, Any]) -> None:
    message = reply(type="ok", id=1, sid=2, seq=3, **frame)
    for name in (
        "market_tickers",
        "market_ids",
        "index_ids",
        "underlying_tickers",
        "subscriptions",
        "market_ticker",
    ):
        assert getattr(message, name) is None, name


ENTRIES = [{"channel": "orderbook_delta", "sid": 1}, {"channel": "fill", "sid": 3, "more": "x"}]


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "ok", "msg": ENTRIES},
        {"type": "ok", "subscriptions": ENTRIES},
        {"type": "list_subscriptions", "subscriptions": ENTRIES},
        {"type": "list_subscriptions", "msg": ENTRIES},
    ],
)
def test_list_of_subscriptions(frame: dict[str, Any]) -> None:
    message = reply(id=3, **frame)
    assert isinstance(message, Ok)
    assert isinstance(message, ListSubscriptions) == (frame["type"] == "list_subscriptions")
    assert message.subscriptions == (("orderbook_delta", 1), ("fill", 3))
    assert message.market_tickers is None
    assert message.market_ids is message.index_ids is message.underlying_tickers is None


def test_empty_list_of_subscriptions() -> None:
    assert reply(type="ok", msg=[]).subscriptions == ()


def test_error() -> None:
    message = reply(type="error", id=123, sid=4, seq=9, msg={"code": 7, "msg": "Unknown subscription ID"})
    assert isinstance(message, ErrorMessage)
    assert (message.id, message.sid, message.seq) == (123, 4, 9)
    assert (message.code, message.message) == (7, "Unknown subscription ID")
    assert (message.market_ticker, message.market_tickers) == (None, None)
    with_markets = reply(
        type="error", msg={"code": 16, "msg": "no", "market_ticker": "A", "market_tickers": ["A", "B"]}
    )
    assert (with_markets.id, with_markets.market_ticker, with_markets.market_tickers) == (
        None,
        "A",
        ("A", "B"),
    )


@pytest.mark.parametrize("code", [0, 6, 29, 9999, -1])
def test_unknown_codes_are_passed_on(code: int) -> None:
    assert reply(type="error", msg={"code": code, "msg": ""}).code == code


@pytest.mark.parametrize("frame", [{}, {"msg": None}, {"msg": {}}])
def test_an_error_may_say_nothing(frame: dict[str, Any]) -> None:
    message = reply(type="error", id=1, **frame)
    assert message.code is message.message is message.market_ticker is message.market_tickers is None


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "error", "msg": {"code": "7"}},
        {"type": "error", "msg": {"code": 7.0}},
        {"type": "error", "msg": ["no"]},
        {"type": "error", "code": "7"},
        {"type": "error", "msg": {"code": 7, "msg": 7}},
        {"type": "subscribed", "msg": {"channel": "trade", "sid": "1"}},
        {"type": "subscribed", "msg": {"channel": 1, "sid": 1}},
        {"type": "subscribed", "msg": []},
        {"type": "ok", "msg": "yes"},
        {"type": "ok", "msg": [{"channel": "trade"}]},
        {"type": "ok", "msg": [{"channel": "trade", "sid": True}]},
        {"type": "unsubscribed", "sid": 1.0},
        {"type": "unsubscribed", "id": "1"},
    ],
)
def test_wrong_shapes(frame: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(json.dumps({"seq": 5, **frame}))
    assert caught.value.seq == 5


def test_an_odd_list_of_markets_is_left_out() -> None:
    assert reply(type="ok", id=1, sid=2, seq=3, msg={"market_tickers": "A,B"}).market_tickers is None
    assert reply(type="error", msg={"code": 2, "market_tickers": "A,B"}).code == 2
