"""The thread that plays a recording, and what time it is meanwhile.

Owns the thread and the clock. What is played is its host's business (replaying.py). Must not import anything of the package but
dispatch.wakeup.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

from ..dispatch.wakeup import Wakeup

__all__ = ["Player", "ReplayClock"]

_JOIN_SLICE: Final = 0.002  # seconds
_LAST_STEPS: Final = 0.25  # seconds for the interpreter to be done with the thread
_LONGEST_NAP: Final = 1.0  # seconds; then the time is looked at again


class Host(Protocol):
    """What is played. Both are called on the player's thread."""

    def play(self, player: Player) -> None:
        """Everything, to the end or until the player is stopping."""

    def ended(self, error: BaseException | None) -> None:
        """The last call."""


class ReplayClock:
    """The time in a recording. Written by the player, read by any thread: one attribute, replaced in one step."""

    def __init__(self) -> None:
        self._times = (0.0, 0.0)

    def set(self, ns: int, offset_ns: int) -> float:
        """It is ``ns`` (Unix); returns the session's time."""
        now = (ns - offset_ns) / 1e9
        self._times = (now, ns / 1e9)
        return now

    def monotonic(self) -> float:
        """The session's time, in seconds."""
        return self._times[0]

    def time(self) -> float:
        """Unix time in seconds."""
        return self._times[1]


class Player:
    """The thread that plays. ``stop()``, ``join()`` and the looks at it are thread-safe and signal-safe, the rest is the thread's.

    What connection.reader.Reader is to an engine on a connection.
    """

    def __init__(self, name: str, host: Host) -> None:
        self._host = host
        self._stopping = self._begun = self._ended = False
        self.close_deadline = 0.0
        self.wakeup = _Nap()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError where the system gives none."""
        try:
            self.thread.start()
        except Exception:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Never to run after all."""
        self._stopping = self._ended = True

    def stop(self, deadline: float) -> None:
        """Ask the thread to end by ``deadline``."""
        self.close_deadline = deadline
        self._stopping = True
        self.wakeup.wake()

    def stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stopping

    @property
    def is_running(self) -> bool:
        """Whether the thread has begun and not ended."""
        return self._begun and not self._ended

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self._ended

    def join(self, deadline: float) -> None:
        """Wait for the end until ``deadline``."""
        while not self._ended and (remaining := deadline - time.monotonic()) > 0:
            time.sleep(min(remaining, _JOIN_SLICE))
        if self._ended and self._begun:
            self.thread.join(_LAST_STEPS)

    def sleep_until(self, when: float) -> None:
        """Wait until time.monotonic() is ``when``, unless stop() comes first."""
        while not self._stopping and (left := when - time.monotonic()) > 0:
            self.wakeup.wait(min(left, _LONGEST_NAP))

    def _run(self) -> None:
        self._begun = True
        error: BaseException | None = None
        try:
            self._host.play(self)
        except BaseException as exc:
            error = exc
        try:
            self._host.ended(error)
        finally:
            self._ended = True


class _Nap(Wakeup):
    """Sleep that wake() ends, as an Engine calls it."""

    def wake(self) -> None:
        self.set()
