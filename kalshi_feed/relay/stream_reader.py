"""The thread that reads a relay's stream. Owns StreamReader: the connection to Redis, waits and retries.

What it reads means something to its host (consumer.py) only; what to do next is up to the Tracker.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from .. import greenlets
from ..errors import RelayError
from ..threads import FeedingThread, ServiceThread
from ..waiting import Signal
from .client import RedisClient, ReplyTooLong
from .layout import EntryId, Keys, decode_id, encode_id
from .tracking import Tracker

__all__ = ["RawEntry", "StreamHost", "StreamReader"]

_AT_ONCE: Final = 500  # entries
_LONGEST_WAIT: Final = 0.5  # seconds, for the stream; then the host gets a turn
_FIRST_RETRY: Final = 0.05  # seconds after Redis could not be reached; then twice as long each time
_LAST_RETRY: Final = 1.0
_TURN_EVERY: Final = 0.01  # seconds

RawEntry = tuple[bytes, Mapping[bytes, bytes]]
"""An entry's id and fields as Redis has them."""


class StreamHost(Protocol):
    """Makes sense of the stream. Every method is called on the reader's thread."""

    def begin(self) -> None:
        """The thread has begun."""

    def out_of_reach(self, error: RelayError) -> None:
        """Redis cannot be reached at the moment."""

    def no_checkpoint(self, *, is_empty: bool) -> None:
        """There is no checkpoint to begin with; ``is_empty``: and no stream either."""

    def start_from(self, id: EntryId, fields: Mapping[bytes, bytes]) -> float:
        """Begin with this checkpoint. Returns 0.0, or after how many seconds to try again."""

    def take_entries(self, entries: list[RawEntry], *, is_end: bool) -> float:
        """Take in what was read; ``is_end``: there was no more. Returns as start_from()."""

    def is_too_long(self, error: ReplyTooLong) -> float:
        """An entry or the checkpoint is longer than what is taken in. Returns as start_from()."""

    def was_replaced(self) -> None:
        """The stream is not the one that was read."""

    def idle(self) -> None:
        """Do what is due although nothing has come."""

    def on_end(self, error: BaseException | None) -> None:
        """The last call: the thread ends, on request (None) or with this error."""


