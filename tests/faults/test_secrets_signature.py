"""K08 to K11 through the whole feed: the signature goes to the exchange and nowhere else, and cookies go
nowhere."""

# mypy: no-strict-equality

from __future__ import annotations

import base64
import socket
from typing import Any

import pytest
import websocket
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kalshi_feed import ConfigurationError, ConnectionFailed, HandshakeRejected, ReconnectPolicy
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import Peer, RawServer
from tests.faults.secrets import Secrets
from tests.faults.support import BASIC, PASSWORD, URL_PASSWORD, USER, Script, fatal, of, says
from tests.feed.support import FeedMaker, Recorder
from tests.support import wait_until

NEVER = ReconnectPolicy.never()


@pytest.fixture(autouse=True)
def more_secrets(secrets: Secrets) -> None:
    secrets.add(USER, PASSWORD, BASIC, URL_PASSWORD)


@pytest.mark.parametrize(
    "url", ["ws://exchange.example/", "ws://10.0.0.1/", "ws://localhost.example/", "ws://127.0.0.1.example/"]
)
def test_K08_plain_urls_are_refused_before_any_lookup(
    url: str, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConfigurationError, match="ws:// is for loopback only"):
        make_feed(url=url)


def test_K08_localhost_that_leads_elsewhere(make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    feed = make_feed(url="ws://localhost/", ssl_context=None, reconnect=NEVER)
    with pytest.raises(ConnectionFailed, match="localhost does not resolve to a loopback address"):
        feed.start().wait_until_connected(5)


@pytest.mark.parametrize(
    ("target", "signed"),
    [
        (f"/trade-api/ws/v2?a=b%20c&token={URL_PASSWORD}", "/trade-api/ws/v2"),
        ("/a%2Fb/%C3%A9", "/a%2Fb/%C3%A9"),
        ("", "/"),
        (f"?{URL_PASSWORD}", "/"),
        ("//twice//", "//twice//"),
    ],
)
def test_K09_what_is_signed_is_the_path_that_is_sent(
    target: str, signed: str, exchange: Exchange, make_feed: FeedMaker
) -> None:
    lines: list[str] = []

    def answer(peer: Peer) -> None:
        lines.append(peer.request.decode().partition("\r\n")[0])
        peer.send(says("404 Not Found"))

    script = Script(answer)
    with RawServer(script) as server:
        feed = make_feed(url=f"ws://127.0.0.1:{server.port}{target}", ssl_context=None)
        fatal(feed, Recorder(feed))
    assert lines == [f"GET {target if target.startswith('/') else '/' + target} HTTP/1.1"]
    [request] = script.requests
    key = load_pem_private_key(exchange.private_key_pem, None)
    assert isinstance(key, Ed25519PrivateKey)
    signature = base64.b64decode(request["kalshi-access-signature"])
    key.public_key().verify(signature, f"{request['kalshi-access-timestamp']}GET{signed}".encode())


def test_K10_cookies_go_nowhere(make_feed: FeedMaker) -> None:
    cookie = "Set-Cookie: session=hunter2-cookie; Domain=127.0.0.1; Path=/"

    def accepts(peer: Peer) -> None:
        peer.handshake(cookie.encode() + b"\r\n")
        peer.sock.close()

    jar = websocket._handshake.CookieJar
    jar.add("other=hunter2-cookie; Domain=127.0.0.1")  # from another user of websocket-client in this process
    script = Script(says("503 No", cookie), accepts, accepts, accepts)
    with RawServer(script) as server:
        for _ in range(2):
            feed, _ = of(make_feed, server)
            count = len(script.requests)
            feed.start()
            wait_until(lambda: len(script.requests) >= count + 2)  # noqa: B023
            feed.close(0.1)
    assert len(script.requests) >= 4
    assert not any("cookie" in request for request in script.requests)
    assert "session" not in jar.get("127.0.0.1") and "other" in jar.get("127.0.0.1")
    jar.jar.clear()


def test_K11_the_refusal_is_still_readable(make_feed: FeedMaker) -> None:
    body = b'{"code":"authentication_error","details":"INCORRECT_API_KEY_SIGNATURE"}'
    with RawServer(Script(says("401 Unauthorized", body=body))) as server:
        error: HandshakeRejected = fatal(*of(make_feed, server))
    assert error.reason == body.decode()
