"""Writing: every frame byte for byte, in parts, to slow and full disks."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import kalshi_feed
from kalshi_feed import ConfigurationError, FeedState, KalshiFeed
from kalshi_feed.engine.tap import QUIET, Reading
from kalshi_feed.recording import files, writing
from kalshi_feed.recording import queue as queue
from kalshi_feed.recording.files import RecordingFile
from kalshi_feed.recording.lines import encode_line, encode_turn
from kalshi_feed.recording.reading import Source, Turn, read_header
from kalshi_feed.simulator import Exchange
from tests.cli.support import environment
from tests.feed.support import A, B, FeedMaker, own_threads, sides, wait_equal
from tests.recording.support import Heard, books_of, lines_of, played, text_of, troubles
from tests.support import wait_until


def without_version(books: dict[str, Any]) -> dict[str, Any]:
    """A version counts changes that were seen, so it is left out."""
    return {ticker: (status, seq, levels) for ticker, (status, _, seq, levels) in books.items()}


# -- the format ----------------------------------------------------------------------------------------------


@pytest.mark.greenlets
def test_header_and_frames(exchange: Exchange, make_feed: FeedMaker, tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson.gz"
    feed = make_feed(use_yes_price=False)
    feed.subscribe(["trade", "orderbook_delta"], [A])
    before = time.time_ns()
    with feed.record(path) as recording, feed:
        feed.wait_for_book(A, timeout=5)
        wait_until(lambda: recording.messages >= 3, what="three messages")
    header, *rest = lines_of(path)
    said = header["kalshi_feed_recording"]
    assert said["version"] == kalshi_feed.__version__ and said["url"] == exchange.url and said["format"] == 1
    assert said["channels"] == ["orderbook_delta", "trade"] and said["use_yes_price"] is False
    assert said["created"].startswith("20") and said["created"].endswith("+00:00")
    frames = [line for line in rest if "event" in line]
    assert [frame["event"]["type"] for frame in frames].count("subscribed") == 2
    assert all(before < frame["recv_ns"] < time.time_ns() for frame in frames)
    assert [json.loads(json.dumps(command))["cmd"] for line in rest for command in line.get("sent", ())] == [
        "subscribe"
    ] * 2
    assert rest[-1]["end"] is True
    assert recording.file_bytes == path.stat().st_size and recording.text_bytes > recording.file_bytes
    assert repr(recording) == f"<Recording {str(path)!r} {recording.messages} messages, ended>"


ODD = [
    b'{"type":"a","x":"\xc3\xa9"}',
    b'{ "type" : "b" }',
    b'{"type":\n"c"}',
    b'{"type":"d"} ',
    b"[1]",
    b"no json \x00 at all",
    b'{"half": ',
    b'{"x":[{}',
    b"{}]}",
    b"{},{}",
    b'""',
    b"",
    b'{"type":\r"e"}',
]


@pytest.mark.parametrize("together", [True, False])
def test_frames_come_back_byte_for_byte(tmp_path: Path, together: bool) -> None:
    """Even those that would break a line, or are not JSON, alone and among others."""
    from kalshi_feed.recording.lines import HeaderLine, Line

    path = tmp_path / "odd.ndjson"
    turns = [ODD, [], [b'{"x":[{}', b"{}]}", b"{},{}"]] if together else [[payload] for payload in ODD]
    header = encode_line(Line(kalshi_feed_recording=HeaderLine(format=1)))
    readings = [[QUIET, Reading(True), Reading(False, 1234.5, 2)][n % 3] for n in range(len(turns))]
    path.write_bytes(
        header + b"".join(encode_turn(1000 + n, turn, readings[n]) for n, turn in enumerate(turns))
    )
    found = read_header(path)
    assert found is not None
    records = [record for _, record in Source([path], [found]).records()]
    assert [record.reading for record in records if isinstance(record, Turn)] == readings
    assert [record.payloads for record in records if isinstance(record, Turn)] == turns
    assert [record.ns for record in records if isinstance(record, Turn)] == [
        1000 + n for n in range(len(turns))
    ]


# -- disks ---------------------------------------------------------------------------------------------------

FULL_DISK = """
import json, os, resource, sys, time
from kalshi_feed import KalshiFeed
from kalshi_feed.simulator import Exchange
with Exchange(markets=3, rate=2000, seed=2) as exchange:
    feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
    faults = []
    feed.on_error(lambda fault: faults.append([fault.kind, fault.message]))
    with feed:
        recording = feed.record(sys.argv[1])
        feed.subscribe(["orderbook_delta", "trade"], exchange.market_tickers)
        for ticker in exchange.market_tickers:
            feed.wait_for_book(ticker, timeout=10)
        end = time.monotonic() + 20
        while os.path.getsize(sys.argv[1]) < 2000 and time.monotonic() < end: time.sleep(0.01)  # a part that can be read
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        while not recording.missed and time.monotonic() < end: time.sleep(0.01)
        failed = type(recording.error).__name__
        during = feed.stats().messages_total
        while feed.stats().messages_total < during + 1000 and time.monotonic() < end: time.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while recording.error and time.monotonic() < end: time.sleep(0.01)
        known = recording.messages
        while recording.messages < known + 500 and time.monotonic() < end: time.sleep(0.01)
        exchange.pause(); exchange.wait_until_sent(5); feed.list_subscriptions(5)
        recording.close()
        books = {t: feed.book(t).to_dict()["yes"] for t in feed.books}
        stats = feed.stats()
        print(json.dumps(dict(failed=failed, state=feed.state.value, missed=recording.missed, messages=recording.messages,
            faults=faults, paths=[str(p) for p in recording.paths], total=stats.messages_total, gaps=stats.gaps,
            reconnects=stats.reconnects, books=books)))
