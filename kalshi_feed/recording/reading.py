"""A recording read back: the inputs of a session, in order, as far as the file goes.

Owns Source (native recordings) and the records it gives. A file that ends in the middle, or has lines that cannot be read, gives
what it has and says so (Trouble). Must not import anything that runs.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ..engine.tap import QUIET, Reading
from ..errors import ConfigurationError
from .checkpoint import Checkpoint
from .files import CutOff, read_chunks
from .lines import FORMAT, ChangeLine, HeaderLine, Line, WishLine

__all__ = ["Connected", "End", "Lost", "Record", "Source", "Trouble", "Turn", "Wish", "file_lines", "is_native", "paths_of"]

_decoder: Final = msgspec.json.Decoder(Line)
_SHOWN: Final = 60  # characters of a line in an error


class Turn(NamedTuple):
    """One turn of the reader. ``first_id``: of the first command it sent, None if it sent none."""

    ns: int
    payloads: list[bytes]
    first_id: int | None
    reading: Reading = QUIET


class Wish(NamedTuple):
    """A user's call."""

    ns: int
    wish: WishLine


class Connected(NamedTuple):
    """A connection stood."""

    ns: int
    change: ChangeLine


class Lost(NamedTuple):
    """A connection was lost, or a dial failed."""

    ns: int
    change: ChangeLine


class ClockMoved(NamedTuple):
    """The wall clock went on from another time; ``clock_offset_ns`` takes the place of the header's."""

    ns: int
    clock_offset_ns: int


class Trouble(NamedTuple):
    """Something of the file cannot be used."""

    text: str


class End(NamedTuple):
    """The recording was ended, not cut off."""

    ns: int


Record = Turn | Wish | Connected | Lost | Checkpoint | Trouble | End


class _Id(msgspec.Struct):
    id: int = 0


