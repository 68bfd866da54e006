"""The account as a test drives it: orders, fills, positions, order groups.

Owns no state: every method is one step of ``core``, and ``matching`` does the work.
"""

from __future__ import annotations

import uuid
from typing import Any, Literal

from . import wire
from .core import Core
from .listing import Listing
from .markets import known_side, other
from .matching import Matching
from .portfolio import Order, OrderGroup, Portfolio
from .wire import DOLLAR, Number, price_units, size_units

Action = Literal["buy", "sell"]
Prevention = Literal["taker_at_cross", "maker"]


class Trading:
    """The account: its orders, fills, positions and order groups. Thread-safe."""

    def __init__(self, core: Core, listing: Listing, matching: Matching, portfolio: Portfolio) -> None:
        self._core = core
        self._listing = listing
        self._matching = matching
        self._portfolio = portfolio

    # -- orders ----------------------------------------------------------------------------------------------
    def place_order(
        self,
        market_ticker: str,
        side: str,
        price: Number,
        count: Number,
        *,
        action: Action = "buy",
        client_order_id: str | None = None,
        subaccount: int = 0,
        order_group_id: str | None = None,
        post_only: bool = False,
        self_trade_prevention_type: Prevention = "taker_at_cross",
        expiration_ts_ms: int | None = None,
    ) -> str:
        """Place a limit order of the account for ``count`` contracts of ``side`` at that side's ``price``;
        returns its order_id.

        It takes what crosses it, and the remainder rests. ``post_only``: it is cancelled instead of taking.
        ``client_order_id``: made up if None. ``expiration_ts_ms`` only appears in messages; to expire the
        order, cancel it with ``reason="ExpiryCancel"``. Raises ValueError for an order that the exchange
        would refuse, LookupError for an unknown market or group.
        """
        own, size = price_units(price), size_units(count)
        gained = known_side(side)
        if action not in ("buy", "sell"):
            raise ValueError(f"action must be 'buy' or 'sell', got {action!r}")
        if action == "sell":
            gained, own = other(gained), DOLLAR - own
        if not 0 < own < DOLLAR or size <= 0:
            raise ValueError(
                f"an order needs a price between 0 and 1 and a count above 0, got {price!r} and {count!r}"
            )
        if isinstance(subaccount, bool) or not isinstance(subaccount, int) or not 0 <= subaccount <= 63:
            raise ValueError(f"subaccount must be an int from 0 to 63, got {subaccount!r}")
        if self_trade_prevention_type not in ("taker_at_cross", "maker"):
            raise ValueError(
                "self_trade_prevention_type must be 'taker_at_cross' or 'maker', got "
                f"{self_trade_prevention_type!r}"
            )
        with self._core.step():
            market = self._listing.market(market_ticker)
            order = Order(
                market_ticker,
                gained,
                own,
                size,
                self._core.now_us(),
                exchange_index=market.exchange_index,
                action=action,
                client_order_id=str(uuid.uuid4()) if client_order_id is None else client_order_id,
                subaccount=subaccount,
                order_group_id=order_group_id,
                self_trade_prevention_type=self_trade_prevention_type,
                expiration_ts_ms=expiration_ts_ms,
            )
            self._matching.submit(market, order, post_only)
        return order.order_id

    def cancel_order(self, order_id: str, *, reason: str | None = None) -> None:
        """Take a resting order off the book; ``reason`` is its ``last_update_reason`` (PROTOCOL.md 6.6).

        Raises LookupError if it is not resting.
        """
        with self._core.step():
            self._matching.cancel(self._matching.open_order(order_id), reason)

    def amend_order(self, order_id: str, *, price: Number | None = None, count: Number | None = None) -> None:
        """Give a resting order another ``price`` (of the outcome it gains) or total ``count``.

        It moves to the back of its price's queue and takes what it now crosses. Raises ValueError,
        LookupError.
        """
        with self._core.step():
            order = self._matching.open_order(order_id)
            market = self._listing.market(order.market_ticker)
            new_price = order.price if price is None else price_units(price)
            left = order.remaining if count is None else size_units(count) - order.filled
            if not 0 < new_price < DOLLAR or left <= 0:
                raise ValueError(
                    "the order needs a price between 0 and 1 and a count above the "
                    f"{wire.size_text(order.filled)} already filled, got {price!r} and {count!r}"
                )
            self._listing.change(market, [(order.side, order.price, -order.remaining)], [order])
            order.price, order.remaining = new_price, left
            if count is not None:
                order.count = left + order.filled
            order.touch("Amend", self._core.now_us())
            self._portfolio.requeue(order)
            self._matching.publish_order(market, order)
            self._matching.enter(market, order)

    def decrease_order(self, order_id: str, by: Number) -> None:
        """Make a resting order smaller; it keeps its place in the queue. If nothing is left, it is cancelled.

        Raises ValueError, LookupError.
        """
        size = size_units(by)
        with self._core.step():
            order = self._matching.open_order(order_id)
            if not 0 < size <= order.remaining:
                raise ValueError(
                    f"by must be from 0.01 to the {wire.size_text(order.remaining)} left, got {by!r}"
                )
            if size == order.remaining:
                return self._matching.cancel(order, "Decrease")
            market = self._listing.market(order.market_ticker)
            self._listing.change(market, [(order.side, order.price, -size)], [order])
            order.remaining -= size
            order.touch("Decrease", self._core.now_us())
            self._matching.publish_order(market, order)

    # -- trades and fills ------------------------------------------------------------------------------------
    def trade(self, market_ticker: str, side: str, price: Number, count: Number) -> None:
        """Send a trade: ``side`` is the taker's outcome, ``price`` the price of that outcome.

        The book does not change, except that the account's own orders resting at that price are filled.
        Raises ValueError, LookupError.
        """
        maker_price, size = DOLLAR - price_units(price), size_units(count)
        with self._core.step():
            market = self._listing.market(market_ticker)
            parts = list(self._portfolio.queue(market_ticker, other(known_side(side)), maker_price, size))
            self._matching.fill_parts(market, side, maker_price, size, parts)

    def take(self, market_ticker: str, side: str, count: Number, limit: Number = 1) -> None:
        """Have another trader buy up to ``count`` contracts of ``side`` from the book, at prices up to
        ``limit``."""
        left, floor = size_units(count), DOLLAR - price_units(limit)
        with self._core.step():
            market = self._listing.market(market_ticker)
            levels, hits = market.book[other(known_side(side))], []
            for price in sorted(levels, reverse=True):
                if left <= 0 or price < floor:
                    break
                hits.append((price, min(left, levels[price])))
                left -= levels[price]
            self._matching.sweep(market, side, hits)

    def fill(
        self,
        /,
        market_ticker: str,
        *,
        order_id: str | None = None,
        side: str | None = None,
        price: Number | None = None,
        count: Number | None = None,
        **fields: Any,
    ) -> None:
        """Send a fill of the account, and its position after it.

        With the ``order_id`` of a resting order, that order is filled at its price (``count``: by default all
        that is left), with the trade and the deltas that belong to it. Otherwise the account buys ``count``
        contracts (1) of the outcome ``side`` (yes) at that outcome's ``price`` (0.5), and the book does not
        change. Other fields of the wire (``is_taker``, ``fee_cost`` ...) replace the made-up ones in the fill
        message. Raises ValueError, LookupError.
        """
        with self._core.step():
            market = self._listing.market(market_ticker)
            order = None if order_id is None else self._portfolio.orders.get(order_id)
            if order is not None:
                size = order.remaining if count is None else size_units(count)
                if order.market_ticker != market_ticker or side is not None or price is not None:
                    raise ValueError(
                        f"a fill of order {order_id} uses the order's market, side and price: leave them out"
                    )
                if not 0 < size <= order.remaining:
                    raise ValueError(
                        f"{wire.size_text(order.remaining)} of order {order_id} are left, not {count!r}"
                    )
                return self._matching.fill_parts(
                    market, other(order.side), order.price, size, [(order, size)], **fields
                )
            own, size = (
                price_units("0.5" if price is None else price),
                size_units(1 if count is None else count),
            )
            order = Order(
                market_ticker,
                known_side("yes" if side is None else side),
                own,
                size,
                self._core.now_us(),
                order_id=order_id or str(uuid.uuid4()),
                exchange_index=market.exchange_index,
            )
            subaccount = fields.get("subaccount")
            if isinstance(subaccount, int):
                order.subaccount = subaccount
            self._matching.execute(market, order, own, size, True, str(uuid.uuid4()), fields)

    # -- looking ---------------------------------------------------------------------------------------------
    @property
    def orders(self) -> list[dict[str, Any]]:
        """The account's orders as user_order messages, oldest first (only the last few thousand finished)."""
        with self._core.lock:
            return [order.message(self._portfolio.user_id) for order in self._portfolio.orders.values()]

    @property
    def fills(self) -> list[dict[str, Any]]:
        """The account's last 10,000 fills, oldest first, even those that no client was subscribed to."""
        with self._core.lock:
            return list(self._portfolio.fills)

    @property
    def positions(self) -> list[dict[str, Any]]:
        """The account's positions as market_position messages."""
        with self._core.lock:
            return [item.message(self._portfolio.user_id) for item in self._portfolio.positions.values()]

    # -- order groups ----------------------------------------------------------------------------------------
    def create_order_group(self, contracts_limit: Number) -> str:
        """Create a group whose orders are cancelled once ``contracts_limit`` contracts of them are filled.

        Returns its id. The real exchange counts over a rolling window; here the count runs until
        ``reset_order_group``. Raises ValueError.
        """
        group = OrderGroup(str(uuid.uuid4()), size_units(contracts_limit))
        with self._core.step():
            self._portfolio.groups[group.order_group_id] = group
            self._matching.publish_group(group, "created")
        return group.order_group_id

    def update_order_group_limit(self, order_group_id: str, contracts_limit: Number) -> None:
        """Change a group's limit; one that is already reached triggers the group. Raises LookupError,
        ValueError."""
        limit = size_units(contracts_limit)
        with self._core.step():
            group = self._matching.group(order_group_id)
            group.limit = limit
            self._matching.publish_group(group, "limit_updated")
            if group.matched >= limit and not group.triggered:
                self._matching.trigger(group)

    def trigger_order_group(self, order_group_id: str) -> None:
        """Cancel the group's orders; it takes no new ones until it is reset. Raises LookupError."""
        with self._core.step():
            self._matching.trigger(self._matching.group(order_group_id))

    def reset_order_group(self, order_group_id: str) -> None:
        """Let the group count from zero and take orders again. Raises LookupError."""
        with self._core.step():
            group = self._matching.group(order_group_id)
            group.matched, group.triggered = 0, False
            self._matching.publish_group(group, "reset")

    def delete_order_group(self, order_group_id: str) -> None:
        """Cancel the group's orders and delete it. Raises LookupError."""
        with self._core.step():
            group = self._matching.group(order_group_id)
            self._matching.cancel_group(group)
            del self._portfolio.groups[order_group_id]
            self._matching.publish_group(group, "deleted")
