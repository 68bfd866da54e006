"""Registering and running callbacks: every name, filters, order, errors, conflation."""

# mypy: no-strict-equality

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
from typing import Any

import pytest

from kalshi_feed import (
    BookStatus,
    BookView,
    ConfigurationError,
    FeedFault,
    Gap,
    KalshiFeed,
    Lagged,
    StateChange,
)
from kalshi_feed.messages import MESSAGE_TYPES
from kalshi_feed.session.channels import CHANNELS
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, Recorder, in_thread, sides, wait_equal
from tests.support import wait_until

DATA = {
    "on_snapshot": ("orderbook_delta", ["orderbook_snapshot"]),
    "on_delta": ("orderbook_delta", ["orderbook_delta"]),
    "on_trade": ("trade", ["trade"]),
    "on_ticker": ("ticker", ["ticker"]),
    "on_fill": ("fill", ["fill"]),
    "on_order": ("user_orders", ["user_order"]),
    "on_position": ("market_positions", ["market_position"]),
    "on_lifecycle": ("market_lifecycle_v2", ["market_lifecycle_v2", "multivariate_market_lifecycle"]),
    "on_event": ("market_lifecycle_v2", ["event_lifecycle", "event_fee_update"]),
    "on_order_group": ("order_group_updates", ["order_group_updates"]),
    "on_communication": ("communications", list(CHANNELS["communications"].types)),
    "on_index": ("cfbenchmarks_value", ["cfbenchmarks_value", "cfbenchmarks_value_5hz", "pyth_value"]),
}
EVENTS = {"on_state": StateChange, "on_gap": Gap, "on_lagged": Lagged, "on_error": FeedFault}


def _msg(type_: str, ticker: str) -> dict[str, Any]:
    """A body good enough for the type."""
    bodies: dict[str, dict[str, Any]] = {
        "orderbook_snapshot": {"market_ticker": ticker, "yes_dollars_fp": [["0.4000", "1.00"]]},
        "orderbook_delta": {
            "market_ticker": ticker,
            "side": "yes",
            "price_dollars": "0.4000",
            "delta_fp": "1.00",
        },
        "trade": {"market_ticker": ticker, "yes_price_dollars": "0.4000", "count_fp": "1.00"},
        "fill": {
            "market_ticker": ticker,
            "yes_price_dollars": "0.4000",
            "count_fp": "1.00",
            "fee_cost": "0.01",
        },
    }
    return bodies.get(type_, {"market_ticker": ticker})


def _channels(feed: KalshiFeed) -> None:
    """Everything of A and B."""
    feed.subscribe(["orderbook_delta", "trade", "ticker", "fill", "user_orders", "market_positions"], [A, B])
    feed.subscribe(
        ["market_lifecycle_v2", "multivariate_market_lifecycle", "order_group_updates", "communications"]
    )
    feed.subscribe(["cfbenchmarks_value", "cfbenchmarks_value_5hz"], index_ids="all")
    feed.subscribe("pyth_value", underlying_tickers="all")
    for subscription in feed.subscriptions:
        subscription.wait(5)
    for ticker in (A, B):
        feed.wait_for_book(ticker, timeout=5)


def _channel_of(type_: str) -> str:
    return next(name for name, channel in CHANNELS.items() if type_ in channel.types)


