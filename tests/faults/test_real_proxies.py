"""P07 with proxies that people use: they choose how to cut their answers into segments."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kalshi_feed import FeedState, ProxyError, ReconnectPolicy
from kalshi_feed.simulator import Exchange
from tests.connection.support import free_port
from tests.faults.real_proxies import PASSWORD, USER, running
from tests.faults.secrets import Secrets
from tests.feed.support import A, FeedMaker, Recorder
from tests.support import wait_until

pytestmark = pytest.mark.slow

WRONG = "wr0ng-password"
AGAIN = ReconnectPolicy(max_retries=2, initial_delay=0.01)


class RealProxy(NamedTuple):
    """A running proxy: which one, its port, and a port that it lets us through to although nothing listens
    there."""

    name: str
    port: int
    dead: int

    def url(self, password: str = PASSWORD) -> str:
        return f"http://{USER}:{password}@127.0.0.1:{self.port}"


@pytest.fixture(params=["squid", "tinyproxy"])
def proxy(
    request: pytest.FixtureRequest, tmp_path: Path, exchange: Exchange, secrets: Secrets
) -> Iterator[RealProxy]:
    secrets.add(PASSWORD, WRONG)
    dead = free_port()
    with running(request.param, tmp_path, exchange.port, dead) as port:
        yield RealProxy(request.param, port, dead)


def refused(make_feed: FeedMaker, through: str, **options: object) -> tuple[ProxyError, int]:
    """Return the error that the feed fails with, and how often it has dialed."""
    feed = make_feed(proxy=through, reconnect=AGAIN, **options)
    heard = Recorder(feed)
    began = time.monotonic()
    with pytest.raises(ProxyError) as caught:
        feed.start().wait_until_connected(20)
    assert time.monotonic() - began < 15
    wait_until(lambda: FeedState.FAILED in heard.steps())
    assert heard.states[-1].reason == str(caught.value)
    return caught.value, 1 + heard.steps().count(FeedState.RECONNECTING)


@pytest.mark.parametrize("credentials", ["", f"{USER}:{WRONG}@"])
def test_P07_a_password_that_a_real_proxy_does_not_take_is_final(
    proxy: RealProxy, credentials: str, exchange: Exchange, make_feed: FeedMaker
) -> None:
    error, dials = refused(make_feed, f"http://{credentials}127.0.0.1:{proxy.port}")
    assert error.status == (401 if credentials and proxy.name == "tinyproxy" else 407)
    assert ("Access Denied" if proxy.name == "squid" else "tinyproxy") in error.reason
    assert dials == 1 and exchange.handshakes == []


def test_P07_a_port_that_a_real_proxy_does_not_allow(
    proxy: RealProxy, exchange: Exchange, make_feed: FeedMaker
) -> None:
    error, dials = refused(make_feed, proxy.url(), url=f"wss://127.0.0.1:{free_port()}/")
    assert error.status == 403 and dials == 3
    assert ("Access Denied" if proxy.name == "squid" else "CONNECT method not allowed") in error.reason


def test_P07_an_exchange_that_a_real_proxy_does_not_reach(
    proxy: RealProxy, exchange: Exchange, make_feed: FeedMaker
) -> None:
    error, dials = refused(make_feed, proxy.url(), url=f"wss://127.0.0.1:{proxy.dead}/")
    assert error.status == (503 if proxy.name == "squid" else 500) and dials == 3
    assert ("could not be retrieved" if proxy.name == "squid" else "unable to connect") in error.reason


def test_P07_and_it_works_through_real_proxies(
    proxy: RealProxy, exchange: Exchange, make_feed: FeedMaker
) -> None:
    with make_feed(proxy=proxy.url()) as feed:
        assert feed.wait_for_book(A, 10).is_live
        feed.close()
