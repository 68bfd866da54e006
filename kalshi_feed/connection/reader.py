"""The reader thread: one thread that dials, reads, writes and dials again.

Owns the socket from the dial to the close, and the loop. What the bytes mean is the host's business (the
engine, above); must not import session, books or dispatch. The thread is a daemon: a program that ends
without close() is not held up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from ..clocks import LOOK_EVERY
from ..errors import ConnectionLost, KalshiFeedError
from ..threads import FeedingThread
from .dial import DialCancelled
from .transport import Transport
from .wakeup import Wakeup, wait_ready

__all__ = ["Host", "Reader"]

_LONGEST_WAIT: Final = 60.0
_PAUSE: Final = (
    1.0  # seconds a turn may take before the peer's silence meanwhile is no longer its own (overflow="block")
)


class Host(Protocol):
    """Who makes sense of the connection. Every method is called on the reader thread."""

    def connected(self, transport: Transport, now: float) -> None:
        """A connection stands."""

    def turn(self, payloads: list[bytes], now: float) -> Iterable[bytes]:
        """What one read brought (often nothing); returns commands to send. Raises ConnectionLost to have it
        replaced."""

    def next_deadline(self) -> float:
        """When turn() must be called next though nothing is read."""

    def lost(self, error: KalshiFeedError, now: float) -> float:
        """A dial failed or a connection ended: seconds until the next dial. Raises the error to end with."""

    def failed(self, defect: Exception, now: float) -> float:
        """Our own code raised, and the connection is gone: seconds until the next dial. Raises the error to
        end with."""

    def on_end(self, error: BaseException | None) -> None:
        """The last call: the thread ends, by request (None) or with this error."""


class Reader(FeedingThread):
    """Runs the loop in a thread of its own; see FeedingThread for who may call what."""

    def __init__(self, name: str, dial: Callable[[Reader], Transport], host: Host) -> None:
        super().__init__(name)
        self._dial = dial
        self._host = host
        self.wakeup = Wakeup()

    def wake(self) -> None:
        """See FeedingThread."""
        self.wakeup.wake()

    def _work(self) -> None:
        while not self._stopping:
            self._pause(self._one_connection())

    def _report_end(self, error: BaseException | None) -> None:
        self._host.on_end(error)

    def _release(self) -> None:
        self.wakeup.close()

    def _one_connection(self) -> float:
        """Dial, and serve the connection to its end. Returns the seconds until the next dial.

        A defect of ours costs the connection, not the feed: it is dialed again, with a fresh session.
        """
        try:
            return self._dial_and_serve()
        except KalshiFeedError:
            raise
        except Exception as defect:
            return self._host.failed(defect, time.monotonic())

    def _dial_and_serve(self) -> float:
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
            if not transport.has_more:
                until = min(host.next_deadline(), transport.next_deadline())
                # time itself may stand still meanwhile (N44)
                self._wait(min(until - time.monotonic(), LOOK_EVERY), transport)
            payloads = transport.read(time.monotonic())

    def _pause(self, delay: float) -> None:
        """Wait before the next dial, unless stop() comes first."""
        until = time.monotonic() + delay
        while not self._stopping:
            remaining = until - time.monotonic()
            if remaining <= 0:
                return
            self._wait(remaining, None)

    def _wait(self, seconds: float, transport: Transport | None) -> None:
        """Until the socket is ready, somebody wakes, or the time is over. Needs no descriptor of its own
        (N42)."""
        fileno, write = (None, False) if transport is None else (transport.fileno(), transport.wants_write)
        _, _, woken = wait_ready(fileno, self.wakeup, write=write, timeout=min(seconds, _LONGEST_WAIT))
        if woken:
            self.wakeup.drain()
