"""The account's orders, order groups, fills and positions, and the messages that report them (PROTOCOL.md
6.5, 6.6, 6.9, 6.10).

Owns their arithmetic. Pure data: times are arguments. Prices, sizes and amounts are ints in the units of
``wire``. An order's ``side`` and ``price`` are those of the outcome it gains: selling yes at 0.40 gains no at
0.60 (PROTOCOL.md 6.5).
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import wire
from .markets import other
from .wire import DOLLAR

KEEP_ORDERS = 5_000  # how many finished orders are remembered
KEEP_FILLS = 10_000


def taker_fee(price: int, count: int) -> int:
    """Seven percent of count x price x (1 - price), rounded up to 0.0001 dollar. Makers pay nothing.

    A plausible schedule, not a verified one.
    """
    return -(-7 * count * price * (DOLLAR - price) // 100_000_000) * 100


def book_side(side: str) -> str:
    """What a message calls the side of the book that an outcome is on."""
    return "bid" if side == "yes" else "ask"


def yes_price(side: str, price: int) -> int:
    """An outcome's price as a price of yes."""
    return price if side == "yes" else DOLLAR - price


@dataclass
class Order:
    """One order of the account. Not thread-safe: the exchange's lock guards it."""

    market_ticker: str
    side: str
    price: int
    count: int
    created_us: int
    order_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    exchange_index: int = 0
    action: str = "buy"
    client_order_id: str = ""
    subaccount: int = 0
    order_group_id: str | None = None
    self_trade_prevention_type: str = "taker_at_cross"
    expiration_ts_ms: int | None = None
    filled: int = 0
    status: str = "resting"
    reason: str | None = None  # why it changed last
    updated_us: int | None = None
    taker_cost: int = 0
    maker_cost: int = 0
    taker_fees: int = 0
    maker_fees: int = 0

    def __post_init__(self) -> None:
        self.remaining = self.count

    @property
    def annotation(self) -> dict[str, Any]:
        """The fields that an orderbook_delta caused by this order also has (PROTOCOL.md 6.2)."""
        return {"client_order_id": self.client_order_id, "subaccount": self.subaccount}

    def execute(self, count: int, price: int, fee: int, is_taker: bool, now_us: int) -> None:
        """Fill ``count`` at the order's own ``price`` or a better one."""
        self.filled += count
        self.remaining -= count
        if is_taker:
            self.taker_cost += count * price
            self.taker_fees += fee
        else:
            self.maker_cost += count * price
            self.maker_fees += fee
        self.status = "resting" if self.remaining else "executed"
        self.touch("Trade", now_us)

    def cancel(self, reason: str | None, now_us: int) -> None:
        """End the order."""
        self.remaining = 0
        self.status = "canceled"
        self.touch(reason, now_us)

    def touch(self, reason: str | None, now_us: int) -> None:
        """Note why and when the order changed."""
        self.reason = reason
        self.updated_us = now_us

    def message(self, user_id: str) -> dict[str, Any]:
        """The ``msg`` of a user_order (PROTOCOL.md 6.6). ``side`` and ``is_yes`` are those it was placed
        with."""
        placed = self.side if self.action == "buy" else other(self.side)
        msg: dict[str, Any] = {
            "order_id": self.order_id,
            "user_id": user_id,
            "ticker": self.market_ticker,
            "exchange_index": self.exchange_index,
            "status": self.status,
            "side": placed,
            "is_yes": placed == "yes",
            "outcome_side": self.side,
            "book_side": book_side(self.side),
            "yes_price_dollars": wire.price_text(yes_price(self.side, self.price)),
            "fill_count_fp": wire.size_text(self.filled),
            "remaining_count_fp": wire.size_text(self.remaining),
            "initial_count_fp": wire.size_text(self.count),
            "taker_fill_cost_dollars": wire.money_text(self.taker_cost),
            "maker_fill_cost_dollars": wire.money_text(self.maker_cost),
            "taker_fees_dollars": wire.money_text(self.taker_fees),
            "maker_fees_dollars": wire.money_text(self.maker_fees),
            "client_order_id": self.client_order_id,
            "self_trade_prevention_type": self.self_trade_prevention_type,
            "created_time": wire.go_time(self.created_us),
            "created_ts_ms": self.created_us // 1000,
            "subaccount_number": self.subaccount,
        }
        if self.order_group_id is not None:
            msg["order_group_id"] = self.order_group_id
        if self.expiration_ts_ms is not None:
            msg["expiration_time"] = wire.go_time(self.expiration_ts_ms * 1000)
            msg["expiration_ts_ms"] = self.expiration_ts_ms
        if self.updated_us is not None:
            msg["last_update_time"] = wire.go_time(self.updated_us)
            msg["last_updated_ts_ms"] = self.updated_us // 1000
        if self.reason is not None:
            msg["last_update_reason"] = self.reason
        return msg

    def fill_message(
        self, trade_id: str, count: int, price: int, fee: int, is_taker: bool, position: int, now_us: int
    ) -> dict[str, Any]:
        """The ``msg`` of a fill (PROTOCOL.md 6.5); ``price`` is that of the outcome."""
        msg: dict[str, Any] = {
            "trade_id": trade_id,
            "order_id": self.order_id,
            "market_ticker": self.market_ticker,
            "exchange_index": self.exchange_index,
            "is_taker": is_taker,
            "side": self.side,
            "yes_price_dollars": wire.price_text(yes_price(self.side, price)),
            "count_fp": wire.size_text(count),
            "fee_cost": wire.money_text(fee),
            "action": self.action,
            "ts": now_us // 1_000_000,
            "ts_ms": now_us // 1000,
            "post_position_fp": wire.size_text(position),
            "purchased_side": self.side,
            "outcome_side": self.side,
            "book_side": book_side(self.side),
            "subaccount": self.subaccount,
        }
        if self.client_order_id:
            msg["client_order_id"] = self.client_order_id
        return msg


