"""Who waits for a replay: the books' store of a replay, its sleepers, and the threads that take part with
speed="wait".

Owns ReplayStore and Participants. With speed="wait" recorded time passes only while every participant waits,
so that each sees every change, the same in every run. A thread takes part from its first wait until it ends
or steps out. Must not import the engine. Thread-safe; methods ending in _locked need the store's lock held.
What the player calls says so.
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
from threading import Thread, current_thread, get_ident
from typing import Final, TypeVar

from ..books.store import BookStore
from ..dispatch import Blocking
from ..errors import FeedClosedError, KalshiFeedError, WaitTimeout
from ..waiting import Signal, Waiter, checked_timeout, deadline_after, seconds_until
from .player import ReplayClock, moment_of

__all__ = ["Participants", "ReplayStore"]

T = TypeVar("T")
_NAMED_AFTER: Final = 10.0  # seconds for which a thread has kept the time standing
_IN_CALLBACK: Final = (
    "a callback of a replay cannot wait: the next message comes when the callback returns. Read what is "
    "there already, "
    'or wait in a thread of your own, with KalshiFeed.replay(…, speed="wait")'
)


class Participants:
    """The threads that take part in a replay with speed="wait". Guarded by the store's lock."""

    def __init__(self) -> None:
        self._out: dict[Thread, int] = {}  # how often each has stepped out; 0: the time waits for it
        # monotonic seconds since when each keeps the time standing; None: nobody is there
        self._since: dict[Thread | None, float] = {}
        self._named: set[Thread | None] = set()

    def join(self, thread: Thread) -> None:
        """It takes part from now on."""
        self._out.setdefault(thread, 0)

    def step_out(self, thread: Thread) -> bool:
        """It takes no part for a while; False if it never did."""
        if thread not in self._out:
            return False
        self._out[thread] += 1
        return True

    def step_in(self, thread: Thread) -> None:
        """It takes part again."""
        self._out[thread] -= 1

    def in_the_way(self, waiting: set[Thread]) -> list[Thread | None]:
        """Who keeps the time standing; None stands for a first participant, who has yet to come."""
        ended = [thread for thread in self._out if thread not in waiting and not _is_alive(thread)]
        for thread in ended:
            del self._out[thread]
            self._named.discard(thread)
        taking_part = [thread for thread, out in self._out.items() if not out]
        found: list[Thread | None] = [thread for thread in taking_part if thread not in waiting]
        if not taking_part:
            found.append(None)
        if not found:
            self._since.clear()
        return found

    def to_name(self, in_the_way: list[Thread | None], now: float) -> list[Thread | None]:
        """Those that have kept the time standing for long and were not named yet."""
        self._since = {thread: self._since.get(thread, now) for thread in in_the_way}
        late = [t for t, since in self._since.items() if now - since >= _NAMED_AFTER and t not in self._named]
        self._named.update(late)
        return late


class _Parked(Waiter):
    """A thread that waits in recorded time. ``due`` is in Unix ns. Guarded by the store's lock."""

    __slots__ = ("due", "is_called", "is_due", "thread")

    def __init__(self, check: Callable[[], object], due: float) -> None:
        super().__init__(check)
        self.thread = current_thread()
        self.due = due
        self.is_due = False  # the recorded time has come
        self.is_called = False  # it was woken: it counts as running, though it has yet to notice

    def is_ready(self) -> bool:
        """See Waiter."""
        if self.is_due or super().is_ready():
            self.is_called = True
        return self.is_called


