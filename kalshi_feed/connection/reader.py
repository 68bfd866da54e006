"""The reader thread: one thread that dials, reads, writes and dials again.

Owns the socket from the dial to the close, and the loop. What the bytes mean is up to the host (the engine).
The thread is a daemon: it does not keep a program that ends without close() from exiting.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from ..clocks import LOOK_EVERY
from ..errors import ConnectionLost, KalshiFeedError
from ..threads import FeedingThread
from .dial import DialCancelled
from .transport import Transport
from .wakeup import Wakeup, wait_ready

__all__ = ["LEAST_STALL", "Host", "Reader"]

LEAST_STALL: Final = 0.5  # seconds; a round that ends this late is a stall

_LONGEST_WAIT: Final = 60.0
# seconds a turn may take; after a longer one (overflow="block") the silence is not the peer's fault
_PAUSE: Final = 1.0
_SLICE: Final = 0.25  # seconds of a wait while connected: a stall is measured that much too short at most


class Host(Protocol):
    """Makes sense of the connection. Every method is called on the reader thread."""

    def connected(self, transport: Transport, now: float) -> None:
        """A connection is open."""

    def turn(self, payloads: list[bytes], now: float) -> Iterable[bytes]:
        """Handle one read (often empty) and return commands to send. Raises ConnectionLost for a new dial."""

    def next_deadline(self) -> float:
        """When turn() must be called next even if nothing is read (time.monotonic())."""

    def stood_still(self, seconds: float, now: float) -> None:
        """The last round took ``seconds`` longer than its wait, at least LEAST_STALL.

        That includes the time for which turn() itself waited.
        """

    def lost(self, error: KalshiFeedError, now: float) -> float:
        """A dial failed or a connection ended: return the seconds until the next dial.

        Raises the error that the thread ends with.
        """

    def failed(self, defect: Exception, now: float) -> float:
        """Our own code raised, and the connection is gone: return the seconds until the next dial.

        Raises the error that the thread ends with.
        """

    def on_end(self, error: BaseException | None) -> None:
        """The last call: the thread ends, on request (None) or with this error."""


class Reader(FeedingThread):
    """Runs the loop in its own thread. FeedingThread says which thread may call what."""

    IS_REAL = True

    def __init__(self, name: str, dial: Callable[[Reader], Transport], host: Host) -> None:
        super().__init__(name)
        self._dial = dial
        self._host = host
        self.wakeup = Wakeup()

    def wake(self) -> None:
        """End the thread's current wait, or the next one. Thread-safe, and safe in a signal handler."""
        self.wakeup.wake()

    def _work(self) -> None:
        while not self._stopping:
            self._pause(self._one_connection())

    def _report_end(self, error: BaseException | None) -> None:
        self._host.on_end(error)

    def _release(self) -> None:
        self.wakeup.close()

    def _one_connection(self) -> float:
        """Dial and serve the connection until it ends. Returns the seconds until the next dial.

        A bug in our code costs the connection, not the feed: we dial again, with a fresh session.
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
        """Read and write until stop(). Raises ConnectionLost.

        Each round is one turn: the host handles what the last read brought and returns commands, due pings
        and timeouts follow, and everything is flushed. Then the thread waits for the socket, a wake or the
        next deadline, unless the transport already has more, and reads again.

        A round that takes much longer than its wait is a stall: another thread's call kept the interpreter's
        lock, or the process was stopped. If the machine slept, the transport reports that.
        """
        host = self._host
        host.connected(transport, time.monotonic())
        payloads: list[bytes] = []
        overdue = math.inf  # when the next round is so late that it is a stall
        while not self._stopping:
            began = time.monotonic()
            if began > overdue and not transport.slept:
                host.stood_still(began - overdue + LEAST_STALL, began)
            for command in host.turn(payloads, began):
                transport.send_text(command)
            now = time.monotonic()
            if now - began > _PAUSE:
                transport.resume(now)
            transport.tick(now)
            transport.flush(now)
            overdue = began + LEAST_STALL
            if not transport.has_more:
                now = time.monotonic()
                # never for longer: meanwhile the monotonic clock may stand still (N44)
                until = min(host.next_deadline(), transport.next_deadline(), now + LOOK_EVERY)
                overdue += max(self._wait_until(until, transport) - now, 0.0)
            payloads = transport.read(time.monotonic())

    def _wait_until(self, until: float, transport: Transport) -> float:
        """Wait as _wait() does, in slices. Returns when it should have returned at the latest.

        A slice that ends too late for that ends the wait: it was a stall.
        """
        while True:
            now = time.monotonic()
            ends = min(until, now + _SLICE)
            if self._wait(ends - now, transport) or ends == until or time.monotonic() > ends + LEAST_STALL:
                return ends

    def _pause(self, delay: float) -> None:
        """Wait ``delay`` seconds before the next dial, unless stop() comes first."""
        until = time.monotonic() + delay
        while not self._stopping:
            remaining = until - time.monotonic()
            if remaining <= 0:
                return
            self._wait(remaining, None)

    def _wait(self, seconds: float, transport: Transport | None) -> bool:
        """Wait for the socket, a wake or the end of the time. Needs no descriptor of its own (N42).

        Returns whether there was anything but the end of the time.
        """
        fileno, write = (None, False) if transport is None else (transport.fileno(), transport.wants_write)
        ready = wait_ready(fileno, self.wakeup, write=write, timeout=min(seconds, _LONGEST_WAIT))
        if ready[2]:
            self.wakeup.drain()
        return True in ready
