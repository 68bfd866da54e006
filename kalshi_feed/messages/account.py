"""The messages of the account's own channels: fill (protocol.md 6.5, 8).

Owns the type. Must not import anything of the package but messages.base and messages.values.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar

import msgspec
from msgspec import field

from kalshi_feed.messages.base import (
    Body,
    Cents,
    Count,
    Id,
    Message,
    Milliseconds,
    Time,
    ready_price,
    ready_size,
    ready_time,
)
from kalshi_feed.messages.values import (
    check_counts,
    check_prices,
    money_decimal,
    money_units,
    size_decimal,
    size_units,
)

__all__ = ["Fill", "FillBody"]

_Position = Annotated[int, msgspec.Meta(ge=-(10**13), le=10**13)]


class FillBody(Body, frozen=True, gc=False, kw_only=True):
    """``msg`` of a fill, as on the wire. Thread-safe: immutable."""

    market_ticker: str | None = None
    trade_id: str | None = None
    order_id: str | None = None
    client_order_id: str | None = None
    exchange_index: Id | None = None
    is_taker: bool | None = None
    yes_price_dollars: str | None = None
    count_fp: str | None = None
    fee_cost: str | None = None
    post_position_fp: str | None = None
    outcome_side: str | None = None
    book_side: str | None = None
    side: str | None = None
    action: str | None = None
    purchased_side: str | None = None
    subaccount: Id | None = None
    ts_ms: Milliseconds | None = None
    ts: Time = None
    yes_price_cents: Cents | None = field(default=None, name="yes_price")
    count_int: Count | None = field(default=None, name="count")
    post_position_int: _Position | None = field(default=None, name="post_position")

    def __post_init__(self) -> None:
        check_prices(self.yes_price_dollars)
        check_counts(self.count_fp)
        if self.fee_cost is not None:
            money_units(self.fee_cost)
        if self.post_position_fp is not None:
            size_units(self.post_position_fp)


class Fill(Message, frozen=True, gc=False, kw_only=True, tag_field="type", tag="fill"):
    """One fill of one of your orders; tell repeats by ``trade_id``. Thread-safe: immutable.

    Read the direction from ``outcome_side`` ("yes" or "no": what you gained) and ``book_side`` ("bid" or "ask");
    ``side``, ``action`` and ``purchased_side`` are deprecated (protocol.md 6.5). The wire's integers until March 2026
    are ``yes_price_cents``, ``count_int`` and ``post_position_int``.
    """

    type: ClassVar[str] = "fill"

    msg: FillBody

    @property
    def yes_price(self) -> Decimal | None:
        """Dollars."""
        return ready_price(self.msg.yes_price_dollars, self.msg.yes_price_cents)

    @property
    def count(self) -> Decimal | None:
        """Contracts."""
        return ready_size(self.msg.count_fp, self.msg.count_int)

    @property
    def fee(self) -> Decimal | None:
        """Dollars for the whole fill, to 6 decimals."""
        return None if self.msg.fee_cost is None else money_decimal(money_units(self.msg.fee_cost))

    @property
    def post_position(self) -> Decimal | None:
        """Contracts held after the fill; negative is a position in no."""
        body = self.msg
        if body.post_position_fp is not None:
            return size_decimal(size_units(body.post_position_fp))
        return None if body.post_position_int is None else size_decimal(body.post_position_int * 100)

    @property
    def time(self) -> datetime | None:
        """When the fill happened (``ts_ms``, else ``ts``), aware; None if not sent."""
        return ready_time(self.msg.ts_ms, self.msg.ts)

    @property
    def market_ticker(self) -> str | None:
        return self.msg.market_ticker

    @property
    def trade_id(self) -> str | None:
        return self.msg.trade_id

    @property
    def order_id(self) -> str | None:
        return self.msg.order_id

    @property
    def client_order_id(self) -> str | None:
        return self.msg.client_order_id

    @property
    def exchange_index(self) -> int | None:
        return self.msg.exchange_index

    @property
    def is_taker(self) -> bool | None:
        return self.msg.is_taker

    @property
    def yes_price_dollars(self) -> str | None:
        return self.msg.yes_price_dollars

    @property
    def count_fp(self) -> str | None:
        return self.msg.count_fp

    @property
    def fee_cost(self) -> str | None:
        return self.msg.fee_cost

    @property
    def post_position_fp(self) -> str | None:
        return self.msg.post_position_fp

    @property
    def outcome_side(self) -> str | None:
        return self.msg.outcome_side

    @property
    def book_side(self) -> str | None:
        return self.msg.book_side

    @property
    def side(self) -> str | None:
        return self.msg.side

    @property
    def action(self) -> str | None:
        return self.msg.action

    @property
    def purchased_side(self) -> str | None:
        return self.msg.purchased_side

    @property
    def subaccount(self) -> int | None:
        return self.msg.subaccount

    @property
    def ts_ms(self) -> int | None:
        return self.msg.ts_ms

    @property
    def ts(self) -> int | str | None:
        return self.msg.ts

    @property
    def yes_price_cents(self) -> int | None:
        return self.msg.yes_price_cents

    @property
    def count_int(self) -> int | None:
        return self.msg.count_int

    @property
    def post_position_int(self) -> int | None:
        return self.msg.post_position_int
