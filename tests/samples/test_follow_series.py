"""follow_series.py: a market of the series from its announcement to its outcome, and one line per error."""

from __future__ import annotations

import re
import signal
import sqlite3
from contextlib import closing
from itertools import takewhile
from pathlib import Path

import pytest

from kalshi_feed.simulator import Exchange
from tests.cli.support import Access
from tests.support import wait_until

from .support import SAMPLES, sample, started, with_access

pytestmark = pytest.mark.slow


@pytest.mark.simulates
def test_a_series_until_ctrl_c() -> None:
    with started(
        str(SAMPLES / "follow_series.py"), "--simulate", "--seconds", "25", PYTHONWARNINGS="error"
    ) as process:
        assert process.stdout is not None
        lines = [line.rstrip() for line in takewhile(lambda line: " settled" not in line, process.stdout)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    ended = next(
        found for line in lines if (found := re.match(r"(\S+) determined the answer is (yes|no), ", line))
    )
    steps = [line.removeprefix(ended[1]).split()[0] for line in lines if line.startswith(ended[1])]
    assert list(dict.fromkeys(steps)) == ["announced", "opened", "traded", "closed", "determined"], lines
    closes = re.search(
        rf"^{ended[1]} announced KXSIM15M above .*, open from [\d:]+ to ([\d:]+) UTC$", "\n".join(lines), re.M
    )
    assert closes is not None and any(
        line.startswith(f"{ended[1]} traded ") and line.endswith(f", closes {closes[1]}") for line in lines
    )


def test_a_restart_misses_nothing(access: Access, tmp_path: Path) -> None:
    exchange, file = access.exchange, tmp_path / "series.db"
    exchange.run_series("KXMINE", every=60, rounds=1, pace=100.0)
    for seconds in ("2", "6"):
        ran = sample(
            "follow_series.py", "KXMINE", "--file", str(file), "--seconds", seconds, **with_access(access)
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        assert " announced KXMINE above 100" in ran.stdout and " traded " in ran.stdout
        wait_for_trade(exchange)  # that no one follows
    assert re.search(r"^trade from \S+ to \S+: \d+ fetched, complete$", ran.stdout, re.M), ran.stdout
    with closing(sqlite3.connect(file)) as database:
        stored = database.execute("select trade_id, source from trades").fetchall()
    ids = {trade_id for trade_id, _ in stored}
    true = [trade["trade_id"] for trade in exchange.trades if trade["ticker"].startswith("KXMINE")]
    places = [place for place, trade_id in enumerate(true) if trade_id in ids]
    assert places == list(range(places[0], places[-1] + 1)) and len(stored) == len(places)
    assert {source for _, source in stored} == {"feed", "rest"}


def wait_for_trade(exchange: Exchange) -> None:
    known = len(exchange.trades)
    wait_until(lambda: len(exchange.trades) > known, 5, "another trade")


def test_errors_in_one_line(access: Access) -> None:
    no_rest = sample("follow_series.py", "KXMINE", **with_access(access) | {"KALSHI_REST_URL": ""})
    assert no_rest.returncode == 1 and no_rest.stderr.startswith("ConfigurationError: ")
    assert "KALSHI_REST_URL" in no_rest.stderr and no_rest.stderr.count("\n") == 1
    no_key = sample("follow_series.py", "KXMINE")
    assert no_key.returncode == 1 and no_key.stderr.startswith("CredentialsError: ")
    assert "SERIES" in sample("follow_series.py").stderr
