"""kalshi-feed record, replay and convert, as processes; and what each says when it cannot."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kalshi_feed.cli.commands import group
from kalshi_feed.cli.recordings import lines_of
from tests.support import wait_until

from .support import Access, kalshi_feed, start

pytestmark = pytest.mark.slow


def summary_of(*arguments: str) -> dict[str, Any]:
    """The last object of what `kalshi-feed replay --json` prints."""
    result = kalshi_feed("replay", *arguments, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    summary: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert summary.pop("type") == "feed_summary"
    return summary


@pytest.fixture(scope="module")
def recorded(access: Access, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "two.ndjson.gz"
    result = kalshi_feed(
        "record",
        "KX-A",
        "KX-B",
        "-o",
        str(path),
        "--seconds",
        "1.5",
        "--json",
        *access.options,
        **access.environ,
    )
    assert (result.returncode, result.stderr) == (0, "")
    said = json.loads(result.stdout)
    assert said["files"] == [str(path)] and said["missed"] == said["gaps"] == said["reconnects"] == 0
    assert said["messages"] > 100 and said["bytes"] == path.stat().st_size and said["seconds"] >= 1.5
    return path


def test_record_replay_convert(recorded: Path, tmp_path: Path) -> None:
    said = summary_of(str(recorded))
    assert said["by_type"]["orderbook_snapshot"] == 2 and said["books"].keys() == {"KX-A", "KX-B"}
    assert (
        all(text.startswith("LIVE yes 0.") for text in said["books"].values())
        and said["messages_per_second"] > 0
    )
    again = summary_of(str(recorded))
    timing = ("seconds", "messages_per_second")
    assert {k: v for k, v in again.items() if k not in timing} == {
        k: v for k, v in said.items() if k not in timing
    }

    converted = kalshi_feed("convert", str(recorded), "--to", "csv", "-o", str(tmp_path), "--json")
    assert (converted.returncode, converted.stderr) == (0, "")
    rows = json.loads(converted.stdout)["rows"]
    with (tmp_path / "two.deltas.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == rows["deltas"] + 1 == said["by_type"]["orderbook_delta"] + 1
    assert sorted(os.listdir(tmp_path)) == ["two.deltas.csv", "two.top.csv", "two.trades.csv"]


def test_replay_json_streams_what_watch_json_does(recorded: Path) -> None:
    result = kalshi_feed("replay", str(recorded), "--json")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert (records[0]["type"], records[0]["state"]) == ("feed_state", "CONNECTING")
    assert records[-2]["reason"] == "the recording has ended" and records[-1]["type"] == "feed_summary"
    deltas = [record for record in records if record["type"] == "orderbook_delta"]
    assert len(deltas) == records[-1]["by_type"]["orderbook_delta"] > 50
    last = next(record for record in reversed(deltas) if record["market_ticker"] == "KX-A")
    price, size = last["book"]["yes_bid"]  # of that moment: the last one's is the final book's
    assert records[-1]["books"]["KX-A"].startswith(f"LIVE yes {price} × {float(size):,.2f} / ")
    assert len({json.dumps(delta["book"]) for delta in deltas}) > 10


def test_for_people(recorded: Path, tmp_path: Path) -> None:
    result = kalshi_feed("replay", str(recorded))
    lines = result.stdout.splitlines()
    assert (
        lines[0].startswith("messages: ")
        and lines[-1].startswith("KX-B LIVE yes 0.")
        and "by type: " in result.stdout
    )
    result = kalshi_feed("convert", str(recorded), "--to", "parquet", "-o", str(tmp_path))
    assert f"file: {tmp_path / 'two.top.parquet'}" in result.stdout.splitlines()
    result = kalshi_feed("replay", str(recorded), "--plain", "--at", "+1")
    lines = result.stdout.splitlines()
    assert sum(" delta " in line for line in lines) > 10 and lines[-1].endswith(
        "CLOSED: the recording has ended"
    )
    assert not any("snapshot" in line for line in lines)  # they came before that moment


def test_a_cut_off_file_is_reported(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.ndjson.gz"
    path.write_bytes(recorded.read_bytes()[:-30])
    result = kalshi_feed("replay", str(path))
    assert (
        result.returncode == 0
        and result.stderr.startswith(f"{path} was read as far as it goes")
        and "messages: " in result.stdout
    )
    result = kalshi_feed("convert", str(path), "--to", "csv", "-o", str(tmp_path))
    assert f"trouble: {path} was read as far as it goes" in result.stdout


def test_parts_and_ctrl_c(access: Access, tmp_path: Path) -> None:
    path = tmp_path / "parts.ndjson"
    with start(
        "record", "KX-A", "-o", str(path), "--rotate-mb", "0.02", *access.options, **access.environ
    ) as process:
        wait_until(lambda: len(os.listdir(tmp_path)) >= 3, 20, "three parts")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    files = [line.removeprefix("file: ") for line in out.splitlines() if line.startswith("file: ")]
    assert (
        files[:2] == [str(path), str(tmp_path / "parts.0002.ndjson")]
        and "missed: 0" in out
        and "size: " in out
    )
    said = summary_of(*files)
    assert f"messages: {said['messages']:,}" in out.splitlines() and said["gaps"] == 0


WRONG: dict[str, tuple[list[str], str]] = {
    "exists": (
        ["record", "KX-A", "-o", "THERE"],
        "already exists and will not be overwritten: choose another name or move it",
    ),
    "suffix": (["record", "KX-A", "-o", "a.json"], "must end in .ndjson, .ndjson.gz or .ndjson.zst"),
    "channel": (["record", "KX-A", "-o", "a.ndjson", "--channel", "book"], "unknown channel 'book'"),
    "no file": (["replay", "nowhere.ndjson"], "the recording 'nowhere.ndjson' does not exist"),
    "no recording": (
        ["replay", "README.md"],
        "'README.md' is not a recording: its first line is '# kalshi_feed'",
    ),
    "speed": (
        ["replay", "THERE", "--speed", "fast"],
        "Invalid value for '--speed': 'fast' is neither a positive number nor 'max'",
    ),
    "no speed": (["replay", "THERE", "--speed", "-1"], "'-1' is neither a positive number nor 'max'"),
    "wait is for programs": (["replay", "THERE", "--speed", "wait"], "'wait' is neither a positive number"),
    "speed nan": (["replay", "THERE", "--speed", "nan"], "'nan' is neither a positive number nor 'max'"),
    "at the end": (["replay", "THERE", "--at", "+1000"], "Error: --at is after the end of the recording"),
    "at": (
        ["replay", "THERE", "--at", "noon"],
        "Invalid value for '--at': 'noon' is not a time: write 2026-08-05T03:45:00 (UTC)",
    ),
    "until": (["replay", "THERE", "--until", "+inf"], "Invalid value for '--until': '+inf' is not a time"),
    "until the beginning": (
        ["replay", "THERE", "--at", "+1", "--until", "+1"],
        "Error: --until must be later than the beginning of the replay",
    ),
    "convert no file": (["convert", "nowhere.ndjson", "--to", "csv"], "does not exist"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_one_message(access: Access, recorded: Path, case: str) -> None:
    words, text = WRONG[case]
    words = [str(recorded) if word == "THERE" else word for word in words]
    if words[0] == "record":
        words += access.options
    result = CliRunner().invoke(
        group, words, env={"KALSHI_ENV": "", "KALSHI_PRIVATE_KEY": "", **access.environ}
    )
    assert result.exit_code == 2 and text in result.output, result.output
    assert isinstance(result.exception, SystemExit)


def test_a_full_disk(recorded: Path) -> None:
    result = CliRunner().invoke(group, ["convert", str(recorded), "--to", "csv", "-o", "/dev/null/x"])
    assert result.exit_code == 2 and "the tables cannot be created: " in result.output


def test_summaries() -> None:
    books = {f"KX-{n}": "LIVE yes - / -" for n in range(23)}
    text = lines_of(
        {"messages": 1234567, "bytes": 4_200_000_000, "faults": {}, "books": books, "trouble": ["cut"]}
    )
    assert text[:2] == ["messages: 1,234,567", "size: 4.20 GB"] and text[-2:] == [
        "… and 3 more books",
        "trouble: cut",
    ]
    books = {f"KX-{n}": "LIVE yes - / -" for n in range(21)}
    assert lines_of({"books": books})[-1] == "… and 1 more book"
    assert [lines_of({"bytes": size}) for size in (999, 1500)] == [["size: 999 B"], ["size: 1.5 kB"]]
