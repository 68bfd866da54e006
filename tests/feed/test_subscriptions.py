"""subscribe() and Subscription: wanted channels are requested, overlaps counted, changes made at run time."""

# mypy: no-strict-equality

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed import (
    BookStatus,
    ConfigurationError,
    FeedClosedError,
    KalshiFeed,
    Subscription,
    SubscriptionError,
    SubscriptionState,
)
from kalshi_feed.session.channels import CHANNELS
from kalshi_feed.simulator import Exchange
from tests.feed.support import (
    A,
    B,
    C,
    FeedMaker,
    Recorder,
    channels_of,
    in_thread,
    markets_of,
    sides,
    wait_equal,
    wait_markets,
)
from tests.support import wait_until

# -- the call ------------------------------------------------------------------------------------------------


@pytest.mark.greenlets
def test_before_start_after_start_from_threads_and_callbacks(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed()
    early = feed.subscribe("trade", A)
    assert early.state is SubscriptionState.PENDING
    assert (early.channels, early.market_tickers, dict(early.sids), early.error) == (
        ("trade",),
        (A,),
        {},
        None,
    )

    @feed.on_trade
    def also(trade: Any) -> None:
        feed.off(also)
        feed.subscribe("ticker", B)

    feed.start()
    early.wait(5)
    in_thread(lambda: feed.subscribe(("orderbook_delta",), iter([A, B]))).result().wait(5)
    exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: len(feed.subscriptions) == 3)
    for subscription in feed.subscriptions:
        subscription.wait(5)
    assert channels_of(exchange) == ["orderbook_delta", "ticker", "trade"]
    assert [s.channels for s in feed.subscriptions] == [("trade",), ("orderbook_delta",), ("ticker",)]
    assert early.state is SubscriptionState.ACTIVE


@pytest.mark.greenlets
def test_R17_fifty_threads_subscribe(exchange: Exchange, feed: KalshiFeed) -> None:
    tickers = [f"KXMANY-{n:02d}" for n in range(50)]
    for ticker in tickers:
        exchange.add_market(ticker, yes={"0.5": 1})
    barrier = threading.Barrier(50)

    def subscribe(ticker: str) -> Subscription:
        barrier.wait(5)
        return feed.subscribe("orderbook_delta", ticker)

    calls = [in_thread(functools.partial(subscribe, ticker)) for ticker in tickers]
    for call in calls:
        call.result().wait(5)
    wait_equal(feed, exchange, *tickers)
    assert markets_of(exchange, "orderbook_delta") == tickers
    assert sorted(feed.books) == tickers


