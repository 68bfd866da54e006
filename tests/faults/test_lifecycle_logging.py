"""The life of the feed when logging blocks."""

# mypy: no-strict-equality

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from kalshi_feed import BookStatus, FeedClosedError, FeedState, WaitTimeout
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.feed.support import A, B, FeedMaker, in_thread, own_threads, sides, wait_equal
from tests.support import wait_until


class Blocking(logging.Handler):
    """A handler that hangs on the records of one thread, holding its own lock, until the test releases it."""

    def __init__(self, thread: str) -> None:
        super().__init__(logging.WARNING)  # the connection is lost, or a callback has raised
        self._thread = thread
        self.entered, self.go_on = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread().name.endswith(self._thread):
            self.entered.set()
            self.go_on.wait(20)


@pytest.fixture
def blocking() -> Iterator[Callable[[str], Blocking]]:
    """Makes handlers that block, and releases them."""
    logger = logging.getLogger("kalshi_feed")
    made: list[Blocking] = []

    def make(thread: str) -> Blocking:
        made.append(Blocking(thread))
        logger.addHandler(made[-1])
        return made[-1]

    yield make
    for handler in made:
        handler.go_on.set()
        logger.removeHandler(handler)


def test_R22_logging_that_blocks_in_the_worker(
    exchange: Exchange,
    make_feed: FeedMaker,
    blocking: Callable[[str], Blocking],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the worker suffers: the reader, which has something to log too, goes around the handler's lock."""
    monkeypatch.setattr("kalshi_feed.threads._BLOCKED_AFTER", 0.2)
    feed = make_feed()
    handler = blocking("worker-0")
    feed.on_trade(lambda trade: 1 / 0)
    feed.start().subscribe(["orderbook_delta", "trade"], A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    assert handler.entered.wait(5)
    assert not handler.go_on.wait(0.3)  # long enough to be called blocked
    exchange.reset()  # the reader would log this
    wait_until(lambda: feed.stats().reconnects == 1)
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)
    assert feed.wait_for_book(B, timeout=5).is_live
    closing = in_thread(lambda: feed.close(timeout=0.3))
    closing.result(3)
    assert feed.state is FeedState.CLOSED
    handler.go_on.set()
    wait_until(lambda: not own_threads())


def test_R22_logging_that_blocks_in_the_reader(
    exchange: Exchange, make_feed: FeedMaker, blocking: Callable[[str], Blocking]
) -> None:
    """No lock is held: books can be read, waits end by their deadlines, and close() leaves the reader behind,
    with no LIVE book."""
    feed = make_feed()
    feed.start().subscribe(["orderbook_delta", "trade"], A).wait(5)
    book = feed.wait_for_book(A, timeout=5)
    handler = blocking("reader")
    exchange.reset()
    assert handler.entered.wait(5)
    assert book.status is BookStatus.STALE
    assert sides(book) == exchange.book(A)
    assert feed.stats().messages_total and feed.health().status == "down"
    with pytest.raises(WaitTimeout):
        feed.wait_for_book(A, timeout=0.05)
    waiting = in_thread(lambda: feed.wait_for_book(A))
    wait_until(lambda: inside.waiters(feed))
    began = time.monotonic()
    in_thread(lambda: feed.close(timeout=0.2)).result(5)
    assert time.monotonic() - began < 2
    assert type(waiting.ended()) is FeedClosedError
    assert (feed.state, book.status) == (FeedState.CLOSED, BookStatus.CLOSED)
    handler.go_on.set()
    wait_until(lambda: not own_threads())
    assert feed.state is FeedState.CLOSED
    feed.start()
    wait_equal(feed, exchange, A)
