"""Frames, liveness and closing against raw servers, by the fault ids of the fault matrix."""

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

from kalshi_feed.connection import transport as module
from kalshi_feed.connection.byte_stream import ByteStream
from kalshi_feed.connection.transport import Transport
from kalshi_feed.connection.wakeup import wait_ready
from kalshi_feed.errors import ConnectionLost
from tests.support import wait_until

from .conftest import Dialer, collect, run_to_end, turn
from .raw_server import BINARY, CLOSE, CONT, PING, PONG, TEXT, Peer, RawServer, frame

SCHEMES = pytest.mark.parametrize("scheme", ["ws", "wss"])
MESSAGES = [b'{"n":%d,"x":"%s"}' % (number, b"y" * (number * 7 % 400)) for number in range(300)]


def sends(data: bytes) -> RawServer:
    """A server that says ``data`` right behind the handshake and then listens until the client goes."""

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(data)
        peer.wait_closed()

    return RawServer(handler)


def after(dialer: Dialer, data: bytes, **options: Any) -> tuple[list[bytes], ConnectionLost]:
    with sends(data) as server:
        return run_to_end(dialer(server, **options))


@SCHEMES
def test_messages_arrive_whole_and_in_order(dialer: Dialer, server_context: ssl.SSLContext, scheme: str) -> None:
    def handler(peer: Peer) -> None:
        data = b"".join(frame(TEXT, message) for message in MESSAGES)
        peer.handshake(behind=data[:1_000])  # bytes behind the handshake are not lost
        peer.send(data[1_000:])
        assert peer.read_frame() == (TEXT, b"hello")
        assert peer.read_frame() == (TEXT, b"y" * 300_000)
        peer.send(frame(TEXT, b"done"))
        peer.wait_closed()

    with RawServer(handler, server_context if scheme == "wss" else None) as server:
        transport = dialer(server, scheme=scheme)
        assert collect(transport, len(MESSAGES)) == MESSAGES
        transport.send_text(b"hello")
        transport.send_text(b"y" * 300_000)
        assert collect(transport, 1) == [b"done"]
        assert transport.bytes_received > sum(map(len, MESSAGES))
        transport.abort()


@SCHEMES
def test_N15_byte_wise_slicing(dialer: Dialer, server_context: ssl.SSLContext, scheme: str) -> None:
    chance = random.Random(1)

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b"".join(frame(TEXT, message) for message in MESSAGES[:30]) + frame(PING, b"x") + frame(TEXT, b"last")
        while data:
            size = chance.randint(1, 9)
            peer.send(data[:size])
            data = data[size:]
        assert peer.read_frame() == (PONG, b"x")
        peer.wait_closed()

    with RawServer(handler, server_context if scheme == "wss" else None) as server:
        assert collect(dialer(server, scheme=scheme), 31) == [*MESSAGES[:30], b"last"]
        dialer.transports[0].close(time.monotonic() + 1)


def test_N16_a_burst_is_read_in_turns(dialer: Dialer) -> None:
    with sends(frame(TEXT, b"x" * 250) * 10_000) as server:
        transport = dialer(server)
        sizes: list[int] = []
        while sum(sizes) < 10_000:
            sizes.append(len(turn(transport)))
        assert max(sizes) < 600
        transport.abort()


def test_N16_a_burst_of_pings_too(dialer: Dialer) -> None:
    with sends(frame(PING) * 5_000 + frame(TEXT, b"end")) as server:
        transport = dialer(server)
        turns = 0
        while not turn(transport):
            turns += 1
        assert turns >= 5_000 // 256
        transport.abort()


def test_N17_fragments_with_a_ping_between(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b'{"a', fin=False) + frame(PING, b"heartbeat") + frame(CONT, b'":1', fin=False))
        assert peer.read_frame() == (PONG, b"heartbeat")  # at once, not after the message
        peer.send(frame(CONT, b"}") + frame(TEXT, b"next"))
        peer.wait_closed()

    with RawServer(handler) as server:
        assert collect(dialer(server), 2) == [b'{"a":1}', b"next"]
        dialer.transports[0].abort()


def test_N19_huge_length(dialer: Dialer) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"first") + frame(TEXT, b"x", declared=1 << 40))
        assert peer.read_frame() == (CLOSE, b"\x03\xf1")

    with RawServer(handler) as server:
        messages, lost = run_to_end(dialer(server))
    assert messages == [b"first"]
    assert lost.code == 1009 and "max_message_size=1048576" in lost.reason


def test_large_messages_do_not_cost_quadratic_work(dialer: Dialer) -> None:
    payload = b"z" * (12 << 20)
    with sends(frame(TEXT, payload) + frame(TEXT, b"next")) as server:
        began = time.process_time()
        assert collect(dialer(server, max_message_size=16 << 20), 2) == [payload, b"next"]
        assert time.process_time() - began < 1.0
        dialer.transports[0].abort()


