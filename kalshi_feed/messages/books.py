"""The orderbook_delta channel's messages: orderbook_snapshot and orderbook_delta (PROTOCOL.md 6.1, 6.2, 8).

Owns the two types and the reading of their levels in all wire generations. Both sides are bids, and every
ready price is the side's own price.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import field

from .base import Body, Cents, Clock, Count, Id, Message, Milliseconds, Time, ready_time
from .values import (
    OTHER_SIDE,
    PRICES,
    Level,
    cents_units,
    count_units,
    level,
    price_decimal,
    price_units,
    size_decimal,
    size_units,
)

__all__ = ["DeltaBody", "OrderbookDelta", "OrderbookSnapshot", "SnapshotBody"]

_SignedCount = Annotated[int, msgspec.Meta(ge=-(10**13), le=10**13)]
_FpLevels = tuple[tuple[str, str], ...]  # [["0.0100", "158.53"]]
_DollarLevels = tuple[tuple[str, Count | str], ...]  # [["0.0100", 158]], September 2025
_CentLevels = tuple[tuple[Cents, Count], ...]  # [[1, 158]], until March 2026

_integers = msgspec.json.Decoder(list[int], strict=False).decode
_usual_sizes = re.compile(r"[0-9]{1,13}\.[0-9]{2}(?:,[0-9]{1,13}\.[0-9]{2})*").fullmatch


class DeltaBody(Body, frozen=True, gc=False, kw_only=True):
    """``msg`` of an orderbook_delta, as on the wire. Thread-safe: immutable."""

    market_ticker: str
    side: Literal["yes", "no"]
    price_dollars: str | None = None
    delta_fp: str | None = None
    market_id: str | None = None
    clock: Clock | None = None
    ts_ms: Milliseconds | None = None
    ts: Time = None
    client_order_id: str | None = None
    subaccount: Id | None = None
    price_cents: Cents | None = field(default=None, name="price")
    delta_int: _SignedCount | None = field(default=None, name="delta")


class OrderbookDelta(Message, frozen=True, gc=False, kw_only=True, tag_field="type", tag="orderbook_delta"):
    """One change of one price level: ``delta`` contracts more (or fewer) at ``price`` on ``side``.

    ``price_dollars`` and ``delta_fp`` are the wire's strings, ``price_cents`` and ``delta_int`` its integers
    until March 2026. A message from Decoder.decode_batch() may hold an invalid number, for which units(),
    ``price`` and ``delta`` raise ValueError; the feed never delivers such a message. Thread-safe: immutable.
    """

    type: ClassVar[str] = "orderbook_delta"
    use_yes_price: ClassVar[bool] = False  # whether the wire's no prices are on the yes scale

    msg: DeltaBody

    def units(self) -> tuple[int, int]:
        """Return (own price in 1/10,000 dollar, signed size in 1/100 contract). Raises ValueError."""
        body = self.msg
        price = PRICES.get(body.price_dollars)  # type: ignore[arg-type]  # None is simply not in it
        if price is None:
            if body.price_dollars is not None:
                price = price_units(body.price_dollars)
            elif body.price_cents is not None:
                price = cents_units(body.price_cents)
            else:
                raise ValueError("orderbook_delta without price_dollars")
        if body.delta_fp is not None:
            size = size_units(body.delta_fp)
        elif body.delta_int is not None:
            size = body.delta_int * 100
        else:
            raise ValueError("orderbook_delta without delta_fp")
        if self.use_yes_price and body.side == "no":
            price = OTHER_SIDE[price]
        return price, size

    def __repr__(self) -> str:
        try:
            first = f"{self.side} {self.price} {self.delta:+}"
        except ValueError:  # from a batch, and not checked yet
            return self._shown()
        return self._shown(first, ("side", "price", "delta"))

    @property
    def price(self) -> Decimal:
        """Dollars, the side's own price: a no bid at 0.54 is 0.54, with or without use_yes_price."""
        return price_decimal(self.units()[0])

    @property
    def delta(self) -> Decimal:
        """Contracts added (positive) or taken away (negative); not the new size of the level."""
        return size_decimal(self.units()[1])

    @property
    def time(self) -> datetime | None:
        """When the exchange made the change (``ts_ms`` or ``ts``), as an aware datetime; None if not sent."""
        return ready_time(self.msg.ts_ms, self.msg.ts)

    @property
    def market_ticker(self) -> str:
        return self.msg.market_ticker

    @property
    def market_id(self) -> str | None:
        """The market's uuid."""
        return self.msg.market_id

    @property
    def side(self) -> Literal["yes", "no"]:
        """The side whose bids change: "yes" or "no"."""
        return self.msg.side

    @property
    def clock(self) -> int | None:
        """The market's exchange clock, the same on every connection (since 2026-10-22)."""
        return self.msg.clock

    @property
    def price_dollars(self) -> str | None:
        """Dollars as sent, on the scale of use_yes_price (since 2025-09-09)."""
        return self.msg.price_dollars

    @property
    def delta_fp(self) -> str | None:
        """Contracts as sent, signed (since 2026-01-22)."""
        return self.msg.delta_fp

    @property
    def ts_ms(self) -> int | None:
        """Unix time in milliseconds (since 2026-04-15)."""
        return self.msg.ts_ms

    @property
    def ts(self) -> int | str | None:
        """An RFC 3339 string (since 2026-01-31); deprecated."""
        return self.msg.ts

    @property
    def client_order_id(self) -> str | None:
        """Your order that caused the change, None if it was not yours (since 2025-08-08)."""
        return self.msg.client_order_id

    @property
    def subaccount(self) -> int | None:
        """Your subaccount whose order caused the change, None if it was not yours (since 2026-01-27)."""
        return self.msg.subaccount

    @property
    def price_cents(self) -> int | None:
        """The old format's integer ``price``, cents."""
        return self.msg.price_cents

    @property
    def delta_int(self) -> int | None:
        """The old format's integer ``delta``, contracts."""
        return self.msg.delta_int


