"""A replay is the same run again: messages, books, gaps, waits and statistics."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import (
    BookStatus,
    ConfigurationError,
    FeedClosedError,
    FeedState,
    KalshiFeed,
    KalshiFeedError,
    SubscriptionState,
    WaitTimeout,
)
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, HurriedFeed, in_thread, sides, wait_equal
from tests.recording.support import SUFFIXES, Heard, books_of, capture, played, statistics, troubles
from tests.support import wait_until


def eventful(exchange: Exchange, feed: KalshiFeed) -> None:
    """A run with everything that happens to a feed: changed subscriptions, a gap, a refusal, a reconnect."""
    first = feed.subscribe(["orderbook_delta", "trade"], [A])
    feed.wait_for_book(B, timeout=5)
    ticker = feed.subscribe("ticker")
    ticker.wait(5)
    first.wait(5)
    for step in range(20):
        exchange.change(A, "yes", "0.30", 1 + step)
        exchange.change(B, "no", "0.20", 1)
    exchange.lose(1)
    exchange.change(A, "yes", "0.31", 1)
    exchange.change(B, "yes", "0.11", 1)
    wait_until(lambda: feed.stats().resyncs, what="the repair")
    exchange.send_bytes(b"\x82\x03abc")  # a binary frame
    wait_until(lambda: "binary_frame" in feed.stats().faults, what="its fault")
    first.add_markets(B).wait(5)
    with feed.messages("orderbook_snapshot") as snapshots:
        first.request_snapshot(A)
        snapshots.get(5)
    ticker.unsubscribe()
    exchange.refuse_commands(14, "Permission denied", "subscribe")
    refused = feed.subscribe("fill")
    wait_until(lambda: refused.state is SubscriptionState.FAILED, what="the refusal")
    exchange.lose(1)
    exchange.change(A, "yes", "0.32", 1)
    exchange.change(B, "yes", "0.12", 1)
    wait_until(lambda: feed.stats().resyncs == 2, what="the second repair")
    exchange.reset()
    wait_until(lambda: feed.stats().reconnects, what="the reconnect")
    wait_equal(feed, exchange, A, B)
    first.delete_markets(A).wait(5)
    exchange.change(B, "no", "0.21", "2.5")
    feed.list_subscriptions(5)
    wait_equal(feed, exchange, B)
    assert feed.stats().gaps


@pytest.mark.parametrize(
    ("suffix", "compression"), [*((suffix, False) for suffix in SUFFIXES), (SUFFIXES[0], True)]
)
def test_a_replay_is_the_same_run_again(
    exchange: Exchange, make_feed: FeedMaker, tmp_path: Path, suffix: str, compression: bool
) -> None:
    path = tmp_path / f"run{suffix}"
    feed = make_feed(HurriedFeed, compression=compression)
    live = Heard(feed)
    recording = feed.record(path)
    with feed:
        eventful(exchange, feed)
        books, reported = books_of(feed), statistics(feed)
    assert not recording.is_open and recording.missed == 0
    assert recording.messages == sum(reported["messages"].values())
    outcomes = []
    for _ in range(2):
        with played(path) as (again, heard):
            assert heard.messages == live.messages
            assert heard.events == live.events
            assert books_of(again) == books
            assert statistics(again) == reported
            outcomes.append(
                (heard.messages, heard.events, books_of(again), statistics(again), again.stats().rate_60s)
            )
    assert outcomes[0] == outcomes[1]
    # it asks for less than the live feed did, and gets its answers all the same
    with played(path, gaps="ignore") as (
        again,
        heard,
    ):
        kinds, live_kinds = ({fault.kind for fault in one.faults} for one in (heard, live))
        assert kinds == live_kinds >= {"exchange_error", "binary_frame"}
        assert {ticker: sides(book) for ticker, book in again.books.items()} == {
            ticker: book[3] for ticker, book in books.items()
        }
        assert [gap.reason for gap in heard.gaps] == [
            gap.reason for gap in live.gaps if gap.reason != "sequence gap"
        ]


def test_a_recording_begun_in_the_middle(exchange: Exchange, make_feed: FeedMaker, tmp_path: Path) -> None:
    feed = make_feed(HurriedFeed)
    with feed:
        subscription = feed.subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
        for ticker in (A, B):
            feed.wait_for_book(ticker, timeout=5)
        live = Heard(feed)
        with feed.record(tmp_path / "middle.ndjson.gz") as recording:
            for step in range(10):
                exchange.change(A, "yes", "0.30", 1 + step)
            subscription.delete_markets(B).wait(5)
            wait_equal(feed, exchange, A)
            subscription.add_markets(B).wait(5)
            wait_equal(feed, exchange, A, B)
            books = {ticker: sides(feed.book(ticker)) for ticker in (A, B)}
        assert not recording.is_open and feed.state is FeedState.CONNECTED
        exchange.change(A, "yes", "0.30", 5)
        wait_equal(feed, exchange, A)
    with played(recording.path) as (again, heard):
        assert {ticker: sides(again.book(ticker)) for ticker in (A, B)} == books
        assert [type(message).__name__ for message in heard.messages] == [
            type(m).__name__ for m in live.messages[:-1]
        ]
        assert heard.messages == live.messages[:-1]
        assert heard.gaps == [] and heard.faults == []
        assert statistics(again)["reconnects"] == 0


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of one market: a snapshot and 30 deltas."""
    path = tmp_path_factory.mktemp("short") / "short.ndjson"
    with Exchange(key_type="ed25519") as exchange:
        exchange.add_market(A, yes={"0.40": 10}, no={"0.54": 7})
        with KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed:
            with feed.record(path):
                feed.subscribe(["orderbook_delta", "trade"], [A]).wait(5)
                feed.wait_for_book(A, timeout=5)
                for _ in range(30):
                    exchange.change(A, "yes", "0.41", 1)
                wait_equal(feed, exchange, A)
    return path


