"""R24: in a replay, callbacks find every book as it was at their message, at every speed."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import BookStatus, FeedClosedError, FeedState, KalshiFeed, KalshiFeedError, OrderbookDelta
from tests.feed.support import A
from tests.recording.past import Moment, delta, levels_of, make_recording, moments, snapshot
from tests.recording.support import capture
from tests.support import wait_until

MARKETS = [f"KXSIM-{number:03d}" for number in range(1, 21)]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Moment]]:
    """About one second of 20 markets."""
    path = make_recording(
        tmp_path_factory.mktemp("past") / "past.ndjson", markets=20, messages=3_000, rate=3_000
    )
    found = list(moments(path))
    assert max(Counter(moment.ns for moment in found).values()) >= 5  # many messages in one read
    return path, found


class Checker:
    """In the callback of each book message, compares every book with the fold."""

    def __init__(self, feed: KalshiFeed, expected: list[Moment]) -> None:
        self.wrong: list[Any] = []
        self.count = 0
        self._feed = feed
        self._expected = expected
        feed.on_snapshot(self._look)
        feed.on_delta(self._look)

    def _look(self, message: Any) -> None:
        moment, feed = self._expected[self.count], self._feed
        self.count += 1
        seqs = {ticker: book.seq for ticker, book in feed.books.items() if book.seq is not None}
        found = (
            message.type,
            message.market_ticker,
            message.seq,
            levels_of(feed.book(message.market_ticker)),
            seqs,
        )
        if found != moment[1:] or feed.now().timestamp() != pytest.approx(moment.ns / 1e9, abs=2e-6):
            self.wrong.append((moment, found, feed.now()))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("speed", ["max", "wait", 10, 0.5])
def test_R24_every_book_is_as_it_was_at_the_message(
    past: tuple[Path, list[Moment]], speed: Any, workers: int
) -> None:
    path, expected = past
    until = 0.3 if speed == 0.5 else None
    feed = KalshiFeed.replay(path, speed=speed, until=until, workers=workers)
    checker = Checker(feed, expected)
    feed.run_forever()
    assert checker.wrong == []
    assert checker.count == len(expected) if until is None else 20 < checker.count < len(expected)
    assert feed.stats().callback_errors == 0
    feed.close()


@pytest.mark.parametrize("speed", ["max", "wait", 10])
def test_R24_from_one_moment_until_another(past: tuple[Path, list[Moment]], speed: Any) -> None:
    path, expected = past
    at, until = (datetime.fromtimestamp(expected[n].ns // 1000 / 1e6, timezone.utc) for n in (1_000, 2_000))
    shown = [moment.seq for moment in expected if at.timestamp() <= moment.ns / 1e9 < until.timestamp()]
    feed = KalshiFeed.replay(path, at=at, until=until, speed=speed)
    assert feed.now() == at
    seen: list[Any] = []
    feed.on_delta(lambda delta: seen.append((delta.seq, feed.book(delta.market_ticker).seq)))
    feed.on_snapshot(seen.append)
    feed.run_forever()
    assert seen == [(seq, seq) for seq in shown] and len(seen) > 500
    feed.close()


def test_R24_on_book_gets_every_change(past: tuple[Path, list[Moment]]) -> None:
    path, expected = past
    feed = KalshiFeed.replay(path)
    seen: defaultdict[str, list[int | None]] = defaultdict(list)
    feed.on_book(lambda view: seen[view.market_ticker].append(view.seq) if view.is_live else None)
    feed.run_forever()
    wanted: defaultdict[str, list[int]] = defaultdict(list)
    for moment in expected:
        wanted[moment.market_ticker].append(moment.seq)
    assert seen == wanted
    feed.close()


@pytest.mark.slow
def test_R24_a_hundred_thousand_messages(tmp_path: Path) -> None:
    path = make_recording(tmp_path / "long.ndjson", markets=20, messages=100_000, rate=20_000)
    feed = KalshiFeed.replay(path, workers=3)
    wrong = count = 0

    @feed.on_delta
    def look(delta: OrderbookDelta) -> None:
        nonlocal wrong, count
        count += 1
        assert delta.market_ticker is not None
        wrong += feed.book(delta.market_ticker).seq != delta.seq

    feed.run_forever()
    assert wrong == 0 and count > 80_000
    feed.close()


# one read at 1 s with a gap in the middle, another one at 2 s
GAP: list[Any] = [
    snapshot(1, 1000),
    delta(2, 1000),
    delta(4, 1000),
    delta(5, 1000),
    snapshot(6, 2000),
    delta(7, 2000),
]


@pytest.mark.parametrize("speed", ["max", "wait", 100])
def test_R24_events_stand_among_the_messages(tmp_path: Path, speed: Any) -> None:
    feed = KalshiFeed.replay(capture(tmp_path / "gap.ndjson", GAP), speed=speed)
    reported: list[Any] = []

    def tell(what: Any) -> Callable[[Any], None]:
        return lambda item: reported.append((what(item), feed.book(A).status.value, feed.book(A).seq))

    feed.on_message(tell(lambda message: message.seq))
    feed.on_gap(tell(lambda gap: gap.received))
    feed.on_state(tell(lambda change: change.state.value))
    feed.on_book(tell(lambda view: f"book {view.seq} {view.status.value}"))
    feed.run_forever()
    assert reported == [
        ("CONNECTING", "PENDING", None),
        ("CONNECTED", "PENDING", None),
        ("book None PENDING", "PENDING", None),
        (1, "LIVE", 1),
        ("book 1 LIVE", "LIVE", 1),
        (2, "LIVE", 2),
        ("book 2 LIVE", "LIVE", 2),
        (4, "STALE", 2),  # the Gap: 4 came in place of 3
        ("book 2 STALE", "STALE", 2),
        (6, "LIVE", 6),
        ("book 6 LIVE", "LIVE", 6),
        (7, "LIVE", 7),
        ("book 7 LIVE", "LIVE", 7),
        ("CLOSED", "LIVE", 7),
    ]
    feed.close()


@pytest.mark.parametrize("speed", ["max", "wait"])
def test_R24_a_callback_cannot_wait_for_itself(tmp_path: Path, speed: Any) -> None:
    feed = KalshiFeed.replay(capture(tmp_path / "gap.ndjson", GAP), speed=speed)
    stream = feed.messages("orderbook_delta")
    reported: list[Any] = []

    def attempt(wait: Callable[[], Any]) -> None:
        try:
            reported.append(wait())
        except Exception as error:
            reported.append(type(error))
            assert type(error) is not KalshiFeedError or "a callback of a replay cannot wait" in str(error)

    def at_the_second(message: OrderbookDelta) -> None:
        if message.seq != 2:
            return
        book = feed.book(A)
        for wait in (
            lambda: feed.wait_for_book(A, timeout=5) is book,
            lambda: book.wait_for_update(timeout=5, after=0).seq,
            lambda: feed.wait_until_connected(5) is feed,
            lambda: stream.get(5).seq,
            lambda: stream.get(5),
            lambda: next(stream),
            lambda: book.wait_for_update(timeout=5),
            lambda: book.wait_for_update(),
            lambda: feed.wait_for_book("KX-NONE", timeout=5),
            lambda: feed.wait_for("trade", timeout=5),
            lambda: feed.sleep(1),
            lambda: next(feed.every(1)),
            lambda: feed.subscribe("fill").wait(5),
            lambda: feed.run_forever(),
        ):
            attempt(wait)

    feed.on_delta(at_the_second)
    feed.run_forever()
    assert reported == [True, 2, True, 2, *[KalshiFeedError] * 10]
    feed.close()


def test_R24_callbacks_may_do_what_they_may_do_live(tmp_path: Path) -> None:
    feed = KalshiFeed.replay(capture(tmp_path / "gap.ndjson", GAP))
    seen: list[Any] = []
    faults: list[Any] = []

    def breaks(message: Any) -> None:
        raise ValueError(message.seq)

    @feed.on_delta
    def changes(message: OrderbookDelta) -> None:
        if message.seq == 2:
            feed.subscribe("trade", A)
            feed.on_snapshot(seen.append)
            feed.off(breaks)

    feed.on_message(breaks)
    feed.on_error(faults.append)
    feed.run_forever()
    assert [message.seq for message in seen] == [6]
    assert [(fault.kind, fault.context["count"]) for fault in faults] == [("callback", 1), ("callback", 2)]
    stats = feed.stats()
    assert (stats.callback_errors, stats.faults["callback"], stats.dropped, stats.queue_depth) == (2, 2, 0, 0)
    feed.close()


def test_R24_nothing_comes_after_the_message_that_closed_it(tmp_path: Path) -> None:
    feed = KalshiFeed.replay(capture(tmp_path / "gap.ndjson", GAP))
    seen: list[Any] = []
    feed.on_delta(lambda message: feed.close())
    feed.on_delta(lambda message: seen.append((message.seq, threading.current_thread().name)))
    feed.on_state(lambda change: seen.append(change.state))
    feed.run_forever()
    feed.close()
    assert (
        seen[-2:] == [(2, "kalshi-feed-reader"), FeedState.CLOSED]
        and feed.book(A).status is BookStatus.CLOSED
    )


def test_R24_a_callback_that_does_not_return(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    feed = KalshiFeed.replay(capture(tmp_path / "gap.ndjson", GAP))
    go, seen = threading.Event(), []

    @feed.on_delta
    def stuck(message: OrderbookDelta) -> None:
        seen.append(message.seq)
        go.wait(20)

    feed.on_message(lambda message: seen.append(message.type))
    feed.start()
    wait_until(lambda: 2 in seen)
    feed.close(timeout=0.1)
    assert feed.state is FeedState.CLOSED and "stuck did not return in time" in caplog.text
    go.set()
    wait_until(lambda: not any(thread.name == "kalshi-feed-reader" for thread in threading.enumerate()))
    assert seen == ["orderbook_snapshot", 2, "orderbook_delta"]  # of that message only
    feed.start()
    feed.run_forever()
    assert seen[3:] == [
        "orderbook_snapshot",
        2,
        "orderbook_delta",
        "orderbook_snapshot",
        7,
        "orderbook_delta",
    ]
    feed.close()


def test_R24_streams_and_waits_outside_of_callbacks(tmp_path: Path) -> None:
    path = capture(tmp_path / "gap.ndjson", GAP)
    with KalshiFeed.replay(path, speed=5) as feed:
        stream = feed.messages("orderbook_delta")
        feed.wait_for_book(A, timeout=5)
        assert [message.seq for message in stream][-1] == 7
        with pytest.raises(FeedClosedError, match=r'the recording has ended, .* speed="wait"'):
            feed.book(A).wait_for_update(5)
