"""print_deltas.py and wait_for_book.py: their output, their end, and their errors without a key."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.cli.support import Access

from .support import SAMPLES, sample, started, with_access

pytestmark = pytest.mark.slow

SCRIPTS = ("print_deltas.py", "wait_for_book.py", "batch_to_sqlite.py")


@pytest.mark.simulates
def test_print_deltas() -> None:
    result = sample("print_deltas.py", "--simulate", "--seconds", "0.8")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert "feed CONNECTED connected" in lines and lines[-1] == "feed CLOSED close"
    delta = re.compile(r"KXSIM-00\d (yes|no) 0\.\d{4} [+-][\d.]+ best bid 0\.\d{4}")
    assert sum(bool(delta.fullmatch(line)) for line in lines) > 20, result.stdout


@pytest.mark.simulates
def test_wait_for_book() -> None:
    script = str(SAMPLES / "wait_for_book.py")
    with started(script, "--simulate", "--seconds", "20", "KXSIM-002", PYTHONWARNINGS="error") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    top = re.compile(r"KXSIM-002 LIVE: yes (0\.\d{4}|-) / (0\.\d{4}|-), spread (0\.\d{4}|None)")
    assert all(top.fullmatch(line) for line in lines), lines
    assert lines[0] != lines[1] != lines[2]


@pytest.mark.parametrize("name", SCRIPTS[:2])
def test_ctrl_c_ends_it_quietly(access: Access, name: str) -> None:
    with started(str(SAMPLES / name), "KX-A", PYTHONWARNINGS="error", **with_access(access)) as process:
        assert process.stdout is not None
        while "KX-A" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_errors_are_one_line(
    access: Access, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where deltas.db is made
    no_key = sample(name, "KX-A")
    assert no_key.returncode == 1 and no_key.stderr.startswith(
        "CredentialsError: not set in the environment: "
    )
    assert no_key.stderr.count("\n") == 1
    access.exchange.reject_next(1, 403)
    refused = sample(name, "KX-A", **with_access(access))
    assert refused.returncode == 1
    assert "AuthenticationError: 127.0.0.1 answered the handshake with 403" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "TICKER" in sample(name).stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_unknown_markets_end_it(
    access: Access, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where deltas.db is made
    ended = sample(name, "TYPO", **with_access(access))
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "UnknownMarketError: TYPO"
    assert ended.stderr.count("does not know the market TYPO: ") == 1  # by the log
    assert "Traceback" not in ended.stderr


def test_one_unknown_market_of_two_ends_nothing(access: Access) -> None:
    with started(str(SAMPLES / "print_deltas.py"), "TYPO", "KX-A", **with_access(access)) as process:
        assert process.stdout is not None
        lines = (line for line in process.stdout if line.startswith("KX-A"))
        assert sum(1 for _ in zip(range(20), lines, strict=False)) == 20
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0 and "TYPO" in err and "Traceback" not in err
