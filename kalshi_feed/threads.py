"""The package's own threads, and what a thread is blocked on: a logging handler, or the feed.

Owns ServiceThread, FeedingThread, the two records of blocked threads, and logging from the package's threads.
Thread-safe without a lock: plain attributes, and single operations on a dict and a set, so that it works in a
signal handler too.
"""

from __future__ import annotations

import _thread
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import ClassVar, Final

from . import greenlets
from .forks import call_in_child

__all__ = ["FeedingThread", "ServiceThread", "is_logging", "log_safely", "sleep", "waiting_threads"]

_JOIN_SLICE: Final = 0.002  # seconds
_LAST_STEPS: Final = 0.25  # seconds for the interpreter to clean up a thread that has returned
_BLOCKED_AFTER: Final = 1.0  # seconds in a logging handler
_logging: dict[int, float] = {}  # by thread ident, when it passed a record to the handlers (time.monotonic())
# idents of the threads that wait for something that only the reader can bring
waiting_threads: Final[set[int]] = set()


class ServiceThread:
    """One of the package's own daemon threads. Thread-safe.

    ``is_real`` asks for a thread of the system, also where gevent makes greenlets of threads (greenlets.py).
    Its code must not call the user's, nor wait by anything that gevent has patched.
    """

    _running: ClassVar[dict[int, ServiceThread]] = {}  # by ident, those whose code is running

    def __init__(self, target: Callable[[], object], name: str, *, is_real: bool = False) -> None:
        self._target = target
        self.name = name
        self._is_real = is_real
        self._ident: int | None = None  # with gevent
        self._started = self._ended = False  # start() was called; the code has returned
        # None before start(), and with gevent
        self._thread: threading.Thread | None = None

    @property
    def ident(self) -> int | None:
        """What threading.get_ident() returns in this thread; None before it has begun."""
        return self._ident if self._thread is None else self._thread.ident

    @classmethod
    def current(cls) -> ServiceThread | None:
        """The one that runs the caller; None if it is any other thread."""
        return cls._running.get(threading.get_ident())

    @classmethod
    def leave_child(cls) -> None:
        """In a forked child: only the thread that has forked exists."""
        me = threading.get_ident()
        for ident in list(cls._running):
            if ident != me:
                cls._running.pop(ident, None)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if the system cannot start one."""
        if greenlets.thread_kind() == "gevent":
            start = (
                greenlets.original("_thread", "start_new_thread")
                if self._is_real
                else _thread.start_new_thread
            )
            self._started = True
            try:
                start(self._run_named, ())
            except BaseException:
                self._started = False
                raise
            return
        self._thread = thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        thread.start()
        self._started = True

    def is_alive(self) -> bool:
        """Whether the thread was started and has not ended."""
        thread = self._thread
        if thread is not None and greenlets.thread_kind() == "thread":
            return thread.is_alive()
        return self._started and not self._ended

    def join(self, timeout: float | None) -> None:
        """Wait for the end of the thread, at most ``timeout`` seconds.

        Returns at once in an event loop, which must not wait.
        """
        thread = self._thread
        if thread is not None and greenlets.thread_kind() == "thread":
            if thread.ident is not None:  # it was started
                thread.join(timeout)
        elif self._started and greenlets.may_wait():
            longest = threading.TIMEOUT_MAX if timeout is None else timeout
            wait_until(lambda: self._ended, time.monotonic() + longest)

    def _run(self) -> None:
        self._ident = me = threading.get_ident()
        self._running[me] = self
        try:
            self._target()
        finally:
            self._running.pop(me, None)
            self._ended = True

    def _run_named(self) -> None:
        """Run without a threading.Thread, of which threading learns only by current_thread().

        With gevent, a Thread cannot be real, and one that is a greenlet fails at its end in a forked child.
        """
        threading.current_thread().name = self.name  # for the log
        try:
            self._run()
        finally:
            with suppress(Exception):  # or the entry that current_thread() has made stays
                del threading._active[threading.get_ident()]  # type: ignore[attr-defined]


def wait_until(done: Callable[[], bool], deadline: float) -> None:
    """Wait until ``done()``, or until ``deadline`` (time.monotonic()), by looking every 2 ms."""
    while not done() and (remaining := deadline - time.monotonic()) > 0:
        sleep(min(remaining, _JOIN_SLICE))


def sleep(seconds: float) -> None:
    """Sleep as the calling thread must: gevent's sleep would make an event loop in a real thread of ours."""
    thread = ServiceThread.current()
    is_real = thread is not None and thread._is_real
    (greenlets.original("time", "sleep") if is_real else time.sleep)(seconds)


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
    now, me = time.monotonic(), threading.get_ident()
    if any(now - since > _BLOCKED_AFTER for since in tuple(_logging.values())):
        return
    _logging[me] = now
    try:
        logger.log(level, text, *args, exc_info=error, extra=extra)
    except Exception:
        pass
    except BaseException as interrupt:
        if ServiceThread.current() is None:
            raise
        greenlets.pass_on(interrupt)
    finally:
        _logging.pop(me, None)


def is_logging(ident: int | None) -> bool:
    """Whether that thread is inside a logging handler."""
    return ident in _logging


def _forget_threads() -> None:
    """In a forked child: none of these threads exist here."""
    _logging.clear()
    waiting_threads.clear()
    ServiceThread.leave_child()


call_in_child(_forget_threads)


class FeedingThread(ABC):
    """The daemon thread that feeds a session: a live feed's reader, or a replay's player.

    start() and cancel() are for the thread that made it. ``stop()``, ``join()``, ``wake()`` and the
    properties are thread-safe, also in a signal handler. Everything else belongs to the thread itself.
    """

    IS_REAL: ClassVar[bool]  # ServiceThread's is_real: it never calls the user's code

    def __init__(self, name: str) -> None:
        # Asked to stop; the thread's code has begun, or start() has returned; nothing more comes of it.
        self._stopping = self._begun = self._ended = False
        self.close_deadline = 0.0  # by when it must end, once asked to stop (time.monotonic())
        self.thread = ServiceThread(self._run, name, is_real=self.IS_REAL)
        call_in_child(self._leave_child)

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
        wait_until(lambda: self._ended, deadline)
        if self._ended and self._begun:
            self.thread.join(_LAST_STEPS)

    def _leave_child(self) -> None:
        """In a forked child: a thread is gone, but a greenlet would go on, with the parent's connection."""
        self._stopping = True

    def _run(self) -> None:
        # start() was interrupted and has given this thread up; there may be another one by now
        if self._ended:
            return
        self._begun = True
        error: BaseException | None = None
        try:
            self._work()
        except BaseException as exc:  # a bug of ours must not leave LIVE books behind a dead thread
            if not greenlets.pass_on(exc):  # after a Ctrl-C that hit this greenlet, the feed is closed
                error = exc
        try:
            self._report_end(error)
        finally:
            self._release()
            self._ended = True
