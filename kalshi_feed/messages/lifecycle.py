"""The messages of the lifecycle channels: market_lifecycle_v2, multivariate_market_lifecycle,
event_lifecycle, event_fee_update (PROTOCOL.md 6.7, 6.8).

Owns the types. There is no message when a market opens or closes as scheduled. Every field may be None.
``*_ts`` are Unix times in seconds; dates say since when the exchange has sent a field.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from msgspec import field
from msgspec.structs import force_setattr

from .base import Id, Seconds, ready_money, ready_price, ready_time
from .flat import (
    STRICT,
    FlatMessage,
    JsonNumber,
    JsonText,
    MoneyText,
    Part,
    PriceText,
    TickerText,
    json_object,
)

__all__ = [
    "EventFeeUpdate",
    "EventLifecycle",
    "MarketLifecycle",
    "MarketMetadata",
    "MultivariateMarketLifecycle",
    "PriceRange",
]


class PriceRange(Part, frozen=True, gc=False, kw_only=True):
    """Between two prices, the market's prices are multiples of a tick. Thread-safe: immutable.

    The wire's strings are ``start``, ``end`` and ``step``.
    """

    start: PriceText = None
    end: PriceText = None
    step: PriceText = None

    @property
    def start_price(self) -> Decimal | None:
        """Dollars."""
        return ready_price(self.start)

    @property
    def end_price(self) -> Decimal | None:
        """Dollars."""
        return ready_price(self.end)

    @property
    def tick(self) -> Decimal | None:
        """Dollars from one price to the next."""
        return ready_price(self.step)


class MarketMetadata(Part, frozen=True, gc=False, kw_only=True):
    """A market's description in a "created". Thread-safe: immutable."""

    name: str | None = None
    title: str | None = None
    yes_sub_title: str | None = None
    no_sub_title: str | None = None
    rules_primary: str | None = None
    rules_secondary: str | None = None
    can_close_early: bool | None = None
    event_ticker: str | None = None
    expected_expiration_ts: Seconds | None = None
    strike_type: str | None = None
    """Such as "greater" or "between", if the market has a strike."""
    floor_strike: JsonNumber = None
    """The lower strike in the market's own unit."""
    cap_strike: JsonNumber = None
    """The upper strike in the market's own unit."""
    custom_strike_json: JsonText = field(default=None, name="custom_strike")

    @property
    def custom_strike(self) -> dict[str, Any] | None:
        """A strike that is not a number, as names and values (a copy)."""
        return json_object(self.custom_strike_json)

    @property
    def expected_expiration_at(self) -> datetime | None:
        """When the market is expected to expire, UTC."""
        return ready_time(None, self.expected_expiration_ts)


class _Lifecycle(FlatMessage, frozen=True, gc=False, kw_only=True):
    """What the lifecycle messages of markets and combos share. Thread-safe: immutable."""

    market_ticker: TickerText = None
    event_type: str | None = None
    exchange_index: Id | None = None
    """The exchange shard; with "created" (since 2026-07-30)."""
    open_ts: Seconds | None = None
    """With "created"."""
    close_ts: Seconds | None = None
    """With "created" and "close_date_updated"."""
    is_deactivated: bool | None = None
    """With "activated" and "deactivated"."""
    determination_ts: Seconds | None = None
    """With "determined"."""
    result: str | None = None
    """With "determined": "yes", "no" or another word."""
    settlement_value: MoneyText = None
    """With "determined": what one yes contract pays, in dollars (since 2026-02-26)."""
    settled_ts: Seconds | None = None
    """With "settled"."""
    additional_metadata: Annotated[MarketMetadata | None, STRICT] = None
    """With "created"."""
    price_level_structure: str | None = None
    """The name of the price ranges, or ""; sent like ``price_ranges`` (since 2026-03-12)."""

    @property
    def settlement(self) -> Decimal | None:
        """What one yes contract pays, in dollars (``settlement_value``)."""
        return ready_money(self.settlement_value)

    @property
    def open_at(self) -> datetime | None:
        """When the market opens, UTC."""
        return ready_time(None, self.open_ts)

    @property
    def close_at(self) -> datetime | None:
        """When the market closes, UTC."""
        return ready_time(None, self.close_ts)

    @property
    def determination_at(self) -> datetime | None:
        """When the result was determined, UTC."""
        return ready_time(None, self.determination_ts)

    @property
    def settled_at(self) -> datetime | None:
        """When the market was settled, UTC."""
        return ready_time(None, self.settled_ts)

    @property
    def time(self) -> datetime | None:
        """``determination_at`` or ``settled_at``; other events do not say when they happened."""
        return self.determination_at or self.settled_at


