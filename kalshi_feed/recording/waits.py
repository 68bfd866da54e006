"""Waiting in a replay: the store of its books, threads that sleep in recorded time, and whose turn it is.

Owns ReplayStore and Participants. Thread-safe; methods whose names end in _locked need the store's lock held,
and a docstring that begins with "Player only" means what it says.

A replay can be much faster than a thread that waits for it. At any speed but "wait" that is the thread's
problem: it sees the books as they are when it gets to look, as with a live feed. With speed="wait" the replay
and the threads take turns instead, and recorded time is like the clock of a chess game with many players:

1. A thread becomes a participant with its first wait on the feed: a book, a message, a stream, sleep().
2. The player may only go on, to the next message or the next moment, while *every* participant waits
   (``in_the_way`` is empty). While no thread takes part at all, it does not move either.
3. It takes one step, runs the callbacks of that step, and only then wakes the threads with something to see
   (``hold`` before, ``call_waiting`` after). A woken thread counts as running from that moment on, even
   though it has yet to notice (``_Parked.is_called``), so the player cannot slip in another step first.
4. The thread looks at the books, which stand exactly at that message, and waits again: back to 2.

A wait with a timeout and a sleep() have a moment of recorded time at which they are due. The player stops at
each such moment between two messages, and wakes the thread there (``next_due``, ``call_due``). So each
participant sees every change, in order, and the same in every run; what is not promised is the order of
several threads that are woken by the same step.

A participant that neither waits nor ends holds the time still. With stepping_out() it lets time pass without
it; otherwise the log names it after 10 seconds, because the usual reason is a join() or an input() that the
program's author forgot about. A callback runs on the player's own thread, so it cannot wait at all.
"""

from __future__ import annotations

import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, TypeVar

from .. import greenlets
from ..books.store import BookStore
from ..dispatch import Blocking
from ..errors import FeedClosedError, KalshiFeedError, WaitTimeout
from ..waiting import Signal, Waiter, checked_timeout, deadline_after, seconds_until
from .player import ReplayClock, moment_of

__all__ = ["Participants", "ReplayStore"]

T = TypeVar("T")
_NAMED_AFTER: Final = 10.0  # seconds a thread may hold the time still before the log names it
_IN_CALLBACK: Final = (
    "a callback of a replay cannot wait: the next message comes only after the callback returns. Read what "
    'is already there, or wait in a thread of your own with KalshiFeed.replay(…, speed="wait")'
)


class Participants:
    """The threads that take part in a replay with speed="wait". Guarded by the store's lock.

    While no thread takes part, None stands for the participant that has yet to come.
    """

    def __init__(self) -> None:
        # every participant, and how many stepping_out() blocks it is in; at 0 the time waits for it
        self._out: dict[threading.Thread, int] = {}
        # since when each thread that does not wait has been holding the time still, monotonic seconds
        self._since: dict[threading.Thread | None, float] = {}
        self._named: set[threading.Thread | None] = set()  # those that were named in the log

    def join(self, thread: threading.Thread) -> None:
        """The thread takes part from now on."""
        self._out.setdefault(thread, 0)

    def step_out(self, thread: threading.Thread) -> bool:
        """The thread enters a stepping_out() block; False if it does not take part anyway."""
        if thread not in self._out:
            return False
        self._out[thread] += 1
        return True

    def step_in(self, thread: threading.Thread) -> None:
        """The thread leaves a stepping_out() block."""
        self._out[thread] -= 1

    def in_the_way(self, waiting: set[threading.Thread]) -> list[threading.Thread | None]:
        """Return the threads that hold the time still: those that take part and are not in ``waiting``.

        Threads that have ended are forgotten here.
        """
        ended = [thread for thread in self._out if thread not in waiting and not _is_alive(thread)]
        for thread in ended:
            del self._out[thread]
            self._named.discard(thread)
        taking_part = [thread for thread, out in self._out.items() if not out]
        found: list[threading.Thread | None] = [thread for thread in taking_part if thread not in waiting]
        if not taking_part:
            found.append(None)
        if not found:
            self._since.clear()
        return found

    def to_name(self, in_the_way: list[threading.Thread | None], now: float) -> list[threading.Thread | None]:
        """Return those that have held the time still for too long and were not named in the log yet."""
        self._since = {thread: self._since.get(thread, now) for thread in in_the_way}
        late = [t for t, since in self._since.items() if now - since >= _NAMED_AFTER and t not in self._named]
        self._named.update(late)
        return late


