"""P01 to P06 through the whole feed. The parts' own tests are in tests/connection."""

# mypy: no-strict-equality

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from kalshi_feed import FeedState, ProxyError, ReconnectPolicy, TLSError
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import Peer, RawServer
from tests.connection.tunnel import Tunnel
from tests.faults.secrets import Secrets
from tests.faults.support import BASIC, PASSWORD, USER, HealthyAtOnce, through
from tests.feed.support import A, FeedMaker, HurriedFeed, Recorder, wait_equal
from tests.support import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def of_the_proxy(secrets: Secrets) -> None:
    """Neither user name nor password may show up anywhere (P05)."""
    secrets.add(USER, PASSWORD, BASIC)


@pytest.mark.parametrize("status", [403, 407, 502, 503])
def test_P01_P05_refusal_of_the_proxy(
    status: int, exchange: Exchange, make_feed: FeedMaker, secrets: Secrets
) -> None:
    tunnel = Tunnel(
        f"HTTP/1.1 {status} Not for {USER} with {PASSWORD}, Basic {BASIC}\x1b[2J\r\n\r\n".encode()
    )
    with RawServer(tunnel) as server:
        feed = make_feed(proxy=through(server), reconnect=ReconnectPolicy(max_retries=2, initial_delay=0.01))
        heard = Recorder(feed)
        with pytest.raises(ProxyError, match=f"answered CONNECT with {status}") as caught:
            feed.start().wait_until_connected(10)
        wait_until(lambda: FeedState.FAILED in heard.steps())
        assert caught.value.status == status
        assert len(tunnel.requests) == (1 if status == 407 else 3)
        for shown in (
            feed,
            caught.value,
            feed.stats(),
            feed.health(),
            vars(feed),
            vars(caught.value),
            heard.states,
        ):
            secrets.check(f"{shown} {shown!r}", type(shown).__name__)
        assert "\x1b" not in str(caught.value)
    assert exchange.handshakes == []
    assert tunnel.seen == b""
    for request in tunnel.requests:
        assert b"KALSHI" not in request.upper() and exchange.api_key_id.encode() not in request


def test_P01_credentials_that_the_proxy_no_longer_takes_are_tried_slowly(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    tunnel = Tunnel()
    with RawServer(tunnel) as server:
        feed = make_feed(HealthyAtOnce, proxy=through(server))
        heard = Recorder(feed)
        feed.start().wait_for_book(A, 5)
        tunnel.answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
        tunnel.cut()
        wait_until(lambda: len(heard.states) == 4)
        assert "407" in heard.states[-1].reason and (heard.states[-1].delay or 0) >= 2.5
        feed.close()


def drip(peer: Peer) -> None:
    peer.read_request()
    for byte in b"HTTP/1.1 200 Connection established\r\nX: " + b"y" * 1_000:
        peer.send(bytes([byte]))
        time.sleep(0.02)


def freeze(peer: Peer) -> None:
    peer.wait_closed()


@pytest.mark.parametrize("handler", [drip, freeze])
def test_P02_proxy_that_drips_or_never_answers(
    handler: Callable[[Peer], None], exchange: Exchange, make_feed: FeedMaker
) -> None:
    with RawServer(handler) as server:
        feed = make_feed(proxy=through(server), connect_timeout=0.4, reconnect=ReconnectPolicy.never())
        began = time.monotonic()
        with pytest.raises(ProxyError, match="no answer in the time allowed for connecting"):
            feed.start().wait_until_connected(10)
        assert 0.35 < time.monotonic() - began < 2
    assert exchange.handshakes == []


def endless(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        peer.send(b"X-Endless: " + b"y" * 10_000 + b"\r\n")


def says(data: bytes) -> Callable[[Peer], None]:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.send(data)
        peer.wait_closed()

    return handler


@pytest.mark.parametrize(
    "handler",
    [
        endless,
        says(b"\x00\xff\x00\xff"),
        says(b"HTTP/1.1 \xff\xfe OK\r\n\r\n"),
        says(b"HTTP/1.1 200\r\n" + b"\x81" * 70_000),
        says(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n"),
        lambda peer: peer.read_request() and peer.send(b"HTTP/1.1 199 Early\r\n\r\n"),
        lambda peer: None,
    ],
)
def test_P03_nonsense_from_a_proxy_is_tried_again(
    handler: Callable[[Peer], None], exchange: Exchange, make_feed: FeedMaker
) -> None:
    tunnel, dials = Tunnel(), []

    def at_first(peer: Peer) -> None:
        dials.append(peer)
        (handler if len(dials) <= 2 else tunnel)(peer)

    with RawServer(at_first) as server:
        feed = make_feed(proxy=through(server))
        heard = Recorder(feed)
        feed.start().wait_for_book(A, 5)
        assert [change.state for change in heard.states[1:3]] == [FeedState.RECONNECTING] * 2
        for change in heard.states[1:3]:
            assert (
                change.reason.startswith(f"the proxy http://127.0.0.1:{server.port}")
                and len(change.reason) < 500
            )
        feed.close()


@pytest.mark.parametrize(
    "end", [lambda tunnel, exchange: tunnel.cut(), lambda tunnel, exchange: exchange.reset()]
)
def test_P04_dropped_tunnel_is_replaced_and_the_proxy_named(
    end: Callable[[Tunnel, Exchange], None], exchange: Exchange, make_feed: FeedMaker
) -> None:
    tunnel = Tunnel()
    with RawServer(tunnel) as server:
        feed = make_feed(HurriedFeed, proxy=through(server))
        heard = Recorder(feed)
        feed.start().wait_for_book(A, 5)
        end(tunnel, exchange)
        wait_until(lambda: feed.stats().reconnects == 1)
        wait_equal(feed, exchange, A)
        lost = heard.states[2]
        assert lost.state is FeedState.RECONNECTING and lost.gap_started is not None
        assert f"(through the proxy http://127.0.0.1:{server.port})" in lost.reason
        assert "exchange" not in lost.reason
        feed.close()


def test_P06_loopback_and_no_proxy_bypass_the_environments_proxy(
    exchange: Exchange, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel = Tunnel()
    with RawServer(tunnel) as server:
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, through(server))
        make_feed().start().wait_for_book(A, 5)

        def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", exchange.port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setenv("no_proxy", "other.example, .exchange.example")
        feed = make_feed(
            url=f"wss://feed.exchange.example:{exchange.port}/", reconnect=ReconnectPolicy.never()
        ).start()
        with pytest.raises(TLSError, match=r"not accepted for the host feed\.exchange\.example"):
            feed.wait_until_connected(10)  # so it was reached
        assert tunnel.requests == []
        monkeypatch.delenv("no_proxy")
        make_feed(
            url=f"wss://127.0.0.1.exchange.example:{exchange.port}/", reconnect=ReconnectPolicy.never()
        ).start()
        wait_until(lambda: len(tunnel.requests) == 1)
