"""A series whose markets open and close by the clock, every few seconds.

Owns the timetable and the thread that keeps it. A market is created ahead of its time (``created``), opens
and closes without a message (PROTOCOL.md 6.7), moves while it is open, and is determined and settled
afterwards.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import cast

from .core import Core
from .facts import SECOND
from .lifecycle import Lifecycle
from .listing import Listing
from .market_control import MarketControl
from .markets import Market
from .movement import Movement
from .mover import Mover
from .wire import Side

BEAT_SECONDS = 0.02
KEEP_SETTLED = 1_000  # markets of a series; older ones are removed
KEEP_TICKERS = 10_000
STEPS = ("created", "opened", "closed", "determined", "settled")


@dataclass(frozen=True)
class Timetable:
    """How a series runs; seconds."""

    series_ticker: str
    every: float  # from one opening to the next
    length: float  # from the opening to the close
    markets: int  # that open together, in one event
    ahead: float  # from the creation to the opening
    determine_after: float  # the close
    settle_after: float  # the close
    pace: float  # changes a second in each open market
    rounds: int | None  # how many events there are; None: without end


@dataclass
class _Round:
    """One event. Owned by the series' thread."""

    tickers: list[str]
    open_us: int
    close_us: int
    step: int = 0  # the index in STEPS of the last one


