"""What is left out of the exchange's frames: frames that belong nowhere, frames and amounts that cannot be
read.

Owns the counting of them, what of them is told only once, and when they are too many. Not thread-safe; owned
by the session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from ..messages import Message, OrderbookDelta, OrderbookSnapshot
from ..messages.decoder import undecodable, unread
from .channels import is_name
from .memory import SessionMemory
from .output import Output
from .server_subscription import ServerSubscription
from .timing import Timing

__all__ = ["LeftOut"]

_MOST_SIDS: Final = 100  # that are told


class LeftOut:
    """What was left out. Not thread-safe; see the module."""

    def __init__(self, output: Output, timing: Timing) -> None:
        self._output = output
        self._timing = timing
        self._bad_frames: deque[float] = deque()
        self._unknown_sids: set[int | None] = set()
        self._snapshotless: set[str] = set()  # PENDING markets whose deltas came before a snapshot; told once
        self._unread_types: set[str] = set()  # message types with an amount that could not be read; told once

    def reset(self) -> None:
        """The connection is gone."""
        for known in (self._bad_frames, self._unknown_sids, self._snapshotless):
            known.clear()

    def save(self, memory: SessionMemory) -> None:
        """Write all of it into ``memory``."""
        memory.bad_frames = list(self._bad_frames)
        memory.unknown_sids = list(self._unknown_sids)
        memory.snapshotless = list(self._snapshotless)
        memory.unread_types = sorted(self._unread_types)

    def restore(self, memory: SessionMemory) -> None:
        """Go on where ``memory`` was saved."""
        self._bad_frames = deque(memory.bad_frames)
        self._unknown_sids, self._snapshotless = set(memory.unknown_sids), set(memory.snapshotless)
        self._unread_types = set(memory.unread_types)

    def unknown_sid(self, message: Message, has_ended: bool, now: float) -> None:
        """A frame of a subscription that is none of ours; ``has_ended``: it was one."""
        if has_ended:
            self._output.counts.ignored["ended_subscription"] += 1
            return
        sid = message.sid
        self._output.counts.ignored["unknown_sid"] += 1
        if sid not in self._unknown_sids and len(self._unknown_sids) < _MOST_SIDS:
            self._unknown_sids.add(sid)
            text = f"{message.type} for subscription {sid}, which is none of ours, is ignored"
            self._output.fault("unknown_sid", text, now, sid=sid)

    def other_channel(self, message: Message, subscription: ServerSubscription, now: float) -> None:
        """A book message under the sid of a subscription that has no books."""
        self._output.counts.ignored["other_channel"] += 1
        text = f"{message.type} for subscription {message.sid}, which is {subscription.name}, is ignored"
        self._output.fault("other_channel", text, now)

    def unwanted(self, message: OrderbookDelta | OrderbookSnapshot, now: float) -> None:
        """A book message of a market that nobody wants is left out. It is told where nobody can want it,
        because of its name: no such book is ever made, so this is where all those frames end.
        """
        self._output.counts.ignored["unwanted"] += 1
        if not is_name(message.market_ticker):
            wrong = (
                f"market_ticker {message.market_ticker[:60]!r} holds blanks, commas or control "
                "characters, or nothing"
            )
            error = undecodable(message, ValueError(wrong))
            self._output.fault("protocol", str(error), now, error, frame=error.frame)

    def has_no_snapshot(self, market_ticker: str, is_expected: bool) -> bool:
        """A delta of a PENDING book; whether to do something about it. ``is_expected``: its snapshot is under
        way."""
        self._output.counts.ignored["no_snapshot"] += 1
        if is_expected or market_ticker in self._snapshotless:
            return False
        self._snapshotless.add(market_ticker)
        return True

    def forget(self, market_tickers: Iterable[str]) -> None:
        """These have their snapshots, or nobody wants them any more."""
        self._snapshotless.difference_update(market_tickers)

    def unread_amount(self, message: Message, now: float) -> None:
        """An amount that cannot be read costs its field and not the message (PROTOCOL.md 7); told once for
        each type."""
        odd = unread(message)
        if odd and message.type not in self._unread_types:
            self._unread_types.add(message.type)
            fields = ", ".join(f"{name} {str(value)[:60]!r}" for name, value in odd.items())
            text = (
                f"{message.type}: {fields} cannot be read as an amount: None in the message, and in its "
                "extra as it was sent"
            )
            self._output.fault(
                "unreadable_amount", text, now, market_ticker=message.market_ticker, fields=tuple(odd)
            )

    def bad_frame(self, now: float) -> None:
        """Nobody can tell what it was; too many of them, and the connection is given up."""
        self._bad_frames.append(now)
        while self._bad_frames[0] < now - self._timing.bad_frames_window:
            self._bad_frames.popleft()
        if len(self._bad_frames) > self._timing.bad_frames:
            text = f"{len(self._bad_frames)} unreadable frames within {self._timing.bad_frames_window:.0f} s"
            self._output.give_up = text
