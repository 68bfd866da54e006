"""The threads that fill a feed's gaps: they look for holes, and ask REST about each.

Owns Filler. Its thread ``kalshi-feed-fill`` looks a few times a second at the holes that the engine has noted
(engine/holes.py) and runs the next step of each job (jobs.py) that is due on a short-lived thread
``kalshi-feed-rest``, because a step may take many seconds: a few at a time, and trades first, because live
ones may wait for them. What a step finds it gives to the engine, as an input of the session, so it is in a
recording, while this module does not run in a replay. A step that fails is repeated, less and less often, for
some minutes.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from ..engine.live import LiveEngine
from ..errors import FeedClosedError, KalshiFeedError, RestError
from ..threads import ServiceThread, log_safely
from ..waiting import Signal
from .jobs import GIVE_UP, Experience, Job, job_for

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["Filler"]

MOST_HOLES: Final = 100  # that wait to be filled; beyond that, the oldest are given up
FIRST_RETRY: Final = 1.0  # seconds after a step that failed, although Rest has tried again by itself
LAST_RETRY: Final = 30.0
_LOOK: Final = 0.1  # seconds between two looks
_MOST_STEPS: Final = 4  # at a time
_MOST_OTHERS: Final = 2  # of these, that are not about trades
_AFTER_DEFECT: Final = 1.0  # seconds
_logger: Final = logging.getLogger("kalshi_feed")


class _Done(NamedTuple):
    """How a step has ended."""

    job: Job
    delay: float | None
    error: Exception | None


class Filler:
    """What runs beside a feed that fills its gaps. Thread-safe: start(), stop() and join().

    ``make_rest`` makes the Rest to ask, and says whether it has to be closed.
    """

    def __init__(self, engine: LiveEngine, make_rest: Callable[[], tuple[Rest, bool]]) -> None:
        self._engine = engine
        self._make_rest = make_rest
        self._name = engine.thread_name("fill")
        self._experience = Experience()
        # Of the threads that run, set under the store's lock; ``_stopping`` belongs to this run.
        self._thread: ServiceThread | None = None
        self._stopping = True
        self._run_number = 0
        self._rest: Rest | None = None
        self._closes_rest = False
        self._wake = Signal()
        self._done: deque[_Done] = deque()  # REST threads append, the filler's pops; each run has its own
        # The filler's thread alone; join() reads the threads.
        self._jobs: dict[int, Job] = {}  # by the number of the hole
        self._running: dict[Job, ServiceThread] = {}  # the jobs whose step is running
        self._is_failing = False  # REST failed last time, and that was reported

    # -- any thread ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run from now on; see Companion."""
        with self._engine.store.lock:
            if not self._stopping:
                return
            before, self._stopping = self._thread, False
            self._run_number += 1
            number = self._run_number
            self._thread = thread = ServiceThread(lambda: self._run(number, before), self._name)
        thread.start()

    def stop(self) -> None:
        """Ask the threads to end; see Companion."""
        rest = self._rest
        self._stopping = True
        self._engine.troubles.pop(self, None)
        self._wake.set()
        if rest is not None and self._closes_rest:
            rest.close()

    def join(self, deadline: float) -> None:
        """Wait for the threads until ``deadline``; see Companion."""
        me = ServiceThread.current()
        for thread in (self._thread, *tuple(self._running.values())):
            if thread is not None and thread is not me:
                thread.join(max(deadline - time.monotonic(), 0.0))

    # -- the filler's thread ---------------------------------------------------------------------------------

    def _run(self, number: int, before: ServiceThread | None) -> None:
        if before is not None:
            before.join(None)
        rest, self._closes_rest = self._make_rest()
        self._rest, self._done = rest, deque()
        self._jobs.clear()
        self._running.clear()
        store = self._engine.store
        # start() may come too late, after a close() in a signal handler
        while not (self._stopping or self._run_number != number or store.forked or store.ended is not None):
            try:
                self._look(rest)
            except FeedClosedError:
                break
            except Exception as defect:
                if self._stopping:
                    break
                self._report_defect(defect)
                self._wake.wait(_AFTER_DEFECT)
            self._wake.wait(_LOOK)
        if self._closes_rest:
            rest.close()
        with store.lock:
            if self._run_number == number:
                self._stopping = True

    def _look(self, rest: Rest) -> None:
        """Take in how steps have ended, and run those that are due."""
        engine, jobs = self._engine, self._jobs
        while self._done:
            self._take(self._done.popleft())
        holes = engine.requests.look(lambda: tuple(engine.holes))
        for number, channel in holes:
            if number not in jobs:
                jobs[number] = job_for(engine, number, channel, self._experience, lambda: self._stopping)
        for number, _ in holes[: max(len(holes) - MOST_HOLES, 0)]:
            if jobs[number] not in self._running:
                jobs.pop(number).give_up("too many gaps were waiting to be filled")
        if not jobs and self._is_failing:  # everything was given up
            self._is_failing = False
            engine.troubles.pop(self, None)
        now = time.monotonic()
        # trades first, and of those the newest: live ones may wait for them
        for job in sorted(jobs.values(), key=lambda job: (job.channel != "trade", -job.number)):
            if job.due <= now and job not in self._running and self._has_room(job):
                self._begin(job, rest)

    def _has_room(self, job: Job) -> bool:
        others = sum(one.channel != "trade" for one in self._running)
        return len(self._running) < _MOST_STEPS and (job.channel == "trade" or others < _MOST_OTHERS)

    def _begin(self, job: Job, rest: Rest) -> None:
        done = self._done

        def step() -> None:
            delay, error = None, None
            try:
                delay = job.step(rest)
            except Exception as failed:
                error = failed
            done.append(_Done(job, delay, error))
            self._wake.set()

        self._running[job] = thread = ServiceThread(step, self._engine.thread_name("rest"))
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left: as if REST had failed
            done.append(_Done(job, None, KalshiFeedError(str(error))))

    def _take(self, done: _Done) -> None:
        job, error = done.job, done.error
        self._running.pop(job, None)
        if error is None:
            if self._rest is not None and (skew := self._rest.clock_skew) is not None:
                self._engine.set_exchange_time(skew)
            self._is_failing, job.failures = False, 0
            self._engine.troubles.pop(self, None)
            if done.delay is None:
                self._jobs.pop(job.number, None)
            else:
                job.due = time.monotonic() + done.delay
        elif not self._stopping and not isinstance(error, FeedClosedError):
            self._failed(job, error)

    def _failed(self, job: Job, error: Exception) -> None:
        """Try again later, unless that is hopeless; report the first of several failures."""
        if not isinstance(error, KalshiFeedError):
            self._report_defect(error)
        hole = job.hole()
        delay = min(FIRST_RETRY * 2.0 ** min(job.failures, 10), LAST_RETRY)
        now = self._engine.exchange_time()
        if not job.failures:
            job.failing_since = now
        job.failures += 1
        job.due = time.monotonic() + delay
        is_final = _is_hopeless(error) or (
            hole is not None and now > max(hole.until, job.failing_since) + GIVE_UP
        )
        if not self._is_failing and isinstance(error, KalshiFeedError):
            self._is_failing = True
            again = "" if is_final else f", trying again in {delay:.0f} s"
            text = f"what was missed on {job.channel} cannot be read{again}: {error}"
            self._engine.troubles[self] = f"fill_gaps: {text}"
            log_safely(_logger, logging.WARNING, "fill_gaps: %s", text)
            self._engine.report_fault("rest", text, error if isinstance(error, RestError) else None)
        if is_final:
            self._jobs.pop(job.number, None)
            job.give_up(str(error))

    def _report_defect(self, defect: Exception) -> None:
        log_safely(_logger, logging.ERROR, "defect in kalshi_feed, in fill_gaps", error=defect)
        self._engine.report_fault("defect", f"a defect in kalshi_feed, in fill_gaps: {defect!r}")

    def __repr__(self) -> str:
        return f"<Filler {self._name}, {len(self._jobs)} gaps>"


def _is_hopeless(error: Exception) -> bool:
    """Whether the exchange refuses the request itself. A page that is not its own will go away."""
    return isinstance(error, RestError) and not error.retryable and 400 <= (error.status or 0) < 500
