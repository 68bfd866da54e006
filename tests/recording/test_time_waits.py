"""R26: programs that block, on a replay with speed="wait": time passes only while all participants wait."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import FeedClosedError, FeedState, KalshiFeed, KalshiFeedError, WaitTimeout
from kalshi_feed.recording import waits
from tests import inside
from tests.feed.support import A, FeedMaker, in_thread
from tests.recording.past import Moment, delta, levels_of, make_recording, moments, snapshot
from tests.recording.support import capture
from tests.support import wait_until

MARKETS = [f"KXSIM-{number:03d}" for number in range(1, 5)]
START = datetime.fromtimestamp(1, timezone.utc)
# one read of three messages at 1 s, then one message every second until 9 s
FRAMES: list[Any] = [
    snapshot(1, 1000),
    delta(2, 1000),
    delta(3, 1000),
    *(delta(2 + n, 1000 * n) for n in range(2, 10)),
]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Moment]]:
    path = make_recording(
        tmp_path_factory.mktemp("past") / "past.ndjson", markets=4, messages=1_500, rate=3_000
    )
    return path, list(moments(path))


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return capture(tmp_path / "frames.ndjson", FRAMES)


def together(*works: Callable[[], object]) -> None:
    """Run each of these in a thread of its own, and wait for all of them."""
    threads = [in_thread(work) for work in works]
    for thread in threads:
        thread.result(60)


def watch_two(path: Path) -> tuple[list[Any], list[Any]]:
    """One thread follows a book; another takes a stream and reads another book, partly with timeouts."""
    feed = KalshiFeed.replay(path, speed="wait")
    both = threading.Barrier(2)
    reported: tuple[list[Any], list[Any]] = ([], [])

    def follow() -> None:
        feed.sleep(0)  # takes part from here on, so that neither misses the beginning
        both.wait(20)
        book = feed.wait_for_book(MARKETS[0], timeout=5)
        reported[0].append((book.seq, feed.now(), levels_of(book)))
        while True:
            try:
                view = book.wait_for_update()
            except FeedClosedError:
                return
            reported[0].append((view.seq, feed.now(), levels_of(book), feed.book(MARKETS[1]).seq))

    def stream() -> None:
        with feed.messages("orderbook_delta", MARKETS[1]) as messages:
            feed.sleep(0)
            both.wait(20)
            while True:
                try:
                    reported[1].append(
                        (
                            messages.get(timeout=0.003).seq,
                            feed.now(),
                            feed.book(MARKETS[1]).seq,
                            feed.book(MARKETS[0]).seq,
                        )
                    )
                except WaitTimeout:
                    reported[1].append(("nothing", feed.now()))
                except FeedClosedError:
                    return

    with feed:
        together(follow, stream)
    return reported


@pytest.mark.greenlets
def test_R26_two_threads_see_every_change_and_the_same_twice(past: tuple[Path, list[Moment]]) -> None:
    path, expected = past
    first, second = watch_two(path)
    assert (first, second) == watch_two(path)
    of_first = [moment for moment in expected if moment.market_ticker == MARKETS[0]]
    assert [(seq, levels) for seq, _, levels, *_ in first] == [
        (moment.seq, moment.levels) for moment in of_first
    ]
    assert [others[0] for *_, others in zip(first, ([row[3]] for row in first[1:]), strict=False)][5:] == [
        moment.seqs[MARKETS[1]] for moment in of_first[1:]
    ][5:]
    of_second = [
        moment
        for moment in expected
        if moment.market_ticker == MARKETS[1] and moment.type == "orderbook_delta"
    ]
    taken = [row for row in second if row[0] != "nothing"]
    assert [(seq, book, other) for seq, _, book, other in taken] == [
        (m.seq, m.seq, m.seqs[MARKETS[0]]) for m in of_second
    ]
    assert len(taken) < len(second)  # some timeouts came between
    times = [row[1] for row in second]
    assert times == sorted(times)


def test_R26_a_program_without_threads(frames: Path) -> None:
    with KalshiFeed.replay(frames, speed="wait") as feed:
        feed.wait_until_connected(5)
        feed.subscribe("orderbook_delta", A).wait(5)
        with feed.messages("orderbook_delta") as messages:
            book = feed.wait_for_book(A, timeout=5)
            assert (book.seq, feed.now()) == (1, START)
            assert book.wait_for_update(timeout=5).seq == 2  # within the same read
            assert book.wait_for_update(timeout=5).seq == 3 and feed.now() == START
            time.sleep(0.1)  # this machine's time is not the recording's
            assert book.seq == 3
            assert feed.list_subscriptions(5) == (("orderbook_delta", 1),)
            assert feed.wait_for("orderbook_delta", lambda message: message.seq > 4, timeout=5).seq == 5
            assert feed.now() == START + timedelta(seconds=2) and book.seq == 5 and book.age() == 0
            assert [next(messages).seq for _ in range(4)] == [2, 3, 4, 5]
            assert next(messages).seq == 6 == book.seq
        feed.run_forever()
        assert feed.state is FeedState.CLOSED and book.seq == 11
        with pytest.raises(FeedClosedError) as ended:
            book.wait_for_update()
        assert str(ended.value) == "the recording has ended"


def test_R26_timeouts_are_recorded_time(frames: Path) -> None:
    begun = time.monotonic()
    with KalshiFeed.replay(frames, speed="wait") as feed:
        book = feed.wait_for_book(A, timeout=5)
        for wait in (
            lambda: feed.wait_for("trade", timeout=0.5),
            lambda: feed.messages("trade").get(0.5),
            lambda: feed.wait_for_book("KX-NONE", timeout=0.5),
            lambda: feed.subscribe("fill").wait(0.5),
        ):
            before = feed.now()
            with pytest.raises(WaitTimeout):
                wait()
            assert feed.now() == before + timedelta(seconds=0.5)
        # a message of that very moment comes first
        assert (book.seq, feed.now()) == (
            5,
            START + timedelta(seconds=2),
        )
        with pytest.raises(WaitTimeout):
            book.wait_for_update(timeout=0)
        with pytest.raises(WaitTimeout):
            book.wait_for_update(timeout=0.999)
        assert book.wait_for_update(timeout=0.002).seq == 6
        feed.sleep(2.5)
        assert (book.seq, feed.now()) == (8, START + timedelta(seconds=5.5))
    assert time.monotonic() - begun < 5


def test_R26_polling(frames: Path, make_feed: FeedMaker) -> None:
    with KalshiFeed.replay(frames, speed="wait", until=6.0) as feed:
        seen = [(round((now - START).total_seconds(), 3), feed.book(A).seq) for now in feed.every(1.5)]
        assert seen == [(1.5, 4), (3.0, 6), (4.5, 7)]
        assert feed.state is FeedState.CLOSED and feed.now() == START + timedelta(seconds=5)
        assert list(feed.every(1)) == []
        with pytest.raises(FeedClosedError, match="the recording has ended"):
            feed.sleep(1)
    with KalshiFeed.replay(
        frames, speed=50
    ) as feed:  # at the other speeds too, although the books may be newer then
        feed.sleep(2)
        assert feed.now() >= START + timedelta(seconds=2)
    with make_feed() as live:
        begun = time.monotonic()
        live.sleep(0.05)
        moments = [now for now, _ in zip(live.every(0.02), range(3), strict=False)]
        assert 0.1 <= time.monotonic() - begun < 5
        assert all(abs(datetime.now(timezone.utc) - now) < timedelta(seconds=5) for now in moments)
        sleeper = in_thread(lambda: live.sleep(60))
        poller = in_thread(lambda: list(live.every(60)))
        time.sleep(0.05)
        live.close()
        assert sleeper.result(5) is None and poller.result(5) == []


def test_R26_stepping_out_and_threads_that_end(frames: Path) -> None:
    with KalshiFeed.replay(frames, speed="wait") as feed:
        assert feed.wait_for_book(A, timeout=5).seq == 1
        seen: list[Any] = []

        def leaves() -> None:
            seen.append(feed.book(A).wait_for_update().seq)
            time.sleep(0.05)  # the thread ends without saying so

        thread = threading.Thread(target=leaves)
        thread.start()
        with feed.stepping_out():
            with feed.stepping_out():
                pass
            thread.join(20)
        assert seen == [2] and feed.book(A).seq == 2
        ended = threading.Event()

        def unknown_to_threading() -> None:
            feed.sleep(0)
            ended.set()

        _thread.start_new_thread(unknown_to_threading, ())
        assert ended.wait(20)
        assert feed.book(A).wait_for_update(5).seq == 3
        with pytest.raises(ZeroDivisionError), feed.stepping_out():
            1 / 0  # noqa: B018
        time.sleep(0.05)
        assert feed.book(A).seq == 3


def test_R26_a_thread_that_holds_the_time_still_is_named_once(
    frames: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert waits._NAMED_AFTER == 10.0
    monkeypatch.setattr(waits, "_NAMED_AFTER", 0.1)
    with KalshiFeed.replay(frames, speed="wait") as feed:
        wait_until(lambda: "none has come yet" in caplog.text, what="the hint that no thread waits")
        time.sleep(0.3)
        assert feed.now() == START and feed.state is FeedState.CONNECTING
        feed.wait_for_book(A, timeout=5)
        wait_until(
            lambda: "MainThread is holding the replay's time still" in caplog.text, what="the thread's name"
        )
        feed.book(A).wait_for_update(5)
        time.sleep(0.3)
    assert (
        caplog.text.count("none has come yet") == 1
        and caplog.text.count("is holding the replay's time still") == 1
    )


def test_R26_close_while_the_time_stands(frames: Path) -> None:
    feed = KalshiFeed.replay(frames, speed="wait").start()
    feed.wait_for_book(A, timeout=5)
    waiter = in_thread(lambda: feed.wait_for("trade"))
    with feed.messages("trade") as stream:
        taker = in_thread(stream.get)
        time.sleep(0.05)
        stream.close()
        with pytest.raises(FeedClosedError):
            taker.result(5)
    feed.close()
    with pytest.raises(FeedClosedError):
        waiter.result(5)
    # nothing is played, so the timeout is this machine's
    with pytest.raises(WaitTimeout, match="call start"):
        KalshiFeed.replay(frames, speed="wait").wait_for_book(A, timeout=0.05)


def test_R26_it_can_be_played_again_and_from_a_moment(frames: Path) -> None:
    feed = KalshiFeed.replay(frames, speed="wait", at=3.0)
    seen = []
    for _ in range(2):
        with feed:
            book = feed.wait_for_book(A, timeout=5)
            seen.append((book.seq, feed.now()))
            feed.sleep(0.5)
            seen.append((book.seq, feed.now()))
    assert seen == [(5, START + timedelta(seconds=3)), (6, START + timedelta(seconds=3.5))] * 2


def test_R26_at_other_speeds_the_end_names_it(frames: Path) -> None:
    with KalshiFeed.replay(frames) as feed:
        waits_for = in_thread(lambda: feed.wait_for("trade", timeout=20))
        with pytest.raises(KalshiFeedError, match=r'the recording has ended.*speed="wait"'):
            waits_for.result(10)
        feed.run_forever()  # raises nothing
        with feed.stepping_out():
            pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals here")
def test_R26_ctrl_c_ends_a_wait_in_recorded_time(frames: Path) -> None:
    go = threading.Event()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with KalshiFeed.replay(frames, speed="wait") as feed:
            joined = threading.Event()

            def keeps_the_time() -> None:
                feed.sleep(0)
                joined.set()
                go.wait(20)

            keeper = in_thread(keeps_the_time)
            assert joined.wait(20)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                feed.wait_for("trade")
            assert inside.waiters(feed) == 0 and feed.now() == START
            go.set()
            keeper.result(20)
            assert feed.wait_for_book(A, timeout=5).seq == 1  # nothing has passed without this thread
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
