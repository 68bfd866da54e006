"""The package's own threads, and what a thread is blocked on: a logging handler, or the feed.

Owns ServiceThread, FeedingThread, the two records of blocked threads, and logging from the package's threads.
Thread-safe without a lock: plain attributes, and single operations on a dict and a set, so that it works in a
signal handler too.
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
_LAST_STEPS: Final = 0.25  # seconds for the interpreter to clean up a thread that has returned
_BLOCKED_AFTER: Final = 1.0  # seconds in a logging handler
_logging: dict[int, float] = {}  # by thread ident, when it passed a record to the handlers (time.monotonic())
# idents of the threads that wait for something that only the reader can bring
waiting_threads: Final[set[int]] = set()


class ServiceThread(Thread):
    """One of the package's own daemon threads: nothing that a logging handler raises ends it."""


def log_safely(
    logger: logging.Logger,
    level: int,
    text: str,
    *args: object,
    error: BaseException | None = None,
    extra: Mapping[str, object] | None = None,
) -> None:
    """Log a line; nothing that a handler raises ends a thread of ours. Never called under a lock.

    On the program's own threads, KeyboardInterrupt and SystemExit pass through, because they are meant for
    the program. A handler that blocks keeps its own lock, and the next thread to log would hang on it: while
    one of the feed's threads is stuck there, records from the others are dropped.
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
    """Whether that thread is inside a logging handler."""
    return ident in _logging


def _forget_threads() -> None:
    """In a forked child: none of these threads exist here."""
    _logging.clear()
    waiting_threads.clear()


call_in_child(_forget_threads)


class FeedingThread(ABC):
    """The daemon thread that feeds a session: a live feed's reader, or a replay's player.

    start() and cancel() are for the thread that made it. ``stop()``, ``join()``, ``wake()`` and the
    properties are thread-safe, also in a signal handler. Everything else belongs to the thread itself.
    """

    def __init__(self, name: str) -> None:
        # Asked to stop; the thread's code has begun, or start() has returned; nothing more comes of it.
        self._stopping = self._begun = self._ended = False
        self.close_deadline = 0.0  # by when it must end, once asked to stop (time.monotonic())
        self.thread = ServiceThread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def wake(self) -> None:
        """Have the thread look at what is wanted now."""

    @abstractmethod
    def _work(self) -> None:
        """Run until stopping(); the thread's whole work."""

    @abstractmethod
    def _report_end(self, error: BaseException | None) -> None:
        """The thread's last call. ``error`` is None if it was asked to stop or is done."""

    def _release(self) -> None:  # noqa: B027  # an optional hook
        """Release what the thread holds, at its end or if it never runs."""

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if the system cannot start one."""
        try:
            self.thread.start()
        except Exception:  # not Ctrl-C: the thread may be running already, and close() will end it
            self.cancel()
            raise
        self._begun = True  # nothing can keep it from beginning now, so close() may join it

    def cancel(self) -> None:
        """Give the thread up before it has run."""
        self._stopping = True
        self._release()
        self._ended = True

    def stop(self, deadline: float) -> None:
        """Ask the thread to end by ``deadline``. Only sets plain attributes and wakes it."""
        self.close_deadline = deadline
        self._stopping = True
        self.wake()

    def stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stopping

    @property
    def is_running(self) -> bool:
        """Whether the thread has begun and not ended.

        Before that, it may depend on a start() that a signal handler has interrupted, and must not be joined
        from there.
        """
        return self._begun and not self._ended

    @property
    def has_ended(self) -> bool:
        """Whether the thread has ended for good; False before it has begun."""
        return self._ended

    def join(self, deadline: float) -> None:
        """Wait for the end until ``deadline``.

        It polls, because Thread.join() must not be interrupted by another join() or is_alive(), as from a
        signal handler.
        """
        while not self._ended and (remaining := deadline - time.monotonic()) > 0:
            time.sleep(min(remaining, _JOIN_SLICE))
        if self._ended and self._begun:
            self.thread.join(_LAST_STEPS)

    def _run(self) -> None:
        # start() was interrupted and has given this thread up; there may be another one by now
        if self._ended:
            return
        self._begun = True
        error: BaseException | None = None
        try:
            self._work()
        except BaseException as exc:  # a bug of ours must not leave LIVE books behind a dead thread
            error = exc
        try:
            self._report_end(error)
        finally:
            self._release()
            self._ended = True
