"""Messages that only old recordings hold."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal

from kalshi_feed.messages import MultivariateLookup, TickerV2, decode

from .frames import ABSENT, FLAT, text


def test_ticker_v2() -> None:
    message = decode(text(FLAT["ticker_v2"]))
    assert isinstance(message, TickerV2)
    assert (message.price, message.volume_delta, message.open_interest_delta) == (
        Decimal("0.48"),
        Decimal(100),
        Decimal(-10),
    )
    assert message.dollar_open_interest_delta == -5
    assert message.time == datetime(2022, 11, 22, 20, 44, 1, 250000, tzinfo=timezone.utc)
    older = decode(text(FLAT["ticker_v2"], ts_ms=ABSENT))
    assert older.time == datetime(2022, 11, 22, 20, 44, 1, tzinfo=timezone.utc)


def test_multivariate_lookup() -> None:
    message = decode(text(FLAT["multivariate_lookup"]))
    assert isinstance(message, MultivariateLookup)
    assert message.market_ticker == "COLLECTION-E-M"
    assert message.selected_markets is not None
    assert [(leg.market_ticker, leg.side) for leg in message.selected_markets] == [
        ("MARKET-A", "no"),
        ("MARKET-B", "yes"),
    ]
