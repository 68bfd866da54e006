"""What a relay writes to Redis, and what it does when Redis is not there."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from kalshi_feed import ConfigurationError, FeedState, KalshiFeed, RelayError
from kalshi_feed.recording import queue as recording_queue
from kalshi_feed.relay import Relay, lease, publishing
from kalshi_feed.relay.layout import EntryKind
from kalshi_feed.relay.wishes import OneTimeRequest
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, Recorder, wait_equal
from tests.relay.redis_server import RedisServer
from tests.relay.stream import ALICE, RelayKeys
from tests.support import wait_until


@pytest.mark.greenlets
def test_stream_and_checkpoint_make_the_same_books(
    exchange: Exchange, feed: KalshiFeed, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Even if the relay begins in the middle of a connection that is then lost."""
    relayed = RelayKeys(redis_server.client())
    feed.subscribe(("orderbook_delta", "trade"), [A])
    feed.wait_for_book(A, 5)
    with Relay(feed, redis_server.url) as relay:
        assert relay.is_writer
        feed.subscribe("orderbook_delta", [B])
        feed.wait_for_book(B, 5)
        for size in range(1, 30):
            exchange.change(A, "yes", "0.40", size)
            exchange.change(B, "no", "0.80", size)
        exchange.reset()
        wait_until(lambda: feed.stats().reconnects == 1 and feed.book(A).is_live and feed.book(B).is_live)
        exchange.change(A, "yes", "0.35", 3)
        wait_equal(feed, exchange, A, B)
        stats = relay.stats()
    assert relayed.entries()[-1].kind is EntryKind.END
    assert stats.missed == stats.losses == stats.errors == 0
    assert stats.entries >= 5
    assert relayed.replayed_books(tmp_path / "relayed.ndjson", A, B) == [exchange.book(A), exchange.book(B)]
    first = relayed.entries()[0]
    assert first.id.number == 1
    assert abs(first.id.generation / 1000 - time.time()) < 30
    assert all(entry.late == 0 for entry in relayed.entries())


def test_a_quiet_relay_beats_and_a_busy_one_writes_checkpoints(
    exchange: Exchange, feed: KalshiFeed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "CHECKPOINT_EVERY", 0.3)
    relayed = RelayKeys(redis_server.client())
    feed.subscribe("orderbook_delta", [A])
    feed.wait_for_book(A, 5)
    with Relay(feed, redis_server.url) as relay:
        wait_until(relayed.checkpoint_id)
        first = relayed.checkpoint_id()
        assert first is not None
        assert first.number == 0  # before any entry
        wait_until(lambda: len(relayed.entries(EntryKind.BEAT)) >= 3)
        moments = [entry.ns / 1e9 for entry in relayed.entries()]
        assert all(0 <= after - before < 1.5 for before, after in itertools.pairwise(moments))
        exchange.change(A, "yes", "0.40", 1)
        wait_until(lambda: (found := relayed.checkpoint_id()) is not None and found > first)
        number = relay.stats().checkpoints
        relayed.want(ALICE, requests=[])  # an answer is an entry
        wait_until(lambda: relay.stats().checkpoints == number + 1)