"""  # noqa: E501


def test_a_full_disk_is_reported_and_the_feed_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "full.ndjson.gz"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = json.loads(done.stdout)
    assert (
        said["failed"] == "OSError"
        and said["state"] == "CONNECTED"
        and (said["gaps"], said["reconnects"]) == (0, 0)
    )
    texts = [message for kind, message in said["faults"] if kind == "recording"]
    assert len(texts) == 2, texts  # once each, not at every attempt
    assert "cannot be written: File too large; retrying" in texts[0]
    assert f"the recording continues in {tmp_path / 'full.0002.ndjson.gz'}" in texts[1]
    assert said["paths"] == [str(path), str(tmp_path / "full.0002.ndjson.gz")]
    # no empty files of the attempts in between
    assert sorted(os.listdir(tmp_path)) == [
        "full.0002.ndjson.gz",
        "full.ndjson.gz",
    ]
    assert said["missed"] >= 1000
    with played([Path(name) for name in said["paths"]]) as (feed, heard):
        reported = troubles(heard)
        assert any("was read as far as it goes" in text for text in reported)
        assert f"{said['missed']} messages before this moment were not recorded" in reported
        assert {ticker: book.to_dict()["yes"] for ticker, book in feed.books.items()} == said["books"]
        assert all(book.is_live for book in feed.books.values()) and heard.gaps == []
        replayed = feed.stats().messages_total
        assert (
            said["messages"] + said["missed"] == said["total"]
            and said["messages"] <= replayed < said["total"]
        )


def test_a_folder_that_goes_away(
    exchange: Exchange, make_feed: FeedMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_FIRST_RETRY", 0.05)
    folder = tmp_path / "there"
    folder.mkdir()
    feed = make_feed()
    heard = Heard(feed)
    with feed:
        feed.wait_for_book(A, timeout=5)
        recording = feed.record(folder / "a.ndjson", rotate_seconds=0.2)
        wait_until(lambda: len(recording.paths) > 1, what="a second part")
        shutil.rmtree(folder)
        wait_until(lambda: recording.error, what="the error")
        exchange.change(A, "yes", "0.41", 1)
        exchange.change(A, "yes", "0.41", 1)
        wait_equal(feed, exchange, A)
        folder.mkdir()
        wait_until(lambda: recording.error is None, what="another part")
        exchange.change(A, "yes", "0.41", 1)
        wait_equal(feed, exchange, A)
        levels = sides(feed.book(A))
        recording.close()
    assert any("No such file or directory; retrying" in text for text in troubles(heard))
    assert recording.missed == 2
    with played(recording.paths[-1]) as (again, _):
        assert sides(again.book(A)) == levels


class FullDisk(io.FileIO):
    """A file on a disk without a free byte."""

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_empty_file_that_another_program_has_open(
    exchange: Exchange, make_feed: FeedMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where it cannot be removed: it stays, the recording goes on, and a replay reports it."""
    monkeypatch.setattr(writing, "_FIRST_RETRY", 0.05)
    monkeypatch.setattr(files, "_PATIENCE", 0.05)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Access is denied", str(path))

    feed = make_feed()
    with feed:
        feed.wait_for_book(A, timeout=5)
        recording = feed.record(tmp_path / "a.ndjson", rotate_bytes=2000)
        with monkeypatch.context() as windows:
            windows.setattr(Path, "unlink", refuse)
            windows.setattr(files, "open", lambda *args, **options: FullDisk(args[0], "xb"), raising=False)
            for _ in range(20):
                exchange.change(A, "yes", "0.41", 1)
            wait_until(lambda: recording.error, what="the error")
        wait_until(lambda: recording.error is None, what="another part")
        exchange.change(A, "yes", "0.41", 1)
        wait_equal(feed, exchange, A)
        levels = sides(feed.book(A))
        recording.close()
    empty = [path for path in recording.paths if not path.stat().st_size]
    assert empty and set(recording.paths) == set(tmp_path.iterdir())
    with played(recording.paths[0]) as (again, heard):
        assert sides(again.book(A)) == levels
        reported = troubles(heard)
    assert all(any(f"{str(path)!r} is empty" in text for text in reported) for path in empty)
    assert not any("missing" in text for text in reported)


