"""H01 to H13 through the whole feed. The parts' own tests are in tests/connection."""

# mypy: no-strict-equality

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kalshi_feed import (
    AuthenticationError,
    ConnectionFailed,
    FeedState,
    HandshakeRejected,
    ReconnectPolicy,
)
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import Peer, RawServer, frame
from tests.faults.support import Answer, Script, fatal, first_retry, of, says
from tests.feed.support import A, FeedMaker, Recorder
from tests.support import wait_until

pytestmark = pytest.mark.slow

DAY = 86_400.0


def dated(ahead: float) -> str:
    return f"Date: {format_datetime(datetime.now(timezone.utc) + timedelta(seconds=ahead), usegmt=True)}"


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("401 Unauthorized", AuthenticationError, "the private key does not belong to that key id"),
        ("403 Forbidden", AuthenticationError, "Origin header"),
        ("404 Not Found", HandshakeRejected, "no WebSocket at the path"),
    ],
)
def test_H01_H03_refusals_are_fatal_and_give_the_servers_reason(
    line: str, kind: type[HandshakeRejected], words: str, make_feed: FeedMaker
) -> None:
    script = Script(says(line, body=b"because of \x1b[2Jthis\r\n" + b"word " * 10_000))
    with RawServer(script) as server:
        error = fatal(*of(make_feed, server))
    assert type(error) is kind and words in str(error)
    assert error.status == int(line[:3])
    assert error.reason.startswith("because of") and "this word word" in error.reason
    assert len(error.reason) <= 200 and error.reason.isprintable()
    assert len(script.requests) == 1


def test_H02_the_clock_is_corrected_once_then_the_refusal_names_the_skew(make_feed: FeedMaker) -> None:
    refusal = says("401 Unauthorized", dated(90))
    script = Script(*[refusal] * 5)
    with RawServer(script) as server:
        feed, heard = of(make_feed, server)
        error = fatal(feed, heard)
    assert "s behind the server's" in str(error)
    assert heard.steps() == [FeedState.CONNECTING, FeedState.FAILED]
    ours, corrected = script.stamps()
    assert abs(ours - time.time()) < 10
    assert 85 < corrected - ours < 95


@pytest.mark.parametrize("ahead", [2 * DAY, -2 * DAY, 20_000 * DAY])
def test_H02_absurd_dates_are_not_followed(ahead: float, make_feed: FeedMaker) -> None:
    script = Script(says("401 Unauthorized", dated(ahead)))
    with RawServer(script) as server:
        fatal(*of(make_feed, server))
    assert len(script.requests) == 1


def test_H02_nor_followed_step_by_step(make_feed: FeedMaker) -> None:
    def accepts_and_goes(peer: Peer) -> None:
        peer.handshake()
        peer.sock.close()

    script = Script(
        says("401 Unauthorized", dated(0.8 * DAY)),
        accepts_and_goes,
        says("401 Unauthorized", dated(1.6 * DAY)),
    )
    with RawServer(script) as server:
        feed, heard = of(make_feed, server)
        feed.start()
        wait_until(lambda: FeedState.FAILED in heard.steps())
    assert len(script.requests) == 3


def test_H02_a_date_without_a_401_moves_no_clock(make_feed: FeedMaker) -> None:
    def accepts_and_goes(peer: Peer) -> None:
        peer.handshake(dated(90).encode() + b"\r\n")
        peer.sock.close()

    script = Script(
        says("503 Service Unavailable", dated(90)),
        says("408 Request Timeout", dated(90)),
        accepts_and_goes,
        accepts_and_goes,
    )
    with RawServer(script) as server:
        feed, _ = of(make_feed, server)
        feed.start()
        wait_until(lambda: len(script.requests) == 4)
        wait_until(lambda: feed.stats().clock_skew is not None)
        feed.close()
    assert all(abs(stamp - time.time()) < 10 for stamp in script.stamps())


@pytest.mark.parametrize(
    "date",
    [
        "",
        "Date: soon",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "Date: Mon, 99 Oct 99999 99:99:99 GMT",
        "Date: \xff\xfe",
    ],
)
def test_H11_401_without_a_date_to_believe(date: str, make_feed: FeedMaker) -> None:
    script = Script(says("401 Unauthorized", *([date] if date else [])))
    with RawServer(script) as server:
        error = fatal(*of(make_feed, server))
    assert error.server_time is None and "clock is wrong" in str(error)
    assert len(script.requests) == 1


