"""A relay's consumer: the same books, messages and events as at the relay, over a real Redis."""

from __future__ import annotations

import time

import pytest

from kalshi_feed import (
    BookStatus,
    ConfigurationError,
    FeedState,
    RelayError,
    SubscriptionError,
    UnknownMarketError,
    WaitTimeout,
)
from kalshi_feed.relay import Relay
from kalshi_feed.relay.layout import keys_of
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, C, FeedMaker, Recorder, sides, wait_equal
from tests.support import wait_until

from .consumers import ConsumerMaker, RelayMaker, next_after
from .redis_server import RedisServer

pytestmark = pytest.mark.greenlets


def test_same_books_and_messages(exchange: Exchange, relay: Relay, make_consumer: ConsumerMaker) -> None:
    """What comes after it has caught up reaches the callbacks, each message once and in order."""
    exchange.change(A, "yes", "0.40", 1)  # before the consumer: only in its book
    feed = make_consumer()
    heard = Recorder(feed)
    with feed:
        assert sides(feed.wait_for_book(A, 5)) == exchange.book(A)
        assert feed.wait_until_connected(0) is feed
        wait_equal(feed, exchange, B)
        for size in range(1, 40):
            exchange.change(A, "yes", "0.40", size)
            exchange.change(B, "no", "0.80", size)
        exchange.trade(A, "yes", "0.46", 3)
        wait_until(lambda: heard.of("trade"))
        wait_equal(feed, exchange, A, B)
        deltas = [
            message.msg.delta_fp for message in heard.of("orderbook_delta") if message.market_ticker == A
        ]
        assert deltas == [f"{size}.00" for size in range(1, 40)]
        assert heard.steps() == [FeedState.CONNECTING, FeedState.CONNECTED]
        assert heard.states[1].gap_started is heard.states[1].gap_ended is None
        stats, health = feed.stats(), feed.health()
        assert health.is_ok, health
        assert stats.relay is not None
        assert stats.relay.bootstraps == 1
        assert stats.relay.holes == 0
        assert stats.relay.entries > 0
        assert stats.relay.lag < 1
        assert "bootstraps 1" in repr(stats)
        assert stats.to_dict()["relay"]["holes"] == 0
        assert 0 <= (feed.book(A).age() or 0) < 5
        assert not heard.faults
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert feed.book(A).status is BookStatus.CLOSED
    with feed:  # and once more
        wait_equal(feed, exchange, A, B)
    assert FeedState.RECONNECTING not in heard.steps()


def test_what_happens_at_the_relay_happens_here(
    exchange: Exchange, relay: Relay, make_consumer: ConsumerMaker
) -> None:
    """A lost connection, a gap, and a message that came while another consumer was not there."""
    feed = make_consumer().start()
    heard = Recorder(feed)
    wait_equal(feed, exchange, A, B)
    exchange.reset()
    wait_until(lambda: heard.steps()[-2:] == [FeedState.RECONNECTING, FeedState.CONNECTED])
    lost, back = heard.states[-2:]
    assert lost.gap_started is not None
    assert back.gap_started == lost.gap_started
    assert back.gap_ended is not None
    wait_equal(feed, exchange, A, B)
    exchange.lose(1)
    exchange.change(A, "yes", "0.40", 3)
    exchange.change(A, "yes", "0.40", 4)
    wait_until(lambda: heard.gaps)
    wait_equal(feed, exchange, A, B)
    assert feed.stats().resyncs == relay.feed.stats().resyncs == 1
    assert feed.stats().reconnects == 1
    late = make_consumer().start()
    wait_equal(late, exchange, A, B)


def test_wishes(exchange: Exchange, relay: Relay, make_consumer: ConsumerMaker) -> None:
    """What a consumer wants beyond what the relay has; and what it no longer wants."""
    exchange.add_market(C, yes={"0.20": 5}, no={"0.70": 6})
    feed, other = make_consumer().start(), make_consumer().start()
    assert sides(feed.wait_for_book(C, 5)) == exchange.book(C)
    wait_equal(other, exchange, C)  # everyone has what the relay has
    (own,) = feed.subscriptions
    assert own.market_tickers == (C,)
    ticker = other.subscribe("ticker", [C]).wait(5)
    assert ticker.state.value == "ACTIVE"
    assert next_after(lambda: exchange.ticker(C), other, "ticker", C).market_ticker == C
    with pytest.raises(UnknownMarketError):
        feed.wait_for_book("KXNOSUCH-1", 5)
    next_after(own.request_snapshot, feed, "orderbook_snapshot", C)
    own.unsubscribe()
    wait_until(lambda: C not in feed.books and C not in other.books)
    assert feed.book(C).status is BookStatus.CLOSED
    assert sides(feed.wait_for_book(C, 5)) == exchange.book(C)
    assert relay.stats().consumers == 2


