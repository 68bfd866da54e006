"""Markets that move by themselves: two-sided books around a drifting price that never cross.

Owns the choice of what a market does next. Pure, except for its random source.
"""

from __future__ import annotations

import random

from .markets import SIDES, Change, Market, other
from .wire import CONTRACT, DOLLAR

TICK_SECONDS = 0.005
TICKER_SECONDS = 0.05  # how often a moving market's ticker goes out, at most

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
        """Give a market its first book: about ten levels per side around a random price."""
        pick = self.random
        # so that one tick is left between the sides
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
        if best > self._fair(market, side) and roll < 0.6:  # the price has left it behind
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
        """A size in 1/100 contract: about one in six is not of whole contracts."""
        draw = self.random.random
        whole = LOTS[int(draw() * len(LOTS))] * int(1 + draw() * 6) * CONTRACT
        return whole + int(1 + draw() * 99) if draw() < 0.16 else whole

    def _part(self, size: int) -> int:
        """Part of a level, at most all of it."""
        part = int(1 + self.random.random() * size)
        return (
            part
            if size < CONTRACT or self.random.random() < 0.16
            else max(CONTRACT, part // CONTRACT * CONTRACT)
        )
