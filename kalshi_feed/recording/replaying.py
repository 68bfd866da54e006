"""A recording as a feed: an engine whose reader takes its inputs from a file.

Owns ReplayEngine and StepEngine. How the session takes in what was recorded is RecordedEngine's business.

A live feed takes in a whole read at once and lets callbacks catch up. A replay takes one message at a time,
which is what makes it a time machine. Each step goes like this, all of it on the player's thread:

1. The time passes up to the message (``_reach``): at a set speed that means a nap, with speed="wait" it means
   waiting for all participants, and threads whose moment comes first are woken on the way (waits.py).
2. The clock is set, and the session takes the message under the store's lock (``_messages``).
3. The callbacks run to their end (``_hand_on``), and find every book exactly as it was at this message.
4. The threads that wait for something are woken, if it is there now (``_step_done``). With speed="wait" the
   player then waits until all of them wait again before it goes on, even within one recorded read.

A checkpoint in the file (``_restore``) puts the session where it was then, at the beginning and after a loss.
With replay(at=…) everything before that moment is played silently: the session takes it all in, so that the
books are right, but no callback runs and no wait is answered until ``_speak`` ends the silence.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from threading import Thread
from typing import Any, Final, Literal

from ..dispatch import InlineDispatcher, checked_count
from ..engine.engine import log
from ..errors import ConfigurationError, ConnectionLost, FeedClosedError
from ..events import Event, FeedState
from ..messages import Message
from ..session.timing import Timing
from ..waiting import Clock
from .foreign import ForeignSource
from .opening import beginning_of, open_source
from .player import Player, ReplayClock, moment_of, ns_of
from .reading import Record, Trouble, Turn
from .recorded import RecordedEngine
from .waits import ReplayStore

__all__ = ["ReplayEngine", "StepEngine"]

_LOOK: Final = 0.02  # seconds between two checks whether a thread that holds the time still has ended


class ReplayEngine(RecordedEngine):
    """The engine of a replayed feed. Thread-safe; play() and everything it calls run on the player's thread.

    ``speed`` is recorded seconds per second, "max", or "wait" (waits.py). Raises ConfigurationError.
    """

    _KIND = "recording"

    def __init__(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        speed: float | Literal["max", "wait"],
        at: datetime | float | None,
        until: datetime | float | None,
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
        self._begins_ns = beginning_of(self.source) or 0
        self._at_ns = _unix_ns("at", at, self._begins_ns)
        self._until_ns = _unix_ns("until", until, self._begins_ns)
        if self._until_ns is not None and self._until_ns <= (self._at_ns or self._begins_ns):
            raise ConfigurationError("must be later than the beginning of the replay", "until")
        self._pace = speed if isinstance(speed, float) else None  # None: as fast as possible, or by turns
        self._by_turns = speed == "wait"
        self._is_foreign = isinstance(self.source, ForeignSource)
        checked_count("queue_size", queue_size)
        checked_count("workers", workers)
        super().__init__(
            ", ".join(path.name for path in self.source.paths[:2])
            + (" …" if len(self.source.paths) > 2 else ""),
            idle_timeout=float("inf"),
            use_yes_price=self.source.header.use_yes_price,
            queue_size=queue_size,
            overflow="block",
            workers=workers,
            name=name,
            timing=timing,
            clock=ReplayClock(self._begins_ns),
            session_options={
                "listen_only": self._is_foreign,
                "strict": gaps == "strict",
                "asks_again": False,
            },
        )
        # From here on the player's, set afresh by each play().
        self._player: Player | None = None  # None before that, and in a StepEngine
        self._has_begun = False  # play() was called, so there is progress to report
        self._is_silent = False  # the moment of ``at`` has not come yet: callbacks hear nothing
        # Where the pace is counted from: a moment on this machine's monotonic clock, and the session's time
        # at that moment, both in seconds. None until the first moment is played; set again where another
        # recording begins.
        self._began: tuple[float, float] | None = None

    def _new_store(self, clock: Clock) -> ReplayStore:
        self._waits = ReplayStore(
            self.clock,
            self._at_ns or self._begins_ns,
            by_turns=self._by_turns,
            is_wanted=self.wanted.wants_book,
        )
        self._waits.is_silent = self._at_ns is not None
        return self._waits

    def _new_dispatcher(self, **options: Any) -> InlineDispatcher:
        """A replay has no queue and no workers: callbacks run on the player's thread."""
        waits = self._waits
        return InlineDispatcher(
            blocking=waits, view_of=waits.view, report_fault=self._count_fault, now=waits.now
        )

    @property
    def progress(self) -> float:
        """How much of the recording was read, 0 to 1."""
        if not self._has_begun:
            return 0.0
        return self.source.read_bytes / self.source.size if self.source.size else 1.0

    def check_recordable(self) -> None:
        """Raise ConfigurationError: there is nothing to record that is not in the file."""
        raise ConfigurationError("a replay cannot be recorded: it is already a recording, so copy the file")

    def _starting_locked(self) -> None:
        self.clock.advance(self._begins_ns)
        self._waits.is_silent = self._at_ns is not None

    def _new_reader(self, name: str) -> Player:
        return Player(name, self)

    # -- the player's side: time -----------------------------------------------------------------------------

    def play(self, player: Player) -> None:
        """Play everything, to the end of the recording or until stop()."""
        self._player = player
        self._has_begun, self._was_restored, self._is_silent = True, False, False
        self._began = self._last_serial = None
        self._waits.play(player.wake)
        self._hand_on([], ())
        self._is_silent = self._at_ns is not None
        recording = self.source.header.recording
        for header, record in self.source.records():
            if isinstance(record, Trouble):
                self._trouble(record.text)
                continue
            if self._until_ns is not None and record.ns >= self._until_ns:
                break
            offset_ns = header.clock_offset_ns
            if header.recording != recording:
                recording = header.recording
                if self._began is not None:
                    self._began = (time.monotonic(), (record.ns - offset_ns) / 1e9)
            if not self._reach(record.ns, offset_ns, player):
                return
            self._take_safely(record, self.clock.set(record.ns, offset_ns))
            player.give_way()
        if self._is_silent:
            raise ConfigurationError(f"is after the end of the recording, {moment_of(self.clock.ns)}", "at")
        if self._until_ns is None or self._reach(self._until_ns, self.clock.offset_ns, player):
            self._end(player)

    def _reach(self, ns: int, offset_ns: int, player: Player) -> bool:
        """Let the recording's time pass up to ``ns`` (Unix); returns False if stop() came first.

        On the way there it stops at each earlier moment at which a thread is due, and wakes that thread.

        At a set speed the pace is that of the session's clock, which at ``ns`` is ``offset_ns`` behind Unix
        time. Where the wall clock was set, or the machine slept, Unix time jumps. The session's clock does
        not, and no one wants to wait for hours in which nothing was recorded. A thread's moment may lie
        within such a jump, and then comes with it.
        """
        if self._is_silent:
            if self._at_ns is not None and ns < self._at_ns:
                return self._goes_on(player)
            self._speak()
        while self._all_wait(player):
            due = self._waits.next_due()
            at = (ns - offset_ns) / 1e9
            if due < ns:
                at = min(at, (due - self.clock.offset_ns) / 1e9)
            if self._began is None:
                self._began = (time.monotonic(), at)
            if self._pace is not None and not player.nap(self._began[0] + (at - self._began[1]) / self._pace):
                continue  # woken: there may be an earlier moment to stop at now
            if due >= ns:
                return True
            self.clock.advance(int(due))
            self._waits.call_due(int(due))
        return False

    def _all_wait(self, player: Player) -> bool:
        """With speed="wait", wait until every participant waits; returns False if stop() came first."""
        while self._goes_on(player):
            in_the_way = self._waits.in_the_way()
            if not in_the_way:
                return True
            for thread in self._waits.to_name(in_the_way):
                log(logging.WARNING, "%s", _standing(thread))
            player.nap(time.monotonic() + _LOOK)
        return False

    def _goes_on(self, player: Player) -> bool:
        return not (player.stopping() or self.store.forked)

    def _speak(self) -> None:
        """End the silence: the moment of ``at`` has come, and now callbacks run and waits are answered.

        The books were built in silence, so each of them counts as changed. Of all changes of state only the
        last one is reported.
        """
        self._is_silent = self._waits.is_silent = False
        del self._state.undelivered[:-1]
        self._hand_on([], self.requests.wanted_books())
        self._waits.call_waiting()

    # -- the player's side: what was recorded ----------------------------------------------------------------

    def _take_safely(self, record: Record, now: float) -> None:
        self._waits.hold()
        try:
            self._take(record, now)
        except (ValueError, LookupError, ArithmeticError) as error:  # the file was edited
            self._trouble(f"a line of the recording cannot be used: {error!r}")
        self._step_done()

    def _step_done(self) -> None:
        """End a step: callbacks get the state changes not reported yet, then waiting threads are woken."""
        if self._is_silent:
            return
        if self._state.undelivered:
            self._hand_on([], ())
        self._waits.call_waiting()

    def _turn(self, turn: Turn, now: float) -> None:
        player = self._player
        self._turn_reading = turn.reading
        try:
            for _ in self._messages(turn.payloads, now):
                if player is not None and not self._all_wait(player):
                    return
            self._waits.hold()
            self.turn([], now)
        except ConnectionLost:
            self.session.output.give_up = None  # if the live feed gave up the connection, that was recorded
        except (ValueError, LookupError, ArithmeticError):
            raise  # the file was edited
        except Exception as defect:  # if the live feed met this bug as well, its next connection follows
            self.renew_session(defect, now)

    def _messages(self, payloads: list[bytes], now: float) -> Iterator[None]:
        """Take the messages of one read, and yield after each one, when its callbacks and waits are done."""
        store, waits, session = self.store, self._waits, self.session
        items: list[Message | Event] = []
        for message, payload in zip(session.decoder.decode_batch(payloads), payloads, strict=True):
            read_at = time.perf_counter()
            waits.hold()
            with store.lock:
                session.take(message, len(payload), now)
                items, changed, _ = self._take_locked(now)
            self._hand_on(items, changed, read_at)
            self._step_done()
            yield
        if payloads:
            with store.lock:
                self._metering.received(len(payloads), items, self.dispatcher.counters.dropped, now)

    def _hand_on(
        self, items: list[Message | Event], changed: Iterable[str], read_at: float | None = None
    ) -> None:
        if self._is_silent:
            return
        if self._state.undelivered:
            super()._hand_on(items, changed, read_at)
        else:
            self.dispatcher.put(items, read_at if read_at is not None else time.perf_counter(), changed)

    def _end(self, player: Player) -> None:
        """End the replay after everything was played. The books stay as they are."""
        if not self._all_wait(player):
            return
        self._waits.hold()
        self._release(self.clock.monotonic())
        with self.store.change():
            self._metering.ended()
            self._state.change(FeedState.CLOSED, "the recording has ended")
        self._hand_on([], ())

    def on_end(self, error: BaseException | None) -> None:
        """The last call on the player's thread: end all waits and streams.

        After a failure or stop() the feed ends as a live one does, and closes its books. At the end of the
        recording it keeps them as they were, and the waits say why they ended.
        """
        self._waits.is_silent = False
        if self._is_silent:
            self._is_silent = False
            self._state.undelivered.clear()
        try:
            if error is not None or self._state.value is not FeedState.CLOSED:
                super().on_end(error)
                return
            text = "the recording has ended"
            if not self._by_turns:
                text += (
                    ', while this thread was waiting: with KalshiFeed.replay(…, speed="wait") its time '
                    "passes only while you wait"
                )
            ended = FeedClosedError(text)
            self._waits.play_no_more()
            with self.store.change():
                self.store.ended = ended
            self.dispatcher.end_streams(ended)
            self.dispatcher.close(time.monotonic())
        finally:
            self._waits.play_no_more()