# -- registering ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATA)
def test_each_registration_gets_its_types(name: str, exchange: Exchange, feed: KalshiFeed) -> None:
    """Plain, as a decorator, as a decorator with arguments; each returns the function."""
    _, types = DATA[name]
    plain: list[Any] = []
    bare: list[Any] = []
    only_a: list[Any] = []
    every: list[Any] = []
    register: Any = getattr(feed, name)
    append = plain.append
    assert register(append) is append
    feed.on_message(every.append)
    _channels(feed)
    wait_until(lambda: len(every) == 2, what="the first snapshots")
    plain.clear()
    every.clear()

    @register  # type: ignore[untyped-decorator]
    def decorated(message: Any) -> None:
        bare.append(message)

    @register(market_tickers=[A])  # type: ignore[untyped-decorator]
    def filtered(message: Any) -> None:
        only_a.append(message)

    @register()  # type: ignore[untyped-decorator]
    def called(message: Any) -> None:
        pass

    assert callable(decorated) and callable(filtered) and callable(called)
    all_types = [type_ for _, kinds in DATA.values() for type_ in kinds]
    for type_ in all_types:
        for ticker in (A, B):
            exchange.send(_channel_of(type_), _msg(type_, ticker), type=type_, check=False)
    wait_until(lambda: len(every) == 2 * len(all_types), what="every message")
    wait_until(lambda: len(bare) == len(plain) == 2 * len(types))
    assert sorted({m.type for m in bare}) == sorted(types)
    assert bare == plain == [m for m in every if m.type in types]
    assert only_a == [m for m in bare if m.market_ticker == A]
    for message in bare:
        assert isinstance(message, MESSAGE_TYPES[message.type])


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.greenlets
def test_events_of_the_feed(name: str, exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(queue_size=1)
    told: list[Any] = []

    @getattr(feed, name)  # type: ignore[untyped-decorator]
    def tell(event: Any) -> None:
        told.append(event)

    block = threading.Event()
    feed.on_trade(lambda trade: block.wait(5))
    feed.start().subscribe(["orderbook_delta", "trade"], A).wait(5)
    wait_equal(feed, exchange, A)
    exchange.lose(type="orderbook_delta")
    exchange.change(A, "yes", "0.4", 1)
    exchange.change(A, "yes", "0.4", 1)
    for _ in range(5):
        exchange.trade(A, "yes", "0.5", 1)
        exchange.send_raw("{")
    wait_until(lambda: feed.stats().dropped)
    block.set()
    wait_until(lambda: told)
    assert {type(event) for event in told} == {EVENTS[name]}
    for event in told:
        with pytest.raises(dataclasses.FrozenInstanceError):
            event.kind = "other"


def test_on_any_type_also_replies_and_unknown_ones(exchange: Exchange, feed: KalshiFeed) -> None:
    heard: list[str] = []
    data: list[str] = []
    feed.on_message(lambda message: data.append(message.type))
    for type_ in ("subscribed", "ok", "unsubscribed", "error", "trade", "novelty"):
        feed.on(type_, lambda message: heard.append(message.type))

    @feed.on("trade", market_tickers=B)
    def only_b(trade: Any) -> None:
        heard.append("trade of B")

    subscription = feed.subscribe("trade", A).wait(5)
    subscription.add_markets(B).wait(5)
    exchange.trade(B, "yes", "0.5", 1)
    exchange.send_raw('{"type":"novelty"}')
    exchange.refuse_commands(8)
    feed.subscribe("ticker", A)
    wait_until(lambda: "error" in heard)
    subscription.unsubscribe()
    wait_until(lambda: "unsubscribed" in heard)
    assert heard == ["subscribed", "ok", "trade", "trade of B", "novelty", "error", "unsubscribed"]
    assert data == ["trade", "novelty"]  # replies are not data


@pytest.mark.greenlets
def test_off(exchange: Exchange, feed: KalshiFeed) -> None:
    told: list[str] = []

    class Counter:
        def __init__(self, name: str) -> None:
            self.name = name

        def count(self, trade: Any) -> None:
            told.append(self.name)

    one, two = Counter("one"), Counter("two")
    feed.on_trade(one.count)
    feed.on("trade", one.count)
    feed.on_trade(two.count, market_tickers=A)

    @feed.on_trade
    def once(trade: Any) -> None:
        told.append("once")
        assert feed.off(once) == 1

    feed.subscribe("trade", A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: len(told) == 4)
    assert feed.off(one.count) == 2  # every registration; bound methods are compared as Python does
    assert feed.off(one.count) == 0
    assert feed.off(print) == 0
    exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: len(told) == 5)
    assert told == ["one", "one", "two", "once", "two"]


@pytest.mark.greenlets
def test_R06_registering_in_a_callback_takes_effect_with_the_next_message(
    exchange: Exchange, feed: KalshiFeed
) -> None:
    told: list[Any] = []

    @feed.on_trade
    def first(trade: Any) -> None:
        feed.off(first)
        feed.on_trade(lambda t: told.append(t.count))

    feed.subscribe("trade", A).wait(5)
    for count in (1, 2, 3):
        exchange.trade(A, "yes", "0.5", count)
    wait_until(lambda: told == [2, 3])


@pytest.mark.parametrize("callback", [5, "print", object(), b"x"])
def test_what_cannot_be_called_is_refused(callback: Any, feed: KalshiFeed) -> None:
    for name in (*DATA, *EVENTS, "on_book", "on_message"):
        with pytest.raises(ConfigurationError):
            getattr(feed, name)(callback)
    with pytest.raises(ConfigurationError):
        feed.on("trade", callback)


def test_other_bad_registrations(feed: KalshiFeed) -> None:
    async def coroutine(trade: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="coroutine"):
        feed.on_trade(coroutine)
    with pytest.raises(ConfigurationError, match="message type"):
        feed.on("", print)
    with pytest.raises(ConfigurationError, match="message type"):
        feed.on(print, "trade")  # type: ignore[call-overload]
    bad: list[Any] = [[], [""], 5, [5]]
    for tickers in bad:
        with pytest.raises(ConfigurationError):
            feed.on_trade(print, market_tickers=tickers)
    with pytest.raises(ConfigurationError):
        feed.on("unheard-of", 7)  # type: ignore[call-overload]


# -- running -------------------------------------------------------------------------------------------------


