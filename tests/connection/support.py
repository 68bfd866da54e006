"""What the tests of the transport share: servers that only talk, and servers that never read."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from .raw_server import Peer, RawServer

__all__ = ["SCHEMES", "frozen", "sends"]

SCHEMES = pytest.mark.parametrize("scheme", ["ws", "wss"])


def sends(data: bytes) -> RawServer:
    """A server that says ``data`` right behind the handshake and then listens until the client goes."""

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
