"""The messages of the account's channels: fill, user_order, market_position, order_group_updates (PROTOCOL.md
6.5, 6.6, 6.9, 6.10, 8).

Owns the types. None of these channels has a snapshot or a replay: read what happened while the connection was
down over REST (PROTOCOL.md 5.6). Every field may be None. Dates say since when the exchange has sent a field.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from msgspec import field

from .base import (
    BookSide,
    Id,
    Milliseconds,
    Side,
    Time,
    ready_money,
    ready_price,
    ready_signed,
    ready_size,
    ready_time,
)
from .flat import (
    CountText,
    FlatMessage,
    MoneyText,
    OldCentiCents,
    OldCount,
    OldSize,
    PriceText,
    SizeText,
    TickerText,
    TradedCents,
    TradedCount,
    TradedOldCount,
    TradedPrice,
)

__all__ = ["Fill", "MarketPosition", "OrderGroupUpdate", "UserOrder"]


class Fill(FlatMessage, frozen=True, gc=False, kw_only=True, tag_field="type", tag="fill"):
    """One fill of one of your orders; ``trade_id`` identifies repeats. Thread-safe: immutable.

    Read the direction from ``outcome_side`` and ``book_side`` only: buying yes is selling no. The wire's
    integers until 2026-03-12 are ``yes_price_cents``, ``count_int`` and ``post_position_int``.
    """

    type: ClassVar[str] = "fill"

    market_ticker: TickerText = None
    trade_id: str | None = None
    """Looks like a UUID but is not a valid one (PROTOCOL.md 9.10)."""
    order_id: str | None = None
    client_order_id: str | None = None
    """What you named the order, if you did."""
    exchange_index: Id | None = None
    """The exchange shard (since 2026-08-20)."""
    is_taker: bool | None = None
    yes_price_dollars: TradedPrice = None
    """Dollars; the yes price, no matter which side you traded (since 2025-09-09)."""
    count_fp: TradedCount = None
    """Contracts (since 2026-01-22)."""
    fee_cost: MoneyText = None
    """Dollars for the whole fill (since 2026-01-29)."""
    post_position_fp: SizeText = None
    """Contracts held after the fill; negative is a position in no (since 2026-01-22)."""
    outcome_side: Side | None = None
    """The outcome you gained (since 2026-05-06)."""
    book_side: BookSide | None = None
    """ "bid" is buying yes or selling no (since 2026-05-06)."""
    subaccount: Id | None = None
    """Only if a subaccount placed the order (since 2026-01-27)."""
    ts_ms: Milliseconds | None = None
    """Unix time in milliseconds (since 2026-04-15)."""
    ts: Time = None
    """Unix time in seconds; deprecated."""
    side: str | None = None
    """Deprecated, and not the same as on orders: read ``outcome_side``."""
    action: str | None = None
    """ "buy", "sell", "sell_partial", "sell_to_close" or ""; deprecated."""
    purchased_side: str | None = None
    """Deprecated (since 2025-09-22)."""
    yes_price_cents: TradedCents = field(default=None, name="msg.yes_price")
    count_int: TradedOldCount = field(default=None, name="msg.count")
    post_position_int: OldSize = field(default=None, name="msg.post_position")

    @property
    def yes_price(self) -> Decimal | None:
        """Dollars."""
        return ready_price(self.yes_price_dollars, self.yes_price_cents)

    @property
    def count(self) -> Decimal | None:
        """Contracts."""
        return ready_size(self.count_fp, self.count_int)

    @property
    def fee(self) -> Decimal | None:
        """Dollars for the whole fill, to 6 decimals; negative is a rebate."""
        return ready_money(self.fee_cost)

    @property
    def post_position(self) -> Decimal | None:
        """Contracts held after the fill; negative is a position in no."""
        return ready_signed(self.post_position_fp, self.post_position_int)

    @property
    def time(self) -> datetime | None:
        """When the fill happened (``ts_ms`` or ``ts``), as an aware datetime."""
        return ready_time(self.ts_ms, self.ts)


class UserOrder(FlatMessage, frozen=True, gc=False, kw_only=True, tag_field="type", tag="user_order"):
    """The state of one of your orders after it was placed or changed (channel user_orders, since 2026-02-03).

    Thread-safe: immutable.
    """

    type: ClassVar[str] = "user_order"

    order_id: str | None = None
    user_id: str | None = None
    ticker: TickerText = None
    """The market; ``market_ticker`` is the same."""
    exchange_index: Id | None = None
    """The exchange shard (since 2026-08-27)."""
    status: str | None = None
    """ "resting", "canceled", "executed", or "unknown" (since 2026-09-20); the exchange may add others."""
    outcome_side: Side | None = None
    """The outcome that the order gains (since 2026-05-06)."""
    book_side: BookSide | None = None
    """ "bid" is buying yes or selling no (since 2026-05-06)."""
    yes_price_dollars: PriceText = None
    """Limit price in dollars; the yes price, no matter which side is traded."""
    fill_count_fp: CountText = None
    """Contracts filled so far."""
    remaining_count_fp: CountText = None
    """Contracts still resting."""
    initial_count_fp: CountText = None
    """Contracts ordered."""
    taker_fill_cost_dollars: MoneyText = None
    """Dollars paid for contracts filled as taker."""
    maker_fill_cost_dollars: MoneyText = None
    """Dollars paid for contracts filled as maker."""
    taker_fees_dollars: MoneyText = None
    maker_fees_dollars: MoneyText = None
    client_order_id: str | None = None
    order_group_id: str | None = None
    """Only if the order is in a group."""
    self_trade_prevention_type: str | None = None
    """ "taker_at_cross" or "maker", if it was given."""
    last_update_reason: str | None = None
    """Such as "Trade", "Amend" or "ExpiryCancel" (since 2026-09-26); the exchange may add others."""
    subaccount_number: Id | None = None
    """0 to 63, if there are subaccounts."""
    created_ts_ms: Milliseconds | None = None
    """Unix time in milliseconds (since 2026-04-15)."""
    last_updated_ts_ms: Milliseconds | None = None
    """Unix time in milliseconds (since 2026-04-15)."""
    expiration_ts_ms: Milliseconds | None = None
    """Unix time in milliseconds, if the order expires (since 2026-04-15)."""
    created_time: Time = None
    """An RFC 3339 string; deprecated."""
    last_update_time: Time = None
    """An RFC 3339 string; deprecated."""
    expiration_time: Time = None
    """An RFC 3339 string; deprecated."""
    side: str | None = None
    """ "yes" or "no"; deprecated."""
    is_yes: bool | None = None
    """Deprecated (since 2026-03-05)."""

    @property
    def market_ticker(self) -> str | None:
        return self.ticker

    @property
    def yes_price(self) -> Decimal | None:
        """Limit price in dollars; the yes price."""
        return ready_price(self.yes_price_dollars)

    @property
    def fill_count(self) -> Decimal | None:
        """Contracts filled so far."""
        return ready_size(self.fill_count_fp)

    @property
    def remaining_count(self) -> Decimal | None:
        """Contracts still resting."""
        return ready_size(self.remaining_count_fp)

    @property
    def initial_count(self) -> Decimal | None:
        """Contracts ordered."""
        return ready_size(self.initial_count_fp)

    @property
    def taker_fill_cost(self) -> Decimal | None:
        """Dollars."""
        return ready_money(self.taker_fill_cost_dollars)

    @property
    def maker_fill_cost(self) -> Decimal | None:
        """Dollars."""
        return ready_money(self.maker_fill_cost_dollars)

    @property
    def taker_fees(self) -> Decimal | None:
        """Dollars."""
        return ready_money(self.taker_fees_dollars)

    @property
    def maker_fees(self) -> Decimal | None:
        """Dollars."""
        return ready_money(self.maker_fees_dollars)

    @property
    def created_at(self) -> datetime | None:
        """When the order was placed, UTC."""
        return ready_time(self.created_ts_ms, self.created_time)

    @property
    def last_updated_at(self) -> datetime | None:
        """When the order last changed, UTC."""
        return ready_time(self.last_updated_ts_ms, self.last_update_time)

    @property
    def expiration_at(self) -> datetime | None:
        """When the order expires, UTC."""
        return ready_time(self.expiration_ts_ms, self.expiration_time)

    @property
    def time(self) -> datetime | None:
        """When the order last changed or, without that, was created, as an aware datetime."""
        return self.last_updated_at or self.created_at


class MarketPosition(
    FlatMessage, frozen=True, gc=False, kw_only=True, tag_field="type", tag="market_position"
):
    """Your position in one market after it changed (channel market_positions). Thread-safe: immutable.

    It has no timestamp. The wire's integers until 2026-04-02 are ``position_int`` and ``volume_int``
    (contracts) and the ``*_centi_cents`` (1/10,000 dollar).
    """

    type: ClassVar[str] = "market_position"

    user_id: str | None = None
    market_ticker: TickerText = None
    subaccount: Id | None = None
    """Only if a subaccount holds the position (since 2026-01-27)."""
    position_fp: SizeText = None
    """Contracts held; negative is a position in no (since 2026-01-22)."""
    volume_fp: CountText = None
    """Contracts traded (since 2026-01-22)."""
    position_cost_dollars: MoneyText = None
    """Dollars (since 2026-03-09, like the three below)."""
    realized_pnl_dollars: MoneyText = None
    fees_paid_dollars: MoneyText = None
    position_fee_cost_dollars: MoneyText = None
    position_int: OldSize = field(default=None, name="msg.position")
    volume_int: OldCount = field(default=None, name="msg.volume")
    position_cost_centi_cents: OldCentiCents = field(default=None, name="msg.position_cost")
    realized_pnl_centi_cents: OldCentiCents = field(default=None, name="msg.realized_pnl")
    fees_paid_centi_cents: OldCentiCents = field(default=None, name="msg.fees_paid")
    position_fee_cost_centi_cents: OldCentiCents = field(default=None, name="msg.position_fee_cost")

    @property
    def position(self) -> Decimal | None:
        """Contracts held; negative is a position in no."""
        return ready_signed(self.position_fp, self.position_int)

    @property
    def volume(self) -> Decimal | None:
        """Contracts traded."""
        return ready_size(self.volume_fp, self.volume_int)

    @property
    def position_cost(self) -> Decimal | None:
        """Dollars."""
        return ready_money(self.position_cost_dollars, self.position_cost_centi_cents)

    @property
    def realized_pnl(self) -> Decimal | None:
        """Dollars; negative is a loss."""
        return ready_money(self.realized_pnl_dollars, self.realized_pnl_centi_cents)

    @property
    def fees_paid(self) -> Decimal | None:
        """Dollars."""
        return ready_money(self.fees_paid_dollars, self.fees_paid_centi_cents)

    @property
    def position_fee_cost(self) -> Decimal | None:
        """Dollars."""
        return ready_money(self.position_fee_cost_dollars, self.position_fee_cost_centi_cents)


class OrderGroupUpdate(
    FlatMessage, frozen=True, gc=False, kw_only=True, tag_field="type", tag="order_group_updates"
):
    """One of your order groups was created or changed (since 2026-01-29). Thread-safe: immutable."""

    type: ClassVar[str] = "order_group_updates"

    event_type: str | None = None
    """ "created", "triggered", "reset", "deleted" or "limit_updated"; the exchange may add others."""
    order_group_id: str | None = None
    contracts_limit_fp: CountText = None
    """Contracts; only with "created" and "limit_updated"."""
    ts_ms: Milliseconds | None = None
    """Unix time in milliseconds (since 2026-05-05)."""

    @property
    def contracts_limit(self) -> Decimal | None:
        """Contracts; only with "created" and "limit_updated"."""
        return ready_size(self.contracts_limit_fp)

    @property
    def time(self) -> datetime | None:
        """When it happened, as an aware datetime."""
        return ready_time(self.ts_ms)
