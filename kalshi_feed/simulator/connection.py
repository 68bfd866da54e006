"""One client's socket: TLS, the opening handshake, frames, pings, and the ways a connection can end.

Owns the socket and the thread that serves it. One thread does everything, without blocking: an SSLSocket that
two threads read and write crashes (fault T08). That rules out websockets.sync.server, which reads and writes
in different threads; this uses the sans-I/O ServerProtocol of the same package. A client whose first request
is for REST is served with ``http_wire`` on the same thread, one request after the other.
"""

from __future__ import annotations

import contextlib
import email.utils
import http
import logging
import random
import selectors
import socket
import ssl
import struct
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from . import wire
from .faults import Faults
from .http_wire import HttpAnswer, HttpRequest, RequestReader, speaks_rest
from .session import ServerSession, Venue

OPEN_TIMEOUT = 10.0  # for the upgrade, and for each REST request from its first byte
IDLE_TIMEOUT = 60.0  # between REST requests, and for a client to read an answer
CLOSE_TIMEOUT = 1.0
MAX_COMMAND_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
CHUNKS_AT_ONCE = 32  # then the socket and the clock get a look
COMMANDS_AT_ONCE = 256  # at most this many are handed to the exchange together

# websockets logs request headers at DEBUG, and they contain a signature.
_silent = logging.getLogger("kalshi_feed.simulator.protocol")
_silent.setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class Refusal:
    """An HTTP answer other than 101."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Close:
    """Send a close frame and wait for the answer."""

    code: int | None
    reason: str = ""


@dataclass(frozen=True)
class Fin:
    """End our direction of the TCP connection; ``notify``: with a TLS close_notify before it."""

    notify: bool


Item = bytes | Close | Fin


class Hub(Venue, Protocol):
    """What a connection needs of the exchange."""

    lock: threading.Lock

    def admit(self, path: str, headers: Mapping[str, str]) -> Refusal | None: ...
    def handshaken(self, path: str, headers: Mapping[str, str], status: int) -> None: ...
    def opened(self, connection: Connection, answer: bytes) -> None: ...
    def answer(self, request: HttpRequest, connection: int) -> HttpAnswer: ...
    def received(self, connection: Connection, payloads: Sequence[bytes]) -> None: ...
    def drained(self, connection: Connection) -> None: ...
    def ended(self, connection: Connection) -> None: ...


class _Ended(Exception):
    """The socket is no longer of use."""


class Connection:
    """One client. Its own thread owns the socket; attributes marked (lock) are guarded by the exchange's
    lock."""

    def __init__(self, hub: Hub, sock: socket.socket, context: ssl.SSLContext | None, number: int) -> None:
        self._hub = hub
        self._sock = sock
        self._context = context
        self.index: int | None = None  # (lock) its place among the upgraded ones
        self.session = ServerSession(hub, self)  # (lock)
        self.faults = Faults()  # (lock)
        # (lock) picks the order of its answers
        self.chance = random.Random(number + (hub.settings.seed or 0))
        self.muted = False  # (lock) sends nothing
        self.deaf = False  # (lock) reads nothing
        self.dirty = False  # (lock) there is something new for its thread
        self.buffered = 0  # (lock) bytes queued that the socket has not taken yet
        self.unheard: list[bytes] = []  # (lock) commands that were read just after it became deaf
        self.pongs = 0  # (lock)
        self.pings_received = 0  # (lock)
        self._outbox: deque[Item] = deque()  # (lock)
        self._stop_at: float | None = None  # (lock) the exchange is closing: end by then
        self._reset = False  # (lock) drop it with RST
        self._taken: deque[Item] = deque()
        self._current = memoryview(b"")
        self._fragments: list[bytes] = []
        self._read: list[bytes] = []  # commands that arrived together, not yet handed to the exchange
        self._request: Request | None = None
        self._deadline: float | None = None
        self._ending = False  # close frame or FIN has been sent: nothing more follows
        self._opening: bytearray | None = bytearray()  # until it is known what the client speaks
        self._requests: RequestReader | None = None  # of a client that speaks REST
        self._begun = False  # whether part of a REST request is there
        self._due: tuple[float, HttpAnswer] | None = None  # the answer to send next, and when
        self._number = number
        self._protocol = ServerProtocol(max_size=MAX_COMMAND_BYTES, logger=_silent)
        self._selector = selectors.DefaultSelector()
        self._interest = 0
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        # Guards the life of the wake-up socket, so that no byte goes to a descriptor that is in use again.
        # Only send and close run under it.
        self._wake_lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, name=f"kalshi-exchange-{number}", daemon=True)

    # -- any thread, under the exchange's lock ---------------------------------------------------------------
    def queue(self, item: Item) -> None:
        """Put bytes, or an end, behind everything queued so far."""
        self._outbox.append(item)
        if isinstance(item, bytes):
            self.buffered += len(item)
        self.dirty = True

    def emit(self, type_: str, payload: bytes) -> None:
        """Queue a message, after the armed faults have had their way with it."""
        for out in self.faults.apply(type_, payload):
            framed = self._framed(out)
            self._outbox.append(framed)
            self.buffered += len(framed)
        self.dirty = True

    def _framed(self, payload: bytes) -> bytes:
        if not self._protocol.extensions:  # compression, or nothing: set before the first message
            return wire.frame(wire.TEXT, payload)
        return Frame(Opcode.TEXT, payload).serialize(mask=False, extensions=self._protocol.extensions)

    @property
    def overflowing(self) -> bool:
        """Whether the client is further behind than ``max_buffer``."""
        return self.buffered > self._hub.settings.max_buffer

    def set_state(self, *, muted: bool, deaf: bool) -> None:
        """``muted``: send nothing; ``deaf``: read nothing."""
        self.muted, self.deaf, self.dirty = muted, deaf, True

    def reset(self) -> None:
        """End with RST at once; queued bytes are not sent."""
        self._reset = self.dirty = True

    def stop(self, timeout: float) -> None:
        """Close the connection and end within ``timeout`` seconds, whatever the peer does."""
        self.set_state(muted=False, deaf=False)
        self._stop_at = time.monotonic() + timeout
        self.queue(Close(1001))

    # -- any thread, without the lock ------------------------------------------------------------------------
    def wake(self) -> None:
        """Have the connection's thread look at what is new."""
        with self._wake_lock, contextlib.suppress(OSError):  # full: it is awake anyway; closed: it has ended
            self._wake_out.send(b"x")

    # -- the connection's thread -----------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            self._selector.register(self._wake_in, selectors.EVENT_READ)
            self._sock.setblocking(False)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                self._shake_hands(self._context)
            self._deadline = time.monotonic() + OPEN_TIMEOUT
            self._serve()
        except (_Ended, OSError):  # ssl.SSLError is an OSError
            pass
        finally:
            self._set_interest(0)
            self._selector.close()
            with self._wake_lock:
                self._wake_in.close()
                self._wake_out.close()
            self._sock.close()
            self._hub.ended(self)

    def _shake_hands(self, context: ssl.SSLContext) -> None:
        # raises if the client has reset it already; wrap_socket would raise, too, and leave a socket open
        self._sock.getpeername()
        try:
            self._sock = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        except OSError as error:  # reset just now
            for frame, _ in traceback.walk_tb(error.__traceback__):
                left_open = frame.f_locals.get("self")
                if isinstance(left_open, ssl.SSLSocket):
                    left_open.close()
            raise
        deadline = time.monotonic() + OPEN_TIMEOUT
        while True:
            try:
                return self._sock.do_handshake()
            except ssl.SSLWantReadError:
                interest = selectors.EVENT_READ
            except ssl.SSLWantWriteError:
                interest = selectors.EVENT_WRITE
            self._wait(interest, deadline)
            if self._stop_at is not None or time.monotonic() >= deadline:
                raise _Ended

    def _serve(self) -> None:
        next_ping = None
        while True:
            if self._reset:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise _Ended
            now = time.monotonic()
            if self._request is not None and (next_ping is None or now >= next_ping):
                if next_ping is not None and self._hub.settings.pings and not self.muted:
                    with self._hub.lock:
                        self.queue(wire.frame(wire.PING, b"heartbeat"))
                next_ping = now + self._hub.settings.heartbeat
            if self._due is not None and now >= self._due[0]:
                self._send_answer(self._due[1])
                continue
            more = not self.muted and self._flush()
            if self._requests is not None:
                self._read_request(self._requests)
            due = None if self._due is None else self._due[0]
            deadlines = [at for at in (self._deadline, self._stop_at) if at is not None]
            if deadlines and now >= min(deadlines):
                raise _Ended
            deadlines += [at for at in (next_ping, due) if at is not None]
            interest = 0 if self.deaf else selectors.EVENT_READ
            if self._current and not self.muted:
                interest |= selectors.EVENT_WRITE
            if self._wait(interest, 0.0 if more else min(deadlines, default=None)) & selectors.EVENT_READ:
                self._receive()

    def _wait(self, interest: int, until: float | None) -> int:
        """Wait for the socket, a wake-up or the time; returns the events that the socket is ready for."""
        self._set_interest(interest)
        timeout = None if until is None else max(0.0, until - time.monotonic())
        ready = 0
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._wake_in:
                with contextlib.suppress(BlockingIOError):
                    self._wake_in.recv(4096)
            else:
                ready |= events
        return ready

    def _set_interest(self, interest: int) -> None:
        if interest == self._interest:
            return
        if not interest:
            self._selector.unregister(self._sock)
        elif not self._interest:
            self._selector.register(self._sock, interest)
        else:
            self._selector.modify(self._sock, interest)
        self._interest = interest

    # -- sending ---------------------------------------------------------------------------------------------
    def _flush(self) -> bool:
        """Write until nothing is left (False), the socket is full (False), or it is time for other work
        (True)."""
        for _ in range(CHUNKS_AT_ONCE):
            if not self._current and not self._next_chunk():
                return False
            try:
                sent = self._sock.send(self._current)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                return False
            self._current = self._current[sent:]
            self._account(sent)
        return True

    def _account(self, sent: int) -> None:
        with self._hub.lock:
            self.buffered -= sent
            if not self.buffered:
                self._hub.drained(self)

    def _next_chunk(self) -> bool:
        """Put the next bytes to send into ``_current``; an end among the items is begun on the way."""
        parts: list[bytes] = []
        size = 0
        while size < CHUNK_BYTES:
            if not self._taken:
                with self._hub.lock:
                    if not self.muted:
                        self._taken, self._outbox, self.dirty = self._outbox, self._taken, False
                if not self._taken:
                    break
            item = self._taken[0]
            if isinstance(item, bytes):
                self._taken.popleft()
                if self._ending:
                    self._account(len(item))
                else:
                    parts.append(item)
                    size += len(item)
                continue
            if parts:
                break  # first send the bytes before it
            self._taken.popleft()
            closing = self._end(item)
            if closing:
                parts.append(closing)
                with self._hub.lock:
                    self.buffered += len(closing)
                break
        self._current = memoryview(b"".join(parts))
        return bool(parts)

    def _end(self, how: Close | Fin) -> bytes:
        """Begin to end the connection; returns the bytes to send for it."""
        if isinstance(how, Close):
            if self._ending:
                return b""
            self._ending = True
            self._deadline = time.monotonic() + CLOSE_TIMEOUT
            if self._request is None:
                raise _Ended  # the exchange closes before the upgrade
            return wire.frame(wire.CLOSE, wire.close_payload(how.code, how.reason))
        self._ending = True
        self._deadline = time.monotonic() + CLOSE_TIMEOUT
        if how.notify and isinstance(self._sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self._sock.unwrap()
        # the TCP connection's direction only: SSLSocket.shutdown would also end reading
        socket.socket.shutdown(self._sock, socket.SHUT_WR)
        return b""

    # -- receiving -------------------------------------------------------------------------------------------
    def _receive(self) -> None:
        try:
            self._read_all()
        finally:
            self._hand_over()

    def _hand_over(self) -> None:
        """Hand over the commands read so far: they arrived together, and may be answered in another order."""
        if self._read:
            payloads, self._read = self._read, []
            self._hub.received(self, payloads)

    def _read_all(self) -> None:
        """Read everything the socket has now, one TLS record (often one command) at a time."""
        while True:
            try:
                data = self._sock.recv(CHUNK_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                return
            if not data:
                raise _Ended
            if self._opening is not None:
                self._opening += data
                is_rest = speaks_rest(self._opening)
                if is_rest is None:
                    continue
                data, self._opening = bytes(self._opening), None
                self._requests = RequestReader() if is_rest else None
            if self._requests is not None:
                if not self._requests.feed(data):
                    raise _Ended  # it is far ahead of the answers
                continue
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Request):
                    self._answer(event)
                elif isinstance(event, Frame):
                    self._take_frame(event)
            replies = self._protocol.data_to_send()
            if replies or len(self._read) >= COMMANDS_AT_ONCE:
                self._hand_over()  # a command before a close frame is answered before it
            with self._hub.lock:
                for out in replies:
                    self.queue(bytes(out) if out else Fin(notify=True))

    def _read_request(self, reader: RequestReader) -> None:
        """Have the next REST request answered, once the client has taken the answer before it."""
        if self._ending or self._due is not None or self.buffered:
            return
        request = reader.next()
        begun, self._begun = self._begun, request is None and reader.begun
        if request is not None:
            answer = self._hub.answer(request, self._number) if isinstance(request, HttpRequest) else request
            self._due = (time.monotonic() + answer.delay, answer)
            self._deadline = None
        elif self._begun and not begun:
            self._deadline = time.monotonic() + OPEN_TIMEOUT

    def _send_answer(self, answer: HttpAnswer) -> None:
        self._due = None
        if answer.fate == "reset":
            self._reset = True
            return
        self._deadline = time.monotonic() + IDLE_TIMEOUT
        with self._hub.lock:
            self.queue(answer.encoded(self._hub.now_us()))
            if answer.fate != "keep":
                self.queue(Fin(notify=True))

    def _answer(self, request: Request) -> None:
        path = request.path
        headers = {name.upper(): value for name, value in request.headers.raw_items()}
        refusal = self._hub.admit(path, headers)
        if refusal is None:
            settings = self._hub.settings
            if settings.compression:
                self._protocol.available_extensions = [
                    ServerPerMessageDeflateFactory(
                        server_no_context_takeover=not settings.quirks.context_takeover
                    )
                ]
            response = self._protocol.accept(request)
        else:
            response = _response(refusal)
        date = email.utils.formatdate(self._hub.now_us() / 1e6, usegmt=True)
        if refusal is None and "Date" in response.headers:
            del response.headers["Date"]  # it is from the machine's clock
        response.headers.setdefault("Date", date)
        self._hub.handshaken(path, headers, response.status_code)
        self._protocol.send_response(response)
        if response.status_code == 101:
            self._request = request
            self._deadline = None
            self._hub.opened(self, b"".join(bytes(part) for part in self._protocol.data_to_send()))

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                payload, self._fragments = b"".join(self._fragments), []
                self._read.append(payload)
        elif frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
            with self._hub.lock:
                if frame.opcode is Opcode.PING:
                    self.pings_received += 1
                else:
                    self.pongs += 1


def _response(refusal: Refusal) -> Response:
    headers = Headers()
    given = {name.lower() for name in refusal.headers}
    for name, value in (
        ("Connection", "close"),
        ("Content-Length", str(len(refusal.body))),
        ("Content-Type", "text/plain; charset=utf-8"),
    ):
        if name.lower() not in given:
            headers[name] = value
    for name, value in refusal.headers.items():
        headers[name] = value
    try:
        phrase = http.HTTPStatus(refusal.status).phrase
    except ValueError:
        phrase = "Unknown"
    return Response(refusal.status, phrase, headers, refusal.body)
