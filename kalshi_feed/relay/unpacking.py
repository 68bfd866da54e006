"""A relay's checkpoint and entries read, however hostile they are. Owns the bounds and the checks.

A program with access to Redis can write anything. So everything here is bounded, and anything that a relay
would not write raises ValueError. Thread-safe: pure functions.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from ..errors import RelayError
from ..recording.checkpoint import Checkpoint
from ..recording.lines import FORMAT, HeaderLine
from ..recording.reading import ClockMoved, End, Learned, Record, Trouble, Turn, records_in
from .layout import EntryKind, StreamEntry

__all__ = ["RelayCheckpoint", "checkpoint_in", "records_of"]

LONGEST_ENTRY: Final = 64 * 1024 * 1024  # bytes
LONGEST_CHECKPOINT: Final = 256 * 1024 * 1024  # bytes, decompressed


class RelayCheckpoint(NamedTuple):
    """A relay's checkpoint: its header, what its session knew, and what was known about the markets."""

    header: HeaderLine
    session: Checkpoint
    learned: list[Learned]


def checkpoint_in(packed: bytes) -> RelayCheckpoint:
    """Read a checkpoint. Raises ValueError, and RelayError for one in the format of a later version."""
    header: HeaderLine | None = None
    session: Checkpoint | None = None
    learned: list[Learned] = []
    for record in records_in(_unpacked(packed), "the checkpoint"):
        if isinstance(record, HeaderLine):
            header = record
            if record.format > FORMAT:
                raise RelayError(
                    f"the relay writes format {record.format}, and this version reads up to {FORMAT}: "
                    "upgrade kalshi-feed here",
                    retryable=False,
                )
        elif isinstance(record, Checkpoint) and session is None:
            session = record
        elif isinstance(record, Learned):
            learned.append(record)
        elif not isinstance(record, End):
            raise ValueError(_what(record, "the checkpoint"))
    if header is None or session is None:
        raise ValueError("the checkpoint is incomplete")
    if session.session.books > len(session.books):
        raise ValueError("books of the checkpoint are missing")
    return RelayCheckpoint(header, session, learned)


def _unpacked(packed: bytes) -> bytes:
    unpack = zlib.decompressobj()
    try:
        data = unpack.decompress(packed, LONGEST_CHECKPOINT)
    except zlib.error as error:
        raise ValueError(f"the checkpoint cannot be decompressed: {error}") from None
    if unpack.unconsumed_tail:
        raise ValueError(f"the checkpoint is larger than {LONGEST_CHECKPOINT // 2**20} MiB")
    if not unpack.eof:
        raise ValueError("the checkpoint is cut off")
    return data


def records_of(entry: StreamEntry) -> Iterator[Record | ClockMoved]:
    """Yield the inputs in an entry, none for a kind that has none. Raises ValueError."""
    if len(entry.payload) > LONGEST_ENTRY:
        raise ValueError(f"an entry of {len(entry.payload)} bytes, which is more than {LONGEST_ENTRY}")
    if entry.kind is EntryKind.TURN:
        yield Turn(entry.ns, entry.payload.split(b"\n") if entry.payload else [], entry.first_id)
    elif entry.kind is EntryKind.LINES:
        for record in records_in(entry.payload, "an entry"):
            if isinstance(record, Trouble | HeaderLine | Checkpoint):
                raise ValueError(_what(record, "an entry"))
            if not isinstance(record, End):
                yield record


def _what(record: object, where: str) -> str:
    return record.text if isinstance(record, Trouble) else f"{where} has a {type(record).__name__}"
