"""What is left of a recording after its process was killed, or after it was cut off or damaged."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kalshi_feed import ConfigurationError, KalshiFeed
from kalshi_feed.recording import writing
from kalshi_feed.simulator import Exchange
from tests.cli.support import environment
from tests.feed.support import A
from tests.recording.support import SUFFIXES, lines_of, played, text_of, troubles
from tests.support import wait_until

pytestmark = pytest.mark.slow

RECORDER = """
import sys, time
from kalshi_feed import KalshiFeed
from kalshi_feed.simulator import Exchange
with Exchange(markets=3, rate=300, seed=2) as exchange:
    feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
    recording = feed.record(sys.argv[1])
    with feed:
        feed.subscribe(["orderbook_delta", "trade"], exchange.market_tickers)
        for ticker in exchange.market_tickers:
            feed.wait_for_book(ticker, timeout=10)
        print("recording", flush=True)
        time.sleep(30)
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_kill_9_loses_at_most_the_last_second(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"killed{suffix}"
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(path)], env=environment(), stdout=subprocess.PIPE
    )
    with process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"recording\n"
            begun = time.time_ns()
            wait_until(
                lambda: lines_of(path)[-1].get("recv_ns", 0) > begun + 1_500_000_000,
                20,
                "something in the file",
            )
            if suffix != ".ndjson":  # a compressed file is written only when a buffer is full
                wait_until(
                    lambda: time.time_ns() - lines_of(path)[-1]["recv_ns"] > 300_000_000,
                    20,
                    "much not to be in the file",
                )
        finally:
            killed = time.time_ns()
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    frames = [line for line in lines_of(path) if "event" in line]
    assert killed - frames[-1]["recv_ns"] < 1_000_000_000
    with played(path) as (feed, heard):
        if suffix != ".ndjson":
            (text,) = troubles(heard)
            assert f"{path} was read as far as it goes" in text
        assert feed.stats().messages_total == len(frames) > 100
        assert len(heard.messages) > 100 and heard.gaps == []
        assert all(book.is_live for book in feed.books.values()) and len(feed.books) == 3


@pytest.fixture(scope="module", params=SUFFIXES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a recording of a few frames."""
    path = tmp_path_factory.mktemp("whole") / f"whole{request.param}"
    with Exchange(key_type="ed25519") as exchange:
        exchange.add_market(A, yes={"0.40": 10}, no={"0.54": 7})
        feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
        with pytest.MonkeyPatch.context() as patch, feed, feed.record(path):
            patch.setattr(writing, "_FLUSH", 0.01)
            feed.wait_for_book(A, timeout=5)
            for step in range(20):
                exchange.change(A, "yes", "0.41", step + 1)
                if step % 5 == 4:
                    wait_until(
                        lambda: text_of(path).count(b'"type":"orderbook_delta"') == step + 1,  # noqa: B023
                        what="a flush",
                    )
    return path


def test_a_file_cut_off_anywhere_gives_what_it_has(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    with played(whole) as (_, heard):
        everything = list(heard.messages)
        assert troubles(heard) == [] and len(everything) == 21
    path = tmp_path / whole.name
    counts = []
    for size in sorted({*range(1, len(data), max(1, len(data) // 40)), len(data) - 1, len(data) - 9}):
        path.write_bytes(data[:size])
        try:
            with played(path) as (_, heard):
                assert heard.messages == everything[: len(heard.messages)]
                assert (
                    all("was read as far as it goes" in text for text in troubles(heard))
                    and len(troubles(heard)) <= 1
                )
                if path.suffix != ".ndjson":
                    assert troubles(heard), f"silent at {size} of {len(data)} bytes"
                counts.append(len(heard.messages))
        except ConfigurationError as error:  # not even the header is left
            assert (
                "is empty" in str(error)
                or "is not a recording" in str(error)
                or "cannot be read" in str(error)
            )
    assert counts == sorted(counts) and counts[-1] >= 18


def test_a_file_damaged_in_the_middle(whole: Path, tmp_path: Path) -> None:
    data = bytearray(whole.read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 4] = b"\x00\xff\x00\xff"
    path = tmp_path / whole.name
    path.write_bytes(data)
    with played(path) as (feed, heard):
        assert len(troubles(heard)) >= 1, heard.events
        assert path.suffix == ".zst" or feed.books.keys() == {A}  # a zstd block is read whole, or not
