"""Captures of other programs, in every shape they have; and files that are not captures."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import BookStatus, ConfigurationError, FeedState, KalshiFeed
from tests.feed.support import A, B, sides
from tests.recording.support import capture, frames, played, troubles
from tests.session.driver import delta, error, ok, snapshot, subscribed, trade, unsubscribed

BOOK = "orderbook_delta"


def plain(lines: list[dict[str, Any]]) -> list[Any]:
    return list(lines)


def in_ms(lines: list[dict[str, Any]]) -> list[Any]:
    return [{"recv_ms": 1_000 + n, "event": line} for n, line in enumerate(lines)]


def in_ns(lines: list[dict[str, Any]]) -> list[Any]:
    return [
        {"recv_ns": 1_000 + n // 2, "event": line, "by": "another program"} for n, line in enumerate(lines)
    ]


@pytest.mark.parametrize("shape", [plain, in_ms, in_ns], ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "capture", "a.jsonl"])
def test_shapes(tmp_path: Path, shape: Callable[[list[dict[str, Any]]], list[Any]], name: str) -> None:
    with played(capture(tmp_path / name, ["", *shape([*frames(), trade(A, 2, 7)])])) as (feed, heard):
        assert [message.type for message in heard.messages] == ["orderbook_snapshot"] * 2 + [BOOK] * 3 + [
            "trade"
        ]
        assert (
            feed.books.keys() == {A, B} and feed.book(A).depth_at("yes", "0.4") == 8 and feed.book(A).is_live
        )
        assert heard.gaps == heard.faults == []
        assert {s.channels: s.market_tickers for s in feed.subscriptions} == {
            (BOOK,): (A, B),
            ("trade",): (A,),
        }
        assert dict(feed.list_subscriptions(1)) == {BOOK: 1, "trade": 2}


def test_gaps_strict_and_ignored(tmp_path: Path) -> None:
    path = capture(tmp_path / "a.ndjson", frames(seq=100, step=3))
    with played(path) as (feed, heard):  # each frame is missing two
        assert [gap.expected for gap in heard.gaps] == [101, 104, 107, 110]
        assert feed.book(A).status is BookStatus.STALE and feed.book(A).depth_at("yes", "0.4") == 5
    with played(path, gaps="ignore") as (feed, heard):
        assert heard.gaps == [] and feed.book(A).is_live and feed.book(A).depth_at("yes", "0.4") == 8


def test_gaps_ignored_still_skip_duplicates(tmp_path: Path) -> None:
    lines = frames(seq=100, step=3)
    with played(capture(tmp_path / "a.ndjson", [*lines, lines[-1], lines[-2]]), gaps="ignore") as (
        feed,
        heard,
    ):
        assert len(heard.messages) == 5 and feed.book(A).depth_at("yes", "0.4") == 8
        assert [gap.reason for gap in heard.gaps] == ["sequence went back"]


def test_a_stale_book_is_right_again_with_its_next_snapshot(tmp_path: Path) -> None:
    lines = [
        *frames(),
        delta(A, 1, 9, 100),
        snapshot(A, 1, 10, {"yes": {3000: 100}}),
        delta(A, 1, 11, 100, 3000),
    ]
    with played(capture(tmp_path / "a.ndjson", lines)) as (feed, heard):
        assert len(heard.gaps) == 1 and feed.book(B).status is BookStatus.STALE
        assert feed.book(A).is_live and feed.book(A).depth_at("yes", "0.3") == 2


CONVERSATION = [
    subscribed(1, BOOK, 1),
    subscribed(1, "trade", 2),
    *frames(),
    ok(2, 1, 6, [A, B]),
    delta(A, 1, 7, 100),
    trade(A, 2, 1),
    error(9, 3, market_ticker="X"),
]


def test_a_whole_conversation(tmp_path: Path) -> None:
    """Replies use up sequence numbers, and answer another program."""
    with played(capture(tmp_path / "a.ndjson", CONVERSATION)) as (feed, heard):
        assert heard.gaps == [] and [fault.kind for fault in heard.faults] == ["exchange_error"]
        assert feed.book(A).depth_at("yes", "0.4") == 9 and feed.state is FeedState.CLOSED


@pytest.mark.parametrize("again", [CONVERSATION, frames(), frames(sid=3), [trade(A, 1, 1), *frames(sid=2)]])
def test_another_connection_in_the_same_file(tmp_path: Path, again: list[Any]) -> None:
    """A second subscribe, numbers from the beginning, another sid: the other program had reconnected."""
    with played(capture(tmp_path / "a.ndjson", in_ms([*CONVERSATION, *again]))) as (feed, heard):
        assert feed.stats().reconnects == 1 and heard.gaps == []
        assert feed.book(A).is_live and feed.book(A).depth_at("yes", "0.4") == (
            9 if again is CONVERSATION else 8
        )
        (lost,) = [event for event in heard.events if event[1] is FeedState.RECONNECTING]
        assert "another connection begins" in lost[2]


def test_subscriptions_that_end(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    for last in (unsubscribed(4, 1, 6), error(25, sid=1, seq=6)):
        with played(capture(path, [*frames(), last, error(25, sid=77), unsubscribed(5, 78)])) as (
            feed,
            heard,
        ):
            assert feed.book(A).status is BookStatus.STALE and len(heard.gaps) == 1
    with played(
        capture(path, [*frames(), unsubscribed(4, 1, 6), subscribed(5, BOOK, 7), *frames(sid=7)])
    ) as (feed, _):
        assert feed.book(A).is_live and feed.stats().reconnects == 1


def test_deltas_before_the_first_snapshot(tmp_path: Path) -> None:
    with played(capture(tmp_path / "a.ndjson", [delta(A, 1, 5, 100), delta(A, 1, 6, 100), *frames(7)])) as (
        feed,
        heard,
    ):
        assert [message.seq for message in heard.messages] == [7, 8, 9, 10, 11]
        assert feed.book(A).is_live and heard.faults[0].kind == "delta_before_snapshot"


def test_odd_lines(tmp_path: Path) -> None:
    news = {"recv_ms": 9, "event": {"type": "news", "msg": {"a": 1}}}
    lines = [*in_ms(frames()), "no json", '{"event": 5}', news, {"type": "event_lifecycle"}]
    with played(capture(tmp_path / "a.ndjson", lines)) as (feed, heard):
        assert any("1 lines of" in text for text in troubles(heard)), heard.events
        assert feed.stats().messages["news"] == 1 and "protocol" in feed.stats().faults
        assert feed.book(A).status is BookStatus.STALE  # the unreadable line may have been a delta


def test_use_yes_price(tmp_path: Path) -> None:
    # as written with use_yes_price: 0.70
    path = capture(tmp_path / "a.ndjson", [snapshot(A, 1, 1, {"no": {3000: 100}})])
    with played(path, use_yes_price=True) as (feed, _):
        assert [str(level.price) for level in feed.book(A).bids("no")] == ["0.3000"]
    with played(path) as (feed, _):
        assert [str(level.price) for level in feed.book(A).bids("no")] == ["0.7000"]


def test_several_files(tmp_path: Path) -> None:
    first, second = (
        capture(tmp_path / "b.ndjson", in_ms(frames())),
        capture(tmp_path / "a.ndjson", in_ms([delta(A, 1, 6, 100)])),
    )
    with played([first, second]) as (feed, heard):  # in the order given
        assert sides(feed.book(A))["yes"] and feed.book(A).depth_at("yes", "0.4") == 9 and heard.gaps == []


WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "blank": (b"\n\n", "is empty"),
    "empty gzip": (gzip.compress(b""), "is empty"),
    "half a gzip header": (gzip.compress(b"x" * 99)[:10], r"is empty \(it ends in the middle"),
    "csv": (
        b"a,b\n1,2\n",
        "is not a recording: its first line is 'a,b'. Give a file made by `kalshi-feed record`",
    ),
    "binary": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is not a recording"),
    "other json": (b'{"price": 1}\n', "is not a recording"),
    "a list": (b"[1, 2]\n", "is not a recording"),
    "later": (
        b'{"kalshi_feed_recording":{"format":2}}\n',
        "later version: its format is 2, and this version reads up to 1; upgrade",
    ),
    "no header": (b'{"kalshi_feed_recording":7}\n', "the header of .* cannot be read: its format is None"),
    "odd header": (
        b'{"kalshi_feed_recording":{"format":1,"channels":5}}\n',
        "the header of .* cannot be read",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_files(tmp_path: Path, what: str) -> None:
    path = tmp_path / "wrong.ndjson"
    data, text = WRONG[what]
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match=text):
        KalshiFeed.replay(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path, text in (
        (tmp_path / "no", "does not exist"),
        (tmp_path, "is a folder"),
        (Path("/dev/null"), "is not a file"),
    ):
        with pytest.raises(ConfigurationError, match=f"{text}: give the file that"):
            KalshiFeed.replay(path)
    with pytest.raises(ConfigurationError, match="no recording was given"):
        KalshiFeed.replay([])
    header = json.dumps({"kalshi_feed_recording": {"format": 1}})
    other = json.dumps({"kalshi_feed_recording": {"format": 1, "use_yes_price": False}})
    one, two, three = (
        capture(tmp_path / name, [line])
        for name, line in (("1.ndjson", header), ("2.ndjson", other), ("3.ndjson", trade(A, 1, 1)))  # type: ignore[list-item]
    )
    with pytest.raises(ConfigurationError, match="different use_yes_price: replay them one at a time"):
        KalshiFeed.replay([one, two])
    with pytest.raises(ConfigurationError, match="cannot be replayed as one"):
        KalshiFeed.replay([one, three])
