"""The lifecycle of markets and events: each kind of event with its own fields."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed.messages import (
    EventFeeUpdate,
    EventLifecycle,
    MarketLifecycle,
    MultivariateMarketLifecycle,
    PriceRange,
    decode,
)

from .frames import ABSENT, FLAT, text


def lifecycle(**msg: Any) -> MarketLifecycle:
    message = decode(
        text(
            {"type": "market_lifecycle_v2", "sid": 13, "seq": 3, "msg": {"market_ticker": "MARKET-A", **msg}}
        )
    )
    assert isinstance(message, MarketLifecycle)
    assert message.market_ticker == "MARKET-A"
    assert not message.extra
    return message


def utc(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=timezone.utc)  # type: ignore[misc,arg-type]


def test_created() -> None:
    message = decode(text(FLAT["market_lifecycle_v2"]))
    assert isinstance(message, MarketLifecycle)
    assert (message.open_at, message.close_at) == (utc(2023, 9, 13, 20), utc(2023, 9, 14, 20))
    metadata = message.additional_metadata
    assert metadata is not None
    assert (str(metadata.floor_strike), str(metadata.cap_strike)) == ("4487", "4487.25")
    assert metadata.custom_strike == {"Team": "A-1", "Weight": Decimal("1.5")}
    assert metadata.custom_strike is not metadata.custom_strike
    assert metadata.expected_expiration_at == utc(2023, 9, 14, 20)
    assert metadata.rules_secondary == ""
    assert message.price_ranges is not None
    assert [(one.start_price, one.end_price, one.tick) for one in message.price_ranges] == [
        (Decimal(0), Decimal("0.1"), Decimal("0.001")),
        (Decimal("0.1"), Decimal(1), Decimal("0.01")),
    ]
    assert message.price_ranges[0] == PriceRange(start="0.0000", end="0.1000", step="0.0010")


@pytest.mark.parametrize("event_type", ["activated", "deactivated"])
def test_activation(event_type: str) -> None:
    message = lifecycle(event_type=event_type, is_deactivated=event_type == "deactivated")
    assert (message.event_type, message.is_deactivated, message.time) == (
        event_type,
        event_type == "deactivated",
        None,
    )


def test_close_date_updated() -> None:
    assert lifecycle(event_type="close_date_updated", close_ts=1694721600).close_at == utc(2023, 9, 14, 20)


def test_determined_and_settled() -> None:
    determined = lifecycle(
        event_type="determined", determination_ts=1694721600, result="yes", settlement_value="1.0000"
    )
    assert (determined.result, determined.settlement_value, determined.settlement) == (
        "yes",
        "1.0000",
        Decimal(1),
    )
    assert determined.time == determined.determination_at == utc(2023, 9, 14, 20)
    settled = lifecycle(event_type="settled", settled_ts=1694721600)
    assert settled.time == settled.settled_at == utc(2023, 9, 14, 20)
    assert lifecycle(event_type="determined", result="another").result == "another"


def test_price_level_structure_updated() -> None:
    ranges = [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]
    message = lifecycle(
        event_type="price_level_structure_updated", price_level_structure="", price_ranges=ranges
    )
    assert message.price_level_structure == ""
    assert message.price_ranges is not None
    assert [one.tick for one in message.price_ranges] == [Decimal("0.001")]


def test_metadata_updated() -> None:
    message = lifecycle(
        event_type="metadata_updated", strike_type="between", floor_strike=95000, cap_strike=95250.50
    )
    assert (message.strike_type, message.floor_strike, message.cap_strike) == (
        "between",
        Decimal(95000),
        Decimal("95250.5"),
    )
    assert message.additional_metadata is None
    assert lifecycle(event_type="metadata_updated", yes_sub_title="above").yes_sub_title == "above"
    assert lifecycle(event_type="metadata_updated", custom_strike={"Name": "x"}).custom_strike == {
        "Name": "x"
    }


def test_strikes_keep_their_digits() -> None:
    digits = "0.1234567890123456789012345"
    message = decode(f'{{"type":"market_lifecycle_v2","msg":{{"floor_strike":{digits},"cap_strike":1e-7}}}}')
    assert isinstance(message, MarketLifecycle)
    assert (str(message.floor_strike), message.cap_strike) == (digits, Decimal("0.0000001"))
    # it is a string in a spec's example
    assert lifecycle(floor_strike="4487.5").floor_strike == Decimal("4487.5")


def test_events_to_come() -> None:
    frame = {
        "type": "market_lifecycle_v2",
        "msg": {"event_type": "fractional_trading_updated", "fractional_trading_enabled": True},
    }
    message = decode(text(frame))
    assert isinstance(message, MarketLifecycle)
    assert message.extra == {"fractional_trading_enabled": True}


def test_multivariate() -> None:
    message = decode(text(FLAT["multivariate_market_lifecycle"]))
    assert isinstance(message, MultivariateMarketLifecycle)
    assert not isinstance(message, MarketLifecycle)
    assert message.settlement == Decimal(1)


def test_event_lifecycle() -> None:
    message = decode(text(FLAT["event_lifecycle"]))
    assert isinstance(message, EventLifecycle)
    assert (message.market_ticker, message.event_ticker, message.strike_at) == (
        None,
        "EVENT-A",
        utc(2023, 9, 14, 20),
    )
    older = decode(text(FLAT["event_lifecycle"], subtitle=ABSENT, sub_title="A subtitle"))
    assert isinstance(older, EventLifecycle)
    assert older.subtitle == message.subtitle == "A subtitle"
    live = decode(text(FLAT["event_lifecycle"], series_ticker="", collateral_return_type=""))
    assert isinstance(live, EventLifecycle)
    assert (live.series_ticker, live.collateral_return_type) == ("", "")


@pytest.mark.parametrize("multiplier", ["1", "0.1", "0.30000000000000004", "1e-3", None])
def test_event_fee_update(multiplier: str | None) -> None:
    msg = f'{{"fee_type_override":null,"fee_multiplier_override":{multiplier or "null"}}}'
    message = decode(f'{{"type":"event_fee_update","msg":{msg}}}')
    assert isinstance(message, EventFeeUpdate)
    assert message.fee_type_override is None
    assert message.fee_multiplier_override == (None if multiplier is None else Decimal(multiplier))
    assert message.market_ticker is None
