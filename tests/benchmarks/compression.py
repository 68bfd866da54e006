"""What compression saves and costs, on the captured frames where they are there, otherwise on made-up ones.

Nothing is sent: the frames are compressed as a server does it (zlib's default level, as Go's libraries and
websockets have it), and read by the feed's own buffer, from a socket.
"""

from __future__ import annotations

import gzip
import itertools
import socket
import statistics
import time
import zlib
from typing import Any, Final

from kalshi_feed.connection.byte_stream import ByteStream
from kalshi_feed.connection.deflate import InflatingReadAhead
from kalshi_feed.connection.read_ahead import ReadAhead
from tests.benchmarks.frames import Plan, World, stream, text_frame
from tests.benchmarks.rounds import Scale
from tests.feed.captures import FILES

__all__ = ["run", "text"]

READ: Final = 16_384  # bytes in one read
MADE_UP: Final = Plan(markets=50, deltas=20_000, levels=40, kind="mixed", yes_price=True, chunk=50)
KINDS: Final = {"none": None, "with takeover": True, "without takeover": False}


def _messages() -> tuple[str, list[bytes]]:
    """Where they are from, and what each says, as it was on the wire."""
    if not FILES:
        return "made up", [frame[4:] for frame in stream(World(MADE_UP), MADE_UP)]
    found = []
    for path in FILES:
        with gzip.open(path, "rb") as file:
            found += [line.partition(b'"event":')[2].strip()[:-1].strip() for line in file]
    return "captured", found


def _framed(messages: list[bytes], takeover: bool | None) -> list[bytes]:
    if takeover is None:
        return [text_frame(message) for message in messages]
    frames, packer = [], zlib.compressobj(wbits=-15)
    for message in messages:
        packed = packer.compress(message) + packer.flush(zlib.Z_SYNC_FLUSH)
        frame = text_frame(packed[:-4])
        frames.append(bytes((frame[0] | 0x40,)) + frame[1:])
        if not takeover:
            packer = zlib.compressobj(wbits=-15)
    return frames


def _microseconds(frames: list[bytes], compressed: bool) -> float:
    """The processor time for a message, from the socket to its bytes."""
    data, out = b"".join(frames), list[bytes]()
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        ahead = (InflatingReadAhead if compressed else ReadAhead)(ByteStream(here), 16 << 20)
        spent, taken = 0, 0
        for at in range(0, len(data), READ):
            there.sendall(data[at : at + READ])
            began = time.thread_time_ns()
            ahead.fill()
            while True:
                ahead.take_text_frames(out)
                head = ahead.head(False, 0)
                if head is None:
                    break
                out.append(ahead.content(head[0], ahead.slice(*head[1:])))
            spent += time.thread_time_ns() - began
            taken += len(out)
            out.clear()
    assert taken == len(frames)
    return spent / taken / 1_000


def run(scale: Scale) -> dict[str, Any]:
    """Compress, and read what was compressed, round after round."""
    source, messages = _messages()
    frames = {kind: _framed(messages, takeover) for kind, takeover in KINDS.items()}
    plain = sum(map(len, frames["none"]))
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _, kind in itertools.product(range(scale.rounds), KINDS):
        times[kind].append(_microseconds(frames[kind], KINDS[kind] is not None))
    return {
        "source": source,
        "messages": len(messages),
        "bytes": plain,
        "kinds": {
            kind: {
                "percent_of_bytes": 100 * sum(map(len, frames[kind])) / plain,
                "cpu_us": min(times[kind]),
                "cpu_us_median": statistics.median(times[kind]),
            }
            for kind in KINDS
        },
    }


def text(result: dict[str, Any]) -> str:
    """The table."""
    lines = [
        f"Compression, {result['messages']:,} {result['source']} frames, from the socket to their messages",
        f"{'':18}{'bytes':>10}{'CPU a message, best':>22}{'median':>10}",
    ]
    for kind, row in result["kinds"].items():
        lines.append(
            f"{kind:18}{row['percent_of_bytes']:9.1f}%{row['cpu_us']:19.2f} µs{row['cpu_us_median']:7.2f} µs"
        )
    return "\n".join(lines) + "\n"
