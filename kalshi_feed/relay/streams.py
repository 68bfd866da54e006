"""The writing of a relay's streams: ids, what Redis has not acknowledged yet, and fencing.

Owns StreamWriter, one stream with its checkpoint key, and Deposed.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import RelayError
from .client import IdTaken, RedisClient, ReplyTooLong
from .encoding import Encoded
from .layout import EntryId, Keys, StreamEntry, decode_id, encode_entry, encode_id

if TYPE_CHECKING:
    import redis

__all__ = ["Deposed", "StreamWriter", "push"]

LATE: Final = 0.25
"""Seconds: an entry that is written later than this after its time says so."""
_AT_ONCE: Final = 500  # entries in one round trip
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
_LEAST_KEPT: Final = 1_000
_MOST_KEPT: Final = 200_000
_SLOW_DECAY: Final = 0.99  # each second, of the rate that decides how many entries are kept


class Deposed(Exception):
    """Another relay writes the stream now."""


class _Pending(NamedTuple):
    entry: StreamEntry
    at: float  # the entry's time (time.monotonic())


class StreamWriter:
    """One stream and its checkpoint key. Belongs to the publisher's thread; any thread may read counters."""

    def __init__(self, keys: Keys, *, account: bool, keep: float) -> None:
        self.keys = keys
        self.account = account  # whether it holds the account's messages
        self._keep = keep
        self.last = EntryId(0, 0)  # the id of the newest entry, or the one that a hole has skipped
        self.pending: deque[_Pending] = deque()  # not acknowledged by Redis
        self.tried = 0  # the highest number that was sent to Redis at least once
        self.most = _LEAST_KEPT  # entries that the stream keeps
        self.entries = self.bytes = 0  # acknowledged ones, and their payloads
        self._rate = 0.0  # entries a second: the highest lately
        self._counted, self._counted_at = 0, time.monotonic()  # entries at the last look at the rate

    def begin(self, generation: int) -> None:
        """Begin a new generation."""
        self.pending.clear()
        self.last, self.tried = EntryId(generation, 0), 0

    def add(self, encoded: Encoded, ns: int, at: float) -> None:
        """Append an entry; push() writes it."""
        self.last = self.last.next
        self.pending.append(_Pending(StreamEntry(self.last, encoded.kind, ns, *encoded[1:]), at))

    def skip(self) -> None:
        """Inputs were lost: leave a hole in the numbers."""
        self.last = self.last.next

    def look_at_rate(self, now: float) -> None:
        """Adapt how many entries are kept: about ``keep`` seconds at the highest rate of the last minute."""
        elapsed = now - self._counted_at
        if elapsed >= 1.0:
            rate = (self.entries - self._counted) / elapsed
            self._counted, self._counted_at = self.entries, now
            self._rate = max(rate, self._rate * _SLOW_DECAY)
            self.most = min(max(round(self._rate * self._keep), _LEAST_KEPT), _MOST_KEPT)

    def newest(self, client: RedisClient) -> EntryId:
        """Return the newest id that the stream has ever had, (0, 0) if there is no stream. Raises
        RelayError."""
        return self._newest(client, self.keys.stream)

    def newest_generation(self, client: RedisClient) -> int:
        """Return the greatest generation that anyone has written, in the stream or as a checkpoint. Raises
        RelayError."""
        keys = (self.keys.stream, self.keys.checkpoint)
        return max(self._newest(client, key).generation for key in keys)

    def _newest(self, client: RedisClient, key: str) -> EntryId:
        def look(redis: redis.Redis) -> bytes:
            if not redis.exists(key):
                return b"0-0"
            info: Any = redis.xinfo_stream(key)
            return bytes(info["last-generated-id"])

        try:
            return decode_id(client.run(look))
        except ReplyTooLong as error:
            raise RelayError(
                f"{key} has an entry that no relay writes ({error}): delete the key", retryable=False
            ) from error
        except ValueError as error:
            raise RelayError(
                f"{key} has an id that no relay writes ({error}): delete the key", retryable=False
            ) from error

    def write_checkpoint(self, client: RedisClient, id: EntryId, ns: int, payload: bytes) -> None:
        """Write a checkpoint, unless this one is there already. Raises RelayError, and Deposed if another
        relay's later one is there: then no consumer would ever use ours."""
        key = self.keys.checkpoint
        try:
            client.run(
                lambda redis: redis.xadd(
                    key, {"p": payload, "n": ns}, encode_id(id), maxlen=1, approximate=False
                )
            )
        except IdTaken:
            if self._newest(client, key).generation != id.generation:
                raise Deposed from None


def push(client: RedisClient, writers: list[StreamWriter]) -> int:
    """Write some of what is pending, in one round trip; return how many entries that were.

    Raises RelayError, after which everything that is not acknowledged is still pending, and Deposed.
    """
    parts = [(writer, _some(writer)) for writer in writers if writer.pending]
    if not parts:
        return 0
    for writer in _add(client, parts):
        if writer.newest(client).generation != writer.last.generation:
            raise Deposed
    for writer, part in parts:
        for pending in part:
            writer.bytes += len(pending.entry.payload)
            writer.pending.popleft()
        writer.entries += len(part)
    return sum(len(part) for _, part in parts)


def _some(writer: StreamWriter) -> list[_Pending]:
    part, size = [], 0
    for pending in writer.pending:
        part.append(pending)
        size += len(pending.entry.payload)
        if len(part) >= _AT_ONCE or size >= _BYTES_AT_ONCE:
            break
    return part


def _add(client: RedisClient, parts: list[tuple[StreamWriter, list[_Pending]]]) -> list[StreamWriter]:
    """Add the entries; return the writers one of whose entries was refused, having been sent before.

    If a new one is refused, another relay has a greater generation: raises Deposed.
    """
    now = time.monotonic()
    commands: list[list[bytes | str | int | float]] = []
    owners = []
    for writer, part in parts:
        start: list[bytes | str | int | float] = ["XADD", writer.keys.stream, "MAXLEN", "~", writer.most]
        for entry, at in part:
            late = now - at
            fields = encode_entry(entry._replace(late=late) if late > LATE else entry)
            commands.append([*start, encode_id(entry.id), *itertools.chain.from_iterable(fields.items())])
            owners.append((writer, entry.id.number > writer.tried))
    for writer, part in parts:
        writer.tried = max(writer.tried, part[-1].entry.id.number)
    repeated: dict[StreamWriter, None] = {}
    for (writer, is_new), reply in zip(owners, client.run_each(commands), strict=True):
        if isinstance(reply, IdTaken):
            if is_new:
                raise Deposed
            repeated[writer] = None
        elif isinstance(reply, RelayError):
            raise reply
    return list(repeated)
