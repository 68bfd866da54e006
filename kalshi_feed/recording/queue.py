"""What a feed's threads leave for the writer of a recording: a bounded queue that nobody waits for.

Owns RecordingQueue, the Tap. Appending to a deque takes no lock and wakes nobody: the writer looks a few
times a second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ..clocks import read_clocks
from ..engine.engine import Engine
from ..engine.tap import QUIET, Reading
from ..events import StateChange
from ..session.wanted import Change
from .checkpoint import Numbers, SessionCopy, take_checkpoint
from .lines import Line, WantLine, WishLine, change_line

__all__ = ["CheckpointItem", "ClockItem", "Item", "LineItem", "RecordingQueue", "SentItem", "TurnItem"]

QUEUE_BYTES: Final = 64 * 1024 * 1024
_ITEM_BYTES: Final = 64  # what an item costs beside its payloads
_CLOCK_MOVED_NS: Final = 100_000_000  # less is not worth a line


class TurnItem(NamedTuple):
    """What one turn received; ``now`` is time.monotonic() here and below."""

    now: float
    payloads: Sequence[bytes]
    reading: Reading = QUIET

    @property
    def size(self) -> int:
        """Bytes of the queue's bound that it uses."""
        return sum(map(len, self.payloads)) + _ITEM_BYTES


class SentItem(NamedTuple):
    """What that turn sent."""

    now: float
    commands: Sequence[bytes]

    @property
    def size(self) -> int:
        """See TurnItem."""
        return sum(map(len, self.commands)) + _ITEM_BYTES


class LineItem(NamedTuple):
    """Any other line, which has no time yet."""

    now: float
    line: Line
    size: int = _ITEM_BYTES


class CheckpointItem(NamedTuple):
    """A checkpoint; ``new_part``: at the beginning of a file. ``missed`` messages before it were left out."""

    now: float
    copy: SessionCopy
    new_part: bool
    clock_offset_ns: int
    size: int = 0


class ClockItem(NamedTuple):
    """The wall clock less the monotonic one, from here on."""

    now: float
    clock_offset_ns: int
    size: int = _ITEM_BYTES


Item = TurnItem | SentItem | LineItem | CheckpointItem | ClockItem


class RecordingQueue:
    """The tap. Its state belongs to whoever holds the store's lock, but for ``pop``, which the writer alone
    calls.

    After a loss nothing is taken in until the next checkpoint: a recording is whole from each checkpoint on.
    """

    def __init__(self, engine: Engine, on_end: Callable[[], object], join: Callable[[float], object]) -> None:
        self._engine = engine
        self._on_end = on_end
        self._join = join
        self._queue: deque[Item] = deque()
        self._queued = 0  # bytes ever queued; less _taken it is what waits
        self._taken = 0
        self._numbers = Numbers()
        self._now = 0.0
        self._clock_offset_ns = 0  # what the writer computes the wall time with
        self.accepts = False  # only behind a checkpoint there is anything to add to
        self.missed = 0  # messages that were left out, here or because they could not be written
        self._missed_before = 0  # at the last checkpoint
        self._was_cut = False  # whether anything was left out since the last checkpoint
        self.ended = False

    def pop(self) -> Item | None:
        """The next item; None for nothing now."""
        try:
            item = self._queue.popleft()
        except IndexError:
            return None
        self._taken += item.size
        return item

    def checkpoint_locked(self, new_part: bool) -> None:
        """Take one; from here on there is something to add to."""
        copy = take_checkpoint(
            self._engine, self._numbers, self.missed - self._missed_before, cut=self._was_cut
        )
        self._missed_before = self.missed
        now = time.monotonic()
        if new_part:
            self._clock_offset_ns = read_clocks().wall_offset_ns
        else:
            self._look_at_clocks(now)
        self._queue.append(CheckpointItem(now, copy, new_part, self._clock_offset_ns))
        self.accepts, self._was_cut = True, False

    def lose_locked(self, messages: int) -> None:
        """What was taken in could not be written, so many messages among it: take in nothing more until the
        next checkpoint."""
        self.accepts, self._was_cut = False, True
        self.missed += messages

    # -- Tap -------------------------------------------------------------------------------------------------

    def turn(self, payloads: Sequence[bytes], now: float, reading: Reading) -> None:
        """See Tap."""
        self._now = now
        self._look_at_clocks(now)
        if not self._add(TurnItem(now, payloads, reading)):
            self.missed += len(payloads)

    def sent(self, commands: Sequence[bytes]) -> None:
        """See Tap."""
        self._add(SentItem(self._now, commands))

    def wish(self, change: Change) -> None:
        """See Tap."""
        want, words = change.want, list(change.words)
        if want is None:
            wish = WishLine(change.kind, words=words, serial=change.serial)
        elif change.kind == "subscribe":
            line = WantLine(
                self._numbers.of(want),
                list(want.channels),
                want.selector,
                list(want.keys),
                dict(want.options),
            )
            wish = WishLine(change.kind, line, serial=change.serial)
        else:
            wish = WishLine(change.kind, number=self._numbers.of(want), words=words, serial=change.serial)
            if change.kind == "unsubscribe":
                self._numbers.forget(want)
        now = time.monotonic()
        self._look_at_clocks(now)
        self._add(LineItem(now, Line(wish=wish)))

    def connected(self, now: float, change: StateChange, clock_skew: float | None) -> None:
        """See Tap."""
        self._look_at_clocks(now)
        line = change_line(change)
        line.clock_skew, line.next_id = clock_skew, self._engine.session.next_id
        self._add(LineItem(now, Line(connected=line)))

    def lost(self, now: float, change: StateChange) -> None:
        """See Tap."""
        self._look_at_clocks(now)
        self._add(LineItem(now, Line(lost=change_line(change))))

    def renewed(self, now: float) -> None:
        """See Tap."""
        self.checkpoint_locked(new_part=False)

    def end(self, now: float) -> None:
        """See Tap."""
        if self.ended:
            return
        self._look_at_clocks(now)
        if self.missed > self._missed_before:
            self.checkpoint_locked(new_part=False)
        mark = LineItem(now, Line(end=True))
        self._queued += mark.size  # whatever waits already
        self._queue.append(mark)
        self.accepts = False
        self.ended = True
        self._on_end()

    def abandon(self) -> None:
        """See Tap."""
        self.ended = True
        self._on_end()

    def join(self, timeout: float) -> None:
        """See Tap."""
        self._join(timeout)

    def _look_at_clocks(self, now: float) -> None:
        """Before anything else is taken in at ``now``: should the wall clock have moved against the
        session's, note it (N44)."""
        if -_CLOCK_MOVED_NS < time.time_ns() - time.monotonic_ns() - self._clock_offset_ns < _CLOCK_MOVED_NS:
            return
        offset_ns = read_clocks().wall_offset_ns  # this thread may have been held up between the two
        if abs(offset_ns - self._clock_offset_ns) >= _CLOCK_MOVED_NS:
            self._clock_offset_ns = offset_ns
            self._add(ClockItem(now, offset_ns))

    def _add(self, item: Item) -> bool:
        size = item.size
        if self.accepts and self._queued - self._taken + size <= QUEUE_BYTES:
            self._queued += size
            self._queue.append(item)
            return True
        self.accepts, self._was_cut = False, True
        return False
