"""Signals that end a program also close its feeds: SIGTERM (docker stop, systemd), SIGHUP (a lost ssh
session) and SIGBREAK (a closed console on Windows).

Owns the handler, and when it is installed: while at least one ``closing()`` is open in the main thread, and
only in place of the default handler, which would end the process with rows and frames still in memory. The
program's own handler, or one that ignores the signal (nohup), stays in place. Everything here runs in the
main thread, the only one in which Python handles signals; in any other, ``closing()`` does nothing.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from ..errors import ConfigurationError
from ..forks import call_in_child
from .engine import Engine

__all__ = ["CLOSING_SIGNALS", "ClosingScope", "closing"]

# The signals of this system that ask a program to end. Ctrl-C is not among them: it raises KeyboardInterrupt.
CLOSING_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
_CLOSE: Final = 5.0  # seconds for a close requested by a signal; the same as close()'s default
# Seconds in which a second SIGHUP is the same hang-up: the kernel sends one when the terminal is gone, the
# shell sends another, and the kernel one more when the shell has ended.
_SAME_HANGUP: Final = 1.0
_HANGUP: Final[int | None] = getattr(signal, "SIGHUP", None)
_NEVER_HANDLED: Final = tuple(
    getattr(signal, name) for name in ("SIGKILL", "SIGSTOP") if hasattr(signal, name)
)


class ClosingScope:
    """One open ``closing()``. Main thread only; any thread may read ``is_asked``."""

    def __init__(self, engine: Engine, numbers: frozenset[int]) -> None:
        self.engine = engine
        self.numbers = numbers  # the signals it handles
        # time.monotonic() by which the feed must be closed; None before any signal
        self.deadline: float | None = None

    @property
    def is_asked(self) -> bool:
        """Whether a signal has come."""
        return self.deadline is not None


_scopes: Final[list[ClosingScope]] = []
_hung_up_at = -_SAME_HANGUP  # time.monotonic() of the last SIGHUP that closed a feed


@contextmanager
def closing(engine: Engine, signals: Iterable[int] = CLOSING_SIGNALS) -> Iterator[ClosingScope]:
    """Within this block, a signal with the default handler closes the feed instead of ending the process.

    The handler raises nothing: it asks the feed to close and returns, and every wait for the feed ends. The
    end of the block waits until the feed is closed (at most 5 s). A second signal has its default effect.
    Raises ConfigurationError for a signal that cannot be handled.
    """
    scope = ClosingScope(engine, _checked(signals))
    _scopes.append(scope)
    try:
        is_main = threading.current_thread() is threading.main_thread()
        scope.numbers = frozenset(number for number in scope.numbers if is_main and _take(number))
        yield scope
    finally:
        try:
            if scope.deadline is not None:
                engine.close(max(scope.deadline - time.monotonic(), 0.0))
        finally:
            _leave(scope)


def _checked(signals: Iterable[int]) -> frozenset[int]:
    """The signal numbers. Raises ConfigurationError for anything that cannot be handled."""
    try:
        numbers = frozenset(signals)
    except TypeError:
        raise ConfigurationError(
            f"signals must be signal numbers such as (signal.SIGTERM,), not {signals!r}"
        ) from None
    for number in numbers:
        if number not in signal.valid_signals() or number in _NEVER_HANDLED:
            raise ConfigurationError(
                f"signals contains {number!r}: a signal with that number cannot be handled on this system"
            )
    return numbers


def _take(number: int) -> bool:
    """Install the handler; False if the program handles or ignores the signal itself."""
    handler = signal.getsignal(number)
    if handler is signal.SIG_DFL:
        try:
            signal.signal(number, _on_signal)
        except ValueError:  # a subinterpreter, which gets no signals
            return False
    return handler is signal.SIG_DFL or handler is _on_signal


def _leave(scope: ClosingScope) -> None:
    _scopes.remove(scope)
    for number in scope.numbers:
        if not any(number in other.numbers for other in _scopes) and not _is_same_hangup(number):
            _give_back(number)


def _give_back(number: int) -> None:
    """Restore the default, unless the program has installed its own handler meanwhile."""
    if signal.getsignal(number) is _on_signal:
        signal.signal(number, signal.SIG_DFL)


def _is_same_hangup(number: int) -> bool:
    return number == _HANGUP and time.monotonic() - _hung_up_at < _SAME_HANGUP


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _hung_up_at
    if _is_same_hangup(number):
        return
    asked = [scope for scope in _scopes if number in scope.numbers and scope.deadline is None]
    if not asked:  # a second signal, or a hang-up after the last block was left
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        return
    if number == _HANGUP:
        _hung_up_at = time.monotonic()
    for scope in asked:
        scope.deadline = time.monotonic() + _CLOSE
        scope.engine.close(_CLOSE, wait=False)


def _leave_child() -> None:
    """In a forked child: there is no feed to close, so signals have their default effect again."""
    ours = frozenset[int]().union(CLOSING_SIGNALS, *(scope.numbers for scope in _scopes))
    for scope in _scopes:
        scope.numbers = frozenset()
    for number in ours:
        _give_back(number)


call_in_child(_leave_child)
