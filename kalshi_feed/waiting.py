"""Waiting that Ctrl-C can end and that a signal handler can safely wake: timeouts, the clock, the waiters.

Owns the one check of a timeout, Waiter (a thread that waits for the books or the state, released by the
reader) and Signal (one thread that waits for work of its own).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from .errors import ConfigurationError

__all__ = ["Clock", "Signal", "Waiter", "checked_timeout", "deadline_after", "seconds_until"]

_FOREVER: Final = 1e9  # seconds, 30 years
# elsewhere a lock's acquire keeps Ctrl-C from the main thread
_SLICE: Final = None if os.name == "posix" else 0.1


class Clock(Protocol):
    """What time it is for the books: the module ``time``, or a recording's receive times."""

    def monotonic(self) -> float:
        """Seconds since some moment."""

    def time(self) -> float:
        """Unix time in seconds."""


class Signal:
    """A flag that wakes one waiter. Thread-safe; set() takes no lock, so it works in a signal handler.

    A set() with nobody waiting is kept for the next wait(); several of them count once. So a waiter always
    looks at the state it waits for first, and again after each wait().
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        # a binary semaphore, guards nothing: locked = nothing happened since the last wait()
        self._lock = threading.Lock()
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
            return self._lock.acquire(
                True, -1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)
            )
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            remaining = deadline - time.monotonic()
            if self._lock.acquire(True, min(max(remaining, 0.0), _SLICE)):
                return True
            if remaining <= 0:
                return False


class Waiter:
    """One thread that waits for something that changes under a lock.

    Made by that thread; ``is_ready`` is asked under the lock, ``signal`` is set by whoever has changed
    something. A waiter that is ready is set again at every change until its thread has looked: no wake-up can
    be lost, and a second one costs nothing.
    """

    __slots__ = ("__weakref__", "_check", "signal")

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check
        self.signal = Signal()

    def is_ready(self) -> bool:
        """Whether the check has something to say, also an error."""
        try:
            return self._check() is not None
        except Exception:  # whatever it is, the waiting thread raises it
            return True


def checked_timeout(timeout: float | None) -> float | None:
    """A timeout in seconds, None for none. Raises ConfigurationError for what is no such number."""
    if timeout is None:
        return None
    # NaN is neither
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise ConfigurationError(
            f"timeout must be a number of seconds of 0 or more, or None to wait without end, not {timeout!r}"
        )
    return float(timeout) if timeout < _FOREVER else None


def deadline_after(timeout: float | None) -> float:
    """The time.monotonic() at which ``timeout`` (seconds; None = never, 0 = at once) has passed.

    Raises ConfigurationError for anything that is no such number.
    """
    seconds = checked_timeout(timeout)
    return math.inf if seconds is None else time.monotonic() + seconds


def seconds_until(deadline: float) -> float | None:
    """The seconds left until ``deadline``, not below 0; None when it never comes."""
    return None if deadline == math.inf else max(0.0, deadline - time.monotonic())
