"""What the session leaves out: frames that belong nowhere, and frames and amounts that cannot be read.

Owns the counts, what is reported only once, and the decision that there are too many. Not thread-safe; owned
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

_MOST_SIDS: Final = 100  # that are reported by number


class LeftOut:
    """Counts and reports what was left out. Not thread-safe; owned by the session."""

    def __init__(self, output: Output, timing: Timing) -> None:
        self._output = output
        self._timing = timing
        self._bad_frames: deque[float] = deque()  # when unreadable frames came, within Timing's window
        self._unknown_sids: set[int | None] = set()  # those that were reported
        # PENDING markets that were reported because deltas came before their snapshot
        self._snapshotless: set[str] = set()
        self._unread_types: set[str] = set()  # message types reported because an amount could not be read

    def reset(self) -> None:
        """Forget what belongs to the connection, which is gone."""
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
        """A frame for a subscription that is not ours; ``has_ended``: it was ours, and has ended."""
        if has_ended:
            self._output.counts.ignored["ended_subscription"] += 1
            return
        sid = message.sid
        self._output.counts.ignored["unknown_sid"] += 1
        if sid not in self._unknown_sids and len(self._unknown_sids) < _MOST_SIDS:
            self._unknown_sids.add(sid)
            text = f"{message.type} for subscription {sid}, which is not ours, is ignored"
            self._output.fault("unknown_sid", text, now, sid=sid)

    def other_channel(self, message: Message, subscription: ServerSubscription, now: float) -> None:
        """A book message under the sid of a subscription that has no books."""
        self._output.counts.ignored["other_channel"] += 1
        text = f"{message.type} for subscription {message.sid}, which is {subscription.name}, is ignored"
        self._output.fault("other_channel", text, now)

    def unwanted(self, message: OrderbookDelta | OrderbookSnapshot, now: float) -> None:
        """Leave out a book message for a market that is not wanted.

        It is reported only if the market's name is one that cannot be subscribed to. No book is ever made for
        such a name, so all of its frames end up here.
        """
        self._output.counts.ignored["unwanted"] += 1
        if not is_name(message.market_ticker):
            wrong = (
                f"market_ticker {message.market_ticker[:60]!r} is empty or contains spaces, commas or "
                "control characters"
            )
            error = undecodable(message, ValueError(wrong))
            self._output.fault("protocol", str(error), now, error, frame=error.frame)

    def has_no_snapshot(self, market_ticker: str, is_expected: bool) -> bool:
        """Whether to act on a delta for a PENDING book. ``is_expected``: its snapshot is on the way."""
        self._output.counts.ignored["no_snapshot"] += 1
        if is_expected or market_ticker in self._snapshotless:
            return False
        self._snapshotless.add(market_ticker)
        return True

    def forget(self, market_tickers: Iterable[str]) -> None:
        """Forget these markets: they have their snapshots, or are no longer wanted."""
        self._snapshotless.difference_update(market_tickers)

    def unread_amount(self, message: Message, now: float) -> None:
        """An unreadable amount costs its field, not the message (PROTOCOL.md 7); report it once per type."""
        odd = unread(message)
        if odd and message.type not in self._unread_types:
            self._unread_types.add(message.type)
            fields = ", ".join(f"{name} {str(value)[:60]!r}" for name, value in odd.items())
            text = (
                f"{message.type}: {fields} cannot be read as an amount: the field is None, and extra has "
                "what was sent"
            )
            self._output.fault(
                "unreadable_amount", text, now, market_ticker=message.market_ticker, fields=tuple(odd)
            )

    def bad_frame(self, now: float) -> None:
        """Count a frame that could have been anything; too many of them, and the connection is replaced."""
        self._bad_frames.append(now)
        while self._bad_frames[0] < now - self._timing.bad_frames_window:
            self._bad_frames.popleft()
        if len(self._bad_frames) > self._timing.bad_frames:
            text = f"{len(self._bad_frames)} unreadable frames within {self._timing.bad_frames_window:.0f} s"
            self._output.give_up = text
