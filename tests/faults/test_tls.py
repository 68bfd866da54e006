"""T01 to T11 through the whole feed. The parts' own tests are in tests/connection."""

# mypy: no-strict-equality

from __future__ import annotations

import itertools
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import certifi
import pytest
import trustme

from kalshi_feed import BookStatus, ConfigurationError, FeedClosedError, FeedState, KalshiFeed, TLSError
from kalshi_feed.connection import tcp
from kalshi_feed.session import retry
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import Peer, RawServer
from tests.faults.support import HealthyAtOnce
from tests.faults.toxic_proxy import ToxicProxy
from tests.feed.support import A, FeedMaker, HurriedFeed, Recorder, in_thread, wait_equal
from tests.support import wait_until

pytestmark = pytest.mark.slow

EXPIRED = datetime(2020, 1, 1, tzinfo=timezone.utc)


# -- certificates --------------------------------------------------------------------------------------------


def wrong_certificate(kind: str, trusted: trustme.CA) -> trustme.LeafCert:
    if kind == "expired":
        return trusted.issue_cert("127.0.0.1", not_after=EXPIRED)
    if kind == "other host":
        return trusted.issue_cert("other.example")
    return trustme.CA().issue_cert("127.0.0.1")


CERTIFICATES = [
    ("expired", "certificate has expired; check this machine's clock"),
    ("other host", r"not accepted for the host 127\.0\.0\.1"),
    ("other CA", "its issuer is not known"),
]


@pytest.mark.parametrize(("kind", "words"), CERTIFICATES)
def test_T01_T02_T03_wrong_certificate_at_first_is_fatal_and_nothing_is_signed(
    kind: str, words: str, make_feed: FeedMaker
) -> None:
    ca, requests = trustme.CA(), list[bytes]()

    def handler(peer: Peer) -> None:
        requests.append(peer.sock.recv(65_536))

    server_context, client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    wrong_certificate(kind, ca).configure_cert(server_context)
    ca.configure_trust(client_context)
    with RawServer(handler, server_context) as server:
        feed = make_feed(url=f"wss://127.0.0.1:{server.port}/trade-api/ws/v2", ssl_context=client_context)
        heard = Recorder(feed)
        with pytest.raises(TLSError, match=words) as caught:
            feed.start().wait_until_connected(10)
        wait_until(lambda: len(heard.states) == 2)
        assert heard.steps() == [FeedState.CONNECTING, FeedState.FAILED]
        assert heard.states[-1].reason == str(caught.value)
        assert server.connections == 1
    assert requests == []