@pytest.mark.parametrize(
    ("fault", "data"),
    [
        ("N20 top bit", frame(TEXT, declared=1 << 63)),
        ("N20 not minimal", b"\x81\x7e\x00\x05hello"),
        ("N24 opcode 3", frame(3, b"x")),
        ("N24 opcode 11", frame(11, b"x")),
        ("N25 compressed", frame(TEXT, b"x" * 200, rsv=4)),
        ("N26 masked", b"\x81\x85\x00\x00\x00\x00hello"),
        ("N27 long ping", frame(PING, b"x" * 126)),
        ("N27 fragmented ping", frame(PING, b"x", fin=False)),
        ("N28 lone continuation", frame(CONT, b"x")),
        ("N28 text inside", frame(TEXT, b"x", fin=False) + frame(TEXT, b"y" * 200)),
        ("N33 one byte", frame(CLOSE, b"\x03")),
        ("N33 code 999", frame(CLOSE, b"\x03\xe7")),
        ("N33 code 1005", frame(CLOSE, b"\x03\xed")),
        ("N33 code 1006", frame(CLOSE, b"\x03\xee")),
        ("N33 code 1015", frame(CLOSE, b"\x03\xf7")),
        ("N33 reason", frame(CLOSE, b"\x03\xe8\xff\xff")),
    ],
)
def test_protocol_violations_close_with_1002(dialer: Dialer, fault: str, data: bytes) -> None:
    answers: list[tuple[int, bytes]] = []

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"before") + data + frame(TEXT, b"never seen"))
        answers.append(peer.read_frame())

    with RawServer(handler) as server:
        messages, lost = run_to_end(dialer(server))
        wait_until(lambda: answers)
    assert messages == [b"before"], fault
    assert lost.code == 1002 and lost.reason
    assert answers == [(CLOSE, b"\x03\xea")]


@pytest.mark.parametrize("bad", [b"\xff", b'{"a":"\xc3"}', b"\xed\xa0\x80", b"x" * 300 + b"\x80"])
def test_N21_invalid_utf8_costs_the_connection_not_what_came_before(dialer: Dialer, bad: bytes) -> None:
    good = "grüße €".encode()
    messages, lost = after(dialer, frame(TEXT, good) + frame(TEXT, bad) + frame(TEXT, b"after"))
    assert messages == [good]
    assert lost.code == 1007


def test_N21_a_character_split_over_two_messages_is_invalid(dialer: Dialer) -> None:
    messages, lost = after(dialer, frame(TEXT, b"\xc3") + frame(TEXT, b"\xa4"))
    assert (messages, lost.code) == ([], 1007)


def test_N22_a_character_split_over_fragments_is_valid(dialer: Dialer) -> None:
    with sends(frame(TEXT, b"\xe2\x82", fin=False) + frame(CONT, b"\xac")) as server:
        assert collect(dialer(server), 1) == ["€".encode()]
        dialer.transports[0].abort()


def test_N23_binary_is_counted_and_ignored(dialer: Dialer) -> None:
    data = frame(BINARY, b"\xff\xff") + frame(TEXT, b"a") + frame(BINARY, b"\0", fin=False) + frame(CONT, b"") + frame(TEXT, b"b")
    with sends(data) as server:
        transport = dialer(server)
        assert collect(transport, 2) == [b"a", b"b"]
        assert transport.binary_ignored == 2
        transport.abort()


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"\x03\xe8", 1000, ""),
        (b"\x03\xe9going away", 1001, "going away"),
        (b"\x03\xf0policy", 1008, "policy"),
        (b"\x03\xf4", 1012, ""),
        (b"\x0f\xa1why \xe2\x82\xac", 4001, "why €"),
        (b"", None, "closed by the peer without a code"),
    ],
)
def test_N29_to_N33_the_peers_close(dialer: Dialer, payload: bytes, code: int | None, reason: str) -> None:
    answers: list[tuple[int, bytes]] = []

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"last words") + frame(CLOSE, payload) + frame(TEXT, b"never seen"))
        answers.append(peer.read_frame())

    with RawServer(handler) as server:
        messages, lost = run_to_end(dialer(server))
        wait_until(lambda: answers)
    assert messages == [b"last words"]
    assert (lost.code, lost.reason) == (code, reason)
    assert answers == [(CLOSE, payload[:2])]


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
def test_N34_close_then_reset_keeps_the_code(dialer: Dialer, server_context: ssl.SSLContext, scheme: str) -> None:
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
def test_N06_a_reset_that_a_write_meets_first(dialer: Dialer, server_context: ssl.SSLContext, scheme: str) -> None:
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
        transport.flush(time.monotonic())  # the socket tells its reset here, and to the read only that it has ended
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