class ReplayStore(BookStore, Blocking):
    """The books of a replay and those who wait for them; also how streams wait (Blocking). Thread-safe; see
    the module.

    While the player takes a step it holds the waiting threads back: they are woken after the callbacks of
    what they wait for. A callback itself, which the player's own thread runs, cannot wait. ``by_turns``:
    speed="wait".
    """

    def __init__(
        self, clock: ReplayClock, begins_ns: int, *, by_turns: bool, is_wanted: Callable[[str], bool]
    ) -> None:
        super().__init__(clock, is_wanted)
        self._recorded = clock
        self.is_silent = False  # what is played yet comes before users' time; written by the player
        self._begins_ns = begins_ns  # for users it is never earlier than this, Unix ns
        self._by_turns = by_turns
        self._player: int | None = None  # ident of the player's thread while it plays
        self._wake_player: Callable[[], object] = lambda: None
        self._is_holding = False  # the player is in the middle of a step; written by the player alone
        self._participants = Participants()  # guarded by the lock

    # -- for any thread --------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """See BookStore."""
        return moment_of(self.timer_ns())

    def timer_ns(self) -> int:
        """See BookStore; the recording's time, in Unix ns."""
        return max(self._recorded.ns, self._begins_ns)

    def wait(self, check: Callable[[], T | None], timeout: float | None, missing: Callable[[], str]) -> T:
        """See BookStore; with speed="wait" ``timeout`` is recorded time."""
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
        """See BookStore; recorded time at every speed."""
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
        """See Blocking. With speed="wait" the thread takes part from here on, and the deadline is in Unix
        ns."""
        if not self._by_turns or self._is_callback():
            return super().begin(timeout)
        seconds = checked_timeout(timeout)
        with self.lock:
            self._participants.join(current_thread())
        return math.inf if seconds is None else self.timer_ns() + round(seconds * 1e9)

    def block(self, signal: Signal, has_news: Callable[[], bool], deadline: float) -> bool:
        """See Blocking."""
        if self._is_callback():
            raise KalshiFeedError(_IN_CALLBACK)
        if not self._by_turns:
            return super().block(signal, has_news, deadline)
        try:
            return self._wait_until(lambda: has_news() or None, deadline, None, str)
        except WaitTimeout:
            return False

    def wake(self, signal: Signal) -> None:
        """See Blocking."""
        super().wake(signal)
        with self.change():
            pass

    @contextmanager
    def stepping_out(self) -> Iterator[None]:
        """See BookStore."""
        me = current_thread()
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
        return self._player == get_ident()

    def _wait_until(
        self, check: Callable[[], T | None], due: float, timeout: float | None, missing: Callable[[], str]
    ) -> T:
        """Wait in recorded time, as long as nothing is played for ``timeout`` seconds of this machine's.

        ``due``: in Unix ns; what is received at that very moment still counts.
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
                self._wake_player()  # all may be waiting now, and there may be a new moment to stop at
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
            # also of a KeyboardInterrupt between any two lines; what one leaves behind is a dead reference
            with self.lock:
                self._waiters[:] = [other for other in self._waiters if other() is not parked]

    # -- for the player --------------------------------------------------------------------------------------

    def play(self, wake: Callable[[], object]) -> None:
        """Player only: it begins. Nobody is woken until call_waiting()."""
        self._is_holding = True
        self._wake_player, self._player = wake, get_ident()
        with self.lock:
            for parked in self._parked_locked():  # who has waited before goes on in recorded time
                parked.signal.set()

    def play_no_more(self) -> None:
        """Player only: what comes now is the end, of which everybody is told."""
        self._player, self._is_holding = None, False

    def hold(self) -> None:
        """Player only: a step begins."""
        self._is_holding = True

    def call_waiting(self) -> None:
        """Player only: the step is done; wake those who have something to see."""
        self._is_holding = False
        if self._waiters:
            with self.change():
                pass

    def ready_locked(self) -> list[Waiter]:
        """See BookStore."""
        return [] if self._is_holding and self.ended is None else super().ready_locked()

    def in_the_way(self) -> list[Thread | None]:
        """Player only: the participants that do not wait, so that no time may pass; None: there is no
        participant yet."""
        if not self._by_turns:
            return []
        with self.lock:
            return self._participants.in_the_way(
                {parked.thread for parked in self._parked_locked() if not parked.is_called}
            )

    def to_name(self, in_the_way: list[Thread | None]) -> list[Thread | None]:
        """Player only: those among them who should be named in the log."""
        with self.lock:
            return self._participants.to_name(in_the_way, time.monotonic())

    def next_due(self) -> float:
        """Player only: the next moment for which somebody waits, in Unix ns; math.inf for none."""
        if not self._waiters:
            return math.inf
        with self.lock:
            return min(
                (parked.due for parked in self._parked_locked() if not parked.is_due), default=math.inf
            )

    def call_due(self, ns: int) -> None:
        """Player only: that moment has come."""
        with self.lock:
            for parked in self._parked_locked():
                parked.is_due = parked.is_due or parked.due <= ns
        self.call_waiting()

    def _parked_locked(self) -> list[_Parked]:
        return [waiter for reference in self._waiters if isinstance(waiter := reference(), _Parked)]


def _is_alive(thread: Thread) -> bool:
    """Also of a thread that threading did not start, which it takes to live for ever."""
    return thread.is_alive() and (
        not isinstance(thread, threading._DummyThread) or thread.ident in sys._current_frames()
    )
