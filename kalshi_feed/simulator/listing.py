"""The exchange's markets, and the messages about their books, trades and prices.

Owns which markets there are. A change of a book and the numbered frames that report it are made here, in one
step of ``core``.
"""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .core import Core
from .history import History
from .markets import Change, Market
from .portfolio import Order
from .wire import WireMessage

KEEP_EVENTS = 10_000

Watcher = Callable[[Market, Change | None], None]


class Listing:
    """The listed markets. Not thread-safe: every method needs the exchange's lock held."""

    def __init__(self, core: Core, history: History) -> None:
        self._core = core
        self._history = history
        self._serials = itertools.count(1)
        self._markets: dict[str, Market] = {}  # by ticker, in the order they were added
        self._by_id: dict[str, Market] = {}
        self._watcher: Watcher | None = None
        # what was announced about events, the newest by ticker
        self._events: dict[str, Mapping[str, Any]] = {}
        self._event_order: deque[str] = deque()

    # -- which there are -------------------------------------------------------------------------------------
    def find(self, ticker: str) -> Market | None:
        """The market with this ticker, if there is one."""
        return self._markets.get(ticker)

    def find_by_id(self, market_id: str) -> Market | None:
        """The market with this id, if there is one."""
        return self._by_id.get(market_id)

    def market(self, ticker: str) -> Market:
        """The market with this ticker. Raises LookupError if there is none."""
        try:
            return self._markets[ticker]
        except KeyError:
            raise LookupError(f"the exchange has no market {ticker!r}: use add_market first") from None

    def markets(self) -> Iterable[Market]:
        """Every market, in the order they were added."""
        return self._markets.values()

    def add(self, market: Market) -> None:
        """List a market. It replaces one with the same ticker; ``Matching.list_market`` also cancels the
        orders in that one."""
        market.facts.listed(next(self._serials), self._core.now_us(), market.ticker)
        self._markets[market.ticker] = market
        self._by_id[market.market_id] = market
        self.show(market)

    def remove(self, ticker: str) -> None:
        """Forget a market. Raises LookupError if there is none with this ticker."""
        market = self.market(ticker)
        del self._markets[ticker], self._by_id[market.market_id]

    def add_event(self, msg: Mapping[str, Any]) -> None:
        """Keep what an event_lifecycle message says; of the last 10,000 events."""
        ticker = str(msg["event_ticker"])
        if ticker not in self._events:
            self._event_order.append(ticker)
        self._events[ticker] = msg
        if len(self._event_order) > KEEP_EVENTS:
            del self._events[self._event_order.popleft()]

    def event(self, event_ticker: str) -> Mapping[str, Any]:
        """What was announced about an event; empty if nothing was."""
        return self._events.get(event_ticker, {})

    def events(self) -> Iterable[str]:
        """The events that were announced, in that order."""
        return self._event_order

    def series_of(self, market: Market) -> str:
        """The series that a market belongs to: its event's, or the first part of its ticker."""
        announced = self.event(market.event_ticker).get("series_ticker")
        return str(announced) if announced else market.ticker.partition("-")[0]

    # -- the watcher -----------------------------------------------------------------------------------------
    def watch(self, watcher: Watcher) -> None:
        """Have every change of a book shown to ``watcher``, and every book now."""
        self._watcher = watcher
        for market in self._markets.values():
            watcher(market, None)

    def show(self, market: Market, change: Change | None = None) -> None:
        """Show the watcher a book that has changed; ``change`` None: it was replaced."""
        if self._watcher is not None:
            self._watcher(market, change)

    # -- messages --------------------------------------------------------------------------------------------
    def change(self, market: Market, changes: Sequence[Change], orders: Sequence[Order | None] = ()) -> None:
        """Apply one action to the book and send its deltas: they share one clock and one time (PROTOCOL.md
        6.2).

        ``orders``: for each change the account's order that caused it; on the order's own side the size is
        the account's. Raises ValueError for a change that does not fit the book.
        """
        core = self._core
        now_us = core.now_us()
        market.tick_clock()
        dead = market.ticker in core.settings.dead_books
        listeners = [] if dead else core.subscribed("orderbook_delta", market)
        for number, (side, price, delta) in enumerate(changes):
            order = orders[number] if orders else None
            market.apply(side, price, delta, delta if order is not None and order.side == side else 0)
            self.show(market, (side, price, delta))
            if listeners:
                msg = market.delta(side, price, delta, now_us)
                if order is not None:
                    msg.update(order.annotation)
                message = WireMessage("orderbook_delta", msg)
                for session, subscription in listeners:
                    session.publish(subscription, message)

    def trade(self, market: Market, taker_side: str, yes_price: int, count: int) -> str:
        """Record a trade and send it; returns its id."""
        market.record_trade(yes_price, count)
        now_us, trade_id = self._core.now_us(), str(uuid.uuid4())
        self._history.add_trade(trade_id, market.ticker, taker_side, yes_price, count, now_us)
        self._core.publish(
            "trade", market, "trade", lambda: market.trade(taker_side, yes_price, count, now_us, trade_id)
        )
        return trade_id

    def send_ticker(self, market: Market) -> None:
        """Send a ticker message with the market's current numbers."""
        self._core.publish("ticker", market, "ticker", lambda: market.ticker_message(self._core.now_us()))

    def send_snapshot(self, market: Market, connection: int | None = None) -> None:
        """Send an unsolicited snapshot of the book to its subscribers."""
        for session, subscription in self._core.subscribed("orderbook_delta", market, connection):
            session.snapshot(subscription, market.ticker)
