"""Closing a feed from anywhere: from callbacks, other threads and signal handlers, at every moment."""

# mypy: no-strict-equality

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from kalshi_feed import FeedClosedError, FeedState, KalshiFeed, KalshiFeedError, ReconnectPolicy
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.connection.raw_server import Peer, RawServer
from tests.feed.support import A, B, FeedMaker, Held, Recorder, in_thread, own_threads
from tests.support import wait_until


@pytest.mark.greenlets
def test_R05_close_from_a_callback(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    took: list[float] = []

    @feed.on_trade
    def enough(trade: Any) -> None:
        began = time.monotonic()
        feed.close()
        took.append(time.monotonic() - began)

    feed.start().subscribe("trade", A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    feed.run_forever()
    assert feed.state is FeedState.CLOSED
    wait_until(lambda: own_threads() == [])
    assert took and took[0] < 1


def test_R16_restart_from_a_callback_is_refused_while_closing(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed()
    errors: list[Any] = []

    @feed.on_trade
    def restart(trade: Any) -> None:
        feed.close()
        try:
            feed.start()
        except KalshiFeedError as error:
            errors.append(error)

    feed.start().subscribe("trade", A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: errors)
    assert "still closing" in str(errors[0])
    wait_until(lambda: feed.state is FeedState.CLOSED)
    feed.start().wait_until_connected(5)  # from outside it waits until the old threads are gone


@pytest.mark.greenlets
def test_R17_ten_threads_close(exchange: Exchange, feed: KalshiFeed) -> None:
    feed.wait_for_book(A, timeout=5)
    calls = [in_thread(feed.close) for _ in range(10)]
    for call in calls:
        call.result()
    assert feed.state is FeedState.CLOSED
    assert own_threads() == []


@pytest.mark.greenlets
def test_close_ends_run_forever_of_another_thread(exchange: Exchange, feed: KalshiFeed) -> None:
    running = in_thread(feed.run_forever)
    feed.wait_until_connected(5)
    assert running.is_running
    feed.close()
    assert running.result() is None


def test_run_forever_of_a_closed_feed_returns_at_once(exchange: Exchange, make_feed: FeedMaker) -> None:
    """Otherwise a close() in a callback, before the main thread gets there, would be undone."""
    feed = make_feed().start().wait_until_connected(5)
    feed.close()
    in_thread(feed.run_forever).result(1)
    assert feed.state is FeedState.CLOSED
    assert own_threads() == []
    running = in_thread(feed.start().run_forever)  # started again, it waits again
    feed.wait_until_connected(5)
    assert running.is_running
    feed.close()
    running.result()


def test_R05_close_from_a_state_callback_at_a_fatal_error(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.reject_next(status=401)
    feed = make_feed()
    feed.on_state(lambda change: feed.close() if change.state is FeedState.FAILED else None)
    with pytest.raises(KalshiFeedError):
        feed.run_forever()
    wait_until(lambda: own_threads() == [])


@pytest.mark.parametrize("moment", ["connecting", "tls", "upgrade", "waiting"])
@pytest.mark.greenlets
def test_R16_close_during_a_dial(moment: str, exchange: Exchange, make_feed: FeedMaker) -> None:
    came = threading.Event()

    def serve(peer: Peer) -> None:
        if moment == "upgrade":
            peer.read_request()
        came.set()
        peer.wait_closed()

    with RawServer(serve) as server:
        secure = moment == "tls"
        feed = make_feed(
            url=f"{'wss' if secure else 'ws'}://127.0.0.1:{server.port}/trade-api/ws/v2",
            reconnect=ReconnectPolicy(initial_delay=30, max_delay=30),
        )
        if moment == "waiting":
            server.__exit__(None, None, None)
        feed.start()
        if moment == "waiting":
            wait_until(lambda: feed.state is FeedState.RECONNECTING)
        elif moment != "connecting":
            assert came.wait(5)
        began = time.monotonic()
        feed.close()
        assert time.monotonic() - began < 1
        assert own_threads() == []


def test_close_is_bounded_when_the_peer_does_not_answer(exchange: Exchange, feed: KalshiFeed) -> None:
    feed.wait_for_book(A, timeout=5)
    exchange.freeze()
    began = time.monotonic()
    feed.close(timeout=0.5)
    assert time.monotonic() - began < 1
    assert own_threads() == []
    assert feed.state is FeedState.CLOSED


@pytest.mark.greenlets
def test_R04_what_is_queued_is_still_delivered(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    held = feed.on_trade(Held())
    feed.start().subscribe("trade", A).wait(5)
    for count in range(1, 101):
        exchange.trade(A, "yes", "0.5", count)
    wait_until(lambda: feed.stats().messages.get("trade") == 100)
    closing = in_thread(feed.close)
    wait_until(lambda: feed.state is FeedState.CLOSED)
    held.go_on.set()
    closing.result()
    assert [trade.count for trade in held.seen] == list(range(1, 101))
    assert feed.stats().dropped == 0


@pytest.mark.greenlets
def test_R04_what_is_not_delivered_in_time_is_counted(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    held = feed.on_trade(Held())
    feed.start().subscribe("trade", A).wait(5)
    for count in range(1, 101):
        exchange.trade(A, "yes", "0.5", count)
    wait_until(lambda: feed.stats().messages.get("trade") == 100)
    assert held.entered.wait(5)
    closing = in_thread(lambda: feed.close(timeout=0.1))
    wait_until(lambda: feed.stats().dropped)
    held.go_on.set()
    closing.result()
    wait_until(lambda: own_threads() == [])
    assert feed.stats().dropped == sum(lag.dropped for lag in heard.lags) == 100 - len(held.seen)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals here")
def test_R09_close_from_a_signal_handler_at_any_moment(exchange: Exchange, make_feed: FeedMaker) -> None:
    """The handler interrupts whatever the main thread is doing; nothing hangs, and the feed ends."""
    feed = make_feed()
    handled: list[float] = []

    def handler(number: int, frame: Any) -> None:
        began = time.monotonic()
        feed.close(timeout=1)
        handled.append(time.monotonic() - began)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for turn in range(60):
            signal.setitimer(signal.ITIMER_REAL, 0.0005 + turn * 0.0004)
            deadline = time.monotonic() + 5
            try:
                feed.start()
                while time.monotonic() < deadline:
                    subscription = feed.subscribe(["orderbook_delta", "trade"], [A, B])
                    feed.book(A).view()
                    feed.stats()
                    feed.health()
                    feed.on_trade(handled.index)
                    feed.off(handled.index)
                    subscription.unsubscribe()
                    feed.wait_for_book(A, timeout=5)
                    feed.subscriptions[0].wait(5)
                    feed.book(A).wait_for_update(0.001)
            except FeedClosedError:
                pass
            except TimeoutError:
                pass
            wait_until(lambda: len(handled) > turn, what="the handler to return")  # noqa: B023
            feed.close()
            assert feed.state is FeedState.CLOSED
            assert own_threads() == []
            for subscription in feed.subscriptions:
                subscription.unsubscribe()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert max(handled) < 2


def test_R09_close_from_a_signal_handler_on_top_of_a_held_lock(exchange: Exchange, feed: KalshiFeed) -> None:
    """The handler cannot wait for a reader that waits for its own thread's lock: it asks and returns."""
    feed.wait_until_connected(5)
    took: list[float] = []

    def handler(number: int, frame: Any) -> None:
        began = time.monotonic()
        feed.close(timeout=3)
        took.append(time.monotonic() - began)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with inside.store(feed).lock:  # as in the middle of a call
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert took[0] < 1
    wait_until(lambda: feed.state is FeedState.CLOSED)
    wait_until(lambda: own_threads() == [])
