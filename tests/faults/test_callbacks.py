"""Users' callbacks at their worst, through the whole feed: the books stay right, the counts add up, and
nothing hangs."""

# mypy: no-strict-equality

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from kalshi_feed import FeedState, KalshiFeed, Lagged, SubscriptionState
from kalshi_feed.dispatch import dispatcher as dispatch
from kalshi_feed.dispatch.worker import Worker
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, Held, Recorder, in_thread, own_threads, wait_equal
from tests.support import wait_until

POLICIES = pytest.mark.parametrize("overflow", ["drop_oldest", "block"])


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feed that calls a callback stuck after 0.2 s, not 5."""
    monkeypatch.setattr(dispatch, "_STUCK_AFTER", 0.2)
    monkeypatch.setattr(dispatch, "_WATCH_EVERY", 0.05)


def _warnings(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


# -- it does not return --------------------------------------------------------------------------------------


@POLICIES
@pytest.mark.parametrize("quiet", [True, False])
def test_R03_callback_that_never_returns(
    quiet: bool,
    overflow: str,
    exchange: Exchange,
    make_feed: FeedMaker,
    hurried: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One warning names it, even if nothing more comes. Books and waits go on, and close() ends and leaves
    the thread behind."""
    feed = make_feed(overflow=overflow, queue_size=5)
    held = feed.on_trade(Held())
    feed.start().subscribe(["orderbook_delta", "trade"], A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    assert held.entered.wait(5)
    if overflow == "drop_oldest" or quiet:
        for _ in range(0 if quiet else 50):
            exchange.trade(A, "yes", "0.5", 1)
            exchange.change(A, "yes", "0.4", 1)
        wait_equal(feed, exchange, A)
        assert feed.wait_for_book(B, timeout=5).is_live
    else:
        for _ in range(50):  # reading pauses for good, and the reader itself must still watch
            exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: _warnings(caplog, "has been running for over"), what="the warning")
    assert any("Held" in reason for reason in feed.health().reasons)
    if overflow == "drop_oldest":
        exchange.change(A, "yes", "0.4", 1)
        wait_equal(feed, exchange, A)
    began = time.monotonic()
    feed.close(timeout=0.3)
    assert time.monotonic() - began < 1.5
    assert feed.state is FeedState.CLOSED
    assert own_threads() == ["kalshi-feed-worker-0"]
    (warning,) = _warnings(caplog, "has been running for over")
    (left,) = _warnings(caplog, "abandoning its thread")
    assert "tests.feed.support.Held" in warning and "tests.feed.support.Held" in left
    stats = feed.stats()
    assert len(held.seen) + stats.dropped == stats.messages["trade"]
    held.go_on.set()
    wait_until(lambda: not own_threads())
    assert len(held.seen) == 1  # once it returns, it is not given anything more


# -- it is slow ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
@POLICIES
def test_R04_slow_callbacks_and_counts_that_add_up(
    overflow: str, workers: int, exchange: Exchange, make_feed: FeedMaker
) -> None:
    """delivered + dropped = received, message by message; a Lagged stands where its messages would have
    come."""
    tickers = [f"KXSLOW-{n}" for n in range(6)]
    for ticker in tickers:
        exchange.add_market(ticker, yes={"0.5": 1})
    feed = make_feed(queue_size=20, overflow=overflow, workers=workers)
    told: list[Any] = []  # any worker appends to it
    faults: list[Any] = []
    feed.on_lagged(told.append)
    feed.on_error(faults.append)
    held = Held()

    @feed.on_trade
    def slow(trade: Any) -> None:
        if not held.go_on.is_set():
            held(trade)
        elif trade.count % 50 == 0:
            time.sleep(0.001)
        told.append(trade)

    feed.start().subscribe(["orderbook_delta", "trade"], tickers).wait(5)
    sent = 300
    for count in range(1, sent + 1):
        for ticker in tickers:
            exchange.trade(ticker, "yes", "0.5", count)
        if count % 100 == 0:
            exchange.change(tickers[0], "yes", "0.4", 1)
            exchange.send_raw("{")  # on_error hears of it, however full the queue is
        if count == 150 and overflow == "drop_oldest":
            wait_until(lambda: feed.stats().dropped > 0)
            wait_equal(feed, exchange, *tickers)
            held.go_on.set()
    held.go_on.set()
    received = sent * len(tickers)
    wait_until(lambda: feed.stats().messages.get("trade") == received)
    wait_equal(feed, exchange, *tickers)
    lost = lambda: sum(item.dropped for item in told if isinstance(item, Lagged))  # noqa: E731
    wait_until(
        lambda: len([item for item in told if not isinstance(item, Lagged)]) + lost() == received,
        what="the sum",
    )
    stats = feed.stats()
    assert lost() == stats.dropped
    assert stats.queue_depth == 0
    assert [fault.kind for fault in faults] == ["protocol"] * 3
    if overflow == "block":
        assert stats.dropped == 0
        assert stats.queue_high_water <= 20
    else:
        assert stats.dropped > 0
    counts: dict[str, list[int]] = defaultdict(list)
    for item in told:
        if not isinstance(item, Lagged):
            counts[item.market_ticker].append(int(item.count))
    assert all(seen == sorted(set(seen)) for seen in counts.values())
    if workers == 1:  # then each loss is exactly as large as the jump that it explains
        position = jump = 0
        for item in told:
            if isinstance(item, Lagged):
                jump += item.dropped
                assert set(item.market_tickers) <= set(tickers)
            else:
                place = (int(item.count) - 1) * len(tickers) + tickers.index(item.market_ticker)
                assert place == position + jump
                position, jump = place + 1, 0


