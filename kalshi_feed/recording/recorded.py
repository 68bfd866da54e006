"""An engine whose session takes in what another feed's session has taken in.

Owns RecordedEngine, the base of a replay (from a file) and of a relay's consumer (from a stream). Everything
a feed does follows from what its session takes in and when, so neither needs any logic of its own for books,
gaps or repairs: it hands the inputs to an ordinary session, with their times as its clock. What that session
would send goes nowhere; the answers come anyway. Only what the session cannot know is taken from the records
as it stands: the ids of commands, and why and when connections were made and lost.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from datetime import datetime
from typing import Any, ClassVar

from ..engine.engine import Engine, log
from ..engine.holding import Holding
from ..engine.tap import QUIET, Reading, Tap
from ..events import FeedState, StateChange
from ..session.wanted import Change, Want
from .checkpoint import Checkpoint, restore, want_of
from .lines import ChangeLine, FilledLine, WishLine, entries_of, gap_of, market_of
from .player import ReplayClock, moment_of
from .reading import Connected, Filled, Learned, Lost, Record, Released, Turn, Wish
from .requests import ReplayRequests

__all__ = ["RecordedEngine"]


class RecordedEngine(Engine):
    """The engine of a feed that takes in another one's inputs. Thread-safe like Engine, which gets
    ``options``; everything below is for the thread that feeds the session.

    ``clock`` is set to the time of each record before that is taken.
    """

    _KIND: ClassVar[str]  # of the faults about records that cannot be used

    def __init__(self, peer: str, *, clock: ReplayClock, **options: Any) -> None:
        self.clock = clock
        super().__init__(peer, clock=clock, **options)
        self.store.is_past = True
        self._recorded = self.requests  # applies recorded requests; below, those of this feed's own users
        self.requests = self._new_requests(
            self._recorded, self.store, self.wanted, lambda: self.session, self._state, self.check, self.wake
        )
        self._wants: dict[int, list[Want]] = {}  # the recorded subscriptions by number, one for each channel
        self._last_serial: int | None = None  # of the last recorded request; the same one again is skipped
        self._turn_reading = QUIET  # what else the connection said, in the turn being taken
        self._was_restored = False  # a checkpoint was taken, so the next connection is not the first

    def _new_requests(self, *arguments: Any) -> ReplayRequests:
        """The requests of this feed's own users; ``arguments`` are ReplayRequests'."""
        return ReplayRequests(*arguments)

    def _reading(self) -> Reading:
        return self._turn_reading

    def record(self, tap: Tap) -> None:
        """Record what this session takes in, and so not what its own users request."""
        with self.store.lock:
            super().record(tap)
            self.requests.tap, self._recorded.tap = None, tap

    def _end_tap_locked(self) -> None:
        super()._end_tap_locked()
        self._recorded.tap = None

    @abstractmethod
    def _turn(self, turn: Turn, now: float) -> None:
        """Take what one turn of the reader received."""

    def _take(self, record: Record, now: float) -> None:
        """Take a record. Raises ValueError, LookupError or ArithmeticError for one that cannot be right."""
        if isinstance(record, Turn):
            if record.first_id is not None:
                self.session.next_id = record.first_id
            self._turn(record, now)
        elif isinstance(record, Wish):
            self._wish(record.wish)
        elif isinstance(record, Checkpoint):
            self._restore(record, now)
        elif isinstance(record, Connected):
            self._connected(record, now)
        elif isinstance(record, Lost):
            self._lost(record, now)
        elif isinstance(record, Learned):
            market = market_of(record.learned)
            with self.store.change():
                if self.tap is not None:
                    self.tap.learned(market, record.learned.change)
                self.learn_locked(market, record.learned.change)
                items, changed, _ = self._take_locked(now)
            self._hand_on(items, changed)
        elif isinstance(record, Filled):
            self._fill(record.filled, now)
        elif isinstance(record, Released):
            self._release(now)

    def _fill(self, filled: FilledLine, now: float) -> None:
        entries, gap = entries_of(filled), gap_of(filled)
        if self.holding is None:  # the checkpoint was lost
            self.holding = Holding(holds=False)
        with self.store.change():
            if self.tap is not None:
                self.tap.filled(filled.channel, entries, filled.releases, gap, now)
            self.holding.fill(self.session, now, filled.channel, entries, releases=filled.releases, event=gap)
            items, changed, _ = self._take_locked(now)
        self._hand_on(items, changed)

    def _release(self, now: float) -> None:
        """Deliver the trades that are held back."""
        if self.holding is not None and self.holding.is_holding:
            with self.store.change():
                self.release_locked(now)
                items, changed, _ = self._take_locked(now)
            self._hand_on(items, changed)

    def _wish(self, wish: WishLine) -> None:
        if wish.serial is not None and wish.serial == self._last_serial:
            return
        self._last_serial = wish.serial
        recorded, wants = self._recorded, self._wants.get(wish.number or 0, [])
        if wish.do == "subscribe" and wish.want is not None:
            want = want_of(wish.want)
            self._wants[wish.want.number] = [want]
            recorded.subscribe(want)
        elif wish.do == "request_snapshots":
            recorded.request_snapshots(wish.words)
        elif wish.do == "ask_again":
            recorded.ask_again(wish.words[0])
        elif wish.do == "ask":
            recorded.ask(wish.words[0], wish.words[1:])
        elif wish.do == "list_subscriptions":
            with self.store.lock:
                self.wanted.lists.append([])
                if self.tap is not None:
                    self.tap.wish(Change("list_subscriptions"))
        elif wish.do == "reopen_books":
            with self.store.lock:
                recorded.reopen_books_locked()
        for want in wants:
            if wish.do == "add_markets":
                recorded.add_markets(want, wish.words)
            elif wish.do == "delete_markets":
                recorded.delete_markets(want, wish.words)
            elif wish.do == "unsubscribe":
                recorded.unsubscribe(want)

    def _restore(self, checkpoint: Checkpoint, now: float) -> None:
        missed, memory = checkpoint.session.missed, checkpoint.session.holding
        restored = None if memory is None else Holding.restored(memory, self.holding)
        self._release(now)
        self._last_serial = None  # the next request may be another program's, which counts from 1 as well
        with self.store.change():
            self.holding = restored
            self._wants, troubles = restore(checkpoint, self.store, self.wanted, self.session, now)
            self._restored_locked(checkpoint, now)
            self._was_restored = True
            items, changed, _ = self._take_locked(now)
        self._hand_on(items, changed)
        if missed:
            troubles.append(f"{missed} messages before this moment were not recorded")
        for text in troubles:
            self._trouble(text)

    def _restored_locked(self, checkpoint: Checkpoint, now: float) -> None:
        """Change the state after a checkpoint."""
        if checkpoint.session.state == "CONNECTED" and self._state.value is not FeedState.CONNECTED:
            self._metering.connected(now, moment_of(self.clock.ns))
            self._state.change(
                FeedState.CONNECTED, "the recording begins" if not self._was_restored else "connected"
            )

    def _connected(self, record: Connected, now: float) -> None:
        change = record.change
        with self.store.change():
            self._metering.clock_skew = change.clock_skew
            self._connected_locked(change, now)
            if change.next_id is not None:
                self.session.next_id = change.next_id
            if self.tap is not None:
                self.tap.connected(now, _state_change(FeedState.CONNECTED, change), change.clock_skew)
            self.session.connected(now)

    def _connected_locked(self, change: ChangeLine, now: float) -> None:
        """Change the state after a connection was made."""
        self._metering.connected(now, moment_of(self.clock.ns))
        self._state.change(
            FeedState.CONNECTED,
            change.reason,
            gap_started=_moment_of(change.gap_started_ns),
            gap_ended=_moment_of(change.gap_ended_ns),
        )

    def _lost(self, record: Lost, now: float) -> None:
        with self.store.change():
            if self.holding is not None:
                self.holding.lost(self.session, now)
            self.session.disconnected(now)
            items, changed, _ = self._take_locked(now)
            if self.tap is not None:
                self.tap.lost(now, _state_change(FeedState.RECONNECTING, record.change))
            self._lost_locked(record.change)
        self._hand_on(items, changed)

    def _lost_locked(self, change: ChangeLine) -> None:
        """Change the state after a connection was lost."""
        self._state.last_error = change.reason
        self._state.change(
            FeedState.RECONNECTING,
            change.reason,
            attempt=change.attempt,
            delay=change.delay,
            gap_started=_moment_of(change.gap_started_ns),
        )

    def _trouble(self, text: str) -> None:
        log(logging.WARNING, "%s", text)
        now = self.clock.monotonic()
        with self.store.lock:
            self.session.output.fault(self._KIND, text, now)
            items, changed, _ = self._take_locked(now)
        self._hand_on(items, changed)


def _state_change(state: FeedState, change: ChangeLine) -> StateChange:
    return StateChange(
        state,
        state,
        change.reason,
        change.attempt,
        change.delay,
        _moment_of(change.gap_started_ns),
        _moment_of(change.gap_ended_ns),
    )


def _moment_of(ns: int | None) -> datetime | None:
    return None if ns is None else moment_of(ns)
