"""A relay and its consumers on a Redis Cluster: the keys move, and the node that has them fails over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kalshi_feed import BookStatus, FeedState
from kalshi_feed.relay.layout import keys_of
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, C, Recorder, wait_equal
from tests.support import wait_until

from .consumers import ConsumerMaker, RelayMaker
from .redis_server import Cluster

pytestmark = pytest.mark.slow

KEYS = keys_of("main")


def test_D06_a_cluster_moves_and_fails_over(
    exchange: Exchange,
    make_relay: RelayMaker,
    make_consumer: ConsumerMaker,
    make_cluster: Callable[..., Cluster],
) -> None:
    """Each is given another node. No book is LIVE and wrong, and everything comes back by itself."""
    exchange.add_market(C, yes={"0.20": 5}, no={"0.70": 6})
    cluster = make_cluster(replicas=3)
    owner = cluster.node_of(KEYS.stream)
    replica = cluster.nodes[3 + cluster.nodes.index(owner)]
    one, other = (node for node in cluster.nodes[:3] if node is not owner)
    relay = make_relay(one.url, account=True)
    feed = make_consumer(other.url, silence=1.0).start()
    heard = Recorder(feed)
    wait_equal(feed, exchange, A, B)
    feed.wait_for_book(C, 5)
    assert {cluster.node_of(key) for key in (*KEYS, *keys_of("main", account=True))} == {owner}

    cluster.move(KEYS.stream, one)
    exchange.change(A, "yes", "0.40", 1)
    wait_equal(feed, exchange, A, B, C, timeout=10)
    assert cluster.node_of(KEYS.stream) is one
    assert relay.stats().losses == 0
    cluster.move(KEYS.stream, owner)
    exchange.change(A, "yes", "0.40", 2)
    wait_equal(feed, exchange, A, B, C, timeout=10)
    wait_until(lambda: [str(delta.msg.delta_fp) for delta in heard.of("orderbook_delta")] == ["1.00", "2.00"])

    owner.client().wait(1, 5000)
    owner.kill()
    wait_until(lambda: feed.state is FeedState.RECONNECTING, 5)
    assert feed.book(A).status is BookStatus.STALE
    exchange.change(A, "yes", "0.40", 3)
    wait_until(lambda: cluster.node_of(KEYS.stream) is replica, 20, "the replica to take over")
    wait_equal(feed, exchange, A, B, C, timeout=10)
    assert feed.state is FeedState.CONNECTED
    late = make_consumer(one.url).start()
    wait_equal(late, exchange, A, B)
    exchange.change(A, "yes", "0.40", 4)
    wait_equal(late, exchange, A, B)
    assert relay.is_writer
