from __future__ import annotations

import json
import math
import pickle
import random
from dataclasses import FrozenInstanceError
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_feed.events import FeedState
from kalshi_feed.meters import Histogram, Meter
from kalshi_feed.stats import FeedStats, Health, Stalls, assess

# --- Histogram


def test_an_empty_histogram_knows_nothing() -> None:
    assert Histogram().percentile(50) is None
    assert Histogram().count == 0


@given(st.floats(0, 60_000))
def test_every_value_is_known_to_six_percent(seconds: float) -> None:
    histogram = Histogram()
    histogram.add(seconds)
    value = histogram.percentile(50)
    assert value is not None
    assert math.isclose(value, seconds, rel_tol=0.0625, abs_tol=1e-6)


@pytest.mark.parametrize("seconds", [-5.0, -1e-9, 0.0, 1e-9])
def test_negative_durations_count_as_zero(seconds: float) -> None:
    histogram = Histogram()
    histogram.add(seconds)
    assert histogram.percentile(99) == 0.0


def test_absurd_durations_do_no_harm() -> None:
    histogram = Histogram()
    histogram.add(math.nan)
    assert histogram.count == 0
    for seconds in (1e9, math.inf, 1e300):
        histogram.add(seconds)
    histogram.add(-math.inf)
    assert histogram.count == 4
    assert (histogram.percentile(99) or 0) > 60_000
    assert histogram.percentile(1) == 0.0


def test_percentiles_of_many_values() -> None:
    histogram, values = Histogram(), []
    rng = random.Random(1)
    for _ in range(10_000):
        values.append(rng.lognormvariate(-7, 1.5))
        histogram.add(values[-1])
    values.sort()
    for percent in (1, 50, 90, 99, 99.9):
        value = histogram.percentile(percent)
        assert value is not None
        assert math.isclose(value, values[math.ceil(10_000 * percent / 100) - 1], rel_tol=0.07)
    assert histogram.percentile(0) == pytest.approx(values[0], rel=0.07, abs=1e-6)
    assert histogram.percentile(100) == pytest.approx(values[-1], rel=0.07)


def test_counts_weigh() -> None:
    histogram = Histogram()
    histogram.add(0.001, 99)
    histogram.add(1.0, 1)
    assert histogram.percentile(99) == pytest.approx(0.001, rel=0.07)
    assert histogram.percentile(99.5) == pytest.approx(1.0, rel=0.07)
    histogram.add(5.0, 0)
    assert histogram.count == 100


def test_values_leave_after_one_to_two_windows() -> None:
    histogram = Histogram()
    histogram.rotate(1000.0)
    histogram.add(1.0)
    histogram.rotate(1059.0)
    histogram.rotate(1061.0)
    assert histogram.count == 1
    histogram.add(2.0)
    histogram.rotate(1122.0)
    assert histogram.count == 1
    assert histogram.percentile(50) == pytest.approx(2.0, rel=0.07)
    histogram.rotate(1500.0)  # a long silence
    assert histogram.percentile(50) is None


# --- Meter


def test_rates_of_a_steady_feed() -> None:
    meter = Meter()
    now = 5000.0
    for _ in range(1200):
        now += 0.1
        meter.add(now, 50)
    for seconds in (1, 10, 60):
        assert meter.rate(now, seconds) == pytest.approx(500, rel=0.12)
    assert meter.rates(now) == (meter.rate(now, 1), meter.rate(now, 10), meter.rate(now, 60))
    assert meter.total == 60_000


def test_a_young_meter_does_not_pretend_a_minute() -> None:
    meter = Meter()
    assert meter.rates(1.0) == (0.0, 0.0, 0.0)
    meter.add(100.0, 30)
    assert meter.rates(100.0) == (30.0, 30.0, 30.0)
    meter.add(105.0, 30)
    assert meter.rate(105.0, 60) == pytest.approx(12.0)


