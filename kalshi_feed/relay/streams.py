"""The writing of a relay's streams: ids, what Redis has not acknowledged yet, and fencing.

Owns StreamWriter, one stream with its checkpoint key, and Deposed.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import RelayError
from .client import RedisClient
from .encoding import Encoded
from .layout import EntryId, Keys, StreamEntry, decode_id, encode_entry, encode_id

if TYPE_CHECKING:
    import redis

__all__ = ["Deposed", "StreamWriter", "push"]

LATE: Final = 0.25
"""Seconds: an entry that is written later than this after its time says so."""
_AT_ONCE: Final = 500  # entries in one round trip
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
_NOT_GREATER: Final = "equal or smaller"  # than the stream's newest id; Redis since 5.0, and Valkey
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
        found = client.run(self._newest)
        try:
            return decode_id(found)
        except ValueError as error:
            raise RelayError(f"the stream {self.keys.stream}: {error}", retryable=False) from error

    def _newest(self, client: redis.Redis) -> bytes:
        if not client.exists(self.keys.stream):
            return b"0-0"
        info: Any = client.xinfo_stream(self.keys.stream)
        return bytes(info["last-generated-id"])

    def write_checkpoint(self, client: RedisClient, id: EntryId, ns: int, payload: bytes) -> bool:
        """Write a checkpoint; return False if this one, or a later one, is there already. Raises
        RelayError."""
        import redis

        def write(client: redis.Redis) -> bool:
            try:
                client.xadd(
                    self.keys.checkpoint, {"p": payload, "n": ns}, encode_id(id), maxlen=1, approximate=False
                )
            except redis.ResponseError as error:
                if _NOT_GREATER in str(error):
                    return False
                raise
            return True

        return client.run(write)


def push(client: RedisClient, writers: list[StreamWriter]) -> int:
    """Write some of what is pending, in one round trip; return how many entries that were.

    Raises RelayError, after which everything that is not acknowledged is still pending, and Deposed.
    """
    parts = [(writer, _some(writer)) for writer in writers if writer.pending]
    if not parts:
        return 0
    repeated = client.run(lambda redis: _add(redis, parts))
    for writer in repeated:
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


def _add(client: redis.Redis, parts: list[tuple[StreamWriter, list[_Pending]]]) -> list[StreamWriter]:
    """Add the entries; return the writers that had one refused which was sent before.

    If one is refused that was not, another relay has a greater generation: raises Deposed.
    """
    import redis

    now = time.monotonic()
    pipeline = client.pipeline(transaction=False)
    owners = []
    for writer, part in parts:
        for entry, at in part:
            late = now - at
            fields: Any = encode_entry(entry._replace(late=late) if late > LATE else entry)
            pipeline.xadd(writer.keys.stream, fields, encode_id(entry.id), maxlen=writer.most)
            owners.append((writer, entry.id.number > writer.tried))
    for writer, part in parts:
        writer.tried = max(writer.tried, part[-1].entry.id.number)
    repeated: dict[StreamWriter, None] = {}
    for (writer, is_new), reply in zip(owners, pipeline.execute(raise_on_error=False), strict=True):
        if isinstance(reply, redis.ResponseError) and _NOT_GREATER in str(reply):
            if is_new:
                raise Deposed
            repeated[writer] = None
        elif isinstance(reply, Exception):
            raise reply
    return list(repeated)