def test_refusals(
    exchange: Exchange, make_relay: RelayMaker, make_consumer: ConsumerMaker, redis_server: RedisServer
) -> None:
    """By the relay, by the exchange, by Redis, and here."""
    make_relay(allow=[f"{C}*"])
    feed = make_consumer().start()
    with pytest.raises(SubscriptionError, match=r"the relay .main. refuses it: .*KXOTHER-1") as refused:
        feed.wait_for_book("KXOTHER-1", 5)
    assert "exchange" not in str(refused.value)
    assert refused.value.market_tickers == ("KXOTHER-1",)
    assert feed.subscriptions[0].state.value == "FAILED"
    with pytest.raises(SubscriptionError, match="refuses it"):
        feed.subscribe("trade").wait(5)
    with pytest.raises(ConfigurationError, match="send_initial_snapshot: a relay's consumer cannot"):
        feed.subscribe("ticker", [C], send_initial_snapshot=True)
    with pytest.raises(ConfigurationError, match="too much"):
        feed.subscribe("ticker", ["X" * 300])
    exchange.refuse_commands(14, cmd="update_subscription")
    with pytest.raises(SubscriptionError, match="the exchange refused"):
        feed.wait_for_book(C, 5)
    exchange.add_market(C, yes={"0.20": 5}, no={"0.70": 6})
    assert feed.wait_for_book(C, 5).is_live
    silent = make_consumer(remote=False).start()
    wait_until(lambda: C in silent.books and silent.books[C].is_live)  # its checkpoint may have the refusal
    assert silent.wait_for_book(C, 5).is_live
    not_asked = "'main' does not have {}, and with remote=False it is not asked"
    with pytest.raises(WaitTimeout, match=not_asked.format("orderbook_delta for KXOTHER-2")):
        silent.wait_for_book("KXOTHER-2", 0.3)
    with pytest.raises(WaitTimeout, match=not_asked.format("ticker")):
        silent.subscribe("ticker", [C]).wait(0.3)


def test_without_a_relay(
    exchange: Exchange, make_relay: RelayMaker, make_consumer: ConsumerMaker, redis_server: RedisServer
) -> None:
    """It waits for one, and says so; one that was closed long ago counts for nothing."""
    feed = make_consumer().start()
    with pytest.raises(WaitTimeout, match=rf"no relay 'main' writes to {redis_server.url[:20]}"):
        feed.wait_for_book(A, 0.5)
    assert feed.state is FeedState.CONNECTING
    assert feed.health().status == "down"
    wanted = feed.subscribe("ticker", [A])
    with make_relay():
        wait_equal(feed, exchange, A)
        wanted.wait(5)
    wait_until(lambda: feed.state is FeedState.RECONNECTING)
    assert feed.book(A).status is BookStatus.STALE
    assert "was closed" in feed.health().reasons[0]
    late = make_consumer().start()
    heard = Recorder(late)
    with pytest.raises(WaitTimeout, match="no relay 'main' writes"):
        late.wait_for_book(A, 1)
    assert late.book(A).status is BookStatus.PENDING
    late.close()
    wait_until(lambda: heard.steps()[-1] is FeedState.CLOSED)
    late.start()
    redis_server.client().delete(keys_of("main").wishes)
    make_relay()
    wait_equal(feed, exchange, A, B)
    wait_equal(late, exchange, A, B)
    wanted.wait(5)  # it was said again


def test_other_prices_of_the_no_side(
    exchange: Exchange, make_feed: FeedMaker, make_consumer: ConsumerMaker, redis_server: RedisServer
) -> None:
    """A relay may ask for them in the other way; its consumers notice."""
    source = make_feed(use_yes_price=False)
    source.subscribe("orderbook_delta", [A])
    with Relay(source, redis_server.url):
        feed = make_consumer().start()
        wait_equal(feed, exchange, A)
        exchange.change(A, "no", "0.54", 3)
        exchange.change(A, "no", "0.52", 4)
        wait_equal(feed, exchange, A)
        assert feed.stats().gaps == 0


def test_arguments(make_consumer: ConsumerMaker) -> None:
    for argument, value in (("silence", 0.5), ("silence", float("nan")), ("remote", 1), ("account", "yes")):
        with pytest.raises(ConfigurationError, match=argument):
            make_consumer(**{argument: value})
    with pytest.raises(ConfigurationError, match="name must be"):
        make_consumer(name="two words")
    with pytest.raises(ConfigurationError, match="thread_name must be"):
        make_consumer(thread_name="")
    feed = make_consumer(thread_name="mine", workers=2)
    assert "mine-kalshi-feed-reader" in feed._engine.thread_name("reader")
    with pytest.raises(RelayError, match="password") as refused:
        failing = make_consumer(password="wrong").start()
        failing.wait_until_connected(5)
    assert "wrong" not in str(refused.value).split("'")
    assert failing.state is FeedState.FAILED