def test_never_blocks(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.freeze()
    feed = make_feed().start()
    calls: list[Callable[[], Any]] = [
        lambda: feed.subscribe("orderbook_delta", [A, B]),
        lambda: feed.subscriptions[0].add_markets(C),
        lambda: feed.subscriptions[0].delete_markets(A),
        lambda: feed.subscriptions[0].request_snapshot(B),
        lambda: feed.subscriptions[0].unsubscribe(),
    ]
    for call in calls:
        in_thread(call).result(1)


def test_every_channel_can_be_subscribed(exchange: Exchange, feed: KalshiFeed) -> None:
    needs: dict[str, dict[str, Any]] = {
        "orderbook_delta": {"market_tickers": A},
        "pyth_value": {"underlying_tickers": ["all"]},
    }
    for channel in CHANNELS:
        needed = needs.get(channel, {"index_ids": ["all"]} if channel.startswith("cf") else {})
        subscription = feed.subscribe(channel, **needed).wait(5)
        assert list(subscription.sids) == [channel]
    assert channels_of(exchange) == sorted(CHANNELS)


def test_parameters_reach_the_wire(exchange: Exchange, feed: KalshiFeed) -> None:
    uuid = "4f5c2e39-5132-4147-ba3f-b3485ad89427"
    feed.subscribe("ticker", market_ids=[uuid], send_initial_snapshot=True, skip_ticker_ack=True)
    feed.subscribe("communications", user_filter="self", shard_factor=4, shard_key=3)
    feed.subscribe("cfbenchmarks_value", index_ids="BRTI")
    feed.subscribe("pyth_value", underlying_tickers=["GOLD", "OIL"])
    for subscription in feed.subscriptions:
        subscription.wait(5)
    sent = {c["params"]["channels"][0]: c["params"] for c in exchange.commands}
    assert sent == {
        "ticker": {
            "channels": ["ticker"],
            "market_ids": [uuid],
            "send_initial_snapshot": True,
            "skip_ticker_ack": True,
        },
        "communications": {
            "channels": ["communications"],
            "user_filter": "self",
            "shard_factor": 4,
            "shard_key": 3,
        },
        "cfbenchmarks_value": {"channels": ["cfbenchmarks_value"], "index_ids": ["BRTI"]},
        "pyth_value": {"channels": ["pyth_value"], "underlying_tickers": ["GOLD", "OIL"]},
    }
    assert all(subscription.market_tickers == () for subscription in feed.subscriptions)


@pytest.mark.parametrize("use_yes_price", [True, False])
def test_use_yes_price_is_always_sent(use_yes_price: bool, exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(use_yes_price=use_yes_price).start()
    heard = Recorder(feed)
    book = feed.wait_for_book(A, timeout=5)
    assert exchange.commands[0]["params"]["use_yes_price"] is use_yes_price
    exchange.change(A, "no", "0.54", 1)
    wait_equal(feed, exchange, A)
    assert book.best_bid("no") == (Decimal("0.54"), 8)  # a no bid at 0.54 is 0.54 either way
    wait_until(lambda: heard.of("orderbook_delta"))
    (delta,) = heard.of("orderbook_delta")
    assert (delta.price, delta.price_dollars) == (Decimal("0.54"), "0.4600" if use_yes_price else "0.5400")
    (snapshot,) = heard.of("orderbook_snapshot")
    assert snapshot.no[0] == (Decimal("0.54"), 7)
    assert [level.price for level in snapshot.yes] == [Decimal("0.4"), Decimal("0.395")]


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"channels": "trade", "market_tickers": []}, "empty"),
        ({"channels": []}, "channels is empty"),
        ({"channels": None}, "channels must be"),
        ({"channels": 5}, "channels must be"),
        ({"channels": [5]}, "strings"),
        ({"channels": b"trade"}, "channels must be"),
        ({"channels": "trade", "market_tickers": ["A,B"]}, "without spaces or commas"),
        ({"channels": "trade", "market_tickers": ["A B"]}, "without spaces or commas"),
        ({"channels": "trade", "market_tickers": [""]}, "separate string"),
        ({"channels": "trade", "market_tickers": 5}, "market_tickers must be"),
        ({"channels": "trade", "market_tickers": A, "market_ids": "x"}, "only one"),
        ({"channels": "orderbook_delta", "market_ids": "x"}, "market_tickers"),
        ({"channels": ["ticker", "orderbook_delta"]}, "Params required"),
        ({"channels": "communications", "shard_key": 1}, "shard_factor"),
        ({"channels": "communications", "shard_factor": 0}, "shard_factor"),
        ({"channels": "communications", "shard_factor": 101}, "shard_factor"),
        ({"channels": "communications", "shard_factor": 4, "shard_key": 4}, "shard_key"),
        ({"channels": "communications", "shard_factor": "4"}, "shard_factor"),
        ({"channels": "communications", "user_filter": "all"}, "user_filter"),
        ({"channels": "ticker", "send_initial_snapshot": "yes"}, "send_initial_snapshot"),
        ({"channels": "ticker", "skip_ticker_ack": object()}, "skip_ticker_ack"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    arguments: dict[str, Any], advice: str, exchange: Exchange, feed: KalshiFeed
) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        feed.subscribe(**arguments)
    assert feed.subscriptions == ()
    assert feed.list_subscriptions(5) == ()
    assert [c["cmd"] for c in exchange.commands] == ["list_subscriptions"]


def test_conflicting_options_are_refused_and_change_nothing(exchange: Exchange, feed: KalshiFeed) -> None:
    first = feed.subscribe("communications", shard_factor=2, shard_key=0).wait(5)
    with pytest.raises(ConfigurationError, match="shard_key=0"):
        feed.subscribe(["trade", "communications"], shard_factor=2, shard_key=1)
    assert [s.channels for s in feed.subscriptions] == [("communications",)]
    assert channels_of(exchange) == ["communications"]
    feed.subscribe("communications", shard_factor=2, shard_key=0).wait(5)
    first.unsubscribe()
    feed.subscriptions[0].unsubscribe()
    feed.subscribe("communications", shard_factor=2, shard_key=1).wait(5)  # now no one else wants it


def test_ids_and_tickers_on_one_channel_are_refused(feed: KalshiFeed) -> None:
    feed.subscribe("ticker", A).wait(5)
    with pytest.raises(ConfigurationError, match="already subscribed by market_tickers"):
        feed.subscribe("ticker", market_ids="4f5c2e39-5132-4147-ba3f-b3485ad89427")


# -- overlaps ------------------------------------------------------------------------------------------------


