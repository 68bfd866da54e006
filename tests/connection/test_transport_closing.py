"""Closing a connection: politely, and in bounded time no matter what the peer does."""

from __future__ import annotations

import ssl
import threading
import time

import pytest

from kalshi_feed.errors import ConnectionLost
from tests.support import wait_until

from .conftest import Dialer
from .raw_server import CLOSE, TEXT, Peer, RawServer, frame
from .support import SCHEMES, sends


@SCHEMES
def test_close_waits_for_the_peers_answer(
    dialer: Dialer, server_context: ssl.SSLContext, scheme: str
) -> None:
    frames: list[tuple[int, bytes]] = []

    def handler(peer: Peer) -> None:
        peer.handshake()
        frames.append(peer.read_frame())
        frames.append(peer.read_frame())
        time.sleep(0.1)
        peer.send(frame(TEXT, b"late") + frame(CLOSE, b"\x03\xe8"))
        peer.wait_closed()

    with RawServer(handler, server_context if scheme == "wss" else None) as server:
        transport = dialer(server, scheme=scheme)
        transport.send_text(b"last command")
        transport.flush(time.monotonic())
        began = time.monotonic()
        transport.close(began + 5)
        assert 0.05 < time.monotonic() - began < 2
        assert transport.fileno() == -1
        transport.close(began + 5)
        with pytest.raises(ConnectionLost):
            transport.read(time.monotonic())
        wait_until(lambda: len(frames) == 2)
    assert frames == [(TEXT, b"last command"), (CLOSE, b"\x03\xe8")]


def test_N35_a_peer_that_ignores_our_close(dialer: Dialer) -> None:
    with sends(frame(TEXT, b"x") * 1_000) as server:
        transport = dialer(server)
        began = time.monotonic()
        transport.close(began + 0.3)
        assert 0.25 < time.monotonic() - began < 1


def test_N35_close_is_bounded_while_the_peer_keeps_sending_and_never_reads(dialer: Dialer) -> None:
    stop = threading.Event()

    def handler(peer: Peer) -> None:
        peer.handshake()
        while not stop.is_set():
            peer.send(frame(TEXT, b"x" * 250) * 100)

    with RawServer(handler) as server:
        transport = dialer(server)
        transport.send_text(b"x" * (16 << 20))
        began = time.monotonic()
        transport.close(began + 0.3)
        assert time.monotonic() - began < 1
        stop.set()


def test_N36_a_peer_that_answers_and_keeps_the_connection(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        assert peer.read_frame()[0] == CLOSE
        peer.send(frame(CLOSE, b"\x03\xe8"))
        peer.wait_closed()

    with RawServer(handler) as server:
        transport = dialer(server)
        began = time.monotonic()
        transport.close(began + 5)
        assert time.monotonic() - began < 1


def test_close_with_another_code(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        assert peer.read_frame() == (CLOSE, b"\x03\xe9")

    with RawServer(handler) as server:
        dialer(server).close(time.monotonic() + 5, code=1001)