def test_programs_for_a_live_feed_run_on_a_replay(short: Path) -> None:
    with KalshiFeed.replay(short, speed="wait") as feed:
        subscription = feed.subscribe(["orderbook_delta", "trade"], [A]).wait(5)
        assert subscription.state is SubscriptionState.ACTIVE and set(subscription.sids) == {
            "orderbook_delta",
            "trade",
        }
        book = feed.wait_for_book(A, timeout=5)
        feed.run_forever()
        assert feed.state is FeedState.CLOSED and book.is_live
        # as a program that came late would
        assert feed.subscribe("trade", A).wait(5).state is SubscriptionState.ACTIVE
        assert book.depth_at("yes", "0.41") == 30
        assert feed.wait_for_book(A, timeout=5) is book  # a book from before is still there
        assert dict(feed.list_subscriptions(1)).keys() == {"orderbook_delta", "trade"}
        assert feed.subscribe("fill").state is SubscriptionState.PENDING
        subscription.add_markets(B).delete_markets(B).request_snapshot(A).unsubscribe()
        for wait in (
            lambda: feed.wait_for("trade", timeout=5),
            lambda: feed.wait_for_book(B, timeout=5),
            lambda: feed.subscribe("ticker").wait(5),
            lambda: next(feed.messages("trade")),
        ):
            with pytest.raises(FeedClosedError, match="the recording has ended"):
                wait()
    assert book.status is BookStatus.CLOSED and book.depth_at("yes", "0.41") == 30


def test_waits_while_it_plays(tmp_path: Path) -> None:
    with KalshiFeed.replay(capture(tmp_path / "slow.ndjson", FRAMES), speed=0.01) as feed:
        feed.wait_for_book(A, timeout=5)
        feed.wait_until_connected(5)
        with pytest.raises(WaitTimeout, match=f"no snapshot of {B} has come; its book is PENDING"):
            feed.wait_for_book(B, timeout=0.05)


def test_run_forever_returns_when_all_is_delivered(short: Path) -> None:
    feed = KalshiFeed.replay(short, queue_size=1)
    seen: list[Any] = []

    @feed.on_message
    def slow(message: Any) -> None:
        time.sleep(0.002)
        seen.append(message)

    feed.run_forever()
    stats = feed.stats()
    assert len([m for m in seen if m.type == "orderbook_delta"]) == 30 == stats.messages["orderbook_delta"]
    assert (stats.dropped, stats.queue_depth) == (0, 0)
    feed.close()


def test_it_can_be_played_again(short: Path) -> None:
    with played(short) as (feed, heard):
        first = list(heard.messages)
        books = {ticker: sides(book) for ticker, book in feed.books.items()}
        feed.close()
        feed.start()
        feed.run_forever()
        assert (
            heard.messages == first + first
            and {ticker: sides(book) for ticker, book in feed.books.items()} == books
        )


def test_a_callback_closes_it(short: Path) -> None:
    feed = KalshiFeed.replay(short)
    seen: list[Any] = []

    @feed.on_delta
    def enough(delta: Any) -> None:
        seen.append(delta)
        feed.close(timeout=0)

    feed.run_forever()
    wait_until(
        lambda: not any("kalshi-feed" in thread.name for thread in threading.enumerate()),
        what="the threads' end",
    )
    assert seen and feed.state is FeedState.CLOSED


FRAMES: list[Any] = [
    {
        "recv_ms": 1000,
        "event": {
            "type": "orderbook_snapshot",
            "sid": 1,
            "seq": 1,
            "msg": {"market_ticker": A, "market_id": "m"},
        },
    },
    *(
        {
            "recv_ms": 1000 + 500 * step,
            "event": {
                "type": "orderbook_delta",
                "sid": 1,
                "seq": 1 + step,
                "msg": {"market_ticker": A, "price_dollars": "0.4000", "delta_fp": "1.00", "side": "yes"},
            },
        }
        for step in range(1, 5)
    ),
]


