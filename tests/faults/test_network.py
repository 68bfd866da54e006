"""What networks do to a whole feed: rows N01 to N10, N15, N37 to N40 and N42. The dial's own rows are in
tests/connection."""

from __future__ import annotations

import functools
import logging
import resource
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kalshi_feed import FeedState, KalshiFeed, ReconnectPolicy
from kalshi_feed.connection.dial import dial
from kalshi_feed.session.timing import Timing
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.connection.raw_server import PING, TEXT, frame
from tests.faults.toxic_proxy import ToxicProxy
from tests.feed.bookkeeper import Bookkeeper
from tests.feed.conftest import QUICK
from tests.feed.support import A, B, FeedMaker, HurriedFeed, own_threads
from tests.support import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(exchange: Exchange) -> Iterator[ToxicProxy]:
    """Sits between the exchange and the feeds that are made with ``url=through(...)``. Slow readers have
    small buffers."""
    with ToxicProxy(exchange.port) as proxy:
        yield proxy


def through(proxy: ToxicProxy, exchange: Exchange) -> str:
    return exchange.url.replace(str(exchange.port), str(proxy.port))


def opened(feed: KalshiFeed, exchange: Exchange, policy: ReconnectPolicy = QUICK) -> Bookkeeper:
    """Return a started feed with two LIVE books."""
    keeper = Bookkeeper(feed, policy)
    feed.subscribe("orderbook_delta", [A, B])
    feed.start()
    keeper.wait_right(exchange, A, B)
    return keeper


def test_N01_refused_connections_are_tried_again_with_patience(
    exchange: Exchange, make_feed: FeedMaker, caplog: pytest.LogCaptureFixture
) -> None:
    exchange.close()
    policy = ReconnectPolicy(initial_delay=0.02, max_delay=0.2)
    feed = make_feed(reconnect=policy)
    keeper = Bookkeeper(feed, policy)
    feed.subscribe("orderbook_delta", [A, B])
    began = time.monotonic()
    feed.start()
    wait_until(lambda: len(keeper.losses) >= 8)
    took, losses = time.monotonic() - began, keeper.losses[:8]
    delays = [loss.delay or 0.0 for loss in losses]
    assert took >= sum(delays[:-1])
    for loss, delay in zip(losses, delays, strict=True):
        assert "refused" in loss.reason
        assert policy.delay(loss.attempt, 0.0) <= delay <= policy.delay(loss.attempt, 1.0)
    assert (
        len({delay / policy.delay(loss.attempt, 1.0) for loss, delay in zip(losses, delays, strict=True)}) > 1
    ), "no jitter"
    exchange.start()
    keeper.wait_right(exchange, A, B)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == len(keeper.losses) and not any(record.exc_info for record in warnings)


