"""The WebSocket upgrade: websocket-client writes the request and checks the answer, but never has the socket.

The stand-in reads the answer's head itself, within the dial's deadline and a byte limit. So websocket-client
only ever sees a complete 101, and every other status is reported as such, whatever its body looks like.
Cookies are removed in both directions: websocket-client's cookie jar is shared by the whole process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import websocket

from ..errors import ConnectionFailed, CredentialsError, KalshiFeedError
from .byte_stream import ByteStream
from .deflate import HEADER as EXTENSIONS
from .deflate import OFFER, wrong_answer
from .dial_deadline import DialCancelled, DialDeadline
from .failures import connection_failed, local_time, peer_words, rejected
from .http import Answer
from .proxy import Proxy
from .read_answer import read_body, read_head
from .redaction import detach, install_log_filter
from .url import Endpoint

__all__ = ["Upgraded", "upgrade"]

DOING: Final = "the WebSocket handshake"
_COOKIES: Final = re.compile(
    rb"^(?:set-)?cookie[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE
)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

install_log_filter()


@dataclass(frozen=True)
class Upgraded:
    """An upgrade that succeeded: websocket-client's object, the answer, and the bytes that came after it.

    ``clock_skew`` is our clock minus the server's in seconds, None without a Date. ``compressed``: whether
    the server took the offer of permessage-deflate. Thread-safe: immutable.
    """

    websocket: Any  # websocket.WebSocket, which has no types
    answer: Answer
    data: bytes
    clock_skew: float | None
    compressed: bool


class _Refused(Exception):
    """An answer other than 101, on its way out through websocket-client's frames."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def upgrade(
    stream: ByteStream,
    deadline: DialDeadline,
    endpoint: Endpoint,
    proxy: Proxy | None,
    headers: Callable[[], Mapping[str, str]],
    compression: bool,
) -> Upgraded | KalshiFeedError | DialCancelled:
    """Sign, send the request, with the offer of ``compression`` if that is wanted, and check the answer.

    Errors are returned, not raised, because this frame holds the headers (K02).
    """
    signed = _sign(headers)
    if isinstance(signed, KalshiFeedError):
        return signed
    secrets = (
        *endpoint.secrets,
        *(value for name, value in signed.items() if name != "KALSHI-ACCESS-TIMESTAMP"),
    )
    offer = {EXTENSIONS: OFFER} if compression else {}
    stand_in = _HandshakeSocket(stream, deadline)
    client: Any = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)
    try:
        # suppress_origin: with an Origin header the exchange answers 403 (PROTOCOL.md 1.2)
        client.connect(
            endpoint.url,
            socket=stand_in,
            header=signed | offer,
            suppress_origin=True,
            redirect_limit=0,
        )
    except DialCancelled:
        return DialCancelled()
    except _Refused as refused:
        return rejected(refused.answer, endpoint, local_time(), secrets)
    except Exception as error:
        return connection_failed(stand_in.failure or error, DOING, endpoint, proxy, secrets)
    answer = stand_in.answer
    # cannot happen today; but nothing else must ever pass for a connection
    if answer is None or client.getstatus() != 101:
        return ConnectionFailed(f"{endpoint.redacted}: {DOING} failed: no status 101")
    extensions = answer.headers.get(EXTENSIONS)
    for name in (EXTENSIONS, "sec-websocket-protocol"):
        if name in answer.headers and name not in offer:
            return ConnectionFailed(
                f"{endpoint.redacted}: {DOING} failed: the server turned on something we did not ask for "
                f"({name}); a proxy on the way may have added it"
            )
    if extensions is not None and (wrong := wrong_answer(extensions)):
        return ConnectionFailed(
            f"{endpoint.redacted}: {DOING} failed: the server's answer to the offer of compression cannot be "
            f"used ({peer_words(extensions, secrets)}): {wrong}; compression=False does without"
        )
    skew = None if answer.server_time is None else (local_time() - answer.server_time).total_seconds()
    return Upgraded(client, answer, stand_in.rest(), skew, compressed=extensions is not None)


def _sign(headers: Callable[[], Mapping[str, str]]) -> dict[str, str] | KalshiFeedError:
    try:
        signed = dict(headers())
    except KalshiFeedError as error:
        detach(error)  # the signer's frames hold the key
        return error
    except Exception as error:  # not kept as the cause: a signer's exception may hold anything
        return CredentialsError(
            f"the handshake could not be signed ({type(error).__name__}); check the private key"
        )
    for name, value in signed.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
            return CredentialsError(
                "a handshake header contains control or non-ASCII characters; check the API key id"
            )
    return signed


class _HandshakeSocket:
    """websocket-client's socket during ``connect``. Not thread-safe; owned by the dialing thread."""

    def __init__(self, stream: ByteStream, deadline: DialDeadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self._received = bytearray()  # what was read and is not part of the head
        self._served: bytes | None = None  # the answer's head, once it was read completely
        self._position = 0  # how much of it websocket-client has read
        self.answer: Answer | None = None  # a 101, parsed
        self.failure: Exception | None = None  # websocket-client replaces it with its own type

    def send(self, data: bytes) -> int:
        """Send all of ``data``, the whole request: websocket-client ignores how much was sent."""
        self._stream.write(_COOKIES.sub(b"", data))
        while self._stream.wants_write:
            self._deadline.wait(self._stream.fileno(), read=False, write=True)
            self._stream.flush()
        return len(data)

    def recv(self, size: int) -> bytes:
        """Serve the answer's head; the first call reads all of it. Raises _Refused and read errors."""
        if self._served is None:
            try:
                self._served = self._read_answer()
            except Exception as error:
                self.failure = error
                raise
        data = self._served[self._position : self._position + size]
        self._position += len(data)
        return data

    def _read_answer(self) -> bytes:
        head, answer = read_head(self._stream, self._deadline, self._received)
        if answer.status != 101:
            raise _Refused(read_body(self._stream, self._deadline, answer, self._received))
        self.answer = answer
        return _COOKIES.sub(b"", head)

    def rest(self) -> bytes:
        """The bytes that came after the answer: the first frames."""
        return bytes(self._received)

    def gettimeout(self) -> float:
        """Return 0: websocket-client then calls ``send`` and ``recv`` directly and never waits by itself."""
        return 0.0

    def close(self) -> None:
        """Do nothing: the dial closes the stream."""
