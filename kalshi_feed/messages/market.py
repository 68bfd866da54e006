"""The messages of the public market channels: ticker and trade (PROTOCOL.md 6.3, 6.4, 8).

Owns the two types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final

from msgspec import Meta, field

from .base import (
    Body,
    Cents,
    Clock,
    Count,
    Int64,
    Message,
    Milliseconds,
    Time,
    ready_price,
    ready_size,
    ready_time,
)
from .flat import json_object
from .values import PRICES, SIZES, check_counts, check_prices, count_units

_COUNT: Final = r"[0-9]{1,13}\.[0-9]{2}"
_usual_counts = re.compile(" ".join([_COUNT] * 5)).fullmatch

__all__ = ["Ticker", "TickerBody", "Trade", "TradeBody"]


class TickerBody(Body, frozen=True, gc=False, kw_only=True):
    """``msg`` of a ticker, as on the wire. Thread-safe: immutable."""

    market_ticker: str | None = None
    market_id: str | None = None
    price_dollars: str | None = None
    yes_bid_dollars: str | None = None
    yes_ask_dollars: str | None = None
    volume_fp: str | None = None
    open_interest_fp: str | None = None
    yes_bid_size_fp: str | None = None
    yes_ask_size_fp: str | None = None
    last_trade_size_fp: str | None = None
    dollar_volume: Int64 | None = None
    dollar_open_interest: Int64 | None = None
    ts_ms: Milliseconds | None = None
    ts: Time = None
    time_text: str | None = field(default=None, name="time")
    clock: Clock | None = field(default=None, name="Clock")
    price_cents: Cents | None = field(default=None, name="price")
    yes_bid_cents: Cents | None = field(default=None, name="yes_bid")
    yes_ask_cents: Cents | None = field(default=None, name="yes_ask")
    volume_int: Count | None = field(default=None, name="volume")
    open_interest_int: Count | None = field(default=None, name="open_interest")

    def __post_init__(self) -> None:
        if (
            self.price_dollars in PRICES
            and self.yes_bid_dollars in PRICES
            and self.yes_ask_dollars in PRICES
            and _usual_counts(
                f"{self.volume_fp} {self.open_interest_fp} {self.yes_bid_size_fp} {self.yes_ask_size_fp} "
                f"{self.last_trade_size_fp}"
            )
        ):
            return
        # "" was sent for a market that had never traded (PROTOCOL.md 6.3): it counts as missing
        check_prices(self.price_dollars or None, self.yes_bid_dollars or None, self.yes_ask_dollars or None)
        check_counts(
            self.volume_fp or None,
            self.open_interest_fp or None,
            self.yes_bid_size_fp or None,
            self.yes_ask_size_fp or None,
            self.last_trade_size_fp or None,
        )


class Ticker(Message, frozen=True, gc=False, kw_only=True, tag_field="type", tag="ticker"):
    """A market's last price, best yes prices and volumes. Thread-safe: immutable.

    Ready values are None if the wire had nothing, "" or something unreadable; the latter is in ``extra``. An
    empty side of the book shows as a bid of 0 or an ask of 1, which is not a level. The wire's integers until
    March 2026 are ``price_cents``, ``yes_bid_cents``, ``yes_ask_cents``, ``volume_int`` and
    ``open_interest_int``; its string ``time`` is ``time_text``, its ``Clock`` is ``clock``.
    """

    type: ClassVar[str] = "ticker"

    msg: TickerBody
    # Only the decoder fills it, after decoding. From the wire it accepts the empty value only, which changes
    # nothing
    extra_json: Annotated[bytes, Meta(max_length=0)] = b""

    @property
    def extra(self) -> Mapping[str, Any]:
        """The prices and sizes that could not be read, as sent (a copy)."""
        return json_object(self.extra_json or None) or {}

    @property
    def price(self) -> Decimal | None:
        """Dollars of the last trade (yes price)."""
        return ready_price(self.msg.price_dollars, self.msg.price_cents)

    @property
    def yes_bid(self) -> Decimal | None:
        """Dollars; 0 if there is no bid."""
        return ready_price(self.msg.yes_bid_dollars, self.msg.yes_bid_cents)

    @property
    def yes_ask(self) -> Decimal | None:
        """Dollars; 1 if there is no ask."""
        return ready_price(self.msg.yes_ask_dollars, self.msg.yes_ask_cents)

    @property
    def volume(self) -> Decimal | None:
        """Contracts traded so far."""
        return ready_size(self.msg.volume_fp, self.msg.volume_int)

    @property
    def open_interest(self) -> Decimal | None:
        """Contracts open."""
        return ready_size(self.msg.open_interest_fp, self.msg.open_interest_int)

    @property
    def yes_bid_size(self) -> Decimal | None:
        """Contracts at the best bid (since 2026-02-12)."""
        return ready_size(self.msg.yes_bid_size_fp, None)

    @property
    def yes_ask_size(self) -> Decimal | None:
        """Contracts at the best ask (since 2026-02-12)."""
        return ready_size(self.msg.yes_ask_size_fp, None)

    @property
    def last_trade_size(self) -> Decimal | None:
        """Contracts of the last trade (since 2026-02-12)."""
        return ready_size(self.msg.last_trade_size_fp, None)

    @property
    def time(self) -> datetime | None:
        """``ts_ms``, the wire's ``time`` or ``ts``, as an aware datetime; None if not sent."""
        return ready_time(self.msg.ts_ms, self.msg.time_text, self.msg.ts)

    @property
    def market_ticker(self) -> str | None:
        return self.msg.market_ticker

    @property
    def market_id(self) -> str | None:
        """The market's uuid."""
        return self.msg.market_id

    @property
    def price_dollars(self) -> str | None:
        """Dollars as sent (since 2025-09-09); "" in 2025 if there was no trade yet."""
        return self.msg.price_dollars

    @property
    def yes_bid_dollars(self) -> str | None:
        """Dollars as sent (since 2025-09-09)."""
        return self.msg.yes_bid_dollars

    @property
    def yes_ask_dollars(self) -> str | None:
        """Dollars as sent (since 2025-09-09)."""
        return self.msg.yes_ask_dollars

    @property
    def volume_fp(self) -> str | None:
        """Contracts as sent (since 2026-01-22)."""
        return self.msg.volume_fp

    @property
    def open_interest_fp(self) -> str | None:
        """Contracts as sent (since 2026-01-22)."""
        return self.msg.open_interest_fp

    @property
    def yes_bid_size_fp(self) -> str | None:
        """Contracts as sent (since 2026-02-12)."""
        return self.msg.yes_bid_size_fp

    @property
    def yes_ask_size_fp(self) -> str | None:
        """Contracts as sent (since 2026-02-12)."""
        return self.msg.yes_ask_size_fp

    @property
    def last_trade_size_fp(self) -> str | None:
        """Contracts as sent (since 2026-02-12)."""
        return self.msg.last_trade_size_fp

    @property
    def dollar_volume(self) -> int | None:
        """Whole dollars; often missing."""
        return self.msg.dollar_volume

    @property
    def dollar_open_interest(self) -> int | None:
        """Whole dollars, signed; often missing."""
        return self.msg.dollar_open_interest

    @property
    def ts_ms(self) -> int | None:
        """Unix time in milliseconds (since 2026-04-15)."""
        return self.msg.ts_ms

    @property
    def ts(self) -> int | str | None:
        """Unix time in seconds; deprecated."""
        return self.msg.ts

    @property
    def time_text(self) -> str | None:
        """An RFC 3339 string, on the wire ``time`` (since 2026-02-11); deprecated, often missing."""
        return self.msg.time_text

    @property
    def clock(self) -> int | None:
        """On the wire ``Clock``: undocumented, from 2025-10 to 2026-03."""
        return self.msg.clock

    @property
    def price_cents(self) -> int | None:
        """The old format's integer ``price``, cents."""
        return self.msg.price_cents

    @property
    def yes_bid_cents(self) -> int | None:
        """The old format's integer ``yes_bid``, cents."""
        return self.msg.yes_bid_cents

    @property
    def yes_ask_cents(self) -> int | None:
        """The old format's integer ``yes_ask``, cents."""
        return self.msg.yes_ask_cents

    @property
    def volume_int(self) -> int | None:
        """The old format's integer ``volume``, contracts."""
        return self.msg.volume_int

    @property
    def open_interest_int(self) -> int | None:
        """The old format's integer ``open_interest``, contracts."""
        return self.msg.open_interest_int