@dataclass
class Position:
    """A subaccount's contracts in a market: yes above zero, no below. Not thread-safe: the exchange's lock
    guards it."""

    market_ticker: str
    subaccount: int
    quantity: int = 0
    cost: int = 0
    open_fees: int = 0  # of the contracts still held
    realized: int = 0
    fees: int = 0
    volume: int = 0
    traded: int = 0  # in 1/1,000,000 dollar, what was bought for

    def gain(self, side: str, price: int, count: int, fee: int) -> None:
        """Include a fill: it first closes contracts of the other outcome, the rest opens new ones."""
        self.volume += count
        self.traded += count * price
        self.fees += fee
        direction = 1 if side == "yes" else -1
        closed = min(count, abs(self.quantity)) if self.quantity * direction < 0 else 0
        if closed:
            self._close(closed, DOLLAR - price)
            self.quantity += direction * closed
        opened = count - closed
        self.quantity += direction * opened
        self.cost += opened * price
        self.open_fees += fee if opened else 0

    def settle(self, yes_value: int) -> None:
        """Pay out the contracts held; ``yes_value`` is what a yes contract is worth."""
        held = abs(self.quantity)
        if held:
            self._close(held, yes_value if self.quantity > 0 else DOLLAR - yes_value)
        self.quantity = 0

    def _close(self, count: int, price: int) -> None:
        held = abs(self.quantity)
        cost, fees = self.cost * count // held, self.open_fees * count // held
        self.realized += count * price - cost
        self.cost -= cost
        self.open_fees -= fees

    def message(self, user_id: str) -> dict[str, Any]:
        """The ``msg`` of a market_position (PROTOCOL.md 6.9)."""
        return {
            "user_id": user_id,
            "market_ticker": self.market_ticker,
            "position_fp": wire.size_text(self.quantity),
            "position_cost_dollars": wire.money_text(self.cost),
            "realized_pnl_dollars": wire.money_text(self.realized),
            "fees_paid_dollars": wire.money_text(self.fees),
            "position_fee_cost_dollars": wire.money_text(self.open_fees),
            "volume_fp": wire.size_text(self.volume),
            "subaccount": self.subaccount,
        }


@dataclass
class OrderGroup:
    """Orders that are cancelled together once ``limit`` contracts of them are filled. Not thread-safe: the
    exchange's lock guards it."""

    order_group_id: str
    limit: int
    matched: int = 0  # since it was created or reset
    triggered: bool = False

    def message(self, event_type: str, now_us: int) -> dict[str, Any]:
        """The ``msg`` of an order_group_updates (PROTOCOL.md 6.10)."""
        msg = {"event_type": event_type, "order_group_id": self.order_group_id, "ts_ms": now_us // 1000}
        if event_type in ("created", "limit_updated"):
            msg["contracts_limit_fp"] = wire.size_text(self.limit)
        return msg


class Portfolio:
    """Everything the account has. Not thread-safe: the exchange's lock guards it."""

    def __init__(self) -> None:
        self.user_id = str(uuid.uuid4())
        self.orders: dict[str, Order] = {}  # in order of arrival
        self.groups: dict[str, OrderGroup] = {}
        self.positions: dict[tuple[str, int], Position] = {}  # by market and subaccount
        self.fills: deque[dict[str, Any]] = deque(maxlen=KEEP_FILLS)
        self._resting: dict[str, dict[str, Order]] = {}  # by market, in order of arrival

    def add(self, order: Order) -> None:
        """Include a new order; the oldest finished ones are dropped in time."""
        self.orders[order.order_id] = order
        self._resting.setdefault(order.market_ticker, {})[order.order_id] = order
        if len(self.orders) > 2 * KEEP_ORDERS:
            finished = [key for key, item in self.orders.items() if item.status != "resting"]
            for key in finished[:-KEEP_ORDERS]:
                del self.orders[key]

    def resting(self, ticker: str | None = None) -> list[Order]:
        """The open orders, of a market or of all, oldest first."""
        if ticker is not None:
            return list(self._resting.get(ticker, {}).values())
        return [order for market in self._resting.values() for order in market.values()]

    def retire(self, order: Order) -> None:
        """Take an order off the list of resting orders."""
        self._resting.get(order.market_ticker, {}).pop(order.order_id, None)

    def requeue(self, order: Order) -> None:
        """Put an order behind the others of its price."""
        self.retire(order)
        self._resting.setdefault(order.market_ticker, {})[order.order_id] = order

    def queue(self, ticker: str, side: str, price: int, count: int) -> Iterator[tuple[Order, int]]:
        """The resting orders of a level that ``count`` contracts would fill, and how much of each."""
        for order in self._resting.get(ticker, {}).values():
            if count <= 0:
                return
            if (order.side, order.price) == (side, price):
                part = min(count, order.remaining)
                count -= part
                yield order, part

    def position(self, ticker: str, subaccount: int) -> Position:
        """The position of a subaccount in a market; a new, empty one if there is none yet."""
        key = (ticker, subaccount)
        if key not in self.positions:
            self.positions[key] = Position(ticker, subaccount)
        return self.positions[key]