@pytest.mark.parametrize(("kind", "words"), CERTIFICATES)
def test_T01_T02_T03_wrong_certificate_later_is_tried_slowly_and_loudly(
    kind: str,
    words: str,
    exchange: Exchange,
    make_feed: FeedMaker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(retry, "_SLOW_DELAY", 1.0)
    ca, context = trustme.CA(), exchange.ssl_context
    ca.configure_trust(context)
    feed = make_feed(HealthyAtOnce, ssl_context=context)
    heard = Recorder(feed)
    feed.start().wait_for_book(A, 5)
    wrong_certificate(kind, ca).configure_cert(exchange._certificates.server_context)
    exchange.reset()
    wait_until(lambda: any(change.attempt == 2 for change in heard.states))
    assert feed.book(A).status is BookStatus.STALE
    refused = heard.states[-1]
    assert refused.state is FeedState.RECONNECTING and refused.delay is not None and refused.delay >= 0.5
    assert [record.levelno for record in caplog.records if refused.reason in record.getMessage()] == [
        logging.ERROR
    ]
    ca.issue_cert("127.0.0.1").configure_cert(exchange._certificates.server_context)
    wait_equal(feed, exchange, A)
    assert [handshake.status for handshake in exchange.handshakes] == [101, 101]


def test_T03_the_default_context_knows_certifi_and_nothing_else(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, ca = exchange.write_credentials(tmp_path)
    for name in ("SSL_CERT_FILE", "WEBSOCKET_CLIENT_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(ca))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with (
        KalshiFeed(exchange.credentials, url=exchange.url) as feed,
        pytest.raises(TLSError, match="issuer is not known"),
    ):
        feed.wait_until_connected(10)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_T09_unusable_ca_bundle_is_refused_at_construction(
    content: bytes | None, exchange: Exchange, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    monkeypatch.setattr(certifi, "where", lambda: str(bundle))
    with pytest.raises(ConfigurationError, match=r"bundle\.pem"):
        KalshiFeed(exchange.credentials)


def test_T09_T11_the_environment_has_no_say_and_the_bundle_is_read_once(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, bundle = exchange.write_credentials(tmp_path)
    key_log = tmp_path / "keys.log"
    monkeypatch.setattr(certifi, "where", lambda: str(bundle))
    monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))
    monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(tmp_path / "gone.pem"))
    with HurriedFeed(exchange.credentials, url=exchange.url) as feed:
        feed.wait_for_book(A, 5)
        bundle.unlink()  # at three in the morning
        exchange.reset()
        wait_until(lambda: feed.stats().reconnects == 1)
        wait_equal(feed, exchange, A)
    assert not key_log.exists()


# -- contexts that do not verify -----------------------------------------------------------------------------


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def old() -> ssl.SSLContext:
    context = ssl.create_default_context()
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.parametrize(("make", "words"), [(unverified, "verify_mode"), (old, "minimum_version")])
def test_T06_T10_a_weak_context_is_for_loopback_only_and_logged(
    make: Callable[[], ssl.SSLContext],
    words: str,
    exchange: Exchange,
    make_feed: FeedMaker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make_feed(url="wss://external-api-ws.kalshi.com/trade-api/ws/v2", ssl_context=make())
    assert caplog.records == []
    feed = make_feed(ssl_context=make())
    [record] = caplog.records
    assert record.levelno == logging.WARNING and words in record.getMessage()
    if make is unverified:
        feed.start().wait_for_book(A, 5)


def test_T10_a_context_that_is_weakened_later(make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(Peer.handshake) as server:

        def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        context = ssl.create_default_context()
        feed = make_feed(url="wss://exchange.example/", ssl_context=context)
        context.check_hostname = False
        with pytest.raises(ConfigurationError, match="check_hostname"):
            feed.start().wait_until_connected(10)
        assert feed.state is FeedState.FAILED


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_T06_server_with_old_tls_is_fatal(make_feed: FeedMaker) -> None:
    ca = trustme.CA()
    server_context, client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("127.0.0.1").configure_cert(server_context)
    ca.configure_trust(client_context)
    server_context.set_ciphers("ALL:@SECLEVEL=0")
    server_context.minimum_version = server_context.maximum_version = ssl.TLSVersion.TLSv1
    with RawServer(Peer.handshake, server_context) as server:
        feed = make_feed(url=f"wss://127.0.0.1:{server.port}/", ssl_context=client_context)
        with pytest.raises(TLSError, match=r"does not offer TLS 1\.2 or newer"):
            feed.start().wait_until_connected(10)
        assert server.connections == 1


# -- a stream that breaks ------------------------------------------------------------------------------------


@contextmanager
def through_proxy(
    exchange: Exchange, make_feed: FeedMaker
) -> Iterator[tuple[ToxicProxy, KalshiFeed, Recorder]]:
    """Yield a feed with a LIVE book behind a proxy, with nothing under way."""
    with ToxicProxy(exchange.port) as proxy:
        feed = make_feed(HurriedFeed, url=exchange.url.replace(str(exchange.port), str(proxy.port)))
        heard = Recorder(feed)
        feed.start().wait_for_book(A, 5)
        feed.list_subscriptions(5)
        yield proxy, feed, heard
        feed.close()


def assert_lost_and_found(
    proxy: ToxicProxy, feed: KalshiFeed, heard: Recorder, exchange: Exchange, act: Callable[[], None]
) -> str:
    """Wait until the connection is lost, then until all is well; return the reason of the loss."""
    proxy.refusing = True  # so that there is time to look at the loss

    def is_lost() -> bool:
        act()
        return feed.state is FeedState.RECONNECTING

    wait_until(is_lost)
    assert feed.book(A).status is BookStatus.STALE
    proxy.heal()
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A)
    feed.close()
    assert heard.faults == [] and heard.gaps == []
    assert {(delta.price, delta.delta) for delta in heard.of("orderbook_delta")} <= {
        (Decimal("0.41"), Decimal(1))
    }
    seqs = [delta.seq for delta in heard.of("orderbook_delta")]
    assert all(later == before + 1 or later < before for before, later in itertools.pairwise(seqs))
    lost = next(change for change in heard.states if change.state is FeedState.RECONNECTING)
    assert lost.gap_started is not None
    return lost.reason


@pytest.mark.parametrize("offset", [0, 1, 2, 3, 4, 5, 30, 200, 1000])
def test_T05_corrupted_record(offset: int, exchange: Exchange, make_feed: FeedMaker) -> None:
    with through_proxy(exchange, make_feed) as (proxy, feed, heard):
        proxy.down.flip = proxy._pairs[0][0].taken + offset
        reason = assert_lost_and_found(
            proxy, feed, heard, exchange, lambda: exchange.change(A, "yes", "0.41", "1")
        )
    assert "TLS error" in reason


@pytest.mark.parametrize("offset", [0, 5, 20])
def test_T05_alert_in_the_middle_of_the_stream(offset: int, exchange: Exchange, make_feed: FeedMaker) -> None:
    with through_proxy(exchange, make_feed) as (proxy, feed, heard):
        proxy.up.flip = proxy._pairs[0][1].taken + offset  # the exchange cannot read it, and says so
        reason = assert_lost_and_found(
            proxy, feed, heard, exchange, lambda: feed.subscribe("trade", A).unsubscribe()
        )
    assert "TLS error" in reason and "ALERT" in reason


@pytest.mark.parametrize("left", [0, 3, 40])
def test_T05_truncated(left: int, exchange: Exchange, make_feed: FeedMaker) -> None:
    with through_proxy(exchange, make_feed) as (proxy, feed, heard):
        proxy.down.limit = proxy._pairs[0][0].taken + left
        reason = assert_lost_and_found(
            proxy, feed, heard, exchange, lambda: exchange.change(A, "yes", "0.41", "1")
        )
    assert "cut off" in reason


@pytest.mark.parametrize("offset", [7, 60, 130, 200, 400, 900])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_T05_corrupted_handshake_is_tried_again(
    direction: str, offset: int, exchange: Exchange, make_feed: FeedMaker
) -> None:
    with ToxicProxy(exchange.port) as proxy:
        getattr(proxy, direction).flip = offset
        feed = make_feed(url=exchange.url.replace(str(exchange.port), str(proxy.port)), connect_timeout=0.5)
        heard = Recorder(feed)
        feed.start()
        wait_until(lambda: FeedState.RECONNECTING in heard.steps())
        proxy.heal()
        feed.wait_for_book(A, 5)
        assert heard.faults == [] and FeedState.FAILED not in heard.steps()
        feed.close()


# -- one thread for the socket -------------------------------------------------------------------------------


class Calls:
    """Record every call of the feeds' sockets and TLS objects: by object, what was called by which thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: dict[int, set[tuple[str, int, str]]] = {}
        self._kept: list[object] = []  # so that no id is used twice
        calls = self

        class RecordedSocket(socket.socket):
            pass

        class RecordedTls(ssl.SSLObject):
            pass

        for recorded, names in (
            (
                RecordedSocket,
                "recv recv_into send sendall shutdown close detach connect_ex setsockopt getsockopt "
                "setblocking",
            ),
            (RecordedTls, "read write do_handshake unwrap"),
        ):
            for name in names.split():
                setattr(recorded, name, calls._recorded(name, getattr(recorded, name)))
        monkeypatch.setattr(tcp, "original", lambda module, name: RecordedSocket)
        self._tls = RecordedTls

    def _recorded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(this: Any, *args: Any, **kwargs: Any) -> Any:
            if id(this) not in self.made:
                self._kept.append(this)
            self.made.setdefault(id(this), set()).add(
                (name, threading.get_ident(), threading.current_thread().name)
            )
            return function(this, *args, **kwargs)

        return call

    def context(self, exchange: Exchange) -> ssl.SSLContext:
        context = exchange.ssl_context
        context.sslobject_class = self._tls
        return context

    def assert_of_one_thread(self, connections: int) -> None:
        """Check that one reader thread used each object, and that no socket was shut down under it."""
        assert len(self.made) == 2 * connections
        for made in self.made.values():
            assert len({ident for _, ident, _ in made}) == 1
            assert {name for _, _, name in made} == {"kalshi-feed-reader"}
        assert not {name for made in self.made.values() for name, _, _ in made} & {
            "shutdown",
            "unwrap",
            "detach",
        }


def test_T08_every_call_of_the_socket_is_the_readers(
    make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    with Exchange(8, rate=2000, seed=1, key_type="ed25519", heartbeat=0.05) as exchange:
        feed = make_feed(
            credentials=exchange.credentials,
            url=exchange.url,
            ssl_context=calls.context(exchange),
            idle_timeout=0.5,
        )
        heard = Recorder(feed)
        tickers = exchange.market_tickers
        feed.start().subscribe("orderbook_delta", tickers).wait(5)
        stop = time.monotonic() + 2.5
        turns = []

        def churn(number: int) -> None:
            done = 0
            while time.monotonic() < stop:
                subscription = feed.subscribe(["trade", "ticker"], tickers[number])
                subscription.add_markets(tickers[number + 4])
                feed.list_subscriptions(5)
                feed.wait_for_book(tickers[number], 5)
                subscription.unsubscribe()
                done += 1
            turns.append(done)

        churning = [in_thread(lambda number=number: churn(number)) for number in range(4)]
        for call in churning:
            call.result(20)
        exchange.quiesce()
        wait_equal(feed, exchange, *tickers)
        closing = [in_thread(feed.close) for _ in range(4)]
        for call in closing:
            call.result(10)
        assert len(exchange.handshakes) == 1 and feed.stats().reconnects == 0
        assert heard.faults == [] and heard.gaps == [] and heard.steps()[-1] is FeedState.CLOSED
        assert min(turns) >= 5
    calls.assert_of_one_thread(1)


def test_T07_close_under_load_is_a_message_to_the_reader(
    make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, sessions = Calls(monkeypatch), 24
    with Exchange(8, rate=3000, seed=2, key_type="ed25519") as exchange:
        context = calls.context(exchange)
        tickers = exchange.market_tickers

        def live(number: int) -> None:
            feed = make_feed(credentials=exchange.credentials, url=exchange.url, ssl_context=context)
            heard = Recorder(feed)
            feed.start().subscribe("orderbook_delta", tickers)
            feed.wait_for_book(tickers[number % 8], 10)
            wait_until(lambda: len(heard.messages) > 8 + number)  # each at another point of its stream
            feed.close()
            count = len(heard.messages)
            assert heard.steps() == [FeedState.CONNECTING, FeedState.CONNECTED, FeedState.CLOSED]
            assert heard.states[-1].reason == "close"
            assert heard.faults == [] and heard.gaps == [] and heard.lags == []
            seqs = [message.seq for message in heard.messages]
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
            with pytest.raises(FeedClosedError):
                feed.wait_for("trade", timeout=0.01)
            assert len(heard.messages) == count

        for first in range(0, sessions, 3):
            for call in [in_thread(lambda number=number: live(number)) for number in range(first, first + 3)]:
                call.result(20)
        assert len(exchange.handshakes) == sessions
    calls.assert_of_one_thread(sessions)
