"""kalshi-feed exchange: another process connects with what it prints."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import urllib.request
from pathlib import Path

import pytest

from .support import Access, kalshi_feed, start

pytestmark = pytest.mark.slow


def introduction(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or "Ctrl-C" not in lines[-1]:
        line = process.stdout.readline()
        assert line, "it ended early"
        lines.append(line.rstrip("\n"))
    return lines


def test_what_it_prints_connects_another_process() -> None:
    words = ("exchange", "--markets", "2", "--rate", "100", "--series", "KXTEST5S", "--every", "5")
    with start(*words) as process:
        lines = introduction(process)
        environ = dict(line.split()[1].split("=", 1) for line in lines if line.startswith("  export "))
        words = next(line for line in lines if "kalshi-feed watch" in line).split()
        files = [Path(environ[name]) for name in ("KALSHI_PRIVATE_KEY_PATH", "KALSHI_CA_FILE")]
        assert all(file.is_file() for file in files) and files[0].stat().st_mode & 0o777 == 0o600
        assert words[0] == "kalshi-feed"
        watch = kalshi_feed(*words[1:], "--plain", "--seconds", "4", **environ)
        assert (watch.returncode, watch.stderr) == (0, "")
        assert watch.stdout.count(" KXSIM-001 delta ") > 10
        words = tuple(next(line for line in lines if "--series" in line).split()[1:])
        follow = kalshi_feed(*words, "--plain", "--seconds", "2", **environ)
        assert (follow.returncode, follow.stderr) == (0, "") and " opened: KXTEST5S above " in follow.stdout
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert "answered with 101" in out and "1 connection open" in out
    assert not any(file.exists() for file in files)


def test_json_is_one_line_for_programs() -> None:
    with start("exchange", "--markets", "1", "--json") as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())
        options = (
            "--url",
            address["url"],
            "--ca-file",
            address["ca_file"],
            "--key-id",
            address["api_key_id"],
            "--key-file",
            address["key_file"],
        )
        assert address["rest_url"] == "https" + address["url"].removeprefix("wss").replace("/ws/", "/")
        with urllib.request.urlopen(
            f"{address['rest_url']}/markets", context=ssl.create_default_context(cafile=address["ca_file"])
        ) as answer:
            listed = json.load(answer)["markets"]
        assert [market["ticker"] for market in listed] == address["market_tickers"]
        check = kalshi_feed("check", *address["market_tickers"], *options)
        assert (check.returncode, check.stderr) == (0, ""), check.stdout
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_it_ends_after_its_seconds() -> None:
    result = kalshi_feed("exchange", "--seconds", "0.3")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\n  export KALSHI_URL=wss://127.0.0.1:" in result.stdout
    assert "\n  export KALSHI_REST_URL=https://127.0.0.1:" in result.stdout


def test_a_port_that_is_taken(access: Access) -> None:
    result = kalshi_feed("exchange", "--port", str(access.exchange.port), "--seconds", "5")
    assert result.returncode == 1
    assert (
        f"cannot listen on port {access.exchange.port}: " in result.stderr
        and "Traceback" not in result.stderr
    )
