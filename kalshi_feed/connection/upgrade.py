"""The WebSocket upgrade: websocket-client writes the request and checks the answer, over a stand-in for its
socket.

The stand-in reads the answer's head itself, under the dial's deadline and a byte budget, so websocket-client
only ever sees a complete 101, and every other status keeps its meaning whatever its body does. Cookies are
taken out both ways: websocket-client's jar is shared by the whole process. Owns the upgrade.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import websocket

from ..errors import ConnectionFailed, CredentialsError, KalshiFeedError
from .byte_stream import ByteStream
from .dial_deadline import DialCancelled, DialDeadline
from .failures import connection_failed, local_time, rejected
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
    """An upgrade that succeeded: websocket-client's object, the answer, and the bytes that came behind it."""

    websocket: Any  # websocket.WebSocket, which has no types
    answer: Answer
    data: bytes
    clock_skew: float | None


class _Refused(Exception):
    """Any answer but 101; carries it through websocket-client's frames."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def upgrade(
    stream: ByteStream,
    deadline: DialDeadline,
    endpoint: Endpoint,
    proxy: Proxy | None,
    headers: Callable[[], Mapping[str, str]],
) -> Upgraded | KalshiFeedError | DialCancelled:
    """Sign, send the request and check the answer. Gives the error instead of raising it: this frame holds
    the headers (K02)."""
    signed = _sign(headers)
    if isinstance(signed, KalshiFeedError):
        return signed
    secrets = (
        *endpoint.secrets,
        *(value for name, value in signed.items() if name != "KALSHI-ACCESS-TIMESTAMP"),
    )
    stand_in = _HandshakeSocket(stream, deadline)
    client: Any = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)
    try:
        # suppress_origin: with an Origin header the exchange answers 403 (PROTOCOL.md 1.2)
        client.connect(endpoint.url, socket=stand_in, header=signed, suppress_origin=True, redirect_limit=0)
    except DialCancelled:
        return DialCancelled()
    except _Refused as refused:
        return rejected(refused.answer, endpoint, local_time(), secrets)
    except Exception as error:
        return connection_failed(stand_in.failure or error, DOING, endpoint, proxy, secrets)
    answer = stand_in.answer
    # not as things stand; but nothing else may ever pass for a connection
    if answer is None or client.getstatus() != 101:
        return ConnectionFailed(f"{endpoint.redacted}: {DOING} failed: no status 101")
    for name in ("sec-websocket-extensions", "sec-websocket-protocol"):
        if name in answer.headers:
            return ConnectionFailed(
                f"{endpoint.redacted}: {DOING} failed: the server turned on something that was not asked for "
                f"({name}); "
                "a proxy on the way may have added it"
            )
    skew = None if answer.server_time is None else (local_time() - answer.server_time).total_seconds()
    return Upgraded(client, answer, stand_in.rest(), skew)


def _sign(headers: Callable[[], Mapping[str, str]]) -> dict[str, str] | KalshiFeedError:
    try:
        signed = dict(headers())
    except KalshiFeedError as error:
        detach(error)  # the signer's frames hold the key
        return error
    except Exception as error:  # no cause: nobody knows what a signer's exception holds
        return CredentialsError(
            f"the handshake could not be signed ({type(error).__name__}); check the private key"
        )
    for name, value in signed.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
            return CredentialsError(
                "a handshake header holds control or non-ASCII characters; check the api key id"
            )
    return signed


class _HandshakeSocket:
    """What websocket-client takes for its socket during ``connect``. Not thread-safe; owned by the dialing
    thread."""

    def __init__(self, stream: ByteStream, deadline: DialDeadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self._received = bytearray()
        self._served: bytes | None = None
        self._position = 0
        self.answer: Answer | None = None
        self.failure: Exception | None = None  # before websocket-client gives it another name

    def send(self, data: bytes) -> int:
        """All of ``data``, which is the whole request: websocket-client does not look at how much was
        sent."""
        self._stream.write(_COOKIES.sub(b"", data))
        while self._stream.wants_write:
            self._deadline.wait(self._stream.fileno(), read=False, write=True)
            self._stream.flush()
        return len(data)

    def recv(self, size: int) -> bytes:
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
        """What came behind the answer: the first frames."""
        return bytes(self._received)

    def gettimeout(self) -> float:
        """0: websocket-client then calls ``send`` and ``recv`` directly and never waits by itself."""
        return 0.0

    def close(self) -> None:
        """Nothing: the dial closes the stream."""
