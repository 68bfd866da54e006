"""How the account's orders meet the books, and the messages that report it.

Owns the matching: the account's orders stand behind all others at their price, and among themselves in order
of arrival. Everything here runs under the exchange's lock, inside one step of ``core``. The book deltas
caused by one of the account's orders carry its ``client_order_id`` and ``subaccount``; ``trade``, ``fill``,
``user_order`` and ``market_position`` follow.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from . import wire
from .core import Core
from .history import History
from .listing import Listing
from .markets import SIDES, Change, Market, other
from .portfolio import Order, OrderGroup, Portfolio, taker_fee, yes_price
from .wire import CONTRACT, DOLLAR

ACTIVITY = "activity-"  # prefix of the client_order_ids of the account's own activity
ACTIVITY_ORDERS = 5  # the most of its orders that are open at once

Part = tuple[Order, int]  # an order and how much of it is filled


class Matching:
    """The account's orders at work. Not thread-safe: every method needs the exchange's lock held."""

    def __init__(self, core: Core, listing: Listing, portfolio: Portfolio, history: History) -> None:
        self._core = core
        self._history = history
        self._listing = listing
        self._portfolio = portfolio

    # -- orders in -------------------------------------------------------------------------------------------
    def submit(self, market: Market, order: Order, post_only: bool = False) -> None:
        """Accept a new order. Raises ValueError if the exchange would refuse it."""
        if market.status != "active":
            raise ValueError(f"{market.ticker} takes no orders: it is {market.status}")
        if order.order_group_id is not None and self.group(order.order_group_id).triggered:
            raise ValueError(f"the order group {order.order_group_id} is triggered: reset_order_group first")
        self._portfolio.add(order)
        if post_only and order.price + (market.best(other(order.side)) or 0) >= DOLLAR:
            self._end_order(market, order, "PostOnlyCrossCancel")
        else:
            self.publish_order(market, order)
            self.enter(market, order)

    def enter(self, market: Market, order: Order) -> None:
        """Match an order, then let the rest of it rest; all its deltas are one action."""
        maker, left, stopped = other(order.side), order.remaining, False
        changes: list[Change] = []
        hits: list[tuple[int, int]] = []
        for price in sorted(market.book[maker], reverse=True):
            if not left or price < DOLLAR - order.price:
                break
            part = min(left, market.others(maker, price))
            if part:
                changes.append((maker, price, -part))
                hits.append((price, part))
                left -= part
            own = market.own[maker].get(price, 0)
            if left and own:
                stopped = order.self_trade_prevention_type == "taker_at_cross"
                if stopped:
                    break
                for mine, _ in list(self._portfolio.queue(market.ticker, maker, price, own)):
                    self.cancel(mine, "SelfTradeCancel")
        if left and not stopped:
            changes.append((order.side, order.price, left))
        if changes:
            self._listing.change(market, changes, [order] * len(changes))
        for price, part in hits:
            own_price = DOLLAR - price
            trade_id = self._listing.trade(market, order.side, yes_price(order.side, own_price), part)
            self.execute(market, order, own_price, part, True, trade_id)
        if stopped and order.remaining:
            self._end_order(market, order, "SelfTradeCancel")
        self._check_groups([order])

    def sweep(self, market: Market, taker_side: str, hits: Sequence[tuple[int, int]]) -> None:
        """Another trader takes from levels (price, count) of the other side."""
        maker = other(taker_side)
        changes: list[Change] = []
        orders: list[Order | None] = []
        filled: list[list[Part]] = []
        for price, count in hits:
            free = min(count, market.others(maker, price))
            mine = (
                list(self._portfolio.queue(market.ticker, maker, price, count - free)) if count > free else []
            )
            if free:
                changes.append((maker, price, -free))
                orders.append(None)
            for order, part in mine:
                changes.append((maker, price, -part))
                orders.append(order)
            filled.append(mine)
        if changes:
            self._listing.change(market, changes, orders)
        for (price, count), parts in zip(hits, filled, strict=True):
            trade_id = self._listing.trade(market, taker_side, yes_price(maker, price), count)
            for order, part in parts:
                self.execute(market, order, price, part, False, trade_id)
        self._check_groups(order for parts in filled for order, _ in parts)

    def fill_parts(
        self, market: Market, taker_side: str, price: int, count: int, parts: Sequence[Part], **fields: Any
    ) -> None:
        """Make a trade at a maker's ``price`` that fills these resting orders and touches nothing else."""
        if parts:
            changes = [(order.side, order.price, -part) for order, part in parts]
            self._listing.change(market, changes, [order for order, _ in parts])
        trade_id = self._listing.trade(market, taker_side, yes_price(other(taker_side), price), count)
        for order, part in parts:
            self.execute(market, order, price, part, False, trade_id, fields)
        self._check_groups(order for order, _ in parts)

    # -- fills -----------------------------------------------------------------------------------------------
    def execute(
        self,
        market: Market,
        order: Order,
        price: int,
        count: int,
        is_taker: bool,
        trade_id: str,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Make one fill at the order's own ``price``: order and position change, and their messages are sent.

        ``fields`` replace those of the fill message. No ``user_order`` is sent for an order that is not in
        the portfolio.
        """
        fields = fields or {}
        is_taker = bool(fields.get("is_taker", is_taker))
        fee = taker_fee(price, count) if is_taker else 0
        with contextlib.suppress(ValueError):
            fee = wire.money_units(fields.get("fee_cost", wire.money_text(fee)))
        now_us, user_id = self._core.now_us(), self._portfolio.user_id
        order.execute(count, price, fee, is_taker, now_us)
        position = self._portfolio.position(market.ticker, order.subaccount)
        position.gain(order.side, price, count, fee)
        msg = {
            **order.fill_message(trade_id, count, price, fee, is_taker, position.quantity, now_us),
            **fields,
        }
        self._portfolio.fills.append(msg)
        self._history.add_fill(msg)
        self._core.publish("fill", market, "fill", lambda: msg)
        if self._portfolio.orders.get(order.order_id) is order:
            if not order.remaining:
                self._portfolio.retire(order)
            self.publish_order(market, order)
        self._history.add_position(position)
        self._core.publish("market_positions", market, "market_position", lambda: position.message(user_id))
        group = self._portfolio.groups.get(order.order_group_id or "")
        if group is not None:
            group.matched += count

    def settle_positions(self, market: Market, yes_value: int) -> None:
        """Pay out the account's positions in a market. (That the exchange sends a message for this is
        inferred.)"""
        user_id = self._portfolio.user_id
        for position in list(self._portfolio.positions.values()):
            if position.market_ticker == market.ticker and position.quantity:
                position.settle(yes_value)
                self._history.add_position(position)
                self._core.publish(
                    "market_positions", market, "market_position", partial(position.message, user_id)
                )

    # -- orders out ------------------------------------------------------------------------------------------
    def open_order(self, order_id: str) -> Order:
        """The resting order with this id. Raises LookupError if there is none."""
        order = self._portfolio.orders.get(order_id)
        if order is None or order.status != "resting":
            state = "unknown" if order is None else order.status
            raise LookupError(f"the account has no resting order {order_id!r}: it is {state}")
        return order

    def cancel(self, order: Order, reason: str | None) -> None:
        """Take an order off the book, with its delta."""
        market = self._listing.market(order.market_ticker)
        self._listing.change(market, [(order.side, order.price, -order.remaining)], [order])
        self._end_order(market, order, reason)

    def _withdraw(self, market: Market, reason: str) -> None:
        """Cancel the account's orders in a market whose book is replaced, so without deltas."""
        market.own = {"yes": {}, "no": {}}
        for order in self._portfolio.resting(market.ticker):
            self._end_order(market, order, reason)

    def replace_book(self, market: Market, yes: dict[int, int], no: dict[int, int], reason: str) -> None:
        """Replace a book and send it as an unsolicited snapshot; the account's orders are cancelled."""
        market.set_book(yes, no)
        market.tick_clock()
        self._listing.show(market)
        self._withdraw(market, reason)
        self._listing.send_snapshot(market)

    def _end_order(self, market: Market, order: Order, reason: str | None) -> None:
        order.cancel(reason, self._core.now_us())
        self._portfolio.retire(order)
        self.publish_order(market, order)

    def publish_order(self, market: Market, order: Order) -> None:
        """Send an order as it is now."""
        msg = order.message(self._portfolio.user_id)
        self._history.add_order({**msg, "action": order.action})
        self._core.publish("user_orders", market, "user_order", lambda: msg)

    def list_market(self, market: Market) -> None:
        """List a market; the account's orders in the one it replaces are cancelled."""
        replaced = self._listing.find(market.ticker)
        if replaced is not None:
            self._withdraw(replaced, "HaltCancel")
        self._listing.add(market)

    # -- order groups ----------------------------------------------------------------------------------------
    def group(self, order_group_id: str) -> OrderGroup:
        """The order group with this id. Raises LookupError if there is none."""
        try:
            return self._portfolio.groups[order_group_id]
        except KeyError:
            raise LookupError(f"the account has no order group {order_group_id!r}") from None

    def publish_group(self, group: OrderGroup, event_type: str) -> None:
        """Send an event of an order group."""
        now_us = self._core.now_us()
        self._core.publish(
            "order_group_updates", None, "order_group_updates", lambda: group.message(event_type, now_us)
        )

    def _check_groups(self, orders: Iterable[Order]) -> None:
        """Trigger the groups of these orders that have reached their limit."""
        for key in dict.fromkeys(order.order_group_id for order in orders):
            group = self._portfolio.groups.get(key or "")
            if group is not None and group.matched >= group.limit and not group.triggered:
                self.trigger(group)

    def trigger(self, group: OrderGroup) -> None:
        """Cancel a group's orders; it takes no new ones until it is reset."""
        group.triggered = True
        self.cancel_group(group)
        self.publish_group(group, "triggered")

    def cancel_group(self, group: OrderGroup) -> None:
        """Cancel a group's resting orders."""
        for order in self._portfolio.resting():
            if order.order_group_id == group.order_group_id:
                self.cancel(order, None)

    # -- activity --------------------------------------------------------------------------------------------
    def act(self, pick: random.Random, markets: Sequence[Market]) -> None:
        """Let the account act a little: place an order at a market's best price, or cancel an old one."""
        mine = [order for order in self._portfolio.resting() if order.client_order_id.startswith(ACTIVITY)]
        if mine and (len(mine) >= ACTIVITY_ORDERS or pick.random() < 0.3):
            return self.cancel(mine[0], None)
        market, side = pick.choice(markets), pick.choice(SIDES)
        best = market.best(side)
        if best and market.status == "active":
            count = pick.choice((1, 5, 20)) * CONTRACT
            name = f"{ACTIVITY}{len(self._portfolio.orders) + 1}"
            self.submit(
                market, Order(market.ticker, side, best, count, self._core.now_us(), client_order_id=name)
            )
