"""A recording read back: the inputs of a session, in order, as far as the file goes.

Owns Source, which reads our own format, and the records it yields. Reading happens in four stages, each a
generator over the one before: FileLines cuts the file into lines, _decoded() drops lines that cannot be read,
_in_time() mends impossible times, _records() puts lines together into turns and checkpoints. Source
then joins the parts of a recording. Nothing that is wrong with a file stops a replay: each stage passes on
what it can use, and reports the rest as a Trouble in its place. records_in() reads lines that are in memory.
"""

from __future__ import annotations

import dataclasses
import os
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from ..engine.tap import QUIET, Reading
from ..errors import ConfigurationError
from .checkpoint import Checkpoint, book_of
from .files import CutOff, read_chunks
from .lines import FORMAT, ChangeLine, FilledLine, HeaderLine, LearnedLine, Line, WishLine

__all__ = [
    "LONGEST_LINE",
    "ClockMoved",
    "Connected",
    "End",
    "FileLines",
    "Filled",
    "Learned",
    "Lost",
    "NothingRecorded",
    "Record",
    "Released",
    "Source",
    "Trouble",
    "Turn",
    "Wish",
    "paths_of",
    "read_header",
    "records_in",
]

_decoder: Final = msgspec.json.Decoder(Line)
_SHOWN: Final = 60  # characters of a line in an error
_BEGINNING: Final = b'{"kalshi_feed_recording":'
LONGEST_LINE: Final = 64 * 1024 * 1024
"""Bytes: four times the longest message that a feed accepts by default."""

# How far a line's time may be from the one before it, in ns. Back: a thread reads the clock, then waits for
# the lock that orders the lines. Ahead: a running feed has something to record at least once a day.
_MOST_BACK: Final = 60 * 1_000_000_000
_MOST_AHEAD: Final = 24 * 3600 * 1_000_000_000


class Turn(NamedTuple):
    """One turn of the reader. ``first_id`` is the id of the first command it sent, None if it sent none."""

    ns: int
    payloads: list[bytes]
    first_id: int | None
    reading: Reading = QUIET


class Wish(NamedTuple):
    """A user's request."""

    ns: int
    wish: WishLine


class Connected(NamedTuple):
    """A connection was made."""

    ns: int
    change: ChangeLine


class Lost(NamedTuple):
    """A connection was lost, or a dial failed."""

    ns: int
    change: ChangeLine


class Learned(NamedTuple):
    """What was known about a market."""

    ns: int
    learned: LearnedLine


class Filled(NamedTuple):
    """What was delivered of REST's answer for a gap."""

    ns: int
    filled: FilledLine


class Released(NamedTuple):
    """The trades that were held back were delivered."""

    ns: int


class ClockMoved(NamedTuple):
    """The wall clock was set, or the machine slept: ``clock_offset_ns`` replaces the header's."""

    ns: int
    clock_offset_ns: int


class Trouble(NamedTuple):
    """A part of the file cannot be used; ``text`` says which and why."""

    text: str


class End(NamedTuple):
    """The recording ended in good order; without this it was cut off."""

    ns: int


Record = Turn | Wish | Connected | Lost | Learned | Filled | Released | Checkpoint | Trouble | End


