"""A market of the simulated exchange: its book, its clock, its numbers, and the messages that report them.

Owns the ground truth. Pure data and arithmetic: times are arguments.
"""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from . import wire
from .facts import MarketFacts
from .wire import CONTRACT, DOLLAR

Book = dict[str, dict[Decimal, Decimal]]
Change = tuple[str, int, int]  # side, price, delta

SIDES = ("yes", "no")


def other(side: str) -> str:
    """The opposite outcome."""
    return "no" if side == "yes" else "yes"


def known_side(side: str) -> str:
    """The side itself. Raises ValueError if it is not yes or no."""
    if side not in SIDES:
        raise ValueError(f"side must be 'yes' or 'no', got {side!r}")
    return side


class Market:
    """One market. Not thread-safe: the exchange's lock guards it."""

    def __init__(
        self, ticker: str, *, market_id: str | None = None, tick: int = 100, moving: bool = False
    ) -> None:
        self.ticker = ticker
        self.market_id = market_id or str(uuid.uuid5(uuid.NAMESPACE_URL, f"kalshi-feed-simulator:{ticker}"))
        self.tick = tick
        self.moving = moving
        self.mid = 5_000.0  # the generator's idea of a fair yes price
        self.book: dict[str, dict[int, int]] = {"yes": {}, "no": {}}
        self.own: dict[str, dict[int, int]] = {"yes": {}, "no": {}}  # the account's part of the book
        self.status = "active"  # or initialized, inactive, closed, determined, settled, replayed
        self.moving_again = moving  # whether it moves once it is active again
        self.settlement_value = 0  # of a yes contract, once determined
        self.event_ticker = ticker.rpartition("-")[0] or ticker
        self.exchange_index = 0
        self.clock: int | None = 0  # None: a replayed market whose frames have no clock
        self.last_price = 0
        self.last_size = 0
        self.volume = 0
        self.open_interest = 0
        self.dollar_volume = 0  # in 1/1,000,000 dollar
        self.facts = MarketFacts()
        if tick == 10:
            self.facts.price_level_structure = "deci_cent"
            self.facts.price_ranges[0]["step"] = wire.price_text(tick)

    # -- the book --------------------------------------------------------------------------------------------
    def set_book(self, yes: dict[int, int], no: dict[int, int]) -> None:
        """Replace the levels. Raises ValueError for a size that is not above zero."""
        for side in (yes, no):
            if any(size <= 0 for size in side.values()):
                raise ValueError(f"{self.ticker}: a level's size must be above zero")
        self.book = {"yes": dict(yes), "no": dict(no)}

    def apply(self, side: str, price: int, delta: int, own: int = 0) -> int:
        """Change one level and return its new size; ``own``: how much of the change is the account's.

        Raises ValueError if the level, or the part of it that is not the account's, would go below zero;
        nothing is changed then.
        """
        levels, owned = self.book[side], self.own[side]
        size = levels.get(price, 0) + delta
        if size < 0:
            at = f"on the {side} side at {wire.price_text(price)}"
            raise ValueError(
                f"{self.ticker}: {wire.size_text(delta)} {at} would leave {wire.size_text(size)}; to send "
                "such a delta without applying it, use Exchange.send"
            )
        if own or owned:
            self._apply_own(side, price, size, own)
        if size:
            levels[price] = size
        else:
            levels.pop(price, None)
        return size

    def _apply_own(self, side: str, price: int, size: int, own: int) -> None:
        owned = self.own[side]
        kept = owned.get(price, 0) + own
        if size < kept:
            raise ValueError(
                f"{self.ticker}: {wire.size_text(kept)} on the {side} side at {wire.price_text(price)} are "
                "the account's own: use cancel_order, or trade to fill them"
            )
        if kept:
            owned[price] = kept
        else:
            owned.pop(price, None)

    def others(self, side: str, price: int) -> int:
        """How much of a level is not the account's."""
        return self.book[side].get(price, 0) - self.own[side].get(price, 0)

    def tick_clock(self) -> None:
        """Count one action of the exchange in this market."""
        if self.clock is not None:
            self.clock += 1

    def best(self, side: str) -> int | None:
        """The highest price of a side, None if the side is empty."""
        return max(self.book[side], default=None)

    def truth(self) -> Book:
        """A copy of the book: {"yes": {price: quantity}, "no": {...}}, Decimals, each side in its own
        prices."""
        return {
            side: {
                wire.price_decimal(price): wire.size_decimal(size)
                for price, size in sorted(self.book[side].items())
            }
            for side in SIDES
        }

    # -- messages --------------------------------------------------------------------------------------------
    def snapshot(self, use_yes_price: bool) -> dict[str, Any]:
        """The ``msg`` of an orderbook_snapshot; an empty side has no key (PROTOCOL.md 6.1)."""
        msg: dict[str, Any] = {"market_ticker": self.ticker, "market_id": self.market_id}
        if self.clock is not None:
            msg["clock"] = self.clock
        if self.book["yes"]:
            msg["yes_dollars_fp"] = wire.levels(self.book["yes"])
        if self.book["no"]:
            msg["no_dollars_fp"] = wire.levels(self.book["no"], complement=use_yes_price)
        return msg

    def delta(self, side: str, price: int, delta: int, now_us: int) -> dict[str, Any]:
        """The ``msg`` of an orderbook_delta (PROTOCOL.md 6.2)."""
        msg: dict[str, Any] = {
            "market_ticker": self.ticker,
            "market_id": self.market_id,
            "price_dollars": wire.price_text(price),
            "delta_fp": wire.size_text(delta),
            "side": side,
            "ts": wire.go_time(now_us),
            "ts_ms": now_us // 1000,
        }
        if self.clock is not None:
            msg["clock"] = self.clock
        return msg

    def record_trade(self, yes_price: int, count: int) -> None:
        """Include a trade in the market's numbers."""
        self.last_price = yes_price
        self.last_size = count
        self.volume += count
        self.open_interest += count
        self.dollar_volume += yes_price * count

    def trade(
        self, taker_side: str, yes_price: int, count: int, now_us: int, trade_id: str
    ) -> dict[str, Any]:
        """The ``msg`` of a trade (PROTOCOL.md 6.4)."""
        return {
            "trade_id": trade_id,
            "market_ticker": self.ticker,
            "yes_price_dollars": wire.price_text(yes_price),
            "no_price_dollars": wire.price_text(DOLLAR - yes_price),
            "count_fp": wire.size_text(count),
            "taker_side": taker_side,
            "taker_outcome_side": taker_side,
            "taker_book_side": "bid" if taker_side == "yes" else "ask",
            "is_block_trade": False,
            "ts": now_us // 1_000_000,
            "ts_ms": now_us // 1000,
        }

    def ticker_message(self, now_us: int) -> dict[str, Any]:
        """The ``msg`` of a ticker; an empty side shows 0.0000 / 1.0000 (PROTOCOL.md 6.3)."""
        yes, no = self.best("yes"), self.best("no")
        return {
            "market_ticker": self.ticker,
            "market_id": self.market_id,
            "price_dollars": wire.price_text(self.last_price),
            "yes_bid_dollars": wire.price_text(yes or 0),
            "yes_ask_dollars": wire.price_text(DOLLAR - (no or 0)),
            "yes_bid_size_fp": wire.size_text(self.book["yes"][yes] if yes is not None else 0),
            "yes_ask_size_fp": wire.size_text(self.book["no"][no] if no is not None else 0),
            "last_trade_size_fp": wire.size_text(self.last_size),
            "volume_fp": wire.size_text(self.volume),
            "open_interest_fp": wire.size_text(self.open_interest),
            "dollar_volume": self.dollar_volume // (DOLLAR * CONTRACT),
            "dollar_open_interest": self.open_interest // CONTRACT,
            "ts": now_us // 1_000_000,
            "ts_ms": now_us // 1000,
            "time": wire.go_time(now_us),
        }


def unknown_snapshot(ticker: str) -> dict[str, Any]:
    """The ``msg`` for a market that the exchange does not know: no side, an empty ``market_id`` (PROTOCOL.md
    5.4)."""
    return {"market_ticker": ticker, "market_id": "", "clock": 0}
