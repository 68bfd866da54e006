"""A raw-socket peer for the tests: one thread per connection runs a handler that may write any bytes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, declared: int | None = None
) -> bytes:
    """One unmasked server frame; ``declared`` lies about the length (64-bit form)."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    length = len(payload)
    if declared is not None:
        return struct.pack(">BBQ", first, 127, declared) + payload
    if length < 126:
        return struct.pack(">BB", first, length) + payload
    if length < 65_536:
        return struct.pack(">BBH", first, 126, length) + payload
    return struct.pack(">BBQ", first, 127, length) + payload


class Peer:
    """The server's end of one connection. Owned by its handler's thread."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request = b""
        self._buffer = b""

    def read_request(self) -> dict[str, str]:
        """The request's headers, read from the socket once."""
        if not self.request:
            while b"\r\n\r\n" not in self._buffer:
                data = self.sock.recv(65_536)
                if not data:
                    raise ConnectionError("no request")
                self._buffer += data
            self.request, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        lines = self.request.decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def accept_key(self) -> bytes:
        key = self.read_request()["sec-websocket-key"].encode()
        return base64.b64encode(hashlib.sha1(key + GUID).digest())

    def handshake(self, extra: bytes = b"", behind: bytes = b"") -> None:
        accept = self.accept_key()
        self.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n" + extra + b"\r\n" + behind
        )

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _exactly(self, count: int) -> bytes:
        buffer = bytearray(self._buffer)
        while len(buffer) < count:
            data = self.sock.recv(65_536)
            if not data:
                raise ConnectionError("closed")
            buffer += data
        self._buffer = bytes(buffer[count:])
        return bytes(buffer[:count])

    def read_frame(self) -> tuple[int, bytes]:
        """The client's next frame: (opcode, unmasked payload). Raises ConnectionError at the end."""
        first, second = self._exactly(2)
        assert second & 0x80, "a client's frame must be masked"
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(self._exactly(2), "big")
        elif length == 127:
            length = int.from_bytes(self._exactly(8), "big")
        mask = self._exactly(4)
        payload = int.from_bytes(self._exactly(length), "big")
        pattern = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        return first & 0x0F, (payload ^ pattern).to_bytes(length, "big")

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_closed(self) -> bytes:
        """Everything the client still sends until it closes."""
        data = self._buffer
        with contextlib.suppress(OSError):
            while chunk := self.sock.recv(65_536):
                data += chunk
        return data


class RawServer:
    """Listens on loopback and runs ``handler(peer)`` in a thread per connection; its errors fail the test."""

    def __init__(self, handler: Callable[[Peer], None], context: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.failures: list[BaseException] = []
        self.connections = 0
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> RawServer:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive(), "a server thread hangs"
        if kind is None:
            for failure in self.failures:
                raise failure

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(sock)
            self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        # or Nagle holds the second write back for 40 ms
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            self._handler(Peer(sock))
        except OSError:  # the client went away: most tests end like this
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            sock.close()
