"""The relay's thread: it takes inputs out of the queue, and writes them to Redis.

Owns Publisher, and with it the lease, the streams and the checkpoints. A relay is either the writer, or waits
for the lease. While Redis cannot be reached, the publisher keeps what it has taken out and takes nothing
more; the queue fills to its bound, and then loses. After that, the ids leave a hole, and a checkpoint follows
at once. The feed never waits for any of this.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Final

from .. import greenlets
from ..connection.redaction import detach
from ..engine.engine import Engine, log
from ..errors import RelayError
from ..recording.queue import CheckpointItem, ClockItem, LineItem, SentItem, TurnItem
from ..threads import ServiceThread
from ..waiting import Signal
from .buffer import AnswerItem, RelayItem, RelayQueue
from .client import RedisClient
from .encoding import Encoded, compressed_checkpoint, encode_input, encode_read
from .layout import BEAT, EntryId, EntryKind
from .lease import RENEW_EVERY, Lease
from .streams import Deposed, StreamWriter, push

__all__ = ["Publisher"]

CHECKPOINT_EVERY: Final = 5.0  # seconds, if anything was relayed
_LEAST_BETWEEN: Final = 0.2  # seconds between two checkpoints that were asked for
_SLICE: Final = 0.001  # seconds of formatting a checkpoint between two looks at the queue
_TAKE_BYTES: Final = 4 * 1024 * 1024  # at once; so much more than the queue's bound may be in memory
_LOOK_FOR_LEASE: Final = 0.25  # seconds between two looks of a standby
_FIRST_RETRY: Final = 0.1  # seconds after Redis could not be reached
_LAST_RETRY: Final = 1.0
_FUTURE: Final = 2**62  # no generation is beyond it: a stream that has one was forged
_SPREAD: Final = 1_000  # two relays that take over in the same moment should not choose the same generation
_CLOSE: Final = 5.0  # seconds for what is still to be written, if the feed ends by itself


class _Formatting:
    """A checkpoint that is being formatted for one stream. The publisher's."""

    def __init__(self, writer: StreamWriter, ns: int, parts: Iterator[bytes]) -> None:
        self.writer = writer
        self.id: EntryId = writer.last
        self.ns = ns
        self._parts = parts
        self._payload: list[bytes] = []
        self.is_done = False

    def go_on(self, until: float) -> None:
        """Format until then (time.monotonic()), or until it is done."""
        for part in self._parts:
            if part:
                self._payload.append(part)
            if time.monotonic() >= until:
                return
        self.is_done = True

    @property
    def payload(self) -> bytes:
        """The whole payload, once it is done."""
        return b"".join(self._payload)


