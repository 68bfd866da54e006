"""Frames from raw servers, by the ids of the fault matrix: what arrives, and what ends the connection."""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from typing import Any

import pytest

from kalshi_feed.connection.transport import Transport
from kalshi_feed.errors import ConnectionLost
from tests.support import wait_until

from .conftest import Dialer, collect, run_to_end, turn
from .raw_server import BINARY, CLOSE, CONT, PING, PONG, TEXT, Peer, RawServer, frame
from .support import SCHEMES, sends

MESSAGES = [b'{"n":%d,"x":"%s"}' % (number, b"y" * (number * 7 % 400)) for number in range(300)]


def after(dialer: Dialer, data: bytes, **options: Any) -> tuple[list[bytes], ConnectionLost]:
    with sends(data) as server:
        return run_to_end(dialer(server, **options))


@SCHEMES
def test_messages_arrive_whole_and_in_order(
    dialer: Dialer, server_context: ssl.SSLContext, scheme: str
) -> None:
    def handler(peer: Peer) -> None:
        data = b"".join(frame(TEXT, message) for message in MESSAGES)
        peer.handshake(behind=data[:1_000])  # bytes right after the handshake are not lost
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
        data = (
            b"".join(frame(TEXT, message) for message in MESSAGES[:30])
            + frame(PING, b"x")
            + frame(TEXT, b"last")
        )
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
    data = (
        frame(BINARY, b"\xff\xff")
        + frame(TEXT, b"a")
        + frame(BINARY, b"\0", fin=False)
        + frame(CONT, b"")
        + frame(TEXT, b"b")
    )
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


def test_T08_only_its_thread_may_use_it(dialer: Dialer) -> None:
    with sends(b"") as server:
        transport = dialer(server)
        caught: list[BaseException] = []

        def elsewhere(transport: Transport) -> None:
            for call in (
                lambda: transport.read(0.0),
                lambda: transport.send_text(b"x"),
                lambda: transport.flush(0.0),
            ):
                try:
                    call()
                except RuntimeError as error:
                    caught.append(error)

        thread = threading.Thread(target=elsewhere, args=(transport,))
        thread.start()
        thread.join()
        assert len(caught) == 3
        transport.abort()


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_is_behind_while_more_has_arrived_than_one_read_takes(
    dialer: Dialer, server_context: ssl.SSLContext, scheme: str
) -> None:
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
