"""start, close and everything in between, in any order; nothing is left over when a process just ends."""

# mypy: no-strict-equality

from __future__ import annotations

import copy
import gc
import logging
import pickle
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import (
    AuthenticationError,
    BookStatus,
    ConnectionFailed,
    FeedClosedError,
    FeedState,
    KalshiFeed,
    KalshiFeedError,
    ReconnectPolicy,
)
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import Peer, RawServer
from tests.feed.support import A, B, FeedMaker, Recorder, in_thread, own_threads, program, sides, wait_equal
from tests.support import open_descriptors, wait_until

pytestmark = pytest.mark.slow

THREADS = ["kalshi-feed-reader", "kalshi-feed-worker-0"]


# -- the usual life ------------------------------------------------------------------------------------------


@pytest.mark.greenlets
def test_states_of_a_quiet_life(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    assert feed.state is FeedState.IDLE
    assert own_threads() == []
    assert feed.start() is feed
    assert feed.wait_until_connected(5) is feed
    assert feed.state is FeedState.CONNECTED
    assert own_threads() == THREADS
    feed.close()
    assert feed.state is FeedState.CLOSED
    assert own_threads() == []
    exchange.wait_for_connections(0)
    assert [(change.previous, change.state) for change in heard.states] == [
        (FeedState.IDLE, FeedState.CONNECTING),
        (FeedState.CONNECTING, FeedState.CONNECTED),
        (FeedState.CONNECTED, FeedState.CLOSED),
    ]
    for change in heard.states:
        assert (change.attempt, change.delay, change.gap_started, change.gap_ended) == (0, None, None, None)
    assert "CLOSED" in repr(feed)


def test_the_exchange_is_told_goodbye(make_feed: FeedMaker) -> None:
    frames: list[Any] = []

    def serve(peer: Peer) -> None:
        peer.handshake()
        frames.append(peer.read_frame())
        peer.send(b"\x88\x02\x03\xe8")

    with RawServer(serve) as server:
        feed = make_feed(url=f"ws://127.0.0.1:{server.port}/trade-api/ws/v2", ssl_context=None).start()
        feed.wait_until_connected(5)
        feed.close()
    assert frames == [(8, (1000).to_bytes(2, "big"))]


@pytest.mark.greenlets
def test_context_manager(exchange: Exchange, make_feed: FeedMaker) -> None:
    with make_feed() as feed:
        assert feed.wait_for_book(A, timeout=5).is_live
    assert feed.state is FeedState.CLOSED
    with pytest.raises(ZeroDivisionError), feed:
        assert feed.wait_for_book(A, timeout=5).is_live  # it can be entered again
        1 / 0  # noqa: B018
    assert feed.state is FeedState.CLOSED


def test_name_is_the_threads_prefix(exchange: Exchange, make_feed: FeedMaker) -> None:
    make_feed(name="nfl", workers=3).start().wait_until_connected(5)
    assert own_threads() == ["nfl-kalshi-feed-reader", *(f"nfl-kalshi-feed-worker-{n}" for n in range(3))]
    for thread in threading.enumerate():
        assert "kalshi-feed" not in thread.name or thread.daemon


def test_twenty_lives_leave_nothing(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    feed.start().wait_for_book(A, timeout=5)
    feed.close()
    exchange.wait_for_connections(0)
    before = len(open_descriptors())
    for _ in range(20):
        feed.start().wait_for_book(A, timeout=5)
        feed.close()
    exchange.wait_for_connections(0)
    wait_until(lambda: len(open_descriptors()) <= before)
    assert own_threads() == []


# -- odd orders ----------------------------------------------------------------------------------------------


def test_R16_start_twice(exchange: Exchange, feed: KalshiFeed) -> None:
    feed.start().wait_until_connected(5)
    feed.start()
    assert own_threads() == THREADS
    assert len(exchange.handshakes) == 1


@pytest.mark.greenlets
def test_R16_twenty_threads_start_at_once(exchange: Exchange, make_feed: FeedMaker) -> None:
    for _ in range(5):
        feed = make_feed()
        barrier = threading.Barrier(20)
        calls = [in_thread(lambda: (barrier.wait(5), feed.start())) for _ in range(20)]  # noqa: B023
        for call in calls:
            call.result()
        feed.wait_for_book(A, timeout=5)
        assert own_threads() == THREADS
        feed.close()
        assert own_threads() == []
    assert len(exchange.handshakes) == 5


def test_R16_close_twice_and_before_start(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    feed.close()
    feed.close()
    assert feed.state is FeedState.CLOSED
    with pytest.raises(FeedClosedError):
        feed.wait_until_connected(5)
    feed.start().wait_until_connected(5)
    feed.close()
    feed.close(timeout=0)
    feed.close(timeout=None)  # type: ignore[arg-type]


def test_R16_close_waits_for_threads_that_have_not_begun(make_feed: FeedMaker) -> None:
    def late(*_: Any) -> None:  # the first code that a new thread runs
        sys.setprofile(None)
        time.sleep(0.05)

    feed = make_feed()
    threading.setprofile(late)
    try:
        feed.start()
    finally:
        threading.setprofile(None)
    feed.close()
    assert own_threads() == []


@pytest.mark.greenlets
def test_R16_start_after_close_keeps_callbacks_subscriptions_and_metrics(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    subscription = feed.subscribe(["orderbook_delta", "trade"], [A, B])
    feed.start()
    wait_equal(feed, exchange, A, B)
    book, version = feed.book(A), feed.book(A).version
    messages = feed.stats().messages_total
    feed.close()
    assert book.status is BookStatus.CLOSED
    assert sides(book) == exchange.book(A)  # the last levels stay readable
    assert feed.book(A) is book
    assert sorted(feed.books) == [A, B]  # still wanted
    exchange.set_book(A, yes={"0.2": 2})
    exchange.ignore_commands(n=None)
    feed.start().wait_until_connected(5)
    assert book.status is BookStatus.PENDING
    with pytest.raises(KalshiFeedError):
        book.view(require_live=True)
    exchange.behave()
    exchange.reset()
    wait_equal(feed, exchange, A, B)
    subscription.wait(5)
    assert feed.book(A) is book
    assert book.version > version
    exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: heard.of("trade"))
    assert feed.stats().messages_total > messages
    assert heard.steps()[:5] == [
        FeedState.CONNECTING, FeedState.CONNECTED, FeedState.CLOSED, FeedState.CONNECTING, FeedState.CONNECTED,  # noqa: E501
    ]  # fmt: skip


def test_start_after_exhausted_retries_counts_from_zero(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.close()
    feed = make_feed(reconnect=ReconnectPolicy(max_retries=2, initial_delay=0.01))
    heard = Recorder(feed)
    for _ in range(2):
        with pytest.raises(ConnectionFailed, match="gave up after 2 retries"):
            feed.start().wait_until_connected(10)
        feed.close()
    wait_until(lambda: heard.steps().count(FeedState.FAILED) == 2)
    assert [c.attempt for c in heard.states if c.state is FeedState.RECONNECTING] == [1, 2, 1, 2]


@pytest.mark.greenlets
def test_never_reconnecting(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(reconnect=ReconnectPolicy.never()).start()
    book = feed.wait_for_book(A, timeout=5)
    exchange.close_connections(1001, "going away")
    with pytest.raises(KalshiFeedError, match="1001") as caught:
        feed.run_forever() if feed.state is FeedState.CONNECTED else feed.wait_until_connected(5)
    assert caught.value.code == 1001  # type: ignore[attr-defined]
    assert (feed.state, book.status) == (FeedState.FAILED, BookStatus.STALE)
    assert sides(book) == exchange.book(A)


# -- the process around it -----------------------------------------------------------------------------------


def _run(exchange: Exchange, folder: Path, body: str) -> tuple[int, str, str]:
    done = subprocess.run(program(exchange, folder, body), capture_output=True, text=True, timeout=15)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("pass", 0, "CLOSED\n"),
        ("sys.exit(3)", 3, "CLOSED\n"),
        ("os._exit(5)", 5, ""),
        (
            "feed.on_message(lambda m: threading.Event().wait()); feed.subscriptions[0].request_snapshot()",
            0,
            None,
        ),
    ],
)
def test_R14_interpreter_exit_without_close(
    ending: str, code: int, said: str | None, exchange: Exchange, tmp_path: Path
) -> None:
    """The feed is closed on the way out, callbacks and all, and the exit code is the program's own."""
    body = f"""
    feed.on_state(lambda change: print(change.state.value, flush=True) if change.state.value == 'CLOSED' else None)
    feed.start().subscribe(['orderbook_delta', 'trade'], '{A}').wait(5)
    print(feed.wait_for_book('{A}', 5).best_bid().price, flush=True)
    {ending}
    """  # noqa: E501
    began = time.monotonic()
    returned, out, err = _run(exchange, tmp_path, body)
    assert time.monotonic() - began < 8
    assert returned == code
    exchange.wait_for_connections(0)
    if said is not None:
        assert (out, err) == ("0.4000\n" + said, "")


def test_R14_interpreter_exit_by_an_exception(exchange: Exchange, tmp_path: Path) -> None:
    returned, _, err = _run(
        exchange, tmp_path, f"feed.start().wait_for_book('{A}', 5)\nraise LookupError('mine')"
    )
    assert returned == 1
    assert err.strip().splitlines()[-1] == "LookupError: mine"
    assert "Exception ignored" not in err


def test_R15_a_feed_that_has_failed_may_be_dropped_while_its_last_callbacks_run(exchange: Exchange) -> None:
    released = threading.Event()
    exchange.reject_next(status=403)
    feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
    feed.on_state(lambda change: change.state is FeedState.FAILED and released.wait(10))
    with suppress(AuthenticationError):
        feed.start().run_forever()
    assert feed.state is FeedState.FAILED and own_threads()
    del feed
    gc.collect()  # warned: "was dropped without close()"
    released.set()
    wait_until(lambda: not own_threads())


@pytest.mark.greenlets
def test_R15_feed_dropped_without_close_ends_by_itself(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed: Any = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
    seen: list[Any] = []
    feed.on_trade(seen.append)
    book = feed.start().wait_for_book(A, timeout=5)
    assert own_threads() == THREADS
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del feed
        gc.collect()
        wait_until(lambda: own_threads() == [])
    (warning,) = [
        w for w in caught if issubclass(w.category, ResourceWarning) and "KalshiFeed" in str(w.message)
    ]
    assert "without close()" in str(warning.message)
    assert book.status is BookStatus.CLOSED
    exchange.wait_for_connections(0)


def test_R15_closed_or_idle_feed_is_dropped_silently(exchange: Exchange) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        feed: Any = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
        del feed
        with KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed:
            feed.wait_until_connected(5)
        del feed
        gc.collect()
    assert [w for w in caught if "KalshiFeed" in str(w.message)] == []


def test_feed_cannot_be_pickled_or_copied(exchange: Exchange, feed: KalshiFeed) -> None:
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            call(feed)


def test_R22_logging_handler_that_raises_ends_nothing(exchange: Exchange, make_feed: FeedMaker) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("no disk")

    handler, logger = Broken(), logging.getLogger("kalshi_feed")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        feed = make_feed()
        feed.on_trade(lambda trade: 1 / 0)
        feed.start().subscribe(["orderbook_delta", "trade"], A).wait(5)
        exchange.trade(A, "yes", "0.5", 1)
        wait_until(lambda: feed.stats().callback_errors == 1)
        exchange.reset()
        wait_until(lambda: feed.stats().reconnects == 1)
        wait_equal(feed, exchange, A)
        feed.close()
        assert feed.state is FeedState.CLOSED
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