def test_N04_dns_that_fails_while_the_feed_runs(
    exchange: Exchange, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = make_feed(url=exchange.url.replace("127.0.0.1", "localhost"))
    keeper = opened(feed, exchange)

    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        exchange.reset()
        wait_until(lambda: len(keeper.losses) >= 5)
        assert feed.state is FeedState.RECONNECTING
        for loss in keeper.losses[1:]:
            assert "//localhost" in loss.reason and "cannot be resolved" in loss.reason
    keeper.wait_right(exchange, A, B)


@pytest.mark.parametrize("ever_connected", [False, True])
def test_N05_close_while_a_lookup_hangs(
    exchange: Exchange, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch, ever_connected: bool
) -> None:
    asked, release = threading.Event(), threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        asked.set()
        release.wait(60)
        return []

    feed = make_feed(url=exchange.url.replace("127.0.0.1", "localhost"))
    if ever_connected:
        opened(feed, exchange)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        if ever_connected:
            exchange.reset()
        else:
            feed.start()
        assert asked.wait(5)
        began = time.monotonic()
        feed.close(timeout=1)
        assert time.monotonic() - began < 1.5 and feed.state is FeedState.CLOSED
        assert own_threads() == ["kalshi-feed-resolver"]
        assert next(
            thread for thread in threading.enumerate() if thread.name == "kalshi-feed-resolver"
        ).daemon
    finally:
        release.set()


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize(
    ("half", "ending", "words"),
    [
        (True, "reset", "reset"),
        (True, "disconnect", "middle of a frame"),
        (False, "disconnect", "without a close frame"),
    ],
)
def test_N06_N07_N08_ends_without_a_close(
    make_feed: FeedMaker, half: bool, ending: str, words: str, tls: bool
) -> None:
    with Exchange(key_type="ed25519", tls=tls) as exchange:
        exchange.add_market(A, yes={"0.40": 10}, no={"0.54": 7})
        exchange.add_market(B, yes={"0.10": 1})
        feed = make_feed(
            HurriedFeed,
            credentials=exchange.credentials,
            url=exchange.url,
            ssl_context=exchange.ssl_context if tls else None,
        )
        keeper = opened(feed, exchange)
        if half:
            received = inside.transport(feed).bytes_received  # type: ignore[union-attr]
            exchange.send_bytes(frame(TEXT, b"x" * 500)[:200])
            wait_until(lambda: inside.transport(feed).bytes_received > received)  # type: ignore[union-attr]
        exchange.reset() if ending == "reset" else exchange.disconnect()
        wait_until(lambda: feed.stats().reconnects == 1)
        keeper.wait_right(exchange, A, B)
        [loss] = keeper.losses
        words = "the TLS stream was cut off" if tls and ending == "disconnect" else words
        assert words in loss.reason and "code" not in loss.reason.replace("without a code", "")
        assert keeper.kinds() == []
        feed.close()


@pytest.mark.parametrize("deaf", [False, True])
def test_N09_a_vanished_peer_is_noticed_within_the_silence_allowed(
    exchange: Exchange, make_feed: FeedMaker, proxy: ToxicProxy, deaf: bool
) -> None:
    exchange.heartbeat = 0.1
    feed = make_feed(url=through(proxy, exchange), idle_timeout=1.0)
    keeper = opened(feed, exchange)
    proxy.down.black_hole, proxy.up.black_hole = True, deaf
    began = time.monotonic()
    wait_until(lambda: not feed.book(A).is_live)
    assert 0.8 < time.monotonic() - began < 1.0 + 1.0
    wait_until(lambda: keeper.losses)
    assert "no byte for 1 s" in keeper.losses[0].reason
    exchange.change(A, "yes", "0.41", "1")
    proxy.heal()
    keeper.wait_right(exchange, A, B)


def test_N10_a_quiet_market_is_alive(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.heartbeat = 0.1
    feed = make_feed(idle_timeout=1.0)
    keeper = opened(feed, exchange)
    pongs = exchange.pongs
    # three times the allowed silence (for hours of it: connection/test_limits.py)
    wait_until(lambda: exchange.pongs >= pongs + 30, 15)
    assert feed.state is FeedState.CONNECTED and feed.book(A).is_live
    assert feed.stats().reconnects == 0 and keeper.losses == []


def test_N15_slices_change_nothing(exchange: Exchange, make_feed: FeedMaker, proxy: ToxicProxy) -> None:
    proxy.down.slice = proxy.up.slice = 3
    straight, sliced = make_feed(), make_feed(url=through(proxy, exchange))
    keepers = [opened(feed, exchange) for feed in (straight, sliced)]
    for number in range(60):
        exchange.change(A if number % 3 else B, "yes", f"0.{10 + number % 30}", str(number + 1))
    for keeper in keepers:
        keeper.wait_right(exchange, A, B)
    one, other = (
        [(m.type, m.seq, m.msg) for m in keeper.received if getattr(m, "seq", None) is not None]
        for keeper in keepers
    )
    assert len(one) == 62 and one == other
    assert sliced.stats().gaps == sliced.stats().reconnects == 0


# The peer does not read


@pytest.fixture
def short_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write budget is 5 s; here it is half a second."""
    monkeypatch.setattr("kalshi_feed.engine.live.dial", functools.partial(dial, write_timeout=0.5))


def small_buffers(feed: KalshiFeed, proxy: ToxicProxy) -> None:
    """Whatever the feed writes on the current connection soon gets stuck."""
    transport = inside.transport(feed)
    assert transport is not None
    transport._stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    [(_, up)] = proxy._pairs
    up.source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)


@pytest.mark.usefixtures("short_writes")
def test_N38_N39_a_subscribe_to_a_peer_that_does_not_read(
    exchange: Exchange, make_feed: FeedMaker, proxy: ToxicProxy
) -> None:
    exchange.heartbeat = 0.1
    feed = make_feed(url=through(proxy, exchange))
    keeper = opened(feed, exchange)
    small_buffers(feed, proxy)
    proxy.up.black_hole = True
    began = time.monotonic()
    for channel in ("trade", "ticker", "market_lifecycle_v2", "fill", "market_positions"):
        feed.subscribe(channel, [f"KXMANY-26-{channel}-{number}" for number in range(20_000)])
    assert time.monotonic() - began < 2.0
    wait_until(lambda: keeper.losses)
    assert "took no byte for 0.5 s" in keeper.losses[0].reason
    proxy.heal()
    keeper.wait_right(exchange, A, B)
    # no frame after a part of another one
    assert not [command for command in exchange.commands if "raw" in command]


@pytest.mark.usefixtures("short_writes")
def test_N37_pings_by_the_thousand_from_a_peer_that_does_not_read(
    exchange: Exchange, make_feed: FeedMaker, proxy: ToxicProxy
) -> None:
    feed = make_feed(url=through(proxy, exchange))
    keeper = opened(feed, exchange)
    small_buffers(feed, proxy)
    proxy.up.black_hole = True
    transport = inside.transport(feed)
    assert transport is not None
    unsent = 0
    until = time.monotonic() + 10
    while not keeper.losses:
        assert time.monotonic() < until
        exchange.send_bytes(frame(PING, b"x" * 125) * 100)
        unsent = max(unsent, transport._stream.unsent_bytes + 200 * len(transport._outbox))
        seen = feed.book(A).version
        exchange.change(A, "yes", "0.41", "1")
        wait_until(lambda: feed.book(A).version > seen or keeper.losses)  # noqa: B023  # data goes on meanwhile
    assert "took no byte for 0.5 s" in keeper.losses[0].reason
    assert unsent < 1_000  # one pong, not thousands
    proxy.heal()
    keeper.wait_right(exchange, A, B)


# Slow lines


class SlowLineFeed(KalshiFeed):
    """A feed that gives an answer one second."""

    _timing = Timing(ack=1.0, snapshot=1.0, large_message=0.1, retry_initial=0.02, retry_max=0.1)


def test_N40_a_large_snapshot_on_a_slow_line(
    exchange: Exchange, make_feed: FeedMaker, proxy: ToxicProxy
) -> None:
    deep: dict[Any, Any] = {f"{price / 10_000:.4f}": "100.00" for price in range(1, 5_000)}
    exchange.add_market(A, yes=deep, no=deep)  # 190 kB
    feed = make_feed(SlowLineFeed, url=through(proxy, exchange), idle_timeout=2.0)
    keeper = Bookkeeper(feed, QUICK)
    feed.start().wait_until_connected(5)
    proxy.down.latency, proxy.down.rate = 0.1, 40_000.0  # five seconds of it
    feed.subscribe("orderbook_delta", A)
    wait_until(lambda: proxy.passed > 50_000)
    feed.subscribe("trade", A)  # which can only be confirmed after it
    keeper.wait_right(exchange, A, timeout=20)
    exchange.change(A, "yes", "0.41", "1")
    keeper.wait_right(exchange, A)
    assert keeper.losses == [] and keeper.kinds() == []
    asked = [command.get("params", {}).get("action", command["cmd"]) for command in exchange.commands]
    assert asked == ["subscribe", "subscribe"]


# No descriptors left


def test_N42_no_descriptor_left(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    keeper = opened(feed, exchange)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # what is open stays open, what is closed cannot be opened again
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        exchange.reset()
        wait_until(lambda: len(keeper.losses) >= 6)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all("too many open files" in loss.reason for loss in keeper.losses[1:6])
    assert [loss.attempt for loss in keeper.losses[:6]] == [1, 2, 3, 4, 5, 6]
    keeper.wait_right(exchange, A, B)
    assert feed.state is FeedState.CONNECTED
