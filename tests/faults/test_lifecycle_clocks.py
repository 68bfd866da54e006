"""The life of the feed when clocks jump and programs are suspended."""

# mypy: no-strict-equality

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import FeedClosedError
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, HurriedFeed, Recorder, in_thread, program, wait_equal
from tests.support import wait_until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("hours", [1, -1])
def test_R20_the_wall_clock_jumps(
    hours: int, exchange: Exchange, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is timed by the wall clock: no wait ends early or late, nothing is lost, silence is still
    noticed, and ages stay true."""
    exchange.heartbeat = 0.1
    feed = make_feed(HurriedFeed, idle_timeout=1.0)
    heard = Recorder(feed)
    feed.start().subscribe(["orderbook_delta", "trade"], [A, B])
    wait_equal(feed, exchange, A, B)
    waiting = in_thread(lambda: feed.wait_for("fill", timeout=30))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
    for _ in range(20):
        exchange.change(A, "yes", "0.4", 1)
        exchange.trade(A, "yes", "0.5", 1)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: len(heard.of("trade")) == 20)
    age = feed.book(A).age()
    assert age is not None and 0 <= age < 10
    assert waiting.is_running
    stats = feed.stats()
    assert (stats.reconnects, stats.gaps, stats.resyncs) == (0, 0, 0)
    assert stats.last_message_age is not None and 0 <= stats.last_message_age < 10
    exchange.reset()  # the next handshake is signed with the current time
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A, B)
    exchange.silence()
    wait_until(lambda: feed.stats().reconnects == 2, timeout=10)
    wait_equal(feed, exchange, A, B)
    feed.close()
    assert isinstance(waiting.ended(), FeedClosedError)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP here")
@pytest.mark.parametrize("meanwhile", ["all goes on", "silence", "reset"])
def test_R20_a_suspended_program(meanwhile: str, exchange: Exchange, tmp_path: Path) -> None:
    """The program was away for longer than idle_timeout. Whatever arrived meanwhile counts as life; if that
    is nothing, or the end, it reconnects."""
    exchange.heartbeat = 0.2
    body = f"""
    feed = make(HurriedFeed, idle_timeout=1.5)
    feed.start().wait_for_book('{A}', 10)
    print('ready', flush=True)
    for line in sys.stdin:
        feed.wait_for_book('{A}', 10)
        print(json.dumps([str(feed.book('{A}').depth_at('yes', '0.4')), feed.stats().reconnects]), flush=True)
    """
    with subprocess.Popen(
        program(exchange, tmp_path, body),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        for _ in range(20):
            exchange.change(A, "yes", "0.4", 1)
        if meanwhile == "silence":
            exchange.wait_until_sent()
            exchange.freeze()
        elif meanwhile == "reset":
            exchange.reset()
        wait_until(lambda: time.monotonic() - stopped > 2.5)  # the point is that time passes
        process.send_signal(signal.SIGCONT)

        def seen() -> list[Any]:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            size, reconnects = json.loads(process.stdout.readline())
            return [float(size), reconnects]

        wait_until(lambda: seen() == [30, 0 if meanwhile == "all goes on" else 1], timeout=10)
        process.stdin.close()
        assert process.wait(10) == 0
