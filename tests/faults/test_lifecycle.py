"""The life of the feed among other threads and other feeds, and with its own defects."""

# mypy: no-strict-equality

from __future__ import annotations

import json
import math
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import BookStatus, FeedClosedError, FeedState, KalshiFeed, KalshiFeedError, WaitTimeout
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.feed.support import (
    A,
    B,
    FeedMaker,
    HurriedFeed,
    Recorder,
    in_thread,
    own_threads,
    program,
    wait_equal,
)
from tests.support import wait_until

pytestmark = pytest.mark.slow

# -- waits ---------------------------------------------------------------------------------------------------


def _waits(feed: KalshiFeed, timeout: float | None) -> dict[str, Callable[[], Any]]:
    """Return every wait there is, for something that never comes."""
    subscription, book, stream = (
        feed.subscribe(["orderbook_delta", "ticker"], B),
        feed.book(B),
        feed.messages("fill"),
    )
    return {
        "wait_for_book": lambda: feed.wait_for_book(A, timeout),
        "wait": lambda: subscription.wait(timeout),
        "wait_for": lambda: feed.wait_for("fill", timeout=timeout),
        "wait_for_update": lambda: book.wait_for_update(timeout, after=10**9),
        "list_subscriptions": lambda: feed.list_subscriptions(timeout),
        "get": lambda: stream.get(timeout),
    }


@pytest.mark.parametrize("ending", ["close", "fatal"])
def test_R11_every_kind_of_wait_ends_with_the_feed(
    ending: str, exchange: Exchange, make_feed: FeedMaker
) -> None:
    exchange.ignore_commands(n=None)
    feed = make_feed().start().wait_until_connected(5)
    waits = [*_waits(feed, None).values(), feed.run_forever, lambda: next(feed.messages("fill"))]
    calls = [in_thread(wait) for wait in waits for _ in range(3)]
    wait_until(lambda: inside.waiters(feed) == 15 and inside.streams(feed) == 7)
    assert all(call.is_running for call in calls)
    began = time.monotonic()
    if ending == "close":
        feed.close()
    else:
        exchange.reject_next(status=401)
        exchange.reset()
    errors = [call.ended() for call in calls]
    assert time.monotonic() - began < 3
    for wait, error in zip([w for w in waits for _ in range(3)], errors, strict=True):
        if ending == "close":
            assert isinstance(error, FeedClosedError) or (wait == feed.run_forever and error is None)
        else:
            assert isinstance(error, KalshiFeedError) and getattr(error, "status", 0) == 401
    assert inside.waiters(feed) == 0


@pytest.mark.parametrize("timeout", [0, 0.0])
def test_R12_a_timeout_of_zero_looks_once(timeout: float, exchange: Exchange, feed: KalshiFeed) -> None:
    exchange.ignore_commands(n=None)
    feed.wait_until_connected(5)
    for name, wait in _waits(feed, timeout).items():
        began = time.monotonic()
        with pytest.raises(WaitTimeout):
            wait()
        assert time.monotonic() - began < 0.5, name
    exchange.behave()
    exchange.reset()
    feed.wait_for_book(A, timeout=5)
    assert feed.wait_for_book(A, timeout=timeout).is_live
    assert feed.wait_until_connected(timeout) is feed


