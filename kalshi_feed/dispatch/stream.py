"""Messages for a thread that asks for them: an iterator with its own bounded queue.

Owns MessageStream, and Blocking, the way in which a thread waits for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from ..errors import ConfigurationError, FeedClosedError, FeedForkedError, KalshiFeedError, WaitTimeout
from ..threads import waiting_threads
from ..waiting import Signal, deadline_after, seconds_until
from .mailbox import Lag
from .registry import checked_tickers

__all__ = ["Blocking", "MessageStream"]

M_co = TypeVar("M_co", covariant=True)  # the class of its messages


class _StreamClosed(FeedClosedError, StopIteration):
    """The end of a stream: a ``for`` loop simply ends, and ``next()`` shows why."""


class Blocking:
    """How a thread waits for a stream: in real time (in a replay, see recording/waits.py). Thread-safe."""

    def begin(self, timeout: float | None) -> float:
        """Begin a wait; return its deadline (inf for none). Raises ConfigurationError for a bad timeout."""
        return deadline_after(timeout)

    def block(self, signal: Signal, has_news: Callable[[], bool], deadline: float) -> bool:
        """Wait for ``signal``, which is set when there may be news; False if the deadline came first."""
        me = threading.get_ident()
        waiting_threads.add(me)
        try:
            return signal.wait(seconds_until(deadline))
        finally:
            waiting_threads.discard(me)

    def wake(self, signal: Signal) -> None:
        """Wake a waiter for something that does not come from the reader. Takes no lock."""
        signal.set()


class MessageStream(Generic[M_co]):
    """A blocking iterator over the messages of one wire type. Thread-safe; takes no lock.

    The reader fills it whatever the callbacks do, and drops the oldest messages when ``maxsize`` are waiting
    (``dropped`` counts them, on_lagged reports them). When the stream or the feed is closed, iterating ends
    after the messages still waiting; if the feed has failed, it then raises the feed's error. A stream
    without references is no longer filled.
    """

    def __init__(
        self,
        type: str,
        market_tickers: Any = None,
        maxsize: int = 10_000,
        blocking: Blocking | None = None,
    ) -> None:
        if not isinstance(type, str) or not type:
            raise ConfigurationError(f"a stream is made for a message type such as 'trade', not for {type!r}")
        if isinstance(maxsize, bool) or not isinstance(maxsize, int) or maxsize < 1:
            raise ConfigurationError(
                f"maxsize must be a whole number of messages, at least 1, not {maxsize!r}"
            )
        self.type = type
        self.market_tickers = checked_tickers(market_tickers)
        self.maxsize = maxsize
        self.dropped = 0
        self._messages: deque[Any] = deque()  # the reader appends, any thread pops: both are atomic
        self._wake = Signal()  # there may be a message, or the end
        self._blocking = blocking or Blocking()
        self._end: KalshiFeedError | None = None  # raised once the messages are used up; None: goes on
        self._on_close: Callable[[], object] = lambda: None
        self._lagging = False  # messages were dropped since half the queue was last free

    # -- the user's side -------------------------------------------------------------------------------------

    def get(self, timeout: float | None = None) -> M_co:
        """The next message. ``timeout`` is in seconds; None waits indefinitely, 0 does not wait.

        Raises WaitTimeout, FeedClosedError if the stream or the feed is closed, or the error that the feed
        has failed with.
        """
        try:
            return self.get_until(self._blocking.begin(timeout))
        except WaitTimeout:
            raise WaitTimeout(f"no {self.type!r} message within {timeout} s") from None

    def __iter__(self) -> MessageStream[M_co]:
        return self

    def __next__(self) -> M_co:
        try:
            return self.get_until(self._blocking.begin(None))
        except FeedClosedError as end:
            raise _StreamClosed(*end.args) from None

    def close(self) -> None:
        """Stop: drop the waiting messages, and wake a thread that waits in get() or in a loop."""
        self._on_close()
        if self._end is None:
            self._end = FeedClosedError(f"the stream of {self.type!r} messages was closed")
        self._messages.clear()
        self._blocking.wake(self._wake)

    def __enter__(self) -> MessageStream[M_co]:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        markets = (
            ""
            if self.market_tickers is None
            else f" of {len(self.market_tickers)} market{'s'[: len(self.market_tickers) != 1]}"
        )
        ended = ", ended" if self._end is not None else ""
        return (
            f"<MessageStream {self.type}{markets}, {len(self._messages)} waiting, {self.dropped} "
            f"dropped{ended}>"
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "a MessageStream is filled by its feed's reader: it cannot be pickled or copied; "
            "take the messages out of it, which can, or their to_dict()"
        )

    # -- the dispatcher's side -------------------------------------------------------------------------------

    def get_until(self, deadline: float) -> M_co:
        """Like get(), with a deadline from Blocking.begin()."""
        while True:
            end = self._end  # read before the queue, so that messages from before the end are still returned
            try:
                message = self._messages.popleft()
            except IndexError:
                pass
            else:
                if self._messages or self._end is not None:
                    self._wake.set()  # for another thread that may be waiting here
                return message  # type: ignore[no-any-return]
            if end is not None:
                self._wake.set()
                raise end.fresh()
            if not self._blocking.block(self._wake, self._has_news, deadline) and not self._has_news():
                raise WaitTimeout(f"no {self.type!r} message in time")

    def _has_news(self) -> bool:
        return bool(self._messages) or self._end is not None

    def on_close(self, forget: Callable[[], object]) -> None:
        """Set what close() calls."""
        self._on_close = forget

    def feed(self, messages: Sequence[Any]) -> tuple[Lag | None, bool]:
        """Reader only: append the matching messages; return what had to be dropped, and whether to warn.

        A warning is due again once half the queue was free.
        """
        wanted, tickers = self.type, self.market_tickers
        matching = [
            m for m in messages if m.type == wanted and (tickers is None or m.market_ticker in tickers)
        ]
        if not matching or self._end is not None:
            return None, False
        if len(self._messages) * 2 <= self.maxsize:
            self._lagging = False
        gone = matching[: -self.maxsize]
        excess = len(self._messages) + len(matching) - len(gone) - self.maxsize
        oldest: list[Any] = []
        for _ in range(excess):
            try:
                oldest.append(self._messages.popleft())
            except IndexError:  # the user has taken it meanwhile
                break
        self._messages.extend(matching[len(gone) :])
        self._wake.set()
        if not (oldest or gone):
            return None, False
        lag = Lag()
        lag.add(oldest + gone)
        self.dropped += lag.dropped
        news, self._lagging = not self._lagging, True
        return lag, news

    def end(self, error: KalshiFeedError) -> None:
        """The feed has ended: wake all waiting threads. Takes no lock."""
        if self._end is None:
            self._end = error
        self._blocking.wake(self._wake)

    def leave_child(self) -> None:
        """In a forked child: return no more messages; those waiting are the parent's."""
        self._messages.clear()
        self._end = FeedForkedError()
