"""N16 and the cost of a message: the bound is far above the measured one (under 1 us), for busy machines."""

from __future__ import annotations

import time
from typing import Any

from kalshi_feed.dispatch import Dispatcher
from kalshi_feed.events import Lagged

from .support import Collector, delta, put, seqs, soon

COUNT = 200_000


def microseconds_a_message(batch: int) -> tuple[float, Dispatcher]:
    dispatcher = Dispatcher(queue_size=COUNT, view_of=lambda ticker: None)
    messages = [delta(f"K{n}", n) for n in range(100)] * (COUNT // 100)
    batches = [messages[start : start + batch] for start in range(0, COUNT, batch)]
    delivered = 0

    def callback(message: Any) -> None:
        nonlocal delivered
        delivered += 1

    dispatcher.register("orderbook_delta", callback)
    dispatcher.start()
    began = time.perf_counter()
    for items in batches:
        dispatcher.put(items, time.perf_counter())
    dispatcher.close(soon(60))
    spent = time.perf_counter() - began
    assert delivered == COUNT
    return spent / COUNT * 1e6, dispatcher


def test_200_000_messages_in_batches_of_256() -> None:
    cost, dispatcher = microseconds_a_message(256)
    print(
        f"put and delivered: {cost:.3f} us a message, callbacks {dispatcher.counters.callback_seconds:.3f} s"
    )
    assert cost < 10
    assert dispatcher.counters.processing.count == COUNT


def test_N16_a_burst_in_one_put() -> None:
    dispatcher = Dispatcher(view_of=lambda ticker: None)
    got = Collector()
    dispatcher.register("orderbook_delta", got)
    dispatcher.register(Lagged, got)
    dispatcher.start()
    put(dispatcher, *(delta("A", n) for n in range(10_000)))
    assert seqs(got.wait(10_000)) == list(range(10_000))
    dispatcher.close(soon())
    assert len(got.items) == 10_000
