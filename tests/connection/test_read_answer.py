"""A proxy's and a server's answer, in any segments: the status counts, and then what the page says (P07)."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence

import pytest

from kalshi_feed.connection.proxy import Proxy
from kalshi_feed.errors import AuthenticationError, ConnectionFailed, HandshakeRejected, ProxyError

from .conftest import Dialer, collect
from .raw_server import Peer, RawServer
from .support import hello
from .tunnel import OK, Tunnel

PASSWORD = "hunter2-password"
PAGE = b"<html><style>p { margin: 0 }</style><title>Denied</title>\r\n<p>Ask Bob.</p>\r\n</html>"
CHUNKS = b"".join(b"%x;odd\r\n%b\r\n" % (len(part), part) for part in (PAGE[:50], PAGE[50:])) + b"0\r\n\r\n"
WORDS = "Denied Ask Bob."


def sends(
    *segments: bytes, pause: float = 0.02, then: Callable[[Peer], object] = Peer.wait_closed
) -> Callable[[Peer], None]:
    def handler(peer: Peer) -> None:
        peer.read_request()
        for segment in segments:
            peer.send(segment)
            time.sleep(pause)
        then(peer)

    return handler


def hang_up(peer: Peer) -> None:
    peer.sock.close()


def refused(dialer: Dialer, handler: Callable[[Peer], None], *, scheme: str = "ws") -> ProxyError:
    with RawServer(handler) as server, pytest.raises(ProxyError) as caught:
        dialer(1, proxy=Proxy("127.0.0.1", server.port, "user", PASSWORD), scheme=scheme)
    return caught.value


def head(line: str, *fields: str) -> bytes:
    return "\r\n".join([line, *fields, "", ""]).encode()


LENGTH = f"Content-Length: {len(PAGE)}"


@pytest.mark.parametrize("status", [401, 403, 407, 500, 502, 503])
@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(lambda line: sends(head(line, LENGTH) + PAGE), id="one segment"),
        pytest.param(lambda line: sends(head(line, LENGTH), PAGE), id="head, body"),
        pytest.param(
            lambda line: sends(head(line, LENGTH)[:-2], b"\r\n" + PAGE[:30], PAGE[30:]),
            id="cut in the head and the body",
        ),
        pytest.param(lambda line: sends(head(line) + PAGE, then=hang_up), id="no length, then the end"),
        pytest.param(lambda line: sends(head(line, LENGTH) + PAGE, then=Peer.reset), id="then a reset"),
        pytest.param(
            lambda line: sends(head(line, "Transfer-Encoding: chunked") + CHUNKS, then=hang_up), id="chunked"
        ),
        pytest.param(
            lambda line: sends(head(line, "Transfer-Encoding: chunked"), CHUNKS[:60], CHUNKS[60:]),
            id="chunked, cut",
        ),
        pytest.param(
            lambda line: sends(head(line.replace("1.1", "1.0")) + PAGE, then=hang_up), id="HTTP/1.0"
        ),
        pytest.param(
            lambda line: sends(head("HTTP/1.1 103 Early Hints", "Link: x") + head(line, LENGTH) + PAGE),
            id="after a 103",
        ),
        pytest.param(
            lambda line: sends(head("HTTP/1.1 100 Continue"), head(line, LENGTH) + PAGE),
            id="after a 100, cut",
        ),
    ],
)
def test_P07_the_status_and_what_the_page_says(
    dialer: Dialer, status: int, handler: Callable[[str], Callable[[Peer], None]]
) -> None:
    error = refused(dialer, handler(f"HTTP/1.1 {status} Refused"))
    assert (error.status, error.reason) == (status, WORDS)
    assert f"answered CONNECT with {status} ({WORDS}): " in str(error)
    assert error.retryable is (status not in (401, 407))
    assert ("user name and password in the proxy's url" in str(error)) is (status in (401, 407))


def test_P07_without_a_page_the_status_lines_words(dialer: Dialer) -> None:
    error = refused(dialer, sends(head("HTTP/1.1 502 Bad Gateway", "Content-Length: 0") + b"not of the body"))
    assert (error.status, error.reason) == (502, "Bad Gateway")


def test_P07_without_credentials_they_are_asked_for(dialer: Dialer) -> None:
    with (
        RawServer(sends(head("HTTP/1.1 407 No", LENGTH) + PAGE)) as server,
        pytest.raises(ProxyError, match="put them into"),
    ):
        dialer(1, proxy=Proxy("127.0.0.1", server.port))


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize(
    "segments",
    [[head("HTTP/1.1 200 OK", LENGTH) + PAGE], [head("HTTP/1.1 200 OK", LENGTH), PAGE]],
    ids=["one segment", "two"],
)
def test_P07_a_page_in_place_of_the_tunnel_is_temporary(
    dialer: Dialer, scheme: str, segments: Sequence[bytes]
) -> None:
    """A captive portal's answer: never mistaken for the exchange, and not fatal, in any segments."""
    with RawServer(sends(*segments)) as server, pytest.raises(ConnectionFailed) as caught:
        dialer(1, proxy=Proxy("127.0.0.1", server.port), scheme=scheme)
    assert caught.value.retryable and f"the proxy http://127.0.0.1:{server.port}" in str(caught.value)
    if len(segments) == 1:
        assert isinstance(caught.value, ProxyError) and (caught.value.status, caught.value.reason) == (
            200,
            WORDS,
        )
    if scheme == "wss":
        assert type(caught.value) is ProxyError


