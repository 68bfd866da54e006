"""Shared by the connection tests: servers that only talk or never read, and addresses without an answer."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .raw_server import TEXT, Peer, RawServer, frame

__all__ = ["SCHEMES", "black_hole", "free_port", "frozen", "hello", "resolves_to", "sends"]

SCHEMES = pytest.mark.parametrize("scheme", ["ws", "wss"])


def sends(data: bytes) -> RawServer:
    """A server that sends ``data`` right after the handshake and then reads until the client goes."""

    def handler(peer: Peer) -> None:
        peer.handshake()
        peer.send(data)
        peer.wait_closed()

    return RawServer(handler)


def frozen(release: threading.Event, data: bytes = b"") -> RawServer:
    """A server with a tiny receive buffer that never reads after the handshake."""

    def handler(peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        peer.handshake()
        with contextlib.suppress(OSError):
            peer.send(data)
        release.wait(10)

    return RawServer(handler)


def hello(peer: Peer) -> None:
    peer.handshake()
    peer.send(frame(TEXT, b"hello"))
    peer.wait_closed()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port that never answers a SYN: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()[1]


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
