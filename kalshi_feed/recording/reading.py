"""A recording read back: the inputs of a session, in order, as far as the file goes.

Owns Source (native recordings) and the records it gives. A file that ends in the middle, or has lines that
cannot be read, gives what it has and says so (Trouble). Must not import anything that runs.
"""

from __future__ import annotations

import dataclasses
import os
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ..engine.tap import QUIET, Reading
from ..errors import ConfigurationError
from .checkpoint import Checkpoint, book_of
from .files import CutOff, read_chunks
from .lines import FORMAT, ChangeLine, HeaderLine, Line, WishLine

__all__ = [
    "LONGEST_LINE",
    "Connected",
    "End",
    "Lost",
    "NothingRecorded",
    "Record",
    "Source",
    "Trouble",
    "Turn",
    "Wish",
    "file_lines",
    "is_native",
    "paths_of",
]

_decoder: Final = msgspec.json.Decoder(Line)
_SHOWN: Final = 60  # characters of a line in an error
_BEGINNING: Final = b'{"kalshi_feed_recording":'
LONGEST_LINE: Final = 64 * 1024 * 1024
"""Bytes: four times the longest message that a feed accepts by default."""

# ns: threads write their lines in the order of a lock, with the times of before they had it
_MOST_BACK: Final = 60 * 1_000_000_000
_MOST_AHEAD: Final = 24 * 3600 * 1_000_000_000  # ns: for longer nothing happens in a feed that runs


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


def paths_of(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """One file or several. Raises ConfigurationError for none, or none that is there."""
    found = [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]
    if not found:
        raise ConfigurationError("no recording is named")
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


class FileLines:
    """The lines of a file, and how far it was read. Iterate once. A line longer than LONGEST_LINE is left out
    and counted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_bytes = 0
        self.too_long = 0
        self.is_cut_line = False  # whether the last line has no end
        self.cut_off = ""  # why the file ended before its end

    def __iter__(self) -> Iterator[bytes]:
        pieces: list[bytes] = []  # of the line that has no end yet
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
        """The text of the file without the mark that editors on Windows put at its beginning."""
        chunks = read_chunks(self.path, self._progress)
        yield next(chunks, b"").removeprefix(BOM_UTF8)
        yield from chunks

    def _progress(self, position: int) -> None:
        self.read_bytes = position


def file_lines(path: Path) -> FileLines:
    """The file's lines."""
    return FileLines(path)


class NothingRecorded(ConfigurationError):
    """A file without a whole line, as a recorder leaves it that was killed when it had just made it."""


def is_native(path: Path) -> HeaderLine | None:
    """The header of a recording of ours; None for other lines of JSON.

    Raises ConfigurationError for what is no recording at all, and for one that a later version has made.
    """
    lines = file_lines(path)
    first = next(iter(lines), None)
    if first is None:
        why = (
            f" ({lines.cut_off})"
            if lines.cut_off
            else " but one line that is too long"
            if lines.too_long
            else ""
        )
        raise NothingRecorded(f"the recording {str(path)!r} holds nothing{why}")
    plain: Any = None
    try:
        plain = msgspec.json.decode(first)
    except (ValueError, RecursionError):
        if lines.is_cut_line and first.startswith(_BEGINNING[: len(first)]):
            raise NothingRecorded(
                f"the recording {str(path)!r} holds nothing but the beginning of its first line"
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
            f"{str(path)!r} is not a recording, its first line is {shown!r}: a recording is made by "
            "`kalshi-feed record`, or is "
            'lines of the exchange\'s frames, as they are or as {"recv_ms": …, "event": frame}'
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
            f"{str(path)!r} was recorded by a later version: it is of format {number}, this version reads up "
            f"to {FORMAT}; upgrade "
            "kalshi-feed"
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
    """The recording in these files, parts of one or one after the other; ``troubles`` is said of it first.
    Not thread-safe."""

    def __init__(self, paths: list[Path], headers: list[HeaderLine], troubles: Iterable[str] = ()) -> None:
        self.paths = paths
        self.header = headers[0]
        self.size = sum(path.stat().st_size for path in paths)
        self._troubles = tuple(troubles)
        self._done_bytes = 0
        self._lines: FileLines | None = None

    @property
    def read_bytes(self) -> int:
        """How much of ``size`` was read."""
        return self._done_bytes + (self._lines.read_bytes if self._lines is not None else 0)

    def records(self) -> Iterator[tuple[HeaderLine, Record]]:
        """Everything, each with its file's header.

        Within a recording the time never goes back: where the wall clock was set back it stands still until
        that has caught up. The header's ``clock_offset_ns`` is the one that holds for the record, so that the
        session's clock goes on in any case.
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
            lines = self._lines = file_lines(path)
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
                            f"{path} is part {header.part} of its recording, what came before it is part "
                            f"{before.part}: "
                        )
                        yield header, Trouble(text + "what was between them is missing")
                elif isinstance(record, ClockMoved):
                    header = header and msgspec.structs.replace(
                        header, clock_offset_ns=record.clock_offset_ns
                    )
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


def _in_time(lines: Iterable[Line | Trouble]) -> Iterator[Line | Trouble]:
    """The lines, their times in order: a damaged digit must neither stop a replay for years nor cost what
    comes after it.

    A time far ahead is believed if the next line's is as late. One that is not, or that goes back, becomes
    the one before it. Lines of several threads may be a little out of order, and where the clock moved, a
    line says so.
    """
    last: int | None = None
    ahead: Line | None = None
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
            f"the time of {wrong} line{'' if wrong == 1 else 's'} was wrong, and was taken from the line "
            "before it"
        )


def _decoded(lines: FileLines) -> Iterator[Line | Trouble]:
    """The lines that can be used."""
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
            f"{lines.path}: a line longer than {LONGEST_LINE // 2**20} MiB is left out ({lines.too_long} of "
            "them)"
        )
    if bad > lines.is_cut_line:
        yield Trouble(_unreadable(bad - lines.is_cut_line, lines.path))
    if lines.cut_off or (bad and lines.is_cut_line):
        why = lines.cut_off or "its last line is incomplete: whoever wrote it was killed, or still writes"
        yield Trouble(f"{lines.path} was read as far as it goes: {why}")


_WISHES: Final[dict[str, Callable[[WishLine], bool]]] = {  # what a wish must say
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
    """Whether the line is one that this version writes, or at least one of a moment."""
    if line.kalshi_feed_recording is not None:
        return True
    if line.wish is not None:
        is_whole = _WISHES.get(line.wish.do)
        if is_whole is None or not is_whole(line.wish):
            return False
    return line.recv_ns is not None and bytes(line.event)[:1] in (b"", b"{")


def _records(lines: FileLines) -> Iterator[Record | HeaderLine | ClockMoved]:
    """The records of one file."""
    turn: Turn | None = None
    checkpoint: Checkpoint | None = None  # whose books are still coming
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
                        f"the book of {line.book.market_ticker!r:.80} in {lines.path} is left out: {error}"
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


def _unreadable(count: int, path: Path) -> str:
    return (
        f"{count} line{'' if count == 1 else 's'} of {path} cannot be read and "
        f"{'is' if count == 1 else 'are'} left out"
    )
