"""Starting and ending: faults R03, R05, R09, R14, R15, R16, R17, R21."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import pytest

from kalshi_feed.dispatch import BOOKS, Dispatcher
from kalshi_feed.errors import FeedClosedError, FeedForkedError
from kalshi_feed.events import Lagged, StateChange
from tests.support import wait_until

from .conftest import Make
from .support import CONNECTED, LONG, Collector, Gate, delta, put, seqs, soon, trade


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kalshi-feed-worker")]


def test_what_is_queued_is_still_delivered(make: Make) -> None:
    dispatcher = make(start=False)
    got = Collector()
    dispatcher.register("trade", got)
    dispatcher.register(StateChange, got)
    dispatcher.register(BOOKS, got)
    put(dispatcher, *(trade("A", n) for n in range(500)), CONNECTED, status_changed=("A",))
    dispatcher.start()
    dispatcher.close(soon())
    assert len(got.items) == 502
    assert dispatcher.counters.dropped == 0
    assert workers() == []


def test_what_is_left_at_the_deadline_is_counted_and_announced(make: Make) -> None:
    dispatcher = make()
    got, lags = Collector(), Collector()
    first = threading.Event()

    def slow(message: Any) -> None:
        first.set()
        time.sleep(0.02)
        got(message)

    dispatcher.register("trade", slow)
    dispatcher.register(Lagged, lags)
    put(dispatcher, *(trade("A", n) for n in range(500)))
    assert first.wait(LONG)
    began = time.monotonic()
    dispatcher.close(began + 0.2)
    assert time.monotonic() - began < 1.0
    assert workers() == []
    assert 1 <= len(got.items) < 50
    assert seqs(got.items) == list(range(len(got.items)))
    assert dispatcher.counters.dropped == 500 - len(got.items)
    assert sum(lag.dropped for lag in lags.items) == dispatcher.counters.dropped
    assert dispatcher.counters.depth == 0


def test_R16_sequences_of_start_and_close(make: Make) -> None:
    dispatcher = make(start=False)
    got = Collector()
    dispatcher.register("trade", got)
    dispatcher.close(soon())
    dispatcher.close(soon())
    for round_ in range(1, 4):
        dispatcher.start()
        dispatcher.start()
        assert workers() == ["kalshi-feed-worker-0"]
        put(dispatcher, trade("A", round_))
        assert seqs(got.wait(round_)) == list(range(1, round_ + 1))
        dispatcher.close(soon())
        dispatcher.close(soon())
        assert workers() == []


def test_what_comes_before_the_start_waits_and_after_the_close_is_lost(make: Make) -> None:
    dispatcher = make(start=False)
    got = Collector()
    dispatcher.register("trade", got)
    put(dispatcher, trade("A", 1))
    dispatcher.start()
    assert seqs(got.wait(1)) == [1]
    dispatcher.close(soon())
    put(dispatcher, trade("A", 2), CONNECTED)
    assert dispatcher.counters.dropped == 1
    dispatcher.start()
    put(dispatcher, trade("A", 3))
    assert seqs(got.wait(2)) == [1, 3]


@pytest.mark.parametrize("count", [1, 3])
def test_R05_close_from_a_callback_returns_at_once_and_ends_all(make: Make, count: int) -> None:
    dispatcher = make(workers=count)
    took: list[float] = []
    got = Collector()

    def close(message: Any) -> None:
        assert dispatcher.is_worker()
        began = time.monotonic()
        dispatcher.close(began + 5)
        took.append(time.monotonic() - began)

    dispatcher.register("trade", close, "A")
    dispatcher.register("trade", got)
    put(dispatcher, trade("A", 1), *(trade("B", n) for n in range(100)))
    wait_until(lambda: not workers())
    assert took and took[0] < 0.5
    assert not dispatcher.is_worker()
    assert len(got.items) == 101
    dispatcher.start()
    put(dispatcher, trade("C", 1))
    got.wait(102)


def test_R05_after_close_from_a_callback_the_deadline_holds(make: Make) -> None:
    dispatcher = make()
    seen = Collector()

    def close(message: Any) -> None:
        seen(message)
        dispatcher.close(time.monotonic() + 0.1)
        time.sleep(0.02)

    dispatcher.register("trade", close)
    put(dispatcher, *(trade("A", n) for n in range(1000)))
    wait_until(lambda: not workers())
    assert len(seen.items) < 100
    assert dispatcher.counters.dropped == 1000 - len(seen.items)


def test_R03_a_callback_that_never_returns_does_not_hold_up_close(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = make()
    gate, after = Gate(), Collector()
    dispatcher.register("trade", gate)
    dispatcher.register(StateChange, after)
    put(dispatcher, *(trade("A", n) for n in range(10)), CONNECTED)
    assert gate.entered.wait(LONG)
    began = time.monotonic()
    dispatcher.close(began + 0.1)
    dispatcher.close(began + 0.1)
    assert time.monotonic() - began < 1.5
    (record,) = caplog.records
    assert "Gate" in record.getMessage() and "kalshi-feed-worker-0" in record.getMessage()
    assert dispatcher.counters.dropped == 9
    dispatcher.start()  # works alongside the abandoned thread
    got = Collector()
    dispatcher.register("orderbook_delta", got)
    put(dispatcher, delta("A", 5))
    assert seqs(got.wait(1)) == [5]
    gate.open()
    wait_until(lambda: len(workers()) == 1)
    assert len(gate.items) == 1  # once released, it delivered nothing more
    assert after.items == []
    assert dispatcher.counters.dropped == 9


def test_R03_a_stuck_event_with_several_workers_does_not_hold_up_close(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = make(workers=3)
    gate = Gate()
    dispatcher.register(StateChange, gate)
    put(dispatcher, CONNECTED)
    assert gate.entered.wait(LONG)
    began = time.monotonic()
    dispatcher.close(began + 0.1)
    assert time.monotonic() - began < 1.5
    assert len(caplog.records) == 1
    wait_until(lambda: len(workers()) == 1)
    gate.open()
    wait_until(lambda: not workers())


def test_R17_many_threads_close_at_once(make: Make) -> None:
    dispatcher = make(workers=2)
    dispatcher.register("trade", Collector())
    put(dispatcher, *(trade(f"K{n}") for n in range(200)))
    barrier = threading.Barrier(10)

    def close() -> None:
        barrier.wait(LONG)
        dispatcher.close(soon())

    threads = [threading.Thread(target=close) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert workers() == []
    assert dispatcher.counters.dropped == 0


def test_R09_close_in_a_signal_handler_on_top_of_any_method(make: Make) -> None:
    """The main thread hammers the dispatcher; signals close it every 0.5 ms, nested up to three deep."""
    dispatcher = make()
    dispatcher.register("trade", Collector())
    closed = depth = 0

    def handler(number: int, frame: object) -> None:
        nonlocal closed, depth
        depth += 1
        if depth < 3:
            signal_soon()
        dispatcher.close(time.monotonic() + 0.2)
        dispatcher.end_streams(None)
        closed += 1
        depth -= 1
        if not depth:
            signal_soon()

    def signal_soon() -> None:  # not with an interval timer: a machine too slow for it would do nothing else
        if not stop.is_set():
            signal.setitimer(signal.ITIMER_REAL, 0.0005)

    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            put(dispatcher, trade("A"))

    reader = threading.Thread(target=read)
    reader.start()
    before = signal.signal(signal.SIGALRM, handler)
    signal_soon()
    began = time.monotonic()
    try:
        while time.monotonic() - began < 1.5:
            dispatcher.start()
            callback = Collector()
            dispatcher.register("trade", callback)
            stream = dispatcher.stream("trade")
            try:
                stream.get(0.001)
            except (FeedClosedError, TimeoutError):
                pass
            stream.close()
            dispatcher.off(callback)
            dispatcher.close(time.monotonic() + 0.2)
    finally:
        stop.set()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        reader.join(LONG)
    assert closed > 20
    assert time.monotonic() - began < 10
    dispatcher.close(soon())
    wait_until(lambda: not workers())


def test_R15_the_threads_know_neither_the_feed_nor_the_dispatcher(make: Make) -> None:
    class Feed:
        def __init__(self) -> None:
            self.dispatcher = Dispatcher(view_of=lambda ticker: None)

    feed = Feed()
    got = Collector()
    dispatcher = feed.dispatcher
    dispatcher.register("trade", got)
    dispatcher.start()
    put(dispatcher, trade("A"))
    got.wait(1)
    gone = weakref.ref(feed)
    del feed
    gc.collect()
    assert gone() is None
    dispatcher.close(soon())


def test_R21_a_thread_that_cannot_be_started_leaves_nothing_running(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = make(start=False, workers=3)
    started = 0
    start = threading.Thread.start

    def scarce(thread: threading.Thread) -> None:
        nonlocal started
        if started == 2:
            raise RuntimeError("can't start new thread")
        started += 1
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", scarce)
        with pytest.raises(RuntimeError, match="new thread"):
            dispatcher.start()
    wait_until(lambda: not workers())
    dispatcher.start()
    assert len(workers()) == 3


PROGRAM = """
import sys, time
from kalshi_feed.dispatch import Dispatcher
from tests.dispatch.support import Gate, trade
dispatcher = Dispatcher(view_of=str)
gate = Gate()
dispatcher.register("trade", gate)
dispatcher.start()
dispatcher.put([trade("A")], time.perf_counter())
assert gate.entered.wait(10)
sys.exit(3)
"""


def test_R14_a_program_ends_without_close_even_in_a_callback() -> None:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=root, timeout=20, capture_output=True, check=False
    )
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr == b""
    assert time.monotonic() - began < 15


def test_R13_a_child_process_delivers_nothing_and_needs_no_lock(make: Make) -> None:
    """What fork() calls in the child, called in the parent: the lock's holder does not exist in the child."""
    gate = Gate()
    dispatcher = make()
    dispatcher.register("trade", gate)
    stream, ended = dispatcher.stream("trade"), dispatcher.stream("trade")
    put(dispatcher, *(trade("A", n) for n in range(20)))
    assert gate.entered.wait(LONG)
    ended.close()
    dispatcher._lock.acquire()
    dispatcher.leave_child()
    with pytest.raises(FeedForkedError):
        stream.get()
    with pytest.raises(FeedClosedError):
        ended.get()
    gate.open()
    wait_until(lambda: not workers())
    assert len(gate.items) == 1
