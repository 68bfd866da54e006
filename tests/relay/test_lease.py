"""Two relays of one name: one writes, the other one waits, and what both try to write never mixes."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from kalshi_feed import FeedState, KalshiFeed, RelayError
from kalshi_feed.relay import Relay, lease, publishing, relay
from kalshi_feed.relay.layout import EntryId, EntryKind
from kalshi_feed.simulator import Exchange
from tests.faults.toxic_proxy import ToxicProxy
from tests.feed.support import A, FeedMaker, Recorder, wait_equal
from tests.relay.redis_server import RedisServer
from tests.relay.stream import ALICE, RelayKeys
from tests.support import wait_until


@pytest.fixture(autouse=True)
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the real times."""
    monkeypatch.setattr(lease, "LEASE_LASTS", 0.6)
    monkeypatch.setattr(publishing, "RENEW_EVERY", 0.2)
    monkeypatch.setattr(relay, "_PATIENCE", 0.8)


def in_order(relayed: RelayKeys) -> list[EntryId]:
    """The ids, after a look that no generation comes back and no entry is missing within one."""
    ids = [entry.id for entry in relayed.entries()]
    for _, one in itertools.groupby(ids, key=lambda id: id.generation):
        numbers = [id.number for id in one]
        assert numbers == list(range(1, len(numbers) + 1))
    return ids


def test_a_second_relay_says_who_has_the_lease_and_a_killed_one_does_not_keep_it(
    make_feed: FeedMaker, redis_server: RedisServer
) -> None:
    first, second = make_feed(), make_feed()
    relayed = RelayKeys(redis_server.client())
    with Relay(first, redis_server.url):
        with pytest.raises(RelayError, match=r"another relay named 'main'.*pid \d+ on .*--standby") as caught:
            Relay(second, redis_server.url).start()
        assert not caught.value.retryable
        assert second.state is FeedState.IDLE  # it never connected
        with Relay(second, redis_server.url, name="other"):  # another name is another relay
            pass
    redis_server.client().set(relayed.keys.lease, "someone killed", px=500)
    with Relay(make_feed(), redis_server.url) as third:
        assert third.is_writer


@pytest.mark.greenlets
def test_a_standby_takes_over_with_the_same_markets(
    exchange: Exchange, make_feed: FeedMaker, redis_server: RedisServer
) -> None:
    relayed = RelayKeys(redis_server.client())
    first, second = make_feed(), make_feed()
    writer = Relay(first, redis_server.url).start()
    with Relay(second, redis_server.url, standby=True) as standby:
        assert standby.stats().state == "waiting"
        relayed.answer(ALICE, relayed.want(ALICE, relayed.books(A)))
        wait_equal(first, exchange, A)
        wait_equal(second, exchange, A)  # warm
        assert len(relayed.answers()) == 1  # only the writer answers
        assert standby.stats().entries == 0
        generation = writer.stats().generation
        writer.close()
        wait_until(lambda: standby.is_writer)
        wait_until(lambda: standby.stats().checkpoints)
        assert standby.stats().generation > generation
        checkpoint, lines = relayed.checkpoint()
        assert checkpoint == EntryId(standby.stats().generation, 0)
        assert b'"status":"LIVE"' in lines  # of the book that a consumer wants
        exchange.change(A, "yes", "0.40", 1)
        wait_until(lambda: relayed.entries(EntryKind.TURN)[-1].payload.count(b"orderbook_delta"))
        assert standby.stats().missed == 0  # what it did not write while it waited was not lost
    assert len({id.generation for id in in_order(relayed)}) == 2


