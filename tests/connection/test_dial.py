"""The dial: addresses, deadline, cancelling, TLS and proxies, by the fault ids of the fault matrix."""

from __future__ import annotations

import errno
import resource
import socket
import ssl
import threading
import time
from datetime import datetime, timezone
from typing import Any

import pytest
import trustme

from kalshi_feed.connection.dial import STEPS, DialCancelled
from kalshi_feed.connection.proxy import Proxy
from kalshi_feed.connection.url import parse_url
from kalshi_feed.connection.wakeup import wait_ready
from kalshi_feed.errors import ConnectionFailed, ProxyError, TLSError

from .conftest import SIGNATURE, Dialer, collect, run_to_end
from .raw_server import TEXT, Peer, RawServer, frame
from .support import black_hole, free_port, hello, resolves_to
from .tunnel import OK, Tunnel


def silent(peer: Peer) -> None:
    peer.wait_closed()


def test_K09_sends_the_exact_target_the_headers_and_no_origin(dialer: Dialer) -> None:
    seen: list[bytes] = []

    def handler(peer: Peer) -> None:
        peer.handshake()
        seen.append(peer.request)
        peer.send(frame(TEXT, b"hello"))

    with RawServer(handler) as server:
        endpoint = parse_url(f"ws://127.0.0.1:{server.port}/trade-api/ws/v2?a=b%20c")
        assert collect(dialer(server, endpoint=endpoint), 1) == [b"hello"]
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /trade-api/ws/v2?a=b%20c HTTP/1.1"
    names = [line.partition(":")[0].lower() for line in lines[1:]]
    assert f"KALSHI-ACCESS-SIGNATURE: {SIGNATURE}" in lines
    assert f"Host: 127.0.0.1:{server.port}" in lines
    assert not {"origin", "cookie", "sec-websocket-extensions"} & set(names)


def test_H13_signs_again_for_each_dial_and_only_when_tls_is_up(
    dialer: Dialer, server_context: ssl.SSLContext
) -> None:
    stamps: list[str] = []
    signed: list[int] = []

    def handler(peer: Peer) -> None:
        stamps.append(peer.read_request()["kalshi-access-timestamp"])
        peer.handshake()

    def headers() -> dict[str, str]:
        signed.append(len(signed))
        return {"KALSHI-ACCESS-TIMESTAMP": str(len(signed))}

    with pytest.raises(ConnectionFailed):
        dialer(free_port(), headers=headers)
    assert not signed
    with RawServer(handler, server_context) as server:
        for _ in range(2):
            dialer(server, scheme="wss", headers=headers).abort()
    assert stamps == ["1", "2"]


