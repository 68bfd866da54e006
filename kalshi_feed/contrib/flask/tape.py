"""What the page draws beside the books: each market's last trades, and its price over the last minutes.

Owns Tape.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Final

from ...books.book import BookStatus, BookView
from ...feed import KalshiFeed
from ...messages import Trade

__all__ = ["Tape"]

_TRADES: Final = 50  # kept per market
_PRICES: Final = 300  # a second apart: five minutes
_APART: Final = 1.0


class _Market:
    """One market's trades and prices. Guarded by the tape's lock."""

    __slots__ = ("prices", "sampled", "trade_count", "trades")

    def __init__(self) -> None:
        self.trades: deque[dict[str, Any]] = deque(maxlen=_TRADES)
        self.trade_count = 0
        self.prices: deque[tuple[float, str]] = deque(maxlen=_PRICES)
        self.sampled = 0.0


class Tape:
    """Last trades and prices by market, written by the feed's callbacks, read by requests. Thread-safe."""

    def __init__(self, feed: KalshiFeed) -> None:
        self._lock = threading.Lock()  # guards the markets and what they hold; nothing is called under it
        self._markets: dict[str, _Market] = {}
        feed.on_trade(self._traded)
        feed.on_book(self._changed)

    def trades(self, market_ticker: str, after: int = 0) -> list[dict[str, Any]]:
        """The last trades whose ``number`` (from 1) is above ``after``, oldest first, at most 50."""
        with self._lock:
            market = self._markets.get(market_ticker)
            if market is None or market.trade_count <= after:
                return []
            return list(market.trades)[after - market.trade_count :]

    def prices(self, market_ticker: str) -> list[tuple[float, str]]:
        """(Unix time in seconds, mid of yes in dollars) over the last five minutes, oldest first, at least a
        second apart."""
        with self._lock:
            market = self._markets.get(market_ticker)
            return list(market.prices) if market is not None else []

    def _market(self, market_ticker: str) -> _Market:
        market = self._markets.get(market_ticker)
        if market is None:
            market = self._markets[market_ticker] = _Market()
        return market

    def _traded(self, trade: Trade) -> None:
        if trade.market_ticker is None or trade.yes_price is None:
            return
        row: dict[str, Any] = {
            "time": trade.time.timestamp() if trade.time is not None else time.time(),
            "yes_price": str(trade.yes_price),
            "count": None if trade.count is None else str(trade.count),
            "taker_outcome_side": trade.taker_outcome_side,
        }
        with self._lock:
            market = self._market(trade.market_ticker)
            market.trade_count += 1
            market.trades.append({"number": market.trade_count, **row})

    def _changed(self, view: BookView) -> None:
        mid, updated_at = view.mid() if view.is_live else None, view.updated_at
        now = updated_at.timestamp() if updated_at is not None else 0.0  # in a replay, its time
        with self._lock:
            if view.status is BookStatus.CLOSED:  # no longer subscribed
                self._markets.pop(view.market_ticker, None)
                return
            market = self._market(view.market_ticker)
            # abs: a clock that is set back must not stop the sampling
            if mid is not None and abs(now - market.sampled) >= _APART:
                market.sampled = now
                market.prices.append((round(now, 3), str(mid)))
