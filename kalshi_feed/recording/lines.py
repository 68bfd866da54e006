"""The lines of a recording: one JSON object each, and what they mean. Owns the format.

The first line of a file is its header. A checkpoint follows, which is what the session knew at that moment: a
``session`` line and its ``book`` lines. Then come the session's inputs in order: frames as they were
received, commands that were sent, users' requests (a ``wish``), connections made and lost, what follow()
learned about markets (``learned``; after a checkpoint, again for the markets of its books), and with
``fill_gaps`` what was delivered of REST's answers (``filled``), and when trades that waited for one were
``released`` without it. All lines of one turn of the reader have the same ``recv_ns``.

``recv_ns`` is Unix time in ns. Subtract ``clock_offset_ns`` and you have time.monotonic_ns(), which is the
session's clock. The header has the first offset. When the two clocks diverge, because the machine slept or
the wall clock was set, a line with a new ``clock_offset_ns`` says so, and holds from there on.

The header also has the number of the format, FORMAT. As long as that stays the same, older and newer versions
read each other's recordings: a new field is optional and its default means "as before", and fields that a
version does not know are ignored. A change that an older version would misread gets the next number. An older
version then refuses the file and asks for an upgrade; a newer one still reads every lower number.
tests/recording/corpus holds recordings made by earlier versions.

The types below also say which values are valid: a line with any other value is skipped and reported when it
is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from ..books.book import BookStatus
from ..engine.holding import HoldingMemory
from ..engine.tap import QUIET, Reading
from ..events import GapFilled, MarketStep, StateChange
from ..messages import Message, from_rest
from ..messages.flat import wire_object
from ..messages.listed import Market, market_in, market_json
from ..session.memory import SessionMemory
from .player import moment_of

__all__ = [
    "FORMAT",
    "BookLine",
    "ChangeLine",
    "CommandId",
    "FilledLine",
    "GapLine",
    "HeaderLine",
    "LearnedLine",
    "Line",
    "SessionLine",
    "WantLine",
    "WishLine",
    "change_line",
    "encode_line",
    "encode_sent",
    "encode_turn",
    "entries_of",
    "filled_line",
    "gap_of",
    "learned_line",
    "market_of",
]

FORMAT: Final = 1

_INT64: Final = 2**63 - 1
Ns = Annotated[int, msgspec.Meta(ge=0, le=_INT64)]  # Unix time in ns, until 2262
_Offset = Annotated[int, msgspec.Meta(ge=-_INT64, le=_INT64)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=_INT64)]
_Binaries = Annotated[int, msgspec.Meta(ge=0, le=100_000)]  # more than one read can hold


class HeaderLine(msgspec.Struct, omit_defaults=True):
    """What the file is. ``recording`` identifies the recording, and ``part`` numbers its files from 1."""

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
    """A subscription. Later wishes refer to it by ``number``."""

    number: int
    channels: list[str]
    selector: str | None = None
    keys: list[str] = []
    options: dict[str, Any] = {}


class WishLine(msgspec.Struct, omit_defaults=True):
    """A user's request; its fields are those of session.wanted.Change.

    A request that Ctrl-C interrupted halfway may be applied and written twice, with the same
    ``serial`` both times; a replay applies it once.
    """

    do: str
    want: WantLine | None = None
    number: int | None = None
    words: list[str] = []
    serial: int | None = None


class ChangeLine(msgspec.Struct, omit_defaults=True):
    """A StateChange, with the bounds of the gap in Unix ns.

    ``clock_skew`` is how many seconds our clock was ahead of the exchange's, ``next_id`` the id of the first
    command on the connection.
    """

    reason: str = ""
    attempt: int = 0
    delay: float | None = None
    gap_started_ns: Ns | None = None
    gap_ended_ns: Ns | None = None
    clock_skew: float | None = None
    next_id: int | None = None


class ReadingLine(msgspec.Struct, omit_defaults=True):
    """What the connection said about a turn besides its frames: the fields of engine.tap.Reading."""

    is_behind: bool = False
    arriving_since: float | None = None
    binaries: _Binaries = 0
    slept: float = 0.0
    last_byte_at: float = 0.0


class LearnedLine(msgspec.Struct, omit_defaults=True):
    """What was known about a market, as REST writes it, and what had happened to it, if anything."""

    market: msgspec.Raw
    change: MarketStep | None = None


class GapLine(msgspec.Struct, omit_defaults=True):
    """A GapFilled, with its times in Unix ns."""

    since_ns: Ns
    until_ns: Ns
    market_tickers: list[str] = []
    found: _Count = 0
    matched: _Count = 0
    complete: bool = False
    reason: str = ""


class FilledLine(msgspec.Struct, omit_defaults=True):
    """What was delivered of REST's answer for a gap on a channel; see engine.holding.Holding.fill().

    ``entries`` holds messages, and as strings the ids of trades that were held back until then. ``gap`` is
    what was reported about it, if that was the last answer.
    """

    channel: str
    entries: list[msgspec.Raw] = []
    releases: bool = False
    gap: GapLine | None = None


class SessionLine(SessionMemory, omit_defaults=True, kw_only=True):
    """A checkpoint: with the next ``books`` lines of books it is everything a session needs to go on.

    ``missed`` messages just before it are not in the recording. ``cut`` says that other inputs may be missing
    as well. ``holding`` is there if the feed fills gaps.
    """

    state: str
    books: _Count = 0
    missed: _Count = 0
    cut: bool = False
    wants: list[WantLine] = msgspec.field(default_factory=list)
    holding: HoldingMemory | None = None


class BookLine(msgspec.Struct, omit_defaults=True):
    """A book in a checkpoint.

    Each side has its own prices, written as on the wire. ``updated`` is a time on the session's clock.
    """

    market_ticker: str
    status: BookStatus
    seq: _Count | None = None
    clock: _Count | None = None
    updated: float | None = None
    yes_dollars_fp: list[tuple[str, str]] = []
    no_dollars_fp: list[tuple[str, str]] = []
    was_known: bool = False


class CommandId(msgspec.Struct):
    """The one part of a sent command that a replay needs."""

    id: int = 0


class Line(msgspec.Struct, omit_defaults=True):
    """Any line; the fields that are present say which kind it is.

    ``event`` is a frame, byte for byte, or ``text`` if the frame is not a JSON object; ``reading`` is what
    else the connection said. ``clock_offset_ns`` replaces the header's from here on.
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
    learned: LearnedLine | None = None
    filled: FilledLine | None = None
    released: bool = False
    end: bool = False
    clock_offset_ns: _Offset | None = None
    kalshi_feed_recording: HeaderLine | None = None


