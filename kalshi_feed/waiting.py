"""Waiting that Ctrl-C can end and that a signal handler can safely wake: timeouts, the clock, the waiters.

Owns the one check of a timeout, Waiter (a thread that waits for the books or the state, released by the reader) and Signal (one
thread that waits for work of its own).
"""

from __future__ import annotations

import _thread
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from .errors import ConfigurationError

__all__ = ["Clock", "Signal", "Waiter", "checked_timeout", "deadline_after", "seconds_until"]

_FOREVER: Final = 1e9  # seconds, 30 years
_SLICE: Final = None if os.name == "posix" else 0.1  # elsewhere a lock's acquire keeps Ctrl-C from the main thread
_LONGEST: Final = 1e6 if _SLICE is None else _SLICE  # seconds; a lock's acquire takes no infinity


class Clock(Protocol):
    """What time it is for the books: the module ``time``, or a recording's receive times."""

    def monotonic(self) -> float:
        """Seconds since some moment."""

    def time(self) -> float:
        """Unix time in seconds."""


class Waiter:
    """One thread that waits for something.

    Made by that thread, released by the reader; ``check`` runs under the store's lock.
    """

    __slots__ = ("_signal", "_signalled", "check")

    def __init__(self, check: Callable[[], object]) -> None:
        self.check = check
        self._signal = _thread.allocate_lock()  # held while there is nothing to see; nothing is called under it
        self._signal.acquire()
        self._signalled = False

    def ready(self) -> bool:
        """Whether the check has something to say (also an error) that was not signalled yet. Under the store's lock."""
        if self._signalled:
            return False
        try:
            self._signalled = self.check() is not None
        except Exception:  # whatever it is, the waiting thread raises it
            self._signalled = True
        return self._signalled

    def rearm(self) -> None:
        """The check was looked at and said nothing after all. Under the store's lock."""
        self._signalled = False

    def release(self) -> None:
        """Wake the thread; not under the store's lock."""
        self._signal.release()

    def sleep(self, deadline: float | None) -> bool:
        """Wait to be released; False if the deadline came first."""
        while True:
            remaining = _LONGEST if deadline is None else min(deadline - time.monotonic(), _LONGEST)
            if self._signal.acquire(timeout=max(remaining, 0.0)):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False


class Signal:
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


def checked_timeout(timeout: float | None) -> float | None:
    """A timeout in seconds, None for none. Raises ConfigurationError for what is no such number."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:  # NaN is neither
        raise ConfigurationError(f"timeout must be a number of seconds of 0 or more, or None to wait without end, not {timeout!r}")
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
