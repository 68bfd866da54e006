"""Every blocking call: value, timeout and its message, the feed's end, Ctrl-C, many threads at once."""

# mypy: no-strict-equality

from __future__ import annotations

import functools
import gc
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import (
    AuthenticationError,
    BookStatus,
    ConfigurationError,
    FeedClosedError,
    KalshiFeed,
    SubscriptionError,
    WaitTimeout,
)
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.feed.support import A, B, FeedMaker, Recorder, in_thread, program, sides, wait_equal
from tests.support import wait_until

THREADS = 20


# -- wait_for_book -------------------------------------------------------------------------------------------


@pytest.mark.greenlets
def test_wait_for_book_from_twenty_threads(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.refuse_commands(27, cmd="subscribe")  # delayed once, so that all of them wait
    feed = make_feed()
    calls = [in_thread(lambda: feed.wait_for_book(A, timeout=10)) for _ in range(THREADS)]
    feed.start()
    books = [call.result() for call in calls]
    assert all(book is books[0] for book in books)
    assert books[0].is_live
    assert sides(books[0]) == exchange.book(A)
    assert len(feed.subscriptions) == 1  # one for all of them
    assert [c["cmd"] for c in exchange.commands] == ["subscribe", "subscribe"]


def test_wait_for_twenty_books_from_twenty_threads(exchange: Exchange, feed: KalshiFeed) -> None:
    tickers = [f"KXMANY-{n}" for n in range(THREADS)]
    for n, ticker in enumerate(tickers):
        exchange.add_market(ticker, yes={"0.5": n + 1})
    calls = [in_thread(functools.partial(feed.wait_for_book, ticker, timeout=10)) for ticker in tickers]
    for n, call in enumerate(calls):
        assert call.result().best_bid() == (Decimal("0.5"), n + 1)
    assert {sub.market_tickers for sub in feed.subscriptions} == {(ticker,) for ticker in tickers}


@pytest.mark.greenlets
def test_R07_wait_for_book_from_a_callback(exchange: Exchange, feed: KalshiFeed) -> None:
    got: list[Any] = []

    @feed.on_snapshot(market_tickers=A)
    def first(snapshot: Any) -> None:
        got.append(
            feed.wait_for_book(B, timeout=5)
        )  # its snapshot comes even though this worker is busy here

    feed.subscribe("orderbook_delta", A)
    wait_until(lambda: got)
    assert got[0].market_ticker == B
    assert got[0].is_live


@pytest.mark.greenlets
def test_R11_close_ends_twenty_waits(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.ignore_commands(n=None)
    feed = make_feed().start()
    calls = [in_thread(lambda: feed.wait_for_book(A)) for _ in range(THREADS)]  # without a timeout
    exchange.wait_for_command("subscribe")
    assert all(call.is_running for call in calls)
    feed.close()
    for call in calls:
        assert type(call.ended()) is FeedClosedError


@pytest.mark.greenlets
def test_R11_a_fatal_error_ends_twenty_waits(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.close()
    feed = make_feed().start()
    calls = [in_thread(lambda: feed.wait_for_book(A)) for _ in range(THREADS)]
    wait_until(lambda: "RECONNECTING" in repr(feed))
    exchange.reject_next(status=403)
    exchange.start()
    errors = [call.ended() for call in calls]
    assert all(type(error) is AuthenticationError for error in errors)
    assert len({id(error) for error in errors}) == THREADS  # each has its own error and traceback


def test_book_that_is_live_already_needs_no_wait(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    assert feed.wait_for_book(A, timeout=0) is book


@pytest.mark.greenlets
def test_stale_book_is_waited_for_until_it_is_right(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    exchange.ignore_commands()  # the first get_snapshot
    exchange.lose()
    exchange.change(A, "yes", "0.4", 1)
    exchange.change(A, "yes", "0.4", 1)
    wait_until(lambda: book.status is BookStatus.STALE)
    call = in_thread(lambda: feed.wait_for_book(A, timeout=5))
    exchange.snapshot(A)
    assert call.result().best_bid() == (Decimal("0.4"), 12)


def test_refused_book_says_so_and_can_be_asked_for_again(exchange: Exchange, feed: KalshiFeed) -> None:
    exchange.refuse_commands(26, cmd="subscribe", n=2)
    for _ in range(2):
        with pytest.raises(SubscriptionError, match="error 26"):
            feed.wait_for_book(A, timeout=30)
    assert feed.wait_for_book(A, timeout=5).is_live
    assert len([c for c in exchange.commands if c["cmd"] == "subscribe"]) == 3
    assert [sub.state.value for sub in feed.subscriptions] == ["ACTIVE"]  # asking again leaves nothing behind
    assert feed.health().is_ok


@pytest.mark.parametrize("ticker", ["", "A B", "A,B", 7, None, ["KX-A"]])
def test_bad_tickers_are_refused(ticker: Any, feed: KalshiFeed) -> None:
    with pytest.raises(ConfigurationError):
        feed.wait_for_book(ticker, timeout=1)
    with pytest.raises(ConfigurationError):
        feed.book(ticker)


# -- timeouts say what was missing ---------------------------------------------------------------------------


def _expect(text: str, call: Callable[[], object]) -> None:
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match=text) as caught:
        call()
    assert isinstance(caught.value, TimeoutError)
    assert 0.04 < time.monotonic() - began < 2


def test_timeout_of_a_feed_that_was_not_started(make_feed: FeedMaker) -> None:
    feed = make_feed()
    subscription = feed.subscribe("trade", [A])
    for call in (
        lambda: feed.wait_for_book(A, timeout=0.05),
        lambda: feed.wait_until_connected(0.05),
        lambda: subscription.wait(0.05),
        lambda: feed.wait_for("trade", timeout=0.05),
        lambda: feed.list_subscriptions(0.05),
    ):
        _expect("not started; call start()", call)


def test_timeout_of_a_feed_that_is_not_connected(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.close()
    feed = make_feed().start()
    wait_until(lambda: "RECONNECTING" in repr(feed))
    subscription = feed.subscribe("trade", [A])
    for call in (
        lambda: feed.wait_for_book(A, timeout=0.05),
        lambda: feed.wait_until_connected(0.05),
        lambda: subscription.wait(0.05),
        lambda: feed.wait_for("trade", timeout=0.05),
        lambda: feed.list_subscriptions(0.05),
    ):
        _expect(r"not connected to wss://127.0.0.1:\d+/trade-api/ws/v2.*refused", call)


def test_timeout_without_confirmation(exchange: Exchange, feed: KalshiFeed) -> None:
    exchange.ignore_commands(n=None)
    feed.wait_until_connected(5)
    _expect(f"has not confirmed orderbook_delta for {A}", lambda: feed.wait_for_book(A, timeout=0.05))
    _expect("has not confirmed trade", lambda: feed.subscribe("trade", [A]).wait(0.05))
    _expect("no answer to list_subscriptions", lambda: feed.list_subscriptions(0.05))


def test_timeout_without_snapshot(exchange: Exchange, feed: KalshiFeed) -> None:
    feed.wait_for_book(B, timeout=5)
    exchange.lose(type="orderbook_snapshot", n=100)
    subscription = feed.subscribe("orderbook_delta", A).wait(5)
    assert subscription.sids
    _expect(f"no snapshot of {A} has come; its book is PENDING", lambda: feed.wait_for_book(A, timeout=0.05))


@pytest.mark.greenlets
def test_timeout_of_a_message(exchange: Exchange, feed: KalshiFeed) -> None:
    feed.wait_until_connected(5)
    _expect("nobody has subscribed to 'trade'", lambda: feed.wait_for("trade", timeout=0.05))
    feed.subscribe("trade", [A]).wait(5)
    _expect("no matching 'trade' message has come", lambda: feed.wait_for("trade", timeout=0.05))


def test_timeout_of_an_update(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    _expect(f"book of {A} .LIVE. did not change", lambda: book.wait_for_update(0.05))


@pytest.mark.parametrize("timeout", [-1, "5", float("nan"), True])
def test_R12_bad_timeouts_are_refused(timeout: Any, exchange: Exchange, feed: KalshiFeed) -> None:
    book, subscription = feed.wait_for_book(A, timeout=5), feed.subscribe("trade", [A])
    for call in (
        lambda: feed.wait_for_book(A, timeout=timeout),
        lambda: feed.wait_until_connected(timeout),
        lambda: subscription.wait(timeout),
        lambda: feed.wait_for("trade", timeout=timeout),
        lambda: feed.list_subscriptions(timeout),
        lambda: book.wait_for_update(timeout),
        lambda: feed.close(timeout),
    ):
        with pytest.raises(ConfigurationError):
            call()


# -- the other waits -----------------------------------------------------------------------------------------


def test_wait_for_update_wakes_with_the_next_change(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    call = in_thread(lambda: book.wait_for_update(5))
    wait_until(lambda: inside.waiters(feed))
    exchange.change(A, "yes", "0.40", 1)
    view = call.result()
    assert view.best_bid() == (Decimal("0.4"), 11)
    assert view.version == book.version


@pytest.mark.greenlets
def test_wait_for_update_after_a_version_misses_nothing(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    seen = book.version
    exchange.change(A, "yes", "0.40", 1)
    wait_until(lambda: book.version > seen)
    assert (
        book.wait_for_update(timeout=0, after=seen).version == seen + 1
    )  # it has changed since then: no wait
    with pytest.raises(WaitTimeout):
        book.wait_for_update(timeout=0.01, after=book.version)


def test_wait_for_update_sees_status_changes_and_the_end(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    call = in_thread(lambda: book.wait_for_update(5))
    wait_until(lambda: inside.waiters(feed))
    exchange.reset()
    assert call.result().status is BookStatus.STALE
    wait_equal(feed, exchange, A)
    call = in_thread(lambda: book.wait_for_update(after=10**9))
    wait_until(lambda: inside.waiters(feed))
    feed.close()
    assert type(call.ended()) is FeedClosedError


@pytest.mark.greenlets
def test_wait_for_with_a_predicate(exchange: Exchange, feed: KalshiFeed) -> None:
    feed.subscribe("trade", [A, B]).wait(5)
    threads = []

    def large(trade: Any) -> bool:
        threads.append(threading.current_thread())
        return bool(trade.count >= 10)

    call = in_thread(lambda: feed.wait_for("trade", large, timeout=5))
    wait_until(lambda: inside.streams(feed))
    for count in (1, 5, 10, 20):
        exchange.trade(A, "yes", "0.5", count)
    assert call.result().count == 10
    wait_until(lambda: feed.stats().messages["trade"] == 4)  # the last one is not for the next wait
    assert threads[0] is threads[-1] is not threading.current_thread()
    assert "kalshi-feed" not in threads[0].name  # the predicate runs in the caller's thread
    broken = in_thread(lambda: feed.wait_for("trade", lambda trade: 1 / 0, timeout=5))
    wait_until(lambda: inside.streams(feed))
    exchange.trade(A, "yes", "0.5", 1)
    assert type(broken.ended()) is ZeroDivisionError


@pytest.mark.parametrize("ending", ["close", "fatal"])
@pytest.mark.greenlets
def test_messages_end_with_the_feed(ending: str, exchange: Exchange, feed: KalshiFeed) -> None:
    feed.subscribe("trade", [A, B]).wait(5)
    stream, looped = feed.messages("trade", market_tickers=[A]), feed.messages("trade")
    seen: list[Any] = []

    def loop() -> None:
        for trade in looped:
            seen.append(trade)

    looping = in_thread(loop)
    exchange.trade(B, "yes", "0.5", 1)
    exchange.trade(A, "yes", "0.5", 2)
    wait_until(lambda: len(seen) == 2)
    if ending == "close":
        feed.close()
        looping.result()
    else:
        exchange.reject_next(status=401)
        exchange.reset()
        assert type(looping.ended()) is AuthenticationError
    assert next(stream).count == 2  # what came before the end is still handed out
    with pytest.raises(FeedClosedError if ending == "close" else AuthenticationError):
        next(stream)


def test_messages_are_bounded_and_say_what_they_drop(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    feed.subscribe("trade", [A]).wait(5)
    stream = feed.messages("trade", maxsize=5)
    for count in range(1, 21):
        exchange.trade(A, "yes", "0.5", count)
    wait_until(lambda: len(heard.of("trade")) == 20)
    assert [stream.get(1).count for _ in range(5)] == [16, 17, 18, 19, 20]
    assert stream.dropped == 15
    assert sum(lag.dropped for lag in heard.lags) == feed.stats().dropped == 15


def test_calls_after_close_say_closed(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    subscription = feed.subscriptions[0]
    feed.close()
    for call in (
        lambda: feed.wait_for_book(A),
        lambda: feed.wait_for_book(B),
        feed.wait_until_connected,
        subscription.wait,
        lambda: feed.wait_for("trade"),
        lambda: next(feed.messages("trade")),
        feed.list_subscriptions,
        book.wait_for_update,
    ):
        assert isinstance(in_thread(call).ended(), FeedClosedError)
    assert len(feed.subscriptions) == 1  # waiting for B on a closed feed did not subscribe to anything
    assert sides(book) == exchange.book(A)


def test_list_subscriptions(exchange: Exchange, feed: KalshiFeed) -> None:
    assert feed.list_subscriptions(5) == ()
    feed.subscribe(["orderbook_delta", "trade", "ticker"], [A]).wait(5)
    listed = feed.list_subscriptions(5)
    assert sorted(listed) == sorted((s["channel"], s["sid"]) for s in exchange.subscriptions)
    assert isinstance(listed, tuple) and len(listed) == 3


@pytest.mark.greenlets
def test_list_subscriptions_of_two_threads_do_not_mix(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    patient = in_thread(lambda: feed.list_subscriptions(10))
    wait_until(lambda: len(inside.wanted(feed).lists) == 1)
    with pytest.raises(WaitTimeout):
        feed.list_subscriptions(0.01)  # gives up: only its own request goes away
    feed.start()
    assert patient.result() == ()


# -- Ctrl-C --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals here")
@pytest.mark.parametrize(
    "wait", ["book", "connected", "subscription", "message", "stream", "update", "list", "close"]
)
def test_R10_ctrl_c_ends_every_wait(wait: str, exchange: Exchange, make_feed: FeedMaker) -> None:
    """SIGINT while the main thread waits; the feed is unharmed."""
    feed = make_feed()
    if wait != "connected":
        feed.start().wait_until_connected(5)
    exchange.ignore_commands(n=None)
    subscription = feed.subscribe(["orderbook_delta", "trade"], [A])
    calls: dict[str, Callable[[], Any]] = {
        "book": lambda: feed.wait_for_book(A),
        "connected": feed.wait_until_connected,
        "subscription": subscription.wait,
        "message": lambda: feed.wait_for("trade"),
        "stream": lambda: next(feed.messages("trade")),
        "update": feed.book(A).wait_for_update,
        "list": feed.list_subscriptions,
        "close": lambda: feed.close(timeout=30),
    }
    if wait == "close":
        exchange.freeze()

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    gc.collect()
    gc.disable()  # Python loses what a signal handler raises during a destructor
    began = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            calls[wait]()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert time.monotonic() - began < 2
    assert inside.waiters(feed) == 0
    exchange.thaw()
    if wait != "close":
        exchange.behave()
        feed.start()
        feed.list_subscriptions(5)


def _program(exchange: Exchange, folder: Path, body: str) -> subprocess.Popen[str]:
    tell = "feed.on_state(lambda change: print(change.state.value, flush=True))\n"
    command = program(exchange, folder, tell + body)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_R10_ctrl_c_in_run_forever_closes_cleanly(exchange: Exchange, tmp_path: Path) -> None:
    with _program(
        exchange, tmp_path, f"feed.subscribe('orderbook_delta', '{A}')\nfeed.run_forever()\nprint('after')"
    ) as p:
        exchange.wait_for_command("subscribe", 10)
        os.kill(p.pid, signal.SIGINT)
        out, err = p.communicate(timeout=10)
    assert out.split() == ["CONNECTING", "CONNECTED", "CLOSED", "after"]
    assert (p.returncode, err) == (0, "")
    exchange.wait_for_connections(0)


def test_R10_ctrl_c_in_wait_for_book_ends_the_program(exchange: Exchange, tmp_path: Path) -> None:
    exchange.ignore_commands(n=None)
    with _program(exchange, tmp_path, f"with feed:\n    feed.wait_for_book('{A}')") as p:
        exchange.wait_for_command("subscribe", 10)
        os.kill(p.pid, signal.SIGINT)
        out, err = p.communicate(timeout=10)
    assert err.strip().endswith("KeyboardInterrupt")
    assert out.split()[-1] == "CLOSED"
    assert p.returncode == -signal.SIGINT