@pytest.mark.parametrize(
    "early",
    [
        b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_P07_bytes_that_come_with_the_200_are_never_the_exchanges(
    dialer: Dialer, early: bytes, scheme: str
) -> None:
    """A TLS server does not speak first: a hello or an alert at this point comes from the proxy."""
    signed: list[int] = []

    def headers() -> dict[str, str]:
        signed.append(1)
        return {}

    with (
        RawServer(sends(OK + early)) as server,
        pytest.raises(ProxyError, match="a web page, not a tunnel") as caught,
    ):
        dialer(1, proxy=Proxy("127.0.0.1", server.port), scheme=scheme, headers=headers)
    assert caught.value.status == 200 and caught.value.retryable
    assert not signed


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3]
)
def test_P07_interim_answers_are_skipped(
    dialer: Dialer, server_context: ssl.SSLContext, interim: bytes
) -> None:
    """RFC 9110, 15.2: before the tunnel, and before the upgrade."""

    class Hesitant(Tunnel):
        def __call__(self, peer: Peer) -> None:
            peer.read_request()
            peer.send(interim)
            super().__call__(peer)

    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.send(interim)
        hello(peer)

    with RawServer(handler, server_context) as server, RawServer(Hesitant()) as proxy:
        assert collect(dialer(server, scheme="wss", proxy=Proxy("127.0.0.1", proxy.port)), 1) == [b"hello"]
    assert dialer.transports[0].server_time is None


def test_P07_interim_answers_have_an_end(dialer: Dialer) -> None:
    def for_ever(peer: Peer) -> None:
        peer.read_request()
        while True:
            peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1_000)

    assert "longer than 65536 bytes" in str(refused(dialer, for_ever))


def test_P07_101_is_not_a_tunnel(dialer: Dialer) -> None:
    assert refused(dialer, sends(head("HTTP/1.1 101 Switching Protocols"), then=hang_up)).status == 101


@pytest.mark.parametrize("ending", [Peer.wait_closed, Peer.reset])
def test_P07_P05_half_a_password_at_the_end_of_what_is_read(
    dialer: Dialer, ending: Callable[[Peer], object]
) -> None:
    """Redaction recognizes only whole secrets."""
    secret = PASSWORD.encode()
    start, end = b"<style>", b"</style>No entry for "
    begun = start + end + secret[:8]
    unfinished = refused(
        dialer, sends(head("HTTP/1.1 403 Forbidden", "Content-Length: 4000") + begun, then=ending)
    )
    # what is read ends inside the password
    filled = start + b"x" * (4_096 - len(begun)) + end + secret + b" " + b"y" * 5_000
    long = refused(
        dialer, sends(head("HTTP/1.1 403 Forbidden", "Content-Length: 90000") + filled, then=ending)
    )
    assert unfinished.reason == long.reason == "No entry for"


def test_chunks_that_begin_like_a_size_are_the_page(dialer: Dialer) -> None:
    page = b"7 days\r\nabout\r\nfee\r\n"

    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.send(
            head("HTTP/1.1 401 No", "Transfer-Encoding: chunked")
            + b"%x\r\n%b\r\n0\r\n\r\n" % (len(page), page)
        )
        peer.sock.close()

    with RawServer(handler) as server, pytest.raises(AuthenticationError) as caught:
        dialer(server)
    assert caught.value.reason == "7 days about fee"


def test_a_style_sheet_that_was_cut_off_is_not_shown(dialer: Dialer) -> None:
    handler = sends(
        head("HTTP/1.1 503 Busy", "Content-Length: 90000") + b"<title>Later</title><style> p { m: 0 }\n"
    )
    with RawServer(handler) as server, pytest.raises(HandshakeRejected) as caught:
        dialer(server)
    assert caught.value.reason == "Later"
