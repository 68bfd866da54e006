"""A recording as a feed: an engine whose reader takes its inputs from a file.

Owns ReplayEngine and StepEngine. The recording's receive times are the session's clock; what the session would send goes
nowhere, and the recorded answers come all the same. Must not import the feed or the connection.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from ..engine.engine import Engine, log
from ..engine.tap import QUIET, Reading
from ..errors import ConfigurationError, ConnectionLost, FeedClosedError
from ..events import Event, FeedState
from ..messages import Message
from ..session.timing import Timing
from ..session.wanted import Want
from .checkpoint import Checkpoint, restore, want_of
from .foreign import ForeignSource
from .lines import WishLine
from .opening import beginning_of, open_source
from .player import Player, ReplayClock
from .reading import Connected, Lost, Record, Trouble, Turn, Wish
from .requests import ReplayRequests

__all__ = ["ReplayEngine", "StepEngine"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_HELD: Final = 256


class ReplayEngine(Engine):
    """A recording as a feed's inside. Thread-safe; play() and what it calls are for the player's thread."""

    def __init__(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        speed: float | None,
        at: datetime | float | None,
        gaps: str,
        use_yes_price: bool | None,
        queue_size: int,
        workers: int,
        name: str | None,
        timing: Timing,
    ) -> None:
        if gaps not in ("strict", "ignore"):
            raise ConfigurationError(f"gaps must be 'strict' or 'ignore', not {gaps!r}")
        self.source = open_source(paths, use_yes_price)
        self._speed = speed
        self._at = at
        if isinstance(at, datetime):
            begins = beginning_of(self.source)
            if begins is not None and _unix_ns(at, begins) < begins // 1000 * 1000:
                raise ConfigurationError(f"at={at.isoformat()} is before the beginning of the recording, {_moment(begins)}")
        self._is_foreign = isinstance(self.source, ForeignSource)
        self.clock = ReplayClock()
        super().__init__(
            ", ".join(path.name for path in self.source.paths[:2]) + (" …" if len(self.source.paths) > 2 else ""),
            idle_timeout=float("inf"),
            use_yes_price=self.source.header.use_yes_price,
            queue_size=queue_size,
            overflow="block",
            workers=workers,
            name=name,
            timing=timing,
            clock=self.clock,
            session_options={"listen_only": self._is_foreign, "strict": gaps == "strict", "asks_again": False},
        )
        self.store.is_past = True
        self._recorded = self.requests
        self.requests = ReplayRequests(
            self._recorded, self.store, self.wanted, lambda: self.session, self._state, self.check, self.wake
        )
        self._wants: dict[int, list[Want]] = {}
        self._last_serial: int | None = None  # of the request that was taken last
        self._turn_reading = QUIET
        self._was_restored = self._spoken = False
        self._silent_until: int | None = None  # Unix ns; None: callbacks are told
        self._last_ns = 0
        self._began: tuple[float, int] | None = None  # monotonic seconds, Unix ns
        self._held: tuple[list[Message | Event], dict[str, Any]] = ([], {})  # of each market: what keeps its book until it was told

    @property
    def progress(self) -> float:
        """How much of the recording was read, 0 to 1."""
        return self.source.read_bytes / self.source.size if self.source.size else 1.0

    def _reading(self) -> Reading:
        return self._turn_reading

    def _new_reader(self, name: str) -> Player:
        return Player(name, self)

    # -- the player's side -----------------------------------------------------------------------------------------------------

    def play(self, player: Player) -> None:
        """Everything, to the end of the recording or to stop()."""
        self._was_restored = self._spoken = False
        self._began = self._silent_until = self._last_serial = None
        self._hand_on([], ())
        for header, record in self.source.records():
            if player.stopping():
                return
            if isinstance(record, Trouble):
                self._trouble(record.text)
                continue
            self._last_ns = record.ns
            self._pace(player, record.ns)
            if player.stopping():
                return
            self._take_safely(record, self.clock.set(record.ns, header.clock_offset_ns))
        if self._silent_until is not None:
            raise ConfigurationError(f"at={self._at} is after the end of the recording, {_moment(self._last_ns)}")
        self._end(player)

    def _pace(self, player: Player, ns: int) -> None:
        """Wait until it is time."""
        if self._at is not None and not self._spoken and self._silent_until is None:
            self._silent_until = _unix_ns(self._at, ns)
        if self._silent_until is not None:
            if ns < self._silent_until:
                return
            self._speak()
        if self._speed is None:
            return
        if self._began is None:
            self._began = (time.monotonic(), ns)
        player.sleep_until(self._began[0] + (ns - self._began[1]) / 1e9 / self._speed)

    def _speak(self) -> None:
        """The moment has come that was asked for: from here on callbacks are told."""
        if self._silent_until is None:
            return
        self._silent_until, self._spoken = None, True
        del self._state.undelivered[:-1]
        self._hand_on([], self.requests.wanted_books())

    def _take_safely(self, record: Record, now: float) -> None:
        try:
            self._take(record, now)
        except (ValueError, LookupError, ArithmeticError) as error:  # somebody has been at the file
            self._trouble(f"a line of the recording cannot be used: {error!r}")

    def _take(self, record: Record, now: float) -> None:
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

    def _turn(self, turn: Turn, now: float) -> None:
        self._turn_reading = turn.reading
        try:
            self.turn(turn.payloads, now)
        except ConnectionLost:
            self.session.output.give_up = None  # if the connection was given up, the recording says so too
        except (ValueError, LookupError):
            raise  # the file was edited
        except Exception as defect:  # the recorded feed may have met it too: then its next connection follows
            self.renew_session(defect, now)

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
        missed = checkpoint.session.missed
        with self.store.change():
            self._wants, troubles = restore(checkpoint, self.store, self.wanted, self.session, now)
            if checkpoint.session.state == "CONNECTED" and self._state.value is not FeedState.CONNECTED:
                self._metering.connected(now, self._wall())
                self._state.change(FeedState.CONNECTED, "the recording begins" if not self._was_restored else "connected")
            self._was_restored = True
            items, changed, _ = self._take_locked()
        self._hand_on(items, changed)
        if missed:
            troubles.append(f"{missed} messages before this moment were not recorded")
        for text in troubles:
            self._trouble(text)

    def _connected(self, record: Connected, now: float) -> None:
        change = record.change
        with self.store.change():
            self._metering.connected(now, self._wall())
            self._metering.clock_skew = change.clock_skew
            self._state.change(
                FeedState.CONNECTED,
                change.reason,
                gap_started=_moment(change.gap_started_ns),
                gap_ended=_moment(change.gap_ended_ns),
            )
            if change.next_id is not None:
                self.session.next_id = change.next_id
            self.session.connected(now)

    def _lost(self, record: Lost, now: float) -> None:
        change = record.change
        self._state.last_error = change.reason
        with self.store.change():
            self.session.disconnected(now)
            items, changed, _ = self._take_locked()
            self._state.change(
                FeedState.RECONNECTING,
                change.reason,
                attempt=change.attempt,
                delay=change.delay,
                gap_started=_moment(change.gap_started_ns),
            )
        self._hand_on(items, changed)

    def _trouble(self, text: str) -> None:
        log(logging.WARNING, "%s", text)
        with self.store.lock:
            self.session.output.fault("recording", text, self.clock.monotonic())
            items, changed, _ = self._take_locked()
        self._hand_on(items, changed)

    def _wall(self) -> datetime:
        return datetime.fromtimestamp(self.clock.time(), timezone.utc)

    def _hand_on(self, items: list[Message | Event], changed: Iterable[str], read_at: float | None = None) -> None:
        """At full speed the turns' messages are handed on some hundred at a time: the two threads take turns less often."""
        if self._silent_until is not None:
            return
        held, held_changed = self._held
        held += items
        held_changed.update(changed if isinstance(changed, Mapping) else dict.fromkeys(changed))
        if self._speed is None and len(held) < _HELD and not self._state.undelivered:
            return
        self._held = ([], {})
        if self._state.undelivered and len(held) > len(items):  # what was held comes before the change of state
            before = len(held) - len(items)
            self.dispatcher.put(held[:before], time.perf_counter(), ())
            held = held[before:]
        super()._hand_on(held, held_changed, read_at)

    def _end(self, player: Player) -> None:
        """Everything was played: have all of it delivered, however long that takes; the books stay as they are."""
        with self.store.change():
            self._metering.ended()
            self._state.change(FeedState.CLOSED, "the recording has ended")
        self._hand_on([], ())
        self.dispatcher.drain(player.stopping)

    def on_end(self, error: BaseException | None) -> None:
        """See Host."""
        if error is not None or self._state.value is not FeedState.CLOSED:
            super().on_end(error)
            return
        ended = FeedClosedError("the recording has ended")
        with self.store.change():
            self.store.ended = ended
        self.dispatcher.end_streams(ended)
        self.dispatcher.close(time.monotonic())


