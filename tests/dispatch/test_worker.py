"""Callbacks that misbehave: faults R01, R02, R03, R06, R08, R22."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from kalshi_feed.dispatch import BOOKS
from kalshi_feed.events import FeedFault, Lagged, StateChange
from tests.support import wait_until

from .conftest import Make
from .support import CONNECTED, LONG, Collector, Gate, delta, put, seqs, soon, trade


@pytest.mark.parametrize(
    "error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, MemoryError]
)
def test_R01_R02_a_callback_that_raises_is_isolated(
    make: Make, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    reported: list[FeedFault] = []
    dispatcher = make(report_fault=reported.append)
    faults, others = Collector(), Collector()

    def broken(message: Any) -> None:
        raise error("broken")

    dispatcher.register("trade", broken)
    dispatcher.register("trade", others)
    dispatcher.register(FeedFault, faults)
    put(dispatcher, trade("A", 1), trade("A", 2))
    assert seqs(others.wait(2)) == [1, 2]
    fault = faults.wait(2)[0]
    assert fault.kind == "callback"
    assert "broken" in fault.message and "trade" in fault.message and error.__name__ in fault.message
    assert isinstance(fault.error, error)
    assert fault.context["market_ticker"] == "A"
    assert reported == faults.items
    assert dispatcher.counters.callback_errors == 2
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info is not None and record.exc_info[0] is error
    assert "broken" in (caplog.text)


def test_R01_logged_at_first_and_then_every_thousandth_time(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = make()
    last = Collector()

    def broken(message: Any) -> None:
        raise ValueError

    dispatcher.register("trade", broken)
    dispatcher.register("orderbook_delta", last)
    put(dispatcher, *[trade("A")] * 2500, delta("A"))
    last.wait(1)
    assert dispatcher.counters.callback_errors == 2500
    assert len(caplog.records) == 3


def test_R01_the_traceback_shows_the_users_code_and_not_ours(make: Make) -> None:
    dispatcher = make()
    faults = Collector()

    def broken(message: Any) -> None:
        raise ValueError

    dispatcher.register("trade", broken)
    dispatcher.register(FeedFault, faults)
    put(dispatcher, trade("A"))
    error = faults.wait(1)[0].error
    assert error.__traceback__.tb_frame.f_code is broken.__code__


def test_R01_callbacks_of_events_and_books_are_isolated_too(make: Make) -> None:
    dispatcher = make()
    faults, got = Collector(), Collector()

    def broken(item: Any) -> None:
        raise ValueError

    for kind in (StateChange, BOOKS):
        dispatcher.register(kind, broken)
        dispatcher.register(kind, got)
    dispatcher.register(FeedFault, faults)
    put(dispatcher, CONNECTED, status_changed=("A",))
    assert set(got.wait(2)) == {"A", CONNECTED}
    assert {fault.context["type"] for fault in faults.wait(2)} == {"StateChange", "str"}


def test_R06_an_error_in_on_error_is_logged_only(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = make()
    faults, trades = Collector(), Collector()

    def broken(item: Any) -> None:
        raise ValueError("broken")

    dispatcher.register(FeedFault, broken)
    dispatcher.register(FeedFault, faults)
    dispatcher.register("trade", broken)
    dispatcher.register("trade", trades)
    put(dispatcher, trade("A"))
    trades.wait(1)
    faults.wait(1)
    put(dispatcher, FeedFault("protocol", "bad"))
    assert [fault.kind for fault in faults.wait(2)] == ["callback", "protocol"]
    dispatcher.close(soon())
    assert len(faults.items) == 2
    assert len(caplog.records) == 2


def test_R08_what_callbacks_get_cannot_be_changed(make: Make) -> None:
    dispatcher = make()
    got = Collector()
    dispatcher.register("trade", got)
    dispatcher.register(Lagged, got)
    put(dispatcher, trade("A"))
    (message,) = got.wait(1)
    with pytest.raises(AttributeError):
        message.seq = 3
    with pytest.raises(FrozenInstanceError):
        CONNECTED.reason = "x"  # type: ignore[misc]


def test_R22_a_logging_handler_that_raises_ends_no_thread(make: Make) -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("no disk")

    dispatcher = make(queue_size=1)
    gate, got = Gate(), Collector()

    def broken(message: Any) -> None:
        raise ValueError

    dispatcher.register("trade", gate)
    dispatcher.register("trade", broken)
    dispatcher.register("trade", got)
    handler = Broken()
    logging.getLogger("kalshi_feed").addHandler(handler)
    try:
        put(dispatcher, trade("A", 0))
        assert gate.entered.wait(LONG)
        put(dispatcher, trade("A", 1), trade("A", 2))  # overflow: a warning on the reader's side
        gate.open()
        assert seqs(got.wait(2)) == [0, 2]
    finally:
        logging.getLogger("kalshi_feed").removeHandler(handler)


def test_R03_a_callback_that_does_not_return_is_named_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = make()
    gate = Gate()
    dispatcher.register("trade", gate)
    put(dispatcher, trade("A", 0))
    assert gate.entered.wait(LONG)
    now = time.perf_counter()
    dispatcher.watch(now)
    dispatcher.watch(now + 4.9)
    assert dispatcher.stuck_callback is None
    assert not caplog.records
    for later in (5.1, 6, 20):
        dispatcher.watch(now + later)
    assert len(caplog.records) == 1
    assert "Gate" in caplog.text
    assert dispatcher.stuck_callback is not None and "Gate" in dispatcher.stuck_callback
    gate.open()
    wait_until(lambda: dispatcher.stuck_callback is None)


def test_R03_put_watches_by_itself(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = make()
    gate = Gate()
    dispatcher.register("trade", gate)
    now = time.perf_counter()
    dispatcher.put([trade("A", 0)], now)
    assert gate.entered.wait(LONG)
    for later in (2.0, 4.0, 6.0, 7.5, 9.0):
        dispatcher.put([trade("A", 0)], now + later)
    assert len(caplog.records) == 1
    gate.open()


def test_R03_many_short_calls_and_idleness_are_not_stuck(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = make()
    got = Collector()
    dispatcher.register("trade", got)
    now = time.perf_counter()
    for n in range(20):
        put(dispatcher, trade("A", n))
        got.wait(n + 1)
        dispatcher.watch(now + 3 * n)
    wait_until(lambda: dispatcher._queue.boxes[0].running is None)
    dispatcher.watch(now + 100)
    dispatcher.watch(now + 200)
    assert not caplog.records


def test_under_thread_switches_everywhere_sums_and_order_hold(make: Make, short_switches: None) -> None:
    """A reader, a worker that fails and lags, and users that register and remove callbacks all the time."""
    dispatcher = make(queue_size=64)
    last_seq = -1
    disorder: list[int] = []
    lost: list[int] = []
    delivered = 0
    ended = threading.Event()

    def check(message: Any) -> None:
        nonlocal last_seq, delivered
        delivered += 1
        if message.seq <= last_seq or message.seq - last_seq - 1 != sum(lost):
            disorder.append(message.seq)
        lost.clear()
        last_seq = message.seq
        if message.seq % 50 == 0:
            raise ValueError
        if message.seq == 19_999:
            ended.set()

    total = 0

    def on_lagged(event: Lagged) -> None:
        nonlocal total
        total += event.dropped
        lost.append(event.dropped)

    dispatcher.register("trade", check)
    dispatcher.register(Lagged, on_lagged)
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            callback: Callable[[Any], None] = lambda message: None  # noqa: E731
            dispatcher.register("trade", callback)
            dispatcher.off(callback)

    users = [threading.Thread(target=churn) for _ in range(2)]
    for user in users:
        user.start()
    try:
        logging.disable(logging.ERROR)
        for start in range(0, 20_000, 20):
            put(dispatcher, *(trade("A", n) for n in range(start, start + 20)))
        assert ended.wait(LONG)
    finally:
        logging.disable(logging.NOTSET)
        stop.set()
        for user in users:
            user.join(LONG)
    dispatcher.close(soon())
    assert not disorder
    assert delivered + total == 20_000
    assert dispatcher.counters.dropped == total
