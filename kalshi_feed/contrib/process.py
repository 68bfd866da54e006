"""One feed in each process, for servers and task queues that fork() their workers.

Owns ProcessFeed. Threads and sockets do not survive a fork, so a feed must be made in the process that uses
it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .. import greenlets
from ..feed import KalshiFeed
from ..forks import call_in_child

__all__ = ["ProcessFeed"]


class ProcessFeed:
    """The feed of the calling process, made and started when the process first asks for it. Thread-safe.

    ``make`` returns a new feed with its callbacks and subscriptions, not started; it runs once in every
    process that asks. So a ProcessFeed may be a global of a module that the parent imports before it forks.
    """

    def __init__(self, make: Callable[[], KalshiFeed]) -> None:
        self._make = make
        # The lock that guards the feed, by the kind of threads: made when first needed, because after monkey
        # patching it must be another one. make() and start() run under it, and neither waits for the network.
        # Reentrant, so that a signal handler that closes the feed cannot hang on the call it interrupts.
        self._locks: dict[str, threading.RLock] = {}
        self._feed: KalshiFeed | None = None
        call_in_child(self._leave_child)

    def _leave_child(self) -> None:
        """In a child process: forget the parent's feed; the child makes its own when it asks."""
        self._locks = {}  # a thread that does not exist here may hold the old one
        self._feed = None

    def get(self) -> KalshiFeed:
        """Return this process's feed, started. Raises what ``make`` raises."""
        with self._guard():
            if self._feed is None:
                self._feed = self._make().start()
            return self._feed

    def _guard(self) -> threading.RLock:
        return self._locks.setdefault(greenlets.thread_kind(), threading.RLock())

    @property
    def started(self) -> KalshiFeed | None:
        """This process's feed; None if it has none yet."""
        return self._feed

    def close(self, timeout: float = 5.0) -> None:
        """Close this process's feed, if any, within ``timeout`` seconds; the next get() makes another.

        When the interpreter exits, every feed is closed automatically; a process that ends with os._exit(),
        such as a child of multiprocessing or Celery, must call this.
        """
        if greenlets.may_wait():
            with self._guard():
                feed, self._feed = self._feed, None
        else:  # a signal handler in an event loop
            feed, self._feed = self._feed, None
        if feed is not None:
            feed.close(timeout)
