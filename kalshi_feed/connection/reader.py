"""The reader thread: one thread that dials, reads, writes and dials again.

Owns the socket from the dial to the close, and the loop. What the bytes mean is the host's business (the engine, above); must
not import session, books or dispatch. The thread is a daemon: a program that ends without close() is not held up.
"""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from ..errors import ConnectionLost, KalshiFeedError
from .dial import DialCancelled
from .transport import Transport
from .wakeup import Wakeup

__all__ = ["Host", "Reader"]

_LONGEST_SELECT: Final = 60.0
_PAUSE: Final = 1.0  # seconds a turn may take before the peer's silence meanwhile is no longer its own (overflow="block")


class Host(Protocol):
    """Who makes sense of the connection. Every method is called on the reader thread."""

    def connected(self, transport: Transport, now: float) -> None:
        """A connection stands."""

    def turn(self, payloads: list[bytes], now: float) -> Iterable[bytes]:
        """What one read brought (often nothing); returns commands to send. Raises ConnectionLost to have it replaced."""

    def next_deadline(self) -> float:
        """When turn() must be called next though nothing is read."""

    def lost(self, error: KalshiFeedError, now: float) -> float:
        """A dial failed or a connection ended: seconds until the next dial. Raises the error to end with."""

    def ended(self, error: BaseException | None) -> None:
        """The last call: the thread ends, by request (None) or with this error."""


class Reader:
    """Runs the loop in a thread of its own. ``stop()`` is thread-safe and signal-safe; everything else belongs to the thread."""

    def __init__(self, name: str, dial: Callable[[Reader], Transport], host: Host) -> None:
        self._dial = dial
        self._host = host
        self._stopping = False
        self.close_deadline = 0.0
        self.wakeup = Wakeup()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError where the system gives none."""
        try:
            self.thread.start()
        except Exception:  # not Ctrl-C: the thread may run already, and close() will end it
            self.wakeup.close()
            raise

    def stop(self, deadline: float) -> None:
        """Ask the thread to close the connection by ``deadline`` and end. Touches plain attributes and the wake-up only."""
        self.close_deadline = deadline
        self._stopping = True
        self.wakeup.wake()

    def stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stopping

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while not self._stopping:
                self._pause(self._one_connection())
        except BaseException as exc:  # a defect of ours must not leave LIVE books behind a dead thread
            error = exc
        try:
            self._host.ended(error)
        finally:
            self.wakeup.close()

    def _one_connection(self) -> float:
        """Dial, and serve the connection to its end. Returns the seconds until the next dial."""
        try:
            transport = self._dial(self)
        except DialCancelled:
            return 0.0
        except KalshiFeedError as error:
            return self._host.lost(error, time.monotonic())
        try:
            self._serve(transport)
        except ConnectionLost as error:
            transport.abort()
            return self._host.lost(error, time.monotonic())
        except BaseException:
            transport.abort()
            raise
        transport.close(self.close_deadline)
        return 0.0

    def _serve(self, transport: Transport) -> None:
        """Read and write until stop(). Raises ConnectionLost."""
        host = self._host
        with selectors.DefaultSelector() as selector:
            events = selectors.EVENT_READ
            selector.register(transport.fileno(), events)
            selector.register(self.wakeup.fileno(), selectors.EVENT_READ, self.wakeup)
            host.connected(transport, time.monotonic())
            payloads: list[bytes] = []
            while not self._stopping:
                began = time.monotonic()
                for command in host.turn(payloads, began):
                    transport.send_text(command)
                now = time.monotonic()
                if now - began > _PAUSE:
                    transport.resume(now)
                transport.tick(now)
                transport.flush(now)
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if transport.wants_write else 0)
                if wanted != events:
                    events = wanted
                    selector.modify(transport.fileno(), events)
                if not transport.has_more:
                    until = min(host.next_deadline(), transport.next_deadline())
                    for key, _ in selector.select(min(max(until - time.monotonic(), 0.0), _LONGEST_SELECT)):
                        if key.data is not None:  # only now: it costs a system call
                            self.wakeup.drain()
                payloads = transport.read(time.monotonic())

    def _pause(self, delay: float) -> None:
        """Wait before the next dial, unless stop() comes first."""
        until = time.monotonic() + delay
        with selectors.DefaultSelector() as selector:
            selector.register(self.wakeup.fileno(), selectors.EVENT_READ)
            while not self._stopping:
                remaining = until - time.monotonic()
                if remaining <= 0:
                    return
                selector.select(remaining)
                self.wakeup.drain()
