"""A transport without a dial, a thread or a clock: the test is the peer, the reader and the time."""

from __future__ import annotations

import contextlib
import socket

import websocket

from kalshi_feed.clocks import ClockWatch
from kalshi_feed.connection.byte_stream import ByteStream
from kalshi_feed.connection.transport import Transport

__all__ = ["PIECE", "Line"]

PIECE = 64 * 1024


class Line:
    """A transport, and the peer's end of its socket. The time is ``now``; only the test lets it pass."""

    def __init__(
        self, max_message_size: int = 16 << 20, watch: ClockWatch | None = None, compressed: bool = False
    ) -> None:
        here, self.peer = socket.socketpair()
        here.setblocking(False)
        self.now = 0.0
        self.messages: list[bytes] = []
        client = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)
        self.transport = Transport(
            ByteStream(here),
            client,
            data=b"",
            max_message_size=max_message_size,
            compressed=compressed,
            idle_timeout=30.0,
            write_timeout=5.0,
            now=0.0,
            watch=watch,
        )

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.abort()
        self.peer.close()

    def send(self, data: bytes) -> None:
        """The peer sends, and the reader reads all of it. Raises ConnectionLost."""
        for at in range(0, len(data), PIECE):
            self.peer.sendall(data[at : at + PIECE])
            self.turns()

    def turns(self) -> None:
        """Turn like the reader until nothing is left."""
        received = -1
        while self.transport.has_more or received != self.transport.bytes_received:
            received = self.transport.bytes_received
            self.messages += self.transport.read(self.now)
            self.transport.tick(self.now)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, ticking whenever the transport is due. Raises ConnectionLost."""
        until = self.now + seconds
        while self.transport.next_deadline() <= until:
            self.now = max(self.now, self.transport.next_deadline())
            self.turns()
        self.now = until

    def heard(self) -> bytes:
        """What the peer has received and not read yet."""
        self.peer.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            return self.peer.recv(1 << 20)
        return b""
