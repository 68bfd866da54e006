"""Waiting that Ctrl-C can interrupt and that a signal handler can safely end.

Owns the check of a timeout argument, the Clock protocol, Signal (a flag that wakes one thread) and Waiter (a
thread that waits for the books or the state, and that the reader releases).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from .errors import ConfigurationError
from .greenlets import lock as new_lock

__all__ = ["Clock", "Signal", "Waiter", "checked_timeout", "deadline_after", "seconds_until"]

_FOREVER: Final = 1e9  # seconds, 30 years
# How long the main thread waits at a time, in seconds. A signal that arrives just before the wait begins, or
# on another thread, does not end a lock's acquire(): its handler runs after this long. On Windows no signal
# ends it, not even Ctrl-C.
_SLICE: Final = 1.0 if os.name == "posix" else 0.1


class Clock(Protocol):
    """The time for the books: the module ``time``, or a recording's receive times."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""

    def time(self) -> float:
        """Unix time in seconds."""


class Signal:
    """A flag that wakes one waiting thread. Thread-safe; set() also works in a signal handler.

    If no thread is waiting, a set() is kept for the next wait(); several of them count once. So a waiting
    thread must look at the state it waits for first, and again after each wait(). ``for_real_thread``: the
    one that waits is a ServiceThread with ``is_real``.
    """

    __slots__ = ("_for_real_thread", "_lock")

    def __init__(self, *, for_real_thread: bool = False) -> None:
        self._for_real_thread = for_real_thread
        # a binary semaphore that guards nothing: locked means that nothing has happened since the last wait()
        self._lock = new_lock() if for_real_thread else threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the waiting thread, or the next one to wait."""
        if self._lock.locked():
            try:
                self._lock.release()
            except RuntimeError:  # another thread was first
                pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until set(), or for ``timeout`` seconds; return whether it was set."""
        if self._for_real_thread or threading.current_thread() is not threading.main_thread():
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

    That thread creates it. The thread that changes something calls is_ready() under the lock, and sets
    ``signal`` after it. A waiter that is ready is set again at every change until its thread has looked, so
    no wake-up can be lost, and a second one costs nothing.
    """

    __slots__ = ("__weakref__", "_check", "signal")

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check
        self.signal = Signal()

    def is_ready(self) -> bool:
        """Whether the check has a result, or an error."""
        try:
            return self._check() is not None
        except Exception:  # the waiting thread will raise it, whatever it is
            return True


def checked_timeout(timeout: float | None) -> float | None:
    """Return ``timeout``, in seconds; None means no limit. Raises ConfigurationError for anything else."""
    if timeout is None:
        return None
    # "not >=" also catches NaN
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise ConfigurationError(
            f"timeout must be a number of seconds of 0 or more, or None to wait indefinitely, not {timeout!r}"
        )
    return float(timeout) if timeout < _FOREVER else None


def deadline_after(timeout: float | None) -> float:
    """The time.monotonic() at which ``timeout`` (seconds; None = never, 0 = at once) has passed.

    Raises ConfigurationError for anything else.
    """
    seconds = checked_timeout(timeout)
    return math.inf if seconds is None else time.monotonic() + seconds


def seconds_until(deadline: float) -> float | None:
    """The seconds left until ``deadline``, at least 0; None if it never comes."""
    return None if deadline == math.inf else max(0.0, deadline - time.monotonic())
