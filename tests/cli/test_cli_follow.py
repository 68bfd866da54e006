"""kalshi-feed watch and record with --series and --event, and the demo: against a series that rolls on."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kalshi_feed.cli.commands import group
from kalshi_feed.simulator import Exchange

from .checks import CLEAN
from .screens import needs_tmux, screen
from .support import COMMAND, TOP, WITHOUT, Access, environment

pytestmark = pytest.mark.slow
SERIES = "KXROLL"


@pytest.fixture(scope="module")
def rolling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """A series with two new markets every three seconds."""
    with Exchange(markets=("KX-A",), rate=20, seed=1) as exchange:
        exchange.run_series(SERIES, every=3, markets=2)
        yield Access(exchange, tmp_path_factory.mktemp("rolling"))


def run(access: Access | None, *words: str, **more: str) -> Result:
    """Run the command in this process, which costs less; its output is that on both streams."""
    options, environ = ((), {}) if access is None else (access.options, access.environ)
    result = CliRunner().invoke(group, [*words, *options], env={**CLEAN, **environ, **more})
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    assert "Traceback" not in result.output
    return result


def test_watch_prints_what_happens_to_the_markets(rolling: Access) -> None:
    result = run(rolling, "watch", "KX-A", "--series", SERIES.lower(), "--plain", "--seconds", "7")
    assert result.exit_code == 0
    changes = Counter(re.findall(rf" {SERIES}-\w+-\d\d (opened|closed|settled)\b", result.output))
    assert changes["opened"] >= 4 and changes["closed"] >= 2 and changes["settled"] >= 2
    assert f" opened: {SERIES} above 100 at " in result.output and " KX-A delta " in result.output
    assert "market_lifecycle_v2" not in result.output  # of all markets of the exchange; no one asked for it
    first = next(line for line in result.output.splitlines() if re.search(rf" {SERIES}-\S+ delta ", line))
    assert "| LIVE yes " in first


def test_record_stores_and_reports_them_and_replay_does_too(rolling: Access, tmp_path: Path) -> None:
    path = tmp_path / "series.ndjson"
    result = run(rolling, "record", "--series", SERIES, "-o", str(path), "--seconds", "5")
    assert result.exit_code == 0
    opened = int(re.search(r"^markets opened: (\d+)$", result.output, re.MULTILINE)[1])  # type: ignore[index]
    assert opened >= 2 and "unknown" not in result.output
    assert len(re.findall(rf"^\S+ {SERIES}-\S+ opened: ", result.output, re.MULTILINE)) == opened
    assert re.search(rf"^\S+ {SERIES}-\S+ closed$", result.output, re.MULTILINE)
    records = [json.loads(line) for line in run(None, "replay", str(path), "--json").output.splitlines()]
    again = [record for record in records if record["type"] == "feed_market"]
    assert sum(record["change"] == "opened" for record in again) == opened
    assert (
        again[0]["market"]["title"].startswith(f"{SERIES} above 10") and again[0]["series_ticker"] == SERIES
    )


@needs_tmux
def test_the_screen_counts_down_and_rolls_on(rolling: Access, tmp_path: Path) -> None:
    words = shlex.join([*COMMAND, "watch", "--series", SERIES, "KX-A", *rolling.options])
    with screen(tmp_path, **rolling.environ) as terminal:
        terminal.type(words, "Enter")
        terminal.wait_for(" Will KX-A happen? ")  # what REST says about a market given by name
        terminal.wait_for("│ 2 KXRO")
        terminal.type("2")
        lines = terminal.wait_until(lambda lines: any("closes in 0:0" in line for line in lines))
        about = next(line for line in lines if "closes in" in line)
        assert re.fullmatch(
            rf" {SERIES} above 10[01] at \d\d:\d\d:\d\d UTC\? +closes in 0:0\d", about.rstrip()
        )
        chosen = next(line for line in lines if "▸" in line).partition("▸")[2].split()[1]
        # it is over: it says so instead of an empty book, goes down in the list, and stays chosen
        lines = terminal.wait_until(
            lambda lines: (
                any("it is over: its book is empty" in line for line in lines)
                and any(re.search(rf"▸[3-9] {re.escape(chosen)} settled (yes|no)", line) for line in lines)
            )
        )
        assert not any("no one sells yes" in line for line in lines)
        assert any(re.search(r" settled (yes|no)  ", line) and "ago" in line for line in lines[3:6])
        assert any(re.search(r"│ 2 KXRO\S+ (0\.\d|not open)", line) for line in lines)  # the next one
        terminal.type("q")
        terminal.wait_for("watched ")


def test_what_the_exchange_does_not_know(rolling: Access, tmp_path: Path) -> None:
    text = "the exchange does not know the series KXNOPE: "
    result = run(rolling, "watch", "--series", "KXNOPE", "--seconds", "20")
    assert result.exit_code == 1 and f"Error: {text}" in result.output
    path = tmp_path / "none.ndjson"
    result = run(rolling, "record", "--event", "KXNOPE-1", "-o", str(path), "--seconds", "20")
    assert result.exit_code == 1 and "does not know the event KXNOPE-1: " in result.output
    assert not path.exists()
    result = run(rolling, "watch", "KX-A", "KX-NO", "--series", "KXNOPE", "--seconds", "2")
    assert result.exit_code == 0 and result.output.count(f"warning: {text}") == 1
    assert result.output.count("warning: the exchange does not know the market KX-NO") == 1
    assert "KX-A LIVE" in result.output


def test_what_has_no_open_market_is_waited_for(mine: Access) -> None:
    exchange = mine.exchange
    exchange.clock_offset, exchange.max_clock_skew = 300, 1e9  # markets open by the exchange's clock
    now = exchange.now_us() // 1_000_000
    exchange.create_market(
        "KXLATER-1-A", event_ticker="KXLATER-1", open_ts=now + 600, close_ts=now + 1200, opened=False
    )
    event = ("watch", "--event", "KXLATER-1", "--seconds", "2.2")
    result = run(mine, *event, "--plain")
    said = "no market of the event KXLATER-1 is open: waiting for the next one\n"
    assert result.exit_code == 0 and result.output.count(said) == 1
    assert " KXLATER-1-A announced: " in result.output
    result = run(mine, *event)
    assert result.exit_code == 0
    assert re.search(r"is open: the next one opens in 9:\d\d$", result.output, re.MULTILINE)


def test_nothing_was_seen_if_rest_never_answers(mine: Access) -> None:
    mine.exchange.rest_down = 503
    result = run(mine, "watch", "--series", SERIES, "--plain", "--seconds", "1.5")
    text = f"Error: the markets of the series {SERIES} could not be listed: REST had not answered yet\n"
    assert result.exit_code == 1 and result.output.endswith(text)
    # a market given by name needs no REST
    result = run(mine, "watch", "KX-A", "--seconds", "1")
    assert result.exit_code == 0 and "KX-A LIVE" in result.output


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing": (("watch",), "which markets? Give a TICKER, --series S or --event E"),
    "two in one": (("watch", "--series", "KXA,KXB"), "'KXA,KXB' is not one ticker: repeat --series for each"),
    "combos": (("watch", "--series", "KXMVECROSS"), "combos (KXMVE…)"),
    "no channel": (
        ("watch", "--series", "KXA", "--channel", "market_lifecycle_v2"),
        "--series and --event need a channel of markets",
    ),
    "no REST url": (("record", "--series", "KXA", "-o", "x.ndjson"), "or give --rest-url URL"),
    "a wrong one": (("watch", "--series", "KXA", "--rest-url", "ftp://x"), "--rest-url must start with https://"),
    "one for nothing": (
        ("record", "KX-A", "-o", "x.ndjson", "--rest-url", "https://x"),
        "--rest-url needs --series or --event",
    ),
    "an exchange's": (("exchange", "--series", "KX A"), "'KX A' is not one ticker"),
    "every": (("exchange", "--every", "20"), "--every needs --series"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_get_one_message(rolling: Access, case: str) -> None:
    words, text = WRONG[case]
    more = {"KALSHI_REST_URL": ""} if case == "no REST url" else {}
    result = run(None if words[0] == "exchange" else rolling, *words, **more)
    assert result.exit_code == 2 and text in " ".join(result.output.split()), result.output


def test_without_requests_only_series_are_refused(rolling: Access) -> None:
    def without(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", WITHOUT, "requests", *words],
            cwd=TOP,
            env=environment(**rolling.environ),
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )

    for words in (("watch", "--series", SERIES), ("demo", "--series")):
        result = without(*words, *(rolling.options if words[0] == "watch" else ()))
        assert result.returncode == 2 and "install kalshi-feed[rest]" in result.stderr
    result = without("watch", "KX-A", "--seconds", "1", *rolling.options)
    assert (result.returncode, result.stderr) == (0, "") and "KX-A LIVE" in result.stdout


def test_the_demo_of_a_series() -> None:
    result = run(None, "demo", "--series", "--json", "--seconds", "12", "--markets", "3")
    assert result.exit_code == 0
    summary: dict[str, Any] = json.loads(result.output)
    assert summary["markets_followed"] == summary["markets_opened"] >= 6
    assert summary["markets_closed"] >= 3 and summary["markets_settled"] >= 3
    assert summary["books"] == summary["books_matching"] >= 3
    assert summary["deltas"] > 500 and 1 <= summary["rest_requests"] <= 4
