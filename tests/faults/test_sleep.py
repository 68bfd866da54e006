"""Time that stood still: rows N44 and N45."""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import FeedState, Gap, KalshiFeed, StateChange
from kalshi_feed.connection.transport import ANSWER_SECONDS
from kalshi_feed.recording.opening import open_source
from kalshi_feed.recording.reading import Trouble
from kalshi_feed.simulator import Exchange
from tests.faults.sleepy import CAN_SLEEP, SleepyFeed
from tests.faults.toxic_proxy import ToxicProxy
from tests.feed.support import A, B
from tests.support import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CAN_SLEEP, reason="needs Linux, Python 3.11 and a C compiler"),
]

NIGHT = 8 * 3600.0


@pytest.fixture
def proxy(exchange: Exchange) -> Iterator[ToxicProxy]:
    with ToxicProxy(exchange.port) as proxy:
        yield proxy


@pytest.fixture
def sleepy(exchange: Exchange, proxy: ToxicProxy, tmp_path: Path) -> Iterator[SleepyFeed]:
    """A feed in a child process with LIVE books, which hears only what the test sends."""
    exchange.pings = False
    exchange.max_clock_skew = 1e9  # only the child's machine sleeps
    with SleepyFeed(exchange, proxy, tmp_path) as sleepy:
        yield sleepy


def last_word(exchange: Exchange, sleepy: SleepyFeed) -> float:
    """Send a delta; return the child's wall clock when it arrived."""
    before = len(sleepy.of("delta"))
    exchange.change(A, "yes", "0.41", 1)
    wait_until(lambda: len(sleepy.of("delta")) > before)
    return float(sleepy.of("delta")[-1]["wall"])


def holes(sleepy: SleepyFeed, kind: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(sleepy.store) as store:
        rows = store.execute(
            "select what, gap_started, gap_ended from holes where kind = ? order by n", (kind,)
        ).fetchall()
    store.close()
    return rows


def lines(sleepy: SleepyFeed) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sleepy.recording.read_text().splitlines()]


def as_stored(unix: float) -> str:
    return datetime.fromtimestamp(unix, timezone.utc).isoformat()


def replayed(sleepy: SleepyFeed) -> tuple[list[StateChange], list[Gap]]:
    """Return what a replay of the recording reports of the connection and of gaps."""
    states: list[StateChange] = []
    gaps: list[Gap] = []
    feed = KalshiFeed.replay(sleepy.recording)
    feed.on_state(states.append)
    feed.on_gap(gaps.append)
    with feed:
        feed.run_forever()
    return states, gaps


def test_N44_the_shim_moves_the_clocks_of_the_child(sleepy: SleepyFeed) -> None:
    sleepy.sleep(NIGHT)
    clocks = sleepy.clocks()
    assert clocks["wall"] - time.time() == pytest.approx(NIGHT, abs=5)
    assert clocks["wall_ns"] / 1e9 - time.time() == pytest.approx(NIGHT, abs=5)
    assert clocks["boot"] - time.clock_gettime(time.CLOCK_BOOTTIME) == pytest.approx(NIGHT, abs=5)
    assert clocks["at"] == pytest.approx(time.monotonic(), abs=5)


@pytest.mark.parametrize("how", ["reset", "half-open"])
def test_N44_after_a_night_the_books_are_stale_at_once_and_live_soon(
    how: str, exchange: Exchange, proxy: ToxicProxy, sleepy: SleepyFeed
) -> None:
    slept_at = last_word(exchange, sleepy)
    if how == "half-open":
        proxy.freeze()
        woke = sleepy.sleep(NIGHT)
    else:
        woke = sleepy.sleep(NIGHT)
        proxy.cut(reset=True)
    exchange.set_book(A, yes={"0.45": 3}, no={"0.50": 4})  # it missed this
    wait_until(lambda: sleepy.of("gap", woke), 3, "the news that the machine slept")
    told = sleepy.of("gap", woke)[0]
    assert told["at"] - woke < 1.5  # the reader turns once per second
    assert told["reason"] == "the machine slept for 28800 s"
    assert sorted(told["tickers"]) == [A, B]
    wait_until(lambda: sleepy.live_since(woke) == {A, B}, 6, "the books to be LIVE again")
    live = [one for one in sleepy.of("book", woke) if one["status"] == "LIVE"]
    assert max(one["at"] for one in live[:2]) - woke < 5.0
    stale = sleepy.of("book", woke, ticker=B)[0]
    assert stale["status"] == "STALE"
    assert stale["updated"] < slept_at + 1  # its age counts from its last change

    change = sleepy.of("state", woke, state="CONNECTED")[0]
    assert change["started"] == pytest.approx(slept_at, abs=0.2)
    assert change["ended"] == pytest.approx(change["wall"], abs=0.5)
    assert change["ended"] - change["started"] > NIGHT
    assert (
        told["started"] == sleepy.of("state", woke, state="RECONNECTING")[0]["started"] == change["started"]
    )

    sleepy.close()
    started, ended = as_stored(change["started"]), as_stored(change["ended"])
    assert [row[1:] for row in holes(sleepy, "state")][-1] == (started, ended)
    assert [row[1:] for row in holes(sleepy, "gap")] == [(started, None)]
    recorded = lines(sleepy)
    connected = [line["connected"] for line in recorded if "connected" in line][-1]
    bounds = (connected["gap_started_ns"], connected["gap_ended_ns"])
    assert bounds == (round(change["started"] * 1e6) * 1000, round(change["ended"] * 1e6) * 1000)
    lost = next(line for line in recorded if "lost" in line)
    assert lost["recv_ns"] / 1e9 == pytest.approx(
        sleepy.of("state", woke, state="RECONNECTING")[0]["wall"], abs=0.5
    )
    states, gaps = replayed(sleepy)
    again = [one for one in states if one.state is FeedState.CONNECTED][-1]
    assert again.gap_started is not None and again.gap_ended is not None
    assert (again.gap_started.timestamp(), again.gap_ended.timestamp()) == (
        change["started"],
        change["ended"],
    )
    assert [gap.gap_started for gap in gaps] == [again.gap_started]