class SnapshotBody(Body, frozen=True, gc=False, kw_only=True):
    """``msg`` of an orderbook_snapshot, as on the wire. Thread-safe: immutable."""

    market_ticker: str
    market_id: str | None = None
    clock: Clock | None = None
    yes_dollars_fp: _FpLevels | None = None
    no_dollars_fp: _FpLevels | None = None
    yes_dollars: _DollarLevels | None = None
    no_dollars: _DollarLevels | None = None
    yes_cents: _CentLevels | None = field(default=None, name="yes")
    no_cents: _CentLevels | None = field(default=None, name="no")


class OrderbookSnapshot(
    Message, frozen=True, gc=False, kw_only=True, tag_field="type", tag="orderbook_snapshot"
):
    """All levels of one market. It replaces the book, whenever it comes (PROTOCOL.md 5.5).

    ``id`` is set if it answers a get_snapshot that had one. ``yes_dollars_fp`` and ``no_dollars_fp`` are the
    wire's levels; ``yes_dollars``, ``no_dollars``, ``yes_cents`` and ``no_cents`` are those of older
    generations. For each side, the newest generation that is present counts. A side that is missing or null
    is empty. As in OrderbookDelta, book_sides(), ``yes`` and ``no`` of a message from decode_batch() may
    raise ValueError. Thread-safe: immutable.
    """

    type: ClassVar[str] = "orderbook_snapshot"
    use_yes_price: ClassVar[bool] = False  # whether the wire's no prices are on the yes scale

    id: Id | None = None
    msg: SnapshotBody

    def book_sides(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return (yes, no), each {own price in 1/10,000 dollar: size in 1/100 contract}, without zero sizes.

        Each call returns new dicts. Raises ValueError for an invalid number or two levels at one price.
        """
        body = self.msg
        yes = _side_units(body.yes_dollars_fp, body.yes_dollars, body.yes_cents, "yes", False)
        no = _side_units(body.no_dollars_fp, body.no_dollars, body.no_cents, "no", self.use_yes_price)
        return yes, no

    @property
    def yes(self) -> tuple[Level, ...]:
        """The yes bids, best first."""
        return _best_first(self.book_sides()[0])

    @property
    def no(self) -> tuple[Level, ...]:
        """The no bids in no prices, best first."""
        return _best_first(self.book_sides()[1])

    @property
    def market_ticker(self) -> str:
        return self.msg.market_ticker

    @property
    def market_id(self) -> str | None:
        """The market's uuid; "" for a market the exchange does not know (PROTOCOL.md 5.4)."""
        return self.msg.market_id

    @property
    def clock(self) -> int | None:
        """The market's exchange clock: all changes up to it are in the levels (since 2026-10-22)."""
        return self.msg.clock

    @property
    def yes_dollars_fp(self) -> _FpLevels | None:
        """The wire's yes bids: dollars and contracts as strings."""
        return self.msg.yes_dollars_fp

    @property
    def no_dollars_fp(self) -> _FpLevels | None:
        """The wire's no bids: dollars and contracts as strings."""
        return self.msg.no_dollars_fp

    @property
    def yes_dollars(self) -> _DollarLevels | None:
        """The wire's yes bids of September 2025: dollars as strings, whole contracts."""
        return self.msg.yes_dollars

    @property
    def no_dollars(self) -> _DollarLevels | None:
        """The wire's no bids of September 2025: dollars as strings, whole contracts."""
        return self.msg.no_dollars

    @property
    def yes_cents(self) -> _CentLevels | None:
        """The wire's ``yes`` until March 2026: bids in cents and whole contracts."""
        return self.msg.yes_cents

    @property
    def no_cents(self) -> _CentLevels | None:
        """The wire's ``no`` until March 2026: bids in cents and whole contracts."""
        return self.msg.no_cents


def _best_first(levels: dict[int, int]) -> tuple[Level, ...]:
    return tuple(level(price, levels[price]) for price in sorted(levels, reverse=True))


def levels_in(side: list[tuple[str, str]], name: str) -> dict[int, int]:
    """Return one side of a book, {price in 1/10,000 dollar: size in 1/100 contract}, without zero sizes.

    ``side`` has own prices and sizes as the exchange writes them. Raises ValueError, which has the side's
    ``name``, for an invalid number or two levels at one price.
    """
    return _side_units(tuple(side), None, None, name, False)


def _side_units(
    fp: _FpLevels | None,
    dollars: _DollarLevels | None,
    cents: _CentLevels | None,
    side: str,
    is_flipped: bool,
) -> dict[int, int]:
    if fp is not None:
        try:
            prices = [PRICES[price] for price, _ in fp]
        except KeyError:
            prices = [price_units(price) for price, _ in fp]
        sizes = _all_sizes([size for _, size in fp])
    elif dollars is not None:
        prices = [price_units(price) for price, _ in dollars]
        sizes = [count_units(size) if isinstance(size, str) else size * 100 for _, size in dollars]
    elif cents is not None:
        prices = [cents_units(price) for price, _ in cents]
        sizes = [size * 100 for _, size in cents]
    else:
        return {}
    if is_flipped:
        prices = [OTHER_SIDE[price] for price in prices]
    levels = dict(zip(prices, sizes, strict=True))
    if len(levels) != len(prices):
        raise ValueError(f"orderbook_snapshot with two {side} levels at one price")
    if not all(sizes):
        return {price: size for price, size in levels.items() if size}
    return levels


def _all_sizes(texts: list[str]) -> list[int]:
    """count_units() of every string; what the exchange really sends is checked and read in just two steps."""
    joined = ",".join(texts)
    if _usual_sizes(joined):
        try:
            # 158.53e2 is exactly 15853, even if it becomes a float on the way: it is below 2**53. This is
            # three times as fast as an int() for each
            sizes = _integers(f"[{joined.replace(',', 'e2,')}e2]")
        except ValueError:  # leading zeros are not JSON
            sizes = []
        if len(sizes) == len(texts):
            return sizes
    return [count_units(text) for text in texts]
