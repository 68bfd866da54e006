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
    """The thread that plays. ``stop()`` is thread-safe and signal-safe, the rest belongs to the thread."""

    def __init__(self, name: str, host: Host) -> None:
        self._host = host
        self._stopping = False
        self.close_deadline = 0.0
        self.wakeup = _Nap()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self, deadline: float) -> None:
        """Ask the thread to end by ``deadline``."""
        self.close_deadline = deadline
        self._stopping = True
        self.wakeup.wake()

    def stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stopping

    def sleep_until(self, when: float) -> None:
        """Wait until time.monotonic() is ``when``, unless stop() comes first."""
        while not self._stopping and (left := when - time.monotonic()) > 0:
            self.wakeup.wait(min(left, _LONGEST_NAP))

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._host.play(self)
        except BaseException as exc:
            error = exc
        self._host.ended(error)


class _Nap(Wakeup):
    """Sleep that wake() ends, as an Engine calls it."""

    def wake(self) -> None:
        self.set()

    def close(self) -> None:
        """Nothing is held."""
