"""From a url to an open connection: DNS, TCP, proxy, TLS and upgrade, with one deadline and cancellable.

Owns the order of the steps. The headers come from a callable, which is called right before the request is
written and only after the server was verified; the traceback of an error never includes a frame that holds
them (K02).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from ..errors import KalshiFeedError
from .byte_stream import ByteStream, TlsByteStream
from .context import check_context, default_context
from .dial_deadline import DialCancelled, DialDeadline
from .failures import connection_failed, proxy_failed, proxy_refused
from .proxy import Proxy, connect_request
from .read_answer import read_body, read_head
from .resolve import Address, Lookup, literal_address
from .tcp import connect_first
from .transport import Transport
from .upgrade import DOING as UPGRADING
from .upgrade import Upgraded, upgrade
from .url import Endpoint, is_loopback_host
from .wakeup import Wakeup

__all__ = ["STEPS", "DialCancelled", "Progress", "dial"]

# in order; with a proxy the first two lead to the proxy
STEPS: Final = (
    "dns",
    "tcp",
    "proxy",
    "tls",
    "handshake",
)
Progress = Callable[[str, str], object]
T = TypeVar("T", bound=Transport)


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
    compression: bool = False,
    transport: type[T] = Transport,  # type: ignore[assignment]
    progress: Progress | None = None,
) -> T:
    """Connect and return an open Transport (or the given subclass of it), owned by the calling thread.

    ``deadline`` is a time.monotonic() for all steps together. ``headers`` is called once, when TLS is up.
    ``cancelled`` is called before every wait and after every wake; wakes that come meanwhile are given back
    at the end. ``compression`` offers permessage-deflate, which the server need not take. ``progress`` is
    called after each step with the step's name in STEPS and what was found. Raises ConnectionFailed and its
    subclasses, CredentialsError, and DialCancelled. Leaves no descriptor open when it raises.
    """
    attempt = _Attempt(
        endpoint, proxy, ssl_context, DialDeadline(deadline, wakeup, cancelled), progress, compression
    )
    outcome = attempt.run(headers)
    if isinstance(outcome, Exception):
        raise outcome
    upgraded, stream = outcome
    return transport(
        stream,
        upgraded.websocket,
        data=upgraded.data,
        max_message_size=max_message_size,
        compressed=upgraded.compressed,
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
        compression: bool,
    ) -> None:
        self._endpoint = endpoint
        self._proxy = proxy
        self._ssl_context = ssl_context
        self._deadline = deadline
        self._progress = progress
        self._compression = compression  # whether to offer it
        self._stream: ByteStream | None = None  # to close if the dial fails
        self._doing = "connecting"
        self._at_proxy = proxy is not None  # whether a failure is the proxy's fault

    def run(self, headers: Callable[[], Mapping[str, str]]) -> tuple[Upgraded, ByteStream] | Exception:
        """Return the open connection, or the error to raise."""
        outcome: Upgraded | Exception | None = None
        try:
            stream = self._connect()
            self._doing = UPGRADING
            outcome = upgrade(stream, self._deadline, self._endpoint, self._proxy, headers, self._compression)
            if isinstance(outcome, Upgraded):
                compressed = ", compressed" if outcome.compressed else ""
                self._done("handshake", lambda: f"the WebSocket is open{compressed}")
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
        self._done(
            "dns", lambda: f"{host} is at {found}" if found != host else f"{host} is already an IP address"
        )
        self._doing = "connecting"
        stream = ByteStream(connect_first(addresses, self._deadline))
        self._stream = stream
        self._done("tcp", lambda: "connected to {} port {}".format(*stream.sock.getpeername()))
        if proxy is not None:
            self._tunnel(stream, proxy)
            self._at_proxy = False
            self._done("proxy", lambda: f"{proxy} leads to {endpoint.authority}")
        if endpoint.is_secure:
            self._doing = "the TLS handshake"
            check_context(self._ssl_context, endpoint)  # it may have changed since the feed was made
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
        # a loopback url may be plain or unverified: it must not lead elsewhere, whatever the hosts file says
        nearby = [(family, address) for family, address in lookup.result if is_loopback_host(address[0])]
        if not nearby:
            raise OSError(f"{host} does not resolve to a loopback address; check the hosts file")
        return nearby

    def _tunnel(self, stream: ByteStream, proxy: Proxy) -> None:
        """Open the proxy's tunnel with CONNECT. Raises ProxyError, and what reading the answer raises."""
        self._doing = "CONNECT"
        stream.write(connect_request(self._endpoint, proxy))
        received = bytearray()
        _, answer = read_head(stream, self._deadline, received)
        # a tunnel is silent until we speak: anything after a 200 is a web page, and must not pass for the
        # exchange's bytes
        if received or not 200 <= answer.status < 300:
            raise proxy_refused(read_body(stream, self._deadline, answer, received), proxy)
