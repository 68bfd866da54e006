"""Standing still: what keeps the reader from its work is counted in stats().stalls, and logged.

PyDLL keeps Python's lock during its calls, as one long call of the interpreter's own C code does.
"""

# mypy: no-strict-equality

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import FeedState, KalshiFeed, Stalls
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.feed.support import A, B, FeedMaker, Held, Recorder, program, wait_equal
from tests.support import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs poll() and SIGSTOP"),
]

LENGTH = 1.4  # seconds; at least 1.1 of them are measured, and over 1.0 is logged
LINE = "the reader stood still for"
_BODY = """
import ctypes
feed.subscribe("orderbook_delta", {market!r})
with feed:
    feed.wait_for_book({market!r}, 10)
    print("ready", flush=True)
    for line in sys.stdin:
        if line == "stand still\\n":
            ctypes.PyDLL(None).poll(None, 0, {milliseconds})
        print(json.dumps(feed.stats().to_dict() | {{"live": feed.book({market!r}).is_live}}), flush=True)
"""


def stand_still(seconds: float = LENGTH) -> None:
    """Keep Python's lock."""
    ctypes.PyDLL(None).poll(None, 0, int(seconds * 1000))


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if LINE in record.getMessage()]


@pytest.fixture
def busy(exchange: Exchange, feed: KalshiFeed) -> KalshiFeed:
    """A feed with two LIVE books."""
    feed.subscribe("orderbook_delta", [A, B])
    wait_equal(feed, exchange, A, B)
    return feed


def test_one_call_that_keeps_the_lock_is_one_stall(
    exchange: Exchange, busy: KalshiFeed, caplog: pytest.LogCaptureFixture
) -> None:
    before = busy.stats().stalls
    stand_still()
    wait_until(lambda: busy.stats().stalls != before and warnings_of(caplog))  # logged once it is counted
    stats = busy.stats()
    assert stats.stalls.count == before.count + 1
    assert LENGTH - 0.3 < stats.stalls.longest < LENGTH + 0.7
    (line,) = warnings_of(caplog)
    assert line.startswith(f"{LINE} {stats.stalls.longest:.1f} s, so pongs and callbacks were late")
    assert "no message was lost" in line and "run it in another process" in line
    exchange.change(A, "yes", "0.41", 5)
    wait_equal(busy, exchange, A, B)
    assert (stats.state, stats.reconnects, stats.gaps) == (FeedState.CONNECTED, 0, 0)


def test_a_turn_that_cannot_go_on_counts(exchange: Exchange, busy: KalshiFeed) -> None:
    with inside.store(busy).lock:
        exchange.change(A, "yes", "0.41", 5)
        exchange.wait_until_sent()
        time.sleep(LENGTH)  # the length of the stall
    wait_until(lambda: busy.stats().stalls.count)
    assert LENGTH - 0.3 < busy.stats().stalls.longest < LENGTH + 0.7


def test_a_quiet_feed_does_not_stand_still(exchange: Exchange, busy: KalshiFeed) -> None:
    exchange.pings = False
    engine: Any = inside.engine(busy)
    turns, turn = list[float](), engine.turn
    engine.turn = lambda payloads, now: (turns.append(now), turn(payloads, now))[1]
    wait_until(lambda: len(turns) > 3, 20, "three waits of the reader, a second each")
    assert busy.stats().stalls.count < 2  # one may be this machine's


def test_waiting_for_room_in_the_queue_is_not_a_stall(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(queue_size=1, overflow="block")
    heard, held = Recorder(feed), Held()
    feed.on_delta(held)
    feed.start().subscribe("orderbook_delta", A)
    wait_equal(feed, exchange, A)
    for n in range(100):
        exchange.change(A, "yes", "0.30", n + 1)
    assert held.entered.wait(5)
    wait_until(lambda: feed.stats().queue_depth == 1)
    time.sleep(LENGTH)  # the reader waits for room
    held.go_on.set()
    wait_equal(feed, exchange, A)
    wait_until(lambda: len(heard.of("orderbook_delta")) == 100)
    assert feed.stats().stalls.longest < LENGTH - 0.4  # a shorter one may be this machine's
    stand_still()
    wait_until(lambda: feed.stats().stalls.longest > LENGTH - 0.3)  # anything else still counts


def test_the_log_has_one_line_a_minute(make_feed: FeedMaker, caplog: pytest.LogCaptureFixture) -> None:
    feed = make_feed()
    engine: Any = inside.engine(feed)
    for now, seconds in ((1000.0, 0.9), (1001.0, 1.5), (1030.0, 6.3), (1060.9, 2.0), (1061.0, 2.9)):
        engine.stood_still(seconds, now)
    assert feed.stats().stalls == Stalls(5, 6.3)
    assert [line.partition(" s,")[0] for line in warnings_of(caplog)] == [f"{LINE} 1.5", f"{LINE} 2.9"]
    assert warnings_of(caplog)[1].endswith("(stalls so far: 5, the longest 6.3 s)")
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


class _Child:
    """A program with a feed; ``ask()`` returns its stats, ``log`` is what it wrote to standard error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log = ""

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self) -> dict[str, Any]:
        self.tell("stats")
        answer: dict[str, Any] = json.loads(self.hear())
        return answer


@contextmanager
def child(exchange: Exchange, folder: Path) -> Iterator[_Child]:
    command = program(exchange, folder, _BODY.format(market=A, milliseconds=int(LENGTH * 1000)))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        child = _Child(process)
        try:
            assert child.hear() == "ready\n"
            yield child
            _, child.log = process.communicate(timeout=10)
            assert process.returncode == 0
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["a call that keeps the lock", "SIGSTOP"])
def test_the_pongs_come_late_and_the_connection_stays(how: str, exchange: Exchange, tmp_path: Path) -> None:
    exchange.heartbeat = 0.1
    with child(exchange, tmp_path) as program:
        before = program.ask()
        wait_until(lambda: exchange.pongs > 3)
        began = time.monotonic()
        if how == "SIGSTOP":
            os.kill(program.process.pid, signal.SIGSTOP)
            os.waitpid(program.process.pid, os.WUNTRACED)
        else:
            program.tell("stand still")
        longest_silence, pongs, since = 0.0, exchange.pongs, began
        while time.monotonic() < began + LENGTH + 0.5:
            if how == "SIGSTOP" and time.monotonic() > began + LENGTH:
                os.kill(program.process.pid, signal.SIGCONT)
                how = "continued"
            if exchange.pongs != pongs:
                pongs, since = exchange.pongs, time.monotonic()
            longest_silence = max(longest_silence, time.monotonic() - since)
            time.sleep(0.01)
        if how == "a call that keeps the lock":
            program.hear()
        after = program.ask()
    assert longest_silence > LENGTH - 0.3
    assert after["stalls"]["count"] == before["stalls"]["count"] + 1
    assert LENGTH - 0.3 < after["stalls"]["longest"] < LENGTH + 0.7
    assert program.log.count(LINE) == 1
    assert (after["state"], after["reconnects"], after["gaps"], after["live"]) == ("CONNECTED", 0, 0, True)
    wait_until(lambda: exchange.connections == 0)
