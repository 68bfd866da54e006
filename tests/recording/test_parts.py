"""A recording in several parts: which of them are played, and what a kill leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kalshi_feed import ConfigurationError, FeedState, KalshiFeed
from kalshi_feed.recording.tables import Converter
from kalshi_feed.simulator import Exchange
from tests.cli.support import environment
from tests.feed.support import A, B, FeedMaker, sides, wait_equal
from tests.recording.support import CORPUS, EXPECTED, Heard, played, troubles
from tests.support import wait_until

PARTS = EXPECTED["rotated.ndjson"]["parts"]


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """A recording in three parts, in order."""
    return [Path(shutil.copy(CORPUS / name, tmp_path / name)) for name in PARTS]


def seqs(path: Any, **options: Any) -> tuple[list[int], list[str]]:
    """Return the seqs of the book messages, and the reports about the recording."""
    with played(path, **options) as (_, heard):
        assert heard.gaps == []
        return [message.seq for message in heard.messages if message.type.startswith("orderbook")], troubles(
            heard
        )


def test_R38_the_first_file_plays_all_parts(parts: list[Path]) -> None:
    everything, reported = seqs(parts)
    assert reported == [] and everything == list(range(1, everything[-1] + 1))
    assert seqs(parts[0]) == seqs(str(parts[0])) == (everything, [])
    alone = [seqs([path])[0] for path in parts]
    assert all(alone) and alone[0] + alone[1] + alone[2] == everything, "a list plays what it lists"
    assert [seqs(path)[0] for path in parts[1:]] == alone[1:], "a numbered part plays alone"
    assert seqs([parts[1], parts[2]]) == (alone[1] + alone[2], [])


def test_R38_a_part_that_is_missing_is_reported(parts: list[Path]) -> None:
    parts[1].unlink()
    (text,) = seqs(parts[0])[1]
    assert "is part 3 of its recording, but follows part 1" in text


def test_R38_files_of_other_recordings_are_not_taken_for_parts(parts: list[Path]) -> None:
    first = seqs([parts[0]])[0]
    shutil.copy(CORPUS / "eventful.ndjson", parts[1])
    parts[2].write_text("name,price\n")
    found, reported = seqs(parts[0])
    assert found == first and len(reported) == 1 and f"{str(parts[2])!r} is not a recording" in reported[0]
    parts[2].unlink()
    assert seqs(parts[0]) == (first, [])


def test_R38_convert_takes_all_parts(parts: list[Path], tmp_path: Path) -> None:
    converter = Converter(parts[0], "csv", tmp_path / "tables")
    assert list(converter.steps()) is not None
    assert converter.trouble == [] and converter.rows["deltas"] == len(seqs(parts)[0]) - 2
    assert converter.paths[0].name == "rotated.deltas.csv"


def bounds(path: Path) -> tuple[datetime, datetime]:
    """Return the first and the last time in a recording."""
    times = [
        line["recv_ns"]
        for text in path.read_bytes().splitlines()
        if "recv_ns" in (line := msgspec.json.decode(text))
    ]
    begins, ends = (
        datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=ns // 1000)
        for ns in (times[0], times[-1])
    )
    return begins, ends


def test_R38_at_must_lie_within_the_recording() -> None:
    path = CORPUS / "eventful.ndjson"
    begins, ends = bounds(path)
    for at in (begins - timedelta(microseconds=1), begins - timedelta(days=400)):
        with pytest.raises(ConfigurationError, match="is before the beginning of the recording, 20"):
            KalshiFeed.replay(path, at=at)
    for at in (begins, ends, 0.0, (ends - begins).total_seconds() - 1e-5):
        with played(path, at=at):
            pass
    for late in (ends + timedelta(seconds=1), ends + timedelta(days=400), 1e6):
        feed = KalshiFeed.replay(path, at=late)
        heard = Heard(feed)
        with pytest.raises(ConfigurationError, match="is after the end of the recording, 20"):
            feed.run_forever()
        assert feed.state is FeedState.FAILED and heard.messages == []
        feed.close()


# -- kills ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [b"", b'{"kalshi_feed_reco', b'{"kalshi_feed_recording":{"format":1,"ver'])
def test_R31_an_empty_part_is_reported(parts: list[Path], tmp_path: Path, left: bytes) -> None:
    everything = seqs(parts)[0]
    empty = tmp_path / "rotated.0004.ndjson"
    empty.write_bytes(left)
    for paths in (parts[0], [*parts, empty], [empty, *parts]):
        found, (text,) = seqs(paths)
        assert (
            found == everything
            and f"the recording {str(empty)!r} is empty" in text
            and text.endswith("; skipping it")
        )
    with pytest.raises(ConfigurationError, match="is empty"):
        KalshiFeed.replay(empty)
    with pytest.raises(ConfigurationError, match="is empty"):
        KalshiFeed.replay([empty, empty])


def test_R31_a_part_cut_off_anywhere_still_replays(parts: list[Path]) -> None:
    last = parts[2].read_bytes()
    before = seqs(parts[:2])[0]
    for size in range(0, len(last), 37):
        parts[2].write_bytes(last[:size])
        found, reported = seqs(parts)
        assert found[: len(before)] == before and len(reported) <= 1, (size, reported)
        assert reported or last[size - 1 : size + 1].count(b"\n"), f"silent at {size}"


ROTATING = """
import sys, time
from kalshi_feed import KalshiFeed
from kalshi_feed.simulator import Exchange
with Exchange(markets=2, rate=300, seed=2) as exchange:
    feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
    recording = feed.record(sys.argv[1], rotate_bytes=2_000)
    with feed:
        feed.subscribe(["orderbook_delta"], exchange.market_tickers)
        while len(recording.paths) < 3: time.sleep(0.01)
        print("rotating", flush=True)
        time.sleep(30)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".ndjson", ".ndjson.gz"])