def test_a_queue_at_its_bound(
    exchange: Exchange, make_feed: FeedMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "QUEUE_BYTES", 4_000)
    feed = make_feed()
    heard = Heard(feed)
    with feed:
        feed.wait_for_book(A, timeout=5)
        with feed.record(tmp_path / "a.ndjson") as recording:
            for _ in range(300):
                exchange.change(A, "yes", "0.41", 1)
            wait_until(lambda: recording.missed, what="a loss")
            wait_equal(feed, exchange, A)
            wait_until(
                lambda: any("could not be written fast enough" in text for text in troubles(heard)),
                what="the report",
            )
            count = 300
            while not recording.messages:  # it continues with the book as it is then
                exchange.change(A, "no", "0.41", 1)
                count += 1
                wait_until(lambda: recording.messages + recording.missed == count)  # noqa: B023
            wait_equal(feed, exchange, A)
            levels = sides(feed.book(A))
    assert feed.stats().gaps == 0 and recording.messages + recording.missed == count
    with played(recording.path) as (again, reheard):
        reported = [
            int(text.split()[0])
            for text in troubles(reheard)
            if "before this moment were not recorded" in text
        ]
        assert sum(reported) == recording.missed and len(reported) == len(troubles(reheard))
        assert sides(again.book(A)) == levels and reheard.gaps == []