class Publisher:
    """The writer's side. Its state belongs to its thread; methods and properties that say so are for any.

    ``writers``: the stream of the market data, and that of the account. ``lease``: of their relay.
    ``on_end`` is called at the thread's end.
    """

    def __init__(
        self,
        engine: Engine,
        client: RedisClient,
        lease: Lease,
        writers: list[StreamWriter],
        *,
        standby: bool,
        on_end: Callable[[], object],
    ) -> None:
        self._engine = engine
        self._client = client
        self._lease = lease
        self.writers = writers
        self._standby = standby
        self._on_end = on_end
        self._wake = Signal()  # set by each input
        self._interrupt = Signal()  # set if the relay is to end: also wakes it while it can do nothing
        self.queue = RelayQueue(engine, self._wake.set, self._feed_ended, self.join)
        self.is_writer = False
        self.generation = 0  # of the entries that it writes, or wrote last
        self.checkpoints = self.checkpoint_bytes = 0  # written; bytes of the last one
        self.errors = 0  # calls that failed because Redis could not be reached or refused them
        self.late = 0.0  # seconds between the newest entry's time and its writing
        self.error: RelayError | None = None  # why the relay has ended, unless it was closed
        self.trouble: RelayError | None = None  # why nothing can be written now
        self._offset_ns = 0  # the wall clock less the monotonic one
        self._renew_at = self._spoke_at = 0.0  # when the lease is due; when the last entry was made
        self._formatting: list[_Formatting] = []
        self._checkpoint_at = 0.0  # when the last checkpoint was taken
        self._is_asked = False  # whether a consumer has asked for a checkpoint
        self._has_news = False  # whether anything was relayed since the last checkpoint
        self._has_begun = False  # whether the first checkpoint of this generation was written
        self._must_begin = False  # Redis has perhaps lost its data: a checkpoint, at once
        self._retry = _FIRST_RETRY
        self._is_greenlet = greenlets.thread_kind() != "thread"
        self._deadline = float("inf")  # by when it must have ended; set by any thread
        self._is_left = False  # in a forked child, or abandoned: write nothing more
        self._thread = ServiceThread(self._run, engine.thread_name("relay"))

    # -- any thread ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if the system cannot start one."""
        self._thread.start()

    def ask_for_checkpoint(self) -> None:
        """Write a checkpoint soon."""
        self._is_asked = True
        self._wake.set()

    def close_by(self, deadline: float) -> None:
        """What is queued must be written by then (time.monotonic())."""
        self._deadline = min(self._deadline, deadline)

    def leave(self) -> None:
        """End without writing anything more."""
        self._is_left = True
        self._feed_ended()

    def join(self, timeout: float) -> None:
        """Wait for the end, at most ``timeout`` seconds."""
        if ServiceThread.current() is not self._thread:
            self._thread.join(timeout)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _feed_ended(self) -> None:
        self._wake.set()
        self._interrupt.set()

    # -- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._is_over():
                try:
                    if self.is_writer:
                        self._write()
                    else:
                        self._wait_for_lease()
                except Deposed:
                    self._step_down()
                except RelayError as error:
                    self._failed(error)
                except Exception as defect:  # a bug of ours: nothing that was pending can be trusted
                    self._broken(defect)
            self._finish()
        except (
            Exception
        ) as defect:  # in the handling of another one: no one must wait for a relay that is gone
            log(logging.ERROR, "defect in kalshi_feed; the relay ends", error=defect)
            self.error = RelayError(f"a defect in kalshi_feed ended the relay: {defect!r}", retryable=False)
            self.error.__cause__ = detach(defect)
        finally:
            self._client.close()
            self._on_end()

    def _is_over(self) -> bool:
        if self._is_left or self.error is not None:
            return True
        if not self.queue.ended:
            return False
        if not self.is_writer:
            return True
        if self._deadline == float("inf"):
            self._deadline = time.monotonic() + _CLOSE
        is_written = not self.queue.waiting and not any(writer.pending for writer in self.writers)
        return is_written or time.monotonic() >= self._deadline

    def _wait_for_lease(self) -> None:
        now = time.monotonic()
        if self._lease.hold():
            self._take_over(now)
        elif not self._standby:
            text = f"another relay has taken over{_named(self._lease.holder)}; this one ends"
            self._end(RelayError(text, retryable=False))
        else:
            self._recovered()
            self._wake.wait(_LOOK_FOR_LEASE)

    def _take_over(self, now: float) -> None:
        """Become the writer, with a generation that is greater than any before."""
        newest = max(writer.newest_generation(self._client) for writer in self.writers)
        if newest >= _FUTURE:
            raise RelayError(
                f"{self.writers[0].keys.stream} or its checkpoint has an id from a distant future, which no "
                "relay writes: delete both keys",
                retryable=False,
            )
        # also if Redis has lost what this relay itself wrote
        newest = max(newest, self.generation)
        self.generation = max(time.time_ns() // 1_000_000, newest + 1) + random.randrange(_SPREAD)
        for writer in self.writers:
            writer.begin(self.generation)
        self._formatting.clear()
        with self._engine.store.lock:
            if self.queue.ended:
                return
            self.queue.begin_locked()
        self._renew_at = now + RENEW_EVERY
        self._spoke_at = 0.0
        self._has_begun = self._has_news = self._is_asked = self._must_begin = False
        self._recovered()
        self.is_writer = True
        log(logging.INFO, "relay: writing %s", self.writers[0].keys.stream)

    def _write(self) -> None:
        """One round of the writer."""
        now = time.monotonic()
        if now >= self._renew_at:
            self._renew(now)
        if not any(writer.pending for writer in self.writers):
            for item in _in_pairs(self._take(now)):
                self._encode(*item)
            self._beat(now)
        if self._has_begun:
            self._push()
        if self._formatting:
            self._format()
        elif not self.queue.waiting and not self.queue.ended:
            self._wake.wait(self._pause(time.monotonic()))

    def _renew(self, now: float) -> None:
        if not self._lease.hold():
            raise Deposed
        if self._lease.was_free:  # Redis has lost it, and so perhaps the rest of its data
            self._must_begin = True
        self._renew_at = now + RENEW_EVERY
        for writer in self.writers:
            writer.look_at_rate(now)

    def _take(self, now: float) -> list[RelayItem]:
        """Take items out of the queue, after queueing the checkpoint that is due."""
        queue = self.queue
        with self._engine.store.lock:
            is_cut = not queue.accepts and not queue.waiting  # all that came before the loss was taken
            if not queue.ended and (is_cut or self._is_due(now)):
                queue.checkpoint_locked(new_part=False)
            return queue.take_locked(_TAKE_BYTES)

    def _is_due(self, now: float) -> bool:
        since = now - self._checkpoint_at
        return not self._formatting and (
            self._must_begin
            or (self._is_asked and since >= _LEAST_BETWEEN)
            or (self._has_news and since >= CHECKPOINT_EVERY)
        )

    def _pause(self, now: float) -> float:
        """For how long there is nothing to do."""
        due = min(self._renew_at, self._spoke_at + BEAT)
        if self._is_asked:
            due = min(due, self._checkpoint_at + _LEAST_BETWEEN)
        return max(due - now, 0.0)

    def _encode(self, item: RelayItem, sent: SentItem | None) -> None:
        if isinstance(item, CheckpointItem):
            self._begin_checkpoint(item)
            return
        if isinstance(item, ClockItem):
            self._offset_ns = item.clock_offset_ns
        ns = self._ns(item.now)
        for writer in self.writers:
            encoded: Encoded | None
            if isinstance(item, TurnItem):
                encoded = encode_read(ns, item, sent, account=writer.account)
            elif isinstance(item, AnswerItem):
                is_mine = item.account == writer.account
                encoded = Encoded(EntryKind.ANSWER, item.payload) if is_mine else None
            elif isinstance(item, LineItem) and item.line.end:
                encoded = Encoded(EntryKind.END)
            else:
                encoded = encode_input(ns, item, account=writer.account)
            if encoded is not None:
                writer.add(encoded, ns, item.now)
        self._spoke_at = time.monotonic()
        self._has_news = True

    def _beat(self, now: float) -> None:
        if now - self._spoke_at < BEAT:
            return
        self._spoke_at = now
        for writer in self.writers:
            writer.add(Encoded(EntryKind.BEAT), self._ns(now), now)

    def _ns(self, now: float) -> int:
        return max(round(now * 1e9) + self._offset_ns, 0)

    def _push(self) -> None:
        at = next((writer.pending[-1].at for writer in self.writers if writer.pending), None)
        if at is None:
            return
        while any(writer.pending for writer in self.writers):
            push(self._client, self.writers)
            self._reached()
        self.late = time.monotonic() - at

    # -- checkpoints -----------------------------------------------------------------------------------------

    def _begin_checkpoint(self, item: CheckpointItem) -> None:
        self._offset_ns = item.clock_offset_ns
        ns = self._ns(item.now)
        self._checkpoint_at = item.now
        self._has_news = self._is_asked = self._must_begin = False
        self._formatting.clear()
        for writer in self.writers:
            if item.copy.session.cut:
                writer.skip()
            parts = compressed_checkpoint(
                item.copy,
                ns,
                self._offset_ns,
                url=self._engine.peer,
                use_yes_price=self._engine.use_yes_price,
                account=writer.account,
            )
            self._formatting.append(_Formatting(writer, ns, parts))
        if item.copy.session.cut:
            self._report(
                f"the relay could not write to Redis fast enough: {self.queue.missed} messages were lost so "
                "far, and its consumers begin again from a checkpoint"
            )

    def _format(self) -> None:
        """Go on with the checkpoint for about a millisecond, and write it if it is complete."""
        formatting = self._formatting[0]
        formatting.go_on(time.monotonic() + _SLICE)
        if not formatting.is_done:
            if self._is_greenlet:
                greenlets.take_turns()
        else:
            payload = formatting.payload
            formatting.writer.write_checkpoint(self._client, formatting.id, formatting.ns, payload)
            self._formatting.remove(formatting)
            self._has_begun = self._has_begun or not self._formatting
            self._reached()
            self.checkpoints += 1
            self.checkpoint_bytes = len(payload)

    # -- when something goes wrong ---------------------------------------------------------------------------

    def _step_down(self) -> None:
        """Another relay writes, or has written. The next round finds out whether this one may, again."""
        self._forget()
        log(logging.WARNING, "relay: another relay has taken over%s", _named(self._lease.holder))

    def _forget(self) -> None:
        """No longer write."""
        self.is_writer = False
        with self._engine.store.lock:
            if not self.queue.ended:
                self.queue.idle_locked()
        for writer in self.writers:
            writer.pending.clear()
        self._formatting.clear()

    def _end(self, error: RelayError) -> None:
        self.error = error
        self._report(str(error), error)

    def _failed(self, error: RelayError) -> None:
        """Redis cannot be reached, or refuses a command."""
        self.errors += 1
        if not error.retryable and not self.is_writer and not self._standby:
            self._end(error)
            return
        is_new, self.trouble = self.trouble is None, error
        if is_new:
            self._engine.troubles[self] = f"the relay cannot write: {error}"
            self._report(f"the relay cannot write: {error}; trying again", error)
        self._wake_later()

    def _wake_later(self) -> None:
        until = time.monotonic() + self._retry
        self._retry = min(self._retry * 2, _LAST_RETRY)
        while not self._is_over() and (left := until - time.monotonic()) > 0:
            self._interrupt.wait(left)

    def _reached(self) -> None:
        """Redis has answered. If it had not before, it may have lost its data."""
        if self.trouble is not None:
            self._must_begin = True
            self._recovered()

    def _recovered(self) -> None:
        if self.trouble is not None:
            self.trouble, self._retry = None, _FIRST_RETRY
            self._engine.troubles.pop(self, None)
            log(logging.WARNING, "relay: Redis can be reached again")

    def _broken(self, defect: Exception) -> None:
        self.errors += 1
        self._forget()
        text = f"a defect in kalshi_feed; the relay begins again, please report it: {defect!r}"
        self._report(text, detach(defect))
        self._wake_later()

    def _report(self, text: str, error: BaseException | None = None) -> None:
        log(logging.ERROR if error is not None else logging.WARNING, "%s", text)
        self._engine.report_fault("relay", text, error)

    def _finish(self) -> None:
        """Stop taking inputs in, and give the lease back."""
        self._engine.troubles.pop(self, None)
        if self._is_left:
            return
        was_writer = self.is_writer
        self._forget()
        self._engine.stop_recording(self.queue)
        if was_writer:
            try:
                self._lease.release()
            except RelayError:
                pass  # it ends by itself


def _named(holder: str) -> str:
    return f" ({holder})" if holder else ""


def _in_pairs(items: list[RelayItem]) -> Iterator[tuple[RelayItem, SentItem | None]]:
    """Each item, and with a turn the commands that it sent."""
    index = 0
    while index < len(items):
        item, sent = items[index], None
        index += 1
        if isinstance(item, TurnItem) and index < len(items) and isinstance(items[index], SentItem):
            sent = items[index]
            index += 1
        assert sent is None or isinstance(sent, SentItem)
        yield item, sent