def test_R31_kill_9_while_rotating(tmp_path: Path, suffix: str) -> None:
    for number in range(4):
        path = tmp_path / str(number) / f"killed{suffix}"
        path.parent.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", ROTATING, str(path)], env=environment(), stdout=subprocess.PIPE
        )
        with process:
            try:
                assert process.stdout is not None and process.stdout.readline() == b"rotating\n"
                time.sleep(number * 0.037)  # the moment of the kill is all that the test chooses
            finally:
                process.send_signal(signal.SIGKILL)
        assert len(os.listdir(path.parent)) >= 3
        with played(path) as (feed, heard):
            assert (
                heard.gaps == []
                and all(book.is_live for book in feed.books.values())
                and len(heard.messages) > 10
            )
            assert all("as far as it goes" in text or "is empty" in text for text in troubles(heard))


# -- a gap across two parts ----------------------------------------------------------------------------------


def test_S40_a_late_frame_of_a_gap_in_the_part_before(
    exchange: Exchange, make_feed: FeedMaker, tmp_path: Path
) -> None:
    feed = make_feed()
    live = Heard(feed)
    with feed:
        feed.subscribe(["orderbook_delta"], [A, B]).wait(5)
        wait_equal(feed, exchange, A, B)
        recording = feed.record(tmp_path / "late.ndjson", rotate_seconds=0.3)
        lost = {
            "type": "orderbook_delta",
            "sid": 1,
            "seq": max(book.seq or 0 for book in feed.books.values()) + 1,
        }
        exchange.lose(1)
        exchange.change(A, "yes", "0.30", 1)
        exchange.change(B, "yes", "0.11", 1)
        wait_until(lambda: feed.stats().resyncs, what="the repair")
        wait_equal(feed, exchange, A, B)
        count = len(recording.paths)
        wait_until(lambda: len(recording.paths) > count + 1, what="a part that begins behind the gap")
        body = {"market_ticker": A, "side": "yes", "price_dollars": "0.3000", "delta_fp": "7.00"}
        exchange.send_raw(msgspec.json.encode({**lost, "msg": body}))
        wait_until(lambda: feed.stats().ignored.get("late"), what="the late frame")
        exchange.change(A, "yes", "0.30", 1)
        wait_equal(feed, exchange, A, B)
        books = {ticker: sides(feed.book(ticker)) for ticker in (A, B)}
        recording.close()
    assert len(live.gaps) == 1
    (holder,) = [
        number for number, path in enumerate(recording.paths) if b'"delta_fp":"7.00"' in path.read_bytes()
    ]
    assert holder > count
    with played(recording.paths[holder:]) as (again, heard):
        assert heard.gaps == [] and heard.faults == [] and again.stats().ignored["late"] == 1
        assert {ticker: sides(again.book(ticker)) for ticker in (A, B)} == books
        assert all(book.is_live for book in again.books.values())


# -- clocks between two parts --------------------------------------------------------------------------------


def moved(path: Path, seconds: int, recording: str = "") -> None:
    """Move a part in time: the wall clock was set before it, or it is of another ``recording``."""
    ns = seconds * 1_000_000_000
    lines = [msgspec.json.decode(text) for text in path.read_bytes().splitlines()]
    header = lines[0]["kalshi_feed_recording"]
    header["clock_offset_ns"] += ns
    header["recording"] = recording or header["recording"]
    for line in lines:
        if "recv_ns" in line:
            line["recv_ns"] += ns
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


@pytest.mark.parametrize("seconds", [7 * 3600, -7 * 3600])
def test_R38_a_clock_that_was_set_between_two_parts_is_not_waited_out(
    parts: list[Path], seconds: int
) -> None:
    everything, _ = seqs(parts[0])
    lasted = (bounds(parts[2])[1] - bounds(parts[0])[0]).total_seconds()
    for part in parts[1:]:
        moved(part, seconds)
    begins = time.monotonic()
    assert seqs(parts[0], speed=2.0) == (everything, [])
    assert lasted / 2 - 0.01 <= time.monotonic() - begins < lasted / 2 + 10


def test_R38_hours_between_two_recordings_are_not_waited_out(parts: list[Path]) -> None:
    alone = [seqs([part])[0] for part in parts]
    moved(parts[1], 7 * 3600, "another")
    moved(parts[2], 14 * 3600, "a third")
    begins = time.monotonic()
    assert seqs(parts, speed=50.0)[0] == alone[0] + alone[1] + alone[2]
    assert time.monotonic() - begins < 10
