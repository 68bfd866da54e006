"""How long a message takes from the server's send to the callback, or to book.wait_for_update()'s return."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from multiprocessing import get_context
from typing import Any

from kalshi_feed import KalshiFeed
from tests.benchmarks.feed_clients import make_feed
from tests.benchmarks.frames import CLOCK_BASE
from tests.benchmarks.orders import Orders


def latency(orders: Orders) -> dict[str, Any]:
    """The delays in microseconds of ``want`` messages; the first tenth is left out (caches, first calls)."""
    delays: list[int] = []
    done, clock = threading.Event(), time.monotonic_ns
    feed = make_feed(orders)
    with ExitStack() as stack:
        stack.enter_context(feed)
        feed.on("benchmark_end", lambda _: done.set())
        if orders.wait:
            threading.Thread(target=_wait_for_updates, args=(feed, orders.want, delays), daemon=True).start()
        else:
            feed.on_delta(lambda delta: delays.append(clock() + CLOCK_BASE - delta.msg.clock))
        if orders.load:
            stack.enter_context(LOADS[orders.load](feed))
        feed.subscribe("orderbook_delta", orders.tickers)
        if not done.wait(orders.seconds + 60):
            raise SystemExit(f"{len(delays)} of {orders.want} messages: {feed.stats()}")
        stats = feed.stats()
    if stats.gaps or stats.dropped or (len(delays) != orders.want and not orders.wait):
        raise SystemExit(f"{len(delays)} of {orders.want} messages: {stats}")
    return {"delays": [delay / 1000 for delay in delays[len(delays) // 10 :]]}


def _wait_for_updates(feed: KalshiFeed, want: int, delays: list[int]) -> None:
    """One market: every update that wait_for_update() returns (one may hold several changes)."""
    clock = time.monotonic_ns
    book = feed.wait_for_book("MKT-0", timeout=60)
    version, last = book.version, book.version + want
    while version < last:
        view = book.wait_for_update(timeout=60, after=version)
        delays.append(clock() + CLOCK_BASE - (view.clock or 0))
        version = view.version


@contextmanager
def _flask(feed: KalshiFeed) -> Iterator[None]:
    """A Flask application in this process answers another process with a book, one request after the
    other."""
    from flask import Flask
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs a line per request
    app = Flask(__name__)
    app.get("/<ticker>")(lambda ticker: feed.book(ticker).view().to_dict())
    server = make_server("127.0.0.1", 0, app, threaded=True)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    asker = get_context("spawn").Process(target=_ask, args=(server.server_port,), daemon=True)
    asker.start()
    try:
        yield
    finally:
        asker.terminate()
        asker.join()
        server.shutdown()
        serving.join()
        server.server_close()


def _ask(port: int) -> None:
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/MKT-0")
        connection.getresponse().read()
        connection.close()


@contextmanager
def _computing(_: KalshiFeed) -> Iterator[None]:
    """Another thread of this process computes in Python all the time."""
    stop: list[None] = []

    def compute() -> None:
        value = 1
        while not stop:
            for _ in range(1000):
                value = value * 48271 % 2147483647

    thread = threading.Thread(target=compute, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.append(None)
        thread.join()


LOADS = {"flask": _flask, "computing": _computing}
