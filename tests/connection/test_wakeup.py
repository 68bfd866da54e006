from __future__ import annotations

import os
import signal
import socket
import threading
import time
from typing import Any

import pytest

from kalshi_feed import forks as forks
from kalshi_feed.connection import wakeup as module
from kalshi_feed.connection.wakeup import Wakeup, wait_ready


def test_wake_is_latched_until_drained() -> None:
    wakeup = Wakeup()
    wakeup.wake()
    wakeup.wake()
    assert wait_ready(None, wakeup, timeout=5) == (False, False, True)
    assert wait_ready(None, wakeup, timeout=5) == (False, False, True)
    wakeup.drain()
    assert wait_ready(None, wakeup, timeout=0) == (False, False, False)
    wakeup.close()


def test_wake_never_blocks_or_raises() -> None:
    wakeup = Wakeup()
    for _ in range(20_000):  # far more than a socket pair holds
        wakeup.wake()
    wakeup.drain()
    assert wait_ready(None, wakeup, timeout=0) == (False, False, False)
    wakeup.close()
    wakeup.close()
    wakeup.wake()
    wakeup.drain()
    assert wakeup.fileno() == -1


def test_wakes_another_thread_and_from_a_signal_handler() -> None:
    wakeup = Wakeup()
    before = signal.signal(signal.SIGUSR1, lambda *_: wakeup.wake())
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        began = time.monotonic()
        assert wait_ready(None, wakeup, timeout=5)[2]
        assert time.monotonic() - began < 2
    finally:
        signal.signal(signal.SIGUSR1, before)
        wakeup.close()


@pytest.mark.parametrize("has_poll", [True, False])
def test_wait_ready(monkeypatch: pytest.MonkeyPatch, has_poll: bool) -> None:
    if not has_poll:
        monkeypatch.setattr(module, "find_poll", lambda: None)
    here, there = socket.socketpair()
    wakeup = Wakeup()
    with here, there:
        assert wait_ready(here.fileno(), wakeup, timeout=0) == (False, False, False)
        assert wait_ready(here.fileno(), wakeup, write=True, timeout=None) == (False, True, False)
        there.send(b"x")
        assert wait_ready(here.fileno(), wakeup, timeout=5) == (True, False, False)
        assert wait_ready(here.fileno(), wakeup, read=False, timeout=0.001) == (False, False, False)
        wakeup.wake()
        assert wait_ready(here.fileno(), wakeup, write=True, timeout=-1) == (True, True, True)
    wakeup.close()


def test_hang_up_counts_as_readable() -> None:
    here, there = socket.socketpair()
    there.close()
    with here:
        assert wait_ready(here.fileno(), None, timeout=5)[0]


def test_a_short_wait_is_no_busy_loop() -> None:
    wakeup = Wakeup()
    began = time.monotonic()
    wait_ready(None, wakeup, timeout=0.0009)
    assert time.monotonic() - began >= 0.0009
    wakeup.close()


def test_R09_close_does_not_wait_for_a_thread_that_wakes() -> None:
    """A signal handler may wake and then wait for the closing thread; the later of the two closes."""
    wakeup = Wakeup()
    waking, go_on = threading.Event(), threading.Event()

    def wake() -> None:
        with wakeup._lock:  # in the middle of wake()
            waking.set()
            assert go_on.wait(5)
        wakeup.wake()

    thread = threading.Thread(target=wake)
    thread.start()
    assert waking.wait(5)
    wakeup.close()
    wakeup.give_back()
    assert wait_ready(None, wakeup, timeout=5)[2]
    go_on.set()
    thread.join(5)
    assert wakeup.fileno() == -1


def test_R13_what_a_child_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    mine: dict[Any, Any] = {}
    monkeypatch.setattr(forks, "_registered", mine)
    wakeup = Wakeup()
    closed = forks.close_in_child(socket.socket())
    closed.close()
    assert len(mine) == 3
    forks._after_fork()
    assert wakeup.fileno() == -1
    wakeup.wake()  # harmless