class _Parked(Waiter):
    """A thread that waits in recorded time, until ``due`` (Unix ns) at the latest.

    Guarded by the store's lock.
    """

    __slots__ = ("due", "is_called", "is_due", "thread")

    def __init__(self, check: Callable[[], object], due: float) -> None:
        super().__init__(check)
        self.thread = threading.current_thread()
        self.due = due
        self.is_due = False  # its moment has come
        self.is_called = False  # it was woken, so it counts as running, though it has yet to notice

    def is_ready(self) -> bool:
        """Whether the thread has something to see; if so, it counts as running from now on."""
        if self.is_due or super().is_ready():
            self.is_called = True
        return self.is_called


class ReplayStore(BookStore, Blocking):
    """The books of a replay and the threads that wait for them; also how streams wait (Blocking).

    During a step the player holds the waiting threads back: they are woken after the callbacks of that step.
    ``by_turns`` means speed="wait". Thread-safe; see the module.
    """

    def __init__(
        self, clock: ReplayClock, begins_ns: int, *, by_turns: bool, is_wanted: Callable[[str], bool]
    ) -> None:
        super().__init__(clock, is_wanted)
        self._recorded = clock
        # True while the player is still before the moment of replay(at=…), so that no wait is answered;
        # written by the player alone
        self.is_silent = False
        self._begins_ns = begins_ns  # Unix ns; users never see an earlier time
        self._by_turns = by_turns
        self._player: int | None = None  # ident of the player's thread while it plays
        self._wake_player: Callable[[], object] = lambda: None
        self._is_holding = False  # the player is in the middle of a step; written by the player alone
        self._participants = Participants()  # guarded by the lock

    # -- for any thread --------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return the recording's time."""
        return moment_of(self.timer_ns())

    def timer_ns(self) -> int:
        """Return the recording's time in Unix ns; sleeps and timers go by it."""
        return max(self._recorded.ns, self._begins_ns)

    def wait(self, check: Callable[[], T | None], timeout: float | None, missing: Callable[[], str]) -> T:
        """Wait as BookStore.wait() does, except that with speed="wait" ``timeout`` is recorded time.

        In a callback it only looks, and raises KalshiFeedError unless the answer is already there.
        """
        if self._is_callback():
            return super().wait(self._answered_now(check), timeout, missing)

        def check_seen() -> T | None:
            return None if self.is_silent else check()

        if not self._by_turns:
            return super().wait(check_seen, timeout, missing)
        return self._wait_until(check_seen, self.begin(timeout), timeout, missing)

    def _answered_now(self, check: Callable[[], T | None]) -> Callable[[], T | None]:
        def check_now() -> T | None:
            value = check()
            if value is None and self.ended is None:
                raise KalshiFeedError(_IN_CALLBACK)
            return value

        return check_now

    def sleep_until(self, timer_ns: int) -> bool:
        """Sleep until a moment of recorded time, at every speed; False if the recording ended first."""
        if self._is_callback():
            raise KalshiFeedError(_IN_CALLBACK)
        self.begin(None)
        if self.ended is not None:
            raise self.ended.fresh()
        try:
            self._wait_until(lambda: None, timer_ns, None, str)
        except FeedClosedError:
            return False
        except WaitTimeout:
            pass
        return True

    def begin(self, timeout: float | None) -> float:
        """Begin a wait for a stream, and return its deadline.

        With speed="wait" the thread takes part from here on, and the deadline is in Unix ns of recorded time.
        """
        if not self._by_turns or self._is_callback():
            return super().begin(timeout)
        seconds = checked_timeout(timeout)
        with self.lock:
            self._participants.join(threading.current_thread())
        return math.inf if seconds is None else self.timer_ns() + round(seconds * 1e9)

    def block(self, signal: Signal, has_news: Callable[[], bool], deadline: float) -> bool:
        """Wait until a stream has news; False if the deadline came first."""
        if self._is_callback():
            raise KalshiFeedError(_IN_CALLBACK)
        if not self._by_turns:
            return super().block(signal, has_news, deadline)
        try:
            return self._wait_until(lambda: has_news() or None, deadline, None, str)
        except WaitTimeout:
            return False

    def wake(self, signal: Signal) -> None:
        """Wake the threads that wait for a stream, in either way."""
        super().wake(signal)
        with self.change():  # which wakes every waiter with something to see
            pass

    @contextmanager
    def stepping_out(self) -> Iterator[None]:
        """While the block lasts, time passes without this thread."""
        me = threading.current_thread()
        with self.lock:
            is_out = self._participants.step_out(me)
        self._wake_player()
        try:
            yield
        finally:
            if is_out:
                with self.lock:
                    self._participants.step_in(me)

    def _is_callback(self) -> bool:
        return self._player == threading.get_ident()

    def _wait_until(
        self, check: Callable[[], T | None], due: float, timeout: float | None, missing: Callable[[], str]
    ) -> T:
        """Wait in recorded time until ``check`` has an answer, or until ``due`` (Unix ns).

        What is received at that very moment still counts. Before the player begins there is no recorded time,
        so until then the wait lasts ``timeout`` seconds of this machine's.
        """
        self.check_fork()
        self.check_not_held()

        def check_all() -> T | None:
            value = check()
            if value is None and self.ended is not None:
                raise self.ended.fresh()
            return value

        parked = _Parked(check_all, due)
        before_start = deadline_after(timeout)
        try:
            with self.lock:
                value = check_all()
                if value is None and due > self.timer_ns():
                    self._waiters.append(weakref.ref(parked))
                else:
                    parked.is_due = True
            while value is None and not parked.is_due:
                self._wake_player()  # now all may be waiting, and there may be a new moment to stop at
                is_woken = parked.signal.wait(
                    None if self._player is not None else seconds_until(before_start)
                )
                with self.lock:
                    value = check_all()
                    parked.is_called = False
                    parked.is_due = parked.is_due or not is_woken
            if value is not None:
                return value
            with self.lock:
                text = missing()
            raise WaitTimeout(f"timed out after {timeout or 0:g} s: {text}")
        finally:
            # also after a KeyboardInterrupt between any two lines; the worst it leaves is a dead reference
            with self.lock:
                self._waiters[:] = [other for other in self._waiters if other() is not parked]

    # -- for the player --------------------------------------------------------------------------------------

    def play(self, wake: Callable[[], object]) -> None:
        """Player only: begin. No thread is woken until call_waiting()."""
        self._is_holding = True
        self._wake_player, self._player = wake, threading.get_ident()
        with self.lock:
            for parked in self._parked_locked():  # threads that already wait go on in recorded time
                parked.signal.set()

    def play_no_more(self) -> None:
        """Player only: stop playing. What comes now is the end, which every waiting thread sees at once."""
        self._player, self._is_holding = None, False

    def hold(self) -> None:
        """Player only: begin a step; until call_waiting() no thread is woken."""
        self._is_holding = True

    def call_waiting(self) -> None:
        """Player only: end the step, and wake every thread that has something to see."""
        self._is_holding = False
        if self._waiters:
            with self.change():
                pass

    def ready_locked(self) -> list[Waiter]:
        """Return the waiters to wake: none in the middle of a step, unless the recording has ended."""
        return [] if self._is_holding and self.ended is None else super().ready_locked()

    def in_the_way(self) -> list[threading.Thread | None]:
        """Player only: return the participants that do not wait; while there are any, no time may pass.

        None among them means that no thread takes part at the moment.
        """
        if not self._by_turns:
            return []
        with self.lock:
            return self._participants.in_the_way(
                {parked.thread for parked in self._parked_locked() if not parked.is_called}
            )

    def to_name(self, in_the_way: list[threading.Thread | None]) -> list[threading.Thread | None]:
        """Player only: return those among them that the log should name now."""
        with self.lock:
            return self._participants.to_name(in_the_way, time.monotonic())

    def next_due(self) -> float:
        """Player only: return the next moment at which a thread is due, in Unix ns; math.inf for none."""
        if not self._waiters:
            return math.inf
        with self.lock:
            return min(
                (parked.due for parked in self._parked_locked() if not parked.is_due), default=math.inf
            )

    def call_due(self, ns: int) -> None:
        """Player only: wake the threads that are due at ``ns`` or before."""
        with self.lock:
            for parked in self._parked_locked():
                parked.is_due = parked.is_due or parked.due <= ns
        self.call_waiting()

    def _parked_locked(self) -> list[_Parked]:
        return [waiter for reference in self._waiters if isinstance(waiter := reference(), _Parked)]


def _is_alive(thread: threading.Thread) -> bool:
    """Whether the thread still runs. For one that it did not start, threading would always say yes."""
    if greenlets.thread_kind() != "thread":  # is_alive() would let another greenlet run, under the lock
        return thread.ident is not None and threading._active.get(thread.ident) is thread  # type: ignore[attr-defined]
    return thread.is_alive() and (
        not isinstance(thread, threading._DummyThread) or thread.ident in sys._current_frames()
    )