@pytest.mark.parametrize("standby", [True, False])
def test_a_writer_whose_network_was_cut_is_fenced(
    exchange: Exchange,
    make_feed: FeedMaker,
    redis_server: RedisServer,
    redis_proxy: ToxicProxy,
    standby: bool,
) -> None:
    """What it had sent arrives after another one has begun to write, and is refused."""
    relayed = RelayKeys(redis_server.client())
    first, second = make_feed(), make_feed()
    seen = Recorder(first)
    first.subscribe("orderbook_delta", [A])
    url = redis_server.address(port=redis_proxy.port)
    cut = Relay(first, url, standby=standby).start()
    wait_until(lambda: cut.is_writer and first.book(A).is_live)
    with Relay(second, redis_server.url, standby=True) as other:
        redis_proxy.freeze()
        exchange.change(A, "yes", "0.40", 1)
        wait_until(
            lambda: other.is_writer and relayed.entries()[-1].id.generation == other.stats().generation
        )
        redis_proxy.heal()
        wait_until(lambda: not cut.is_writer)
        generations = [id.generation for id in in_order(relayed)]
        assert len(set(generations)) == 2
        if standby:
            wait_until(lambda: cut.stats().state == "waiting" and cut.stats().is_connected)
            exchange.change(A, "yes", "0.40", 1)
            wait_equal(first, exchange, A)
            assert cut.stats().backlog == cut.stats().backlog_bytes == 0
            other.close()
            wait_until(lambda: cut.is_writer)
            assert cut.error is None
        else:
            wait_until(lambda: cut.stats().state == "ended")
            assert cut.error is not None
            assert "another relay has taken over (pid" in cut.stats().last_error
            wait_until(lambda: first.state is FeedState.CLOSED)  # never two connections for long
            wait_until(lambda: "relay" in [fault.kind for fault in seen.faults])
    cut.close()
    in_order(relayed)


def test_a_lost_lease_that_no_one_took_is_taken_again(feed: KalshiFeed, redis_server: RedisServer) -> None:
    relayed = RelayKeys(redis_server.client())
    with Relay(feed, redis_server.url) as one:
        before = one.stats().generation
        redis_server.client().delete(relayed.keys.lease)
        wait_until(lambda: redis_server.client().get(relayed.keys.lease))
        assert one.is_writer
        assert one.stats().generation == before
        # and if another one has written in between, with a greater generation, even if its clock is ahead
        later = before + 1_000_000
        redis_server.client().xadd(relayed.keys.checkpoint, {"p": b"", "n": 1}, id=f"{later + 9_000}-1")
        redis_server.client().xadd(relayed.keys.stream, {"k": "H", "n": 1}, id=f"{later}-1")
        wait_until(lambda: one.is_writer and one.stats().generation > later + 9_000)
        wait_until(lambda: relayed.entries()[-1].id.generation == one.stats().generation)
    assert redis_server.client().get(relayed.keys.lease) is None


def test_run_forever_ends_with_the_feed_or_with_the_error_of_the_relay(
    make_feed: FeedMaker, redis_server: RedisServer
) -> None:
    relayed = RelayKeys(redis_server.client())
    one = Relay(make_feed(), redis_server.url).start()
    redis_server.client().set(relayed.keys.lease, "another pid 1 on a-host", px=5000)
    began = time.monotonic()
    with pytest.raises(RelayError, match="another relay has taken over"):
        one.run_forever()
    assert time.monotonic() - began < 2
    assert one.feed.state is FeedState.CLOSED


def test_the_checkpoint_of_a_generation_comes_before_its_entries(
    exchange: Exchange, make_feed: FeedMaker, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise consumers would look for it, and not find it."""
    monkeypatch.setattr(publishing, "_SLICE", 0.0)
    relayed, client = RelayKeys(redis_server.client()), redis_server.client()
    tickers = [f"KXMANY-{number}" for number in range(300)]
    for ticker in tickers:
        exchange.add_market(ticker, yes={"0.40": 10}, no={"0.54": 7})
    feed = make_feed().start()
    feed.subscribe("orderbook_delta", tickers)
    wait_equal(feed, exchange, *tickers)
    one = Relay(feed, redis_server.url)
    starting = threading.Thread(target=one.start)
    starting.start()
    while not client.xlen(relayed.keys.stream):
        exchange.change(tickers[0], "yes", "0.40", 1)
    assert client.exists(relayed.keys.checkpoint)
    starting.join()
    one.close()
