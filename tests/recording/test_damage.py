"""Damaged recordings: usable lines are used, others skipped and reported; nothing looks like our bug."""

from __future__ import annotations

import gzip
import json
import logging
import time
import tracemalloc
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_feed import ConfigurationError, KalshiFeed
from kalshi_feed.recording import reading
from kalshi_feed.recording.reading import FileLines, Source, Trouble, read_header
from kalshi_feed.recording.replaying import StepEngine
from kalshi_feed.recording.tables import Converter
from kalshi_feed.session.memory import SessionMemory
from kalshi_feed.session.timing import Timing
from tests.effort import effort
from tests.recording.support import CORPUS, EXPECTED, Heard, files_of, played, troubles
from tests.session.memories import full_session

MIB = 2**20


def lines_of(name: str) -> list[bytes]:
    """Return the lines of a recording in the corpus."""
    data = (CORPUS / name).read_bytes()
    return (gzip.decompress(data) if name.endswith(".gz") else data).splitlines()


def written(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


# -- lines without end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_R33_a_line_without_end(tmp_path: Path, packed: bool) -> None:
    lines, size = lines_of("cents.ndjson"), 100 * MIB
    path = tmp_path / "endless.ndjson"
    pack: Any = zlib.compressobj(6, zlib.DEFLATED, 31) if packed else None
    with path.open("wb") as file:
        for block in (b"\n".join(lines) + b"\n", *[b'{"recv_ns":1' * 87_382] * 100):
            file.write(pack.compress(block) if pack else block)
        if pack:
            file.write(pack.flush())
    assert not packed or path.stat().st_size < MIB
    begun = time.process_time()
    tracemalloc.start()
    with played(path) as (feed, heard):
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        (text,) = troubles(heard)
        assert "1 line longer than 64 MiB skipped" in text and all(
            book.is_live for book in feed.books.values()
        )
    assert peak < size, f"{peak / MIB:.0f} MiB"
    assert time.process_time() - begun < 60
    with pytest.raises(ConfigurationError, match=r"not a recording|is empty"):
        path.write_bytes(b"x" * 65 * MIB)
        KalshiFeed.replay(path)


def test_R33_the_time_is_linear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line four times as long takes about four times as long, not sixteen."""
    path, times = tmp_path / "long.ndjson", []
    for size in (8 * MIB, 32 * MIB):
        path.write_bytes(gzip.compress(b"x" * size, 1))
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            assert sum(map(len, FileLines(path))) == size
            best = min(best, time.process_time() - begun)
        times.append(best)
    assert times[1] < 10 * times[0], times


def test_R33_the_lines_behind_a_long_one_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST_LINE", 100_000)
    for size in (99_999, 100_000, 100_001, 250_000):
        lines = FileLines(written(tmp_path / "long", [b"a", b"b" * size, b"c", b"", b"d" * size, b"e"]))
        found = [line[:1] for line in lines]
        assert found == ([b"a", b"b", b"c", b"d", b"e"] if size <= 100_000 else [b"a", b"c", b"e"])
        assert lines.too_long == (2 if size > 100_000 else 0) and not lines.is_cut_line


# -- other damage --------------------------------------------------------------------------------------------

SHAPES = {  # without their time
    "sent": ['"sent":[1]', '"sent":["x"]', '"sent":{}', '"sent":[{"id":"x"}]'],
    "event": ['"event":[]', '"event":null', '"text":5'],
    "wish": [
        '"wish":{"do":"dance"}',
        '"wish":{"do":"subscribe"}',
        '"wish":{"do":"ask"}',
        '"wish":{"do":"unsubscribe"}',
    ],
    "change": ['"lost":{"gap_started_ns":-1}', '"connected":{"next_id":"one"}', '"lost":7'],
    "reading": ['"reading":{"binaries":99999999999}'],
    "session": ['"session":{}', '"session":{"state":"CONNECTED","links":[{"channel":"trade","chunk":0}]}'],
}
LINES = {
    "time": [
        '{"recv_ns":-1,"event":{}}',
        '{"recv_ns":9223372036854775808}',
        '{"recv_ns":1.5,"event":{}}',
        '{"recv_ns":"1"}',
    ],
    "nothing": [
        "1",
        "{}",
        "[1]",
        "null",
        '{"type":"trade","sid":1}',
        '{"kalshi_feed_recording":{"format":"x"}}',
        "\udcff",
    ],
}


@pytest.mark.parametrize("shape", [*SHAPES, *LINES])
def test_R34_lines_of_another_shape_are_skipped_and_reported(tmp_path: Path, shape: str) -> None:
    lines = lines_of("eventful.ndjson")
    with played(CORPUS / "eventful.ndjson") as (feed, heard):
        expected = (heard.messages, {name: book.view().to_dict() for name, book in feed.books.items()})
    ns = msgspec.json.decode(lines[12])["recv_ns"]
    for line in LINES.get(shape) or [f'{{"recv_ns":{ns},{rest}}}' for rest in SHAPES[shape]]:
        path = written(
            tmp_path / "wrong.ndjson", [*lines[:13], line.encode(errors="surrogateescape"), *lines[13:]]
        )
        with played(path) as (feed, heard):
            assert troubles(heard) == [f"1 line of {path} cannot be read and was skipped"], line
            assert (
                heard.messages,
                {name: book.view().to_dict() for name, book in feed.books.items()},
            ) == expected


def test_R34_times_that_are_out_of_order(tmp_path: Path) -> None:
    lines = lines_of("eventful.ndjson")
    with played(CORPUS / "eventful.ndjson") as (feed, heard):
        expected = (heard.messages, heard.gaps, feed.stats().messages)
    places = [number for number, line in enumerate(lines) if b'"event"' in line]
    for place in (1, places[3], places[len(places) // 2], len(lines) - 1):
        _, _, tail = lines[place].partition(b",")
        for time_ in (b"0", b"1", b"2796010285000000000", b"9223372036854775807"):
            wrong = b'{"recv_ns":' + time_ + b"," + tail if tail else b'{"recv_ns":' + time_ + b"}"
            path = written(tmp_path / "wrong.ndjson", [*lines[:place], wrong, *lines[place + 1 :]])
            with played(path) as (feed, heard):
                assert (heard.messages, heard.gaps, feed.stats().messages) == expected, (place, time_)
                assert place in (1, len(lines) - 1) or any(
                    "had a wrong time, and got that of the line before" in text for text in troubles(heard)
                )


def test_R34_a_checkpoint_with_wrong_parts(tmp_path: Path) -> None:
    lines = lines_of("rotated.0002.ndjson")
    wrong = lines[2].replace(b'["0.4000"', b'["4.4000"')
    assert wrong != lines[2]
    with played(written(tmp_path / "wrong.ndjson", [*lines[:2], wrong, *lines[3:]])) as (feed, heard):
        first, second = troubles(heard)
        assert "the book of 'KXTEST-26-A'" in first and second == "1 books of a checkpoint are missing"
        assert [name for name, book in feed.books.items() if book.is_live] == ["KXTEST-26-B"]


def test_C14_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "bom.ndjson"
    marked = b"\xef\xbb\xbf" + (CORPUS / "cents.ndjson").read_bytes()
    for data in (marked, gzip.compress(marked)):
        path.write_bytes(data)
        with played(path) as (_, heard):
            assert troubles(heard) == [] and len(heard.messages) == 3
    frames = [line for line in lines_of("cents.ndjson") if b'"event"' in line]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(frames) + b"\n")
    with played(path) as (_, heard):
        assert troubles(heard) == [] and len(heard.messages) == 3


@pytest.mark.parametrize("number", [0, -1, "1", None, True, 1.5])
def test_headers_without_a_known_format(tmp_path: Path, number: Any) -> None:
    path = written(
        tmp_path / "odd.ndjson", [json.dumps({"kalshi_feed_recording": {"format": number}}).encode()]
    )
    with pytest.raises(ConfigurationError, match=r"the header of .* cannot be read: its format is"):
        read_header(path)


# -- any damage ----------------------------------------------------------------------------------------------


@cache
def base_lines() -> list[bytes]:
    """Every kind of line there is: two recordings, and a checkpoint with everything in it."""
    memory = SessionMemory()
    full_session().save(memory)
    checkpoint = msgspec.json.decode(lines_of("rotated.0002.ndjson")[1])
    checkpoint["session"].update(msgspec.to_builtins(memory))
    extra = [
        {"recv_ns": checkpoint["recv_ns"], "text": "no json"},
        {"recv_ns": checkpoint["recv_ns"], "reading": {"is_behind": True, "arriving_since": 5.5, "binaries": 1}},  # noqa: E501
        *({"recv_ns": checkpoint["recv_ns"], "wish": wish} for wish in (
            {"do": "add_markets", "number": 1, "words": ["M"]}, {"do": "ask", "words": ["indexlist", "cfbenchmarks_value"]},  # noqa: E501
            {"do": "list_subscriptions"}, {"do": "request_snapshots", "words": ["KXTEST-26-A"]}, {"do": "reopen_books"},  # noqa: E501
        )),
    ]  # fmt: skip
    full = [msgspec.json.encode(line) for line in (checkpoint, *extra)]
    rotated = lines_of("rotated.0002.ndjson")
    return [
        *lines_of("eventful.ndjson"),
        rotated[0],
        full[0],
        *rotated[2:4],
        *full[1:],
        *rotated[4:],
        *rotated[:2],
    ]


NUMBERS = [-1, 0, 1, 2**31, 2**63 - 1, 2**63, 2**70, -(2**63), 1.5, 1e300, -1e300]
DEEP = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
JUNK = st.sampled_from([None, True, False, *NUMBERS, "", "x", "\0", "💥", "9" * 50, [], {}]) | DEEP


def places_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the places in a JSON value where something could be put."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places_of(one, (*path, key)))]


@st.composite
def damaged(draw: st.DrawFn) -> list[bytes]:
    """Return the lines, some of them damaged."""
    lines = list(base_lines())
    for _ in range(draw(st.integers(1, 4))):
        number = draw(st.integers(0, len(lines) - 1))
        how = draw(
            st.sampled_from(["put", "put", "put", "put", "delete", "cut", "bytes", "again", "swap", "gone"])
        )
        line = lines[number]
        if how in ("put", "delete"):
            try:
                value = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue
            place = draw(st.sampled_from(places_of(value)))
            if not place:
                value = draw(JUNK)
            else:
                inner = value
                for key in place[:-1]:
                    inner = inner[key]
                if how == "put":
                    inner[place[-1]] = draw(JUNK)
                else:
                    del inner[place[-1]]
            lines[number] = json.dumps(value).encode()
        elif how == "cut":
            lines[number] = line[: draw(st.integers(0, len(line)))]
        elif how == "bytes" and line:
            at = draw(st.integers(0, len(line) - 1))
            lines[number] = line[:at] + draw(st.binary(min_size=1, max_size=4)) + line[at + 1 :]
        elif how == "again":
            lines.insert(draw(st.integers(0, len(lines))), line)
        elif how == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[number], lines[other] = lines[other], line
        else:
            del lines[number]
    return lines


class Complaints(logging.Handler):
    """Return what was logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


@effort(100)
@given(damaged())
def test_R34_any_damage_is_survived(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = written(tmp_path_factory.mktemp("damaged") / "damaged.ndjson", lines)
    complaints = Complaints()
    logging.getLogger("kalshi_feed").addHandler(complaints)
    try:
        try:
            for _ in StepEngine(path, gaps="strict", timing=Timing()).steps():
                pass
            for _ in Converter(path, "csv", path.parent / "tables").steps():
                pass
            with played(path):
                pass
        except ConfigurationError as error:
            assert str(path) in str(error)  # its first line is not a header any more
    finally:
        logging.getLogger("kalshi_feed").removeHandler(complaints)
    assert complaints.found == []


KEYS = st.sampled_from(["recv_ms", "recv_ns", "event", "sid", "seq", "msg", "type", "line"])


@effort(40)
@given(st.lists(st.tuples(st.integers(0, 200), JUNK, KEYS), min_size=1, max_size=5))
def test_R34_damaged_captures_of_other_programs(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, Any, str]]
) -> None:
    lines = [msgspec.json.decode(text) for text in lines_of("eventful.ndjson")]
    values: list[Any] = [
        {"recv_ms": line["recv_ns"] / 1e6, "event": line["event"]} for line in lines if "event" in line
    ]
    for number, junk, key in damage:
        value = values[number % len(values)]
        if key == "line":
            values[number % len(values)] = junk
        elif isinstance(value, dict):
            inner = value.get("event")
            (inner if isinstance(inner, dict) and key in ("sid", "seq", "msg", "type") else value)[key] = junk
    path = written(
        tmp_path_factory.mktemp("damaged") / "damaged.ndjson",
        [json.dumps(value).encode() for value in values],
    )
    try:
        for _ in Converter(path, "csv", path.parent / "tables").steps():
            pass
        with played(path, gaps="ignore") as (_, heard):
            assert isinstance(heard, Heard)
    except ConfigurationError as error:
        assert str(path) in str(error)


def test_intact_recordings_cause_no_reports() -> None:
    for name in EXPECTED:
        paths = files_of(name)
        headers = [header for path in paths if (header := read_header(path)) is not None]
        assert not [record for _, record in Source(paths, headers).records() if isinstance(record, Trouble)]