class StepEngine(ReplayEngine):
    """A recording taken frame by frame on the caller's thread, without callbacks. Not thread-safe."""

    def __init__(
        self, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, gaps: str, timing: Timing
    ) -> None:
        super().__init__(
            paths,
            speed="max",
            at=None,
            until=None,
            gaps=gaps,
            use_yes_price=None,
            queue_size=1,
            workers=1,
            name=None,
            timing=timing,
        )
        self._collected: tuple[list[Message | Event], dict[str, Any]] = ([], {})

    def steps(self) -> Iterator[tuple[int, list[Message | Event], Iterable[str]]]:
        """Yield after each frame: its time (Unix ns), what it brought, markets whose book changed status.

        As long as the caller keeps the last of these, the store finds those books, even unwanted ones.
        """
        ns = 0
        for header, record in self.source.records():
            if isinstance(record, Trouble):
                self._trouble(record.text)
            else:
                ns = record.ns
                now = self.clock.set(record.ns, header.clock_offset_ns)
                if isinstance(record, Turn) and len(record.payloads) > 1:
                    for _ in self._messages(record.payloads, now):
                        yield ns, *self._taken()
                    record = record._replace(payloads=[])
                self._take_safely(record, now)
            yield ns, *self._taken()
        self._release(self.clock.monotonic())
        yield ns, *self._taken()

    def _taken(self) -> tuple[list[Message | Event], dict[str, Any]]:
        self._collected, taken = ([], {}), self._collected
        return taken

    def _hand_on(
        self, items: list[Message | Event], changed: Iterable[str], read_at: float | None = None
    ) -> None:
        self._state.undelivered.clear()
        self._collected[0].extend(items)
        self._collected[1].update(changed if isinstance(changed, Mapping) else dict.fromkeys(changed))


def _unix_ns(name: str, moment: datetime | float | None, begins_ns: int) -> int | None:
    """Return a moment of a recording in Unix ns; a number means seconds after its beginning.

    Raises ConfigurationError for a moment before the beginning.
    """
    if not isinstance(moment, datetime):
        return None if moment is None else begins_ns + round(moment * 1e9)
    ns = ns_of(moment)
    if moment < moment_of(begins_ns):
        raise ConfigurationError(f"is before the beginning of the recording, {moment_of(begins_ns)}", name)
    return ns


def _standing(thread: Thread | None) -> str:
    if thread is None:
        return (
            'with speed="wait" a replay plays only while a thread waits for it, and none has come yet: call '
            "run_forever(), for example"
        )
    return (
        f"thread {thread.name} is holding the replay's time still: it has not waited for the feed for 10 s; "
        "use feed.stepping_out() to let time pass without it"
    )
