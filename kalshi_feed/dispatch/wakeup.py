"""Waiting that Ctrl-C can end and that a signal handler can safely wake; and the reading of timeouts.

Owns the one wake-up primitive of the dispatch package. Must not import anything of the package but errors.
"""

from __future__ import annotations

import math
import os
import threading
import time

from ..errors import ConfigurationError

__all__ = ["Wakeup", "deadline_after", "seconds_until"]

_FOREVER = 1e9  # seconds, 30 years
_SLICE = None if os.name == "posix" else 0.1  # elsewhere a lock's acquire keeps Ctrl-C from the main thread


class Wakeup:
    """A flag that wakes one waiter. Thread-safe; set() takes no lock, so it works in a signal handler.

    A set() with nobody waiting is kept for the next wait(); several of them count once. So a waiter always looks at the
    state it waits for first, and again after each wait().
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a binary semaphore, guards nothing: locked = nothing happened since the last wait()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the waiter, or the next one."""
        if self._lock.locked():
            try:
                self._lock.release()
            except RuntimeError:  # another thread was first
                pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until set() or for ``timeout`` seconds; says whether it was set()."""
        if _SLICE is None or threading.current_thread() is not threading.main_thread():
            return self._lock.acquire(True, -1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX))
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            remaining = deadline - time.monotonic()
            if self._lock.acquire(True, min(max(remaining, 0.0), _SLICE)):
                return True
            if remaining <= 0:
                return False


def deadline_after(timeout: float | None) -> float:
    """The time.monotonic() at which ``timeout`` (seconds; None = never, 0 = at once) has passed.

    Raises ConfigurationError for anything that is no such number.
    """
    if timeout is None:
        return math.inf
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:  # NaN is neither
        raise ConfigurationError(f"timeout must be a number of seconds of 0 or more, or None to wait without end, not {timeout!r}")
    return time.monotonic() + timeout if timeout < _FOREVER else math.inf


def seconds_until(deadline: float) -> float | None:
    """The seconds left until ``deadline``, not below 0; None when it never comes."""
    return None if deadline == math.inf else max(0.0, deadline - time.monotonic())