class SeriesRun:
    """A series that runs. Thread-safe; its thread ``kalshi-exchange-series`` ends with the last round,
    ``stop`` or the exchange."""

    def __init__(
        self,
        core: Core,
        listing: Listing,
        control: MarketControl,
        lifecycle: Lifecycle,
        movement: Movement,
        beat: threading.Lock,
        numbers: Iterator[int],
        timetable: Timetable,
    ) -> None:
        self.timetable = timetable
        self._core = core
        self._listing = listing
        self._control = control
        self._lifecycle = lifecycle
        self._movement = movement
        self._beat = beat
        self._numbers = numbers
        self._mover = Mover(core.settings.seed)
        self._stop = threading.Event()
        # guarded by the exchange's lock
        self._counts = dict.fromkeys(STEPS, 0)
        self._tickers: deque[str] = deque(maxlen=KEEP_TICKERS)
        # owned by the thread, like everything below
        self._begin_us = (core.now_us() // SECOND + 1) * SECOND
        self._next = 0  # the number of the next round
        self._rounds: deque[_Round] = deque()
        self._settled: deque[str] = deque()
        self._owed = 0.0
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="kalshi-exchange-series", daemon=True)

    # -- any thread ------------------------------------------------------------------------------------------
    @property
    def market_tickers(self) -> tuple[str, ...]:
        """The markets created so far, oldest first; the last 10,000."""
        with self._core.lock:
            return tuple(self._tickers)

    @property
    def counts(self) -> dict[str, int]:
        """How many markets were created, opened, closed, determined and settled so far."""
        with self._core.lock:
            return dict(self._counts)

    def wait_for(self, n: int, step: str = "settled", timeout: float = 10.0) -> None:
        """Wait until ``n`` markets were ``created``, ``opened``, ``closed``, ``determined`` or ``settled``.

        Raises TimeoutError, and ValueError for another step.
        """
        if step not in STEPS:
            raise ValueError(f"step must be one of {', '.join(STEPS)}, got {step!r}")
        self._core.wait_for(lambda: self._counts[step] >= n, timeout, f"{n} markets of the series {step}")

    def stop(self, timeout: float = 2.0) -> None:
        """End the series; markets that exist stay as they are. Waits at most ``timeout`` seconds."""
        self._stop.set()
        self._thread.join(timeout)

    def start(self) -> None:
        """Begin; the exchange does this. The first round has been made when it returns."""
        with self._beat:
            self._advance()
        self._thread.start()

    # -- the series' thread ----------------------------------------------------------------------------------
    def _run(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with self._beat:
                if not self._movement.paused:
                    self._advance()
                    self._trade()
            rounds = self.timetable.rounds
            if rounds is not None and self._next >= rounds and not self._rounds:
                return

    def _advance(self) -> None:
        """Do everything that is due."""
        table, now_us = self.timetable, self._core.now_us()
        while table.rounds is None or self._next < table.rounds:
            open_us = self._begin_us + int(self._next * table.every * SECOND)
            if open_us - int(table.ahead * SECOND) > now_us:
                break
            close_us = open_us + int(table.length * SECOND)
            if close_us > now_us or table.rounds is not None:  # otherwise the clock has jumped over it
                self._create(open_us, close_us)
            self._next += 1
        for one in self._rounds:
            after = (table.determine_after, table.settle_after)
            due = (one.open_us, one.close_us, *(one.close_us + int(seconds * SECOND) for seconds in after))
            while one.step < len(due) and now_us >= due[one.step] and not self._stop.is_set():
                one.step += 1
                for ticker in one.tickers:
                    self._take_step(STEPS[one.step], ticker)
        while self._rounds and self._rounds[0].step == len(STEPS) - 1:
            self._settled.extend(self._rounds.popleft().tickers)
        while len(self._settled) > KEEP_SETTLED:
            self._remove(self._settled.popleft())

    def _create(self, open_us: int, close_us: int) -> None:
        table = self.timetable
        at = datetime.fromtimestamp(close_us // SECOND, timezone.utc)
        event = f"{table.series_ticker}-{at.strftime('%y%b%d%H%M%S').upper()}"
        with self._core.lock:
            if self._listing.event(event):  # several close in one second, or it is the series' second run
                event += f"X{next(self._numbers)}"
        self._lifecycle.create_event(
            event,
            title=f"{table.series_ticker} at {at:%H:%M:%S} UTC",
            subtitle=f"closes at {at:%H:%M:%S}",
            series_ticker=table.series_ticker,
            strike_date=close_us // SECOND,
        )
        tickers = [f"{event}-{number:02d}" for number in range(table.markets)]
        for number, ticker in enumerate(tickers):
            strike = 100 + number
            self._lifecycle.create_market(
                ticker,
                event_ticker=event,
                open_ts=open_us // SECOND,
                close_ts=close_us // SECOND,
                opened=False,
                title=f"{table.series_ticker} above {strike} at {at:%H:%M:%S} UTC?",
                yes_sub_title=f"above {strike}",
                no_sub_title=f"{strike} or below",
                strike_type="greater",
                floor_strike=strike,
            )
            self._count("created", ticker)
        self._rounds.append(_Round(tickers, open_us, close_us))

    def _take_step(self, step: str, ticker: str) -> None:
        with self._core.lock:
            market = self._listing.find(ticker)
            likely = market is not None and market.mid >= 5_000
        if market is None:
            return  # a test has removed it
        if step == "opened" and market.status == "initialized":
            first = Market(ticker, tick=market.tick)
            self._mover.fill(first)
            market.mid = first.mid
            yes, no = (cast("Side", levels) for levels in first.truth().values())
            self._lifecycle.open_market(ticker, yes, no)
        elif step == "closed" and market.status in ("active", "inactive"):
            self._control.settle(ticker)
        elif step == "determined" and market.status == "closed":
            self._lifecycle.determine(ticker, "yes" if likely else "no")
        elif step == "settled" and market.status == "determined":
            self._lifecycle.settle_market(ticker)
        self._count(step, ticker)

    def _count(self, step: str, ticker: str) -> None:
        with self._core.changed:
            if step == "created":
                self._tickers.append(ticker)
            self._counts[step] += 1
            self._core.changed.notify_all()

    def _remove(self, ticker: str) -> None:
        with self._core.lock:
            if self._listing.find(ticker) is not None:
                self._listing.remove(ticker)

    def _trade(self) -> None:
        """Move the open markets as far as the pace says."""
        now = time.monotonic()
        self._owed = min(self._owed + self.timetable.pace * (now - self._last), 20.0)
        self._last = now
        steps = int(self._owed)
        self._owed -= steps
        if not steps:
            return
        now_us, opened = self._core.now_us(), STEPS.index("opened")
        for one in self._rounds:
            if one.step == opened and now_us < one.close_us:
                is_late = now_us > (one.open_us + one.close_us) // 2
                for ticker in one.tickers:
                    self._move(ticker, steps, is_late=is_late)
        with self._core.step():
            self._movement.send_tickers_locked()

    def _move(self, ticker: str, steps: int, *, is_late: bool) -> None:
        with self._core.step():
            market = self._listing.find(ticker)
            if market is None or market.status != "active":
                return
            for _ in range(steps):
                self._movement.move_locked(market, self._mover)
            for _ in range(200):  # no market goes without a trade
                if market.volume or not is_late:
                    break
                self._movement.move_locked(market, self._mover)


class SeriesRuns:
    """The series that an exchange runs. Thread-safe."""

    def __init__(
        self,
        core: Core,
        listing: Listing,
        control: MarketControl,
        lifecycle: Lifecycle,
        movement: Movement,
    ) -> None:
        self._parts = (core, listing, control, lifecycle, movement)
        self._core = core
        self._runs: list[SeriesRun] = []  # guarded by the exchange's lock
        # Held for each beat of a series, which is made of many steps; the exchange's lock is taken inside it.
        self._beat = threading.Lock()
        self._numbers = itertools.count(1)  # for names that are taken; used under _beat

    def start(self, timetable: Timetable) -> SeriesRun:
        """Begin a series; see ``Exchange.run_series``. Raises ValueError."""
        for name in ("every", "length", "markets"):
            if not getattr(timetable, name) > 0:
                raise ValueError(f"{name} must be above zero, got {getattr(timetable, name)!r}")
        if timetable.settle_after < timetable.determine_after or timetable.determine_after < 0:
            raise ValueError("a market is settled after it is determined, and that after its close")
        core, listing, control, lifecycle, movement = self._parts
        run = SeriesRun(core, listing, control, lifecycle, movement, self._beat, self._numbers, timetable)
        with self._core.lock:
            self._runs.append(run)
        run.start()
        return run

    def wait_for_beat(self) -> None:
        """Return once no beat is under way."""
        with self._beat:
            pass

    def stop(self, deadline: float) -> None:
        """End every series' thread, until ``deadline`` on the monotonic clock."""
        with self._core.lock:
            runs, self._runs = self._runs, []
        for run in runs:
            run.stop(max(0.0, deadline - time.monotonic()))
