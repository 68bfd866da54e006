"""The account's messages: fill in both generations, orders, positions, order groups."""

from __future__ import annotations

import pickle
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed.errors import ProtocolError
from kalshi_feed.messages import Fill, MarketPosition, OrderGroupUpdate, UserOrder, decode

from .frames import ABSENT, FILL, FLAT, text


def fill(**body: Any) -> Fill:
    message = decode(text(FILL, **body))
    assert isinstance(message, Fill)
    return message


def test_fields() -> None:
    message = fill()
    for name, value in FILL["msg"].items():
        assert getattr(message, name) == value, name
    assert (message.sid, message.seq, message.type) == (13, None, "fill")
    ready = (message.yes_price, message.count, message.fee, message.post_position)
    assert [str(value) for value in ready] == ["0.7500", "278.00", "0.012345", "-500.00"]
    assert message.time == datetime(2022, 12, 24, 16, 29, 57, tzinfo=timezone.utc)
    assert pickle.loads(pickle.dumps(message)) == message


def test_may_miss_everything() -> None:
    message = decode('{"type":"fill","msg":{}}')
    for name in dir(Fill):
        if not name.startswith("_") and name not in ("type", "wire", "to_dict", "source"):
            assert not getattr(message, name), name


def test_generations_are_equal() -> None:
    old = {"yes_price": 75, "count": 278, "post_position": -500}
    message = fill(
        **old, **dict.fromkeys(("yes_price_dollars", "count_fp", "post_position_fp", "fee_cost"), ABSENT)
    )
    for name in old:
        assert str(getattr(message, name)) == str(getattr(fill(), name)), name
    assert (message.yes_price_cents, message.count_int, message.post_position_int) == (75, 278, -500)
    assert message.fee is None


def test_time_from_ts() -> None:
    expected = datetime(2022, 12, 24, 16, 29, 57, tzinfo=timezone.utc)
    assert fill(ts_ms=ABSENT).time == expected
    assert fill(ts_ms=ABSENT, ts="2022-12-24T16:29:57Z").time == expected


def test_a_fee_may_be_a_rebate() -> None:
    assert fill(fee_cost="-0.01").fee == Decimal("-0.01")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("yes_price_dollars", "1.5"),
        ("count_fp", "-1.00"),
        ("count_fp", ""),
        ("yes_price", 75.0),
        ("count", -1),
        ("market_ticker", 7),
        ("market_ticker", []),
    ],
)
def test_numbers_are_checked(name: str, wrong: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        fill(**{name: wrong})
    assert (caught.value.type, caught.value.sid) == ("fill", 13)


def utc(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=timezone.utc)  # type: ignore[misc,arg-type]


def order(**body: Any) -> UserOrder:
    message = decode(text(FLAT["user_order"], **body))
    assert isinstance(message, UserOrder)
    return message


def test_order() -> None:
    message = order()
    assert message.market_ticker == message.ticker == "MARKET-A"
    counts = (message.initial_count, message.fill_count, message.remaining_count)
    assert [str(count) for count in counts] == ["10.00", "2.50", "7.50"]
    assert str(message.yes_price) == "0.3550"
    money = (message.taker_fill_cost, message.maker_fill_cost, message.taker_fees, message.maker_fees)
    assert [str(value) for value in money] == ["0.500000", "0.387500", "0.012345", "-0.000001"]
    assert (message.outcome_side, message.book_side, message.status) == ("yes", "bid", "resting")


def test_times_of_an_order() -> None:
    message = order()
    assert message.created_at == utc(2024, 12, 1, 10, 0, 0, 500_000)
    assert message.time == message.last_updated_at == utc(2024, 12, 1, 10, 30)
    assert message.expiration_at == utc(2024, 12, 1, 11)
    texts = order(created_ts_ms=None, last_updated_ts_ms=ABSENT, expiration_ts_ms=ABSENT)
    assert (texts.created_at, texts.time, texts.expiration_at) == (
        message.created_at,
        message.time,
        message.expiration_at,
    )
    fresh = order(last_updated_ts_ms=ABSENT, last_update_time=ABSENT)
    assert (fresh.last_updated_at, fresh.time) == (None, message.created_at)
    assert (
        order(created_time=None, created_ts_ms=None, last_updated_ts_ms=None, last_update_time="soon").time
        is None
    )


def test_words_that_the_exchange_may_add() -> None:
    message = order(status="paused", last_update_reason="NewReason", self_trade_prevention_type="other")
    assert (message.status, message.last_update_reason, message.self_trade_prevention_type) == (
        "paused",
        "NewReason",
        "other",
    )


def test_position() -> None:
    message = decode(text(FLAT["market_position"]))
    assert isinstance(message, MarketPosition)
    values = (
        message.position,
        message.volume,
        message.position_cost,
        message.realized_pnl,
        message.fees_paid,
    )
    assert [str(value) for value in values] == ["-100.00", "15.00", "50.000000", "-10.250000", "1.000100"]
    assert message.position_fee_cost == Decimal("0.5")
    assert (message.time, message.seq) == (None, 4)


def test_order_group() -> None:
    message = decode(text(FLAT["order_group_updates"]))
    assert isinstance(message, OrderGroupUpdate)
    assert (message.event_type, message.contracts_limit, message.market_ticker) == (
        "limit_updated",
        Decimal(150),
        None,
    )
    assert message.time == utc(2024, 12, 1, 10)
    deleted = decode(
        text(FLAT["order_group_updates"], event_type="deleted", contracts_limit_fp=ABSENT, ts_ms=ABSENT)
    )
    assert isinstance(deleted, OrderGroupUpdate)
    assert (deleted.contracts_limit, deleted.time) == (None, None)
