"""What can be seen of a relay in Redis without being its consumer: for ``kalshi-feed check``.

Owns these questions. Thread-safe: functions; a RedisClient is for one thread at a time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .client import RedisClient
from .layout import BEAT, EntryId, Keys, StreamEntry, decode_entry, decode_id, encode_id

if TYPE_CHECKING:
    import redis

__all__ = ["Arrival", "StreamFound", "look_at_stream", "may_wish", "server_version", "wait_for_entry"]

_ENTRIES: Final = 100  # that one XREAD of wait_for_entry() returns at most


class StreamFound(NamedTuple):
    """What a relay's keys hold: its newest entry (None: none), how many it has written since it became the
    writer, and the entry that the newest checkpoint contains (None: there is no checkpoint)."""

    newest: StreamEntry | None
    entries: int
    checkpoint: EntryId | None


class Arrival(NamedTuple):
    """An entry that came while we waited; ``after``: seconds from its time, by the relay's clock, to its
    arrival here, by this machine's. The clocks may differ."""

    entry: StreamEntry
    after: float


def server_version(client: RedisClient) -> str:
    """Return the server's name and version, "Redis 7.0.15". Raises RelayError."""
    return client.run(_version)


def _version(connection: redis.Redis) -> str:
    import redis

    connection.ping()
    try:
        found: dict[Any, Any] = connection.info("server")
    except redis.ResponseError:  # the user may not; HELLO is open to everyone
        try:
            said: list[Any] = connection.execute_command("HELLO")  # type: ignore[no-untyped-call]
        except redis.ResponseError:
            return "Redis of an unknown version"
        pairs = dict(zip(said[::2], said[1::2], strict=False))
        return f"{_text(pairs.get(b'server', b'redis')).capitalize()} {_text(pairs.get(b'version', b'?'))}"
    if "valkey_version" in found:
        return f"Valkey {_text(found['valkey_version'])}"
    return f"Redis {_text(found.get('redis_version', '?'))}"


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def look_at_stream(client: RedisClient, keys: Keys) -> StreamFound:
    """Look at the newest entry and the checkpoint. Raises RelayError (Redis does not let this user read
    them, say), and ValueError if they are not a relay's."""

    def look(connection: redis.Redis) -> tuple[Any, Any]:  # with commands that every consumer may use
        return connection.xrevrange(keys.stream, count=1), connection.xrevrange(keys.checkpoint, count=1)

    found, checkpoint = client.run(look)
    newest = decode_entry(*found[0]) if found else None
    return StreamFound(
        newest,
        0 if newest is None else newest.id.number,
        decode_id(checkpoint[0][0]) if checkpoint else None,
    )


def may_wish(client: RedisClient, keys: Keys) -> bool:
    """Whether Redis lets this user ask the relay for markets. Nothing is added: no entry can have the id
    0-0, and Redis looks at that only after it has let the user. Raises RelayError if it cannot be reached."""

    def ask(connection: redis.Redis) -> bool:
        import redis

        try:
            connection.xadd(keys.wishes, {"p": b""}, id="0-0")
        except redis.exceptions.NoPermissionError:
            return False
        except redis.ResponseError as error:
            return not str(error).upper().startswith("NOPERM")
        return True

    return client.run(ask)


def wait_for_entry(client: RedisClient, keys: Keys, after: EntryId) -> Arrival | None:
    """Wait for the next entry, for three heartbeats; None if none comes. Raises RelayError and ValueError."""
    block = round(3 * BEAT * 1000)
    answer: Any = client.run(
        lambda connection: connection.xread({keys.stream: encode_id(after)}, count=_ENTRIES, block=block)
    )
    now = time.time_ns()
    if not answer:
        return None
    ((_, entries),) = answer
    entry = decode_entry(*entries[-1])
    return Arrival(entry, (now - entry.ns) / 1e9)
