"""What runs beside a relay, each in a process of its own (a part, see parts.py): ``python -m
tests.benchmarks.relay_clients ORDERS-AS-JSON``.

``relay``: a feed with a relay. ``consumer``: a feed from that relay. ``direct``: a feed of its own, for
comparison. ``joiner``: a consumer that comes late, several times.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

from kalshi_feed import KalshiFeed
from tests.benchmarks.feed_clients import make_feed
from tests.benchmarks.frames import CLOCK_BASE
from tests.benchmarks.orders import Orders, digest

PATIENCE = 50.0
JOIN_EVERY = 1.3  # seconds from one late joiner to the next: checkpoints of every age


def report(**what: Any) -> None:
    """Print a report."""
    print(json.dumps(what), flush=True)


def until_live(feed: KalshiFeed, markets: int, poll: float = 0.002) -> None:
    """Wait until there are so many books, and all of them are LIVE."""
    until = time.monotonic() + PATIENCE
    while True:
        books = list(feed.books.values())
        if len(books) == markets and all(book.is_live for book in reversed(books)):
            return
        if time.monotonic() > until:
            live = sum(book.is_live for book in books)
            raise SystemExit(f"{live} of {markets} books are LIVE: {feed.state}, {feed.stats()}")
        time.sleep(poll)


def books_of(feed: KalshiFeed) -> str:
    """The digest of all books that are LIVE."""
    store, live = feed._engine.store, [book.market_ticker for book in feed.books.values() if book.is_live]
    with store.lock:
        books = [store.find_locked(ticker) for ticker in live]
        return digest((book.market_ticker, book.yes, book.no) for book in books if book is not None)


class Watch:
    """Notes when each message is in its book and when it is in a callback. The moments of a turn are the
    reader's to append, those of the callbacks the worker's."""

    def __init__(self, feed: KalshiFeed) -> None:
        self.done = threading.Event()
        # seconds when it was read (by the relay, if there is one), ns when it was in the books, messages
        self.turns: list[tuple[float, int, int]] = []
        self.called: list[int] = []  # when each message's callback ran, ns
        self.sent: list[int] = []  # when the exchange sent it, ns
        self._feed = feed
        engine, clock = feed._engine, time.monotonic_ns
        turn, turns, called, sent = engine.turn, self.turns, self.called, self.sent

        def timed(payloads: list[bytes], now: float) -> list[bytes]:
            outbox = turn(payloads, now)
            if payloads:
                turns.append((now, clock(), len(payloads)))  # a session's time is that of the read
            return outbox

        engine.turn = timed  # type: ignore[method-assign]

        def begun(_: object) -> None:
            called.clear()
            sent.clear()

        def changed(delta: Any) -> None:
            called.append(clock())
            sent.append(delta.msg.clock - CLOCK_BASE)

        feed.on("benchmark_begin", begun)
        feed.on_delta(changed)
        feed.on("benchmark_end", lambda _: self.done.set())

    def figures(self) -> dict[str, Any]:
        """What was seen, in µs; all clocks are this machine's."""
        stats, count = self._feed.stats(), len(self.called)
        applied = [(read * 1e9, at) for read, at, messages in self.turns for _ in range(messages)]
        applied = applied[-count - 1 : -1]  # without the marker at the end
        skip = count // 10  # caches, first calls
        called = self.called[skip:]
        reads, books = zip(*applied[skip:], strict=True)

        def delays(ends: Iterable[int], begins: Iterable[float]) -> list[float]:
            return [round((end - begin) / 1000, 1) for end, begin in zip(ends, begins, strict=True)]

        return {
            "messages": count,
            "books": books_of(self._feed),
            "dropped": stats.dropped,
            "gaps": stats.gaps,
            "faults": sum(stats.faults.values()),
            "read_to_book": delays(books, reads),
            "read_to_callback": delays(called, reads),
            "sent_to_callback": delays(called, self.sent[skip:]),
            "catching_up": self._catching_up(),
        }

    def _catching_up(self) -> dict[str, float] | None:
        """After the longest pause: how many messages were taken in until one was less than 50 ms old."""
        turns = self.turns
        pauses = [after[1] - before[1] for before, after in pairwise(turns)]
        if not pauses or max(pauses) < 1e9:
            return None
        first = pauses.index(max(pauses)) + 1
        messages = 0
        for read, at, size in turns[first:]:
            messages += size
            if at - read * 1e9 < 50e6:
                return {"messages": messages, "seconds": (at - turns[first][1]) / 1e9}
        return None


def direct(orders: Orders) -> None:
    """A feed with a connection of its own and one callback."""
    feed = make_feed(orders)
    watch = Watch(feed)
    with feed:
        feed.subscribe("orderbook_delta", orders.tickers)
        _observe(feed, watch, orders)


def consumer(orders: Orders) -> None:
    """A feed from the relay, with one callback."""
    feed = KalshiFeed.from_relay(orders.redis, workers=orders.workers)
    watch = Watch(feed)
    with feed:
        _observe(feed, watch, orders)


def _observe(feed: KalshiFeed, watch: Watch, orders: Orders) -> None:
    until_live(feed, orders.markets)
    report(live=True)
    if not watch.done.wait(orders.seconds + PATIENCE):
        raise SystemExit(f"{len(watch.called)} messages, without an end: {feed.state}, {feed.stats()}")
    report(done=True)
    sys.stdin.readline()
    report(**watch.figures())


def relay(orders: Orders) -> None:
    """A feed with a relay."""
    from kalshi_feed.relay import Relay

    feed = make_feed(orders)
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(feed, orders.redis))
        stack.enter_context(feed)
        feed.subscribe("orderbook_delta", orders.tickers)
        until_live(feed, orders.markets)
        report(live=True)
        sys.stdin.readline()
        stats = feed.stats()
        report(
            books=books_of(feed),
            gaps=stats.gaps,
            faults=sum(stats.faults.values()),
            relay=dataclasses.asdict(relay.stats()),
        )
        sys.stdin.readline()


def joiner(orders: Orders) -> None:
    """A consumer that comes late, ``want`` times: the seconds until all books are LIVE, and how old the
    newest change in them is by then."""
    tries = []
    for number in range(orders.want):
        if number:
            time.sleep(JOIN_EVERY)
        began = time.perf_counter()
        feed = KalshiFeed.from_relay(orders.redis)
        feed.start()
        until_live(feed, orders.markets, 0.001)
        seconds = time.perf_counter() - began
        newest = max(book.clock or 0 for book in feed.books.values())
        behind = (time.monotonic_ns() + CLOCK_BASE - newest) / 1e9
        feed.close()
        tries.append({"seconds": seconds, "behind_seconds": behind})
    report(tries=tries)
    sys.stdin.readline()


def main() -> None:
    """Be the part that the orders say."""
    given = json.loads(sys.argv[1])
    orders = Orders(**given)
    logging.getLogger("kalshi_feed").setLevel(logging.CRITICAL)
    parts = {"relay": relay, "consumer": consumer, "direct": direct, "joiner": joiner}
    parts[orders.client](orders)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
