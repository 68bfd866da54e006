"""The past as REST can still show it: the trades, and the account's fills, orders and positions.

Owns these records and their bounds: the last 100,000 trades, the last 10,000 fills, the open orders and the
last 10,000 finished ones. The account's records may become visible later than the feed reports them
(``ExchangeSettings.rest_lag``).
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from .core import Core
from .portfolio import Position

KEEP_TRADES = 100_000
KEEP_FILLS = 10_000
KEEP_ORDERS = 10_000  # finished ones
KEEP_WAITING = 50_000  # changes that are not visible yet

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class TradeRecord:
    """One trade. Prices, sizes and times are in the units of ``wire``."""

    serial: int
    trade_id: str
    ticker: str
    taker_side: str
    yes_price: int
    count: int
    created_us: int


@dataclass(frozen=True)
class Kept:
    """A fill, or the state of an order or a position, as the feed announced it."""

    serial: int  # of its first state: it keeps its place in the pages
    time_us: int  # of this state
    msg: dict[str, Any]  # of a position: its attributes, in the units of ``wire``


class History:
    """The records. Not thread-safe: every method needs the exchange's lock held."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._serials = itertools.count(1)
        self._trades: deque[TradeRecord] = deque()
        self._by_ticker: dict[str, deque[TradeRecord]] = {}
        # visible over REST; orders by id, positions by market and subaccount
        self._fills: deque[Kept] = deque(maxlen=KEEP_FILLS)
        self._orders: dict[str, Kept] = {}
        self._positions: dict[tuple[str, int], Kept] = {}
        # changes that are not visible yet: when they were announced (monotonic), and what makes them visible
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()

    # -- what happens ----------------------------------------------------------------------------------------
    def add_trade(
        self, trade_id: str, ticker: str, taker_side: str, yes_price: int, count: int, now_us: int
    ) -> None:
        """Keep a trade."""
        record = TradeRecord(next(self._serials), trade_id, ticker, taker_side, yes_price, count, now_us)
        self._trades.append(record)
        self._by_ticker.setdefault(ticker, deque()).append(record)
        if len(self._trades) > KEEP_TRADES:
            oldest = self._trades.popleft()
            same = self._by_ticker[oldest.ticker]
            same.popleft()
            if not same:
                del self._by_ticker[oldest.ticker]

    def add_fill(self, msg: dict[str, Any]) -> None:
        """Keep a fill message."""
        kept = self._kept(msg)
        self._later(lambda: self._fills.append(kept))

    def add_order(self, msg: dict[str, Any]) -> None:
        """Keep the state of an order."""
        kept = self._kept(msg)
        self._later(lambda: self._show_order(kept))

    def add_position(self, position: Position) -> None:
        """Keep the state of a position."""
        kept = self._kept(dict(vars(position)))
        key = (position.market_ticker, position.subaccount)
        self._later(lambda: self._put(self._positions, key, kept))

    # -- what is visible -------------------------------------------------------------------------------------
    def trades(self, ticker: str | None = None) -> Iterable[TradeRecord]:
        """The trades of a market or of all, newest first."""
        return reversed(self._trades if ticker is None else self._by_ticker.get(ticker, ()))

    def fills(self) -> list[Kept]:
        """The fills, newest first."""
        self._advance()
        return list(reversed(self._fills))

    def orders(self) -> list[Kept]:
        """The orders as they are now, the one that was placed last first."""
        self._advance()
        return list(reversed(self._orders.values()))

    def positions(self) -> list[Kept]:
        """The positions, the newest first; ``msg`` has the attributes of ``Position``."""
        self._advance()
        return list(reversed(self._positions.values()))

    def as_of_us(self) -> int:
        """The time up to which fills, orders and positions are complete, on the exchange's clock."""
        return self._core.now_us() - int(self._core.settings.rest_lag * 1e6)

    # -- inside ----------------------------------------------------------------------------------------------
    def _kept(self, msg: dict[str, Any]) -> Kept:
        return Kept(next(self._serials), self._core.now_us(), msg)

    def _later(self, show: Callable[[], None]) -> None:
        self._waiting.append((time.monotonic(), show))
        self._advance()

    def _advance(self) -> None:
        """Make changes visible that are older than the lag. Visible ones stay so."""
        due = time.monotonic() - self._core.settings.rest_lag
        while self._waiting and (self._waiting[0][0] <= due or len(self._waiting) > KEEP_WAITING):
            self._waiting.popleft()[1]()

    @staticmethod
    def _put(place: dict[_Key, Kept], key: _Key, kept: Kept) -> None:
        first = place.get(key)
        place[key] = kept if first is None else Kept(first.serial, kept.time_us, kept.msg)

    def _show_order(self, kept: Kept) -> None:
        self._put(self._orders, kept.msg["order_id"], kept)
        if len(self._orders) > 2 * KEEP_ORDERS:
            finished = [key for key, item in self._orders.items() if item.msg["status"] != "resting"]
            for key in finished[:-KEEP_ORDERS]:
                del self._orders[key]
