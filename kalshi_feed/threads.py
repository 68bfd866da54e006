"""The package's own threads, and what a thread is blocked on: a handler of logging, or a wait for the feed.

Owns ServiceThread, FeedingThread, the two notes, and logging from the package's threads. Thread-safe without
a lock: plain attributes, and single operations on a dict and a set, so that it works in a signal handler too.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from threading import Thread, current_thread, get_ident
from typing import Final

from .forks import call_in_child

__all__ = ["FeedingThread", "ServiceThread", "is_logging", "log_safely", "waiting_threads"]

_JOIN_SLICE: Final = 0.002  # seconds
_LAST_STEPS: Final = 0.25  # seconds for the interpreter to be done with a thread that has nothing left to do
_BLOCKED_AFTER: Final = 1.0  # seconds in a handler of logging
_logging: dict[int, float] = {}  # thread ident: when it gave a record to the handlers (time.monotonic())
# idents of the threads that wait for something the reader has yet to bring
waiting_threads: Final[set[int]] = set()


class ServiceThread(Thread):
    """A daemon thread of the package's own: nothing that a handler of logging raises ends it."""


def log_safely(
    logger: logging.Logger,
    level: int,
    text: str,
    *args: object,
    error: BaseException | None = None,
    extra: Mapping[str, object] | None = None,
) -> None:
    """Log; whatever a handler raises (also SystemExit) ends no thread of ours. Never called under a lock.

    On a program's own thread a KeyboardInterrupt or SystemExit passes through, because it is meant for the
    program. A handler that blocks keeps its own lock, and whoever logs next would hang on that: while one of
    the feed's threads is stuck in there, the records of the others are left out.
    """
    now, me = time.monotonic(), get_ident()
    if any(now - since > _BLOCKED_AFTER for since in tuple(_logging.values())):
        return
    _logging[me] = now
    try:
        logger.log(level, text, *args, exc_info=error, extra=extra)
    except Exception:
        pass
    except BaseException:
        if not isinstance(current_thread(), ServiceThread):
            raise
    finally:
        _logging.pop(me, None)


def is_logging(ident: int | None) -> bool:
    """Whether that thread is inside a handler of logging."""
    return ident in _logging


def _forget_threads() -> None:
    """A child process has none of them."""
    _logging.clear()
    waiting_threads.clear()


call_in_child(_forget_threads)


class FeedingThread(ABC):
    """The daemon thread that makes a session's inputs until it is asked to stop.

    ``stop()``, ``join()``, ``wake()`` and the looks at it are thread-safe and signal-safe; everything else
    belongs to the thread.
    """

    def __init__(self, name: str) -> None:
        self._stopping = self._begun = self._ended = False
        self.close_deadline = 0.0
        self.thread = ServiceThread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def wake(self) -> None:
        """Have the thread look what is wanted now."""

    @abstractmethod
    def _work(self) -> None:
        """Everything, until stopping()."""

    @abstractmethod
    def _report_end(self, error: BaseException | None) -> None:
        """The thread ends, by request or having done all (None), or with this error."""

    def _release(self) -> None:  # noqa: B027  # not every heir holds something
        """Nothing more comes of it: let go of what it holds."""

    def start(self) -> None:
        """Start the thread. Raises RuntimeError where the system gives none."""
        try:
            self.thread.start()
        except Exception:  # not Ctrl-C: the thread may run already, and close() will end it
            self.cancel()
            raise
        self._begun = True  # it waits for nobody any more: a close() from here on may join it

    def cancel(self) -> None:
        """Never to run after all."""
        self._stopping = True
        self._release()
        self._ended = True

    def stop(self, deadline: float) -> None:
        """Ask the thread to end by ``deadline``. Touches plain attributes and wakes it only."""
        self.close_deadline = deadline
        self._stopping = True
        self.wake()

    def stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stopping

    @property
    def is_running(self) -> bool:
        """Whether the thread has begun and not ended. Until it has, it may wait for a start() that a signal
        interrupts."""
        return self._begun and not self._ended

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it; False also before its thread has begun."""
        return self._ended

    def join(self, deadline: float) -> None:
        """Wait for the end until ``deadline``. Thread.join() and is_alive() may not be interrupted by one
        another."""
        while not self._ended and (remaining := deadline - time.monotonic()) > 0:
            time.sleep(min(remaining, _JOIN_SLICE))
        if self._ended and self._begun:
            self.thread.join(_LAST_STEPS)

    def _run(self) -> None:
        # start() was interrupted and has given the thread up: its caller may have started another one
        if self._ended:
            return
        self._begun = True
        error: BaseException | None = None
        try:
            self._work()
        except BaseException as exc:  # a defect of ours must not leave LIVE books behind a dead thread
            error = exc
        try:
            self._report_end(error)
        finally:
            self._release()
            self._ended = True