def paths_of(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the paths as a list. Raises ConfigurationError if there are none, or one is not a file."""
    found = [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]
    if not found:
        raise ConfigurationError("no recording was given: name at least one file")
    for path in found:
        if not path.is_file():
            what = (
                "is a folder" if path.is_dir() else "does not exist" if not path.exists() else "is not a file"
            )
            raise ConfigurationError(
                f"the recording {str(path)!r} {what}: give the file that record() or `kalshi-feed record` "
                "wrote"
            )
    return found


class _Lines(Protocol):
    """Lines to read, where they are from, and after that what was wrong with them."""

    path: Path | str
    too_long: int
    is_cut_line: bool
    cut_off: str

    def __iter__(self) -> Iterator[bytes]:
        """The lines that are not blank, without their line breaks."""


class _LinesInMemory:
    """Lines that are in memory; ``path`` says what they are. Not thread-safe."""

    too_long = 0
    cut_off = ""

    def __init__(self, data: bytes, path: str) -> None:
        self.path: Path | str = path
        self.is_cut_line = not data.endswith(b"\n")
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        return (line for line in self._data.split(b"\n") if line and not line.isspace())


class FileLines:
    """The lines of a file, and how far it was read. Iterate only once. Not thread-safe.

    A line longer than LONGEST_LINE is skipped and counted.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path | str = path
        self.read_bytes = 0  # of the file as it is on disk, so compressed ones
        self.too_long = 0  # lines that were skipped
        self.is_cut_line = False  # whether the last line has no line break
        self.cut_off = ""  # why the file could not be read to its end

    def __iter__(self) -> Iterator[bytes]:
        pieces: list[bytes] = []  # of the line whose end has not come yet
        size = 0  # of that line; its pieces are dropped once it is too long
        try:
            for chunk in self._chunks():
                first, *others = chunk.split(b"\n")
                size += len(first)
                if size <= LONGEST_LINE:
                    pieces.append(first)
                else:
                    pieces.clear()
                if others:
                    yield from self._line(pieces, size)
                    yield from filter(None, others[:-1])
                    pieces, size = others[-1:], len(others[-1])
        except CutOff as error:
            self.cut_off = str(error)
        self.is_cut_line = 0 < size <= LONGEST_LINE
        yield from self._line(pieces, size)

    def _line(self, pieces: list[bytes], size: int) -> Iterator[bytes]:
        if size > LONGEST_LINE:
            self.too_long += 1
        elif (line := b"".join(pieces)) and not line.isspace():
            yield line

    def _chunks(self) -> Iterator[bytes]:
        """The file's text without the byte order mark that editors on Windows put at its beginning."""
        chunks = read_chunks(Path(self.path), self._progress)
        yield next(chunks, b"").removeprefix(BOM_UTF8)
        yield from chunks

    def _progress(self, position: int) -> None:
        self.read_bytes = position


class NothingRecorded(ConfigurationError):
    """A file without a single complete line, left by a recorder that was killed just after creating it."""


def read_header(path: Path) -> HeaderLine | None:
    """Return the header of a recording in our own format, or None for a capture of another program.

    Raises ConfigurationError for a file that is neither, and for a recording made by a later version.
    """
    lines = FileLines(path)
    first = next(iter(lines), None)
    if first is None:
        why = (
            f" ({lines.cut_off})"
            if lines.cut_off
            else " except for a line that is too long"
            if lines.too_long
            else ""
        )
        raise NothingRecorded(f"the recording {str(path)!r} is empty{why}")
    plain: Any = None
    try:
        plain = msgspec.json.decode(first)
    except (ValueError, RecursionError):
        if lines.is_cut_line and first.startswith(_BEGINNING[: len(first)]):
            raise NothingRecorded(
                f"the recording {str(path)!r} is empty except for the beginning of its first line"
            ) from None
    if not isinstance(plain, dict) or not plain.keys() & {
        "kalshi_feed_recording",
        "type",
        "event",
        "recv_ns",
        "recv_ms",
    }:
        shown = first[:_SHOWN].decode("utf-8", "replace")
        raise ConfigurationError(
            f"{str(path)!r} is not a recording: its first line is {shown!r}. Give a file made by "
            "`kalshi-feed record`, or a capture with one of the exchange's frames per line, bare or as "
            '{"recv_ms": …, "event": frame}'
        )
    if "kalshi_feed_recording" not in plain:
        return None
    number = (
        plain["kalshi_feed_recording"].get("format")
        if isinstance(plain["kalshi_feed_recording"], dict)
        else None
    )
    if type(number) is int and number > FORMAT:
        raise ConfigurationError(
            f"{str(path)!r} was recorded by a later version: its format is {number}, and this version reads "
            f"up to {FORMAT}; upgrade kalshi-feed"
        )
    if type(number) is not int or number < 1:
        raise ConfigurationError(f"the header of {str(path)!r} cannot be read: its format is {number!r}")
    try:
        header = _decoder.decode(first).kalshi_feed_recording
    except ValueError as error:
        raise ConfigurationError(f"the header of {str(path)!r} cannot be read: {error}") from error
    assert header is not None
    return header


class Source:
    """The recording in these files: parts of one, or several recordings one after the other.

    ``troubles`` are reported before anything else. Not thread-safe.
    """

    def __init__(self, paths: list[Path], headers: list[HeaderLine], troubles: Iterable[str] = ()) -> None:
        self.paths = paths
        self.header = headers[0]
        self.size = sum(path.stat().st_size for path in paths)
        self._troubles = tuple(troubles)
        self._done_bytes = 0
        self._lines: FileLines | None = None

    @property
    def read_bytes(self) -> int:
        """How many of the ``size`` bytes were read."""
        return self._done_bytes + (self._lines.read_bytes if self._lines is not None else 0)

    def records(self) -> Iterator[tuple[HeaderLine, Record]]:
        """Yield every record with the header that holds for it.

        Unix time never goes back within a recording: if the wall clock was set back, it stands still here
        until it has caught up. The ``clock_offset_ns`` of the header that comes with a record is adjusted
        accordingly, so the session's clock keeps running at its own rate all the while.
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
        for text in self._troubles:
            yield self.header, Trouble(text)
        before: HeaderLine | None = None
        for path in self.paths:
            lines = self._lines = FileLines(path)
            header: HeaderLine | None = None
            for record in _records(lines):
                if isinstance(record, HeaderLine):
                    before, header = header or before, record
                    if (
                        before is not None
                        and before.recording == header.recording
                        and header.part > before.part + 1
                    ):
                        text = (
                            f"{path} is part {header.part} of its recording, but follows part {before.part}: "
                        )
                        yield header, Trouble(text + "everything between them is missing")
                elif isinstance(record, ClockMoved):
                    header = header and msgspec.structs.replace(
                        header, clock_offset_ns=record.clock_offset_ns
                    )
                elif header is not None:
                    if isinstance(record, Checkpoint) and _goes_on(before, header, record):
                        before = None  # only at the seam between two parts
                        continue
                    yield header, record
            self._done_bytes += lines.read_bytes
            self._lines, before = None, header


def _goes_on(before: HeaderLine | None, header: HeaderLine, checkpoint: Checkpoint) -> bool:
    """Whether nothing is missing between two parts, so that the session already knows this checkpoint."""
    if before is None or checkpoint.session.missed or checkpoint.session.cut:
        return False
    return (before.recording, before.part + 1) == (header.recording, header.part)


def _at(
    record: Turn | Wish | Connected | Lost | Learned | Filled | Released | Checkpoint | End, ns: int
) -> Record:
    """Return the record with another time."""
    return dataclasses.replace(record, ns=ns) if isinstance(record, Checkpoint) else record._replace(ns=ns)


def _in_time(lines: Iterable[Line | Trouble]) -> Iterator[Line | Trouble]:
    """Yield the lines, with impossible times mended.

    One damaged digit must neither stop a replay for years nor spoil everything after it. So a time far ahead
    is held back until the next line: if that is as late, both are believed. If it is not, or if a time goes
    far back, the line gets the time of the one before it. Lines of several threads may be a little out of
    order. A step of the wall clock is announced by a line of its own, after which any time is believed.
    """
    last: int | None = None  # the time of the last line that was believed, ns; None where any is
    ahead: Line | None = None  # a line with a time far ahead, held back
    wrong = 0
    for line in lines:
        if (
            isinstance(line, Trouble)
            or line.kalshi_feed_recording is not None
            or line.clock_offset_ns is not None
        ):
            if ahead is not None:
                yield ahead
            if not isinstance(line, Trouble):
                last = None
            ahead = None
            yield line
            continue
        ns = line.recv_ns or 0
        if ahead is not None:
            if ns < (ahead.recv_ns or 0) - _MOST_BACK:
                ahead.recv_ns = ns if last is None else last
                wrong += 1
            last = ahead.recv_ns
            yield ahead
            ahead = None
        if last is None or ns > last + _MOST_AHEAD:
            ahead = line
            continue
        if ns < last - _MOST_BACK:
            line.recv_ns = last
            wrong += 1
        else:
            last = ns
        yield line
    if ahead is not None:
        yield ahead
    if wrong:
        yield Trouble(
            f"{wrong} line{'' if wrong == 1 else 's'} had a wrong time, and got that of the line before"
        )


def _decoded(lines: _Lines) -> Iterator[Line | Trouble]:
    """Yield the lines that can be used, and report the others."""
    bad = 0
    for text in lines:
        try:
            line = _decoder.decode(text)
            if not _is_usable(line):
                raise ValueError
        except (ValueError, RecursionError):
            bad += 1
            continue
        if bad:
            yield Trouble(_unreadable(bad, lines.path))
            bad = 0
        yield line
    if lines.too_long:
        yield Trouble(
            f"{lines.path}: {lines.too_long} line{'' if lines.too_long == 1 else 's'} longer than "
            f"{LONGEST_LINE // 2**20} MiB skipped"
        )
    if bad > lines.is_cut_line:
        yield Trouble(_unreadable(bad - lines.is_cut_line, lines.path))
    if lines.cut_off or (bad and lines.is_cut_line):
        why = lines.cut_off or "its last line is incomplete, because its writer was killed or is still at it"
        yield Trouble(f"{lines.path} was read as far as it goes: {why}")


# every kind of wish, and whether a line has everything it needs
_WISHES: Final[dict[str, Callable[[WishLine], bool]]] = {
    "subscribe": lambda wish: wish.want is not None,
    "add_markets": lambda wish: wish.number is not None,
    "delete_markets": lambda wish: wish.number is not None,
    "unsubscribe": lambda wish: wish.number is not None,
    "ask": lambda wish: bool(wish.words),
    "ask_again": lambda wish: bool(wish.words),
    "request_snapshots": lambda wish: True,
    "list_subscriptions": lambda wish: True,
    "reopen_books": lambda wish: True,
}


def _is_usable(line: Line) -> bool:
    """Whether this version can do something with the line; every line but a header must have a time."""
    if line.kalshi_feed_recording is not None:
        return True
    if line.wish is not None:
        is_whole = _WISHES.get(line.wish.do)
        if is_whole is None or not is_whole(line.wish):
            return False
    return line.recv_ns is not None and bytes(line.event)[:1] in (b"", b"{")


def records_in(data: bytes, name: str) -> Iterator[Record | HeaderLine | ClockMoved]:
    """Yield the records in these lines; ``name`` says in a Trouble what they are."""
    return _records(_LinesInMemory(data, name))


def _records(lines: _Lines) -> Iterator[Record | HeaderLine | ClockMoved]:
    """Put the lines of one file together into records.

    A turn is finished by the commands it sent or by the first line of another moment, a checkpoint by the
    first line that is not a book.
    """
    turn: Turn | None = None  # that may still get more frames
    checkpoint: Checkpoint | None = None  # that may still get more books
    for line in _in_time(_decoded(lines)):
        if isinstance(line, Trouble):
            yield line
            continue
        ns = line.recv_ns or 0
        if checkpoint is not None:
            if line.book is not None:
                try:
                    checkpoint.books.append(book_of(line.book))
                except ValueError as error:
                    yield Trouble(
                        f"the book of {line.book.market_ticker!r:.80} in {lines.path} was skipped: {error}"
                    )
                continue
            yield checkpoint
            checkpoint = None
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
            first_id = line.sent[0].id if line.sent else None
            if turn is not None and turn.ns == ns:
                yield turn._replace(first_id=first_id)
                turn = None
                continue
        if turn is not None:
            yield turn
            turn = None
        if line.sent is not None:
            yield Turn(ns, [], first_id)
        elif line.wish is not None:
            yield Wish(ns, line.wish)
        elif line.connected is not None:
            yield Connected(ns, line.connected)
        elif line.lost is not None:
            yield Lost(ns, line.lost)
        elif line.learned is not None:
            yield Learned(ns, line.learned)
        elif line.filled is not None:
            yield Filled(ns, line.filled)
        elif line.released:
            yield Released(ns)
        elif line.session is not None:
            checkpoint = Checkpoint(ns, line.session, [])
        elif line.kalshi_feed_recording is not None:
            yield line.kalshi_feed_recording
        elif line.clock_offset_ns is not None:
            yield ClockMoved(ns, line.clock_offset_ns)
        elif line.end:
            yield End(ns)
        elif ns:
            turn = Turn(ns, [], None, reading)
    if checkpoint is not None:
        yield checkpoint
    if turn is not None:
        yield turn


def _unreadable(count: int, path: Path | str) -> str:
    return (
        f"{count} line{'' if count == 1 else 's'} of {path} cannot be read and "
        f"{'was' if count == 1 else 'were'} skipped"
    )