class MarketLifecycle(
    _Lifecycle, frozen=True, gc=False, kw_only=True, tag_field="type", tag="market_lifecycle_v2"
):
    """Something happened to a market (channel market_lifecycle_v2). Thread-safe: immutable.

    ``event_type`` is "created", "activated", "deactivated", "close_date_updated", "determined", "settled",
    "price_level_structure_updated" (since 2026-03-12), "metadata_updated" (since 2026-05-05) or one the
    exchange adds; "fractional_trading_updated" came from 2026-03-12 to 2026-04-17. Each has its own fields;
    the others are None. An "activated" after a "deactivated" means that all resting orders are gone. Combos
    are on multivariate_market_lifecycle.
    """

    type: ClassVar[str] = "market_lifecycle_v2"

    price_ranges: Annotated[tuple[PriceRange, ...] | None, STRICT] = None
    """They decide the ticks; with "created" and "price_level_structure_updated" (since 2026-07-02)."""
    strike_type: str | None = None
    """With "metadata_updated", like the four below: only what has changed."""
    floor_strike: JsonNumber = None
    """The lower strike in the market's own unit."""
    cap_strike: JsonNumber = None
    """The upper strike in the market's own unit (since 2026-06-18)."""
    yes_sub_title: str | None = None
    """Since 2026-05-11."""
    custom_strike_json: JsonText = field(default=None, name="msg.custom_strike")

    @property
    def custom_strike(self) -> dict[str, Any] | None:
        """A strike that is not a number, as names and values (a copy; since 2026-06-18)."""
        return json_object(self.custom_strike_json)


class MultivariateMarketLifecycle(
    _Lifecycle, frozen=True, gc=False, kw_only=True, tag_field="type", tag="multivariate_market_lifecycle"
):
    """MarketLifecycle of a combo (KXMVE…; its own channel since 2026-03-19). Thread-safe: immutable.

    It has no events for metadata and price levels.
    """

    type: ClassVar[str] = "multivariate_market_lifecycle"


class EventLifecycle(
    FlatMessage, frozen=True, gc=False, kw_only=True, tag_field="type", tag="event_lifecycle"
):
    """An event was created or changed; on both lifecycle channels. Thread-safe: immutable."""

    type: ClassVar[str] = "event_lifecycle"

    event_ticker: TickerText = None
    exchange_index: Id | None = None
    """The exchange shard (since 2026-07-30)."""
    title: str | None = None
    subtitle: str | None = None
    """Older specs call it ``sub_title``; that is read, too."""
    collateral_return_type: str | None = None
    """ "MECNET", "DIRECNET" or ""."""
    series_ticker: str | None = None
    """May be ""."""
    strike_date: Seconds | None = None
    strike_period: str | None = None
    sub_title: str | None = None
    """In specs until 2026-01-31; read ``subtitle``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subtitle is None:
            force_setattr(self, "subtitle", self.sub_title)

    @property
    def strike_at(self) -> datetime | None:
        """``strike_date`` as an aware datetime."""
        return ready_time(None, self.strike_date)


class EventFeeUpdate(
    FlatMessage, frozen=True, gc=False, kw_only=True, tag_field="type", tag="event_fee_update"
):
    """From now on, an event's fees differ from its series' (channel market_lifecycle_v2, since 2026-05-29).

    None means that the override was removed. Thread-safe: immutable.
    """

    type: ClassVar[str] = "event_fee_update"

    event_ticker: TickerText = None
    fee_type_override: str | None = None
    """Such as "quadratic" or "flat"; the exchange may add others."""
    fee_multiplier_override: JsonNumber = None
    """A factor, exactly as in the JSON."""