class TradeBody(Body, frozen=True, gc=False, kw_only=True):
    """``msg`` of a trade, as on the wire. Thread-safe: immutable."""

    market_ticker: str | None = None
    trade_id: str | None = None
    yes_price_dollars: str | None = None
    no_price_dollars: str | None = None
    count_fp: str | None = None
    taker_side: str | None = None
    taker_outcome_side: str | None = None
    taker_book_side: str | None = None
    is_block_trade: bool | None = None
    ts_ms: Milliseconds | None = None
    ts: Time = None
    yes_price_cents: Cents | None = field(default=None, name="yes_price")
    no_price_cents: Cents | None = field(default=None, name="no_price")
    count_int: Count | None = field(default=None, name="count")

    def __post_init__(self) -> None:
        if (
            self.yes_price_dollars in PRICES
            and self.no_price_dollars in PRICES
            and SIZES.get(self.count_fp, -1) >= 0  # type: ignore[arg-type]  # None is not in it
        ):
            return
        check_prices(self.yes_price_dollars, self.no_price_dollars)
        if self.count_fp is not None:
            count_units(self.count_fp)  # which remembers it in SIZES if it is likely to come again


class Trade(Message, frozen=True, gc=False, kw_only=True, tag_field="type", tag="trade"):
    """One public trade. Thread-safe: immutable.

    The wire's integers until March 2026 are ``yes_price_cents``, ``no_price_cents`` and ``count_int``.
    """

    type: ClassVar[str] = "trade"

    msg: TradeBody

    @property
    def yes_price(self) -> Decimal | None:
        """Dollars."""
        return ready_price(self.msg.yes_price_dollars, self.msg.yes_price_cents)

    @property
    def no_price(self) -> Decimal | None:
        """Dollars; ``yes_price + no_price`` is 1."""
        return ready_price(self.msg.no_price_dollars, self.msg.no_price_cents)

    @property
    def count(self) -> Decimal | None:
        """Contracts."""
        return ready_size(self.msg.count_fp, self.msg.count_int)

    @property
    def time(self) -> datetime | None:
        """When the trade happened (``ts_ms`` or ``ts``), as an aware datetime; None if not sent."""
        return ready_time(self.msg.ts_ms, self.msg.ts)

    @property
    def market_ticker(self) -> str | None:
        return self.msg.market_ticker

    @property
    def trade_id(self) -> str | None:
        """Looks like a UUID but is not a valid one (PROTOCOL.md 9.10); identifies repeats."""
        return self.msg.trade_id

    @property
    def yes_price_dollars(self) -> str | None:
        """Dollars as sent (since 2025-09-09)."""
        return self.msg.yes_price_dollars

    @property
    def no_price_dollars(self) -> str | None:
        """Dollars as sent (since 2025-09-09)."""
        return self.msg.no_price_dollars

    @property
    def count_fp(self) -> str | None:
        """Contracts as sent (since 2026-01-22)."""
        return self.msg.count_fp

    @property
    def taker_side(self) -> str | None:
        """Deprecated: read ``taker_outcome_side``."""
        return self.msg.taker_side

    @property
    def taker_outcome_side(self) -> str | None:
        """ "yes" or "no": the outcome the taker gained (since 2026-05-06)."""
        return self.msg.taker_outcome_side

    @property
    def taker_book_side(self) -> str | None:
        """ "bid" or "ask" (since 2026-05-06)."""
        return self.msg.taker_book_side

    @property
    def is_block_trade(self) -> bool | None:
        """Whether it was a block trade (since 2026-08-13)."""
        return self.msg.is_block_trade

    @property
    def ts_ms(self) -> int | None:
        """Unix time in milliseconds (since 2026-04-15)."""
        return self.msg.ts_ms

    @property
    def ts(self) -> int | str | None:
        """Unix time in seconds; deprecated."""
        return self.msg.ts

    @property
    def yes_price_cents(self) -> int | None:
        """The old format's integer ``yes_price``, cents."""
        return self.msg.yes_price_cents

    @property
    def no_price_cents(self) -> int | None:
        """The old format's integer ``no_price``, cents."""
        return self.msg.no_price_cents

    @property
    def count_int(self) -> int | None:
        """The old format's integer ``count``, contracts."""
        return self.msg.count_int