@pytest.mark.parametrize("timeout", [None, math.inf, 1e300, 10**400])
def test_R12_no_timeout_waits_until_it_comes(timeout: Any, exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.ignore_commands("subscribe")
    feed = make_feed(HurriedFeed)
    heard = feed.messages("trade")
    calls = [
        in_thread(lambda: feed.wait_until_connected(timeout)),
        in_thread(lambda: feed.wait_for_book(A, timeout)),
        in_thread(lambda: feed.wait_for("trade", timeout=timeout)),
        in_thread(lambda: heard.get(timeout)),
        in_thread(lambda: feed.list_subscriptions(timeout)),
    ]
    wait_until(lambda: inside.waiters(feed) == 3 and inside.streams(feed) == 2)
    feed.start().subscribe("trade", A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    for call in calls:
        call.result(10)


# -- many feeds ----------------------------------------------------------------------------------------------

FEEDS = 50


def test_R18_fifty_feeds_and_a_server_that_starts_again(exchange: Exchange, tmp_path: Path) -> None:
    """In a separate program, where every thread and descriptor belongs to the feeds."""
    body = f"""
    import logging
    logging.disable(logging.CRITICAL)
    count = lambda: len(os.listdir('/proc/self/fd')) if os.path.exists('/proc/self/fd') else 0
    before, delays = count(), []
    feeds = [make(HurriedFeed, reconnect=ReconnectPolicy(initial_delay=0.3, max_delay=1.0)) for _ in range({FEEDS})]
    for feed in feeds:
        feed.on_state(lambda change: delays.append(change.delay) if change.attempt == 1 and change.delay else None)
        feed.start()
    live = lambda: all(feed.wait_for_book('{A}', 20).is_live for feed in feeds)
    print(json.dumps([live(), len(own_threads()), count() - before]), flush=True)
    sys.stdin.readline()
    until = time.monotonic() + 20
    while any(feed.stats().reconnects < 1 for feed in feeds) and time.monotonic() < until:
        time.sleep(0.01)
    again = live() and all(feed.stats().reconnects >= 1 for feed in feeds)
    feeds[0].close()
    others = all(feed.state is FeedState.CONNECTED for feed in feeds[1:])
    print(json.dumps([again, len(set(delays)), min(delays), max(delays), others]), flush=True)
    began = time.monotonic()
    for feed in feeds:
        feed.close()
    print(json.dumps([own_threads(), count() - before, time.monotonic() - began]), flush=True)
    """  # noqa: E501
    with subprocess.Popen(
        program(exchange, tmp_path, body),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        live, threads, descriptors = json.loads(process.stdout.readline())
        assert (live, threads) == (True, 2 * FEEDS)
        if descriptors:
            assert descriptors == 3 * FEEDS  # the socket and the wake-up pair
        exchange.close()
        exchange.start()
        process.stdin.write("\n")
        process.stdin.flush()
        out, err = process.communicate(timeout=40)
    assert (process.returncode, err) == (0, "")
    told = [json.loads(line) for line in out.splitlines()]
    again, different, shortest, longest, others = told[0]
    assert again and others
    assert different > FEEDS / 2 and 0.15 <= shortest < longest <= 0.3  # each has its own jitter
    assert told[1][:2] == [[], 0]


def test_R18_one_feed_closed_or_failed_leaves_the_others(exchange: Exchange, make_feed: FeedMaker) -> None:
    feeds = [make_feed() for _ in range(10)]
    for feed in feeds:
        feed.start()
    for feed in feeds:
        feed.wait_for_book(A, timeout=5)
    assert len(own_threads()) == 20
    feeds[0].close()
    exchange.change(A, "yes", "0.4", 1)
    for feed in feeds[1:]:
        wait_equal(feed, exchange, A)
    assert feeds[0].book(A).status is BookStatus.CLOSED


def test_R14_fifty_feeds_with_stuck_callbacks_do_not_hold_up_the_exit(
    exchange: Exchange, tmp_path: Path
) -> None:
    """They share one deadline, and the exit code is the program's own."""
    body = f"""
    import logging
    logging.disable(logging.CRITICAL)
    feeds = [make() for _ in range(10)]
    for feed in feeds:
        feed.on_snapshot(lambda message: threading.Event().wait())
        feed.start().subscribe('orderbook_delta', '{A}')
    for feed in feeds:
        feed.wait_for_book('{A}', 10)
    print('ready', flush=True)
    sys.stdin.readline()
    sys.exit(3)
    """
    with subprocess.Popen(
        program(exchange, tmp_path, body),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        _, err = process.communicate("\n", timeout=30)
        took = time.monotonic() - began
    assert (process.returncode, err) == (3, "")
    assert took < 6  # the feeds get 2 s, the interpreter and the machine the rest


# -- our own defects -----------------------------------------------------------------------------------------

SEAMS = {
    "session.receive": lambda engine: (type(engine.session), "receive"),
    "session.tick": lambda engine: (type(engine.session), "tick"),
    "session.next_deadline": lambda engine: (type(engine.session), "next_deadline"),
    "session.output.take": lambda engine: (type(engine.session.output), "take"),
    "session.disconnected": lambda engine: (type(engine.session), "disconnected"),
    "session.connected": lambda engine: (type(engine.session), "connected"),
    "dispatcher.put": lambda engine: (engine.dispatcher, "put"),
    "monitor.received": lambda engine: (engine._metering, "received"),
    "retries.next_delay": lambda engine: (engine._retries, "next_delay"),
}


@pytest.mark.parametrize("error", [LookupError, MemoryError, SystemExit])
@pytest.mark.parametrize("seam", SEAMS)
def test_R19_defect_in_the_loop_fails_the_feed_with_its_cause(
    seam: str,
    error: type[BaseException],
    exchange: Exchange,
    make_feed: FeedMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A defect that a fresh session does not cure. Every wait raises, every book says that it is not LIVE,
    and close() cleans everything up."""
    feed = make_feed()
    heard = Recorder(feed)
    subscription = feed.subscribe(["orderbook_delta", "trade"], [A, B])
    feed.start()
    books = [feed.wait_for_book(ticker, timeout=5) for ticker in (A, B)]
    subscription.wait(5)
    exchange.add_market("KXNEVER")
    exchange.lose(n=10**6, type="orderbook_snapshot")
    waits = [
        in_thread(call)
        for call in (lambda: feed.wait_for_book("KXNEVER"), lambda: feed.wait_for("fill"), feed.run_forever)
    ]
    wait_until(lambda: inside.waiters(feed) == 2 and inside.streams(feed))
    defect = error("a part of ours")

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise defect

    with monkeypatch.context() as patch:
        owner, name = SEAMS[seam](inside.engine(feed))
        patch.setattr(owner, name, broken)
        if seam in ("session.disconnected", "session.connected", "retries.next_delay"):
            exchange.reset()
        else:
            exchange.trade(A, "yes", "0.5", 1)
            exchange.change(A, "yes", "0.4", 1)
        errors = [wait.ended() for wait in waits]
        wait_until(lambda: not own_threads())
    for raised in errors:
        assert isinstance(raised, KalshiFeedError)
        assert raised.__cause__ is defect
        assert "defect in kalshi_feed" in str(raised) and "a part of ours" in str(raised)
    assert feed.state is FeedState.FAILED
    for call in (
        feed.start,
        lambda: feed.book(A),
        lambda: feed.subscribe("ticker"),
        lambda: feed.wait_for_book(A, 0),
    ):
        with pytest.raises(KalshiFeedError, match="a part of ours"):
            call()
    assert [book.status for book in books] == [BookStatus.STALE] * 2
    assert feed.health().status == "down"
    if seam != "dispatcher.put":  # this is the way to on_state
        assert heard.steps()[-1] is FeedState.FAILED
    exchange.behave()
    feed.close()
    assert feed.state is FeedState.CLOSED
    feed.start()
    wait_equal(feed, exchange, A, B)


# -- any order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_R16_any_order_of_calls(seed: int, exchange: Exchange, make_feed: FeedMaker) -> None:
    """Each call returns in time or says what is wrong; the last one decides."""
    dice = random.Random(seed)
    feed = make_feed()
    allowed = (FeedClosedError, WaitTimeout)
    calls: list[Callable[[], Any]] = [
        feed.start,
        feed.start,
        feed.close,
        lambda: feed.close(0),
        lambda: feed.wait_until_connected(dice.choice((0, 0.05))),
        lambda: feed.wait_for_book(dice.choice((A, B)), dice.choice((0, 0.05, 1))),
        lambda: feed.subscribe("trade", dice.choice((A, B))).unsubscribe(),
        exchange.reset,
        lambda: exchange.trade(A, "yes", "0.5", 1),
    ]
    for _ in range(60):
        call, began = dice.choice(calls), time.monotonic()
        try:
            call()
        except allowed:
            pass
        assert time.monotonic() - began < 3
        running = feed.state not in (FeedState.IDLE, FeedState.CLOSED)
        assert len(own_threads()) == (2 if running else 0)
    assert feed.start().wait_for_book(A, timeout=5).is_live
    feed.close()
    assert own_threads() == []


def test_R17_threads_start_close_and_subscribe_at_once(exchange: Exchange, make_feed: FeedMaker) -> None:
    """The last call decides. There are never two readers, and never a reader behind a CLOSED feed."""
    feed = make_feed()
    until = time.monotonic() + 1.5

    def hammer(seed: int) -> int:
        dice = random.Random(seed)
        rounds = 0
        while time.monotonic() < until:
            rounds += 1
            try:
                dice.choice((feed.start, feed.start, feed.close, lambda: feed.close(0.01)))()
                subscription = feed.subscribe(["orderbook_delta", "trade"], dice.choice((A, B)))
                feed.wait_for_book(A, dice.choice((0, 0.02)))
                subscription.unsubscribe()
            except (FeedClosedError, WaitTimeout):
                pass
            except KalshiFeedError as error:
                assert "still closing" in str(error)
            # one that ends and one that begins
            assert len([name for name in own_threads() if name.endswith("reader")]) <= 2
        return rounds

    calls = [in_thread(lambda seed=seed: hammer(seed)) for seed in range(8)]  # type: ignore[misc]
    assert all(call.result(20) for call in calls)
    feed.close()
    wait_until(lambda: not own_threads())
    assert feed.state is FeedState.CLOSED
    for subscription in feed.subscriptions:
        subscription.unsubscribe()
    feed.start().wait_for_book(A, timeout=5)
    wait_equal(feed, exchange, A)
    assert len(own_threads()) == 2


@pytest.mark.parametrize(
    "error", [RuntimeError("can't start new thread"), MemoryError(), OSError(24, "Too many open files")]
)
@pytest.mark.parametrize("seam", ["thread", "worker", "descriptors"])
def test_R21_start_that_cannot_work(
    seam: str, error: Exception, exchange: Exchange, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = make_feed()
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if ("reader" if seam == "thread" else "worker") in thread.name:
            raise error
        real(thread)

    def none(*args: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        if seam == "descriptors":
            patch.setattr(socket, "socketpair", none)
        else:
            patch.setattr(threading.Thread, "start", start)
        for _ in range(2):
            with pytest.raises(type(error)):
                feed.start()
            wait_until(lambda: not own_threads())
            assert feed.state in (FeedState.IDLE, FeedState.CLOSED)
    feed.start()
    assert feed.wait_for_book(A, timeout=5).is_live
