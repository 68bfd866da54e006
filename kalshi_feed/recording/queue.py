"""The queue between a feed's threads and the writer of its recording: bounded, and no one waits for it.

Owns RecordingQueue, which is the engine's Tap. Appending to a deque takes no lock and wakes no thread: the
writer looks a few times a second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ..clocks import read_clocks
from ..engine.engine import Engine
from ..engine.tap import QUIET, Reading
from ..events import GapFilled, MarketStep, StateChange
from ..messages import Message
from ..messages.listed import Market
from ..session.wanted import Change
from .checkpoint import Numbers, SessionCopy, take_checkpoint
from .lines import (
    Line,
    WantLine,
    WishLine,
    change_line,
    encode_line,
    encode_sent,
    encode_turn,
    filled_line,
    learned_line,
)
from .player import ReplayClock

__all__ = [
    "CheckpointItem",
    "ClockItem",
    "FilledItem",
    "Item",
    "LearnedItem",
    "LineItem",
    "RecordingQueue",
    "SentItem",
    "TurnItem",
    "encode_item",
]

QUEUE_BYTES: Final = 64 * 1024 * 1024
_ITEM_BYTES: Final = 64  # the cost of an item besides its payloads
_LEARNED_BYTES: Final = 2_048  # of a market's description, about
_ENTRY_BYTES: Final = 512  # of a message that came over REST, about
_CLOCK_MOVED_NS: Final = 100_000_000  # a smaller step of the wall clock is not worth a line


class TurnItem(NamedTuple):
    """What one turn of the reader received. ``now`` is time.monotonic(), here and below."""

    now: float
    payloads: Sequence[bytes]
    reading: Reading = QUIET

    @property
    def size(self) -> int:
        """How many bytes of the queue's bound the item uses."""
        return sum(map(len, self.payloads)) + _ITEM_BYTES


class SentItem(NamedTuple):
    """The commands that the turn before it sent."""

    now: float
    commands: Sequence[bytes]

    @property
    def size(self) -> int:
        """How many bytes of the queue's bound the item uses."""
        return sum(map(len, self.commands)) + _ITEM_BYTES


class LineItem(NamedTuple):
    """Any other line; the writer sets its time."""

    now: float
    line: Line
    size: int = _ITEM_BYTES


class CheckpointItem(NamedTuple):
    """A checkpoint, at the beginning of a file (``new_part``) or after a loss within one."""

    now: float
    copy: SessionCopy
    new_part: bool
    clock_offset_ns: int
    size: int = 0


class ClockItem(NamedTuple):
    """The wall clock was set or the machine slept: the wall clock less the monotonic one, from here on."""

    now: float
    clock_offset_ns: int
    size: int = _ITEM_BYTES


class LearnedItem(NamedTuple):
    """What was known about a market; the writer makes a line of it."""

    now: float
    market: Market
    change: MarketStep | None
    size: int = _LEARNED_BYTES


class FilledItem(NamedTuple):
    """What was delivered of REST's answer for a gap; the writer makes a line of it."""

    now: float
    channel: str
    entries: Sequence[Message | str]
    releases: bool
    event: GapFilled | None

    @property
    def size(self) -> int:
        """How many bytes of the queue's bound the item uses."""
        return len(self.entries) * _ENTRY_BYTES + _ITEM_BYTES


Item = TurnItem | SentItem | LineItem | CheckpointItem | ClockItem | LearnedItem | FilledItem


def encode_item(
    ns: int, item: TurnItem | SentItem | LineItem | ClockItem | LearnedItem | FilledItem
) -> bytes:
    """Return the item's lines; ``ns`` is its time (Unix)."""
    if isinstance(item, TurnItem):
        return encode_turn(ns, item.payloads, item.reading)
    if isinstance(item, FilledItem):
        return encode_line(filled_line(item.channel, item.entries, item.releases, item.event), ns)
    if isinstance(item, LearnedItem):
        return encode_line(learned_line(item.market, item.change), ns)
    if isinstance(item, SentItem):
        return encode_sent(ns, item.commands)
    if isinstance(item, ClockItem):
        return encode_line(Line(clock_offset_ns=item.clock_offset_ns), ns)
    return encode_line(item.line, ns)


