"""Tap: who is told of every input of a session, to record it.

Owns the protocol between the engine and a recording, and Reading; must not import either. Every method but
abandon() and join() is called with the store's lock held, in the order of the inputs, and neither blocks,
does I/O, nor raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from ..events import StateChange
from ..session.wanted import Change

__all__ = ["QUIET", "Reading", "Tap"]


class Reading(NamedTuple):
    """What a connection tells of a turn beside its payloads: whether more had arrived than was read, since
    when (monotonic seconds) the message has been arriving that is incomplete, how many frames were no text,
    and for how many seconds the machine slept before this turn (0: it did not), with the Unix time of the
    last byte before that."""

    is_behind: bool = False
    arriving_since: float | None = None
    binaries: int = 0
    slept: float = 0.0
    last_byte_at: float = 0.0


QUIET: Final = Reading()


class Tap(Protocol):
    """What a session took in, in order; ``now`` is time.monotonic(). See the module."""

    ended: bool  # whether end() or abandon() was called

    def turn(self, payloads: Sequence[bytes], now: float, reading: Reading) -> None:
        """One turn of the reader: what was received (often nothing); deadlines are looked at then, too."""

    def sent(self, commands: Sequence[bytes]) -> None:
        """What that turn sends."""

    def wish(self, change: Change) -> None:
        """A user asked for something. The same one may come twice in a row; see Change.serial."""

    def connected(self, now: float, change: StateChange, clock_skew: float | None) -> None:
        """A connection stands; ``clock_skew``: seconds our clock is ahead of the exchange's, if that is
        known."""

    def lost(self, now: float, change: StateChange) -> None:
        """A connection was lost, or a dial failed."""

    def renewed(self, now: float) -> None:
        """A fresh session takes over after a defect, behind lost()."""

    def end(self, now: float) -> None:
        """The feed was closed, or has failed; the recording ends by itself."""

    def abandon(self) -> None:
        """The feed object is gone: end without waiting. Takes no lock, for the garbage collector may call it
        anywhere."""

    def join(self, timeout: float) -> None:
        """Wait until everything is written, at most ``timeout`` seconds. Not under the lock."""
