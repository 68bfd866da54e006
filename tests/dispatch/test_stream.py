from __future__ import annotations

import gc
import threading
import time
from typing import Any

import pytest

from kalshi_feed.dispatch import MessageStream
from kalshi_feed.errors import (
    AuthenticationError,
    ConfigurationError,
    FeedClosedError,
    KalshiFeedError,
    WaitTimeout,
)
from kalshi_feed.events import Lagged
from tests.support import wait_until

from .conftest import Make
from .support import CONNECTED, LONG, Collector, delta, put, seqs, trade


def test_a_stream_gets_its_type_and_markets_without_any_callback(make: Make) -> None:
    dispatcher = make(start=False)
    everything, some = dispatcher.stream("trade"), dispatcher.stream("trade", ["B"])
    put(dispatcher, trade("A", 1), CONNECTED, delta("A", 2), trade("B", 3), trade(None, 4))
    assert [everything.get(0).seq for _ in range(3)] == [1, 3, 4]
    assert some.get(0).seq == 3
    with pytest.raises(WaitTimeout, match="trade"):
        some.get(0)
    assert dispatcher.counters.depth == 0


def test_get_waits_for_the_next_message(make: Make) -> None:
    dispatcher = make()
    stream = dispatcher.stream("trade")
    timer = threading.Timer(0.05, lambda: put(dispatcher, trade("A", 1)))
    timer.start()
    assert stream.get(LONG).seq == 1
    timer.join(LONG)
    began = time.monotonic()
    with pytest.raises(WaitTimeout) as caught:
        stream.get(0.05)
    assert 0.04 < time.monotonic() - began < 2
    assert isinstance(caught.value, TimeoutError)