@pytest.mark.parametrize("who", ["recording", "feed"])
def test_a_loss_at_the_very_end(
    who: str, exchange: Exchange, make_feed: FeedMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = make_feed()
    heard = Heard(feed)
    feed.start().wait_for_book(A, timeout=5)
    recording = feed.record(tmp_path / "a.ndjson")
    monkeypatch.setattr(queue, "QUEUE_BYTES", 0)
    exchange.change(A, "yes", "0.41", 1)
    wait_until(lambda: recording.missed)
    levels = sides(feed.book(A))
    (recording if who == "recording" else feed).close()
    if who == "recording":
        wait_until(lambda: any("1 messages were lost" in text for text in troubles(heard)))
    feed.close()
    with played(recording.path) as (again, reheard):
        assert troubles(reheard) == ["1 messages before this moment were not recorded"]
        assert again.book(A).is_live and sides(again.book(A)) == levels


# -- parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["bytes", "seconds"])
def test_parts(exchange: Exchange, make_feed: FeedMaker, tmp_path: Path, by: str) -> None:
    bound: dict[str, Any] = {"rotate_bytes": 4_000} if by == "bytes" else {"rotate_seconds": 0.3}
    feed = make_feed()
    live = Heard(feed)
    (tmp_path / "a.0003.ndjson").touch()  # another program's file, left alone
    recording = feed.record(tmp_path / "a.ndjson", **bound)
    ends = {}
    with feed:
        feed.subscribe(["orderbook_delta", "trade"], [A, B])
        for ticker in (A, B):
            feed.wait_for_book(ticker, timeout=5)
        for part in range(2, 5):
            while len(recording.paths) < part:
                exchange.change(A, "yes", "0.41", 1)
                exchange.change(B, "no", "0.70", 2)
                time.sleep(0.001)
            wait_equal(feed, exchange, A, B)
            ends[part] = part
        books = books_of(feed)
    names = [path.name for path in recording.paths]
    assert names[:4] == ["a.ndjson", "a.0002.ndjson", "a.0004.ndjson", "a.0005.ndjson"]
    headers = [read_header(path) for path in recording.paths]
    assert [header.part for header in headers if header] == list(range(1, len(names) + 1))
    assert len({header.recording for header in headers if header}) == 1
    with played(list(reversed(recording.paths))) as (again, heard):  # in any order
        assert heard.messages == live.messages and heard.events == live.events
        assert books_of(again) == books
    for path in recording.paths[1:]:
        with played(path) as (again, heard):
            assert heard.gaps == [] and heard.faults == []
            assert heard.messages == [m for m in live.messages if m in heard.messages]
    with played(recording.paths[-1]) as (again, heard):
        assert without_version(books_of(again)) == without_version(books)
    with played([recording.paths[0], recording.paths[-1]]) as (again, heard):  # some are missing
        assert without_version(books_of(again)) == without_version(books)


# -- the life of a recording ---------------------------------------------------------------------------------


def test_life(exchange: Exchange, make_feed: FeedMaker, tmp_path: Path) -> None:
    feed = make_feed()
    recording = feed.record(tmp_path / "a.ndjson")
    with pytest.raises(ConfigurationError, match="is already being recorded"):
        feed.record(tmp_path / "b.ndjson")
    assert not (tmp_path / "b.ndjson").exists() and recording.is_open and "ended" not in repr(recording)
    recording.close()
    recording.close()
    assert not recording.is_open and own_threads() == []
    with feed.record(tmp_path / "c.ndjson") as other:
        pass
    with played(other.path) as (again, heard):
        assert heard.messages == [] and again.books == {}
    last = feed.record(tmp_path / "d.ndjson")
    feed.start()
    feed.wait_for_book(A, timeout=5)
    closed: list[Any] = []
    feed.on_delta(
        lambda delta: closed.append(feed.close())
    )  # in a callback close() only asks, and the recording ends by itself
    exchange.change(A, "yes", "0.41", 1)
    wait_until(lambda: closed and not own_threads(), what="the threads' end")
    assert not last.is_open and last.messages >= 3 and feed.state is FeedState.CLOSED
    never = feed.record(tmp_path / "e.ndjson")
    feed.close()
    assert not never.is_open


def test_a_feed_that_is_dropped(exchange: Exchange, make_feed: FeedMaker, tmp_path: Path) -> None:
    """Its recording ends with it, whether it was started or not."""
    for started in (False, True):
        feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
        recording = feed.record(tmp_path / f"{started}.ndjson.gz")
        if started:
            feed.start()
            feed.wait_for_book(A, timeout=5)
        with pytest.warns(ResourceWarning, match="was dropped without close"):
            del feed
            gc.collect()
        wait_until(lambda: not recording.is_open, what="the recording's end")  # noqa: B023
        with played(recording.path) as (again, heard):
            assert troubles(heard) == [] and len(again.books) == started


def test_wrong_names(
    exchange: Exchange, make_feed: FeedMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = make_feed()
    (tmp_path / "there.ndjson").write_text("precious")
    for name, text in (
        ("a.json", "must end in .ndjson, .ndjson.gz or .ndjson.zst"),
        (".ndjson", "must end in .ndjson"),
        ("there.ndjson", "already exists and will not be overwritten"),
        ("no/such/folder.ndjson", "cannot be created: No such file or directory"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            feed.record(tmp_path / name)
    for bounds in (
        {"rotate_bytes": 0},
        {"rotate_seconds": -1},
        {"rotate_seconds": "day"},
        {"rotate_bytes": True},
    ):
        with pytest.raises(ConfigurationError, match="must be a positive number"):
            feed.record(tmp_path / "a.ndjson", **bounds)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ConfigurationError, match=r"install kalshi-feed\[zstd\]: pip install"):
        feed.record(tmp_path / "a.ndjson.zst")
    assert (tmp_path / "there.ndjson").read_text() == "precious" and os.listdir(tmp_path) == ["there.ndjson"]


def test_a_sink_that_is_closed_twice(tmp_path: Path) -> None:
    sink = RecordingFile(tmp_path / "a.ndjson.gz")
    sink.write(b"{}\n")
    sink.close()
    sink.abandon()
    assert text_of(sink.path) == b"{}\n"