@pytest.mark.parametrize("line", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        (["Retry-After: 3"], 3.0, 3.3),
        (["Retry-After: 1000000000"], 60.0, 66.0),
        (["Retry-After: " + "9" * 5_000], 60.0, 66.0),
        (["Date: Mon, 26 Oct 2026 12:00:00 GMT", "Retry-After: Mon, 26 Oct 2026 12:00:07 GMT"], 7.0, 7.7),
        (["Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"], 60.0, 66.0),
        (["Retry-After: abc"], 0.0, 0.1),
        (["Retry-After: -5"], 0.0, 0.1),
        (["Retry-After: Mon, 99 Oct 2026 12:00:00 GMT"], 0.0, 0.1),
        ([], 0.0, 0.1),
    ],
)
def test_H04_retry_after(
    line: str, headers: list[str], least: float, most: float, make_feed: FeedMaker
) -> None:
    with RawServer(Script(says(line, *headers))) as server:
        change = first_retry(*of(make_feed, server))
    assert change.delay is not None and least <= change.delay <= most
    assert change.reason.startswith(f"127.0.0.1 answered the handshake with {line[:3]}")


def test_H04_jitter_comes_on_top(make_feed: FeedMaker) -> None:
    with RawServer(Script(*[says("429 Too Many Requests", "Retry-After: 30")] * 4)) as server:
        delays = {first_retry(*of(make_feed, server)).delay for _ in range(4)}
    assert len(delays) == 4


@pytest.mark.parametrize(
    "line", ["200 OK", "201 Created", "204 No Content", "226 IM Used", "100 Continue", "102 Processing"]
)
def test_H06_no_status_but_101_is_a_connection(line: str, make_feed: FeedMaker) -> None:
    def answer(peer: Peer) -> None:
        accept = peer.accept_key()
        peer.send(f"HTTP/1.1 {line}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".encode())
        peer.send(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + frame(1, b"{}"))

    with RawServer(Script(answer)) as server:
        feed, heard = of(make_feed, server, reconnect=ReconnectPolicy.never())
        with pytest.raises(ConnectionFailed):
            feed.start().wait_until_connected(10)
    assert FeedState.CONNECTED not in heard.steps()


def test_H07_captive_portal_is_tried_slowly(make_feed: FeedMaker) -> None:
    page = (
        b"<html><script>var a = '"
        + b"x" * 3_000
        + b"'</script><title>Welcome</title>"
        + b"<p>Pay here. " * 100_000
    )
    with RawServer(Script(says("200 OK", "Content-Type: text/html", body=page))) as server:
        change = first_retry(*of(make_feed, server))
    assert change.delay is not None and change.delay >= 2.5
    assert (
        "not a WebSocket endpoint" in change.reason
        and "Welcome" in change.reason
        and len(change.reason) < 500
    )


# -- answers that are not an upgrade -------------------------------------------------------------------------


def upgrade(
    *, accept: Callable[[bytes], bytes] = bytes, upgrade: str = "websocket", connection: str = "Upgrade"
) -> Answer:
    """Return a 101 that is right except for what is given."""

    def answer(peer: Peer) -> None:
        key = accept(peer.accept_key())
        fields = {"Upgrade": upgrade.encode(), "Connection": connection.encode(), "Sec-WebSocket-Accept": key}
        lines = [name.encode() + b": " + value for name, value in fields.items() if value]
        peer.send(b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *lines, b"", b""]))

    return answer


NONSENSE: list[Answer] = [
    upgrade(accept=lambda key: b""),
    upgrade(accept=lambda key: key[::-1]),
    upgrade(accept=lambda key: key + b"A"),
    upgrade(upgrade="h2c"),
    upgrade(upgrade=""),
    upgrade(connection=""),
    upgrade(connection="keep-alive"),
    b"",
    b"\r\n\r\n",
    b"\x00\x01\x02\x03",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 \r\n\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 -101 OK\r\n\r\n",
    b"HTTP/1.1 1\xd9\xa01 OK\r\n\r\n",
    b"HTTP/2 101 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nno colon here\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n: no name\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nX: \xff\xfe\x00\r\n\r\n",
    b"HTTP/1.1 101 \xff\xfe\r\nUpgrade: \xff\r\n\r\n",
    b"HTTP/1.1 503 \xff\xfe\r\nRetry-After: \xff\r\nContent-Length: \xff\r\n\r\n\xff\xfe",
    b"HTTP/1.1 500 No\r\nContent-Length: -5\r\n\r\nbody",
    b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\xff\r\n",
]


def hangs_up(answer: Answer) -> Callable[[Peer], None]:
    """Send the answer and then close, so that what is incomplete stays incomplete."""

    def handler(peer: Peer) -> None:
        if isinstance(answer, bytes):
            peer.send(answer)
        else:
            answer(peer)
        peer.sock.close()

    return handler


