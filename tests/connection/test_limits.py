"""What a peer can make the receive path hold or do: every size that it controls has a limit.

(The handshake's limits are in test_upgrade.py: 64 KiB of headers, 4 KiB of a refusal.)
"""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from kalshi_feed.errors import ConnectionLost

from .line import PIECE, Line
from .raw_server import BINARY, CONT, PING, PONG, TEXT, frame

MIB = 1 << 20
CAP = 16 * MIB  # the default of the feed and of the line


class Peak:
    """The peak memory."""

    mib = 0.0


@contextlib.contextmanager
def peak_memory() -> Iterator[Peak]:
    tracemalloc.start()
    try:
        before, peak = tracemalloc.get_traced_memory()[0], Peak()
        tracemalloc.reset_peak()
        yield peak
        peak.mib = (tracemalloc.get_traced_memory()[1] - before) / MIB
    finally:
        tracemalloc.stop()


def test_N19_a_huge_length_is_refused_on_its_header() -> None:
    with Line() as line, peak_memory() as peak:
        with pytest.raises(ConnectionLost) as caught:
            line.send(frame(TEXT, declared=1 << 40))
        assert caught.value.code == 1009
        for _ in range(20):  # and the bytes that drip in after it are not even read
            line.peer.sendall(b"x" * 1_000)
            with pytest.raises(ConnectionLost):
                line.transport.read(0.0)
        assert line.transport.bytes_received == 10
    assert peak.mib < 0.5


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_N18_endless_fragments_end_at_the_cap(opcode: int) -> None:
    pieces = frame(CONT, b"x" * 4_096, fin=False) * 16
    with Line() as line, peak_memory() as peak:
        began, sent = time.thread_time(), 0
        with pytest.raises(ConnectionLost) as caught:
            line.send(frame(opcode, b"", fin=False))
            while sent < 2 * CAP:
                line.send(pieces)
                sent += len(pieces)
        took = time.thread_time() - began
    assert caught.value.code == 1009 and sent < CAP + len(pieces)
    assert peak.mib < 1.2 * CAP / MIB + 1
    assert took < 4.0  # half a second here; with quadratic work a minute


def test_N18_fragments_without_content_end_when_the_time_for_a_message_is_up() -> None:
    with Line() as line, peak_memory() as peak:
        line.send(frame(TEXT, b"", fin=False))
        with pytest.raises(ConnectionLost, match="incomplete after 10 s"):
            for _ in range(100):
                line.send(frame(CONT, b"", fin=False) * 200)
                line.pass_time(0.2)
        assert line.now < 11
    assert peak.mib < 1


def test_the_largest_allowed_message_fits_into_64_mib() -> None:
    header = frame(TEXT, b"x" * CAP)[:10]
    with Line() as line, peak_memory() as peak:
        line.send(header)
        for _ in range(CAP // PIECE):
            line.send(b"x" * PIECE)
    assert [len(message) for message in line.messages] == [CAP]
    assert peak.mib < 64


def test_N37_of_many_pings_one_answer_waits() -> None:
    with Line() as line, peak_memory() as peak:
        with pytest.raises(ConnectionLost, match="took no byte for 5 s"):
            for _ in range(100):
                line.send(frame(PING, b"p" * 125) * 100)
                line.now += 0.1
        assert line.transport._stream.unsent_bytes < 200 and not line.transport._outbox
    assert peak.mib < 1


def test_N10_pings_alone_are_a_sign_of_life_for_hours() -> None:
    with Line() as line:
        for _ in range(1_000):
            line.pass_time(10.0)  # as often as the exchange pings
            line.send(frame(PING, b"heartbeat"))
            assert PONG in {part & 0x0F for part in line.heard()[:1]}
        assert line.now == 10_000


def test_N09_silence_draws_a_ping_halfway_and_ends_the_connection() -> None:
    with Line() as line:
        line.send(frame(TEXT, b"x"))
        line.pass_time(14.9)
        assert line.heard() == b""
        line.pass_time(0.1)
        assert line.heard()[:1] == b"\x89"
        with pytest.raises(ConnectionLost, match="no byte for 30 s"):
            line.pass_time(20.0)
        assert line.now == 30.0


def test_N14_a_drip_is_over_after_ten_seconds() -> None:
    with Line() as line:
        line.send(frame(TEXT, b"x" * 10_000)[:4])
        with pytest.raises(ConnectionLost, match="incomplete after 10 s"):
            for _ in range(60):
                line.pass_time(1.0)
                line.send(b"x")
        assert line.now == 10.0


def test_N40_a_large_message_at_5_kB_a_second_is_a_sign_of_life() -> None:
    data = frame(TEXT, b"x" * 400_000)
    with Line() as line:
        for at in range(0, len(data), 5_000):
            line.pass_time(1.0)
            assert line.messages == []
            line.send(data[at : at + 5_000])
        assert len(line.messages) == 1 and line.now > 80


def test_N14_a_drip_is_not_a_sign_of_life_because_much_came_before_it() -> None:
    with Line() as line:
        line.send(frame(TEXT, b"x" * (2 * MIB))[:MIB])
        with pytest.raises(ConnectionLost, match="incomplete after 20 s"):
            for _ in range(60):
                line.pass_time(1.0)
                line.send(b"x")


def test_N14_pings_between_fragments_are_not_its_progress() -> None:
    with Line() as line:
        line.send(frame(TEXT, b"x", fin=False))
        with pytest.raises(ConnectionLost, match="incomplete after 10 s"):
            for _ in range(60):
                line.pass_time(1.0)
                line.send(frame(PING, b"x" * 100) * 50)
                line.heard()
