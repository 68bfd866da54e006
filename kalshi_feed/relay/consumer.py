"""The engine of a relay's consumer: a feed whose inputs come from a stream in Redis.

Owns ConsumerEngine. The session here takes in what the relay's session has taken in, so it makes the same
messages and books; how it does that is RecordedEngine's business. What this module adds:

- **The beginning, and after each hole.** The session begins with the relay's newest checkpoint, and then
  takes in silently what has been written since. Callbacks get what comes once it is current (tracking.py).
  The hole is announced like a connection that was lost: RECONNECTING, then CONNECTED, both with the bounds of
  what was missed.
- **Being current.** While Redis is out of reach, or nothing has come for a while, no book is shown as LIVE
  (mirror.py). If nothing is missing afterwards, the session simply goes on, every message reaches the
  callbacks, and the books are LIVE again.
- **Distrust.** Whatever cannot be right, an entry, a checkpoint, or an exception in our own code, counts as a
  hole, is reported as a FeedFault, and costs a pause that gets longer each time.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, Final

from ..books.book import BookStatus
from ..connection.redaction import detach, without_locals
from ..engine.engine import log
from ..engine.tap import QUIET
from ..errors import ConfigurationError, ConnectionLost, RelayError
from ..events import Event, FeedFault, FeedState, StateChange
from ..messages import Message
from ..recording.checkpoint import Checkpoint
from ..recording.lines import ChangeLine
from ..recording.player import moment_of
from ..recording.reading import ClockMoved, Turn
from ..recording.recorded import RecordedEngine
from ..session.timing import Timing
from ..stats import ConsumerStats, FeedStats, Health
from ..waiting import Clock
from .client import RedisClient, ReplyTooLong
from .consumer_requests import ConsumerRequests, WishSender
from .layout import BEAT, EntryId, EntryKind, StreamEntry, decode_entry, keys_of
from .mirror import ConsumerStore, RelayClock
from .stream_reader import RawEntry, StreamReader
from .tracking import LATE, Tracker
from .unpacking import checkpoint_in, records_of
from .wishes import decode_answer

__all__ = ["ConsumerEngine"]

_HELD_UP: Final = 5.0  # seconds in which an entry must come that was not held up
_FIRST_PAUSE: Final = 0.1  # seconds after something that cannot be right; then twice as long each time
_LAST_PAUSE: Final = 5.0
_PATIENCE: Final = 10.0  # seconds that a relay may take to answer
_OWN_FAULTS: Final = ("callback", "defect", "recording", "relay")  # faults that are not the session's


class ConsumerEngine(RecordedEngine):
    """The engine of a relay's consumer. Thread-safe like Engine; methods of StreamHost, and what they call,
    are for the reader's thread."""

    _KIND = "relay"
    clock: RelayClock
    store: ConsumerStore
    requests: ConsumerRequests

    @without_locals  # the url may hold a password
    def __init__(
        self,
        url: str,
        *,
        name: str,
        account: bool,
        password: str | None,
        ca_file: str | os.PathLike[str] | None,
        silence: float,
        remote: bool,
        queue_size: int,
        workers: int,
        overflow: Any,
        thread_name: str | None,
        timing: Timing,
    ) -> None:
        for argument, value in (("account", account), ("remote", remote)):
            if not isinstance(value, bool):
                raise ConfigurationError(f"must be True or False, not {value!r}", argument)
        if (
            isinstance(silence, bool)
            or not isinstance(silence, (int, float))
            or not 2 * BEAT <= silence < math.inf
        ):
            raise ConfigurationError(
                f"must be at least {2 * BEAT:g} (seconds), because a relay speaks every {BEAT:g} s, not "
                f"{silence!r}",
                "silence",
            )
        if thread_name is not None and (not isinstance(thread_name, str) or not thread_name):
            raise ConfigurationError(f"must be a non-empty string, not {thread_name!r}", "thread_name")
        self._keys = keys_of(name, account=account)
        # a call that takes longer than the relay may be silent has failed
        self._client = RedisClient(url, password=password, ca_file=ca_file, timeout=silence)
        self._relay = f"relay {name!r}"
        self._silence = silence
        self._remote = remote
        self._absent = f"no {self._relay} writes to {self._client.redacted}" + (
            ", or not with account=True" if account else ""
        )
        super().__init__(
            self._client.redacted,
            clock=RelayClock(),
            idle_timeout=math.inf,
            use_yes_price=True,
            queue_size=queue_size,
            overflow=overflow,
            workers=workers,
            name=thread_name,
            timing=timing,
            session_options={"asks_again": False},
        )
        # From here on the reader's, made afresh by each start(); metrics are read by any thread.
        self._tracker = Tracker(silence)
        self._generation = 0  # of the checkpoint that the session began with
        self._offset_ns = 0  # the relay's wall clock less its monotonic one
        self._is_silent = False  # callbacks hear nothing: the session is catching up from a checkpoint
        self._mirrored = FeedState.CONNECTING  # the state of the relay's feed
        self._mirrored_why = ""
        self._was_current = False  # since start()
        self._silent_changes: dict[str, object] = {}  # books that changed status in silence, see _hand_on()
        # since when and until when messages may have been missed, by the relay's wall clock; None: none were
        self._missed_since: datetime | None = None
        self._missed_until: datetime | None = None
        self._pause = _FIRST_PAUSE  # after the next thing that cannot be right
        self._refusals = 0  # the exchange's error messages that were looked at
        self._entries = self._holes = self._bootstraps = 0
        self._lag = 0.0
        self._held_up_since = math.inf  # since when entries come that were held up (time.monotonic())
        if remote:
            sender = WishSender(
                self.thread_name("wishes"),
                self.requests,
                self._client.another(),
                self._keys.wishes,
                self.store.lock,
                self.report_fault,
            )
            self.companions[sender] = None
        self._blocked = 0.0  # seconds that callbacks have held up the reader in this batch

    def _new_store(self, clock: Clock) -> ConsumerStore:
        return ConsumerStore(clock, self.wanted.wants_book)

    def _new_requests(self, *arguments: Any) -> ConsumerRequests:
        return ConsumerRequests(*arguments, remote=self._remote, relay=f"the {self._relay}")

    def _new_reader(self, name: str) -> StreamReader:
        return StreamReader(name, self, self._client, self._keys, self._tracker)

    def _starting_locked(self) -> None:
        self._tracker.forget()
        self._is_silent = self._was_current = False
        self._silent_changes.clear()
        self._mirrored = FeedState.CONNECTING
        self._missed_since = self._missed_until = None
        self._pause = _FIRST_PAUSE
        self.store.show_live_as_locked(BookStatus.PENDING)

    def stats(self) -> FeedStats:
        """The feed's metrics at this moment."""
        consumer = ConsumerStats(self._entries, self._holes, self._bootstraps, self._lag)
        return dataclasses.replace(super().stats(), relay=consumer)

    def health(self) -> Health:
        """Whether the feed is well; see Engine. A relay that does not answer is a reason, too."""
        found = super().health()
        with self.store.lock:
            waiting = self.requests.list.unanswered_for(time.monotonic())
        if found.status == "down" or waiting < _PATIENCE:
            return found
        text = f"the {self._relay} has not answered for {waiting:.0f} s what was asked of it"
        return Health("degraded", (*found.reasons, text), found.notes)

    # -- StreamHost: where to begin --------------------------------------------------------------------------

    def begin(self) -> None:
        """The thread has begun. See StreamHost."""
        with self.store.lock:
            self._state.last_error = self._absent
        self._hand_on([], ())

    def no_checkpoint(self, *, is_empty: bool) -> None:
        """Ask for a checkpoint if there is someone to ask. See StreamHost."""
        if is_empty and self._state.value is FeedState.CONNECTING:
            with self.store.lock:
                self._state.last_error = self._absent
            return
        self.requests.ask_for_checkpoint()

    def start_from(self, id: EntryId, fields: Mapping[bytes, bytes]) -> float:
        """Put the session where the relay's was at the checkpoint. See StreamHost."""
        try:
            header, checkpoint, learned = checkpoint_in(fields.get(b"p", b""))
            self._begin_silence(id.generation)
            self._offset_ns = header.clock_offset_ns
            if header.use_yes_price is not self.use_yes_price:
                self._ask_prices(header.use_yes_price)
            now = self.clock.set(checkpoint.ns, self._offset_ns)
            checkpoint.session.missed = 0  # what the relay has missed, its ids show
            self._restore(checkpoint, now)
            for record in learned:
                self._take(record, now)
        except (ValueError, LookupError, ArithmeticError) as error:
            return self._broken(f"the checkpoint of the {self._relay} cannot be used: {error}", error)
        except RelayError:
            raise
        except Exception as defect:
            return self._defective(defect)
        self._bootstraps += 1
        self._tracker.begin(id, time.monotonic())
        return 0.0

    def _begin_silence(self, generation: int) -> None:
        """From here on, and until the session is current, callbacks hear nothing."""
        with self.store.lock:
            self._is_silent = True
            if self.tap is not None:
                self.tap.skip()
            if generation != self._generation:
                self._generation = generation
                self.clock.restart()
                self._metering.new_clock()

    def _ask_prices(self, use_yes_price: bool) -> None:
        """The relay asks for the no side's prices in the other way: the session must take them so."""
        with self.store.lock:
            self.use_yes_price = use_yes_price
            self._new_session = functools.partial(self._new_session, use_yes_price=use_yes_price)
            self._replace_session_locked()

    def _replace_session_locked(self) -> None:
        old = self.session.output
        self.session = self._new_session()
        self.session.output.counts, self.session.output.items = old.counts, old.items

    def _restored_locked(self, checkpoint: Checkpoint, now: float) -> None:
        state = checkpoint.session.state
        is_known = state in ("CONNECTED", "RECONNECTING")
        self._mirrored = FeedState[state] if is_known else FeedState.CONNECTING
        self._mirrored_why = f"the feed of the {self._relay} is {state}"

    # -- StreamHost: what comes ------------------------------------------------------------------------------

    def take_entries(self, entries: list[RawEntry], *, is_end: bool) -> float:
        """Take in what was read. See StreamHost."""
        tracker, arrived = self._tracker, time.monotonic()
        self._blocked = 0.0
        if tracker.is_current and tracker.is_silent(arrived):  # this process stood still
            self._lose(self._silent_text())
        if not tracker.has_read(is_end, arrived):
            self._lose(f"this feed has been behind the {self._relay} for more than {self._silence:g} s")
        for id, fields in entries:
            try:
                entry = decode_entry(id, fields)
                if not tracker.is_next(entry.id):
                    return self._hole(entry.id)
                was_current = tracker.is_current
                tracker.take(entry, arrived)
                if was_current and not tracker.is_current:
                    self._lose(
                        f"the {self._relay} was closed"
                        if entry.kind is EntryKind.END
                        else f"the {self._relay} is {entry.late:.1f} s behind"
                    )
                self._entry(entry, arrived)
            except (ValueError, LookupError, ArithmeticError) as error:
                return self._broken(f"an entry of the {self._relay} cannot be used: {error}", error)
            except Exception as defect:
                return self._defective(defect)
        tracker.excuse(self._blocked)
        if is_end and not self._was_held_up(arrived) and tracker.read_to_end():
            self._be_current()
        return 0.0

    def _was_held_up(self, arrived: float) -> bool:
        """Whether the newest entry was on its way, or took to be taken in, for so long that it does not show
        how things are now.

        A network that was silent for a while delivers what it has held back as if it were new. If all entries
        are as late as that, it is the relay's clock that stood still (its machine slept).
        """
        if self._tracker.is_current or self._lag + time.monotonic() - arrived <= LATE:
            self._held_up_since = math.inf
        else:
            self._held_up_since = min(self._held_up_since, arrived)
            if arrived - self._held_up_since < _HELD_UP:
                return True
            self.clock.restart()
        return False

    def _entry(self, entry: StreamEntry, arrived: float) -> None:
        """Take in one entry, which is the next one."""
        self._entries += 1
        kind = entry.kind
        if kind is EntryKind.TURN or kind is EntryKind.LINES:
            for record in records_of(entry):
                if isinstance(record, ClockMoved):
                    self._offset_ns = record.clock_offset_ns
                else:
                    self._take(record, self.clock.set(record.ns, self._offset_ns))  # type: ignore[union-attr]  # not a Trouble
            if self.session.output.counts.messages["error"] != self._refusals:
                self._refusals = self.session.output.counts.messages["error"]
                with self.store.change():
                    self.requests.note_refusals_locked()
        else:
            self.clock.set(entry.ns, self._offset_ns)
            if kind is EntryKind.ANSWER:
                self._answer(entry.payload)
            self._look_around()
        self._lag = self.clock.arrived((entry.ns - self._offset_ns) / 1e9, arrived)

    def _turn(self, turn: Turn, now: float) -> None:
        if turn.first_id is not None:
            self.session.next_id = turn.first_id
        self._turn_reading = turn.reading
        try:
            self.turn(turn.payloads, now)
        except ConnectionLost:
            self.session.output.give_up = None  # if the relay gave up its connection, its stream says so
        finally:
            self._turn_reading = QUIET
            self._blocked += self._waited

    def _answer(self, payload: bytes) -> None:
        """The relay has answered a consumer's wishes."""
        if self.requests.list.consumer.encode() in payload:
            answer = decode_answer(payload)
            if answer.consumer == self.requests.list.consumer:
                with self.store.change():
                    self.requests.answered_locked(answer)

    def _connected_locked(self, change: ChangeLine, now: float) -> None:
        self._mirrored, self._mirrored_why = FeedState.CONNECTED, change.reason
        self._metering.clock_skew = None  # it is about the relay's clock
        self._miss(change.gap_started_ns, change.gap_ended_ns)
        if self._tracker.is_current:
            self._announce_connected_locked(change.reason)

    def _lost_locked(self, change: ChangeLine) -> None:
        self._mirrored, self._mirrored_why = FeedState.RECONNECTING, change.reason
        self._miss(change.gap_started_ns, None)
        if self._tracker.is_current:
            super()._lost_locked(change)

    def _miss(self, since_ns: int | None, until_ns: int | None) -> None:
        """Messages may be missing from then until then (Unix ns by the relay's clock)."""
        if since_ns is not None:
            since = moment_of(since_ns)
            self._missed_since = since if self._missed_since is None else min(since, self._missed_since)
        if until_ns is not None:
            until = moment_of(until_ns)
            self._missed_until = until if self._missed_until is None else max(until, self._missed_until)

    def _announce_connected_locked(self, reason: str) -> None:
        since, until = self._missed_since, self._missed_until
        if since is not None:  # by another relay's clock, the end may be earlier
            until = max(since, until or moment_of(self.clock.ns))
        self._metering.connected(self.clock.monotonic(), datetime.now(timezone.utc))
        self._state.last_error = ""
        self._state.change(
            FeedState.CONNECTED, reason, gap_started=since, gap_ended=until if since is not None else None
        )
        self._missed_since = self._missed_until = None

    def _hand_on(
        self, items: list[Message | Event], changed: Iterable[str], read_at: float | None = None
    ) -> None:
        """Pass everything on. While the session catches up, only what is not part of that."""
        if not self._is_silent:
            super()._hand_on(items, changed, read_at)
            return
        if changed:
            self._silent_changes.update(changed if isinstance(changed, Mapping) else dict.fromkeys(changed))
        own = [item for item in items if isinstance(item, FeedFault) and item.kind in _OWN_FAULTS]
        if own:
            super()._hand_on(list(own), (), read_at)

    def idle(self) -> None:
        """Notice a silence, and pass on what users and other threads have left. See StreamHost."""
        tracker = self._tracker
        # a relay that was closed is silent, and its users know the better reason
        is_expected = tracker.position is None or tracker.was_closed
        if self._was_current and not is_expected and tracker.is_silent(time.monotonic()):
            self._lose(self._silent_text())
        self._look_around()

    def _look_around(self) -> None:
        """Pass on what users and other threads have left, and watch the callbacks."""
        output, requests = self.session.output, self.requests
        with self.store.change():  # which also looks at the waits that depend on the time
            if requests.queued:
                requests.apply_queued_locked()
            items, output.items = output.items, []
            changed, output.status_changed = output.status_changed, set()
            kept = self.store.release_locked(changed) if changed else ()
        if items or kept or self._state.undelivered:
            self._hand_on(items, kept)
        read_at = time.perf_counter()
        if read_at >= self.dispatcher.next_watch():
            self.dispatcher.watch(read_at)

    # -- current, and no longer ------------------------------------------------------------------------------

    def _silent_text(self) -> str:
        return f"nothing from the relay for {self._silence:g} s"

    def _be_current(self) -> None:
        """The session has caught up: show its books, and let callbacks hear."""
        self._pause = _FIRST_PAUSE
        with self.store.change():
            changed: dict[str, object] = dict.fromkeys(self.store.show_live_as_locked(None))
            was_silent = self._is_silent
            if was_silent:
                self._is_silent = False
                changed.update(dict.fromkeys(self.requests.wanted_books_locked()))
                changed.update(self._silent_changes)  # with the handles of books that are no longer wanted
                self._silent_changes.clear()
                if self._missed_since is not None:
                    self._missed_until = moment_of(self.clock.ns)
            if not self._was_current:
                self._was_current = True
                self._missed_since = self._missed_until = None  # no callback could have heard of it
            if self._mirrored is FeedState.CONNECTED:
                self._announce_connected_locked("connected")
            else:
                self._state.last_error = self._mirrored_why
                if self._mirrored is FeedState.RECONNECTING:
                    self._state.change(
                        FeedState.RECONNECTING, self._mirrored_why, gap_started=self._missed_since
                    )
            if was_silent and self.tap is not None:
                self.tap.renewed(self.clock.monotonic())
        self.requests.say_again()
        log(logging.INFO, "caught up with the %s at %s", self._relay, self.peer)
        self._hand_on([], changed)

    def _lose(self, reason: str) -> None:
        """What is known may be old by now: no book is shown as LIVE until the session has caught up."""
        self._tracker.lose()
        with self.store.change():
            self._state.last_error = reason
            changed = self.store.show_live_as_locked(BookStatus.STALE) if self._was_current else []
            is_news = self._state.value is FeedState.CONNECTED
            if is_news:
                self._state.change(
                    FeedState.RECONNECTING, reason, gap_started=self._missed_since or moment_of(self.clock.ns)
                )
        if is_news:
            log(logging.WARNING, "%s; no book is LIVE until this feed has caught up", reason)
        if changed or is_news:
            self._hand_on([], changed)

    def on_end(self, error: BaseException | None) -> None:
        """End the feed. See StreamHost."""
        self._is_silent = False
        super().on_end(error)

    def out_of_reach(self, error: RelayError) -> None:
        """Redis cannot be reached. See StreamHost."""
        self._lose(str(error))
        self._look_around()

    def is_too_long(self, error: ReplyTooLong) -> float:
        """Hope for a checkpoint beyond it. See StreamHost."""
        self.requests.ask_for_checkpoint()
        return self._broken(f"an entry or the checkpoint of the {self._relay} cannot be used: {error}", error)

    def was_replaced(self) -> None:
        """The stream is not the one that was read. See StreamHost."""
        self._begin_again("the stream in Redis was replaced")

    def _hole(self, id: EntryId) -> float:
        """The entry with this id is not the next one."""
        missing = self._tracker.missing_before(id)
        if missing is None:
            text = f"another {self._relay} has taken over"
        elif missing > 0:
            text = f"{missing} entries of the {self._relay} are missing"
        else:
            text = f"the {self._relay} goes back"
        self._begin_again(text)
        return 0.0

    def _begin_again(self, reason: str) -> None:
        """Something is missing: the session begins again with a checkpoint."""
        self._holes += 1
        if self._missed_since is None and self._was_current:
            self._missed_since = moment_of(self.clock.ns)
        self._lose(reason)
        if not self._is_silent:
            self._release(self.clock.monotonic())
            self._hand_on([], ())
            self._end_recorded(reason)
        self._tracker.forget()

    def _end_recorded(self, reason: str) -> None:
        """In a recording of this feed, a hole is a lost connection."""
        with self.store.lock:
            if self.tap is not None:
                lost = StateChange(
                    self._state.value, FeedState.RECONNECTING, reason, gap_started=self._missed_since
                )
                self.tap.lost((self.clock.ns - self.clock.offset_ns) / 1e9, lost)
                self.tap.skip()

    def _broken(self, text: str, error: BaseException | None) -> float:
        """Something in Redis cannot be right. Returns the pause before another try."""
        log(logging.WARNING, "%s", text)
        with self.store.lock:
            self.session.output.fault(self._KIND, text, self.clock.monotonic(), error and detach(error))
        self._begin_again(text)
        self._look_around()
        pause, self._pause = self._pause, min(2 * self._pause, _LAST_PAUSE)
        return pause

    def _defective(self, defect: Exception) -> float:
        """Our own code raised: nothing in the session can be trusted."""
        self._begin_again(f"a defect in kalshi_feed: {defect!r}")
        self.renew_session(defect, self.clock.monotonic())
        pause, self._pause = self._pause, min(2 * self._pause, _LAST_PAUSE)
        return pause