def test_overflow_drops_the_oldest_and_is_announced(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = make()
    lags = Collector()
    dispatcher.register(Lagged, lags)
    stream = dispatcher.stream("trade", maxsize=3)
    for n in range(10):
        put(dispatcher, trade(f"K{n}", n))
    assert [stream.get(0).seq for _ in range(3)] == [7, 8, 9]
    put(dispatcher, *(trade("B", n) for n in range(10, 20)))  # more than fit at once
    assert [stream.get(0).seq for _ in range(3)] == [17, 18, 19]
    assert stream.dropped == dispatcher.counters.dropped == 14
    items = lags.wait_until(lambda items: sum(item.dropped for item in items) == 14)
    assert {ticker for item in items for ticker in item.market_tickers} == {f"K{n}" for n in range(7)} | {"B"}
    assert len(caplog.records) == 2  # one per run of losses


def test_the_losses_of_streams_and_callbacks_add_up(make: Make) -> None:
    dispatcher = make(queue_size=5, start=False)
    lags = Collector()
    dispatcher.register(Lagged, lags)
    dispatcher.register("trade", Collector())
    streams = [dispatcher.stream("trade", maxsize=size) for size in (2, 4)]
    for n in range(50):
        put(dispatcher, trade("A", n))
    dispatcher.start()
    total = 48 + 46 + 45
    lags.wait_until(lambda items: sum(item.dropped for item in items) == total)
    assert dispatcher.counters.dropped == total == sum(stream.dropped for stream in streams) + 45


def test_a_for_loop_ends_with_the_feed_after_what_still_waits(make: Make) -> None:
    dispatcher = make()
    stream = dispatcher.stream("trade")
    put(dispatcher, trade("A", 1), trade("A", 2))
    timer = threading.Timer(0.05, dispatcher.end_streams, (None,))
    timer.start()
    assert seqs(list(stream)) == [1, 2]
    timer.join(LONG)
    with pytest.raises(StopIteration) as stopped:
        next(stream)
    assert isinstance(stopped.value, FeedClosedError)
    assert "closed" in str(stopped.value)
    with pytest.raises(FeedClosedError) as closed:
        stream.get(1)
    assert not isinstance(closed.value, StopIteration)  # it would become a RuntimeError inside a generator
    with pytest.raises(FeedClosedError):
        dispatcher.stream("trade").get(1)


def test_a_fatal_error_is_raised_by_everyone_who_waits(make: Make) -> None:
    dispatcher = make()
    fatal = AuthenticationError("the exchange refused the key", 401, "unauthorized")
    raised: list[BaseException] = []

    def iterate() -> None:
        try:
            for _ in dispatcher.stream("trade"):
                pass
        except KalshiFeedError as error:
            raised.append(error)

    def wait() -> None:
        try:
            dispatcher.wait_for("trade", timeout=LONG)
        except KalshiFeedError as error:
            raised.append(error)

    shared = dispatcher.stream("trade")

    def share() -> None:
        try:
            shared.get()
        except KalshiFeedError as error:
            raised.append(error)

    threads = [threading.Thread(target=target) for target in (iterate, wait, share, share, share)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(dispatcher._streams) == 3)
    dispatcher.end_streams(fatal)
    for thread in threads:
        thread.join(LONG)
    assert [type(error) for error in raised] == [AuthenticationError] * 5
    assert len({id(error) for error in raised}) == 5  # each has its own, with its own traceback
    assert fatal not in raised


def test_several_threads_share_a_stream(make: Make) -> None:
    dispatcher = make()
    stream = dispatcher.stream("trade")
    taken = Collector()

    def take() -> None:
        for message in stream:
            taken(message)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for start in range(0, 1000, 10):
        put(dispatcher, *(trade("A", n) for n in range(start, start + 10)))
    assert sorted(seqs(taken.wait(1000))) == list(range(1000))
    stream.close()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def test_one_put_wakes_as_many_threads_as_it_has_messages(make: Make) -> None:
    dispatcher = make()
    stream = dispatcher.stream("trade")
    taken = Collector()
    threads = [threading.Thread(target=lambda: taken(stream.get(LONG))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert not threading.Event().wait(
        0.1
    )  # let them begin to wait; too short a pause would only make the test blind
    put(dispatcher, *(trade("A", n) for n in range(4)))
    try:
        wait_until(lambda: sorted(seqs(taken.items)) == [0, 1, 2, 3], timeout=LONG / 2)
    finally:
        for thread in threads:
            thread.join(LONG)


def test_a_closed_stream_ends_its_waiters_and_is_no_longer_fed(make: Make) -> None:
    dispatcher = make()
    with dispatcher.stream("trade") as stream:
        put(dispatcher, trade("A", 1))
    put(dispatcher, trade("A", 2))
    assert list(stream) == []
    stream.close()
    assert not dispatcher._streams
    with pytest.raises(FeedClosedError, match="stream"):
        stream.get(0)


def test_a_stream_without_references_is_no_longer_fed(make: Make) -> None:
    dispatcher = make()
    stream = dispatcher.stream("trade", maxsize=2)
    put(dispatcher, trade("A", 1))
    del stream
    gc.collect()
    assert not dispatcher._streams
    put(dispatcher, *(trade("A", n) for n in range(10)))
    assert dispatcher.counters.dropped == 0


def test_a_new_start_opens_new_streams(make: Make) -> None:
    dispatcher = make()
    dispatcher.close(time.monotonic() + 5)
    dispatcher.end_streams(None)
    dispatcher.start()
    stream = dispatcher.stream("trade")
    put(dispatcher, trade("A", 1))
    assert stream.get(LONG).seq == 1


@pytest.mark.parametrize("maxsize", [0, -1, 1.5, "9", True, None])
def test_a_bad_maxsize_is_refused(maxsize: Any) -> None:
    with pytest.raises(ConfigurationError):
        MessageStream("trade", None, maxsize)


@pytest.mark.parametrize("kind", ["", None, 5])
def test_a_bad_type_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigurationError):
        MessageStream(kind)


# --- wait_for


def test_wait_for_asks_the_predicate_in_the_callers_thread(make: Make) -> None:
    dispatcher = make()
    asked: list[str] = []

    def predicate(message: Any) -> bool:
        asked.append(threading.current_thread().name)
        return bool(message.seq == 3)

    timer = threading.Timer(0.05, lambda: put(dispatcher, *(trade("A", n) for n in range(5))))
    timer.start()
    assert dispatcher.wait_for("trade", predicate, LONG).seq == 3
    assert set(asked) == {threading.current_thread().name}
    timer.join(LONG)
    assert not dispatcher._streams


def test_wait_for_says_what_was_missing(make: Make) -> None:
    dispatcher = make()
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match="not connected") as caught:
        dispatcher.wait_for("trade", timeout=0.05, describe=lambda: "not connected: no route to host")
    assert time.monotonic() - began < 2
    assert caught.value.__context__ is None
    with pytest.raises(WaitTimeout, match="trade"):
        dispatcher.wait_for("trade", timeout=0)


def test_wait_for_passes_errors_of_the_predicate_through(make: Make) -> None:
    dispatcher = make()

    def predicate(message: Any) -> bool:
        raise WaitTimeout("the predicate's own")

    timer = threading.Timer(0.05, lambda: put(dispatcher, trade("A")))
    timer.start()
    with pytest.raises(WaitTimeout, match="own"):
        dispatcher.wait_for("trade", predicate, LONG)
    timer.join(LONG)
    assert not dispatcher._streams


def test_wait_for_is_for_a_market_if_asked(make: Make) -> None:
    dispatcher = make()
    timer = threading.Timer(0.05, lambda: put(dispatcher, trade("A", 1), trade("B", 2)))
    timer.start()
    assert dispatcher.wait_for("trade", timeout=LONG, market_tickers="B").seq == 2
    timer.join(LONG)


def test_wait_for_works_in_a_callback(make: Make) -> None:
    """R07: the reader goes on while the worker waits."""
    dispatcher = make()
    got = Collector()
    dispatcher.register("orderbook_delta", lambda message: got(dispatcher.wait_for("trade", timeout=LONG)))
    put(dispatcher, delta("A"))
    wait_until(lambda: dispatcher._streams)
    put(dispatcher, trade("A", 7))
    assert got.wait(1)[0].seq == 7
