"""Tap: the protocol by which the engine passes a session's inputs to a recording.

Owns Tap and Reading. Every method of a Tap except abandon() and join() is called with the store's lock held,
in the order of the inputs; none of them blocks, does I/O or raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from ..events import GapFilled, MarketStep, StateChange
from ..messages import Message
from ..messages.listed import Market
from ..session.wanted import Change

__all__ = ["QUIET", "Reading", "Tap"]


class Reading(NamedTuple):
    """What the connection reports about a turn besides its payloads."""

    is_behind: bool = False  # more had arrived than was read
    arriving_since: float | None = None  # since when the incomplete message has been arriving (monotonic)
    binaries: int = 0  # binary frames that were ignored
    slept: float = 0.0  # seconds that the machine slept before this turn
    last_byte_at: float = 0.0  # Unix time of the last byte before it slept


QUIET: Final = Reading()


class Tap(Protocol):
    """Receives a session's inputs, in order; ``now`` is time.monotonic(). The module says who may call it."""

    ended: bool  # whether end() or abandon() was called

    def turn(self, payloads: Sequence[bytes], now: float, reading: Reading) -> None:
        """One turn of the reader: what was received, often nothing. Deadlines are checked then, too."""

    def sent(self, commands: Sequence[bytes]) -> None:
        """The commands that the turn sends."""

    def wish(self, change: Change) -> None:
        """A user's request. The same one may come twice in a row; see Change.serial."""

    def connected(self, now: float, change: StateChange, clock_skew: float | None) -> None:
        """There is a connection; ``clock_skew``: seconds by which our clock is ahead, if known."""

    def lost(self, now: float, change: StateChange) -> None:
        """A connection was lost, or a dial failed."""

    def learned(self, market: Market, change: MarketStep | None) -> None:
        """This is known about a market now, and this has happened to it, if anything."""

    def filled(
        self,
        channel: str,
        entries: Sequence[Message | str],
        releases: bool,
        event: GapFilled | None,
        now: float,
    ) -> None:
        """What REST had for a hole is delivered now; see Holding.fill()."""

    def released(self, now: float) -> None:
        """The trades that are held back are delivered now, because the time is up or the feed ends."""

    def skip(self) -> None:
        """Ignore what comes until renewed(): a relay's consumer catches up after a hole."""

    def renewed(self, now: float) -> None:
        """The session was replaced: by a fresh one after a bug, called after lost(), or by a relay's."""

    def end(self, now: float) -> None:
        """The feed was closed or has failed; the recording ends by itself."""

    def abandon(self) -> None:
        """The feed object is gone: end without waiting. Takes no lock; a finalizer may call it anywhere."""

    def join(self, timeout: float) -> None:
        """Wait until everything is written, for at most ``timeout`` seconds. Not under the lock."""