def test_what_is_over_does_not_count() -> None:
    meter = Meter()
    for second in range(100):
        meter.add(float(second), 10)
    assert meter.rate(102.0, 1) == 0.0
    assert 7 <= meter.rate(102.0, 10) <= 9
    assert meter.rate(163.0, 60) == 0.0
    assert meter.rates(10_000.0) == (0.0, 0.0, 0.0)
    meter.add(10_000.0, 7)  # the ring's slots are reused
    assert meter.rate(10_000.0, 1) == pytest.approx(7.0)


# --- FeedStats


def stats(**values: Any) -> FeedStats:
    values.setdefault("messages", {"trade": 2, "orderbook_delta": 5})
    return FeedStats(state=FeedState.CONNECTED, **values)


def test_stats_are_read_only_copies() -> None:
    mine = {"trade": 1}
    taken = stats(messages=mine, bytes=mine)
    mine["trade"] = 9
    assert taken.messages == {"trade": 1}
    assert taken.bytes_total == 1
    with pytest.raises(TypeError):
        taken.messages["trade"] = 3  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        taken.gaps = 3  # type: ignore[misc]


def test_stats_as_json() -> None:
    since = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    out = stats(connected_since=since, faults={"protocol": 1}, clock_skew=-0.5).to_dict()
    again = json.loads(json.dumps(out))
    assert again == out
    assert again["state"] == "CONNECTED"
    assert again["connected_since"] == "2026-03-01T12:00:00+00:00"
    assert (again["messages"], again["messages_total"]) == ({"trade": 2, "orderbook_delta": 5}, 7)
    assert (again["faults"], again["clock_skew"], again["last_message_age"]) == ({"protocol": 1}, -0.5, None)


def test_stats_pickle() -> None:
    taken = stats(stalls=Stalls(1, 0.75))
    assert pickle.loads(pickle.dumps(taken)) == taken


# --- assess


@pytest.mark.parametrize("state", [state for state in FeedState if state is not FeedState.CONNECTED])
def test_without_a_connection_the_feed_is_down(state: FeedState) -> None:
    health = assess(state=state, error="connection refused", books={"STALE": 3})
    assert health == Health("down", (f"the feed is {state.value}: connection refused",))
    assert not health.is_ok


def test_a_quiet_healthy_feed_is_ok() -> None:
    health = assess(
        state=FeedState.CONNECTED,
        error="an older one, over by now",
        books={"LIVE": 4, "PENDING": 1},
        queue_depth=49,
        queue_size=100,
        last_received_age=9.0,
        idle_timeout=30.0,
        clock_skew=-1.0,
    )
    assert health == Health("ok")
    assert health.is_ok
    assert health.to_dict() == {"status": "ok", "reasons": [], "notes": []}


def test_markets_that_have_ended_are_no_reason_to_worry() -> None:
    ended = [f"{ticker} closed" for ticker in "ABCD"]
    health = assess(state=FeedState.CONNECTED, books={"LIVE": 1}, ended=ended)
    assert health == Health("ok", (), ("4 markets have ended: A closed, B closed, C closed …",))
    assert repr(health) == "Health(ok: 4 markets have ended: A closed, B closed, C closed …)"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ({"books": {"STALE": 1}}, "1 book is STALE"),
        ({"books": {"STALE": 2, "LIVE": 5}}, "2 books are STALE"),
        ({"overdue": ["A", "B", "C", "D"]}, "4 books are still without a snapshot: A, B, C …"),
        ({"failed_subscriptions": 1}, "1 subscription(s) refused"),
        ({"stuck_callback": "desk.moved"}, "desk.moved is stuck"),
        ({"dropped_recently": 12}, "12 messages dropped"),
        ({"queue_depth": 50, "queue_size": 100}, "50 of 100"),
        ({"last_received_age": 16.0, "idle_timeout": 30.0}, "nothing received for 16 s"),
        ({"troubles": ("no list",)}, "no list"),
        ({"clock_skew": 7.0}, "+7 s"),
        ({"clock_skew": -7.0}, "-7 s"),
    ],
)
def test_what_degrades_a_connected_feed(what: dict[str, Any], text: str) -> None:
    health = assess(state=FeedState.CONNECTED, **what)
    assert health.status == "degraded"
    assert len(health.reasons) == 1
    assert text in health.reasons[0]
    assert health.to_dict()["reasons"] == list(health.reasons)
