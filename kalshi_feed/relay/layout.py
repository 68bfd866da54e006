"""What a relay keeps in Redis: its keys, the entries of its stream, and its checkpoints. Owns that layout.

All keys of a relay have one hash tag, so that Redis Cluster keeps them on one node:

- ``stream``: the inputs of the relay's session, in order. The relay itself chooses the ids,
  ``<generation>-<number>``. The generation is about the Unix time in ms at which the relay became the writer,
  and grows with every new writer; the number counts 1, 2, 3, … within it. So a lost entry, a trimmed stream
  and a new writer all show in the ids, adding an entry twice does no harm, and a writer that has been
  replaced cannot add anything.
- ``checkpoint``: a stream that holds only the newest checkpoint. Its id is that of the last entry of
  ``stream`` that the checkpoint contains (number 0: none yet).
- ``wishes``: a stream of what consumers want (wishes.py); Redis chooses its ids.
- ``lease``: a string that names the relay that writes, and expires if it does not renew it.

Account channels have keys of their own, except for the lease: ``stream`` and ``checkpoint`` there hold
everything, those of the market data hold everything but the account's messages.

An entry of ``stream`` has these fields: ``k`` its kind (see EntryKind), ``n`` its time in Unix ns by the
relay's clock, ``p`` its payload; ``i``, if the turn sent commands, the id of the first one; ``b``,
if the relay was behind, by how many ms it was late. Thread-safe: pure functions and constants.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from ..errors import ConfigurationError

__all__ = [
    "BEAT",
    "DEFAULT_NAME",
    "EntryId",
    "EntryKind",
    "Keys",
    "StreamEntry",
    "decode_entry",
    "decode_id",
    "encode_entry",
    "encode_id",
    "keys_of",
]

DEFAULT_NAME: Final = "main"
BEAT: Final = 0.5
"""Seconds: a relay that has nothing to relay says so this often."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ID: Final = re.compile(rb"(\d{1,19})-(\d{1,19})")
_NUMBER: Final = re.compile(rb"\d{1,19}")
_MOST: Final = 2**63 - 1


class Keys(NamedTuple):
    """The keys of a relay in Redis."""

    stream: str
    checkpoint: str
    wishes: str
    lease: str


class EntryId(NamedTuple):
    """Where an entry stands in the stream; ids compare as Redis compares them."""

    generation: int
    number: int

    @property
    def next(self) -> EntryId:
        """The id of the entry after it, if nothing is missing in between."""
        return EntryId(self.generation, self.number + 1)


class EntryKind(Enum):
    """What an entry's payload is."""

    TURN = b"T"
    """The frames of one turn of the relay's reader, byte for byte, joined by line breaks; may be empty."""
    LINES = b"L"
    """Lines in the recording's format (recording/lines.py), each with its line break: every other input, and
    turns that TURN cannot hold."""
    BEAT = b"H"
    """Nothing: the relay is alive."""
    ANSWER = b"A"
    """The answer to a consumer's wishes (wishes.py)."""
    END = b"E"
    """Nothing: the relay was closed in good order."""


class StreamEntry(NamedTuple):
    """An entry of the stream; the module says what its fields mean. ``late`` is in seconds. Immutable."""

    id: EntryId
    kind: EntryKind
    ns: int
    payload: bytes = b""
    first_id: int | None = None
    late: float = 0.0


def keys_of(name: str, *, account: bool = False) -> Keys:
    """Return the keys of the relay with this name. Raises ConfigurationError for an impossible name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"must be at most 64 letters, digits, dots, dashes or underscores, not {name!r}", "name"
        )
    prefix = f"kalshi_feed:{{{name}}}:"
    part = prefix + ("account:" if account else "")
    return Keys(part + "stream", part + "checkpoint", part + "wishes", prefix + "lease")


def encode_id(id: EntryId) -> str:
    """Return the id as Redis writes it."""
    return f"{id.generation}-{id.number}"


def decode_id(id: bytes) -> EntryId:
    """Read an id. Raises ValueError."""
    found = _ID.fullmatch(id)
    if found is None:
        raise ValueError(f"not the id of an entry: {id[:40]!r}")
    return EntryId(int(found[1]), int(found[2]))


def encode_entry(entry: StreamEntry) -> dict[str | bytes, bytes | int]:
    """Return the fields of an entry for XADD."""
    fields: dict[str | bytes, bytes | int] = {"k": entry.kind.value, "n": entry.ns, "p": entry.payload}
    if entry.first_id is not None:
        fields["i"] = entry.first_id
    if entry.late:
        fields["b"] = round(entry.late * 1000)
    return fields


def decode_entry(id: bytes, fields: Mapping[bytes, bytes]) -> StreamEntry:
    """Read an entry as XREAD returns it. Raises ValueError for anything that a relay does not write."""
    first_id = fields.get(b"i")
    return StreamEntry(
        decode_id(id),
        EntryKind(fields.get(b"k")),
        _number(fields.get(b"n")),
        fields.get(b"p", b""),
        None if first_id is None else _number(first_id),
        _number(fields.get(b"b", b"0")) / 1000,
    )


def _number(digits: bytes | None) -> int:
    if digits is None or not _NUMBER.fullmatch(digits) or (number := int(digits)) > _MOST:
        raise ValueError(f"not a number in an entry: {(digits or b'')[:40]!r}")
    return number
