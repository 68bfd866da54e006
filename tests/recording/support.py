"""What a feed reports, live or replayed, in a form to compare; reading recordings, making captures."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kalshi_feed import BookStatus, FeedFault, FeedState, Gap, KalshiFeed, StateChange
from kalshi_feed.recording.files import CutOff, read_chunks
from tests.feed.support import A, B, sides
from tests.session.driver import delta, snapshot

__all__ = [
    "CORPUS",
    "EXPECTED",
    "SUFFIXES",
    "Heard",
    "books_of",
    "capture",
    "files_of",
    "frames",
    "lines_of",
    "played",
    "statistics",
    "text_of",
    "troubles",
]

CORPUS = Path(__file__).parent / "corpus"
EXPECTED: dict[str, Any] = json.loads((CORPUS / "expected.json").read_text())
"""For each recording: the exchange's books at its end, the gaps, and its parts if it has several."""


def files_of(name: str) -> list[Path]:
    """Return all parts of a recording of the corpus."""
    return [CORPUS / part for part in EXPECTED[name].get("parts", [name])]


SUFFIXES = [".ndjson", ".ndjson.gz", ".ndjson.zst"]


class Heard:
    """Messages and events in order, events as plain values. A worker appends, the test reads."""

    def __init__(self, feed: KalshiFeed) -> None:
        self.messages: list[Any] = []
        self.events: list[Any] = []
        self.faults: list[FeedFault] = []
        feed.on_message(self.messages.append)
        feed.on_gap(self.events.append)
        feed.on_state(self._changed)
        feed.on_error(self._fault)

    def _changed(self, change: StateChange) -> None:
        if change.state is not FeedState.CLOSED:  # its reason differs
            self.events.append((change.previous, change.state, change.reason, change.attempt, change.delay))

    def _fault(self, fault: FeedFault) -> None:
        self.faults.append(fault)
        self.events.append((fault.kind, fault.message))

    @property
    def gaps(self) -> list[Gap]:
        return [event for event in self.events if isinstance(event, Gap)]


def troubles(heard: Heard) -> list[str]:
    """Return the reports about the recording itself."""
    return [fault.message for fault in heard.faults if fault.kind == "recording"]


def statistics(feed: KalshiFeed) -> dict[str, Any]:
    """Return the statistics that do not depend on this machine's speed."""
    stats = feed.stats()
    names = (
        "messages",
        "bytes",
        "gaps",
        "resyncs",
        "reconnects",
        "faults",
        "dropped",
        "callback_errors",
        "clock_skew",
    )
    return {name: getattr(stats, name) for name in names}


def books_of(feed: KalshiFeed) -> dict[str, Any]:
    """Return status, version, seq and levels of every wanted book."""
    return {ticker: (book.status, book.version, book.seq, sides(book)) for ticker, book in feed.books.items()}


@contextmanager
def played(path: Any, **options: Any) -> Iterator[tuple[KalshiFeed, Heard]]:
    """Play a recording to its end; its books stay as they were then."""
    feed = KalshiFeed.replay(path, **options)
    heard = Heard(feed)
    try:
        feed.run_forever()
        assert feed.state is FeedState.CLOSED
        assert BookStatus.CLOSED not in {book.status for book in feed.books.values()}
        yield feed, heard
    finally:
        feed.close()


def capture(path: Path, lines: list[dict[str, Any] | str]) -> Path:
    """Write a capture of these lines."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def frames(seq: int = 1, sid: int = 1, step: int = 1) -> list[dict[str, Any]]:
    """Return frames: both books, and three deltas of A."""
    levels = {"yes": {4000: 500}}
    return [
        snapshot(A, sid, seq, levels),
        snapshot(B, sid, seq + step, levels),
        *(delta(A, sid, seq + step * n, 100) for n in range(2, 5)),
    ]


def text_of(path: Path) -> bytes:
    """Return a recording's text, as far as it can be read."""
    chunks = []
    try:
        for chunk in read_chunks(path, lambda position: None):
            chunks.append(chunk)
    except CutOff:
        pass
    return b"".join(chunks)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a recording, decoded."""
    return [json.loads(line) for line in text_of(path).split(b"\n")[:-1]]
