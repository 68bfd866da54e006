"""All of kalshi_feed with its defaults: every check, the books, the queue, the callbacks."""

from __future__ import annotations

import ssl
import threading
from itertools import count
from typing import Any

from kalshi_feed import Credentials, KalshiFeed
from tests.benchmarks.orders import Clock, Orders

PATIENCE = 120.0


def make_feed(orders: Orders, **options: Any) -> KalshiFeed:
    """A feed for the benchmarks' server."""
    if orders.ca:
        options["ssl_context"] = ssl.create_default_context(cafile=orders.ca)
    return KalshiFeed(
        Credentials.from_file("benchmark", orders.pem), url=orders.url, workers=orders.workers, **options
    )


def throughput(orders: Orders) -> dict[str, Any]:
    """As fast as the server sends. Ends with the first callback of the last message; without callbacks, with
    that of a marker after it."""
    clock, done, seen, views = Clock(), threading.Event(), count(1), count(1)
    feed = make_feed(orders)
    # the snapshots before the stream count, too
    want = orders.want + (orders.markets if orders.kind == "orderbook_snapshot" else 0)

    def finish(_: object) -> None:
        clock.mark()
        done.set()

    def counted(message: object) -> None:
        if next(seen) == want:
            finish(message)

    for kind in dict.fromkeys((orders.kind, *orders.channels[1:])) if orders.callbacks else ():
        feed.on(kind, counted)
        for _ in range(orders.callbacks - 1):
            feed.on(kind, lambda message: None)
    feed.on("subscribed", lambda message: clock.mark() if message.channel == orders.channels[-1] else None)
    feed.on("benchmark_begin", clock.mark)
    if not orders.callbacks:
        feed.on("benchmark_end", finish)
    if orders.on_book:
        feed.on_book(lambda view: next(views))
    with feed:
        for channel in orders.channels:
            feed.subscribe(channel, orders.tickers)
        if not done.wait(PATIENCE):
            raise SystemExit(f"{next(seen) - 1} of {want} messages: {feed.stats()}")
        stats, live = feed.stats(), sum(book.is_live for book in feed.books.values())
    if live != orders.markets or stats.gaps or stats.faults:
        raise SystemExit(f"only {live} books are LIVE: {stats}")
    return {**clock.figures(), "dropped": stats.dropped, "views": next(views) - 1}