def paths_of(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """One file or several. Raises ConfigurationError for none, or none that is there."""
    found = [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]
    if not found:
        raise ConfigurationError("no recording is named")
    for path in found:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist" if not path.exists() else "is no file"
            raise ConfigurationError(
                f"the recording {str(path)!r} {what}: give the file that record() or `kalshi-feed record` wrote"
            )
    return found


class FileLines:
    """The lines of a file, and how far it was read. Iterate once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_bytes = 0
        self.cut_off = ""  # why the file ended before its end

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        try:
            for chunk in read_chunks(self.path, self._progress):
                block = rest + chunk
                end = block.rfind(b"\n") + 1
                rest = block[end:]
                yield from filter(None, block[:end].split(b"\n"))
        except CutOff as error:
            self.cut_off = str(error)
        if rest.strip():
            yield rest

    def _progress(self, position: int) -> None:
        self.read_bytes = position


def file_lines(path: Path) -> FileLines:
    """The file's lines."""
    return FileLines(path)


def is_native(path: Path) -> HeaderLine | None:
    """The header of a recording of ours; None for other lines of JSON.

    Raises ConfigurationError for what is no recording at all, and for one that a later version has made.
    """
    lines = file_lines(path)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        why = f" ({lines.cut_off})" if lines.cut_off else ""
        raise ConfigurationError(f"the recording {str(path)!r} holds nothing{why}")
    plain: Any = None
    try:
        plain = msgspec.json.decode(first)
    except (ValueError, RecursionError):
        pass
    if not isinstance(plain, dict) or not plain.keys() & {"kalshi_feed_recording", "type", "event", "recv_ns", "recv_ms"}:
        shown = first[:_SHOWN].decode("utf-8", "replace")
        raise ConfigurationError(
            f"{str(path)!r} is no recording, its first line is {shown!r}: a recording is made by `kalshi-feed record`, or is "
            'lines of the exchange\'s frames, as they are or as {"recv_ms": …, "event": frame}'
        )
    if "kalshi_feed_recording" not in plain:
        return None
    number = plain["kalshi_feed_recording"].get("format") if isinstance(plain["kalshi_feed_recording"], dict) else None
    if number != FORMAT:
        raise ConfigurationError(f"{str(path)!r} is of format {number!r}, this version reads {FORMAT}: upgrade kalshi-feed")
    try:
        header = _decoder.decode(first).kalshi_feed_recording
    except ValueError as error:
        raise ConfigurationError(f"the header of {str(path)!r} cannot be read: {error}") from error
    assert header is not None
    return header


class Source:
    """The recording in these files, parts of one or one after the other. Not thread-safe."""

    def __init__(self, paths: list[Path], headers: list[HeaderLine]) -> None:
        self.paths = paths
        self.header = headers[0]
        self.size = sum(path.stat().st_size for path in paths)
        self._done_bytes = 0
        self._lines: FileLines | None = None

    @property
    def read_bytes(self) -> int:
        """How much of ``size`` was read."""
        return self._done_bytes + (self._lines.read_bytes if self._lines is not None else 0)

    def records(self) -> Iterator[tuple[HeaderLine, Record]]:
        """Everything, each with its file's header.

        Within a recording the time never goes back: where the wall clock was set back it stands still until that has caught up. The
        header's ``clock_offset_ns`` is the one that holds for the record, so that the session's clock goes on in any case.
        """
        latest = 0
        recording = ""
        for header, record in self._as_written():
            if isinstance(record, Trouble):
                yield header, record
                continue
            if header.recording != recording:
                recording, latest = header.recording, 0
            back = latest - record.ns
            if back > 0:
                header = msgspec.structs.replace(header, clock_offset_ns=header.clock_offset_ns + back)
                record = _at(record, latest)
            else:
                latest = record.ns
            yield header, record

    def _as_written(self) -> Iterator[tuple[HeaderLine, Record]]:
        self._done_bytes = 0
        before: HeaderLine | None = None
        for path in self.paths:
            lines = self._lines = file_lines(path)
            header: HeaderLine | None = None
            for record in _records(lines):
                if isinstance(record, HeaderLine):
                    before, header = header or before, record
                elif isinstance(record, ClockMoved):
                    header = header and msgspec.structs.replace(header, clock_offset_ns=record.clock_offset_ns)
                elif header is not None:
                    if isinstance(record, Checkpoint) and _goes_on(before, header, record):
                        before = None  # at the seam alone
                        continue
                    yield header, record
            self._done_bytes += lines.read_bytes
            self._lines, before = None, header


def _goes_on(before: HeaderLine | None, header: HeaderLine, checkpoint: Checkpoint) -> bool:
    """Whether nothing is missing between two parts: the session knows all of this already."""
    if before is None or checkpoint.session.missed or checkpoint.session.cut:
        return False
    return (before.recording, before.part + 1) == (header.recording, header.part)


def _at(record: Turn | Wish | Connected | Lost | Checkpoint | End, ns: int) -> Record:
    """The record, at another time."""
    return dataclasses.replace(record, ns=ns) if isinstance(record, Checkpoint) else record._replace(ns=ns)


def _records(lines: FileLines) -> Iterator[Record | HeaderLine | ClockMoved]:
    """The records of one file."""
    turn: Turn | None = None
    checkpoint: Checkpoint | None = None  # whose books are still coming
    bad = 0
    for text in lines:
        try:
            line = _decoder.decode(text)
        except (ValueError, RecursionError):
            bad += 1
            continue
        if bad:
            yield Trouble(_unreadable(bad, lines.path))
            bad = 0
        ns = line.recv_ns or 0
        if checkpoint is not None:
            if line.book is not None:
                checkpoint.books.append(line.book)
            if len(checkpoint.books) < checkpoint.session.books and line.book is not None:
                continue
            yield checkpoint
            checkpoint = None
            if line.book is not None:
                continue
        payload = bytes(line.event) or (line.text.encode() if line.text is not None else None)
        if payload is not None:
            if turn is not None and turn.ns == ns and turn.first_id is None:
                turn.payloads.append(payload)
                continue
            if turn is not None:
                yield turn
            turn = Turn(ns, [payload], None)
            continue
        reading = Reading(*msgspec.structs.astuple(line.reading)) if line.reading is not None else QUIET
        if line.reading is not None and turn is not None and turn.ns == ns:
            turn = turn._replace(reading=reading)
            continue
        if line.sent is not None:
            first_id = _id_of(line.sent)
            if turn is not None and turn.ns == ns:
                yield turn._replace(first_id=first_id)
                turn = None
                continue
        if turn is not None:
            yield turn
            turn = None
        if line.sent is not None:
            yield Turn(ns, [], _id_of(line.sent))
        elif line.wish is not None:
            yield Wish(ns, line.wish)
        elif line.connected is not None:
            yield Connected(ns, line.connected)
        elif line.lost is not None:
            yield Lost(ns, line.lost)
        elif line.session is not None:
            checkpoint = Checkpoint(ns, line.session, [])
            if not line.session.books:
                yield checkpoint
                checkpoint = None
        elif line.kalshi_feed_recording is not None:
            yield line.kalshi_feed_recording
        elif line.clock_offset_ns is not None:
            yield ClockMoved(ns, line.clock_offset_ns)
        elif line.end:
            yield End(ns)
        elif ns:
            turn = Turn(ns, [], None, reading)
    if turn is not None:
        yield turn
    if lines.cut_off or bad:
        why = lines.cut_off or "its last line is incomplete: whoever wrote it was killed, or still writes"
        yield Trouble(f"{lines.path} was read as far as it goes: {why}")


def _id_of(sent: list[msgspec.Raw]) -> int | None:
    return msgspec.json.decode(sent[0], type=_Id).id if sent else None


def _unreadable(count: int, path: Path) -> str:
    return f"{count} line{'' if count == 1 else 's'} of {path} cannot be read and {'is' if count == 1 else 'are'} left out"
