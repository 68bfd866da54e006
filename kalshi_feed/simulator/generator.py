"""Markets that move by themselves: two-sided books around a drifting price that never cross.

Owns the choice of the next change (``Mover``, pure but for its random source) and the thread that makes them
at a rate and gives the exchange its pulse (``Generator``). Imports markets; knows the exchange as ``Floor``
only.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from .markets import SIDES, Change, Market, other
from .wire import CONTRACT, DOLLAR

TICK_SECONDS = 0.005
TICKER_SECONDS = 0.05  # how often a moving market's ticker goes out, at most
PULSE_SECONDS = 0.2  # how often the exchange is asked to do what else moves: 5 Hz
STEPS_AT_ONCE = 100  # then others get the exchange's lock
MIN_LEVELS, MAX_LEVELS = 5, 25
TRADE_SHARE = 0.07
LOTS = (1, 5, 10, 25, 50, 100, 250)

Trade = tuple[str, int, int]  # taker side, yes price, count


class Mover:
    """Chooses what happens next. Not thread-safe: used under the exchange's lock."""

    def __init__(self, seed: int | None) -> None:
        self.random = random.Random(seed)

    def fill(self, market: Market) -> None:
        """A first book: some ten levels a side around a random price."""
        pick = self.random
        # so the sides leave one tick between
        market.mid = pick.randrange(2_000, 8_000, market.tick) + market.tick / 2
        for side in SIDES:
            price, levels = self._fair(market, side), market.book[side]
            for _ in range(pick.randint(8, 14)):
                if price < market.tick:
                    break
                levels[price] = self._size()
                price -= market.tick * pick.choice((1, 1, 1, 2, 3))

    def step(self, market: Market) -> tuple[list[Change], list[Trade]]:
        """The next action in a market: the level changes and the trades that made them. May be empty."""
        pick = self.random
        market.mid = min(9_500.0, max(500.0, market.mid + pick.gauss(0.0, market.tick * 0.15)))
        side = SIDES[pick.random() < 0.5]
        levels, roll = market.book[side], pick.random()
        if roll < TRADE_SHARE and len(levels) >= MIN_LEVELS:
            return self._take(market, side)
        best = max(levels, default=0)
        if best > self._fair(market, side) and roll < 0.6:  # left behind by the price
            others = market.others(side, best)
            return ([(side, best, -others)], []) if others else self._take(market, side)
        if len(levels) < MIN_LEVELS or (roll < 0.55 and len(levels) < MAX_LEVELS):
            return self._add(market, side)
        price = list(levels)[int(pick.random() * len(levels))]
        size = market.others(side, price)
        if not size:
            return [], []  # all of it is the account's
        if pick.random() < 0.5 and len(levels) > MIN_LEVELS:
            return [(side, price, -size)], []
        return [(side, price, -self._part(size) if pick.random() < 0.5 else self._size())], []

    def _fair(self, market: Market, side: str) -> int:
        """The highest price a bid of this side should have."""
        mid = market.mid if side == "yes" else DOLLAR - market.mid
        return int(mid // market.tick) * market.tick

    def _add(self, market: Market, side: str) -> tuple[list[Change], list[Trade]]:
        price = self._fair(market, side) - market.tick * int(self.random.expovariate(0.3))
        # one tick short of crossing
        ceiling = DOLLAR - max(market.book[other(side)], default=0) - market.tick
        price = min(price, ceiling)
        if price < market.tick:
            return [], []
        return [(side, price, self._size())], []

    def _take(self, market: Market, side: str) -> tuple[list[Change], list[Trade]]:
        """A taker of the other side hits this side's best bids: usually one level, sometimes two."""
        levels, pick = market.book[side], self.random
        taker = other(side)
        changes: list[Change] = []
        trades: list[Trade] = []
        for price in sorted(levels, reverse=True)[: 2 if pick.random() < 0.15 else 1]:
            count = levels[price] if pick.random() < 0.3 else self._part(levels[price])
            changes.append((side, price, -count))
            trades.append((taker, price if side == "yes" else DOLLAR - price, count))
            if count < levels[price]:
                break
        return changes, trades

    def _size(self) -> int:
        """In 1/100 contract; mostly whole contracts, about one in six not."""
        draw = self.random.random
        whole = LOTS[int(draw() * len(LOTS))] * int(1 + draw() * 6) * CONTRACT
        return whole + int(1 + draw() * 99) if draw() < 0.16 else whole

    def _part(self, size: int) -> int:
        """Some of a level, never more than all of it."""
        part = int(1 + self.random.random() * size)
        return (
            part
            if size < CONTRACT or self.random.random() < 0.16
            else max(CONTRACT, part // CONTRACT * CONTRACT)
        )


class Floor(Protocol):
    """What the generator asks of the exchange."""

    rate: float
    paused: bool

    def _step(self) -> contextlib.AbstractContextManager[None]: ...
    def _moving(self) -> Sequence[Market]: ...
    def _change(self, market: Market, changes: Sequence[Change]) -> None: ...
    def _sweep(self, market: Market, taker_side: str, hits: Sequence[tuple[int, int]]) -> None: ...
    def _touch(self, market: Market) -> None: ...
    def _send_tickers(self) -> None: ...
    def _pulse(self, beat: int) -> None: ...


class Generator:
    """The thread ``kalshi-exchange-markets`` that moves markets at ``floor.rate`` changes a second."""

    def __init__(self, floor: Floor, mover: Mover) -> None:
        self._floor = floor
        self._mover = mover
        self._stop = threading.Event()
        self._next_tickers = 0.0
        self._next_pulse = 0.0
        self._beat = 0
        self.thread = threading.Thread(target=self._run, name="kalshi-exchange-markets", daemon=True)

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        owed, last = 0.0, time.monotonic()
        while not self._stop.wait(TICK_SECONDS):
            now = time.monotonic()
            rate = self._floor.rate
            owed = min(owed + rate * (now - last), rate * 0.25)  # a pause is not made up for by a burst
            last = now
            while owed >= 1 and not self._stop.is_set():
                made = self._batch(min(int(owed), STEPS_AT_ONCE))
                if not made:
                    owed = 0.0
                owed -= made
            if now >= self._next_pulse:
                self._next_pulse = now + PULSE_SECONDS
                self._beat += 1
                with self._floor._step():
                    self._floor._pulse(self._beat)

    def _batch(self, count: int) -> int:
        """Make about ``count`` level changes in one step of the exchange; 0 if nothing may move."""
        floor, mover, made = self._floor, self._mover, 0
        with floor._step():
            markets = () if floor.paused else floor._moving()
            for _ in range(count if markets else 0):
                market = markets[int(mover.random.random() * len(markets))]
                changes, trades = mover.step(market)
                if trades:
                    floor._sweep(market, trades[0][0], [(price, -delta) for _, price, delta in changes])
                elif changes:
                    floor._change(market, changes)
                if changes:
                    floor._touch(market)
                made += max(1, len(changes))
                if made >= count:
                    break
            if time.monotonic() >= self._next_tickers:
                floor._send_tickers()
                self._next_tickers = time.monotonic() + TICKER_SECONDS
        return made
