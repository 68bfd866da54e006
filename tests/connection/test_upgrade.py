"""Servers' answers to the upgrade, by the ids of the fault matrix; and no error carries a secret."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
import websocket

from kalshi_feed.connection.proxy import Proxy
from kalshi_feed.errors import (
    AuthenticationError,
    ConnectionFailed,
    CredentialsError,
    HandshakeRejected,
    KalshiFeedError,
)

from .conftest import KEY_ID, SIGNATURE, Dialer, collect
from .raw_server import TEXT, Peer, RawServer, frame

PASSWORD = "hunter2secret"


def answers(data: bytes) -> Callable[[Peer], None]:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.send(data)
        peer.wait_closed()

    return handler


def error_of(dialer: Dialer, data: bytes, **options: Any) -> KalshiFeedError:
    """The error that the dial raises; it and its frames are searched for secrets."""
    with RawServer(answers(data)) as server:
        try:
            dialer(server, **options)
        except KalshiFeedError as caught:
            error = caught
        else:
            raise AssertionError("the dial succeeded")
    assert_no_secret(error)
    return error


def assert_no_secret(error: BaseException) -> None:
    trace = error.__traceback__
    # the test's own frames hold the answer
    while trace is not None and "/tests/" in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    assert trace is not None, "the error was not raised by the package"
    text = "".join(traceback.TracebackException(type(error), error, trace, capture_locals=True).format())
    for secret in (SIGNATURE, KEY_ID, PASSWORD):
        assert secret not in text
        assert secret not in repr(error) and secret not in repr(vars(error))
    cause = error.__cause__
    while cause is not None:
        assert cause.__traceback__ is None and cause.__context__ is None
        cause = cause.__cause__


def status(line: str, body: str = "", *headers: str) -> bytes:
    return "\r\n".join(
        [f"HTTP/1.1 {line}", *headers, f"Content-Length: {len(body.encode())}", "", body]
    ).encode()


def test_H01_401_says_what_to_check(dialer: Dialer) -> None:
    body = '{"code":"authentication_error","details":"NOT_FOUND"}'
    error = error_of(
        dialer, status("401 Unauthorized", body, f"Date: {format_datetime(datetime.now(timezone.utc), True)}")
    )
    assert isinstance(error, AuthenticationError) and not error.retryable
    assert (error.status, error.reason) == (401, body)
    assert error.server_time is not None
    for words in ("key id is not known to this environment", "KALSHI_ENV=demo", "clock agrees"):
        assert words in str(error)


@pytest.mark.parametrize(
    ("offset", "words"), [(90, "90 s behind"), (-3600, "3600 s ahead of"), (89, "set the clock")]
)
def test_H02_401_with_a_date_states_the_skew(dialer: Dialer, offset: int, words: str) -> None:
    date = datetime.now(timezone.utc) + timedelta(seconds=offset, milliseconds=500)
    error = error_of(dialer, status("401 Unauthorized", "", f"Date: {format_datetime(date, True)}"))
    assert isinstance(error, AuthenticationError)
    assert words.split()[-1] in str(error)
    assert error.server_time == date.replace(microsecond=0)


def test_H11_401_without_a_date(dialer: Dialer) -> None:
    error = error_of(dialer, status("401 Unauthorized", "", "Date: soon"))
    assert (
        isinstance(error, AuthenticationError)
        and error.server_time is None
        and "clock is wrong" in str(error)
    )


@pytest.mark.parametrize(
    ("line", "kind", "retryable", "words"),
    [
        ("403 Forbidden", AuthenticationError, False, "Origin header"),
        ("404 Not Found", HandshakeRejected, False, "/trade-api/ws/v2"),
        ("400 Bad Request", HandshakeRejected, False, "Upgrade header"),
        ("408 Request Timeout", HandshakeRejected, True, "408"),
        ("418 Teapot", HandshakeRejected, False, "418 (Teapot)"),
        ("500 Internal Server Error", HandshakeRejected, True, "500"),
        ("503 Service Unavailable", HandshakeRejected, True, "503"),
        ("520", HandshakeRejected, True, "520"),
    ],
)
def test_H03_H05_statuses(dialer: Dialer, line: str, kind: type, retryable: bool, words: str) -> None:
    error = error_of(dialer, status(line))
    assert type(error) is kind and isinstance(error, HandshakeRejected)
    assert error.status == int(line[:3]) and error.retryable is retryable and words in str(error)


def test_H04_429_with_retry_after(dialer: Dialer) -> None:
    error = error_of(dialer, status("429 Too Many Requests", "slow down", "Retry-After: 3"))
    assert isinstance(error, HandshakeRejected)
    assert (error.retry_after, error.reason, error.retryable) == (3.0, "slow down", True)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_H06_redirects_are_refused_and_name_the_target(dialer: Dialer, code: int) -> None:
    with RawServer(answers(b"")) as other:
        location = f"Location: ws://user:{PASSWORD}@localhost:{other.port}/elsewhere?signature={SIGNATURE}"
        error = error_of(dialer, status(f"{code} Moved", "", location))
        assert other.connections == 0
    assert isinstance(error, HandshakeRejected) and error.status == code and error.retryable
    assert "ws://localhost/elsewhere" in str(error)


def test_H06_redirect_to_nowhere(dialer: Dialer) -> None:
    assert "an unnamed place" in str(error_of(dialer, status("302 Found")))
    assert "an unnamed place" in str(error_of(dialer, status("302 Found", "", "Location: http://[")))


def test_H07_captive_portal(dialer: Dialer) -> None:
    error = error_of(dialer, status("200 OK", "<html><title>Welcome</title><b>to the hotel</b></html>"))
    assert isinstance(error, HandshakeRejected) and error.retryable
    assert error.reason == "Welcome to the hotel" and "not a WebSocket endpoint" in str(error)


@pytest.mark.parametrize(
    "head",
    [
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n",
        "Sec-WebSocket-Accept: AAAA\r\n",
        "Upgrade: websocket\r\nno colon here\r\n",
        "X: \xff\xfe\r\n",
        f"echo {SIGNATURE}\r\n",
    ],
)
def test_H08_H09_bad_101(dialer: Dialer, head: str) -> None:
    error = error_of(dialer, f"HTTP/1.1 101 Switching Protocols\r\n{head}\r\n".encode("latin-1"))
    assert type(error) is ConnectionFailed and error.retryable and "WebSocket handshake" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00\x01\x02\x03",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99 OK\r\n\r\n",
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", marks=pytest.mark.slow),  # waits for the real answer
        b"\r\n\r\n",
    ],
)
def test_H09_garbage(dialer: Dialer, data: bytes) -> None:
    assert type(error_of(dialer, data)) is ConnectionFailed


def test_H09_no_answer_at_all(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()

    with RawServer(handler) as server, pytest.raises(ConnectionFailed, match="closed without"):
        dialer(server)


def test_N13_endless_headers(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\n")
        while True:
            peer.send(b"X-Endless: " + b"y" * 1_000 + b"\r\n")

    with RawServer(handler) as server, pytest.raises(ConnectionFailed, match="longer than 65536"):
        dialer(server)


@pytest.mark.parametrize("length", ["1073741824", "-5", "many", "10", "99999999999999999999"])
def test_H10_odd_error_bodies(dialer: Dialer, length: str) -> None:
    began = time.monotonic()
    data = (
        f"HTTP/1.1 401 Unauthorized\r\nContent-Length: {length}\r\n\r\nfull of words ".encode()
        + b"word " * 100_000
    )
    error = error_of(dialer, data)
    assert (
        isinstance(error, AuthenticationError)
        and error.reason.startswith("full of wo")
        and len(error.reason) <= 200
    )
    assert time.monotonic() - began < 2


def test_H10_a_body_that_never_comes_costs_half_a_second(dialer: Dialer) -> None:
    began = time.monotonic()
    error = error_of(dialer, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\npart of i")
    assert isinstance(error, AuthenticationError) and error.reason == "part of"
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    "header", ["Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: json"]
)
def test_N25_what_was_not_asked_for_is_refused(dialer: Dialer, header: str) -> None:
    with (
        RawServer(lambda peer: peer.handshake(header.encode() + b"\r\n")) as server,
        pytest.raises(ConnectionFailed, match="we did not ask for"),
    ):
        dialer(server)


def test_K10_cookies_are_not_kept(dialer: Dialer) -> None:
    requests: list[bytes] = []

    def handler(peer: Peer) -> None:
        peer.handshake(
            b"Set-Cookie: session=1; Domain=localhost\r\nset-cookie:\r\n a=b; Domain=localhost\r\n"
        )
        requests.append(peer.request)
        peer.send(frame(TEXT, b"hello"))

    with RawServer(handler) as server:
        for _ in range(2):
            transport = dialer(server, host="localhost")
            assert collect(transport, 1) == [b"hello"]
            transport.abort()
    assert b"cookie" not in requests[1].lower()


def test_K11_echoed_headers_are_redacted(dialer: Dialer) -> None:
    body = f"bad request: KALSHI-ACCESS-KEY: {KEY_ID}\r\nsignature {SIGNATURE} of {KEY_ID}"
    error = error_of(dialer, status("401 Unauthorized", body, f"X-Echo: {SIGNATURE}"))
    assert isinstance(error, AuthenticationError) and "[redacted]" in error.reason


def test_K02_no_frame_holds_a_secret_through_a_proxy_either(dialer: Dialer) -> None:
    proxy_error = error_of(dialer, status("502 Bad Gateway"), proxy=None)
    assert_no_secret(proxy_error)
    with RawServer(answers(status("502 Bad Gateway"))) as server:
        with pytest.raises(KalshiFeedError) as caught:
            dialer(1, proxy=Proxy("127.0.0.1", server.port, "user", PASSWORD))
        assert_no_secret(caught.value)


def test_signing_that_fails(dialer: Dialer) -> None:
    def refuses() -> dict[str, str]:
        pem = PASSWORD
        raise CredentialsError("no key") if pem else ValueError

    def breaks() -> dict[str, str]:
        pem = PASSWORD
        raise ValueError(pem)

    for headers, words in (
        (refuses, "no key"),
        (breaks, "ValueError"),
        (lambda: {"KALSHI-ACCESS-KEY": "a\r\nX: y"}, "control"),
        (lambda: {"KALSHI-ACCESS KEY": "a"}, "control"),
    ):
        with RawServer(answers(b"")) as server, pytest.raises(CredentialsError, match=words) as caught:
            dialer(server, headers=headers)
        assert_no_secret(caught.value)


def test_K01_K03_nothing_is_logged_even_when_websocket_client_traces(
    dialer: Dialer, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"hello"))

    websocket.enableTrace(True, handler=logging.NullHandler())
    try:
        with caplog.at_level(1), RawServer(handler) as server:
            assert collect(dialer(server), 1) == [b"hello"]
    finally:
        websocket.enableTrace(False)
    assert "KALSHI-ACCESS-SIGNATURE" in caplog.text  # tracing was really on
    assert SIGNATURE not in caplog.text and KEY_ID not in caplog.text
