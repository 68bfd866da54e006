"""A TCP proxy on loopback that does to a connection what networks do.

One thread moves the bytes of all connections. A test (or the soak) can change the toxics at any time; they
apply to whatever is moved from then on. Random decisions come from the proxy's own seed.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

__all__ = ["ToxicProxy", "Toxics"]

# bytes that a direction holds before it stops reading, so that back-pressure is real
_MOST_HELD: Final = 1 << 20
_TICK: Final = 0.2


@dataclass
class Toxics:
    """What happens to one direction. Plain attributes: set by the test, read by the proxy's thread."""

    latency: float = 0.0  # seconds
    jitter: float = 0.0  # seconds, at most, added to the latency
    rate: float | None = None  # bytes a second
    slice: int | None = None  # the largest piece that is passed on at once; sizes are random up to it
    black_hole: bool = False  # the proxy reads nothing and passes nothing on; the connection stays up
    limit: int | None = None  # how many bytes of each connection are passed on before it is cut
    flip: int | None = None  # the offset of a byte in each connection that is changed on the way
    flip_next: int = 0  # one byte is changed in this many of the next pieces, on any connection


@dataclass
class _Pipe:
    """One direction of one connection. Owned by the proxy's thread."""

    source: socket.socket
    sink: socket.socket
    toxics: Toxics
    chunks: deque[tuple[float, bytes]] = field(default_factory=deque)  # when to pass it on, and what
    held: int = 0
    passed: int = 0
    taken: int = 0
    ended: bool = False
    next_send: float = 0.0

    def ready_at(self) -> float:
        return max(self.chunks[0][0], self.next_send) if self.chunks else float("inf")


class ToxicProxy:
    """Forwards its ``port`` to ``target``. A context manager; its methods may be called from any thread.

    ``down`` holds the toxics of what the exchange sends, ``up`` those of what the feed sends.
    ``cut_with_reset`` says how a connection ends when it reaches its limit (RST, or FIN). ``passed`` counts
    the bytes passed down over all connections, ``accepted`` the connections, ``limited`` those that reached
    their limit.
    """

    def __init__(self, target: int, *, seed: int = 0) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[_Pipe, _Pipe]] = []
        # guards _pairs; under it, only socket calls that do not block
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="toxic-proxy", daemon=True)
        self.port: int = self._listener.getsockname()[1]
        self.down, self.up = Toxics(), Toxics()
        self.refusing = False  # new connections are reset at once
        self.cut_with_reset = False
        self.passed = 0
        self.accepted = 0
        self.limited = 0

    def __enter__(self) -> ToxicProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._thread.join(5)
        assert not self._thread.is_alive(), "the proxy's thread hangs"
        self.cut()
        self._listener.close()

    def heal(self) -> None:
        """Remove all toxics; connections go on."""
        self.down, self.up = Toxics(), Toxics()
        self.refusing = self.cut_with_reset = False
        with self._lock:
            for pair in self._pairs:
                pair[0].toxics, pair[1].toxics = self.down, self.up

    def cut(self, *, reset: bool = False) -> None:
        """End every connection at once, on both sides."""
        with self._lock:
            for pair in self._pairs:
                self._end(pair, reset)
            self._pairs.clear()

    def freeze(self) -> None:
        """Silence every current connection for good, in both directions. Later ones follow the toxics."""
        with self._lock:
            for pair in self._pairs:
                pair[0].toxics = pair[1].toxics = Toxics(black_hole=True)

    # -- the proxy's thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped:
            now = time.monotonic()
            with self._lock:
                pipes = [pipe for pair in self._pairs for pipe in pair]
            readable = [p for p in pipes if not p.ended and not p.toxics.black_hole and p.held < _MOST_HELD]
            writable = [p for p in pipes if not p.toxics.black_hole and p.ready_at() <= now]
            wait = min((p.ready_at() - now for p in pipes if not p.toxics.black_hole), default=_TICK)
            try:
                reads, writes, _ = select.select(
                    [self._listener, *{p.source for p in readable}],
                    list({p.sink for p in writable}),
                    [],
                    min(max(wait, 0.0), _TICK),
                )
            except (OSError, ValueError):  # cut() closed a socket in the meantime
                continue
            if self._listener in reads:
                self._accept()
            now = time.monotonic()
            with self._lock:
                for pipe in readable:
                    if pipe.source in reads:
                        self._take(pipe, now)
                for pipe in writable:
                    if pipe.sink in writes:
                        self._pass_on(pipe, now)
                for pair in list(self._pairs):
                    if self._is_over(pair):
                        self._pairs.remove(pair)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.accepted += 1
        try:
            server = None if self.refusing else socket.create_connection(("127.0.0.1", self._target), 1.0)
        except OSError:
            server = None
        if server is None:
            _reset(client)
            return
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.append((_Pipe(server, client, self.down), _Pipe(client, server, self.up)))

    def _take(self, pipe: _Pipe, now: float) -> None:
        try:
            data = pipe.source.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            pipe.ended = True
            return
        toxics = pipe.toxics
        if toxics.flip is not None and pipe.taken <= toxics.flip < pipe.taken + len(data):
            at = toxics.flip - pipe.taken
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        if toxics.flip_next > 0:
            toxics.flip_next -= 1
            at = self._random.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        pipe.taken += len(data)
        pipe.held += len(data)
        due = now + toxics.latency + self._random.random() * toxics.jitter
        pipe.chunks.append((max(due, pipe.chunks[-1][0]) if pipe.chunks else due, data))

    def _pass_on(self, pipe: _Pipe, now: float) -> None:
        toxics = pipe.toxics
        due, data = pipe.chunks.popleft()
        size = len(data)
        if toxics.slice is not None:
            size = min(size, self._random.randint(1, toxics.slice))
        if toxics.rate is not None:
            size = min(size, max(1, int(toxics.rate / 20)))
        if toxics.limit is not None:
            size = min(size, max(0, toxics.limit - pipe.passed))
        try:
            sent = pipe.sink.send(data[:size]) if size else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            pipe.ended = True
            pipe.chunks.clear()
            return
        if toxics.rate is not None:
            pipe.next_send = now + sent / toxics.rate
        if sent < len(data):
            pipe.chunks.appendleft((due, data[sent:]))
        pipe.held -= sent
        pipe.passed += sent
        if toxics is self.down:
            self.passed += sent

    def _is_over(self, pair: tuple[_Pipe, _Pipe]) -> bool:
        if any(pipe.toxics.limit is not None and pipe.passed >= pipe.toxics.limit for pipe in pair):
            self._end(pair, self.cut_with_reset)
            self.limited += 1
            return True
        for pipe in pair:
            if pipe.ended and not pipe.chunks and not pipe.toxics.black_hole:
                self._end(pair, reset=False)
                return True
        return False

    @staticmethod
    def _end(pair: tuple[_Pipe, _Pipe], reset: bool) -> None:
        for pipe in pair:
            if reset:
                _reset(pipe.source)
            else:
                with contextlib.suppress(OSError):
                    pipe.source.shutdown(socket.SHUT_RDWR)
                pipe.source.close()


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