class StepEngine(ReplayEngine):
    """A recording taken frame by frame in the caller's thread, with the books as they are after each. Not thread-safe."""

    def __init__(self, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, gaps: str, timing: Timing) -> None:
        super().__init__(
            paths, speed=None, at=None, gaps=gaps, use_yes_price=None, queue_size=1, workers=1, name=None, timing=timing
        )
        self._collected: tuple[list[Message | Event], dict[str, Any]] = ([], {})

    def steps(self) -> Iterator[tuple[int, list[Message | Event], Iterable[str]]]:
        """After each frame: the time in Unix ns, what it brought, and the markets whose books changed their status.

        While the caller holds the last, the store finds these books, also those that nobody wants any more.
        """
        ns = 0
        for header, record in self.source.records():
            if isinstance(record, Trouble):
                self._trouble(record.text)
            else:
                ns = record.ns
                now = self.clock.set(record.ns, header.clock_offset_ns)
                if isinstance(record, Turn) and len(record.payloads) > 1:
                    for payload in record.payloads[:-1]:
                        self.session.receive([payload], now)
                        items, changed, _ = self._take_locked()
                        yield ns, items, changed
                    record = record._replace(payloads=record.payloads[-1:])
                self._take_safely(record, now)
            self._collected, (items, changed) = ([], {}), self._collected
            yield ns, items, changed

    def _hand_on(self, items: list[Message | Event], changed: Iterable[str], read_at: float | None = None) -> None:
        self._state.undelivered.clear()
        self._collected[0].extend(items)
        self._collected[1].update(changed if isinstance(changed, Mapping) else dict.fromkeys(changed))


def _unix_ns(at: datetime | float, first_ns: int) -> int:
    """A moment; a number is seconds after the first line."""
    if isinstance(at, datetime):
        return round((at - _EPOCH) / timedelta(microseconds=1)) * 1000
    return first_ns + round(at * 1e9)


def _moment(ns: int | None) -> datetime | None:
    return None if ns is None else _EPOCH + timedelta(microseconds=ns // 1000)
