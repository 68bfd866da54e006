"""Messages for a thread that asks for them: an iterator with a bounded queue of its own.

Owns MessageStream, and Blocking: how its reader waits. Must not import anything of the package but errors,
threads, waiting and its siblings mailbox and registry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, Generic, TypeVar

from ..errors import ConfigurationError, FeedClosedError, FeedForkedError, KalshiFeedError, WaitTimeout
from ..threads import waiting_threads
from ..waiting import Signal, deadline_after, seconds_until
from .mailbox import Lag
from .registry import checked_tickers

__all__ = ["Blocking", "MessageStream"]

M_co = TypeVar("M_co", covariant=True)  # the class of its messages


class _StreamClosed(FeedClosedError, StopIteration):
    """The end of a stream: a ``for`` loop simply ends, and ``next()`` says why."""


class Blocking:
    """How a thread waits for a stream: in this machine's time. Thread-safe. A replay has another one
    (recording/waits.py)."""

    def begin(self, timeout: float | None) -> float:
        """A wait begins; returns its deadline, math.inf for none. Raises ConfigurationError for what is no
        timeout."""
        return deadline_after(timeout)

    def block(self, signal: Signal, has_news: Callable[[], bool], deadline: float) -> bool:
        """Wait for ``signal``, which is set when there may be news; False if the deadline came first."""
        me = get_ident()
        waiting_threads.add(me)
        try:
            return signal.wait(seconds_until(deadline))
        finally:
            waiting_threads.discard(me)

    def wake(self, signal: Signal) -> None:
        """There is news that does not come from the reader. Takes no lock."""
        signal.set()


class MessageStream(Generic[M_co]):
    """A blocking iterator over the messages of one wire type. Thread-safe; takes no lock.

    The reader fills it whatever the callbacks do, and lets the oldest go when ``maxsize`` wait (``dropped``
    counts them, on_lagged tells). Iterating ends when the stream or the feed is closed, after what still
    waits; when the feed has failed, it raises the feed's error. A stream nobody refers to any more is no
    longer filled.
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
        self._messages: deque[Any] = deque()  # the reader appends, anyone pops: both are atomic
        self._wake = Signal()
        self._blocking = blocking or Blocking()
        self._end: KalshiFeedError | None = None
        self._on_close: Callable[[], object] = lambda: None
        self._lagging = False

    # -- the user's side -------------------------------------------------------------------------------------

    def get(self, timeout: float | None = None) -> M_co:
        """The next message. ``timeout`` in seconds: None waits for ever, 0 looks once.

        Raises WaitTimeout, FeedClosedError when the stream or the feed is closed, the feed's error when it
        has failed.
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
        """Stop. What waits is let go, and a thread that waits in get() or in a loop is woken."""
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
        """As get(), with a deadline of its Blocking's begin()."""
        while True:
            end = self._end  # read before the queue: what was put before the end is still handed out
            try:
                message = self._messages.popleft()
            except IndexError:
                pass
            else:
                if self._messages or self._end is not None:
                    self._wake.set()  # for another thread that may wait here too
                return message  # type: ignore[no-any-return]
            if end is not None:
                self._wake.set()
                raise end.fresh()
            if not self._blocking.block(self._wake, self._has_news, deadline) and not self._has_news():
                raise WaitTimeout(f"no {self.type!r} message in time")

    def _has_news(self) -> bool:
        return bool(self._messages) or self._end is not None

    def on_close(self, forget: Callable[[], object]) -> None:
        """What close() is to call."""
        self._on_close = forget

    def feed(self, messages: Sequence[Any]) -> tuple[Lag | None, bool]:
        """Reader only: append the matching ones; returns what had to be dropped for them, and whether that is
        news.

        It is news again once half the queue was free.
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
            except IndexError:  # the user took it meanwhile
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
        """The feed has ended: wake everyone who waits. Takes no lock."""
        if self._end is None:
            self._end = error
        self._blocking.wake(self._wake)

    def leave_child(self) -> None:
        """In a child process: nothing is handed out any more. What waits is the parent's to read."""
        self._messages.clear()
        self._end = FeedForkedError()