def test_inputs_are_written_at_once(
    exchange: Exchange, feed: KalshiFeed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when it is time to do something else."""
    monkeypatch.setattr(publishing, "BEAT", 10.0)
    monkeypatch.setattr(publishing, "RENEW_EVERY", 10.0)
    monkeypatch.setattr(lease, "LEASE_LASTS", 30.0)
    relayed = RelayKeys(redis_server.client())
    feed.subscribe("orderbook_delta", [A])
    feed.wait_for_book(A, 5)
    with Relay(feed, redis_server.url) as relay:
        wait_until(lambda: relay.stats().checkpoints)
        for number in (1, 2, 3):
            exchange.change(A, "yes", "0.40", 1)
            wait_until(lambda: relayed.messages().count("orderbook_delta") == number, 3.0)  # noqa: B023
        began = time.monotonic()
    assert time.monotonic() - began < 2.0


def test_redis_that_lost_its_data_gets_all_that_came_meanwhile_and_a_checkpoint(
    exchange: Exchange, feed: KalshiFeed, redis_server: RedisServer, tmp_path: Path
) -> None:
    relayed = RelayKeys(redis_server.client())
    seen = Recorder(feed)
    feed.subscribe("orderbook_delta", [A])
    feed.wait_for_book(A, 5)
    with Relay(feed, redis_server.url) as relay:
        wait_until(lambda: relay.stats().checkpoints)
        redis_server.kill()
        for _ in range(20):
            exchange.change(A, "yes", "0.40", 1)
        wait_until(lambda: not relay.stats().is_connected)
        assert any("the relay cannot write" in reason for reason in feed.health().reasons)
        wait_equal(feed, exchange, A)  # the feed does not wait for Redis
        time.sleep(0.3)  # so that some entries are late
        redis_server.restart(with_data=False)
        wait_until(lambda: relay.stats().is_connected and not relay.stats().backlog)
        wait_until(relayed.checkpoint_id, 2.0)  # long before the next one is due
        exchange.change(A, "yes", "0.40", 1)
        wait_equal(feed, exchange, A)
        stats = relay.stats()
        assert feed.health().is_ok
    assert stats.missed == stats.losses == 0
    numbers = [entry.id.number for entry in relayed.entries()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert max(entry.late for entry in relayed.entries()) > 0.25
    assert relayed.replayed_books(tmp_path / "relayed.ndjson", A) == [exchange.book(A)]
    faults = [fault.message for fault in seen.faults if fault.kind == "relay"]
    assert len(faults) == 1  # once an outage
    assert "cannot write" in faults[0]


def test_redis_away_for_too_long_costs_a_hole_and_a_checkpoint(
    exchange: Exchange,
    feed: KalshiFeed,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(recording_queue, "QUEUE_BYTES", 4_000)
    relayed = RelayKeys(redis_server.client())
    feed.subscribe("orderbook_delta", [A])
    feed.wait_for_book(A, 5)
    with Relay(feed, redis_server.url) as relay:
        wait_until(lambda: relay.stats().checkpoints)
        redis_server.freeze()
        while not relay.stats().missed:
            exchange.change(A, "yes", "0.40", 1)
            time.sleep(0.0005)  # with greenlets, no one else runs otherwise
        assert relay.stats().backlog_bytes <= 4_000
        wait_equal(feed, exchange, A)
        redis_server.thaw()
        wait_until(lambda: relay.stats().checkpoints >= 2 and not relay.stats().backlog)
        exchange.change(A, "yes", "0.40", 1)
        wait_equal(feed, exchange, A)
        stats = relay.stats()
    numbers = [entry.id.number for entry in relayed.entries()]
    missing = set(range(1, numbers[-1])).difference(numbers)
    assert len(missing) == stats.losses >= 1
    assert relayed.checkpoint()[0].number >= max(missing)
    assert relayed.replayed_books(tmp_path / "relayed.ndjson", A) == [exchange.book(A)]


def test_nothing_of_the_account_is_in_the_stream_of_the_market_data(
    exchange: Exchange, make_feed: FeedMaker, redis_server: RedisServer
) -> None:
    everyone, owner = RelayKeys(redis_server.client()), RelayKeys(redis_server.client(), account=True)
    feed = make_feed(use_yes_price=True)
    feed.subscribe(("orderbook_delta", "trade", "fill", "user_orders", "market_positions"), [A])
    feed.subscribe("order_group_updates")
    with Relay(feed, redis_server.url, account=True, name="main") as relay:
        feed.wait_for_book(A, 5)
        exchange.fill(A, side="no", price="0.55", count=1)
        exchange.place_order(A, side="yes", price="0.41", count=4)
        wait_until(lambda: "user_order" in owner.messages() and "market_position" in owner.messages())
        number = relay.stats().checkpoints
        owner.want(ALICE, requests=[OneTimeRequest("checkpoint")])
        wait_until(lambda: relay.stats().checkpoints >= number + 2)  # one a stream
    for word in ('"type":"fill"', '"type":"user_order"', '"type":"market_position"', "order_id"):
        assert word in owner.messages()
        assert word not in everyone.messages()
    assert '"channel":"fill"' in everyone.messages()  # the answers to commands are in both
    assert [turn.first_id for turn in everyone.entries() if turn.first_id] == [
        turn.first_id for turn in owner.entries() if turn.first_id
    ]
    assert everyone.answers() == []
    assert len(owner.answers()) == 1


@pytest.mark.parametrize("how", ["relay", "feed", "failed"])
def test_the_end_is_the_last_entry(
    exchange: Exchange, make_feed: FeedMaker, redis_server: RedisServer, how: str
) -> None:
    relayed = RelayKeys(redis_server.client())
    feed = make_feed()
    relay = Relay(feed, redis_server.url)
    relay.start()
    feed.wait_until_connected(5)
    if how == "relay":
        relay.close()
        assert feed.state is FeedState.CLOSED  # the relay had started it
    elif how == "feed":
        feed.close()
    else:
        exchange.reject_next(status=401)
        exchange.reset()
        wait_until(lambda: feed.state is FeedState.FAILED)
    wait_until(lambda: relay.stats().state == "ended")
    assert relayed.entries()[-1].kind is EntryKind.END
    assert redis_server.client().get(relayed.keys.lease) is None
    relay.close()


@pytest.mark.greenlets
def test_close_is_bounded_when_redis_hangs(
    exchange: Exchange, feed: KalshiFeed, redis_server: RedisServer
) -> None:
    feed.wait_until_connected(5)
    relay = Relay(feed, redis_server.url).start()
    redis_server.freeze()
    time.sleep(0.6)  # a beat is on its way
    began = time.monotonic()
    relay.close(timeout=0.3)
    assert time.monotonic() - began < 1.0
    redis_server.thaw()
    wait_until(lambda: relay.stats().state == "ended")
    assert feed.state is FeedState.CONNECTED


def test_it_ends_with_its_feed_although_redis_is_gone(
    feed: KalshiFeed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_CLOSE", 0.3)
    feed.wait_until_connected(5)
    relay = Relay(feed, redis_server.url).start()
    redis_server.kill()
    wait_until(lambda: not relay.stats().is_connected)
    feed.close(timeout=0.1)
    wait_until(lambda: relay.stats().state == "ended", 2.0)
    relay.close()


def test_what_cannot_be_relayed(
    exchange: Exchange, feed: KalshiFeed, redis_server: RedisServer, tmp_path: Path
) -> None:
    with feed.record(tmp_path / "it.ndjson") as recording:
        with pytest.raises(ConfigurationError, match="recorded or relayed already"):
            Relay(feed, redis_server.url).start()
        recording.close()
        with Relay(feed, redis_server.url) as relay:
            with pytest.raises(ConfigurationError, match="recorded or relayed already"):
                Relay(feed, redis_server.url, name="other").start()
            with pytest.raises(ConfigurationError, match="already being recorded"):
                feed.record(tmp_path / "other.ndjson")
            assert relay.is_writer
        with Relay(feed, redis_server.url) as again:  # and a closed one can be followed by another
            assert again.is_writer
        relay.start()  # or be started again
        assert relay.is_writer
        relay.close()
    replayed = KalshiFeed.replay(tmp_path / "it.ndjson")
    with pytest.raises(ConfigurationError, match="neither a replay"):
        Relay(replayed, redis_server.url)
    for arguments in ({"allow": ()}, {"keep": 1}, {"account": 1}, {"name": "no spaces"}, {"standby": "yes"}):
        with pytest.raises(ConfigurationError):
            Relay(feed, redis_server.url, **arguments)  # type: ignore[arg-type]
    redis_server.kill()
    with pytest.raises(RelayError):
        Relay(feed, redis_server.url).start()
    assert feed._engine.tap is None
