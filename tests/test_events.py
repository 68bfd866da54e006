"""The feed's own events are frozen."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone

import pytest

from kalshi_feed import FeedFault, FeedState, Gap, GapFilled, Lagged, MarketChange, StateChange
from kalshi_feed.events import Event
from kalshi_feed.messages.listed import Market

_AT = datetime(2026, 10, 26, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "event",
    [
        StateChange(FeedState.IDLE, FeedState.CONNECTING),
        Gap("trade", 1, 5, 7),
        GapFilled("trade", _AT, _AT, ("A",), found=1, matched=2, complete=True),
        Lagged(3, ("A",), _AT),
        MarketChange("A-1", "A", "A", "opened", Market(ticker="A-1")),
        FeedFault("protocol", "text"),
    ],
)
def test_frozen_and_comparable(event: Event) -> None:
    assert event == dataclasses.replace(event)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, dataclasses.fields(event)[0].name, None)


def test_defaults() -> None:
    assert Gap("trade", 1, 5, 7).reason == "sequence gap"
    assert FeedFault("protocol", "text").context == {}
    assert StateChange(FeedState.IDLE, FeedState.CONNECTING).delay is None