def test_overlaps_are_counted(exchange: Exchange, feed: KalshiFeed) -> None:
    exchange.add_market(C, yes={"0.3": 1})
    one = feed.subscribe("orderbook_delta", [A, B]).wait(5)
    two = feed.subscribe("orderbook_delta", [B, C]).wait(5)
    wait_equal(feed, exchange, A, B, C)
    assert markets_of(exchange, "orderbook_delta") == [A, B, C]
    assert one.sids == two.sids
    book = feed.book(A)
    one.unsubscribe()
    wait_markets(exchange, "orderbook_delta", [B, C])
    assert (one.state, two.state) == (SubscriptionState.CLOSED, SubscriptionState.ACTIVE)
    assert feed.book(A).status is BookStatus.CLOSED
    assert feed.book(A) is book and sides(book) == exchange.book(A)  # the last levels stay readable
    assert feed.book(B).is_live
    assert sorted(feed.books) == [B, C]
    exchange.change(A, "yes", "0.4", 1)
    exchange.change(B, "yes", "0.1", 1)
    wait_equal(feed, exchange, B)
    assert feed.book(A).best_bid() == (Decimal("0.4"), 10)
    two.unsubscribe()
    two.unsubscribe()
    wait_until(lambda: exchange.subscriptions == [])
    assert feed.subscriptions == ()
    assert len(feed.books) == 0
    with pytest.raises(FeedClosedError, match="unsubscribe"):
        two.wait(5)


def test_same_market_twice_is_asked_for_once(exchange: Exchange, feed: KalshiFeed) -> None:
    one = feed.subscribe("orderbook_delta", [A, A]).wait(5)
    two = feed.subscribe("orderbook_delta", A).wait(5)
    assert (one.market_tickers, two.market_tickers) == ((A,), (A,))
    assert len(exchange.commands) == 1
    one.unsubscribe()
    feed.list_subscriptions(5)
    assert feed.wait_for_book(A, timeout=5).is_live
    assert markets_of(exchange, "orderbook_delta") == [A]


