"""A relay and its consumers when Redis half works, or two relays and their data come together unluckily."""

from __future__ import annotations

import itertools
import time

import pytest

from kalshi_feed import FeedState
from kalshi_feed.relay import Relay
from kalshi_feed.relay.layout import keys_of
from kalshi_feed.session import wanted
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, C, Recorder, wait_equal
from tests.support import wait_until

from .consumers import ConsumerMaker, RelayMaker, next_after
from .redis_server import RedisServer
from .stream import RelayKeys


def test_a_request_with_the_number_of_the_last_one(
    exchange: Exchange,
    make_relay: RelayMaker,
    make_consumer: ConsumerMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each relay counts its own requests: the next one's may have the number that was used last."""
    exchange.add_market(C, yes={"0.20": 5}, no={"0.70": 6})
    relay, standby = make_relay(), make_relay(standby=True)
    feed = make_consumer().start()
    wait_equal(feed, exchange, A, B)

    def request(one: Relay, channel: str, ticker: str) -> None:
        monkeypatch.setattr(wanted, "_serials", itertools.count(1_000_000))
        one.feed.subscribe(channel, [ticker]).wait(5)

    request(relay, "ticker", A)
    next_after(lambda: exchange.ticker(A), feed, "ticker", A)
    relay.close()
    wait_until(lambda: standby.is_writer)
    wait_equal(feed, exchange, A, B)
    request(standby, "orderbook_delta", C)
    wait_equal(feed, exchange, C)


def test_redis_that_only_renews_the_lease(
    exchange: Exchange, redis_server: RedisServer, relay: Relay, make_consumer: ConsumerMaker
) -> None:
    """Its memory is used up: that is one trouble, not one for each renewal."""
    heard = Recorder(relay.feed)
    wait_equal(relay.feed, exchange, A, B)
    client = redis_server.client()
    client.config_set("maxmemory", 1)
    wait_until(lambda: heard.faults)
    end = time.monotonic() + 2.5
    wait_until(lambda: time.monotonic() > end or not relay.feed.health().reasons)
    assert any("cannot write" in reason for reason in relay.feed.health().reasons)
    assert heard.kinds() == ["relay"]
    client.config_set("maxmemory", 0)
    feed = make_consumer().start()
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: not relay.feed.health().reasons)


def test_checkpoint_of_a_relay_that_wrote_nothing_else(
    exchange: Exchange, redis_server: RedisServer, relay: Relay, make_consumer: ConsumerMaker
) -> None:
    """It took over and was killed at once; the one before it goes on, with another generation."""
    wait_equal(relay.feed, exchange, A, B)
    generation = relay.stats().generation + 5_000
    client, key = redis_server.client(), keys_of("main").checkpoint
    ((_, fields),) = client.xrevrange(key, count=1)
    client.xadd(key, fields, f"{generation}-0", maxlen=1, approximate=False)
    feed = make_consumer().start()
    wait_equal(feed, exchange, A, B)
    assert relay.stats().generation > generation


def test_redis_loses_its_data_and_no_connection(
    exchange: Exchange, redis_server: RedisServer, relay: Relay, make_consumer: ConsumerMaker
) -> None:
    """Or restarts between two commands. There is a checkpoint again soon, also if nothing happens."""
    relayed = RelayKeys(redis_server.client())
    before = make_consumer(remote=False).start()
    wait_equal(before, exchange, A, B)
    wait_until(relayed.checkpoint_id)
    redis_server.client().flushall()
    wait_until(relayed.checkpoint_id, 3.0)
    after = make_consumer(remote=False).start()
    wait_equal(after, exchange, A, B)
    assert before.state is FeedState.CONNECTED
    assert before.stats().relay.holes == 0  # type: ignore[union-attr]
