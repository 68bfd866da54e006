"""stored_until(): what a restarted program has to ask for, after each way in which the one before can end."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import FeedState, Gap, StateChange
from kalshi_feed.sinks import Row, SQLiteSink

from .support import decoded, delta, fill, filled, trade

START = 1_760_000_000
OURS = 300  # our clock is five minutes ahead of the exchange's
OVERLAP = 30

Step = tuple[int, Any]
"""An item, and the exchange's time at which it is stored, in seconds after START."""


def T(at: int) -> Step:
    return at, trade(trade_id=f"trade {at}", at=START + at)


def old(at: int, time: int) -> Step:
    return at, trade(trade_id=f"trade {time}", at=START + time, source="rest")


def untimed(at: int) -> Step:
    return at, decoded("trade", {"market_ticker": "KX-A", "yes_price_dollars": "0.5000", "count_fp": "1.00"})


def P(at: int) -> Step:
    return at, fill(f"fill {at}", at=START + at)


def D(at: int) -> Step:
    return at, delta(at=START + at)


def lost(at: int) -> Step:
    began = _moment(at + OURS)
    return at, StateChange(FeedState.CONNECTED, FeedState.RECONNECTING, gap_started=began)


def back(at: int) -> Step:
    began, ended = _moment(at + OURS - 10), _moment(at + OURS)
    return at, StateChange(FeedState.RECONNECTING, FeedState.CONNECTED, gap_started=began, gap_ended=ended)


def gap(at: int, channel: str) -> Step:
    return at, Gap(channel, 1, 5, 7)


def done(at: int, channel: str = "trade", since: int = 0, complete: bool = True) -> Step:
    return at, filled(_moment(since), _moment(at), channel, complete)


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(START + second, timezone.utc)


LONG = [T(0), D(1000)]  # a run that has been at work for longer than a hole takes to be filled


@pytest.mark.parametrize(
    ("runs", "reach"),
    [
        # nothing is missing
        ([[T(0), D(100)]], 100),
        ([[P(0), D(1000)]], 1000),
        ([[*LONG, old(990, 500), done(1000)]], 1000),
        ([[*LONG, untimed(1010)]], 1000),
        ([[T(0), untimed(10)]], 0),
        ([[D(0)]], None),
        ([[untimed(0)]], None),
        # lost connections: open, filled, filled only just now, filled on one channel only, given up, long ago
        ([[*LONG, lost(1010), back(1020), D(1030)]], 1000),
        ([[*LONG, lost(1010), back(1020), done(1025), D(1070)]], 1070),
        ([[*LONG, lost(1010), back(1020), done(1060), D(1070)]], 1000),
        ([[P(0), *LONG, lost(1010), back(1020), done(1025), D(1070)]], 1000),
        ([[P(0), *LONG, lost(1010), back(1020), done(1025), done(1030, "fill"), D(1070)]], 1070),
        ([[*LONG, lost(1010), done(1025), done(1030, "fill", 1000, False), D(1070)]], 1000),
        ([[*LONG, lost(1010), back(1020), D(1621), D(2000)]], 2000),
        ([[*LONG, done(1900, "trade", 700, False), done(1910), D(2000)]], 700),
        ([[*LONG, lost(1010), done(1025), D(1070), lost(1080), D(1120)]], 1070),
        # gaps: whatever came after the channel's last message may be missing
        ([[T(0), T(500), D(1000), gap(1010, "trade"), D(1020)]], 500),
        ([[*LONG, gap(1010, "orderbook_delta"), D(1020)]], 1020),
        ([[*LONG, P(1005), gap(1010, "fill"), D(1020)]], 1005),
        # the start of a run: open, filled, not filled on one channel, long ago; several in a row
        ([LONG, [T(1100), D(1110)]], 1000),
        ([LONG, [T(1100), done(1120), D(1200)]], 1200),
        ([[P(0), *LONG], [T(1100), done(1120), D(1200)]], 1000),
        ([LONG, [T(1100), D(1701)]], 1701),
        ([LONG, [T(1100), D(1110)], [T(1200), D(1210)], [T(1300), D(1310)]], 1000),
        ([LONG, [T(1100), D(1701), gap(1710, "fill"), D(1720)]], 1000),
        # a hole so long that its filling goes on
        ([LONG, [T(2000), old(2010, 1100), old(3000, 1200), T(4000)]], 1100),
        ([LONG, [T(2000), done(2005), old(2010, 1100), done(3000), old(3100, 2990), T(4000)]], 2990),
        # a run that shows neither trades nor fills may have been one that did not ask for them
        ([LONG, [D(1100), D(1900)]], 1000),
        ([LONG, [D(1100), D(1900)], []], 1000),
    ],
)
def test_up_to_when(tmp_path: Path, runs: list[list[Step]], reach: int | None) -> None:
    for steps in runs:
        sink = SQLiteSink(tmp_path / "rows.db")
        rows = [Row(n, (START + at + OURS) * 10**9, item) for n, (at, item) in enumerate(steps, 1)]
        if rows:
            sink.write(rows)
        sink.close()
    assert sink.stored_until() == (None if reach is None else _moment(reach) - timedelta(seconds=OVERLAP))
