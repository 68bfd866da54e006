"""S43, S46: answers in another order than the commands, sorted lists, and an end that comes before the
beginning."""

# mypy: no-strict-equality

from __future__ import annotations

import random
from typing import Any

import pytest

from kalshi_feed import FeedFault, SubscriptionState
from kalshi_feed.simulator import Exchange
from kalshi_feed.simulator.reception import Reception
from kalshi_feed.simulator.reordering import PendingCommand, reordered
from tests.faults.witness import actions, number_of
from tests.feed.support import (
    A,
    B,
    FeedMaker,
    HurriedFeed,
    Recorder,
    channels_of,
    markets_of,
    wait_equal,
    wait_markets,
)
from tests.support import wait_until

CHANNELS = ("orderbook_delta", "trade", "ticker", "fill", "user_orders")
TICKERS = [f"KXORDER-{number}" for number in range(12)]


@pytest.fixture
def overtaken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the orders, other than that of arrival, in which the exchange carries out commands that came
    together."""
    orders: list[tuple[int, ...]] = []

    def noting(pending: list[PendingCommand], chance: random.Random) -> list[PendingCommand]:
        done = list(reordered(pending, chance))
        order = tuple(next(n for n, item in enumerate(pending) if item is one) for one in done)
        if list(order) != sorted(order):
            orders.append(order)
        return done

    monkeypatch.setattr(f"{Reception.__module__}.reordered", noting)
    return orders


@pytest.mark.parametrize("seed", range(4))
def test_S43_answers_out_of_order_end_with_what_was_wanted(
    seed: int, exchange: Exchange, make_feed: FeedMaker, overtaken: list[tuple[int, ...]]
) -> None:
    """The wanted markets change faster than the exchange answers; each answer goes to its own command."""
    exchange.seed = seed
    chance = random.Random(seed)
    for ticker in TICKERS:
        exchange.add_market(ticker, yes={"0.5": 1})
    feed = make_feed()
    heard = Recorder(feed)
    # all of them in flight together
    wanted = [feed.subscribe(channel, chance.sample(TICKERS, 6)) for channel in CHANNELS]
    feed.start()
    for _ in range(10):
        exchange.freeze()
        for subscription in wanted:
            subscription.add_markets(*chance.sample(TICKERS, 4))
            subscription.delete_markets(*chance.sample(subscription.market_tickers, 3))
        exchange.thaw()
        chance.choice(wanted[1:]).wait(5)
    for channel, subscription in zip(CHANNELS, wanted, strict=True):
        subscription.wait(5)
        wait_markets(exchange, channel, sorted(subscription.market_tickers))
    wait_equal(feed, exchange, *wanted[0].market_tickers)
    assert dict(feed.list_subscriptions(5)) == {one["channel"]: one["sid"] for one in exchange.subscriptions}
    for ticker in TICKERS:
        exchange.change(ticker, "yes", "0.5", 1)
    wait_equal(feed, exchange, *wanted[0].market_tickers)
    assert overtaken, "nothing came together"
    assert (feed.stats().gaps, feed.stats().reconnects, heard.faults) == (0, 0, [])


@pytest.mark.parametrize("code", [10, 25])
@pytest.mark.parametrize("channel", ["ticker", "trade", "fill", "orderbook_delta"])
def test_S46_an_end_before_the_confirmation(
    channel: str, code: int, exchange: Exchange, make_feed: FeedMaker
) -> None:
    """The exchange ends the subscription between the command and its `subscribed`: the feed subscribes again,
    and hears it."""
    exchange.end_before_subscribed(channel, code, n=2)
    feed = make_feed(HurriedFeed)
    heard = Recorder(feed)
    subscription = feed.start().subscribe(channel, [A, B])
    wait_until(lambda: channels_of(exchange) == [channel], what="a new subscription of the channel")
    subscription.wait(5)
    assert (subscription.state, subscription.error) == (SubscriptionState.ACTIVE, None)
    assert (markets_of(exchange, channel), number_of(exchange, "subscribe")) == ([A, B], 3)
    said: list[FeedFault] = heard.faults
    assert [fault.kind for fault in said if f"error {code}" in fault.message] == ["exchange_error"] * 2
    message: dict[str, Any] = {
        "ticker": lambda: exchange.ticker(A),
        "trade": lambda: exchange.trade(A, "yes", "0.45", 2),
        "fill": lambda: exchange.fill(A, side="no", price="0.55", count=1, order_id="mine"),
        "orderbook_delta": lambda: exchange.change(A, "yes", "0.4", 1),
    }
    message[channel]()
    wait_until(lambda: heard.of(channel), what="a message of the channel")
    if channel == "orderbook_delta":
        wait_equal(feed, exchange, A, B)
    assert set(actions(exchange)) == {"subscribe"} and feed.stats().reconnects == 0