class StreamReader(FeedingThread):
    """Reads a relay's stream: what connection.reader.Reader is to a live feed.

    FeedingThread says which thread may call which method. Nothing else uses ``client``, except for
    close().
    """

    IS_REAL = False  # gevent has patched the sockets that redis-py uses

    def __init__(
        self, name: str, host: StreamHost, client: RedisClient, keys: Keys, tracker: Tracker
    ) -> None:
        super().__init__(name)
        self._host = host
        self._client = client
        self._keys = keys
        self._tracker = tracker
        self._nap = Signal()
        self._is_greenlet = greenlets.thread_kind() != "thread"
        self._next_turn = 0.0  # when it is the others' turn again (time.monotonic())
        self._retry_delay = _FIRST_RETRY
        self._at_once = _AT_ONCE
        # The checkpoint that was used last, and one after which something is missing.
        self._used: EntryId | None = None
        self._useless: EntryId | None = None
        self._is_interrupted = False  # the connection was closed in order to end a wait

    def wake(self) -> None:
        """End a wait if the thread is to end. Any thread; safe in a signal handler and in a finalizer, which
        may interrupt this very method, or the thread itself."""
        self._nap.set()
        if self._stopping and not self._is_interrupted and ServiceThread.current() is not self.thread:
            self._is_interrupted = True
            self._client.close()

    def _release(self) -> None:
        self._client.close()

    def _report_end(self, error: BaseException | None) -> None:
        self._host.on_end(error)

    def _work(self) -> None:
        self._host.begin()
        while not self._stopping:
            try:
                delay = self._step()
                self._retry_delay = _FIRST_RETRY
            except ReplyTooLong as error:
                delay = self._host.is_too_long(error)
            except RelayError as error:
                if self._stopping:
                    break
                if not error.retryable:
                    raise
                self._host.out_of_reach(error)
                delay, self._retry_delay = self._retry_delay, min(2 * self._retry_delay, _LAST_RETRY)
            self._pause(delay)

    def _step(self) -> float:
        """Do the next thing; return how long to wait before another one."""
        tracker = self._tracker
        if tracker.position is None:
            return self._bootstrap()
        if tracker.wants_end and not tracker.saw_end(self._end()):
            self._was_replaced()
            return 0.0
        wait = _LONGEST_WAIT
        if tracker.is_current:
            wait = min(wait, tracker.silent_at() - time.monotonic())
        entries, is_end = self._entries(self._keys.stream, tracker.position, wait)
        if entries:
            self._give_way()
            return self._take(entries, is_end)
        self._host.idle()
        if not tracker.is_current and not tracker.saw_end(self._end()):
            self._was_replaced()
        return 0.0

    def _bootstrap(self) -> float:
        """Find a checkpoint that the stream goes on from."""
        end, found = self._end(), self._newest(self._keys.checkpoint)
        if found is not None and (id := _id_of(found[0])) != self._useless:
            entries, is_end = self._entries(self._keys.stream, id)
            if not entries or _id_of(entries[0][0]) == id.next:
                delay = self._host.start_from(id, found[1])
                if delay:
                    return delay
                self._used = id
                self._tracker.saw_end(end)
                return self._take(entries, is_end) if entries else 0.0
        self._host.no_checkpoint(is_empty=found is None and end is None)
        self._entries(self._keys.checkpoint, _id_of(found[0]) if found is not None else EntryId(0, 0), 0.25)
        self._host.idle()
        return 0.0

    def _was_replaced(self) -> None:
        self._useless = self._used  # if that is still there, this stream does not go on from it
        self._host.was_replaced()

    def _take(self, entries: list[RawEntry], is_end: bool) -> float:
        pause = self._host.take_entries(entries, is_end=is_end)
        if self._tracker.position is None:  # the same entries follow the same checkpoint
            self._useless = self._used
        return pause

    # -- Redis -----------------------------------------------------------------------------------------------

    def _end(self) -> EntryId | None:
        found = self._newest(self._keys.stream)
        return None if found is None else _id_of(found[0])

    def _newest(self, key: str) -> RawEntry | None:
        found: Any = self._client.run(lambda redis: redis.xrevrange(key, count=1))
        return found[0] if found else None

    def _entries(self, key: str, after: EntryId, wait: float = 0.0) -> tuple[list[RawEntry], bool]:
        """Some entries after that one, and whether these are all. Waits up to ``wait`` seconds for one."""
        count = self._at_once
        block = ("BLOCK", max(round(wait * 1000), 1)) if wait else ()
        try:
            [found] = self._client.run_each(
                [("XREAD", "COUNT", count, *block, "STREAMS", key, encode_id(after))]
            )
        except ReplyTooLong:
            if count == 1:
                raise
            self._at_once = 1
            return self._entries(key, after)
        if isinstance(found, RelayError):
            raise found
        if not found:
            return [], True
        entries: list[RawEntry] = [
            (id, dict(zip(fields[::2], fields[1::2], strict=True))) for id, fields in found[0][1]
        ]
        self._at_once = min(2 * count, _AT_ONCE)
        return entries, len(entries) < count

    def _give_way(self) -> None:
        """Where threads are greenlets, let the others run, every 10 ms."""
        if self._is_greenlet and (now := time.monotonic()) >= self._next_turn:
            greenlets.take_turns()
            self._next_turn = now + _TURN_EVERY

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._nap.wait(left)


def _id_of(text: bytes) -> EntryId:
    """Read an id. Redis has made sure that it is one, but not of its size."""
    try:
        return decode_id(text)
    except ValueError as error:
        raise RelayError(f"the relay's keys hold something else: {error}") from error
