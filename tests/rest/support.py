"""A clock that tests move, and HTTP answers byte by byte."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from kalshi_feed.rest import Rest
from tests.connection.raw_server import Peer


class FakeClock:
    """Sleeping takes no time: it moves the clock. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passed = 0.0
        self.ahead = 0.0  # of the wall clock

    def monotonic(self) -> float:
        return 1000.0 + self._passed

    def time(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._passed += seconds

    @property
    def slept(self) -> float:
        """Seconds."""
        return self._passed


def with_clock(clock: FakeClock) -> type[Rest]:
    """A Rest whose waits are over at once."""

    class Hurried(Rest):
        _clock = clock

    return Hurried


def answering(answer: bytes, keep: list[dict[str, str]] | None = None) -> Callable[[Peer], None]:
    """A handler that sends this and ends the connection."""

    def handler(peer: Peer) -> None:
        headers = peer.read_request()
        if keep is not None:
            keep.append(headers)
        peer.send(answer)

    return handler


def http_answer(status: int, body: bytes, headers: str = "") -> bytes:
    """An answer with its length."""
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body
