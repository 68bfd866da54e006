"""What moves by itself: markets at a rate, their tickers, the reference values, the account's own activity.

Owns the pause, the markets whose ticker is due, and the thread that beats time. What a market does next is
``mover``'s choice.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

from .core import Core
from .listing import Listing
from .markets import Market
from .matching import Matching
from .mover import Mover
from .references import References

TICK_SECONDS = 0.005
TICKER_SECONDS = 0.05  # how often a moving market's ticker is sent, at most
PULSE_SECONDS = 0.2  # how often everything but the markets may move: 5 Hz
STEPS_AT_ONCE = 100  # then other threads get the exchange's lock
ACTIVITY_SHARE = 0.4  # of the pulses (5 a second), those in which the account acts


class Movement:
    """What moves by itself, and whether it is paused. Thread-safe."""

    def __init__(
        self, core: Core, listing: Listing, matching: Matching, references: References, seed: int | None
    ) -> None:
        self._core = core
        self._listing = listing
        self._matching = matching
        self._references = references
        # guarded by the exchange's lock, like everything below
        self._mover = Mover(seed)
        # chooses for what moves besides the markets, so that their moves stay repeatable
        self._chance = random.Random(seed)
        self._moved: dict[str, Market] = {}  # since their last ticker
        self._paused = False

    @property
    def paused(self) -> bool:
        """Whether ``pause`` has stopped everything that moves by itself."""
        return self._paused

    def add_moving_market(self, ticker: str, tick: int) -> None:
        """List a market with a two-sided book that moves; ``tick`` in 1/10,000 dollar."""
        market = Market(ticker, tick=tick, moving=True)
        with self._core.step():
            self._mover.fill(market)
            self._matching.list_market(market)

    def pause(self) -> None:
        """Stop everything that moves by itself: once this returns, nothing more is generated."""
        with self._core.step():
            self._paused = True
            self.send_tickers_locked()

    def resume(self) -> None:
        """Let everything move again."""
        with self._core.lock:
            self._paused = False

    def batch(self, count: int, tickers: bool = False) -> int:
        """Make about ``count`` level changes in one step, then send the ``tickers`` that are due.

        Returns how many changes were made: 0 if nothing may move.
        """
        made = 0
        with self._core.step():
            markets = [] if self._paused else self._moving()
            while markets and made < count:
                market = markets[int(self._mover.random.random() * len(markets))]
                made += self.move_locked(market, self._mover)
            if tickers:
                self.send_tickers_locked()
        return made

    def pulse(self, beat: int) -> None:
        """Move the reference values and let the account act, as the settings say; ``beat`` counts pulses."""
        settings = self._core.settings
        with self._core.step():
            if self._paused:
                return
            references_move = settings.references_move
            if settings.rate > 0 if references_move is None else references_move:
                self._references.move_locked(self._chance, beat)
            markets = self._moving() if settings.rate > 0 and settings.account_activity else []
            if markets and self._chance.random() < ACTIVITY_SHARE:
                self._matching.act(self._chance, markets)

    # -- under the lock --------------------------------------------------------------------------------------
    def move_locked(self, market: Market, mover: Mover) -> int:
        """Take one step in a market; returns how many changes it counts for, at least 1."""
        changes, trades = mover.step(market)
        if trades:
            hits = [(price, -delta) for _, price, delta in changes]
            self._matching.sweep(market, trades[0][0], hits)
        elif changes:
            self._listing.change(market, changes)
        if changes:
            self._moved[market.ticker] = market
        return max(1, len(changes))

    def _moving(self) -> Sequence[Market]:
        return [market for market in self._listing.markets() if market.moving]

    def send_tickers_locked(self) -> None:
        """Send the ticker of every market that has moved since its last one."""
        for market in self._moved.values():
            self._listing.send_ticker(market)
        self._moved.clear()


class Generator:
    """The thread ``kalshi-exchange-markets``, which keeps a ``Movement`` at the exchange's ``rate``."""

    def __init__(self, core: Core, movement: Movement) -> None:
        self._settings = core.settings
        self._movement = movement
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kalshi-exchange-markets", daemon=True)

    def start(self) -> None:
        """Begin to move what may move."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once."""
        self._stop.set()

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread, at most ``timeout`` seconds."""
        self._thread.join(timeout)

    def _run(self) -> None:
        owed, last = 0.0, time.monotonic()
        next_tickers = next_pulse = 0.0
        beat = 0
        while not self._stop.wait(TICK_SECONDS):
            now = time.monotonic()
            rate = self._settings.rate
            owed = min(owed + rate * (now - last), rate * 0.25)  # a burst does not make up for a pause
            last = now
            while owed >= 1 and not self._stop.is_set():
                due = time.monotonic() >= next_tickers
                made = self._movement.batch(min(int(owed), STEPS_AT_ONCE), due)
                if due:
                    next_tickers = time.monotonic() + TICKER_SECONDS
                owed = owed - made if made else 0.0
            if now >= next_pulse:
                next_pulse = now + PULSE_SECONDS
                beat += 1
                self._movement.pulse(beat)