@pytest.mark.parametrize(("data", "words"), [(b"\x81\x7e\x01", "in the middle of a frame"), (b"", "without a close frame")])
def test_N07_N08_end_of_stream(dialer: Dialer, data: bytes, words: str) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"whole") + data)

    with RawServer(handler) as server:
        messages, lost = run_to_end(dialer(server))
    assert messages == [b"whole"] and lost.code is None and words in lost.reason


def test_T05_tls_cut_off_is_no_clean_end(dialer: Dialer, server_context: ssl.SSLContext) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"whole"))

    with RawServer(handler, server_context) as server:
        messages, lost = run_to_end(dialer(server, scheme="wss"))
    assert messages == [b"whole"] and lost.code is None and "cut off" in lost.reason


def test_T05_tls_closed_on_a_connection_that_stays_open(dialer: Dialer, server_context: ssl.SSLContext) -> None:
    sent, release = threading.Event(), threading.Event()

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"whole"))
        assert isinstance(peer.sock, ssl.SSLSocket)
        peer.sock.settimeout(0.01)
        with contextlib.suppress(OSError):
            peer.sock.unwrap()  # sends the closing alert, and would then wait for ours
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
        transport._stream.sock.shutdown(socket.SHUT_WR)  # the peer says nothing to that
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
    good = [frame(chance.choice([TEXT, BINARY, PING, PONG]), b"x" * chance.choice([0, 5, 125])) for _ in range(20)]
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


# Liveness


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


def test_N10_an_answer_to_our_ping_is_life(dialer: Dialer) -> None:
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


def test_N14_fragmented_messages_that_overlap_turns_are_no_stall(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAME_SECONDS", 0.2)

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"0", fin=False))
        for _ in range(40):  # at no moment is everything complete
            time.sleep(0.02)
            peer.send(frame(CONT, b"1") + frame(TEXT, b"0", fin=False))
        peer.wait_closed()

    with RawServer(handler) as server:
        assert collect(dialer(server), 40) == [b"01"] * 40
        dialer.transports[0].abort()


def test_N40_a_slow_large_frame_is_life(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
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


def frozen(release: threading.Event, data: bytes = b"") -> RawServer:
    """A server with a tiny receive buffer that never reads after the handshake."""

    def handler(peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        peer.handshake()
        with contextlib.suppress(OSError):
            peer.send(data)
        release.wait(10)

    return RawServer(handler)


@SCHEMES
def test_N38_N39_a_peer_that_stops_reading_is_dropped(dialer: Dialer, server_context: ssl.SSLContext, scheme: str) -> None:
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
    assert frames == [(TEXT, b"x" * 100_000)] * len(frames)  # nothing else, and above all nothing behind the part of the last one
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
        assert peer.read_frame()[0] == TEXT  # the large one is under way
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


# Closing


@SCHEMES
def test_close_waits_for_the_peers_answer(dialer: Dialer, server_context: ssl.SSLContext, scheme: str) -> None:
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


def test_T08_only_its_thread_may_use_it(dialer: Dialer) -> None:
    with sends(b"") as server:
        transport = dialer(server)
        caught: list[BaseException] = []

        def elsewhere(transport: Transport) -> None:
            for call in (lambda: transport.read(0.0), lambda: transport.send_text(b"x"), lambda: transport.flush(0.0)):
                try:
                    call()
                except RuntimeError as error:
                    caught.append(error)

        thread = threading.Thread(target=elsewhere, args=(transport,))
        thread.start()
        thread.join()
        assert len(caught) == 3
        transport.abort()


def test_N41_cut_after_every_byte(dialer: Dialer) -> None:
    session = frame(TEXT, b"a" * 130) + frame(PING, b"p") + frame(TEXT, b"b", fin=False) + frame(CONT, b"c") + frame(TEXT, b"d")
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


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_is_behind_while_more_has_arrived_than_one_read_takes(dialer: Dialer, server_context: ssl.SSLContext, scheme: str) -> None:
    go_on = threading.Event()

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(TEXT, b"x" * 1000) * 400)
        go_on.set()
        peer.wait_closed()

    with RawServer(handler, server_context if scheme == "wss" else None) as server:
        transport = dialer(server, scheme=scheme)
        messages = turn(transport)
        assert go_on.wait(5)
        behind = False
        while len(messages) < 400:
            messages += turn(transport)
            behind = behind or transport.is_behind
        assert behind
        assert turn(transport, 0.01) == [] and not transport.is_behind
        transport.abort()
