"""kalshi-feed demo: the summary, the view, Ctrl-C, and a book that differs."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from kalshi_feed.cli.commands import group
from kalshi_feed.cli.demo import run
from kalshi_feed.simulator import Exchange
from tests.relay.redis_server import program
from tests.support import wait_until

from .support import TOP, environment, kalshi_feed, start

pytestmark = pytest.mark.slow

KEYS = ["deltas", "updates_per_second", "books", "books_matching", "reconnects", "dropped", "latency_ms_p50"]
KEYS += ["latency_ms_p99"]


def test_json_is_one_object_and_nothing_else() -> None:
    result = kalshi_feed("demo", "--json", "--seconds", "1.5", "--markets", "3", "--rate", "300")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    summary = json.loads(result.stdout)
    assert list(summary) == KEYS
    assert (summary["books"], summary["books_matching"]) == (3, 3)
    assert summary["reconnects"] == summary["dropped"] == 0
    assert summary["deltas"] > 200
    assert 150 < summary["updates_per_second"] < 450
    assert 0 < summary["latency_ms_p50"] <= summary["latency_ms_p99"]


def test_ctrl_c_ends_with_the_summary() -> None:
    with start("demo", "--seconds", "60") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert "CONNECTED" in first and "KXSIM-001 LIVE yes 0." in first, first
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert err == ""
    assert "books equal to the exchange's: 5/5\n" in out
    assert "updates per second" in out and "reconnects 0" in out and "processing latency p50" in out


LYING = """
import sys
import kalshi_feed.simulator as simulator

class Lying(simulator.Exchange):
    def pause(self):
        super().pause()
        self.corrupt({"delta_fp": "7.00"}, type="orderbook_delta")
        self.change("KXSIM-002", "yes", "0.01", "5.00")

simulator.Exchange = Lying
from kalshi_feed.cli import main
main(["demo", "--seconds", "0.5"])
"""


def test_a_book_that_differs_is_exit_code_1() -> None:
    result = subprocess.run(
        [sys.executable, "-c", LYING], cwd=TOP, env=environment(), capture_output=True, text=True, timeout=30
    )
    assert result.returncode == 1, result.stderr
    assert "books equal to the exchange's: 4/5\n" in result.stdout
    assert "these books differ from the exchange's: KXSIM-002\n" in result.stdout


def test_what_was_lost_on_the_way_is_waited_for() -> None:
    """The last frame lost would show only at the next one: the answer to list_subscriptions is not a
    sequenced frame."""

    class Losing(Exchange):
        def pause(self) -> None:
            super().pause()
            self.lose(1, "orderbook_delta")
            self.change("KXSIM-001", "no", "0.01", "5.00")
            self.change("KXSIM-001", "no", "0.02", "5.00")

    with Losing(markets=2, rate=100) as exchange:
        summary = run(exchange, 0.3, view=False)
    assert (summary.books_matching, summary.differing, summary.gaps) == (2, (), 1)


def test_a_terminal_gets_the_view() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=40, legacy_windows=False)
    with Exchange(markets=3, rate=200) as exchange:
        summary = run(exchange, 0.6, console=console)
    assert summary.books_matching == 3
    text = screen.getvalue()
    assert "KXSIM-001" in text and "trades" in text and "spread" in text and "█" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor was hidden, and is back


def test_relay_shows_processes_that_agree(tmp_path: Path) -> None:
    """A Redis, a relay and three consumers; nothing of them is left behind."""
    program()  # skips the test if there is no Redis
    result = kalshi_feed(
        "demo", "--relay", "--json", "--seconds", "6", "--markets", "3", TMPDIR=str(tmp_path), timeout=120
    )
    assert (result.returncode, result.stderr) == (0, "")
    summary = json.loads(result.stdout)
    assert summary["exchange_connections"] == 1 and summary["books"] == 3
    assert [consumer["books_matching"] for consumer in summary["consumers"]] == [3, 3, 3]
    assert all(consumer["live_after_ms"] > 0 for consumer in summary["consumers"])
    assert summary["books_unequal"] == 0 < summary["books_compared"]
    assert list(tmp_path.iterdir()) == []


def test_relay_ends_with_its_parts_if_it_is_killed(tmp_path: Path) -> None:
    program()
    with start("demo", "--relay", "--seconds", "60", TMPDIR=str(tmp_path)) as process:
        assert process.stdout is not None
        assert "relay CONNECTED" in next(line for line in process.stdout if "consumer 1" in line)
        process.kill()
    wait_until(lambda: not any(tmp_path.glob("kalshi-redis-*")), 20, "Redis and its folder to be gone")


def test_relay_without_a_redis_server(tmp_path: Path) -> None:
    result = CliRunner().invoke(group, ["demo", "--relay", "--seconds", "1"], env={"PATH": str(tmp_path)})
    assert result.exit_code == 2
    assert "there is neither redis-server nor valkey-server here" in result.output
    assert "sudo apt install redis-server" in result.output
    result = CliRunner().invoke(group, ["demo", "--relay", "--series"])
    assert result.exit_code == 2 and "--series and --relay contradict each other" in result.output