def test_server_time_and_skew(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake(b"Date: Mon, 26 Oct 2026 12:00:00 GMT\r\n")

    with RawServer(handler) as server:
        transport = dialer(server)
    assert transport.server_time == datetime(2026, 10, 26, 12, tzinfo=timezone.utc)
    expected = (datetime.now(timezone.utc) - transport.server_time).total_seconds()
    assert transport.clock_skew == pytest.approx(expected, abs=5)


def test_N01_refused(dialer: Dialer) -> None:
    with pytest.raises(ConnectionFailed, match="refused") as caught:
        dialer(free_port())
    assert caught.value.retryable
    assert (
        isinstance(caught.value.__cause__, ConnectionRefusedError)
        and caught.value.__cause__.__traceback__ is None
    )


def test_N02_black_hole_ends_at_the_deadline(dialer: Dialer) -> None:
    with black_hole() as port:
        began = time.monotonic()
        with pytest.raises(ConnectionFailed, match="time allowed"):
            dialer(port, timeout=0.4)
        assert 0.35 < time.monotonic() - began < 1


def test_N03_dead_addresses_share_the_deadline(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(hello) as server, black_hole() as port:
        resolves_to(monkeypatch, ("127.0.0.1", port), ("127.0.0.1", free_port()), ("127.0.0.1", server.port))
        began = time.monotonic()
        transport = dialer(server, host="localhost", timeout=1.5)
        assert time.monotonic() - began < 1
        transport.abort()


def test_N04_dns_failure_names_the_host(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConnectionFailed, match=r"nowhere\.invalid.*cannot be resolved") as caught:
        dialer(443, endpoint=parse_url("wss://nowhere.invalid/"))
    assert caught.value.retryable


@pytest.mark.parametrize("by_deadline", [True, False])
def test_N05_a_hanging_lookup_is_abandoned(
    dialer: Dialer, monkeypatch: pytest.MonkeyPatch, by_deadline: bool
) -> None:
    release = threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        release.wait(10)
        return []

    def cancel() -> None:
        dialer.cancelled = True
        dialer.wakeup.wake()

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    began = time.monotonic()
    try:
        if by_deadline:
            with pytest.raises(ConnectionFailed, match="looking up localhost"):
                dialer(1, host="localhost", timeout=0.2)
        else:
            threading.Timer(0.1, cancel).start()
            with pytest.raises(DialCancelled):
                dialer(1, host="localhost", timeout=10)
        assert time.monotonic() - began < 1
        resolver = next(thread for thread in threading.enumerate() if thread.name == "kalshi-feed-resolver")
        assert resolver.daemon
    finally:
        release.set()
    resolver.join(5)


@pytest.mark.parametrize("stage", ["tcp", "tls", "proxy", "upgrade"])
def test_N05_cancelled_at_once_at_every_stage(dialer: Dialer, stage: str) -> None:
    def cancel() -> None:
        dialer.cancelled = True
        dialer.wakeup.wake()

    with RawServer(silent) as server, black_hole() as hole:
        port = hole if stage == "tcp" else server.port
        proxy = Proxy("127.0.0.1", server.port) if stage == "proxy" else None
        timer = threading.Timer(0.1, cancel)
        timer.start()
        began = time.monotonic()
        with pytest.raises(DialCancelled) as caught:
            dialer(port, scheme="wss" if stage == "tls" else "ws", proxy=proxy, timeout=10)
        assert time.monotonic() - began < 1
        assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_wakes_during_a_dial_are_not_lost(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        time.sleep(0.05)
        peer.handshake()

    with RawServer(handler) as server:
        threading.Timer(0.02, dialer.wakeup.wake).start()
        dialer(server)
        assert wait_ready(None, dialer.wakeup, timeout=0)[2]


def test_N12_slow_loris_handshake(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        for byte in b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" * 100:
            peer.send(bytes([byte]))
            time.sleep(0.01)

    with RawServer(handler) as server:
        began = time.monotonic()
        with pytest.raises(ConnectionFailed, match="time allowed"):
            dialer(server, timeout=0.4)
        assert time.monotonic() - began < 1


def test_T04_client_hello_is_never_answered(dialer: Dialer) -> None:
    with RawServer(silent) as server:
        began = time.monotonic()
        with pytest.raises(ConnectionFailed, match="the TLS handshake failed: no answer"):
            dialer(server, scheme="wss", timeout=0.3)
        assert time.monotonic() - began < 1


def test_N42_no_descriptor_left(dialer: Dialer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [socket.socket() for _ in range(3)]
    lowest = held[0].fileno()
    for sock in held:
        sock.close()
    port = free_port()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(ConnectionFailed, match="too many open files") as caught:
            dialer(port)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.EMFILE


# TLS


def context_of(ca: trustme.CA, *names: str, not_after: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names, not_after=not_after).configure_cert(context)
    return context


def refused(dialer: Dialer, context: ssl.SSLContext, words: str) -> str:
    with RawServer(hello, context) as server, pytest.raises(TLSError, match=words) as caught:
        dialer(server, scheme="wss")
    text = str(caught.value)
    assert not caught.value.retryable
    assert "CERT_NONE" not in text and "check_hostname" not in text and "verify_mode" not in text
    assert caught.value.__cause__ is not None and caught.value.__cause__.__traceback__ is None
    return text


def test_T01_expired(dialer: Dialer, ca: trustme.CA) -> None:
    expired = datetime(2020, 1, 1, tzinfo=timezone.utc)
    assert "clock" in refused(
        dialer, context_of(ca, "localhost", not_after=expired), "certificate has expired"
    )


def test_T02_wrong_host(dialer: Dialer, ca: trustme.CA) -> None:
    assert "for the host localhost" in refused(dialer, context_of(ca, "other.example"), "Hostname mismatch")


def test_T03_unknown_ca(dialer: Dialer) -> None:
    assert "create_default_context(cafile=" in refused(
        dialer, context_of(trustme.CA(), "localhost"), "issuer is not known"
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_T06_only_old_tls(dialer: Dialer, ca: trustme.CA) -> None:
    context = context_of(ca, "localhost")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1
    refused(dialer, context, "does not offer TLS 1.2 or newer")


def test_not_tls_at_all(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.wait_closed()

    with RawServer(handler) as server, pytest.raises(TLSError, match="does not speak TLS"):
        dialer(server, scheme="wss")


def test_server_that_hangs_up_on_tls_may_be_tried_again(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.sock.recv(100_000)

    with RawServer(handler) as server, pytest.raises(ConnectionFailed) as caught:
        dialer(server, scheme="wss")
    assert type(caught.value) is ConnectionFailed and caught.value.retryable


# Proxies


def test_through_a_proxy_which_sees_no_header(dialer: Dialer, server_context: ssl.SSLContext) -> None:
    with RawServer(hello, server_context) as server:
        tunnel = Tunnel()
        with RawServer(tunnel) as proxy_server:
            proxy = Proxy("127.0.0.1", proxy_server.port, "user", "hunter2secret")
            transport = dialer(server, scheme="wss", proxy=proxy)
            assert collect(transport, 1) == [b"hello"]
            transport.close(time.monotonic() + 0.3)
    assert tunnel.requests[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % server.port)
    assert b"Proxy-Authorization: Basic " in tunnel.requests[0] and b"KALSHI" not in tunnel.requests[0]
    assert SIGNATURE.encode() not in tunnel.seen


def test_P04_a_dropped_tunnel_names_the_proxy(dialer: Dialer) -> None:
    def gone(peer: Peer) -> None:
        peer.handshake()

    with RawServer(gone) as server, RawServer(Tunnel()) as proxy_server:
        _, lost = run_to_end(dialer(server, proxy=Proxy("127.0.0.1", proxy_server.port)))
        dialer.transports[0].abort()
    assert f"through the proxy http://127.0.0.1:{proxy_server.port}" in lost.reason


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 407, "user name and password"),
        (b"HTTP/1.1 403 Forbidden hunter2secret\r\n\r\n", 403, r"Forbidden \[redacted\]"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", 502, "502"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", None, "not HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", None, "not HTTP"),
        (OK + b"unasked", 200, "a web page, not a tunnel"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, None, "longer than 65536"),
    ],
)
def test_P01_P03_what_a_proxy_may_say(dialer: Dialer, answer: bytes, status: int | None, words: str) -> None:
    tunnel = Tunnel(answer)
    with RawServer(tunnel) as server, pytest.raises(ProxyError, match=words) as caught:
        dialer(1, proxy=Proxy("127.0.0.1", server.port, "user", "hunter2secret"))
    assert caught.value.status == status
    assert caught.value.retryable is (status != 407)
    assert "hunter2secret" not in str(caught.value)
    assert tunnel.seen == b""


def test_P02_a_proxy_that_never_answers(dialer: Dialer) -> None:
    with RawServer(silent) as server:
        began = time.monotonic()
        with pytest.raises(ProxyError, match="CONNECT failed: no answer"):
            dialer(1, proxy=Proxy("127.0.0.1", server.port), timeout=0.3)
        assert time.monotonic() - began < 1


def test_a_proxy_that_is_not_there(dialer: Dialer) -> None:
    with pytest.raises(ProxyError, match=r"refused.*check the proxy"):
        dialer(1, proxy=Proxy("127.0.0.1", free_port()))


# Progress


def test_each_step_is_reported_when_it_is_done(dialer: Dialer, server_context: ssl.SSLContext) -> None:
    told: list[tuple[str, str]] = []
    with RawServer(Peer.handshake, server_context) as server, RawServer(Tunnel()) as proxy_server:
        proxy = Proxy("127.0.0.1", proxy_server.port, "me", "hunter2")
        dialer(server, scheme="wss", proxy=proxy, progress=lambda *step: told.append(step)).abort()
    assert tuple(name for name, _ in told) == STEPS
    found = dict(told)
    assert found["dns"] == "127.0.0.1 is already an IP address"
    assert found["tcp"] == f"connected to 127.0.0.1 port {proxy_server.port}"
    assert found["proxy"] == f"{proxy} leads to localhost:{server.port}"
    assert (
        found["tls"].startswith("TLSv1.3, certificate issued by trustme") and ", valid until " in found["tls"]
    )
    assert "hunter2" not in str(told)


def test_the_step_that_fails_is_the_one_not_reported(dialer: Dialer, server_context: ssl.SSLContext) -> None:
    told: list[str] = []
    with (
        RawServer(lambda peer: peer.send(b"no\r\n"), server_context) as server,
        pytest.raises(ConnectionFailed),
    ):
        dialer(server, scheme="wss", progress=lambda step, found: told.append(step))
    assert told == ["dns", "tcp", "tls"]