def test_all_wins_over_a_filter(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    some = feed.subscribe("trade", A).wait(5)
    assert markets_of(exchange, "trade") == [A]
    everything = feed.subscribe("trade").wait(5)
    wait_markets(exchange, "trade", None)
    exchange.trade(B, "yes", "0.5", 1)
    wait_until(lambda: len(heard.of("trade")) == 1)
    everything.unsubscribe()
    wait_markets(exchange, "trade", [A])  # only a filter is left: unsubscribe, and subscribe again
    some.wait(5)
    exchange.trade(B, "yes", "0.5", 2)
    exchange.trade(A, "yes", "0.5", 3)
    wait_until(lambda: len(heard.of("trade")) == 2)
    assert [t.count for t in heard.of("trade")] == [1, 3]
    assert [c["cmd"] for c in exchange.commands].count("unsubscribe") == 2


def test_S38_subscribe_unsubscribe_subscribe_at_once(exchange: Exchange, feed: KalshiFeed) -> None:
    feed.wait_until_connected(5)
    for _ in range(20):
        feed.subscribe("orderbook_delta", A).unsubscribe()
    last = feed.subscribe("orderbook_delta", B).wait(5)
    wait_equal(feed, exchange, B)
    wait_markets(exchange, "orderbook_delta", [B])
    assert last.state is SubscriptionState.ACTIVE
    assert feed.book(A).status is BookStatus.CLOSED


# -- changing ------------------------------------------------------------------------------------------------


@pytest.mark.greenlets
def test_add_and_delete_markets(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    exchange.add_market(C, yes={"0.3": 1})
    subscription = feed.subscribe(["orderbook_delta", "trade"], A).wait(5)
    sids = dict(subscription.sids)
    assert subscription.add_markets(B, [C]) is subscription
    assert subscription.market_tickers == (A, B, C)
    subscription.wait(5)
    wait_equal(feed, exchange, A, B, C)
    assert markets_of(exchange, "orderbook_delta") == markets_of(exchange, "trade") == [A, B, C]
    subscription.delete_markets(A, C)
    assert subscription.market_tickers == (B,)
    wait_markets(exchange, "orderbook_delta", [B])
    wait_markets(exchange, "trade", [B])
    assert [feed.book(t).status for t in (A, B, C)] == [BookStatus.CLOSED, BookStatus.LIVE, BookStatus.CLOSED]
    assert dict(subscription.sids) == sids
    handle, version = feed.book(A), feed.book(A).version
    subscription.add_markets(A).wait(5)
    wait_equal(feed, exchange, A)
    assert feed.book(A) is handle  # wanted again: the same handle comes back
    assert handle.version > version
    assert heard.gaps == heard.faults == []


def test_last_market_deleted_unsubscribes(exchange: Exchange, feed: KalshiFeed) -> None:
    subscription = feed.subscribe(["orderbook_delta", "trade"], A).wait(5)
    subscription.delete_markets(A)
    wait_until(lambda: exchange.subscriptions == [])  # never an emptied filter, which might mean "all"
    assert subscription.state is not SubscriptionState.CLOSED
    assert [s.market_tickers for s in feed.subscriptions] == [()]
    subscription.add_markets(B).wait(5)
    wait_equal(feed, exchange, B)
    assert channels_of(exchange) == ["orderbook_delta", "trade"]


def test_changing_what_cannot_be_changed_is_refused(feed: KalshiFeed) -> None:
    everything = feed.subscribe("trade")
    with pytest.raises(ConfigurationError, match="this subscription has no market_tickers"):
        everything.add_markets(A)
    with pytest.raises(ConfigurationError, match="only a subscription to orderbook_delta"):
        everything.request_snapshot()
    some = feed.subscribe("orderbook_delta", A)
    with pytest.raises(ConfigurationError, match=f"not in this subscription: {B}"):
        some.delete_markets(B)
    with pytest.raises(ConfigurationError, match="add_markets"):
        some.request_snapshot(B)
    for call in (some.add_markets, some.delete_markets):
        with pytest.raises(ConfigurationError, match="empty"):
            call()
        with pytest.raises(ConfigurationError):
            call(5)  # type: ignore[arg-type]
    some.unsubscribe()
    with pytest.raises(ConfigurationError, match="ended by unsubscribe"):
        some.add_markets(B)
    with pytest.raises(ConfigurationError):
        some.request_snapshot()


@pytest.mark.greenlets
def test_request_snapshot(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    subscription = feed.subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: len(heard.of("orderbook_snapshot")) == 2)
    assert subscription.request_snapshot(A) is subscription
    wait_until(lambda: len(heard.of("orderbook_snapshot")) == 3)
    assert heard.of("orderbook_snapshot")[2].market_ticker == A
    subscription.request_snapshot()
    wait_until(lambda: len(heard.of("orderbook_snapshot")) == 5)
    assert {s.market_ticker for s in heard.of("orderbook_snapshot")[3:]} == {A, B}
    assert heard.gaps == heard.faults == []
    assert feed.book(A).is_live


# -- indices, underlyings, limits ----------------------------------------------------------------------------


def test_indices_and_underlyings_are_changed_at_run_time(exchange: Exchange, feed: KalshiFeed) -> None:
    indices = feed.subscribe("cfbenchmarks_value", index_ids=["BRTI"]).wait(5)
    indices.subscribe_indices("ETHUSD_RTI").wait(5)
    indices.unsubscribe_indices("BRTI").wait(5)
    underlyings = feed.subscribe("pyth_value", underlying_tickers="Metal.XAU/USD").wait(5)
    underlyings.subscribe_underlyings(["Metal.XPT/USD"]).wait(5)
    underlyings.unsubscribe_underlyings("Metal.XAU/USD").wait(5)

    def updates() -> list[Any]:
        found = [c["params"] for c in exchange.commands if c["cmd"] == "update_subscription"]
        return [(u["action"], u.get("index_ids") or u["underlying_tickers"]) for u in found]

    wait_until(lambda: len(updates()) == 4)
    assert updates() == [
        ("subscribe_indices", ["ETHUSD_RTI"]),
        ("unsubscribe_indices", ["BRTI"]),
        ("subscribe_underlyings", ["Metal.XPT/USD"]),
        ("unsubscribe_underlyings", ["Metal.XAU/USD"]),
    ]
    with pytest.raises(ConfigurationError, match=r"subscribe with underlying_tickers=\[…\]"):
        indices.subscribe_underlyings("Metal.XPT/USD")


def test_the_exchange_lists_indices_and_underlyings(exchange: Exchange, feed: KalshiFeed) -> None:
    indices = feed.subscribe("cfbenchmarks_value", index_ids="all").wait(5)
    with feed.messages("cfbenchmarks_value_indexlist") as lists:
        indices.indexlist()
        assert "BRTI" in (lists.get(5).index_ids or ())
    underlyings = feed.subscribe("pyth_value", underlying_tickers="all").wait(5)
    with feed.messages("pyth_value_underlying_list") as lists:
        underlyings.underlying_list()
        assert lists.get(5).underlying_tickers
    with pytest.raises(ConfigurationError, match="no channel of this subscription has such a list"):
        underlyings.indexlist()
    assert feed.stats().gaps == 0


def test_what_fits_under_the_exchanges_limit_is_subscribed(exchange: Exchange, feed: KalshiFeed) -> None:
    tickers = [f"L{n}" for n in range(20)]
    for ticker in tickers:
        exchange.add_market(ticker)
    exchange.market_limit = 7
    subscription = feed.subscribe("orderbook_delta", tickers)
    with pytest.raises(SubscriptionError) as refused:
        subscription.wait(5)
    assert refused.value.code == 26
    wait_until(lambda: [feed.book(t).is_live for t in tickers].count(True) == 7)
    assert len(refused.value.market_tickers or ()) == 13
