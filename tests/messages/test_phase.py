"""What a market is doing, from its description and the clock."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from kalshi_feed.messages.listed import Market
from kalshi_feed.messages.phase import has_ended, phase

OPENS, CLOSES = "2026-11-30T15:30:00Z", "2026-11-30T15:45:00Z"
BEFORE, BETWEEN, AFTER = (
    datetime(2026, 11, 30, 15, minute, tzinfo=timezone.utc).timestamp() for minute in (29, 40, 45)
)


@pytest.mark.parametrize(
    ("fields", "now", "said"),
    [
        ({"status": "initialized"}, BEFORE, "unopened"),
        ({"status": "active"}, BEFORE, "open"),
        ({"status": "initialized"}, BETWEEN, "open"),
        ({"status": "initialized", "open_time": None}, BETWEEN, "unopened"),
        ({"status": "a new word"}, BETWEEN, "open"),
        ({"open_time": None, "close_time": None}, BETWEEN, "open"),
        ({"status": "inactive"}, BETWEEN, "paused"),
        ({"status": "inactive"}, AFTER, "closed"),
        ({"status": "active"}, AFTER, "closed"),
        ({"status": "closed"}, BETWEEN, "closed"),
        ({"status": "closed", "result": "yes"}, AFTER, "determined yes"),
        ({"status": "active", "result": "no"}, BETWEEN, "determined no"),
        ({"status": "settled", "result": "scalar"}, AFTER, "settled scalar"),
        (
            {"status": "settled", "result": "scalar", "settlement_value_dollars": "0.43"},
            AFTER,
            "settled 0.4300",
        ),
        ({"status": "determined", "result": "yes"}, BETWEEN, "determined yes"),
        ({"status": "Finalized", "result": "no"}, AFTER, "settled no"),
        ({"status": "settled", "result": ""}, AFTER, "settled"),
    ],
)
def test_phases(fields: dict[str, Any], now: float, said: str) -> None:
    market = Market(**{"ticker": "KX-A", "open_time": OPENS, "close_time": CLOSES, **fields})
    assert phase(market, now) == said
    if now != AFTER:  # the status alone says so
        assert has_ended(market) is (said not in ("unopened", "open", "paused"))
