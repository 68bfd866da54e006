"""S39 on the command line: markets that the exchange does not know."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from kalshi_feed.books.book import Book
from kalshi_feed.cli.layout import layout_for
from kalshi_feed.cli.model import Screen, ladder_of
from kalshi_feed.cli.render import draw, plain_line

from .support import Access, kalshi_feed

pytestmark = pytest.mark.slow

WORDS = "the exchange does not know the market KX-NOBODY: write the market's whole ticker"


@pytest.mark.parametrize("options", [(), ("--plain",), ("--json",)])
def test_S39_watch_ends_when_all_are_unknown(access: Access, options: tuple[str, ...]) -> None:
    result = kalshi_feed(
        "watch", "KX-NOBODY", "kx-a", "--seconds", "30", *options, *access.options, **access.environ
    )
    assert result.returncode == 1
    assert WORDS in result.stderr and "write it in uppercase: KX-A" in result.stderr
    assert "LIVE" not in result.stdout


@pytest.mark.parametrize("options", [(), ("--plain",), ("--json",)])
def test_S39_watch_warns_of_some(access: Access, options: tuple[str, ...]) -> None:
    result = kalshi_feed(
        "watch", "KX-NOBODY", "KX-A", "--seconds", "1.5", *options, *access.options, **access.environ
    )
    assert result.returncode == 0 and result.stderr.count(f"warning: {WORDS}") == 1
    assert "UNKNOWN" in result.stdout and "LIVE" in result.stdout


def test_S39_record_ends_when_all_are_unknown(access: Access, tmp_path: Path) -> None:
    path = tmp_path / "none.ndjson"
    result = kalshi_feed(
        "record", "KX-NOBODY", "-o", str(path), "--seconds", "30", *access.options, **access.environ
    )
    assert result.returncode == 1 and WORDS in result.stderr and result.stdout == ""
    assert not path.exists()  # or the next attempt would end with "already exists"
    store = ("--to", f"sqlite:///{tmp_path / 'none.db'}")
    result = kalshi_feed("record", "KX-NOBODY", *store, "--seconds", "30", *access.options, **access.environ)
    assert result.returncode == 1 and WORDS in result.stderr and result.stdout == ""


def test_S39_record_warns_of_some_and_says_so_in_the_summary(access: Access, tmp_path: Path) -> None:
    path = tmp_path / "one.ndjson"
    result = kalshi_feed(
        "record",
        "KX-NOBODY",
        "KX-A",
        "-o",
        str(path),
        "--seconds",
        "1",
        "--json",
        *access.options,
        **access.environ,
    )
    assert result.returncode == 0 and result.stderr.count(f"warning: {WORDS}") == 1
    assert json.loads(result.stdout)["unknown_markets"] == ["KX-NOBODY"]
    replayed = kalshi_feed("replay", str(path), "--json")
    assert json.loads(replayed.stdout.splitlines()[-1])["books"]["KX-NOBODY"] == "UNKNOWN yes - / -"
    file = tmp_path / "one.db"
    to = ("--to", f"sqlite:///{file}")
    result = kalshi_feed(
        "record", "KX-A", "KX-NOBODY", *to, "--seconds", "1", *access.options, **access.environ
    )
    assert result.returncode == 0 and "unknown market: KX-NOBODY" in result.stdout.splitlines()
    with sqlite3.connect(file) as connection:
        assert connection.execute("select count(*) from snapshots").fetchone()[0] >= 1
    connection.close()


def test_S39_channels_without_books_know_nothing(access: Access, tmp_path: Path) -> None:
    options = ("--channel", "trade", "--seconds", "1", "--plain")
    result = kalshi_feed("watch", "KX-NOBODY", *options, *access.options, **access.environ)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("width", [24, 80, 200])
def test_S39_the_screen_says_what_may_be_wrong(width: int) -> None:
    book = Book("kxa")
    book.empty(1, 0, 1.0)
    screen = Screen("feed", "CONNECTED", 1.0, ladder_of(book.view(1.0, 1.0), 5), markets=1)
    text = "\n".join(line.plain for line in draw(screen, layout_for(width, 24, 1)))
    assert "UNKNOWN" in text and "no one sells" not in text
    if width >= 80:
        assert "the exchange does not know this market" in text and "write it in uppercase: KXA" in text
    assert "kxa UNKNOWN yes - / -" in plain_line(screen, 0, 1.0)
