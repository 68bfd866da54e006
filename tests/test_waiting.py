from __future__ import annotations

import math
import os
import signal
import threading
import time
from typing import Any

import pytest

from kalshi_feed.errors import ConfigurationError
from kalshi_feed.waiting import Signal, deadline_after, seconds_until
from tests.dispatch.support import LONG


def test_a_set_before_the_wait_is_kept_and_counts_once() -> None:
    wakeup = Signal()
    wakeup.set()
    wakeup.set()
    assert wakeup.wait(0)
    assert not wakeup.wait(0)


def test_a_waiting_thread_is_woken() -> None:
    wakeup, woken = Signal(), []
    thread = threading.Thread(target=lambda: woken.append(wakeup.wait(LONG)))
    thread.start()
    wakeup.set()
    thread.join(LONG)
    assert woken == [True]


def test_many_setters_never_raise() -> None:
    wakeup = Signal()
    failures: list[BaseException] = []

    def hammer() -> None:
        try:
            for _ in range(5_000):
                wakeup.set()
                wakeup.wait(0)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert not failures


def test_a_signal_ends_a_wait_without_timeout() -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            Signal().wait()
    finally:
        timer.join(LONG)
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("timeout", ["5", math.nan, True, [], object(), -1, -math.inf])
def test_a_timeout_that_is_not_a_number_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError):
        deadline_after(timeout)


def test_deadlines() -> None:
    assert deadline_after(None) == math.inf
    assert deadline_after(math.inf) == deadline_after(10**400) == math.inf
    assert seconds_until(math.inf) is None
    assert seconds_until(deadline_after(0)) == 0.0
    left = seconds_until(deadline_after(60))
    assert left is not None and 59 < left <= 60
    assert seconds_until(time.monotonic() - 1) == 0.0
    assert not Signal().wait(-1)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks here")
def test_a_signal_that_does_not_interrupt_the_wait_is_handled_soon() -> None:
    """As one is that arrives just before the wait begins: here another thread takes it."""
    woken, ends, waiting = Signal(), threading.Event(), threading.Event()

    def take() -> None:
        waiting.set()
        ends.wait(20)

    taker = threading.Thread(target=take)
    taker.start()
    waiting.wait(5)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: woken.set())
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    later = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
    later.start()
    try:
        began = time.monotonic()
        assert woken.wait(8) and time.monotonic() - began < 6
    finally:
        ends.set()
        taker.join()
        later.join()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        signal.signal(signal.SIGUSR1, before)
