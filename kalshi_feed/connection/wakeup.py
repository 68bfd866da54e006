"""Waiting for a socket, or for several connects, with a wake-up descriptor that ends the wait from outside.

Owns the wake-up socket pair.
"""

from __future__ import annotations

import _socket
import select
import socket
from collections.abc import Callable, Collection
from typing import Any

from ..forks import close_in_child
from ..greenlets import original, reentrant_lock

__all__ = ["Wakeup", "wait_connects", "wait_ready"]


class Wakeup:
    """Ends the reader's wait. Thread-safe; ``wake`` also works in a signal handler and after ``close``.

    It is latched: a wake before a wait ends that wait at once. It is level-triggered: it stays until
    ``drain``. So drain first and look at what was posted afterwards, and nothing is missed.
    """

    def __init__(self) -> None:
        self._reader, self._writer = map(close_in_child, _socket_pair())
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._closing = False  # set by close(); a wake() that is running then closes in its place
        # Keeps the two sockets from being closed while a byte is sent (their descriptor could already be
        # another file). Only non-blocking socket calls happen under it. It is reentrant because a signal
        # handler may wake while its thread is waking; and close() does not wait for it because that handler
        # may be waiting for the thread that closes.
        self._lock = reentrant_lock()
        self.poll = find_poll()  # select.poll, for the thread that waits

    def fileno(self) -> int:
        """The descriptor to wait on (readable when woken); -1 after ``close``."""
        return self._reader.fileno()

    def wake(self) -> None:
        """End the current or the next wait. Never blocks, never raises."""
        with self._lock:
            self.give_back()
        if self._closing:
            self.close()

    def give_back(self) -> None:
        """Wake from the thread that drains and closes. Takes no lock: a signal handler may hold it."""
        try:
            self._writer.send(b"\0")
        except OSError:  # full: already woken; closed: no one waits
            pass

    def drain(self) -> None:
        """Forget the wakes so far."""
        try:
            while len(self._reader.recv(4096)) == 4096:
                pass
        except OSError:
            pass

    def close(self) -> None:
        """Release both descriptors, or leave that to a ``wake`` that is running right now. Idempotent."""
        self._closing = True
        if self._lock.acquire(blocking=False):
            try:
                self._reader.close()
                self._writer.close()
            finally:
                self._lock.release()


def wait_ready(
    fileno: int | None,
    wakeup: Wakeup | None,
    *,
    read: bool = True,
    write: bool = False,
    timeout: float | None = None,
) -> tuple[bool, bool, bool]:
    """Wait until the socket is ready, the wake-up is signaled or ``timeout`` seconds have passed.

    Returns (readable, writable, woken). An error or a hang-up on the socket counts as readable and, if asked
    for, writable: the next call on the socket then raises it.
    """
    woken_fd = -1 if wakeup is None else wakeup.fileno()
    socket_fd = -1 if fileno is None else fileno
    if timeout is not None and timeout < 0:
        timeout = 0.0
    new_poll = find_poll() if wakeup is None else wakeup.poll
    if new_poll is not None:
        return _poll(new_poll(), socket_fd, woken_fd, read, write, timeout)
    return _select(socket_fd, woken_fd, read, write, timeout)


def find_poll() -> Callable[[], Any] | None:
    """The system's select.poll; Windows and eventlet have none. select() takes no descriptor above 1023."""
    try:
        return original("select", "poll")  # type: ignore[no-any-return]
    except AttributeError:
        return None


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets. Not gevent's, which would need its event loop in the thread that uses them."""
    plain = original("socket", "socket")
    if plain is socket.socket or not hasattr(_socket, "socketpair"):  # Windows: made of TCP sockets
        return socket.socketpair()
    one, other = _socket.socketpair()
    return plain(fileno=one.detach()), plain(fileno=other.detach())


def _poll(
    poll: Any, socket_fd: int, woken_fd: int, read: bool, write: bool, timeout: float | None
) -> tuple[bool, bool, bool]:
    if woken_fd >= 0:
        poll.register(woken_fd, select.POLLIN)
    if socket_fd >= 0 and (read or write):
        poll.register(socket_fd, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
    # poll() takes whole milliseconds: round up, or the last one becomes a busy loop
    events = dict(poll.poll(None if timeout is None else int(timeout * 1000) + (timeout > 0)))
    found = events.get(socket_fd, 0)
    broken = bool(found & (select.POLLERR | select.POLLHUP | select.POLLNVAL))
    return (
        bool(found & select.POLLIN) or broken,
        bool(found & select.POLLOUT) or (broken and write),
        woken_fd in events,
    )


def _select(
    socket_fd: int, woken_fd: int, read: bool, write: bool, timeout: float | None
) -> tuple[bool, bool, bool]:
    readers = [fd for fd, wanted in ((socket_fd, read), (woken_fd, True)) if wanted and fd >= 0]
    writers = [socket_fd] if write and socket_fd >= 0 else []
    if not (readers or writers):  # Windows refuses three empty lists
        original("time", "sleep")(timeout or 0.0)
        return False, False, False
    # Windows reports a failed connect only as exceptional
    readable, writable, broken = original("select", "select")(readers, writers, writers, timeout)
    return socket_fd in readable or bool(broken), bool(writable or broken), woken_fd in readable


def wait_connects(filenos: Collection[int], wakeup: Wakeup, timeout: float) -> tuple[set[int], bool]:
    """Wait until one of the connects has ended, the wake-up is signaled or ``timeout`` seconds have passed.

    Returns (the sockets whose connect has ended, woken); SO_ERROR says how each one ended.
    """
    woken_fd = wakeup.fileno()
    if wakeup.poll is not None:
        poll = wakeup.poll()
        poll.register(woken_fd, select.POLLIN)
        for fileno in filenos:
            poll.register(fileno, select.POLLOUT)
        found = {fileno for fileno, _ in poll.poll(int(timeout * 1000) + (timeout > 0))}
    else:
        readable, writable, broken = original("select", "select")([woken_fd], filenos, filenos, timeout)
        found = {*readable, *writable, *broken}
    return found - {woken_fd}, woken_fd in found