def test_N44_a_connection_that_outlives_the_sleep_is_kept(exchange: Exchange, sleepy: SleepyFeed) -> None:
    slept_at = last_word(exchange, sleepy)
    pings = exchange.pings_received
    woke = sleepy.sleep(60)
    wait_until(lambda: sleepy.live_since(woke) == {A, B}, 3, "the books to be LIVE again")
    gap = sleepy.of("gap", woke)[0]
    assert gap["started"] == pytest.approx(slept_at, abs=0.2)
    time.sleep(ANSWER_SECONDS + 0.5)  # an unanswered ping would have ended the connection by now
    assert exchange.pings_received == pings + 1
    assert sleepy.of("state", woke) == []
    assert last_word(exchange, sleepy) > slept_at + 60
    sleepy.close()
    assert lines(sleepy)[-1]["recv_ns"] / 1e9 > slept_at + 60
    assert len(replayed(sleepy)[1]) == 1


def test_N44_a_machine_that_sleeps_does_not_stand_still(exchange: Exchange, sleepy: SleepyFeed) -> None:
    before = sleepy.clocks()["stalls"]
    woke = sleepy.freeze(NIGHT, 1.5)
    wait_until(lambda: sleepy.of("gap", woke), 3, "the news that the machine slept")
    assert sleepy.clocks()["stalls"] == before


@pytest.mark.parametrize("step", [30.0, -30.0])
def test_N45_a_step_of_the_wall_clock_costs_one_ping(
    step: float, exchange: Exchange, sleepy: SleepyFeed
) -> None:
    last_word(exchange, sleepy)
    pings = exchange.pings_received
    stepped = sleepy.jump(wall=step)
    wait_until(lambda: exchange.pings_received == pings + 1, 3, "a ping")
    time.sleep(ANSWER_SECONDS + 0.5)  # an unanswered ping would have ended the connection by now
    assert exchange.pings_received == pings + 1
    assert sleepy.of("state", stepped) + sleepy.of("gap", stepped) + sleepy.of("book", stepped) == []
    wall = last_word(exchange, sleepy)
    sleepy.close()

    frame = [line for line in lines(sleepy) if "event" in line][-1]
    assert frame["recv_ns"] / 1e9 == pytest.approx(wall, abs=0.5)  # the file has the clock as it was
    walls, nows = [], []
    for header, record in open_source(sleepy.recording, None).records():
        assert not isinstance(record, Trouble)
        walls.append(record.ns)
        nows.append((record.ns - header.clock_offset_ns) / 1e9)
    assert walls == sorted(walls)
    assert nows == sorted(nows)
    assert max(b - a for a, b in itertools.pairwise(nows)) < 2.5  # the session's clock goes on as before
    assert replayed(sleepy)[1] == []


def test_N45_an_unanswered_ping_means_a_new_connection(
    exchange: Exchange, proxy: ToxicProxy, sleepy: SleepyFeed
) -> None:
    last = last_word(exchange, sleepy)
    proxy.freeze()
    stepped = sleepy.jump(wall=30.0)
    wait_until(lambda: sleepy.of("state", stepped, state="RECONNECTING"), 5, "the connection to be given up")
    lost = sleepy.of("state", stepped, state="RECONNECTING")[0]
    assert 2.9 < lost["at"] - stepped < 4.5
    assert (
        lost["reason"]
        == "the connection was lost: the wall clock was set by +30 s, and a ping was not answered within 3 s"
    )
    assert lost["started"] == pytest.approx(last, abs=0.2)
    assert sleepy.of("gap", stepped) == []
    assert sleepy.of("book", stepped)[0]["at"] - stepped > 2.9  # LIVE until then
    wait_until(lambda: sleepy.live_since(stepped) == {A, B}, 3, "the books to be LIVE again")


def test_N45_a_clock_set_back_makes_no_gap_that_ends_before_it_begins(
    exchange: Exchange, proxy: ToxicProxy, sleepy: SleepyFeed
) -> None:
    last_word(exchange, sleepy)
    stepped = sleepy.jump(wall=-30.0)
    proxy.cut(reset=True)
    wait_until(lambda: sleepy.of("state", stepped, state="CONNECTED"), 5, "a new connection")
    change = sleepy.of("state", stepped, state="CONNECTED")[0]
    assert 0 < change["ended"] - change["started"] < 5
