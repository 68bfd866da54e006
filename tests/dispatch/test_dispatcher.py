from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from kalshi_feed.dispatch import ALL_DATA, BOOKS, Dispatcher
from kalshi_feed.dispatch.mailbox import Token
from kalshi_feed.errors import ConfigurationError
from kalshi_feed.events import Event, FeedFault, Gap, Lagged, StateChange
from tests.support import wait_until

from .conftest import Make
from .support import CONNECTED, LONG, Collector, Gate, delta, put, seqs, soon, subscribed, trade, unknown


@pytest.mark.parametrize(
    "settings",
    [
        {"queue_size": 0},
        {"queue_size": 1.5},
        {"queue_size": True},
        {"workers": 0},
        {"workers": "2"},
        {"overflow": "drop_newest"},
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Dispatcher(view_of=lambda ticker: None, **settings)


def test_messages_and_events_come_in_order_on_the_worker_thread(make: Make) -> None:
    dispatcher = make(name="desk")
    got = Collector()
    for kind in ("orderbook_delta", "trade", Event):
        dispatcher.register(kind, got)
    sent = [delta("A", 1), CONNECTED, trade("A", 2), trade("A", 3), delta("B", 4)]
    put(dispatcher, *sent)
    put(dispatcher, delta("A", 5))
    assert got.wait(6) == [*sent, delta("A", 5)]
    assert set(got.threads) == {"desk-kalshi-feed-worker-0"}


def test_filters_pass_their_markets_and_nothing_without_a_ticker(make: Make) -> None:
    dispatcher = make()
    filtered, everything = Collector(), Collector()
    dispatcher.register("trade", filtered, ["A", "C"])
    dispatcher.register(ALL_DATA, everything)
    sent = [trade("A", 1), trade("B", 2), trade(None, 3), trade("C", 4)]
    put(dispatcher, *sent)
    assert everything.wait(4) == sent
    assert filtered.items == [sent[0], sent[3]]


def test_unwanted_messages_are_not_queued(make: Make) -> None:
    dispatcher = make(start=False)
    put(dispatcher, trade("A"), CONNECTED)
    assert dispatcher.counters.depth == 0
    dispatcher.register("trade", Collector(), "A")
    put(dispatcher, delta("A"), trade("A"), trade("B"), trade(None))
    assert dispatcher.counters.depth == 1
    dispatcher.register(ALL_DATA, Collector())
    put(dispatcher, subscribed(), delta("A"), trade("B"))
    assert dispatcher.counters.depth == 3


def test_on_message_gets_unknown_types_but_no_replies(make: Make) -> None:
    dispatcher = make()
    everything, new, replies = Collector(), Collector(), Collector()
    dispatcher.register(ALL_DATA, everything)
    dispatcher.register("brand_new", new)
    dispatcher.register("subscribed", replies)
    put(dispatcher, subscribed(), unknown("brand_new"), unknown("newer_still"))
    assert [m.type for m in everything.wait(2)] == ["brand_new", "newer_still"]
    assert [m.type for m in new.wait(1)] == ["brand_new"]
    assert [m.type for m in replies.wait(1)] == ["subscribed"]


def test_registering_and_removing_in_a_callback_takes_effect_from_the_next_message(make: Make) -> None:
    dispatcher = make()
    first, second, last = Collector(), Collector(), Collector()

    def once(message: Any) -> None:
        first(message)
        assert dispatcher.off(once) == 1
        dispatcher.register("trade", second)

    dispatcher.register("trade", once)
    dispatcher.register("trade", last)
    put(dispatcher, *(trade("A", n) for n in range(5)))
    assert seqs(last.wait(5)) == [0, 1, 2, 3, 4]
    assert seqs(first.items) == [0]
    assert seqs(second.wait(4)) == [1, 2, 3, 4]


def test_overflow_is_announced_before_the_next_message_and_counted(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """R04."""
    dispatcher = make(queue_size=100)
    gate, got = Gate(), Collector()
    dispatcher.register("ticker_gate", gate)
    dispatcher.register("trade", got)
    dispatcher.register(Lagged, got)
    dispatcher.register(StateChange, got)
    put(dispatcher, unknown("ticker_gate"))
    assert gate.entered.wait(LONG)
    put(dispatcher, CONNECTED)
    for start in range(0, 1000, 10):
        put(dispatcher, *(trade(f"K{n % 3}", n) for n in range(start, start + 10)))
    gate.open()
    items = got.wait_until(lambda items: seqs(items)[-1:] == [999])
    state, lagged, *rest = items
    assert state == CONNECTED
    assert (lagged.dropped, set(lagged.market_tickers)) == (900, {"K0", "K1", "K2"})
    assert seqs(rest) == list(range(900, 1000))
    assert dispatcher.counters.dropped == 900
    assert dispatcher.counters.high_water == 100
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_block_waits_for_room_and_loses_nothing(make: Make) -> None:
    dispatcher = make(queue_size=10, overflow="block")
    gate, got = Gate(), Collector()
    dispatcher.register("ticker_gate", gate)
    dispatcher.register("trade", got)
    put(dispatcher, unknown("ticker_gate"))
    assert gate.entered.wait(LONG)
    ended = threading.Event()

    def read() -> None:
        for start in range(0, 90, 3):
            put(dispatcher, *(trade("A", n) for n in range(start, start + 3)))
        put(dispatcher, *(trade("A", n) for n in range(90, 200)))  # more than the queue holds
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: dispatcher.counters.depth >= 9)
    assert not ended.wait(0.05)
    assert dispatcher.counters.depth <= 10
    gate.open()
    assert seqs(got.wait(200)) == list(range(200))
    assert ended.wait(LONG)
    reader.join(LONG)
    assert dispatcher.counters.dropped == 0
    assert dispatcher.counters.high_water <= 10


@pytest.mark.parametrize("how", ["close", "unblock"])
def test_a_reader_that_waits_for_room_is_let_go(make: Make, how: str) -> None:
    dispatcher = make(queue_size=1, overflow="block")
    gate = Gate()
    dispatcher.register("trade", gate)
    put(dispatcher, trade("A", 0))
    assert gate.entered.wait(LONG)
    reader = threading.Thread(target=lambda: put(dispatcher, trade("A", 1), trade("A", 2)))
    reader.start()
    wait_until(lambda: dispatcher.counters.depth == 1)
    if how == "unblock":
        dispatcher.unblock()
    else:
        closer = threading.Thread(target=dispatcher.close, args=(soon(),))
        closer.start()
    reader.join(LONG)
    assert not reader.is_alive()
    gate.open()
    wait_until(lambda: len(gate.items) == 3)
    if how == "close":
        closer.join(LONG)


# --- on_book


def test_on_book_is_conflated_to_the_newest_view(make: Make) -> None:
    versions = {"A": 0, "B": 0}
    dispatcher = make(view_of=lambda ticker: (ticker, versions[ticker]) if ticker in versions else None)
    gate, got = Gate(), Collector()
    dispatcher.register("ticker_gate", gate)
    dispatcher.register(BOOKS, got)
    put(dispatcher, unknown("ticker_gate"))
    assert gate.entered.wait(LONG)
    for n in range(1000):
        versions["A"] = n
        put(dispatcher, delta("A", n), delta("gone", n), trade("B"))
    put(dispatcher, status_changed=("B",))
    gate.open()
    assert got.wait(2) == [("A", 999), ("B", 0)]
    put(dispatcher, delta("A"))
    assert got.wait(3)[2:] == [("A", 999)]


def test_on_book_filters_by_market(make: Make) -> None:
    dispatcher = make()
    some, others = Collector(), Collector()
    dispatcher.register(BOOKS, some, ["A"])
    put(dispatcher, delta("A"), delta("B"), status_changed=("B",))
    some.wait(1)
    dispatcher.register(BOOKS, others)
    put(dispatcher, delta("B"), delta("A"))
    assert others.wait(2) == ["B", "A"]
    assert some.items == ["A", "A"]


def test_on_book_is_not_starved_by_a_backlog_of_deltas(make: Make) -> None:
    """After one chunk, then every 50 ms: long before the 600 deltas, 5 ms each, are delivered."""
    dispatcher = make(start=False)
    book_seen = threading.Event()
    deltas = 0

    def slow(message: Any) -> None:
        nonlocal deltas
        deltas += 1
        if not book_seen.is_set():
            time.sleep(0.005)

    dispatcher.register("orderbook_delta", slow)
    put(dispatcher, *(delta("A", n) for n in range(600)))
    dispatcher.start()
    wait_until(lambda: deltas)
    when: list[int] = []

    def on_book(view: Any) -> None:
        when.append(deltas)
        book_seen.set()

    dispatcher.register(BOOKS, on_book)
    put(dispatcher, status_changed=("A",))
    assert book_seen.wait(LONG)
    assert when[0] < 300


def test_within_a_long_chunk_books_are_served_when_the_reader_asks(make: Make) -> None:
    dispatcher = make(start=False)
    go_on = threading.Event()
    seen: list[Any] = []

    def slow(message: Any) -> None:
        seen.append(message.seq)
        if message.seq == 0:
            assert go_on.wait(LONG)

    dispatcher.register("trade", slow)
    dispatcher.register(BOOKS, seen.append)
    put(dispatcher, *(trade("A", n) for n in range(16)))  # one chunk
    dispatcher.start()
    wait_until(lambda: seen == [0])
    began = time.perf_counter()
    wait_until(lambda: time.perf_counter() - began > 0.06)
    put(dispatcher, status_changed=("A",))
    go_on.set()
    wait_until(lambda: len(seen) == 17)
    assert seen[:3] == [0, "A", 1]


def test_a_view_that_cannot_be_made_ends_nothing(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    def view_of(ticker: str) -> Any:
        if ticker == "bad":
            raise RuntimeError("broken store")
        return ticker

    dispatcher = make(view_of=view_of)
    got = Collector()
    dispatcher.register(BOOKS, got)
    put(dispatcher, status_changed=("bad", "good"))
    assert got.wait(1) == ["good"]
    assert "bad" in caplog.text


# --- several workers


def test_with_several_workers_each_market_stays_in_order(make: Make) -> None:
    dispatcher = make(workers=3)
    got = Collector()
    by_market: dict[str, set[str]] = {}

    def note(message: Any) -> None:
        by_market.setdefault(message.market_ticker, set()).add(threading.current_thread().name)
        got(message)

    dispatcher.register("trade", note)
    for start in range(0, 2000, 50):
        put(dispatcher, *(trade(f"K{n % 20}", n) for n in range(start, start + 50)))
    items = got.wait(2000)
    for market in range(20):
        assert seqs([m for m in items if m.market_ticker == f"K{market}"]) == list(range(market, 2000, 20))
    assert all(len(threads) == 1 for threads in by_market.values())
    assert len(set(got.threads)) == 3


def test_with_several_workers_an_event_is_announced_once_and_before_what_follows(make: Make) -> None:
    dispatcher = make(workers=4)
    got = Collector()
    dispatcher.register("trade", got)
    announced: list[Gap] = []
    in_event, go_on, stop = threading.Event(), threading.Event(), threading.Event()

    def on_gap(gap: Gap) -> None:
        in_event.set()
        assert go_on.wait(LONG)
        announced.append(gap)

    dispatcher.register(Gap, on_gap)
    gap = Gap("trade", 1, 5, 7)
    put(dispatcher, gap, *(trade(f"K{n}", n) for n in range(40)))
    assert in_event.wait(LONG)
    wait_until(lambda: not any(isinstance(box.tail[0], Token) for box in dispatcher._queue.boxes if box.tail))
    assert not stop.wait(0.05)  # all workers have met the event: enough time to get past it, if they could
    assert got.items == []
    go_on.set()
    got.wait(40)
    assert announced == [gap]


def test_with_several_workers_on_book_is_called_once_for_each_market(make: Make) -> None:
    dispatcher = make(workers=3)
    got = Collector()
    dispatcher.register(BOOKS, got)
    put(dispatcher, *(delta(f"K{n}") for n in range(30)))
    assert sorted(got.wait(30)) == sorted(f"K{n}" for n in range(30))
    dispatcher.close(soon())
    assert len(got.items) == 30


# --- metrics


def test_the_metrics(make: Make) -> None:
    dispatcher = make()
    got = Collector()

    def slow(message: Any) -> None:
        time.sleep(0.01)
        got(message)

    dispatcher.register("trade", slow)
    dispatcher.put([trade("A", n) for n in range(5)], time.perf_counter() - 1.0)
    got.wait(5)
    counters = dispatcher.counters
    wait_until(lambda: counters.processing.count == 5)
    assert counters.callback_seconds >= 0.05
    assert counters.depth == 0
    assert counters.high_water == 5
    median = counters.processing.percentile(50)
    assert median is not None and 0.9 < median < 2.0


def test_the_counters_go_on_over_a_restart(make: Make) -> None:
    dispatcher = make(queue_size=2)
    gate = Gate()
    dispatcher.register("trade", gate)
    put(dispatcher, trade("A"))
    assert gate.entered.wait(LONG)
    put(dispatcher, *(trade("A", n) for n in range(7)))
    gate.open()
    dispatcher.close(soon())
    assert dispatcher.counters.dropped == 5
    dispatcher.start()
    put(dispatcher, trade("A", 9))
    wait_until(lambda: len(gate.items) == 4)
    assert dispatcher.counters.dropped == 5
    wait_until(lambda: dispatcher.counters.processing.count == 4)


def test_faults_of_the_session_reach_on_error(make: Make) -> None:
    dispatcher = make()
    got = Collector()
    dispatcher.register(FeedFault, got)
    fault = FeedFault("protocol", "a frame that is not JSON")
    put(dispatcher, fault)
    assert got.wait(1) == [fault]
