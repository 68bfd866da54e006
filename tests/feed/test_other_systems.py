"""Windows and macOS, as far as Linux can look like them: what is missing there is taken away before the
package is imported, and the monotonic clock of Windows moves in steps of 15.6 ms."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kalshi_feed import KalshiFeed
from kalshi_feed.simulator import Exchange
from tests.cli.support import TOP, Access, environment, started
from tests.support import wait_until

from .support import A

pytestmark = pytest.mark.slow

SYSTEMS = pytest.mark.parametrize("system", ["macos", "windows"])

BEGIN = """
import sys
from tests.feed.other_systems import become
become(sys.argv[1])
import logging, select, signal, threading, time
logging.getLogger("kalshi_feed").addHandler(logging.NullHandler())
"""
PROGRAM = """
from kalshi_feed import *
from kalshi_feed.simulator import Exchange

def within(seconds, call, *expected):
    began = time.perf_counter()
    try:
        call()
        assert not expected, call
    except expected:
        pass
    assert time.perf_counter() - began < seconds, (call, time.perf_counter() - began)

with Exchange(markets=3, rate=300, seed=1) as exchange:
    tickers = exchange.market_tickers
    feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
    seen = []
    feed.on_delta(seen.append)
    recording = feed.record(sys.argv[2])
    with feed:
        feed.subscribe("orderbook_delta", tickers).wait(10)
        for ticker in tickers:
            feed.wait_for_book(ticker, timeout=10)
        while len(seen) < 100:
            time.sleep(0.01)
        exchange.reset()
        while feed.stats().reconnects < 1 or not all(book.is_live for book in feed.books.values()):
            time.sleep(0.01)
        exchange.pause()
        for timeout in (0, 0.001, 0.02):
            within(1, lambda: feed.wait_for("trade", timeout=timeout), WaitTimeout)
            within(1, lambda: feed.book(tickers[0]).wait_for_update(timeout), WaitTimeout)
        for ticker in tickers:
            levels = {side: dict(feed.book(ticker).bids(side)) for side in ("yes", "no")}
            assert levels == exchange.book(ticker), ticker
        within(2, feed.close)
    assert threading.active_count() <= 10
    print(recording.missed, recording.error)
replay = KalshiFeed.replay(sys.argv[2])
replay.run_forever()
print(replay.stats().messages_total >= 100)
"""
# how often the reader waits while nothing happens, and what that costs
IDLE = """
from kalshi_feed import *
from kalshi_feed.simulator import Exchange
waits = []
inner = select.select
def counted(*arguments):
    if threading.current_thread().name == "kalshi-feed-reader":
        waits.append(arguments[3])
    return inner(*arguments)
select.select = counted
with Exchange(markets=1) as exchange:
    with KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed:
        feed.wait_for_book(exchange.market_tickers[0], timeout=10)
        time.sleep(0.5)
        del waits[:]
        cpu = time.process_time()
        for _ in range(20):
            try:
                feed.wait_for("trade", timeout=0.0999)
            except WaitTimeout:
                pass
        print(len(waits), time.process_time() - cpu, sep="|")
"""
COMMAND = """
from kalshi_feed.cli import main
main(sys.argv[2:])
"""


def run(system: str, program: str, *arguments: object) -> list[str]:
    """Run the program in a process that looks like one on that system, and return the lines it printed."""
    words = [sys.executable, "-W", "error", "-c", BEGIN + program, system, *map(str, arguments)]
    done = subprocess.run(words, cwd=TOP, env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@SYSTEMS
def test_a_feed_works_without_what_only_linux_has(system: str, tmp_path: Path) -> None:
    assert run(system, PROGRAM, tmp_path / "a.ndjson") == ["0 None", "True"]


def test_coarse_clock_neither_spins_nor_stands_still() -> None:
    """20 waits, and none lasts a whole number of steps; the reader looks at its clocks once a second."""
    (line,) = run("windows", IDLE)
    waits, cpu = line.split("|")
    assert 1 <= int(waits) < 20 and float(cpu) < 1


RUN_FOREVER = """
from kalshi_feed import *
from kalshi_feed.simulator import Exchange
def end():
    feed.wait_for_book(exchange.market_tickers[0], timeout=10)
    while signal.getsignal(signal.SIGBREAK) is signal.SIG_DFL:
        time.sleep(0.002)
    signal.raise_signal(signal.SIGBREAK)
with Exchange(markets=1) as exchange:
    feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
    threading.Thread(target=end, daemon=True).start()
    feed.start()
    feed.run_forever()
    print(feed.state.value, threading.active_count() < 10)
"""


def test_R37_sigbreak_closes_the_feed() -> None:
    assert run("windows", RUN_FOREVER) == ["CLOSED True"]


@contextmanager
def command(*words: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """``kalshi-feed`` as on Windows, where SIGBREAK is what a closed console and taskkill can send."""
    with started("-W", "error", "-c", BEGIN + COMMAND, "windows", *words, **environ) as process:
        yield process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Send SIGBREAK, which is SIGUSR1 here; return the exit code, and what else was printed."""
    process.send_signal(signal.SIGUSR1)
    out, err = process.communicate(timeout=20)
    assert err == ""
    return process.returncode, out


def test_R37_sigbreak_ends_record_with_a_whole_file(exchange: Exchange, tmp_path: Path) -> None:
    access, file = Access(exchange, tmp_path), tmp_path / "a.ndjson"
    with command("record", A, "-o", str(file), "--json", *access.options, **access.environ) as process:
        wait_until(lambda: file.exists() and b"orderbook_snapshot" in file.read_bytes(), 20, "the book")
        code, out = ended(process)
    assert code == 0 and json.loads(out)["missed"] == 0
    replay = KalshiFeed.replay(file)
    replay.run_forever()
    assert replay.stats().messages_total == json.loads(out)["messages"]


@pytest.mark.parametrize("words", [("exchange", "--port", "0"), ("demo", "--seconds", "60")], ids=" ".join)
def test_R37_sigbreak_ends_the_simulator(words: tuple[str, ...]) -> None:
    with command(*words) as process:
        assert process.stdout is not None
        process.stdout.readline()
        code, _ = ended(process)
    assert code == 0
