"""Subscriptions that are refused, end, or outlive their connection: reported, and requested again."""

# mypy: no-strict-equality

from __future__ import annotations

from typing import Any

import pytest

from kalshi_feed import BookStatus, KalshiFeed, Subscription, SubscriptionError, SubscriptionState
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, HurriedFeed, Recorder, channels_of, markets_of, wait_equal
from tests.support import wait_until

# -- refusals and endings ------------------------------------------------------------------------------------


def test_S27_one_of_two_channels_refused(exchange: Exchange, feed: KalshiFeed) -> None:
    feed.wait_until_connected(5)
    exchange.refuse_commands(9, cmd="subscribe")  # channels are opened in the order of their names
    subscription = feed.subscribe(["trade", "fill"], A)
    with pytest.raises(SubscriptionError) as caught:
        subscription.wait(5)
    assert (caught.value.code, caught.value.channel) == (9, "fill")
    wait_until(lambda: list(subscription.sids) == ["trade"])
    assert subscription.state is SubscriptionState.FAILED
    assert channels_of(exchange) == ["trade"]
    exchange.reset()
    wait_until(lambda: feed.stats().reconnects == 1 and channels_of(exchange) == ["trade"])
    assert [c["params"]["channels"] for c in exchange.commands].count(["fill"]) == 1  # no longer wanted


def test_S25_S27_refused_addition_keeps_the_rest(exchange: Exchange, feed: KalshiFeed) -> None:
    subscription = feed.subscribe("orderbook_delta", A).wait(5)
    wait_equal(feed, exchange, A)
    exchange.refuse_commands(26, cmd="update_subscription")
    subscription.add_markets(B)
    with pytest.raises(SubscriptionError) as caught:
        subscription.wait(5)
    assert (caught.value.code, caught.value.market_tickers) == (26, (B,))
    assert feed.book(A).is_live
    assert feed.book(B).status is BookStatus.CLOSED
    assert list(feed.books) == [A]
    assert feed.health().status == "degraded"


@pytest.mark.parametrize("code", [10, 17, 25])
def test_S24_terminal_error_resubscribes(code: int, exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(HurriedFeed)
    heard = Recorder(feed)
    subscription = feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.error(code, channel="orderbook_delta")
    wait_until(lambda: heard.gaps)
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A, B)
    subscription.wait(5)
    assert f"error {code}" in heard.gaps[0].reason
    assert heard.faults[0].context["code"] == code
    assert ("reads too slowly, or subscribes to too many markets" in heard.faults[0].message) is (code == 25)
    assert (len(exchange.handshakes), subscription.state) == (1, SubscriptionState.ACTIVE)


def test_S30_subscription_ended_by_the_exchange_is_made_again(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(HurriedFeed)
    heard = Recorder(feed)
    subscription = feed.start().subscribe("orderbook_delta", A).wait(5)
    wait_equal(feed, exchange, A)
    sids = dict(subscription.sids)
    exchange.end_subscription("orderbook_delta")
    wait_until(lambda: heard.gaps)
    wait_equal(feed, exchange, A)
    subscription.wait(5)
    assert dict(subscription.sids) != sids


@pytest.mark.parametrize("code", [18, 27])
def test_S25_put_off_commands_are_sent_again(code: int, exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(HurriedFeed).start()
    exchange.refuse_commands(code, cmd="subscribe", n=2)
    subscription = feed.subscribe("orderbook_delta", A).wait(5)
    wait_equal(feed, exchange, A)
    assert subscription.error is None
    assert [c["cmd"] for c in exchange.commands].count("subscribe") == 3
    assert feed.stats().reconnects == 0


def test_S28_unanswered_command_is_repeated_then_the_connection_replaced(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(HurriedFeed).start()
    exchange.ignore_commands("subscribe", n=2)
    feed.subscribe("orderbook_delta", A).wait(5)
    wait_equal(feed, exchange, A)
    assert [c["connection"] for c in exchange.commands] == [0, 0, 1]
    assert feed.stats().reconnects == 1


def test_a_refused_list_is_reported_and_not_asked_for_in_a_storm(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(HurriedFeed).start().wait_until_connected(5)
    exchange.refuse_commands(27, cmd="list_subscriptions", n=None)
    with pytest.raises(SubscriptionError) as refused:
        feed.list_subscriptions(5)
    assert refused.value.code == 27
    assert len(exchange.commands) == 1


# -- reconnecting --------------------------------------------------------------------------------------------


def test_everything_wanted_is_subscribed_again(exchange: Exchange, feed: KalshiFeed) -> None:
    subscriptions = [
        feed.subscribe("orderbook_delta", [A, B]),
        feed.subscribe(["ticker", "trade"]),
        feed.subscribe("fill", A),
        feed.subscribe("communications", user_filter="self"),
    ]
    for subscription in subscriptions:
        subscription.wait(5)

    def picture() -> list[Any]:
        return sorted((s["channel"], s["market_tickers"]) for s in exchange.subscriptions)

    before = picture()
    assert len(before) == 5
    states: list[SubscriptionState] = []
    feed.on_state(lambda change: states.append(subscriptions[0].state))
    exchange.disconnect()
    wait_until(lambda: feed.stats().reconnects == 1)
    for subscription in subscriptions:
        subscription.wait(5)
    assert picture() == before
    assert [c["connection"] for c in exchange.commands if c["params"].get("user_filter") == "self"] == [0, 1]
    wait_until(lambda: states)
    assert states[0] is SubscriptionState.PENDING


def test_changes_while_away_are_made_up_for(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    subscription = feed.start().subscribe("orderbook_delta", A).wait(5)
    exchange.close()
    wait_until(lambda: "RECONNECTING" in repr(feed))
    subscription.add_markets(B)
    subscription.delete_markets(A)
    added = feed.subscribe("trade")
    assert isinstance(added, Subscription)
    exchange.start()
    added.wait(5)
    subscription.wait(5)
    assert markets_of(exchange, "orderbook_delta") == [B]
    assert markets_of(exchange, "trade") is None
    assert feed.book(A).status is BookStatus.CLOSED
    wait_equal(feed, exchange, B)
