"""From a url to an open connection: DNS, TCP, proxy, TLS and the upgrade, under one deadline, cancelled at once.

Owns the order of the steps; must not import the session. Headers are signed by the callable it is given, right before
the request is written and only once the server is verified; no frame that holds them is part of what is raised (K02).
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from ..errors import KalshiFeedError
from ..forks import close_in_child
from .byte_stream import ByteStream, TlsByteStream
from .context import check_context, default_context
from .dial_deadline import DialCancelled, DialDeadline
from .failures import connection_failed, proxy_failed, proxy_refused
from .http import NotHttp, parse_answer
from .proxy import Proxy, connect_request
from .resolve import Address, Lookup, literal_address
from .transport import Transport
from .upgrade import DOING as UPGRADING
from .upgrade import Upgraded, read_head, upgrade
from .url import Endpoint, is_loopback_host
from .wakeup import Wakeup

__all__ = ["STEPS", "DialCancelled", "Progress", "dial"]

STEPS: Final = ("dns", "tcp", "proxy", "tls", "handshake")  # in order; with a proxy the first two are the way to it
Progress = Callable[[str, str], object]
T = TypeVar("T", bound=Transport)
IN_PROGRESS: Final = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN, errno.EINTR)


def dial(
    endpoint: Endpoint,
    headers: Callable[[], Mapping[str, str]],
    *,
    ssl_context: ssl.SSLContext | None,
    proxy: Proxy | None,
    deadline: float,
    wakeup: Wakeup,
    cancelled: Callable[[], bool],
    max_message_size: int,
    idle_timeout: float,
    write_timeout: float = 5.0,
    transport: type[T] = Transport,  # type: ignore[assignment]
    progress: Progress | None = None,
) -> T:
    """Connect; gives an open Transport (or what is derived from it), owned by the calling thread.

    ``deadline`` is a time.monotonic() for all the steps together. ``headers`` is called once, when TLS is up.
    ``cancelled`` is asked before every wait and after every ``wakeup``; wakes that come meanwhile are given back at
    the end. ``progress`` is told of each step that is done: its name in STEPS and what was found. Raises
    ConnectionFailed and its kinds, CredentialsError, and DialCancelled. Leaves no descriptor behind when it raises.
    """
    attempt = _Attempt(endpoint, proxy, ssl_context, DialDeadline(deadline, wakeup, cancelled), progress)
    outcome = attempt.run(headers)
    if isinstance(outcome, Exception):
        raise outcome
    upgraded, stream = outcome
    return transport(
        stream,
        upgraded.websocket,
        data=upgraded.data,
        max_message_size=max_message_size,
        idle_timeout=idle_timeout,
        write_timeout=write_timeout,
        now=time.monotonic(),
        server_time=upgraded.answer.server_time,
        clock_skew=upgraded.clock_skew,
        via="" if proxy is None else f" (through the proxy {proxy})",
    )


class _Attempt:
    """One dial. Not thread-safe; owned by the dialing thread."""

    def __init__(
        self,
        endpoint: Endpoint,
        proxy: Proxy | None,
        ssl_context: ssl.SSLContext | None,
        deadline: DialDeadline,
        progress: Progress | None,
    ) -> None:
        self._endpoint = endpoint
        self._proxy = proxy
        self._ssl_context = ssl_context
        self._deadline = deadline
        self._progress = progress
        self._stream: ByteStream | None = None
        self._doing = "connecting"
        self._at_proxy = proxy is not None  # whom a failure is to be blamed on

    def run(self, headers: Callable[[], Mapping[str, str]]) -> tuple[Upgraded, ByteStream] | Exception:
        """The open connection, or what to raise."""
        outcome: Upgraded | Exception | None = None
        try:
            stream = self._connect()
            self._doing = UPGRADING
            outcome = upgrade(stream, self._deadline, self._endpoint, self._proxy, headers)
            if isinstance(outcome, Upgraded):
                self._done("handshake", lambda: "the WebSocket is open")
                return outcome, stream
        except DialCancelled:
            outcome = DialCancelled()
        except Exception as error:
            outcome = self._failure(error)
        finally:
            self._deadline.restore()
            if not isinstance(outcome, Upgraded) and self._stream is not None:
                self._stream.close()
        return outcome

    def _failure(self, error: Exception) -> KalshiFeedError:
        if self._at_proxy and self._proxy is not None:
            return proxy_failed(error, self._doing, self._proxy)
        return connection_failed(error, self._doing, self._endpoint, self._proxy)

    def _done(self, step: str, found: Callable[[], str]) -> None:
        if self._progress is not None:
            self._progress(step, found())

    def _connect(self) -> ByteStream:
        """TCP, the proxy's tunnel and TLS."""
        endpoint, proxy = self._endpoint, self._proxy
        host, port = (endpoint.host, endpoint.port) if proxy is None else (proxy.host, proxy.port)
        self._doing = f"looking up {host}"
        addresses = self._resolve(host, port)
        found = ", ".join(str(address[0]) for _, address in addresses)
        self._done("dns", lambda: f"{host} is at {found}" if found != host else f"{host} is an address, no name")
        self._doing = "connecting"
        stream = ByteStream(self._connect_any(addresses))
        self._stream = stream
        self._done("tcp", lambda: "connected to {} port {}".format(*stream.sock.getpeername()))
        if proxy is not None:
            self._tunnel(stream, proxy)
            self._at_proxy = False
            self._done("proxy", lambda: f"{proxy} leads to {endpoint.authority}")
        if endpoint.is_secure:
            self._doing = "the TLS handshake"
            check_context(self._ssl_context, endpoint)  # it may have been changed since the feed was made
            secure = TlsByteStream(stream.sock, self._ssl_context or default_context(), endpoint.host)
            self._stream = stream = secure
            while not secure.handshake():
                self._deadline.wait(secure.fileno(), write=secure.wants_write)
            self._done("tls", secure.agreed)
        return stream

    def _resolve(self, host: str, port: int) -> Sequence[Address]:
        literal = literal_address(host, port)
        if literal is not None:
            return [literal]
        lookup = Lookup(host, port, self._deadline.wakeup.wake)
        lookup.start()
        while lookup.result is None:
            self._deadline.wait(None)
        if isinstance(lookup.result, Exception):
            raise lookup.result
        if not self._endpoint.is_loopback or self._at_proxy:
            return lookup.result
        # a url on loopback may be plain or unverified: it must not lead anywhere else, whatever a hosts file says
        nearby = [(family, address) for family, address in lookup.result if is_loopback_host(address[0])]
        if not nearby:
            raise OSError(f"{host} leads to no loopback address; check the hosts file")
        return nearby

    def _connect_any(self, addresses: Sequence[Address]) -> socket.socket:
        """The first address that answers; each gets its share of the time that is left (N03)."""
        last: Exception = OSError("the name has no address")
        for position, (family, address) in enumerate(addresses):
            now = time.monotonic()
            share = (self._deadline.deadline - now) / (len(addresses) - position)
            try:
                return self._connect_one(family, address, now + share)
            except OSError as error:  # TimeoutError among them
                last = error
        raise last

    def _connect_one(self, family: int, address: object, until: float) -> socket.socket:
        sock = close_in_child(socket.socket(family, socket.SOCK_STREAM))
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = sock.connect_ex(address)  # type: ignore[arg-type]
            while code in IN_PROGRESS:
                self._deadline.wait(sock.fileno(), read=False, write=True, until=until)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or _still_connecting(sock)
            if code:
                raise OSError(code, os.strerror(code))
        except BaseException:
            sock.close()
            raise
        return sock

    def _tunnel(self, stream: ByteStream, proxy: Proxy) -> None:
        """CONNECT through the proxy. Raises ProxyError, and what the reading raises."""
        self._doing = "CONNECT"
        stream.write(connect_request(self._endpoint, proxy))
        received = bytearray()
        length = read_head(stream, self._deadline, received)
        answer = parse_answer(bytes(received[:length]))
        if answer is None or len(received) > length:
            raise NotHttp("the answer to CONNECT is not HTTP")
        if not 200 <= answer.status < 300:
            raise proxy_refused(answer, proxy)


def _still_connecting(sock: socket.socket) -> int:
    """EINPROGRESS after a wake-up that came before the connection did, else 0."""
    try:
        sock.getpeername()
    except OSError as error:
        return errno.EINPROGRESS if error.errno == errno.ENOTCONN else error.errno or 0
    return 0
