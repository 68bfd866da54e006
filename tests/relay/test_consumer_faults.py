"""A relay's consumer when Redis, its relay or the network between them fails.

Each time: no book is LIVE meanwhile, everything is announced, and it comes back by itself.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest

from kalshi_feed import BookStatus, FeedState, KalshiFeed
from kalshi_feed.relay import Relay
from kalshi_feed.relay.layout import keys_of
from kalshi_feed.simulator import Exchange
from tests.faults.toxic_proxy import ToxicProxy
from tests.feed.support import A, B, Recorder, program, wait_equal
from tests.support import wait_until

from .consumers import ConsumerMaker, RelayMaker
from .redis_server import RedisServer

pytestmark = pytest.mark.greenlets


def relay_stats(feed: KalshiFeed) -> tuple[int, int]:
    """Holes and bootstraps so far."""
    relay = feed.stats().relay
    assert relay is not None
    return relay.holes, relay.bootstraps


def wait_stale(feed: KalshiFeed, why: str, timeout: float = 5.0) -> None:
    wait_until(lambda: feed.state is FeedState.RECONNECTING, timeout, "RECONNECTING")
    assert feed.book(A).status is feed.book(B).status is BookStatus.STALE
    assert feed.book(A).view().status is BookStatus.STALE
    assert feed.health().status == "down"
    assert why in feed.health().reasons[0]


def kill_redis(redis_server: RedisServer) -> None:
    """Kill Redis once the consumer has read everything that Redis has acknowledged to the relay.

    What nobody but Redis had would be missing afterward, and be reported.
    """
    client = redis_server.client()
    client.client_pause(10_000, all=False)  # holds up what writes

    def all_is_read() -> bool:
        readers = [found for found in client.client_list() if found["cmd"] == "xread"]
        return len(readers) > 1 and all("b" in reader["flags"] for reader in readers)  # blocked

    wait_until(all_is_read)
    redis_server.kill()


def sizes(heard: Recorder) -> list[str]:
    """Of the deltas of A so far."""
    return [str(delta.msg.delta_fp) for delta in heard.of("orderbook_delta") if delta.market_ticker == A]


def back_without_loss(heard: Recorder) -> None:
    """The last change says that the feed is back, and that nothing was missed."""
    wait_until(lambda: heard.steps()[-2:] == [FeedState.RECONNECTING, FeedState.CONNECTED])
    assert heard.states[-2].gap_started is not None  # something might have been
    assert heard.states[-1].gap_started is heard.states[-1].gap_ended is None


def back_with_loss(heard: Recorder) -> None:
    """The last change says that the feed is back, and between what times messages are missing."""
    wait_until(lambda: heard.steps()[-2:] == [FeedState.RECONNECTING, FeedState.CONNECTED])
    lost, back = [change for change in heard.states if change.gap_started is not None][-2:]
    assert lost.gap_started is not None
    assert back is heard.states[-1]
    assert back.gap_started is not None
    assert back.gap_ended is not None
    assert lost.gap_started - timedelta(seconds=1) < back.gap_started <= back.gap_ended


def test_relay_that_falls_silent(
    exchange: Exchange,
    make_relay: RelayMaker,
    make_consumer: ConsumerMaker,
    redis_server: RedisServer,
    redis_proxy: ToxicProxy,
) -> None:
    """It cannot reach Redis for a while: nothing is lost."""
    relay = make_relay(redis_server.address(port=redis_proxy.port))
    feed = make_consumer(silence=1.0).start()
    heard = Recorder(feed)
    views: list[BookStatus] = []
    feed.on_book(lambda view: views.append(view.status), market_tickers=A)
    wait_equal(feed, exchange, A, B)
    redis_proxy.freeze()
    began = time.monotonic()
    exchange.change(A, "yes", "0.40", 1)
    wait_stale(feed, "nothing from the relay for 1 s")
    assert 0.5 < time.monotonic() - began < 1.8
    wait_until(lambda: views[-1] is BookStatus.STALE)
    exchange.change(A, "yes", "0.40", 2)
    redis_proxy.heal()
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: sizes(heard) == ["1.00", "2.00"])
    back_without_loss(heard)
    assert relay_stats(feed) == (0, 1)
    assert relay.stats().losses == 0
    wait_until(lambda: views[-1] is BookStatus.LIVE)
    relay.close()  # before its proxy


@pytest.mark.parametrize("durable", [False, True])
def test_redis_is_killed(
    exchange: Exchange,
    relay: Relay,
    make_consumer: ConsumerMaker,
    redis_server: RedisServer,
    durable: bool,
) -> None:
    """And comes back without its data, or with what it had on its disk."""
    if durable:
        redis_server.client().config_set("appendonly", "yes")
    feed = make_consumer().start()
    heard = Recorder(feed)
    wait_equal(feed, exchange, A, B)
    kill_redis(redis_server)
    began = time.monotonic()
    wait_stale(feed, "Redis")
    assert time.monotonic() - began < 1.5  # less than the silence
    exchange.change(A, "yes", "0.40", 1)
    if not durable:
        redis_server.forget()
    redis_server.start()
    wait_equal(feed, exchange, A, B)
    exchange.change(A, "yes", "0.40", 2)
    wait_until(lambda: sizes(heard) == ["1.00", "2.00"])
    back_without_loss(heard)
    late = make_consumer().start()
    wait_equal(late, exchange, A, B)


def test_redis_stands_still(
    exchange: Exchange, relay: Relay, make_consumer: ConsumerMaker, redis_server: RedisServer
) -> None:
    feed = make_consumer(silence=1.0).start()
    heard = Recorder(feed)
    wait_equal(feed, exchange, A, B)
    redis_server.freeze()
    exchange.change(A, "yes", "0.40", 1)
    try:
        wait_stale(feed, "Redis")
    finally:
        redis_server.thaw()
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: sizes(heard) == ["1.00"])
    back_without_loss(heard)


def test_entries_were_trimmed_before_they_were_read(
    exchange: Exchange,
    relay: Relay,
    make_consumer: ConsumerMaker,
    redis_server: RedisServer,
    redis_proxy: ToxicProxy,
) -> None:
    """The consumer was away for longer than the stream goes back: a hole, and a checkpoint on request."""
    feed = make_consumer(redis_server.address(port=redis_proxy.port), silence=1.0).start()
    heard = Recorder(feed)
    wait_equal(feed, exchange, A, B)
    exchange.change(A, "yes", "0.40", 1)
    wait_until(lambda: sizes(heard) == ["1.00"])
    redis_proxy.freeze()
    exchange.change(A, "yes", "0.40", 2)
    wait_stale(feed, "Redis")
    exchange.change(A, "yes", "0.40", 3)
    redis_server.client().xtrim(keys_of("main").stream, maxlen=0, approximate=False)
    redis_server.client().delete(keys_of("main").checkpoint)
    redis_proxy.cut()
    redis_proxy.heal()
    wait_equal(feed, exchange, A, B)
    exchange.change(A, "yes", "0.40", 4)
    wait_until(lambda: sizes(heard) == ["1.00", "4.00"])
    back_with_loss(heard)
    assert relay_stats(feed) == (1, 2)


def test_another_relay_takes_over(
    exchange: Exchange, make_relay: RelayMaker, make_consumer: ConsumerMaker
) -> None:
    """The first one is closed, or fails: what was missed in between is announced."""
    first = make_relay()
    feed = make_consumer().start()
    heard = Recorder(feed)
    wanted = feed.subscribe("ticker", [A]).wait(5)
    wait_equal(feed, exchange, A, B)
    make_relay(standby=True)
    first.close()
    # it may be over before one can look
    wait_until(lambda: any("the relay 'main' was closed" in change.reason for change in heard.states))
    exchange.change(A, "yes", "0.40", 1)
    wait_equal(feed, exchange, A, B)
    back_with_loss(heard)
    assert relay_stats(feed) == (1, 2)
    wanted.wait(5)  # the standby has heard of it
    exchange.change(A, "yes", "0.40", 2)
    wait_until(lambda: sizes(heard)[-1:] == ["2.00"])
    assert not heard.faults


def test_relay_loses_its_connection_while_redis_is_away(
    exchange: Exchange, relay: Relay, make_consumer: ConsumerMaker, redis_server: RedisServer
) -> None:
    """Then messages are missing although no entry is, and the feed says so."""
    feed = make_consumer().start()
    heard = Recorder(feed)
    wait_equal(feed, exchange, A, B)
    kill_redis(redis_server)
    wait_stale(feed, "Redis")
    exchange.reset()
    wait_until(lambda: relay.feed.stats().reconnects == 1)
    redis_server.start()
    wait_equal(feed, exchange, A, B)
    back_with_loss(heard)
    assert relay_stats(feed)[0] == 0


@pytest.mark.slow  # it waits for the lease of the one that was killed
def test_relay_in_another_process_stands_still_and_is_killed(
    exchange: Exchange, make_consumer: ConsumerMaker, redis_server: RedisServer, tmp_path: Path
) -> None:
    """SIGSTOP costs nothing but time; kill -9 costs what comes until another one runs."""
    body = f"""
        from kalshi_feed.relay import Relay
        feed.subscribe("orderbook_delta", [{A!r}, {B!r}])
        with Relay(feed, {redis_server.url!r}):
            sys.stdin.read()
    """
    feed = make_consumer(silence=1.0)
    heard = Recorder(feed)
    with feed, contextlib.ExitStack() as programs:

        def start() -> subprocess.Popen[bytes]:
            arguments = program(exchange, tmp_path, body)
            return programs.enter_context(subprocess.Popen(arguments, stdin=subprocess.PIPE))

        first = start()
        wait_until(lambda: feed.book(A).is_live, 30)
        wait_equal(feed, exchange, A, B)
        first.send_signal(signal.SIGSTOP)
        wait_stale(feed, "nothing from the relay for 1 s")
        exchange.change(A, "yes", "0.40", 1)
        first.send_signal(signal.SIGCONT)
        wait_equal(feed, exchange, A, B)
        wait_until(lambda: sizes(heard) == ["1.00"])
        back_without_loss(heard)
        first.kill()
        wait_stale(feed, "nothing from the relay for 1 s")
        second = start()
        wait_until(lambda: feed.book(A).is_live, 30)
        wait_equal(feed, exchange, A, B)
        back_with_loss(heard)
        assert relay_stats(feed) == (1, 2)
        second.communicate(timeout=10)
        wait_stale(feed, "was closed")


def test_close_is_quick_in_any_state(make_consumer: ConsumerMaker, redis_server: RedisServer) -> None:
    """While it waits for a relay, for Redis, and while Redis does not answer."""
    for prepare in (lambda: None, redis_server.freeze, redis_server.kill):
        feed = make_consumer().start()
        wait_until(lambda: feed.health().reasons[0] != "the feed is CONNECTING")  # noqa: B023
        feed.subscribe("ticker", [A])
        prepare()
        time.sleep(0.1)
        began = time.monotonic()
        feed.close()
        assert time.monotonic() - began < 1
        if prepare == redis_server.freeze:
            redis_server.thaw()
