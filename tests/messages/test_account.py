"""fill in both generations."""

from __future__ import annotations

import pickle
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed.errors import ProtocolError
from kalshi_feed.messages import Fill, decode

from .frames import ABSENT, FILL, text


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
        if not name.startswith("_") and name not in ("type", "msg"):
            assert getattr(message, name) is None, name


def test_generations_are_equal() -> None:
    old = {"yes_price": 75, "count": 278, "post_position": -500}
    message = fill(**old, **dict.fromkeys(("yes_price_dollars", "count_fp", "post_position_fp", "fee_cost"), ABSENT))
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
        ("yes_price_dollars", 0.75),
        ("count_fp", "-1.00"),
        ("count_fp", ""),
        ("count_fp", 278),
        ("fee_cost", "0.0000001"),
        ("fee_cost", "1e-2"),
        ("fee_cost", 0.01),
        ("post_position_fp", "1.001"),
        ("post_position_fp", "--1.00"),
        ("yes_price", 75.0),
        ("count", -1),
        ("post_position", True),
        ("market_ticker", 7),
        ("market_ticker", []),
    ],
)
def test_numbers_are_checked(name: str, wrong: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        fill(**{name: wrong})
    assert (caught.value.type, caught.value.sid) == ("fill", 13)
