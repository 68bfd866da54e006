"""An HTTP proxy for the tests: a RawServer handler that opens tunnels, or answers CONNECT as configured."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Final

from .raw_server import Peer

__all__ = ["OK", "Tunnel"]

OK: Final = b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n"


class Tunnel:
    """Answers CONNECT with ``answer`` and, if that is OK, forwards to the target, or to the local ``port``.

    ``seen``: what was sent to it after CONNECT, and what it forwarded in either direction.
    """

    def __init__(self, answer: bytes = OK, port: int | None = None) -> None:
        self.answer = answer
        self._port = port
        self.requests: list[bytes] = []
        self.seen = b""
        self._open: list[socket.socket] = []

    def __call__(self, peer: Peer) -> None:
        peer.read_request()
        self.requests.append(peer.request)
        if self.answer != OK:
            peer.send(self.answer)
            self.seen += peer.wait_closed()
            return
        host, port = peer.request.split()[1].decode().rsplit(":", 1)
        if self._port is not None:
            host, port = "127.0.0.1", str(self._port)
        with socket.create_connection((host, int(port))) as server:
            self._open += [peer.sock, server]
            peer.send(OK)
            peer.sock.settimeout(None)
            back = threading.Thread(target=self._copy, args=(server, peer.sock))
            back.start()
            self._copy(peer.sock, server)
            back.join(5)

    def cut(self) -> None:
        """Drop every tunnel."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self.seen += data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
