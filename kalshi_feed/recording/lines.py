"""The lines of a recording: one JSON object each, and what they mean.

Owns the format. The first line of a file is its header; a checkpoint follows (what the session knew then: a
`session` line and its `book` lines); then come the session's inputs in order: frames as they were received,
what was sent, what users wished, connections made and lost. Lines of one turn of the reader have the same
``recv_ns``. Must not import anything that runs.

``recv_ns`` is the Unix time in ns; less the header's ``clock_offset_ns`` it is time.monotonic_ns(), the
session's clock. When the two clocks part (the machine slept, or the wall clock was set), a line with
``clock_offset_ns`` says so; it holds from there on.

The header holds the format's number, FORMAT. While it stays the same, older and newer versions read each
other's recordings: a field that is added is optional, and has a default that means "as before"; fields that a
version does not know are skipped. A change that an older version would misread gets the next number: an older
version refuses such a file and asks for an upgrade, and a newer one goes on reading every number below.
tests/recording/corpus holds recordings of earlier versions.

The types here say which values can be: a line with any other is left out when it is read, and reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from ..books.book import BookStatus
from ..engine.tap import QUIET, Reading
from ..events import StateChange
from ..session.memory import SessionMemory

__all__ = [
    "FORMAT",
    "BookLine",
    "ChangeLine",
    "CommandId",
    "HeaderLine",
    "Line",
    "SessionLine",
    "WantLine",
    "WishLine",
    "change_line",
    "encode_line",
    "encode_sent",
    "encode_turn",
]

FORMAT: Final = 1

_INT64: Final = 2**63 - 1
Ns = Annotated[int, msgspec.Meta(ge=0, le=_INT64)]  # Unix time in ns, until 2262
_Offset = Annotated[int, msgspec.Meta(ge=-_INT64, le=_INT64)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=_INT64)]
_Binaries = Annotated[int, msgspec.Meta(ge=0, le=100_000)]  # more than one read can hold


class HeaderLine(msgspec.Struct, omit_defaults=True):
    """What the file is: ``part`` counts the files of one ``recording``."""

    format: int
    version: str = ""
    url: str = ""
    channels: list[str] = []
    use_yes_price: bool = True
    created: str = ""
    recording: str = ""
    part: _Count = 1
    clock_offset_ns: _Offset = 0


class WantLine(msgspec.Struct, omit_defaults=True):
    """A subscription; ``number`` names it in later wishes."""

    number: int
    channels: list[str]
    selector: str | None = None
    keys: list[str] = []
    options: dict[str, Any] = {}


class WishLine(msgspec.Struct, omit_defaults=True):
    """A request of a user, see Change. One that was applied twice stands there twice in a row, with the same
    ``serial``."""

    do: str
    want: WantLine | None = None
    number: int | None = None
    words: list[str] = []
    serial: int | None = None


class ChangeLine(msgspec.Struct, omit_defaults=True):
    """A StateChange; the gap's bounds in Unix ns. ``clock_skew``: seconds our clock was ahead of the
    exchange's; ``next_id``: of the first command on the connection.
    """

    reason: str = ""
    attempt: int = 0
    delay: float | None = None
    gap_started_ns: Ns | None = None
    gap_ended_ns: Ns | None = None
    clock_skew: float | None = None
    next_id: int | None = None


class ReadingLine(msgspec.Struct, omit_defaults=True):
    """See tap.Reading."""

    is_behind: bool = False
    arriving_since: float | None = None
    binaries: _Binaries = 0
    slept: float = 0.0
    last_byte_at: float = 0.0


class SessionLine(SessionMemory, omit_defaults=True, kw_only=True):
    """A checkpoint: all that is needed to go on from here, ``books`` more lines of books included.

    ``missed`` messages before it are not in the recording; ``cut``: other inputs may be missing, too.
    """

    state: str
    books: _Count = 0
    missed: _Count = 0
    cut: bool = False
    wants: list[WantLine] = msgspec.field(default_factory=list)


class BookLine(msgspec.Struct, omit_defaults=True):
    """A book of a checkpoint, both sides in their own prices, as the wire writes them; ``updated`` on the
    session's clock."""

    market_ticker: str
    status: BookStatus
    seq: _Count | None = None
    clock: _Count | None = None
    updated: float | None = None
    yes_dollars_fp: list[tuple[str, str]] = []
    no_dollars_fp: list[tuple[str, str]] = []
    was_known: bool = False


class CommandId(msgspec.Struct):
    """What matters of a command that was sent."""

    id: int = 0


class Line(msgspec.Struct, omit_defaults=True):
    """Any line: the fields that are there say which. ``event`` is the frame, byte for byte; ``text`` one that
    is no JSON object; ``reading``: what the connection told beside it. ``clock_offset_ns`` takes the place of
    the header's from here on.
    """

    recv_ns: Ns | None = None
    event: msgspec.Raw = msgspec.Raw()
    text: str | None = None
    reading: ReadingLine | None = None
    sent: list[CommandId] | None = None
    wish: WishLine | None = None
    connected: ChangeLine | None = None
    lost: ChangeLine | None = None
    session: SessionLine | None = None
    book: BookLine | None = None
    end: bool = False
    clock_offset_ns: _Offset | None = None
    kalshi_feed_recording: HeaderLine | None = None


_encode: Final = msgspec.json.Encoder().encode
_decode_raws: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def encode_line(line: Line, ns: int | None = None) -> bytes:
    """Any line."""
    line.recv_ns = ns
    return _encode(line) + b"\n"


def encode_turn(ns: int, payloads: Sequence[bytes], reading: Reading = QUIET) -> bytes:
    """The frames of one turn, each a line, byte for byte if it is a JSON object on one line."""
    if reading is not QUIET:
        last = encode_line(Line(reading=ReadingLine(*reading)), ns)
        return (encode_turn(ns, payloads) if payloads else b"") + last
    if not payloads:
        return b'{"recv_ns":%d}\n' % ns
    if _are_objects(payloads):
        head = b'{"recv_ns":%d,"event":' % ns
        return head + (b"}\n" + head).join(payloads) + b"}\n"
    return b"".join(_frame(ns, payload) for payload in payloads)


def _frame(ns: int, payload: bytes) -> bytes:
    if _are_objects((payload,)):
        return b'{"recv_ns":%d,"event":%b}\n' % (ns, payload)
    return encode_line(Line(text=payload.decode("utf-8", "replace")), ns)


def _are_objects(payloads: Sequence[bytes]) -> bool:
    """Whether each payload is a JSON object by itself, with nothing around it and no line break in it."""
    joined = b",".join(payloads)
    if b"\n" in joined or not all(payload[:1] == b"{" and payload[-1:] == b"}" for payload in payloads):
        return False
    try:
        raws = _decode_raws(b"[" + joined + b"]")
    except (ValueError, RecursionError):
        return False
    return list(map(bytes, raws)) == list(payloads)


def encode_sent(ns: int, commands: Sequence[bytes]) -> bytes:
    """What a turn sent."""
    return b'{"recv_ns":%d,"sent":[%b]}\n' % (ns, b",".join(commands))


def change_line(change: StateChange) -> ChangeLine:
    """A change of the feed's state."""
    return ChangeLine(
        change.reason,
        change.attempt,
        change.delay,
        _unix_ns(change.gap_started),
        _unix_ns(change.gap_ended),
    )


def _unix_ns(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1e6) * 1000
