"""The socket to a Redis: made, bounded, and ended from another thread.

redis-py makes sockets of its own; ours checks certificates the same way in all of its versions, counts what
a command brings, and can be ended by any thread while another one waits in it. Works with gevent: sockets are
what ``socket`` has when they are made. Owns Wire and dial().
"""

from __future__ import annotations

import _socket
import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ..connection.failures import connection_failed
from ..connection.url import Endpoint
from ..errors import ConnectionFailed, RelayError, TLSError
from .address import RedisAddress

__all__ = ["ReplyTooLong", "Wire", "dial"]

_LEAST_TIME: Final = 0.05  # seconds for each address, however late it is


class ReplyTooLong(RelayError):
    """Redis answered with more than we take in at once. The connection is gone; asking for less may help."""


class Wire:
    """A connected socket, for redis-py. One thread uses it; interrupt() may be called by any.

    ``limit``: bytes that may come after each command. ``lock``: see RedisClient.
    """

    __slots__ = ("_is_open", "_limit", "_lock", "_room", "_socket", "has_answered")

    def __init__(self, connected: socket.socket, limit: int, lock: threading.Lock) -> None:
        self._socket = connected
        self.has_answered = False  # whether a valid reply came; the owner's
        self._limit = limit
        self._room = limit  # bytes that may still come; the owner's
        self._lock = lock  # guards _is_open: a descriptor that was closed may belong to another file by now
        self._is_open = True

    def sendall(self, data: bytes) -> None:
        """Send a command, and begin to count its reply."""
        self._room = self._limit
        self._socket.sendall(data)

    def recv(self, size: int, *flags: int) -> bytes:
        """Receive as a socket does. Raises ReplyTooLong."""
        data = self._socket.recv(size, *flags)
        self._count(len(data))
        return data

    def recv_into(self, buffer: Any, *sizes: int) -> int:
        """Receive as a socket does. Raises ReplyTooLong."""
        size = self._socket.recv_into(buffer, *sizes)
        self._count(size)
        return size

    def is_spoiled(self) -> bool:
        """Whether the connection has ended, or something came that no command asked for."""
        patience = self._socket.gettimeout()
        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            self._socket.settimeout(patience)
        return True

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket. The owner's thread, or a forked child."""
        with self._lock:
            self._is_open = False
        self._socket.close()

    def interrupt(self) -> None:
        """End a call that is waiting for the socket. Any thread, with the lock held."""
        if self._is_open:
            _shut_down(self._socket.fileno())

    def close_in_child(self) -> None:
        """Close a forked child's copy; the connection stays the parent's."""
        self._socket.close()

    def __getattr__(self, name: str) -> Any:  # whatever else redis-py asks of a socket
        return getattr(self._socket, name)

    def _count(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise ReplyTooLong(f"the reply is longer than {self._limit} bytes")


def dial(
    address: RedisAddress,
    timeout: float,
    context: Callable[[], ssl.SSLContext],
    wire: Callable[[socket.socket], Wire],
) -> Wire:
    """Connect within ``timeout`` seconds, with a TLS handshake for rediss://.

    ``context`` returns the TLS settings; ``wire`` makes a Wire, and is called as soon as there is a socket to
    interrupt. Raises RelayError, whose message does not say which Redis it is about.
    """
    deadline = time.monotonic() + timeout
    failure = OSError("the host name has no address")
    try:
        targets = _targets(address)
        for left, (family, target) in zip(range(len(targets), 0, -1), targets, strict=True):
            patience = max((deadline - time.monotonic()) / left, _LEAST_TIME)
            try:
                return _connect(family, target, address, patience, context, wire)
            except OSError as error:
                failure = error
    except OSError as error:
        failure = error
    raise _described(failure, address, timeout)


def _targets(address: RedisAddress) -> list[tuple[int, Any]]:
    if address.path:
        return [(socket.AF_UNIX, address.path)]
    found = socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM)
    return [(family, target) for family, _, _, _, target in found]


def _connect(
    family: int,
    target: Any,
    address: RedisAddress,
    patience: float,
    context: Callable[[], ssl.SSLContext],
    wire: Callable[[socket.socket], Wire],
) -> Wire:
    made = wire(socket.socket(family, socket.SOCK_STREAM))
    try:
        made.settimeout(patience)
        if not address.path:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.connect(target)
        if address.is_secure:
            plain = made._socket
            secured = context().wrap_socket(
                plain, server_hostname=address.host, do_handshake_on_connect=False
            )
            made = wire(secured)
            _shake_hands(secured)
    except BaseException:
        made.close()
        raise
    return made


def _shake_hands(secured: ssl.SSLSocket) -> None:
    try:
        secured.do_handshake()
    except TimeoutError:  # a Redis without TLS waits for the end of the line
        raise RelayError(
            "no answer to the TLS handshake; if that Redis has no TLS, its url begins with redis://"
        ) from None


def _described(error: OSError, address: RedisAddress, timeout: float) -> RelayError:
    if isinstance(error, TimeoutError):
        return RelayError(f"no connection within {timeout:g} s: the host or a firewall does not answer")
    if address.path:
        if isinstance(error, FileNotFoundError):
            return RelayError("there is no such socket; is Redis running, and does it have a unixsocket?")
        if isinstance(error, ConnectionRefusedError):
            return RelayError("the connection was refused: no Redis is listening there")
        return RelayError(f"connecting failed: {error.strerror or error}")
    endpoint = Endpoint(address.redacted, address.scheme, address.host, address.port, "", False)
    found = connection_failed(error, "connecting", endpoint, None)
    if isinstance(found, TLSError):
        if not isinstance(error, ssl.SSLCertVerificationError):
            advice = "; if that Redis has no TLS, its url begins with redis://"
        else:  # the feed's own advice is about an argument that we do not have
            advice = "; pass the CA's certificate as ca_file" if found.advice else ""
        failure = RelayError(found.problem + advice, retryable=False)
    else:
        said = str(found).removeprefix(f"{endpoint.redacted}: ")
        failure = RelayError(said)
    failure.__cause__ = found.__cause__ if isinstance(found, ConnectionFailed) else None
    return failure


def _shut_down(descriptor: int) -> None:
    """Shut the connection down below TLS and gevent, which both keep a state for the owner's thread."""
    with contextlib.suppress(OSError):
        twin = _socket.socket(fileno=os.dup(descriptor))
        try:
            twin.shutdown(socket.SHUT_RDWR)
        finally:
            twin.close()
