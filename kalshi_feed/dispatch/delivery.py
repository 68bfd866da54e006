"""What every dispatcher has: the registrations, the streams, and the waits for a message.

Owns Delivery, the base of Dispatcher (queue and workers, for a live feed) and InlineDispatcher (for a
replay). end_streams() may run in a signal handler that interrupts any other method, so the registry, the
streams and waking work without a lock.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import ConfigurationError, FeedClosedError, KalshiFeedError, WaitTimeout
from ..forks import call_in_child
from ..greenlets import lock
from .mailbox import Counters, Lag
from .registry import Callback, Deliverable, Kind, Registry
from .stream import Blocking, MessageStream

__all__ = ["Delivery"]


class Delivery(ABC):
    """Passes messages and events to callbacks and streams. Thread-safe, except put() and watch()."""

    def __init__(self, blocking: Blocking | None = None) -> None:
        self.counters = Counters()
        # Guards the mailboxes and the counters. Only code of mailbox.py and Histogram runs under it.
        self._lock = lock()
        self._registry = Registry()
        self._blocking = blocking or Blocking()
        # no lock: single dict operations only
        self._streams: dict[weakref.ref[MessageStream[Any]], None] = {}
        self._end: KalshiFeedError | None = None
        call_in_child(self.leave_child)

    # -- registering -----------------------------------------------------------------------------------------

    def register(
        self, kind: Kind, callback: Callback, market_tickers: str | Iterable[str] | None = None
    ) -> None:
        """Call ``callback`` with every object of ``kind``: a wire type, an Event class, BOOKS or ALL_DATA.

        With ``market_tickers``, only with those of these markets, never with a message that has no ticker.
        Takes effect with the next message. Raises ConfigurationError.
        """
        self._registry.register(kind, callback, market_tickers)

    def off(self, callback: Callback) -> int:
        """Remove all registrations of ``callback``, from the next message on; return how many there were."""
        return self._registry.off(callback)

    # -- streams and waits -----------------------------------------------------------------------------------

    def stream(
        self, type: str, market_tickers: str | Iterable[str] | None = None, maxsize: int = 10_000
    ) -> MessageStream[Any]:
        """A blocking iterator over the messages of one wire type from now on. Raises ConfigurationError."""
        streams = self._streams
        stream: MessageStream[Any] = MessageStream(type, market_tickers, maxsize, self._blocking)
        reference = weakref.ref(stream, lambda gone: streams.pop(gone, None))
        stream.on_close(lambda: streams.pop(reference, None))
        streams[reference] = None
        if self._end is not None:
            stream.end(self._end)
        return stream

    def wait_for(
        self,
        type: str,
        predicate: Callable[[Any], object] | None = None,
        timeout: float | None = None,
        *,
        market_tickers: str | Iterable[str] | None = None,
        describe: Callable[[], str] | None = None,
    ) -> Any:
        """Wait for the next message of a wire type for which ``predicate`` is true.

        The predicate is called in this thread, and its errors pass through. ``timeout`` is in seconds; None
        waits indefinitely. Raises WaitTimeout with the message from ``describe``, FeedClosedError, or the
        error that the feed has failed with.
        """
        deadline = self._blocking.begin(timeout)
        with self.stream(type, market_tickers) as stream:
            while True:
                try:
                    message = stream.get_until(deadline)
                except WaitTimeout:
                    break
                if predicate is None or predicate(message):
                    return message
        raise WaitTimeout(describe() if describe else f"no matching {type!r} message within {timeout} s")

    def end_streams(self, error: KalshiFeedError | None) -> None:
        """End every stream and wait, with ``error`` or FeedClosedError. New ones need a start()."""
        self._end = end = error or FeedClosedError("the feed was closed")
        for stream in self._open_streams():
            stream.end(end)

    def _open_streams(self) -> list[MessageStream[Any]]:
        return [stream for reference in list(self._streams) if (stream := reference()) is not None]

    def _feed_streams(self, messages: Sequence[Deliverable], kinds: set[str]) -> tuple[Lag | None, list[str]]:
        """Reader only: fill the streams; return what they dropped, and warnings for the log."""
        warnings = []
        total: Lag | None = None
        for stream in self._open_streams():
            if stream.type in kinds:
                lag, news = stream.feed(messages)
                if news:
                    warnings.append(
                        f"a stream of {stream.type!r} messages is not read fast enough: the oldest are "
                        "dropped"
                    )
                if lag is not None and total is not None:
                    total.merge(lag)
                else:
                    total = total or lag
        return total, warnings

    # -- what the two kinds do differently -------------------------------------------------------------------

    @abstractmethod
    def put(self, items: list[Any], read_at: float, status_changed: Iterable[str] = ()) -> None:
        """Reader only: deliver messages and events in order; the list is the dispatcher's from then on.

        ``read_at`` is the time.perf_counter() of the socket read, ``status_changed`` the markets whose book
        changed its status.
        """

    @abstractmethod
    def watch(self, now: float) -> None:
        """Reader only: log, once, a callback that has been running for over 5 s. ``now``: perf_counter()."""

    @abstractmethod
    def next_watch(self) -> float:
        """Reader only: when watch() is due (perf_counter()); never while no callback runs."""

    @property
    @abstractmethod
    def stuck_callback(self) -> str | None:
        """The callback that has been running for over 5 s, or None."""

    @abstractmethod
    def start(self) -> None:
        """Deliver from now on, also after a close(). Raises RuntimeError if no thread can be started."""

    @abstractmethod
    def close(self, deadline: float) -> None:
        """Deliver what is queued until ``deadline`` (time.monotonic()), then nothing more. Idempotent."""

    @abstractmethod
    def is_worker(self) -> bool:
        """Whether the caller is a callback, on one of the dispatcher's threads."""

    @abstractmethod
    def unblock(self) -> None:
        """Keep put() from waiting for room; call it before joining the reader. Takes no lock."""

    def leave_child(self) -> None:
        """In a forked child: the threads stayed in the parent, and so do the messages that wait for them."""
        for stream in self._open_streams():
            stream.leave_child()


def checked_count(what: str, number: object) -> int:
    """``number``, if it is a whole number of 1 or more. Raises ConfigurationError otherwise."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ConfigurationError(f"{what} must be a whole number, at least 1, not {number!r}")
    return number
