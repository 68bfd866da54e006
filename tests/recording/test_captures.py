"""Real input: every capture in ../shared/capture, replayed and compared with the feed tests' fold."""

# mypy: no-strict-equality

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import BookStatus
from kalshi_feed.recording.replaying import StepEngine
from kalshi_feed.session.timing import Timing
from tests.feed.captures import FILES, Fold, frames_of
from tests.feed.support import sides
from tests.recording.support import played, statistics

pytestmark = pytest.mark.skipif(not FILES, reason="no recordings in ../shared/capture")
each = pytest.mark.parametrize("path", FILES, ids=[path.name[:27] for path in FILES])


def known(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """From the first snapshot on, with the trades before it: without a snapshot there is no book."""
    start = next(i for i, frame in enumerate(frames) if frame["type"] == "orderbook_snapshot")
    return [frame for frame in frames[:start] if frame["type"] == "trade"] + frames[start:]


@each
def test_it_replays_to_its_fold(path: Path) -> None:
    frames = frames_of(path)
    kept = known(frames)
    fold = Fold(kept)
    for frame in kept:
        if frame["type"] != "trade":
            fold.take(frame)
    outcomes = []
    for _ in range(2):
        with played(path, gaps="ignore") as (feed, heard):
            (book,) = feed.books.values()
            assert book.is_live and sides(book) == fold.sides
            assert [(m.type, m.sid, m.seq) for m in heard.messages] == [
                (f["type"], f["sid"], f["seq"]) for f in kept
            ]
            moved = [m for m in heard.messages if m.type == "orderbook_delta"]
            sent = [f["msg"] for f in kept if f["type"] == "orderbook_delta"]
            assert [(m.side, m.price, m.delta) for m in moved] == [
                (s["side"], Decimal(s["price_dollars"]), Decimal(s["delta_fp"])) for s in sent
            ]
            assert [gap.reason for gap in heard.gaps] == ["delta before snapshot"] * (
                frames[0]["type"] == "orderbook_delta"
            )
            assert feed.stats().messages_total == len(frames) and feed.stats().dropped == 0
            outcomes.append((heard.messages, sides(book), book.version, statistics(feed)))
    assert outcomes[0] == outcomes[1]


@each
def test_its_book_is_right_after_every_frame(path: Path) -> None:
    frames = known(frames_of(path))
    fold = Fold(frames)
    engine = StepEngine(path, gaps="ignore", timing=Timing())
    done = 0
    for _, items, _ in engine.steps():
        for message in items:
            if hasattr(message, "seq") and hasattr(message, "sid") and hasattr(message, "type"):
                assert (message.type, message.seq) == (frames[done]["type"], frames[done]["seq"])
                if frames[done]["type"] != "trade":
                    fold.take(frames[done])
                done += 1
        if done % 50 == 0:
            (book,) = engine.store.books.values()
            if book.status is BookStatus.LIVE:
                assert sides(book.view(0.0, 0.0)) == fold.sides, f"at frame {done}"
    assert done == len(frames)
    engine.close(0)


@each
def test_strictly_it_is_full_of_holes(path: Path) -> None:
    """The file has only some of the subscription's markets, so each jump in seq makes the book STALE."""
    frames = frames_of(path)
    snapshots = sum(frame["type"] == "orderbook_snapshot" for frame in frames)
    sent = [frame["seq"] for frame in frames if frame["type"] == "orderbook_delta"]
    with played(path) as (_, heard):
        assert [message.type for message in heard.messages].count("orderbook_snapshot") == snapshots
        assert len([gap for gap in heard.gaps if gap.reason == "sequence gap"]) > len(frames) // 10
        assert (
            len([message for message in heard.messages if message.type == "orderbook_delta"]) < len(sent) // 2
        )