class RecordingQueue:
    """The tap. Its state is guarded by the store's lock, except that the writer alone calls ``pop``.

    After a loss it accepts nothing until the next checkpoint, so a recording is complete from each checkpoint
    up to the next loss.
    """

    def __init__(self, engine: Engine, on_end: Callable[[], object], join: Callable[[float], object]) -> None:
        self._engine = engine
        self._on_end = on_end
        self._join = join
        clock = engine.store.clock
        # the clock of a feed whose inputs bring their time along; None: it is this machine's
        self._clock = clock if isinstance(clock, ReplayClock) else None
        self._queue: deque[Item] = deque()
        self._queued = 0  # bytes ever queued; minus _taken, that is what is waiting
        self._taken = 0  # bytes ever taken out; written by the writer alone
        self._numbers = Numbers()
        self._now = 0.0  # of the turn in progress, for sent()
        self._clock_offset_ns = 0  # what the writer computes the wall time of a line with
        self.accepts = False  # False before the first checkpoint, and from a loss to the next one
        self.missed = 0  # messages lost, here or because they could not be written
        self._missed_before = 0  # the value of ``missed`` at the last checkpoint
        self._was_cut = False  # whether anything was lost since the last checkpoint
        self.skips = False  # see skip()
        self.ended = False

    def pop(self) -> Item | None:
        """Return the next item, or None if there is none at the moment."""
        try:
            item = self._queue.popleft()
        except IndexError:
            return None
        self._taken += item.size
        return item

    def checkpoint_locked(self, new_part: bool) -> None:
        """Queue a checkpoint of the session as it is now; from here on inputs are accepted."""
        copy = take_checkpoint(
            self._engine, self._numbers, self.missed - self._missed_before, cut=self._was_cut
        )
        self._missed_before = self.missed
        now = self._time()
        if new_part:
            self._clock_offset_ns = self._wall_offset_ns()
        else:
            self._look_at_clocks(now)
        self._queue.append(CheckpointItem(now, copy, new_part, self._clock_offset_ns))
        self.accepts, self._was_cut, self.skips = True, False, False

    def lose_locked(self, messages: int) -> None:
        """The writer lost inputs with this many messages: accept nothing more until the next checkpoint."""
        self.accepts, self._was_cut = False, True
        self.missed += messages

    # -- Tap -------------------------------------------------------------------------------------------------

    def turn(self, payloads: Sequence[bytes], now: float, reading: Reading) -> None:
        """Queue what a turn of the reader received."""
        self._now = now
        self._look_at_clocks(now)
        if not self._add(TurnItem(now, payloads, reading)) and not self.skips:
            self.missed += len(payloads)

    def sent(self, commands: Sequence[bytes]) -> None:
        """Queue the commands that this turn sends."""
        self._add(SentItem(self._now, commands))

    def wish(self, change: Change) -> None:
        """Queue a user's request."""
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
        now = self._time()
        self._look_at_clocks(now)
        self._add(LineItem(now, Line(wish=wish)))

    def connected(self, now: float, change: StateChange, clock_skew: float | None) -> None:
        """Queue that a connection was made."""
        self._look_at_clocks(now)
        line = change_line(change)
        line.clock_skew, line.next_id = clock_skew, self._engine.session.next_id
        self._add(LineItem(now, Line(connected=line)))

    def lost(self, now: float, change: StateChange) -> None:
        """Queue that a connection was lost, or a dial failed."""
        self._look_at_clocks(now)
        self._add(LineItem(now, Line(lost=change_line(change))))

    def learned(self, market: Market, change: MarketStep | None) -> None:
        """Queue what is known about a market."""
        now = self._time()
        self._look_at_clocks(now)
        self._add(LearnedItem(now, market, change))

    def filled(
        self,
        channel: str,
        entries: Sequence[Message | str],
        releases: bool,
        event: GapFilled | None,
        now: float,
    ) -> None:
        """Queue what is delivered of REST's answer for a gap."""
        self._look_at_clocks(now)
        self._add(FilledItem(now, channel, entries, releases, event))

    def released(self, now: float) -> None:
        """Queue that trades which were held back are delivered."""
        self._look_at_clocks(now)
        self._add(LineItem(now, Line(released=True)))

    def skip(self) -> None:
        """Accept nothing until renewed(): callbacks do not hear what comes next, either."""
        self.accepts, self._was_cut, self.skips = False, True, True

    def renewed(self, now: float) -> None:
        """A fresh session took over after a bug: what it knows is a new checkpoint."""
        self.checkpoint_locked(new_part=False)

    def end(self, now: float) -> None:
        """The feed was closed or has failed: end the recording, after a checkpoint if inputs were lost."""
        if self.ended:
            return
        self._look_at_clocks(now)
        if self.missed > self._missed_before:
            self.checkpoint_locked(new_part=False)
        mark = LineItem(now, Line(end=True))
        self._queued += mark.size  # even if the queue is full
        self._queue.append(mark)
        self.accepts = False
        self.ended = True
        self._on_end()

    def abandon(self) -> None:
        """The feed object is gone: end without waiting and without a lock."""
        self.ended = True
        self._on_end()

    def join(self, timeout: float) -> None:
        """Wait until everything is written, at most ``timeout`` seconds."""
        self._join(timeout)

    def _look_at_clocks(self, now: float) -> None:
        """If the wall clock moved against the session's, queue that before the input of ``now`` (N44)."""
        clock, known_ns = self._clock, self._clock_offset_ns
        offset_ns = time.time_ns() - time.monotonic_ns() if clock is None else clock.offset_ns
        if -_CLOCK_MOVED_NS < offset_ns - known_ns < _CLOCK_MOVED_NS:
            return
        offset_ns = self._wall_offset_ns()  # a careful look: this thread may have paused in between
        if abs(offset_ns - self._clock_offset_ns) >= _CLOCK_MOVED_NS:
            self._clock_offset_ns = offset_ns
            self._add(ClockItem(now, offset_ns))

    def _time(self) -> float:
        """The session's time."""
        clock = self._clock
        return time.monotonic() if clock is None else (clock.ns - clock.offset_ns) / 1e9

    def _wall_offset_ns(self) -> int:
        """How far the wall clock is ahead of the session's time, in ns."""
        return read_clocks().wall_offset_ns if self._clock is None else self._clock.offset_ns

    def _add(self, item: Item) -> bool:
        size = item.size
        if self.accepts and self._queued - self._taken + size <= QUEUE_BYTES:
            self._queued += size
            self._queue.append(item)
            return True
        self.accepts, self._was_cut = False, True
        return False