@pytest.mark.greenlets
def test_callbacks_run_on_the_worker_in_order_and_under_no_lock(exchange: Exchange, feed: KalshiFeed) -> None:
    names: set[str] = set()
    order: list[str] = []

    def look(kind: str, message: Any) -> None:
        names.add(threading.current_thread().name)
        # another thread gets all locks
        assert in_thread(lambda: (feed.book(A).view(), feed.stats())).result(1)
        order.append(f"{kind} {getattr(message, 'count', message.type)}")

    feed.on_trade(functools.partial(look, "1st"))
    feed.on_message(functools.partial(look, "2nd"))
    feed.on_trade(functools.partial(look, "3rd"))
    feed.subscribe("trade", A).wait(5)
    for count in (1, 2):
        exchange.trade(A, "yes", "0.5", count)
    wait_until(lambda: len(order) == 6)
    assert order == [f"{kind} {count}.00" for count in (1, 2) for kind in ("1st", "2nd", "3rd")]
    assert names == {"kalshi-feed-worker-0"}


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_R01_R02_raising_callback(
    raised: type[BaseException], exchange: Exchange, feed: KalshiFeed, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Recorder(feed)
    others: list[Any] = []

    @feed.on_trade
    def broken(trade: Any) -> None:
        raise raised("no good")

    feed.on_trade(others.append)
    feed.subscribe(["trade", "orderbook_delta"], A).wait(5)
    for count in (1, 2, 3):
        exchange.trade(A, "yes", "0.5", count)
    exchange.change(A, "yes", "0.4", 1)
    wait_until(lambda: len(heard.of("orderbook_delta")) == 1)
    wait_equal(feed, exchange, A)
    wait_until(lambda: len(heard.faults) == 3)
    assert [t.count for t in others] == [1, 2, 3]
    assert feed.stats().callback_errors == feed.stats().faults["callback"] == 3
    fault = heard.faults[0]
    assert fault.kind == "callback"
    assert "broken" in fault.message
    assert isinstance(fault.error, raised)
    assert fault.context["market_ticker"] == A
    logged = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(logged) == 1  # the first one, then every thousandth
    assert "broken" in logged[0].getMessage()


def test_R06_on_error_that_raises_is_only_logged(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    feed.on_error(lambda fault: 1 / 0)
    feed.on_trade(lambda trade: 1 / 0)
    feed.subscribe("trade", A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: feed.stats().callback_errors == 2)
    exchange.trade(A, "yes", "0.5", 2)
    wait_until(lambda: feed.stats().callback_errors == 4)
    assert heard.kinds() == ["callback", "callback"]


def test_R08_messages_are_immutable(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    views: list[BookView] = []
    feed.on_book(views.append)
    feed.subscribe(["orderbook_delta", "trade"], A).wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    exchange.change(A, "yes", "0.4", 1)
    wait_until(lambda: len(heard.messages) == 3 and views)
    for item in (*heard.messages, views[0], *heard.states):
        for name in ("msg", "market_ticker", "state", "status", "new"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(item, name, "mine")


# -- on_book -------------------------------------------------------------------------------------------------


@pytest.mark.greenlets
def test_on_book_is_conflated(exchange: Exchange, feed: KalshiFeed) -> None:
    views: list[BookView] = []
    entered, go_on = threading.Event(), threading.Event()

    @feed.on_book
    def slow(view: BookView) -> None:
        views.append(view)
        entered.set()
        go_on.wait(5)

    feed.subscribe("orderbook_delta", [A, B]).wait(5)
    assert entered.wait(5)
    wait_equal(feed, exchange, A, B)
    for _ in range(200):
        exchange.change(A, "yes", "0.30", 1)
        exchange.change(B, "no", "0.10", "0.01")
    wait_equal(feed, exchange, A, B)
    go_on.set()
    for ticker in (A, B):
        newest = feed.book(ticker).version
        wait_until(lambda: [v for v in views if v.market_ticker == ticker and v.version == newest])  # noqa: B023
    assert len(views) <= 5  # the one that was being shown, and the newest of each; not 400
    assert all(isinstance(view, BookView) and view.is_live for view in views)
    last = {view.market_ticker: view for view in views}
    assert sides(last[A]) == exchange.book(A)
    assert sides(last[B]) == exchange.book(B)
    assert feed.stats().dropped == 0


@pytest.mark.greenlets
def test_on_book_follows_the_status_also_at_close_and_start(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    seen: list[BookStatus] = []
    feed.on_book(lambda view: seen.append(view.status), market_tickers=A)

    def wait_seen(*statuses: BookStatus) -> None:
        wait_until(lambda: seen and seen[-1] is statuses[-1], what=f"{statuses} in {seen}")
        assert [s for i, s in enumerate(seen) if not i or s is not seen[i - 1]] == list(statuses)
        seen.clear()

    feed.start().subscribe("orderbook_delta", [A, B])
    wait_seen(BookStatus.LIVE)
    exchange.ignore_commands("update_subscription")
    exchange.lose(type="orderbook_delta")
    exchange.change(A, "yes", "0.4", 1)
    exchange.change(B, "yes", "0.1", 1)
    wait_seen(BookStatus.STALE)
    exchange.snapshot(A)
    wait_seen(BookStatus.LIVE)
    feed.subscriptions[0].delete_markets(A)
    wait_seen(BookStatus.CLOSED)
    exchange.ignore_commands()
    feed.subscriptions[0].add_markets(A)
    wait_seen(BookStatus.PENDING)
    feed.close()
    wait_seen(BookStatus.CLOSED)
    exchange.ignore_commands(n=None)
    feed.start()
    wait_seen(BookStatus.PENDING)
