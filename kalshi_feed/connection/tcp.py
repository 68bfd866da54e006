"""TCP: the first of a host's addresses that accepts a connection (RFC 8305, "Happy Eyeballs").

Owns the attempts while they run. All of them run in the dialing thread: non-blocking connects, and one wait
for all of them, which the wake-up also ends. A dead address delays the others by its head start, not by its
share of the deadline (N43).
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from ..forks import close_in_child
from ..greenlets import original
from .dial_deadline import DialDeadline
from .resolve import Address

__all__ = ["NoneConnected", "connect_first"]

# seconds that an attempt runs alone before the next one starts alongside it (RFC 8305, section 8)
HEAD_START: Final = 0.25
_UNDER_WAY: Final = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN, errno.EINTR)


class NoneConnected(Exception):
    """None of several addresses accepted a connection. ``failures`` pairs each address with its exception.

    Thread-safe: immutable.
    """

    def __init__(self, failures: Sequence[tuple[str, Exception]]) -> None:
        super().__init__(failures)
        self.failures = failures

    def __str__(self) -> str:
        return f"none of {len(self.failures)} addresses accepted a connection"


def connect_first(addresses: Sequence[Address], deadline: DialDeadline) -> socket.socket:
    """Return a non-blocking socket connected to the first of ``addresses`` that accepts; the other attempts
    are dropped.

    ``addresses`` are in order of preference. Raises the one address's own error (OSError, TimeoutError) if
    there was only one, otherwise NoneConnected; and DialCancelled. Leaves no descriptor open when it raises.
    """
    return _Race(addresses, deadline).run()


class _Race:
    """The attempts of one dial. Not thread-safe; owned by the dialing thread."""

    def __init__(self, addresses: Sequence[Address], deadline: DialDeadline) -> None:
        self._deadline = deadline
        self._untried = deque(addresses)  # addresses without an attempt yet
        # by descriptor, in the order they started: the socket, and the address it connects to
        self._running: dict[int, tuple[socket.socket, str]] = {}
        self._failures: list[tuple[str, Exception]] = []  # of attempts that have ended
        # shorter with many addresses or little time: half of the time is left when the last attempt starts
        self._head_start = min(
            HEAD_START, (deadline.deadline - time.monotonic()) / 2 / max(len(addresses), 1)
        )
        self._next_start = -1.0  # time.monotonic() from which the next attempt may start

    def run(self) -> socket.socket:
        """Run the attempts; ``connect_first`` says what is returned and raised."""
        try:
            while self._untried or self._running:
                if self._untried and (not self._running or time.monotonic() >= self._next_start):
                    self._begin()
                if self._running:
                    winner = self._wait()
                    if winner is not None:
                        return winner
        except TimeoutError as error:
            self._failures += [(host, error.with_traceback(None)) for _, host in self._running.values()]
        finally:
            for loser, _ in self._running.values():
                loser.close()
        raise self._defeat()

    def _begin(self) -> None:
        """Start the next attempt. If it fails right here, the one after it may start at once."""
        family, address = self._untried.popleft()
        self._next_start = time.monotonic() + self._head_start
        try:
            sock = close_in_child(original("socket", "socket")(family, socket.SOCK_STREAM))
        except OSError as error:  # no descriptor left, or a family this machine does not support
            self._failed(address[0], error)
            return
        self._running[sock.fileno()] = sock, address[0]
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = sock.connect_ex(address)
            if code not in _UNDER_WAY:
                raise _error(code)
        except OSError as error:
            self._lose(sock.fileno(), error)

    def _wait(self) -> socket.socket | None:
        """Return the socket of an attempt that succeeded, or None when it is time to look again."""
        ended = self._deadline.wait_for_connects(self._running, self._next_start if self._untried else None)
        for fileno in [fileno for fileno in self._running if fileno in ended]:
            code = self._running[fileno][0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not code:
                return self._running.pop(fileno)[0]
            self._lose(fileno, _error(code))
        return None

    def _lose(self, fileno: int, error: OSError) -> None:
        sock, host = self._running.pop(fileno)
        sock.close()
        self._failed(host, error)

    def _failed(self, host: str, error: Exception) -> None:
        self._failures.append((host, error.with_traceback(None)))
        self._next_start = -1.0

    def _defeat(self) -> Exception:
        if len(self._failures) == 1:
            return self._failures[0][1]
        if not self._failures:
            return OSError("the host name has no address")
        defeat = NoneConnected(tuple(self._failures))
        defeat.__cause__ = self._failures[0][1]
        return defeat


def _error(code: int) -> OSError:
    """The error of a connect. Only Python's socket module has words for the codes of Windows."""
    return OSError(code, getattr(socket, "errorTab", {}).get(code) or os.strerror(code))