def test_R04_one_warning_for_a_lag(
    exchange: Exchange, make_feed: FeedMaker, caplog: pytest.LogCaptureFixture
) -> None:
    feed = make_feed(queue_size=10)
    held = feed.on_trade(Held())
    feed.start().subscribe("trade", A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    assert held.entered.wait(5)
    for count in range(2, 200):
        exchange.trade(A, "yes", "0.5", count)
    wait_until(lambda: feed.stats().messages.get("trade") == 199)
    (warning,) = _warnings(caplog, "callbacks are too slow")
    assert "queue of 10" in warning and "on_lagged" in warning
    held.go_on.set()


def test_R04_faults_that_no_one_takes_are_bounded(
    exchange: Exchange,
    make_feed: FeedMaker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A peer that misbehaves while a callback is stuck fills neither the memory nor the log."""
    monkeypatch.setattr("kalshi_feed.dispatch.mailbox.MAX_FAULTS", 5)
    feed = make_feed(queue_size=5)
    heard = Recorder(feed)
    held = feed.on_trade(Held())
    feed.start().subscribe(["trade", "orderbook_delta"], A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    assert held.entered.wait(5)
    for number in range(50):
        exchange.send("trade", {"market_ticker": f"KXNOSUCH-{number}", "count_fp": "NaN"}, check=False)
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)
    wait_until(lambda: _warnings(caplog, "faults are no longer reported"))
    assert len(_warnings(caplog, "faults are no longer reported")) == 1
    held.go_on.set()
    wait_until(lambda: heard.of("orderbook_delta"))
    assert 5 <= len(heard.faults) <= 11


# -- it closes the feed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    "where", ["on_trade", "on_book", "on_state", "on_error", "on_gap", "on_lagged", "on_message"]
)
def test_R05_callback_closes_the_feed(
    where: str, workers: int, exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(workers=workers, queue_size=1)
    took: list[float] = []

    def close(item: Any) -> None:
        began = time.monotonic()
        feed.close()
        feed.close()
        took.append(time.monotonic() - began)

    feed.subscribe(["orderbook_delta", "trade"], A)
    held = feed.on_trade(Held()) if where == "on_lagged" else None
    getattr(feed, where)(close)
    running = in_thread(feed.run_forever)
    if where not in ("on_state", "on_book", "on_message"):  # these close it at once
        feed.wait_for_book(A, timeout=5)
        feed.subscriptions[0].wait(5)
        exchange.lose(type="orderbook_delta")
        exchange.send_raw("{")
        for _ in range(5):
            exchange.trade(A, "yes", "0.5", 1)
            exchange.change(A, "yes", "0.4", 1)
    if held is not None:
        wait_until(lambda: feed.stats().dropped)
        held.go_on.set()
    assert running.result() is None
    wait_until(lambda: took)
    wait_until(lambda: not own_threads())
    assert feed.state is FeedState.CLOSED
    assert max(took) < 1
    feed.off(close)
    assert feed.start().wait_for_book(A, timeout=5).is_live


# -- it uses the feed ----------------------------------------------------------------------------------------


def test_R06_callback_subscribes_registers_and_unregisters(exchange: Exchange, feed: KalshiFeed) -> None:
    order: list[str] = []
    made: list[Any] = []

    @feed.on_trade(market_tickers=A)
    def first(trade: Any) -> None:
        order.append(f"first {trade.count}")
        subscription = feed.subscribe(["orderbook_delta", "trade"], B)
        subscription.add_markets("KXMORE").delete_markets("KXMORE")
        made.append(subscription)
        feed.on_trade(second)
        feed.off(first)

    def second(trade: Any) -> None:
        order.append(f"second {trade.market_ticker[-1]} {trade.count}")

    feed.subscribe("trade", A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: made)
    made[0].wait(5)
    assert made[0].state is SubscriptionState.ACTIVE
    exchange.trade(A, "yes", "0.5", 2)
    exchange.trade(B, "yes", "0.5", 3)
    wait_until(lambda: len(order) == 3)
    assert order == ["first 1.00", "second A 2.00", "second B 3.00"]
    wait_equal(feed, exchange, B)


def test_R06_on_error_that_raises_and_subscribes_does_not_call_itself(
    exchange: Exchange, feed: KalshiFeed
) -> None:
    calls: Counter[str] = Counter()

    @feed.on_error
    def broken(fault: Any) -> None:
        calls[fault.kind] += 1
        feed.subscribe("trade", B)
        raise SystemExit("broken")

    feed.on_trade(lambda trade: 1 / 0)
    feed.subscribe("trade", A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    exchange.send_raw("{")
    wait_until(lambda: sum(calls.values()) == 2)
    exchange.trade(A, "yes", "0.5", 2)
    wait_until(lambda: feed.stats().callback_errors == 5)  # two trades, and on_error is called three times
    assert calls == {"callback": 2, "protocol": 1}


@POLICIES
def test_R07_callback_waits_for_everything(overflow: str, exchange: Exchange, make_feed: FeedMaker) -> None:
    """Even while the queue is full, and with "block": the reader does not wait for a thread that waits for
    it."""
    feed = make_feed(queue_size=2, overflow=overflow)
    entered, go_on = threading.Event(), threading.Event()
    got: list[Any] = []
    failed: list[BaseException] = []

    def calls() -> list[Callable[[], Any]]:
        book = feed.book(A)
        return [
            lambda: feed.book(A).view(),
            lambda: feed.stats().messages_total,
            feed.health,
            lambda: feed.wait_until_connected(5),
            lambda: feed.wait_for_book(B, timeout=5),
            lambda: feed.subscribe("ticker", A).wait(5),
            lambda: book.wait_for_update(5),
            lambda: feed.wait_for("trade", timeout=5),
            lambda: feed.list_subscriptions(5),
            lambda: next(feed.messages("trade")),
        ]

    @feed.on_trade
    def asks(trade: Any) -> None:
        if got or failed:
            return
        entered.set()
        go_on.wait(5)
        for call in calls():
            try:
                got.append(call())
            except BaseException as error:
                failed.append(error)

    feed.start().subscribe(["orderbook_delta", "trade"], A).wait(5)
    wait_equal(feed, exchange, A)
    exchange.trade(A, "yes", "0.5", 1)
    assert entered.wait(5)
    for _ in range(20):
        exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: feed.stats().queue_depth)
    go_on.set()

    def done() -> bool:
        exchange.trade(A, "yes", "0.5", 1)
        exchange.change(A, "yes", "0.4", 1)
        return len(got) + len(failed) == len(calls())

    wait_until(done, timeout=20)
    assert failed == []
    wait_equal(feed, exchange, A, B)
    if overflow == "block":
        assert feed.stats().dropped == 0


# -- our own worker is at fault ------------------------------------------------------------------------------


def test_R19_defect_of_the_dispatcher_is_counted_and_reported(
    exchange: Exchange,
    make_feed: FeedMaker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Callbacks that can no longer be reached do not make books wrong, and every loss is announced."""
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().subscribe(["orderbook_delta", "trade"], A).wait(5)
    wait_until(lambda: heard.of("orderbook_snapshot"))
    real, broken = Worker._deliver, True

    def deliver(self: Worker, chunk: Any) -> Any:
        if broken:
            raise LookupError("a part of ours")
        return real(self, chunk)

    monkeypatch.setattr(Worker, "_deliver", deliver)
    for count in range(1, 6):
        exchange.trade(A, "yes", "0.5", count)
        exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)
    wait_until(lambda: feed.stats().dropped == 10)
    broken = False
    exchange.trade(A, "yes", "0.5", 6)
    wait_until(lambda: [trade.count for trade in heard.of("trade")] == [6])
    assert sum(lag.dropped for lag in heard.lags) == 10
    assert set(heard.kinds()) == {"defect"}
    assert feed.stats().faults["defect"] == len(heard.faults)
    assert isinstance(heard.faults[0].error, LookupError)
    assert len(_warnings(caplog, "defect 1 of this worker")) == 1
