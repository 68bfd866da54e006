"""Liveness of an open connection: silence, stalls, and peers that never read."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

import pytest

from kalshi_feed.connection import transport as module
from kalshi_feed.errors import ConnectionLost

from .conftest import Dialer, collect, run_to_end
from .raw_server import CONT, PING, PONG, TEXT, Peer, RawServer, frame
from .support import SCHEMES, frozen, sends


def test_N09_silence_draws_a_ping_and_then_the_end(dialer: Dialer) -> None:
    frames: list[tuple[int, bytes]] = []

    def handler(peer: Peer) -> None:
        peer.handshake()
        frames.append(peer.read_frame())
        peer.wait_closed()

    with RawServer(handler) as server:
        began = time.monotonic()
        _, lost = run_to_end(dialer(server, idle_timeout=0.4))
        assert 0.35 < time.monotonic() - began < 1.5
        dialer.transports[0].abort()
    assert lost.code is None and "no byte for 0.4 s" in lost.reason
    assert frames == [(PING, b"kalshi_feed")]


def test_N10_an_answer_to_our_ping_is_a_sign_of_life(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        for _ in range(4):
            opcode, payload = peer.read_frame()
            assert opcode == PING
            peer.send(frame(PONG, payload))
        peer.send(frame(TEXT, b"still here"))
        peer.wait_closed()

    with RawServer(handler) as server:
        assert collect(dialer(server, idle_timeout=0.3), 1) == [b"still here"]
        dialer.transports[0].abort()


def test_pausing_is_not_silence(dialer: Dialer) -> None:
    with sends(b"") as server:
        transport = dialer(server, idle_timeout=10.0)
        now = time.monotonic() + 60
        transport.resume(now)
        transport.tick(now)
        assert transport.next_deadline() == pytest.approx(now + 5)
        with pytest.raises(ConnectionLost):
            transport.tick(now + 60)
        transport.abort()


@pytest.mark.parametrize("rest", [frame(CONT, b"x" * 9_999, fin=False), frame(CONT, b"", fin=False) * 5_000])
def test_N14_a_dripping_frame_is_dropped_and_pings_are_answered_meanwhile(
    dialer: Dialer, monkeypatch: pytest.MonkeyPatch, rest: bytes
) -> None:
    monkeypatch.setattr(module, "FRAME_SECONDS", 0.5)
    pongs: list[tuple[int, bytes]] = []

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"begin", fin=False) + frame(PING, b"p"))
        pongs.append(peer.read_frame())
        for byte in rest:
            peer.send(bytes([byte]))
            time.sleep(0.02)

    with RawServer(handler) as server:
        began = time.monotonic()
        messages, lost = run_to_end(dialer(server))
        assert 0.4 < time.monotonic() - began < 2
        dialer.transports[0].abort()
    assert messages == [] and "incomplete" in lost.reason
    assert pongs == [(PONG, b"p")]


def test_N14_fragmented_messages_that_overlap_turns_are_not_a_stall(
    dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRAME_SECONDS", 0.2)

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"0", fin=False))
        for _ in range(40):  # there is never a moment when everything is complete
            time.sleep(0.02)
            peer.send(frame(CONT, b"1") + frame(TEXT, b"0", fin=False))
        peer.wait_closed()

    with RawServer(handler) as server:
        assert collect(dialer(server), 40) == [b"01"] * 40
        dialer.transports[0].abort()


def test_N40_a_slow_large_frame_is_a_sign_of_life(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAME_SECONDS", 0.2)

    def handler(peer: Peer) -> None:
        peer.handshake()
        data = frame(TEXT, b"x" * 20_000)
        for at in range(0, len(data), 500):  # 25 kB/s
            peer.send(data[at : at + 500])
            time.sleep(0.02)
        peer.wait_closed()

    with RawServer(handler) as server:
        assert [len(message) for message in collect(dialer(server, idle_timeout=0.5), 1)] == [20_000]
        dialer.transports[0].abort()


@SCHEMES
def test_N38_N39_a_peer_that_stops_reading_is_dropped(
    dialer: Dialer, server_context: ssl.SSLContext, scheme: str
) -> None:
    given_up, frames = threading.Event(), list[tuple[int, bytes]]()

    def frozen_for_a_while(peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        peer.handshake()
        given_up.wait(10)
        with contextlib.suppress(OSError):
            while True:
                frames.append(peer.read_frame())

    with RawServer(frozen_for_a_while, server_context if scheme == "wss" else None) as server:
        transport = dialer(server, scheme=scheme, write_timeout=0.3)
        for _ in range(100):
            transport.send_text(b"x" * 100_000)
        began = time.monotonic()
        _, lost = run_to_end(transport)
        assert time.monotonic() - began < 3
        assert "took no byte for 0.3 s" in lost.reason
        transport.abort()
        given_up.set()
    # nothing else, above all nothing after the partial frame
    assert frames == [(TEXT, b"x" * 100_000)] * len(frames)
    assert len(frames) < 100


def test_N37_a_ping_flood_to_a_peer_that_never_reads(dialer: Dialer) -> None:
    release = threading.Event()
    with frozen(release, frame(PING, b"x" * 125) * 20_000) as server:
        transport = dialer(server, write_timeout=0.3)
        transport._stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
        began = time.monotonic()
        _, lost = run_to_end(transport)
        assert time.monotonic() - began < 5 and "took no byte" in lost.reason
        assert len(transport._outbox) == 0 and transport._stream.unsent_bytes < 1_000
        release.set()
        transport.abort()


def test_N37_only_the_newest_ping_is_answered_when_the_socket_is_full(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        assert peer.read_frame()[0] == TEXT  # the large one is on its way
        peer.send(b"".join(frame(PING, b"%d" % number) for number in range(50)))
        peer.send(frame(TEXT, b"read now"))
        time.sleep(0.1)
        pongs = []
        while True:
            opcode, payload = peer.read_frame()
            if opcode == PONG:
                pongs.append(payload)
            if payload == b"end":
                break
        assert pongs[-1] == b"49" and len(pongs) < 50
        peer.send(frame(TEXT, b"ok"))
        peer.wait_closed()

    with RawServer(handler) as server:
        transport = dialer(server)
        transport.send_text(b"begin")
        transport.send_text(b"x" * (16 << 20))
        assert collect(transport, 1) == [b"read now"]
        transport.send_text(b"end")
        assert collect(transport, 1, timeout=10) == [b"ok"]
        transport.abort()
