"""What a feed with little to do costs, what one with many books costs, and what reading a book costs."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from kalshi_feed import FeedState, KalshiFeed, ReconnectPolicy, StateChange
from tests.benchmarks.feed_clients import PATIENCE, make_feed
from tests.benchmarks.orders import Orders


def rest(orders: Orders) -> dict[str, Any]:
    """The share of a core that a trickle of messages takes, for the feed's whole process."""
    done, seen = threading.Event(), 0

    def counted(_: object) -> None:
        nonlocal seen
        seen += 1

    feed = make_feed(orders)
    feed.on_delta(counted)
    feed.on("benchmark_end", lambda _: done.set())
    with feed:
        feed.subscribe("orderbook_delta", orders.tickers)
        feed.wait_for("benchmark_begin", timeout=PATIENCE)
        began, cpu = time.perf_counter(), time.process_time()
        done.wait(orders.seconds + 60)
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
    return {"messages": seen, "seconds": seconds, "cpu_seconds": cpu, "core_percent": 100 * cpu / seconds}


def growth(orders: Orders) -> dict[str, Any]:
    """Many books: seconds until they are LIVE, the memory they take, and the same after a lost connection."""
    logging.getLogger("kalshi_feed").setLevel(logging.ERROR)  # the loss is part of the test
    feed = make_feed(orders, reconnect=ReconnectPolicy(initial_delay=0.05, jitter=False))
    connected = threading.Event()
    moments: list[float] = []

    @feed.on_state
    def changed(change: StateChange) -> None:
        if change.state is FeedState.CONNECTED:
            moments.append(time.perf_counter())
            connected.set()
        elif change.state is FeedState.RECONNECTING:
            connected.clear()

    with feed:
        feed.wait_until_connected(PATIENCE)
        empty = _resident_megabytes()
        began = time.perf_counter()
        feed.subscribe("orderbook_delta", orders.tickers)
        live_seconds = _until_live(feed, orders) - began
        peak = _resident_megabytes()
        gc.collect()
        time.sleep(0.1)
        full = _resident_megabytes()
        while connected.is_set():  # the server ends the first connection
            time.sleep(0.001)
        connected.wait(PATIENCE)
        again = _until_live(feed, orders) - moments[-1]
        after = _resident_megabytes()
    return {
        "live_seconds": live_seconds,
        "live_again_seconds": again,
        "megabytes": full - empty,
        "megabytes_at_once": peak - empty,
        "megabytes_after_reconnect": after - empty,
        "empty_megabytes": empty,
    }


def _until_live(feed: KalshiFeed, orders: Orders) -> float:
    books = [feed.book(ticker) for ticker in orders.tickers]
    until = time.perf_counter() + PATIENCE
    while True:
        while books and books[-1].is_live:
            books.pop()
        now = time.perf_counter()
        if not books:
            return now
        if now > until:
            raise SystemExit(f"{len(books)} books are not LIVE: {feed.stats()}")
        time.sleep(0.002)


def _resident_megabytes() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def reading(orders: Orders) -> dict[str, Any]:
    """Microseconds per call on a book, made in a callback: the quickest of many rounds."""
    figures: dict[str, float] = {}
    failed: list[BaseException] = []
    done = threading.Event()
    feed = make_feed(orders)

    def measure(_: object) -> None:
        try:
            book = feed.book("MKT-0")
            view = book.view()
            levels = len(view.bids("yes")) + len(view.bids("no"))
            figures["levels"] = levels
            for name, question in (
                ("best_bid()", book.best_bid),
                ("best_ask()", book.best_ask),
                ("view()", book.view),
                ("bids(depth=5)", lambda: book.bids("yes", 5)),
                ("spread()", book.spread),
                ("cost_to_buy(100)", lambda: book.cost_to_buy("yes", 100)),
                ("view().to_dict()", lambda: book.view().to_dict()),
            ):
                figures[name] = _quickest(question)
        except BaseException as error:
            failed.append(error)
        done.set()

    feed.on("benchmark_begin", measure)
    with feed:
        feed.subscribe("orderbook_delta", orders.tickers)
        if not done.wait(PATIENCE) or failed:
            raise SystemExit(f"the book could not be read: {failed}")
    return figures


def _quickest(question: Callable[[], object], calls: int = 200, rounds: int = 30) -> float:
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(calls):
            question()
        best = min(best, time.perf_counter() - began)
    return best / calls * 1e6
