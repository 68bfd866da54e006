"""How a connection ends without our help: resets, end of stream, TLS cut off, random bytes."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
import time
from typing import Any

import pytest
import websocket

from kalshi_feed.connection.byte_stream import ByteStream
from kalshi_feed.connection.transport import Transport
from kalshi_feed.connection.wakeup import wait_ready
from kalshi_feed.errors import ConnectionLost
from tests.support import wait_until

from .conftest import Dialer, collect, run_to_end, turn
from .raw_server import BINARY, CLOSE, CONT, PING, PONG, TEXT, Peer, RawServer, frame
from .support import SCHEMES, frozen, sends


def test_the_loss_is_raised_only_after_the_messages_and_again_and_again(dialer: Dialer) -> None:
    with sends(frame(TEXT, b"a") + frame(CLOSE, b"\x03\xe8")) as server:
        transport = dialer(server)
        messages: list[bytes] = []
        while not messages:
            messages = turn(transport)
        assert messages == [b"a"]
        wait_until(lambda: transport.has_more)
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                transport.read(time.monotonic())
        transport.close(time.monotonic() + 1)


@SCHEMES
def test_N34_close_then_reset_keeps_the_code(
    dialer: Dialer, server_context: ssl.SSLContext, scheme: str
) -> None:
    reset = threading.Event()

    def handler(peer: Peer) -> None:
        peer.handshake()
        time.sleep(0.02)  # the client's bytes are then unread, so that closing resets
        peer.send(frame(TEXT, b"x") + frame(CLOSE, b"\x0f\xa1bye"))
        peer.reset()
        reset.set()

    with RawServer(handler, server_context if scheme == "wss" else None) as server:
        transport = dialer(server, scheme=scheme)
        transport.send_text(b"unread" * 1_000)
        transport.flush(time.monotonic())
        assert reset.wait(5)
        for _ in range(3):  # writing on the dead socket
            transport.send_text(b"more" * 1_000)
            transport.flush(time.monotonic())
        messages, lost = run_to_end(transport)
    assert messages == [b"x"]
    assert (lost.code, lost.reason) == (4001, "bye")


@SCHEMES
def test_N06_a_reset_that_a_write_sees_first(
    dialer: Dialer, server_context: ssl.SSLContext, scheme: str
) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.read_frame()
        peer.reset()

    with RawServer(handler, server_context if scheme == "wss" else None) as server:
        transport = dialer(server, scheme=scheme)
        transport.send_text(b"hello")
        transport.flush(time.monotonic())
        assert wait_ready(transport.fileno(), None, timeout=5)
        transport.send_text(b"once more")
        # the socket reports the reset here, and to the read only its end
        transport.flush(time.monotonic())
        lost = run_to_end(transport)[1]
    assert "reset" in lost.reason and isinstance(lost.__cause__, ConnectionResetError)


def test_N06_reset_in_a_frame(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"whole") + frame(TEXT, b"x" * 500)[:200])
        assert peer.read_frame() == (TEXT, b"go")
        peer.reset()

    with RawServer(handler) as server:
        transport = dialer(server)
        assert collect(transport, 1) == [b"whole"]
        transport.send_text(b"go")
        messages, lost = run_to_end(transport)
    assert messages == [] and lost.code is None and "reset" in lost.reason
    assert isinstance(lost.__cause__, ConnectionResetError) and lost.__cause__.__traceback__ is None


@pytest.mark.parametrize(
    ("data", "words"), [(b"\x81\x7e\x01", "in the middle of a frame"), (b"", "without a close frame")]
)
def test_N07_N08_end_of_stream(dialer: Dialer, data: bytes, words: str) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"whole") + data)

    with RawServer(handler) as server:
        messages, lost = run_to_end(dialer(server))
    assert messages == [b"whole"] and lost.code is None and words in lost.reason


def test_T05_tls_cut_off_is_not_a_clean_end(dialer: Dialer, server_context: ssl.SSLContext) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"whole"))

    with RawServer(handler, server_context) as server:
        messages, lost = run_to_end(dialer(server, scheme="wss"))
    assert messages == [b"whole"] and lost.code is None and "cut off" in lost.reason


def test_T05_tls_closed_on_a_connection_that_stays_open(
    dialer: Dialer, server_context: ssl.SSLContext
) -> None:
    sent, release = threading.Event(), threading.Event()

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"whole"))
        assert isinstance(peer.sock, ssl.SSLSocket)
        peer.sock.settimeout(0.01)
        with contextlib.suppress(OSError):
            peer.sock.unwrap()  # sends the closing alert and would then wait for ours
        sent.set()
        release.wait(10)

    with RawServer(handler, server_context) as server:
        transport = dialer(server, scheme="wss")
        assert sent.wait(5)
        began = time.monotonic()
        messages, lost = run_to_end(transport)
        assert time.monotonic() - began < 2
        release.set()
        transport.abort()
    assert messages == [b"whole"] and lost.code is None and "without a close frame" in lost.reason


def test_T05_corrupted_record(dialer: Dialer, server_context: ssl.SSLContext) -> None:
    sent = threading.Event()

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"whole"))
        assert isinstance(peer.sock, ssl.SSLSocket)
        with socket.socket(fileno=peer.sock.detach()) as raw:
            raw.sendall(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
            sent.set()
            raw.settimeout(5)
            with contextlib.suppress(OSError):
                while raw.recv(100):
                    pass

    with RawServer(handler, server_context) as server:
        transport = dialer(server, scheme="wss")
        assert sent.wait(5)  # so that one read brings the message and the bad record
        began = time.monotonic()
        messages, lost = run_to_end(transport)
        assert time.monotonic() - began < 2  # although the server keeps the connection open
        dialer.transports[0].abort()
    assert messages == [b"whole"] and lost.code is None and "TLS error" in lost.reason


def test_a_write_that_fails_ends_a_connection_that_still_reads(dialer: Dialer) -> None:
    release = threading.Event()
    with frozen(release, frame(TEXT, b"x")) as server:
        transport = dialer(server)
        assert collect(transport, 1) == [b"x"]
        transport._stream.sock.shutdown(socket.SHUT_WR)  # the peer does not answer
        transport.send_text(b"never")
        _, lost = run_to_end(transport)
        transport.send_text(b"dropped")
        assert not transport._outbox and not transport.wants_write
        release.set()
        transport.abort()
    assert lost.code is None and "pipe" in lost.reason.lower()


@pytest.mark.parametrize("seed", range(40))
def test_any_bytes_end_in_messages_or_in_a_loss(seed: int) -> None:
    chance = random.Random(seed)
    good = [
        frame(chance.choice([TEXT, BINARY, PING, PONG]), b"x" * chance.choice([0, 5, 125])) for _ in range(20)
    ]
    data = bytearray(b"".join(good))
    for _ in range(chance.randrange(4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        client = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)
        limits: dict[str, Any] = {"idle_timeout": 5.0, "write_timeout": 5.0, "now": time.monotonic()}
        transport = Transport(ByteStream(here), client, data=b"", max_message_size=1 << 20, **limits)
        messages, lost = run_to_end(transport)
        assert all(message.isascii() for message in messages) and lost.reason
        transport.abort()


def test_N41_cut_after_every_byte(dialer: Dialer) -> None:
    session = (
        frame(TEXT, b"a" * 130)
        + frame(PING, b"p")
        + frame(TEXT, b"b", fin=False)
        + frame(CONT, b"c")
        + frame(TEXT, b"d")
    )
    whole = [b"a" * 130, b"bc", b"d"]
    cuts = iter(range(len(session)))
    cut = 0

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(session[:cut])

    with RawServer(handler) as server:
        for cut in cuts:
            transport = dialer(server)
            messages, lost = run_to_end(transport)
            transport.abort()
            assert messages == whole[: len(messages)] and lost.code is None, cut
            expected = (cut >= 134) + (cut >= len(session) - 3)
            assert len(messages) == expected, cut
