from __future__ import annotations

import random
import socket
import struct
import time

import pytest

from kalshi_feed.connection.byte_stream import ByteStream
from kalshi_feed.connection.read_ahead import FrameError, ReadAhead

from .raw_server import CLOSE, CONT, PING, TEXT, frame


def head_of(
    data: bytes, *, in_fragments: bool = False, assembled: int = 0, limit: int = 1 << 20
) -> tuple[int, int, int] | None:
    with socket.socket() as sock:
        return ReadAhead(ByteStream(sock), limit, data).head(in_fragments, assembled)


def test_takes_whole_frames_only() -> None:
    payloads = [b"a" * 126, b"b" * 300, b"c" * 65_535]
    data = b"".join(frame(TEXT, payload) for payload in payloads)
    with socket.socket() as sock:
        ahead = ReadAhead(ByteStream(sock), 1 << 20, data + frame(TEXT, b"d" * 200)[:-1])
        out: list[bytes] = []
        ahead.take_text_frames(out)
        assert out == payloads
        assert ahead.available == 203
        assert ahead.head(False, 0) is None
        ahead.take_text_frames(out)
        assert len(out) == 3


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_head_of_every_length_form(size: int) -> None:
    data = frame(TEXT, b"x" * size)
    assert head_of(data) == (0x81, len(data) - size, len(data))
    assert head_of(data[:-1]) is None


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (frame(TEXT, declared=1 << 40), 1009, "1099511627776"),
        (frame(TEXT, declared=1 << 63), 1002, "highest bit"),
        (frame(TEXT, declared=65_535), 1002, "shortest"),
        (b"\x81\x7e\x00\x7d", 1002, "shortest"),
        (b"\x81\x80", 1002, "masked"),
        (b"\xc1\x00", 1002, "reserved bits"),
        (b"\x83\x00", 1002, "reserved opcode"),
        (b"\x8b\x00", 1002, "reserved opcode"),
        (b"\x89\x7e", 1002, "more than 125"),
        (b"\x09\x00", 1002, "fragmented control"),
        (b"\x80\x00", 1002, "not begun"),
    ],
)
def test_header_is_refused_at_once(data: bytes, code: int, words: str) -> None:
    with pytest.raises(FrameError) as caught:
        head_of(data)
    assert caught.value.code == code and words in caught.value.reason


def test_inside_a_fragmented_message() -> None:
    assert head_of(frame(CONT, b"x", fin=False), in_fragments=True) == (0x00, 2, 3)
    assert head_of(frame(PING, b"x"), in_fragments=True) == (0x89, 2, 3)
    with pytest.raises(FrameError, match="inside a fragmented"):
        head_of(frame(TEXT, b"x"), in_fragments=True)
    with pytest.raises(FrameError, match="max_message_size"):
        head_of(frame(CONT, b"x" * 60), in_fragments=True, assembled=50, limit=100)
    assert head_of(frame(CLOSE, b"x" * 60), in_fragments=True, assembled=50, limit=100) is not None


def test_small_limit_holds_for_every_length_form() -> None:
    with socket.socket() as sock:
        ahead = ReadAhead(ByteStream(sock), 1_000, frame(TEXT, b"x" * 1_001))
        out: list[bytes] = []
        ahead.take_text_frames(out)
        assert not out
        with pytest.raises(FrameError, match="max_message_size=1000"):
            ahead.head(False, 0)


@pytest.mark.parametrize("seed", range(5))
def test_N15_any_slicing_gives_the_same_frames(seed: int) -> None:
    chance = random.Random(seed)
    sizes = [chance.choice([0, 3, 125, 126, 250, 1_000, 65_536, 150_000]) for _ in range(30)]
    payloads = [struct.pack(">I", number) * (size // 4 + 1) for number, size in enumerate(sizes)]
    data = b"".join(frame(TEXT, payload) for payload in payloads)
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        ahead, out, at = ReadAhead(ByteStream(here), 1 << 20), list[bytes](), 0
        while at < len(data):
            size = chance.choice([1, 2, 3, 100, 5_000, 50_000])
            there.sendall(data[at : at + size])
            at += size
            while ahead.fill():
                while True:
                    ahead.take_text_frames(out)
                    head = ahead.head(False, 0)
                    if head is None:
                        break
                    out.append(ahead.slice(*head[1:]))
        assert out == payloads and ahead.available == 0


def test_N18_a_large_frame_in_small_pieces_costs_linear_work() -> None:
    payload, piece = b"z" * (8 << 20), b"z" * 1_024
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        ahead = ReadAhead(ByteStream(here), 1 << 24)
        began = time.process_time()
        there.sendall(frame(TEXT, payload)[:10])
        for _ in range(len(payload) // len(piece)):
            assert ahead.head(False, 0) is None
            there.sendall(piece)
            ahead.fill()
        ahead.fill()
        head = ahead.head(False, 0)
        assert head is not None and ahead.slice(*head[1:]) == payload
        assert time.process_time() - began < 1.0
