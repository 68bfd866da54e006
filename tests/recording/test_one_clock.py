"""R25: every time a replay reports is the recording's, in the API and on the command line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kalshi_feed import FeedState, KalshiFeed, StateChange
from kalshi_feed.cli.commands import group
from kalshi_feed.cli.model import Room
from kalshi_feed.cli.monitor import Monitor
from kalshi_feed.simulator import Exchange
from tests.feed.support import HurriedFeed
from tests.recording.past import YEAR_2019, Moment, make_recording, moments, moved_to_2019
from tests.support import wait_until

BEGINS = datetime.fromtimestamp(YEAR_2019 / 1e9, timezone.utc)
SOON = timedelta(seconds=60)


@pytest.fixture(scope="module")
def of_2019(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with a gap and a reconnect, as if it had been made years ago."""
    folder = tmp_path_factory.mktemp("clock")
    with Exchange(3, rate=500, seed=3, key_type="ed25519") as exchange:
        feed = HurriedFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
        with feed, feed.record(folder / "now.ndjson"):
            feed.subscribe(["orderbook_delta", "trade"], ["KXSIM-001", "KXSIM-002", "KXSIM-003"]).wait(5)
            wait_until(lambda: feed.stats().messages_total > 200, what="messages")
            exchange.lose(1)
            wait_until(lambda: feed.stats().resyncs, what="the repair")
            exchange.reset()
            wait_until(lambda: feed.stats().reconnects, what="the reconnect")
            before = feed.stats().messages_total
            wait_until(lambda: feed.stats().messages_total > before + 200, what="more messages")
    return moved_to_2019(folder / "now.ndjson", folder / "then.ndjson")


def is_then(moment: datetime | None) -> bool:
    return moment is not None and moment.tzinfo is not None and BEGINS <= moment < BEGINS + SOON


@pytest.mark.parametrize("speed", ["max", "wait"])
def test_R25_everything_is_on_the_recording_s_clock(of_2019: Path, speed: Any) -> None:
    feed = KalshiFeed.replay(of_2019, speed=speed)
    assert feed.now() == BEGINS
    kept = feed.messages("orderbook_delta", maxsize=1)  # no one reads it: the rest is dropped and reported
    states: list[StateChange] = []
    lagged: list[Any] = []
    nows: list[datetime] = []
    ages: list[Any] = []
    feed.on_state(states.append)
    feed.on_lagged(lambda lag: lagged.append((lag.at, feed.now())))
    feed.on_delta(lambda delta: nows.append(feed.now()))
    feed.on_book(
        lambda view: ages.append(
            (view.updated_at, view.age(), feed.stats().last_message_age, feed.stats().connected_since)
        )
    )
    feed.run_forever()
    assert len(nows) > 300 and nows == sorted(nows) and all(map(is_then, nows))
    lost = next(change for change in states if change.state is FeedState.RECONNECTING)
    again = next(change for change in states if change.previous is FeedState.RECONNECTING)
    assert again.gap_started is not None and again.gap_ended is not None
    assert lost.gap_started is not None and abs(lost.gap_started - again.gap_started) < timedelta(
        milliseconds=1
    )
    assert is_then(again.gap_started) and is_then(again.gap_ended) and again.gap_started < again.gap_ended
    assert len(lagged) > 100 and all(at == now for at, now in lagged) and is_then(lagged[0][0])
    moved = [(updated, age, last, since) for updated, age, last, since in ages if updated is not None]
    assert len(moved) > 300
    assert all(is_then(updated) and 0 <= age < 60 for updated, age, *_ in moved)
    assert all(since is None or is_then(since) for *_, since in moved) and any(
        since is not None for *_, since in moved
    )
    assert all(last is None or 0 <= last < 60 for *_, last, _ in moved)
    health = feed.health()
    assert not any("behind" in reason for reason in health.reasons), health
    kept.close()
    feed.close()


def lines_of(path: Path, *options: str) -> list[str]:
    result = CliRunner().invoke(group, ["replay", str(path), "--plain", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [line for line in result.stdout.splitlines() if line]


def test_R25_every_line_has_its_own_book_and_the_recording_s_time(
    of_2019: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/Chicago")
    lines = lines_of(of_2019)
    times = [line.split()[0] for line in lines]
    assert all(re.fullmatch(r"2019-06-08T\d\d:\d\d:\d\d\.\d\d\dZ", time) for time in times), times[:3]
    assert times == sorted(times) and all(
        is_then(datetime.fromisoformat(time[:-1] + "+00:00")) for time in times
    )
    assert {"CONNECTED", "RECONNECTING:", "CLOSED:", "gap"} <= {line.split()[1] for line in lines}
    # a STALE book shows up again with its next snapshot
    assert any(" | STALE yes" in line for line in lines) is False
    middle = times[len(times) // 2]
    later = [line for line in lines if line.split()[0] >= middle]
    shown = lines_of(of_2019, "--at", middle)
    assert [line for line in shown if " delta " in line][-100:] == [
        line for line in later if " delta " in line
    ][-100:]
    assert min(line.split()[0] for line in shown if " delta " in line) >= middle
    until = lines_of(of_2019, "--until", middle)
    assert (
        until[:-1] == [line for line in lines if line.split()[0] < middle][: len(until) - 1]
        and len(until) > 50
    )


def test_R25_the_books_of_the_lines_are_not_the_last_one(tmp_path: Path) -> None:
    path = make_recording(tmp_path / "lines.ndjson", markets=2, messages=400, rate=2_000)

    def quote(moment: Moment) -> str:
        def best(side: str) -> Any:
            return max(moment.levels[side].items(), default=None)

        bid, other = best("yes"), best("no")
        ask = None if other is None else (1 - other[0], other[1])
        return " / ".join(
            "-" if level is None else f"{level[0]:.4f} × {level[1]:,.2f}" for level in (bid, ask)
        )

    expected = [f"{moment.market_ticker} LIVE yes {quote(moment)}" for moment in moments(path)]
    shown = [line for line in lines_of(path) if " delta " in line or " snapshot" in line]
    assert [f"{line.split()[1]} {line.split('  | ')[1]}" for line in shown] == expected


def test_R25_the_view(of_2019: Path) -> None:
    feed = KalshiFeed.replay(of_2019)
    monitor = Monitor(feed, (), "replay of then.ndjson")
    feed.run_forever()
    screen = monitor.screen(Room(depth=2, rows=3, trades=3, notes=20))
    assert re.fullmatch(r"replay of then.ndjson  2019-06-08T\d\d:\d\d:\d\d.\d\d\dZ", screen.title)
    assert screen.elapsed == pytest.approx((feed.now() - BEGINS).total_seconds())
    assert {note.time[:5] for note in screen.notes} <= {"13:20", "13:21"}, screen.notes
    assert screen.trades and {trade.time[:5] for trade in screen.trades} <= {"13:20", "13:21"}
    feed.close()
