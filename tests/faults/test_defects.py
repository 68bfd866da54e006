"""Our own defects, and logging handlers that end threads: they cost the connection at most, and never stop
the feed in silence."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kalshi_feed import BookStatus, FeedFault, FeedState, KalshiFeedError, ReconnectPolicy, StateChange
from kalshi_feed.session.session import Session
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.feed.support import A, B, FeedMaker, in_thread, wait_equal
from tests.support import wait_until

QUICK = ReconnectPolicy(initial_delay=0.02, max_delay=0.05)


class Bomb:
    """Raises inside the session on the reader thread, as often as it is armed to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.armed = 0
        real = getattr(Session, method)

        def explode(session: Session, *arguments: Any) -> Any:
            if self.armed and threading.current_thread().name.endswith("reader"):
                self.armed -= 1
                raise RuntimeError("planted")
            return real(session, *arguments)

        monkeypatch.setattr(Session, method, explode)


@pytest.mark.parametrize("method", ["receive", "tick", "connected", "next_deadline", "disconnected"])
def test_R30_a_defect_costs_the_connection_and_not_the_feed(
    exchange: Exchange,
    make_feed: FeedMaker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
) -> None:
    bomb = Bomb(monkeypatch, method)
    feed = make_feed(reconnect=QUICK)
    faults: list[FeedFault] = []
    states: list[StateChange] = []
    feed.on_error(faults.append)
    feed.on_state(states.append)
    feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    books = [feed.wait_for_book(ticker, 5) for ticker in (A, B)]
    bomb.armed = 1
    if method in ("connected", "disconnected"):
        exchange.close_connections()
    else:
        exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: bomb.armed == 0)
    wait_until(lambda: any(fault.kind == "defect" for fault in faults))
    wait_until(lambda: feed.state is FeedState.CONNECTED and all(book.is_live for book in books))
    wait_equal(feed, exchange, A, B)
    (fault,) = [fault for fault in faults if fault.kind == "defect"]
    assert isinstance(fault.error, RuntimeError) and "planted" in fault.message
    assert any(
        record.exc_info for record in caplog.records if "defect in kalshi_feed" in record.getMessage()
    ), "no traceback"
    assert [change.state for change in states if change.state is FeedState.FAILED] == []
    lost = next(change for change in states if "defect" in change.reason)
    assert lost.state is FeedState.RECONNECTING
    feed.close()


def test_R30_the_third_defect_within_a_minute_fails(
    exchange: Exchange, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = Bomb(monkeypatch, "receive")
    feed = make_feed(reconnect=QUICK)
    feed.start()
    feed.wait_for_book(A, 5)
    bomb.armed = 3
    exchange.change(A, "yes", "0.4", 1)
    wait_until(lambda: feed.state is FeedState.FAILED)
    with pytest.raises(KalshiFeedError, match=r"a defect in kalshi_feed ended the feed.*planted"):
        feed.wait_for_book(B, 5)
    feed.close()
    feed.start()  # the user may try again
    assert feed.wait_for_book(B, 5).status is BookStatus.LIVE
    feed.close()


class Exits(logging.Handler):
    """Tries to exit the program at the first error."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(logging.INFO)
        self._error = error
        self.threads: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.threads.add(threading.current_thread().name)
            raise self._error


@pytest.fixture
def exits(request: pytest.FixtureRequest) -> Iterator[Exits]:
    handler = Exits(request.param)
    logger = logging.getLogger("kalshi_feed")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize(
    "exits", [SystemExit("a handler"), KeyboardInterrupt(), GeneratorExit()], ids=repr, indirect=True
)
def test_R29_handlers_that_raise_anything_end_no_thread(
    exchange: Exchange, make_feed: FeedMaker, exits: Exits
) -> None:
    feed = make_feed(reconnect=QUICK)
    trades = []
    feed.on_trade(lambda trade: 1 / 0)  # the worker logs it
    feed.on_trade(trades.append)
    subscription = feed.start().subscribe(["orderbook_delta", "trade"], A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: trades)
    exchange.close_connections()  # the reader logs it
    wait_until(lambda: feed.stats().reconnects == 1)
    subscription.wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: len(trades) == 2)
    assert {"reader", "worker-0"} <= {name.rpartition("feed-")[2] for name in exits.threads}
    feed.close()
    assert feed.state is FeedState.CLOSED


def test_R29_whatever_ends_the_reader_wakes_every_wait(
    exchange: Exchange, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SystemExit from the session itself is not a defect that another connection would cure."""
    real = Session.receive

    def leave(session: Session, payloads: Any, now: float) -> None:
        if any(
            b'"type":"trade"' in payload for payload in payloads
        ) and threading.current_thread().name.endswith("reader"):
            raise SystemExit("planted")
        real(session, payloads, now)

    monkeypatch.setattr(Session, "receive", leave)
    feed = make_feed()
    feed.start().subscribe(["orderbook_delta", "trade"], A).wait(5)
    book = feed.wait_for_book(A, 5)
    waits = [in_thread(lambda: feed.wait_for("fill", timeout=20)), in_thread(feed.run_forever)]
    wait_until(lambda: inside.waiters(feed) and inside.streams(feed) == 1)
    exchange.trade(A, "yes", "0.5", 1)
    for wait in waits:
        assert isinstance(wait.ended(5), KalshiFeedError)
    assert feed.state is FeedState.FAILED and not book.is_live
    feed.close()
