"""Messages that the exchange no longer sends but old recordings hold: ticker_v2 (until 2026-02-12) and
multivariate_lookup (channel multivariate, until 2026-08-06) (PROTOCOL.md 2).

Owns the types. Every field may be None.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar

from msgspec import field

from .base import Int64, Milliseconds, Time, ready_price, ready_signed, ready_time
from .flat import STRICT, FlatMessage, OldCents, OldSize, PriceText, SizeText, TickerText
from .rfqs import Leg

__all__ = ["MultivariateLookup", "TickerV2"]


class TickerV2(FlatMessage, frozen=True, gc=False, kw_only=True, tag_field="type", tag="ticker_v2"):
    """What changed in a market since its last ticker_v2; None means no change. Thread-safe: immutable.

    The wire's integers are ``price_cents``, ``volume_delta_int`` and ``open_interest_delta_int``.
    """

    type: ClassVar[str] = "ticker_v2"

    market_ticker: TickerText = None
    market_id: str | None = None
    price_dollars: PriceText = None
    """Dollars of the last trade (yes price)."""
    volume_delta_fp: SizeText = None
    open_interest_delta_fp: SizeText = None
    dollar_volume_delta: Int64 | None = None
    """Whole dollars."""
    dollar_open_interest_delta: Int64 | None = None
    """Whole dollars."""
    ts: Time = None
    """Unix time in seconds."""
    ts_ms: Milliseconds | None = None
    price_cents: OldCents = field(default=None, name="msg.price")
    volume_delta_int: OldSize = field(default=None, name="msg.volume_delta")
    open_interest_delta_int: OldSize = field(default=None, name="msg.open_interest_delta")

    @property
    def price(self) -> Decimal | None:
        """Dollars of the last trade (yes price)."""
        return ready_price(self.price_dollars, self.price_cents)

    @property
    def volume_delta(self) -> Decimal | None:
        """Contracts."""
        return ready_signed(self.volume_delta_fp, self.volume_delta_int)

    @property
    def open_interest_delta(self) -> Decimal | None:
        """Contracts."""
        return ready_signed(self.open_interest_delta_fp, self.open_interest_delta_int)

    @property
    def time(self) -> datetime | None:
        return ready_time(self.ts_ms, self.ts)


class MultivariateLookup(
    FlatMessage, frozen=True, gc=False, kw_only=True, tag_field="type", tag="multivariate_lookup"
):
    """Someone looked up a combo. Thread-safe: immutable."""

    type: ClassVar[str] = "multivariate_lookup"

    collection_ticker: str | None = None
    event_ticker: str | None = None
    market_ticker: TickerText = None
    """The combo's market."""
    selected_markets: Annotated[tuple[Leg, ...] | None, STRICT] = None
