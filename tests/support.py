"""What the tests of several modules share. Small on purpose."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Callable

__all__ = ["end_if_it_hangs", "open_descriptors", "wait_until"]

_HANGS_AFTER = 20  # seconds


def wait_until(condition: Callable[[], object], timeout: float = 5.0, what: str = "the condition") -> None:
    """Return as soon as ``condition()`` is true; fail the test after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {timeout} s waiting for {what}")
        time.sleep(0.002)


def end_if_it_hangs() -> None:
    """Call this in a child of os.fork(): if the child hangs, it writes its stacks to what pytest shows as
    stderr, and ends with SIGALRM.

    faulthandler's own watchdog is a thread, and stayed in the parent.
    """
    faulthandler.register(signal.SIGALRM, file=2, chain=True)
    signal.alarm(_HANGS_AFTER)


def open_descriptors() -> list[str]:
    """Return the sockets, pipes, pollers and files that this process has open, as /proc names them; empty
    without /proc."""
    try:
        numbers = os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return []
    targets = []
    for number in numbers:
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # closed in the meantime, like the listing's own descriptor
        if not target.startswith("/dev/") and ".coverage" not in target and ".hypothesis" not in target:
            targets.append(target)
    return targets
