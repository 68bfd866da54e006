"""One feed for each process, whoever forks: for servers and task queues whose workers are made by fork().

Owns ProcessFeed. Threads and sockets do not survive a fork, so a feed must be made in the process that uses
it. Must not import anything but the feed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..feed import KalshiFeed
from ..forks import call_in_child

__all__ = ["ProcessFeed"]


class ProcessFeed:
    """The feed of whichever process asks for it: made and started when it first does. Thread-safe.

    ``make`` returns a new feed with its callbacks and subscriptions, not started; it runs once in every
    process that asks. So one of these may stand at the top of a module that a parent imports before it forks.
    """

    def __init__(self, make: Callable[[], KalshiFeed]) -> None:
        self._make = make
        # Guards the feed; make() and start() run under it, and neither waits for the network. Re-entrant, so
        # that a signal handler that closes cannot hang on what it interrupts.
        self._lock = threading.RLock()
        self._feed: KalshiFeed | None = None
        call_in_child(self._leave_child)

    def _leave_child(self) -> None:
        """In a child process: its own feed is made when it asks."""
        self._lock = threading.RLock()  # the old one may be held by a thread that does not exist here
        self._feed = None

    def get(self) -> KalshiFeed:
        """This process's feed, started. Raises what ``make`` raises."""
        with self._lock:
            if self._feed is None:
                self._feed = self._make().start()
            return self._feed

    @property
    def started(self) -> KalshiFeed | None:
        """This process's feed if it has one already."""
        return self._feed

    def close(self, timeout: float = 5.0) -> None:
        """Close this process's feed, if there is one; the next get() makes another.

        At the interpreter's end every feed is closed by itself; a process that ends with os._exit(), as the
        children of multiprocessing and Celery do, must call this.
        """
        with self._lock:
            feed, self._feed = self._feed, None
        if feed is not None:
            feed.close(timeout)