def test_H08_H09_whatever_is_answered_the_feed_dials_on(make_feed: FeedMaker) -> None:
    script = Script(*map(hangs_up, NONSENSE))
    with RawServer(script) as server:
        feed, heard = of(make_feed, server, reconnect=ReconnectPolicy(initial_delay=0, max_delay=0))
        feed.start()
        wait_until(lambda: FeedState.CONNECTED in heard.steps(), 20)
        feed.close(0.1)  # the last one does not answer
    assert len(script.requests) == len(NONSENSE) + 1
    assert heard.steps() == [
        FeedState.CONNECTING,
        *[FeedState.RECONNECTING] * len(NONSENSE),
        FeedState.CONNECTED,
        FeedState.CLOSED,
    ]
    assert heard.faults == []
    for change in heard.states:
        assert len(change.reason) < 500 and change.reason.isprintable()
        for foreign in (
            "IndexError",
            "ValueError",
            "KeyError",
            "UnicodeDecodeError",
            "AttributeError",
            "TypeError",
        ):
            assert foreign not in change.reason


@pytest.mark.parametrize("length", ["1073741824", "-5", "many", "9" * 5_000, ""])
def test_H10_endless_error_body(length: str, make_feed: FeedMaker) -> None:
    sent = 0

    def answer(peer: Peer) -> None:
        nonlocal sent
        peer.send(f"HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\n\r\n".encode())
        while True:
            peer.send(b"word " * 2_000)
            sent += 10_000

    with RawServer(Script(answer)) as server:
        began = time.monotonic()
        error = fatal(*of(make_feed, server))
        assert time.monotonic() - began < 3
    assert len(error.reason) <= 200 and sent < 50_000_000  # how much the sockets' buffers take


# -- again and again -----------------------------------------------------------------------------------------


def closes(code: int | None) -> Callable[[Peer], None]:
    def answer(peer: Peer) -> None:
        peer.handshake(behind=b"" if code is None else frame(8, code.to_bytes(2, "big")))
        peer.sock.close()

    return answer


@pytest.mark.parametrize("code", [None, 1000, 1011, 4000])
def test_H12_accepted_and_closed_at_once_forever(code: int | None, make_feed: FeedMaker) -> None:
    script = Script(*[closes(code)] * 50)
    with RawServer(script) as server:
        policy = ReconnectPolicy(initial_delay=0.002, max_delay=0.6, jitter=False)
        feed, heard = of(make_feed, server, reconnect=policy)
        feed.subscribe("trade")
        feed.start()
        wait_until(lambda: heard.steps().count(FeedState.RECONNECTING) >= 10)
        feed.close()
    lost = [change for change in heard.states if change.state is FeedState.RECONNECTING]
    assert heard.steps().count(FeedState.CONNECTED) >= 9  # so each of them had been accepted
    assert [change.delay for change in lost[:10]] == pytest.approx(
        [min(0.002 * 2**n, 0.6) for n in range(10)]
    )
    assert [change.attempt for change in lost[:10]] == list(range(1, 11))
    assert feed.stats().reconnects >= 8


def test_H12_even_when_every_book_became_live(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(reconnect=ReconnectPolicy(initial_delay=0.002, max_delay=5, jitter=False))
    heard = Recorder(feed)
    feed.start()
    for attempt in range(1, 7):
        feed.wait_for_book(A, 5)
        exchange.disconnect()
        wait_until(lambda: heard.states[-1].attempt == attempt)  # noqa: B023
    feed.close()


def test_H13_every_attempt_is_signed_again(exchange: Exchange, make_feed: FeedMaker) -> None:
    script = Script(*[says("503 Service Unavailable")] * 3, *[closes(None)] * 3)
    with RawServer(script) as server:
        feed, _ = of(make_feed, server)
        feed.start()
        wait_until(lambda: len(script.requests) == 7)
        feed.close(0.1)  # the last one does not answer
    stamps = [request["kalshi-access-timestamp"] for request in script.requests]
    signatures = [request["kalshi-access-signature"] for request in script.requests]
    keys = [request["sec-websocket-key"] for request in script.requests]
    assert len(set(stamps)) == len(set(signatures)) == len(set(keys)) == 7
    private_key = load_pem_private_key(exchange.private_key_pem, None)
    assert isinstance(private_key, Ed25519PrivateKey)
    for stamp, signature in zip(stamps, signatures, strict=True):
        private_key.public_key().verify(base64.b64decode(signature), f"{stamp}GET/trade-api/ws/v2".encode())