_encode: Final = msgspec.json.Encoder().encode
_decode_raws: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def encode_line(line: Line, ns: int | None = None) -> bytes:
    """Encode a line that is received or done at ``ns`` (Unix); the header has no time."""
    line.recv_ns = ns
    return _encode(line) + b"\n"


def encode_turn(ns: int, payloads: Sequence[bytes], reading: Reading = QUIET) -> bytes:
    """Encode the frames of one turn, each as a line: byte for byte, if it is a JSON object on one line."""
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
    """Whether each payload by itself is a JSON object, without whitespace around it or line breaks in it."""
    joined = b",".join(payloads)
    if b"\n" in joined or not all(payload[:1] == b"{" and payload[-1:] == b"}" for payload in payloads):
        return False
    try:
        raws = _decode_raws(b"[" + joined + b"]")
    except (ValueError, RecursionError):
        return False
    return list(map(bytes, raws)) == list(payloads)


def encode_sent(ns: int, commands: Sequence[bytes]) -> bytes:
    """Encode the commands that a turn sent."""
    return b'{"recv_ns":%d,"sent":[%b]}\n' % (ns, b",".join(commands))


def change_line(change: StateChange) -> ChangeLine:
    """Return the change of the feed's state as a line holds it."""
    return ChangeLine(
        change.reason,
        change.attempt,
        change.delay,
        _unix_ns(change.gap_started),
        _unix_ns(change.gap_ended),
    )


def learned_line(market: Market, change: MarketStep | None = None) -> Line:
    """Return the line for what is known about a market."""
    return Line(learned=LearnedLine(msgspec.Raw(market_json(market)), change))


def market_of(learned: LearnedLine) -> Market:
    """Read the market from its line. Raises ValueError."""
    return market_in(wire_object(learned.market))


def filled_line(
    channel: str, entries: Sequence[Message | str], releases: bool, event: GapFilled | None
) -> Line:
    """Return the line for what was delivered of REST's answer."""
    gap = None
    if event is not None:
        since, until = _unix_ns(event.since), _unix_ns(event.until)
        gap = GapLine(
            since or 0,
            until or 0,
            list(event.market_tickers),
            event.found,
            event.matched,
            event.complete,
            event.reason,
        )
    texts = [_encode(entry) if isinstance(entry, str) else from_rest.to_json(entry) for entry in entries]
    return Line(filled=FilledLine(channel, [msgspec.Raw(text) for text in texts], releases, gap))


def entries_of(filled: FilledLine) -> list[Message | str]:
    """Read messages and ids from their line. Raises ValueError."""
    return [
        msgspec.json.decode(entry) if bytes(entry)[:1] == b'"' else from_rest.from_json(entry)
        for entry in filled.entries
    ]


def gap_of(filled: FilledLine) -> GapFilled | None:
    """Return what was reported with the answer, if it was the last one."""
    gap = filled.gap
    if gap is None:
        return None
    return GapFilled(
        filled.channel,
        moment_of(gap.since_ns),
        moment_of(gap.until_ns),
        tuple(gap.market_tickers),
        gap.found,
        gap.matched,
        gap.complete,
        gap.reason,
    )


def _unix_ns(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1e6) * 1000