def test_speed(tmp_path: Path) -> None:
    path = capture(tmp_path / "slow.ndjson", FRAMES)  # two seconds
    begun = time.monotonic()
    with played(path, speed=20) as (_, heard):
        assert time.monotonic() - begun >= 0.1 and len(heard.messages) == 5
    with KalshiFeed.replay(path, speed=0.01) as feed:  # 50 s to the next
        feed.wait_for_book(A, timeout=5)
        closing = in_thread(feed.close)
        closing.result(2)


def test_at_a_moment(tmp_path: Path) -> None:
    path = capture(tmp_path / "at.ndjson.gz", FRAMES)
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=2)
    for at in (moment, 1.0):
        feed = KalshiFeed.replay(path, at=at)
        heard, views = Heard(feed), []
        feed.on_book(views.append)
        sums: list[Any] = []
        feed.on_delta(lambda delta, feed=feed, sums=sums: sums.append(feed.book(A).depth_at("yes", "0.4")))  # type: ignore[misc]
        feed.run_forever()
        assert [message.seq for message in heard.messages] == [3, 4, 5]  # of 2.0 s, 2.5 s and 3.0 s
        assert min(sums) >= 2 and views and feed.book(A).depth_at("yes", "0.4") == 4
        assert heard.events[-1][1] is FeedState.CONNECTED and len(heard.events) == 2
        feed.close()
    with pytest.raises(ConfigurationError, match="at is after the end of the recording, 1970-01-01 00:00:03"):
        KalshiFeed.replay(path, at=100.0).run_forever()
    before = datetime(1970, 1, 1, tzinfo=timezone.utc)
    for options, text in (
        ({"at": before}, "at is before the beginning of the recording, 1970-01-01 00:00:01"),
        ({"until": before}, "until is before the beginning of the recording"),
        ({"at": 1.0, "until": moment}, "until must be later than the beginning of the replay"),
        ({"until": 0.0}, "until must be later than the beginning of the replay"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            KalshiFeed.replay(path, **options)  # type: ignore[arg-type]


def test_the_time_is_the_recording_s(tmp_path: Path) -> None:
    with played(capture(tmp_path / "then.ndjson", FRAMES)) as (feed, _):
        assert feed.book(A).view().updated_at == datetime(1970, 1, 1, 0, 0, 3, tzinfo=timezone.utc)
        assert feed.book(A).age() == 0 and feed.replayed == 1.0


def test_wrong_calls(short: Path, make_feed: FeedMaker) -> None:
    for options, text in (
        ({"speed": 0}, "speed must be a positive number"),
        ({"speed": "fast"}, "speed must be a positive number, 'max' or 'wait', not 'fast'"),
        ({"speed": True}, "speed must be a positive number, 'max' or 'wait', not True"),
        ({"at": datetime(2026, 1, 1)}, "at must be an aware datetime"),  # noqa: DTZ001
        ({"at": -1.0}, "number of seconds of 0 or more"),
        ({"until": datetime(2026, 1, 1)}, "until must be an aware datetime"),  # noqa: DTZ001
        ({"queue_size": 0}, "queue_size must be a whole number"),
        ({"workers": 1.5}, "workers must be a whole number"),
        ({"gaps": "some"}, "gaps must be 'strict' or 'ignore'"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            KalshiFeed.replay(short, **options)  # type: ignore[arg-type]
    feed = KalshiFeed.replay(short)
    with pytest.raises(ConfigurationError, match="a replay cannot be recorded"):
        feed.record(short.with_name("copy.ndjson"))
    assert repr(feed) == "<KalshiFeed short.ndjson IDLE>"
    feed.close()
    assert make_feed().replayed is None


def test_a_file_that_goes_away_ends_the_feed(short: Path, tmp_path: Path) -> None:
    path = tmp_path / "gone.ndjson"
    path.write_bytes(short.read_bytes())
    feed = KalshiFeed.replay(path)
    path.unlink()
    with pytest.raises(KalshiFeedError, match="cannot be read: No such file"):
        feed.run_forever()
    assert feed.state is FeedState.FAILED
    feed.close()


def test_edited_lines_are_reported(short: Path, tmp_path: Path) -> None:
    lines = short.read_text().splitlines()
    wrong = ["{}", '{"recv_ns":5,"wish":{"do":"ask"}}']
    spoilt = [lines[0], lines[1].replace('"orderbook_delta"', '"orderbook_'), *lines[2:5], *wrong, *lines[5:]]
    path = tmp_path / "spoilt.ndjson"
    path.write_text("\n".join(spoilt) + "\n")
    with played(path) as (_, heard):
        assert [text for text in troubles(heard) if text.startswith("2 lines of ")], heard.events
