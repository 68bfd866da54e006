"""What all messages have in common, and the message of a type that this package does not know.

Owns Message, UnknownMessage and the checked integers of the wire. Must not import anything of the package but the
values.

A message is the wire's envelope with its body inside (``msg``), decoded in one step by msgspec; properties read
through to the body under the wire's own names, beside ready values. Bodies may be read directly on hot paths
(``delta.msg.side``). The messages of the less busy channels have the fields on themselves, see messages.flat.
``gc=False`` is safe: all fields are immutable, so no reference cycle can form.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from .values import (
    cents_units,
    count_units,
    from_ms,
    from_seconds,
    money_decimal,
    money_units,
    parse_time,
    price_decimal,
    price_units,
    size_decimal,
    size_units,
)

__all__ = [
    "Body",
    "BookSide",
    "Cents",
    "Count",
    "Id",
    "Int64",
    "Message",
    "Milliseconds",
    "Seconds",
    "Side",
    "Time",
    "UnknownMessage",
]

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""sid, seq, id, clock: seqs beyond 13 million are seen (PROTOCOL.md 5.2), so 64 bits; never negative."""

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Cents = Annotated[int, msgspec.Meta(ge=0, le=100)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**13)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]  # the end of the year 9999
Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
Side = Literal["yes", "no"]
BookSide = Literal["bid", "ask"]
Time = int | str | None
"""``ts``: seconds on ticker, trade and fill, RFC 3339 text on deltas (PROTOCOL.md 7); either is read everywhere."""


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Base of all messages. Thread-safe: immutable.

    ``sid`` is the subscription, ``seq`` the number within it (None on unsequenced channels), ``sending_ts_ms`` the
    Unix time in milliseconds at which the exchange queued the frame (since 2026-09-30). Any of them may be None
    (PROTOCOL.md 9.8).
    """

    type: ClassVar[str]

    sid: Id | None = None
    seq: Id | None = None
    sending_ts_ms: Milliseconds | None = None

    @property
    def market_ticker(self) -> str | None:
        """The market this message is about, None where it is about none or several."""
        return None

    @property
    def time(self) -> datetime | None:
        """When what the message tells happened, aware; None where it does not say."""
        return None

    @property
    def sent_at(self) -> datetime | None:
        """``sending_ts_ms`` as an aware datetime."""
        return ready_time(self.sending_ts_ms)

    @property
    def extra(self) -> Mapping[str, Any]:
        """What ``msg`` held that no field took (messages.flat); always empty for replies, books, tickers and trades."""
        return {}


class Body(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Base of the bodies (``msg``). Thread-safe: immutable."""


class UnknownMessage(Message, frozen=True, gc=False, kw_only=True):
    """A message of a type without a class of its own: ``type`` is the wire's, ``frame`` the whole frame as received.

    Thread-safe: immutable.
    """

    type: str  # type: ignore[misc]  # the one class whose type is data
    market_ticker: str | None = None  # a field in place of the property
    frame: bytes = b""

    @property
    def raw(self) -> dict[str, Any]:
        """The whole frame as plain Python values, decoded anew at each call: the caller's own copy."""
        value: dict[str, Any] = msgspec.json.decode(self.frame)
        return value

    @property
    def msg(self) -> Any:
        """The frame's ``msg`` as plain Python values (a copy), None if it has none."""
        return self.raw.get("msg")


def ready_price(text: str | None, cents: int | None = None) -> Decimal | None:
    """Decimal dollars from the present or else the old field, None if the wire had neither (or "")."""
    if text:
        return price_decimal(price_units(text))
    return None if cents is None else price_decimal(cents_units(cents))


def ready_size(text: str | None, count: int | None = None) -> Decimal | None:
    """Decimal contracts from the present or else the old field, None if the wire had neither (or "")."""
    if text:
        return size_decimal(count_units(text))
    return None if count is None else size_decimal(count * 100)


def ready_money(text: str | None, centi_cents: int | None = None) -> Decimal | None:
    """Decimal dollars with 6 decimals from the present or else the old field (1/10,000 dollar), None if the wire had neither."""
    if text is not None:
        return money_decimal(money_units(text))
    return None if centi_cents is None else money_decimal(centi_cents * 100)


def ready_signed(text: str | None, count: int | None = None) -> Decimal | None:
    """As ready_size, for sizes that may be negative."""
    if text is not None:
        return size_decimal(size_units(text))
    return None if count is None else size_decimal(count * 100)


def ready_time(ts_ms: int | None, *others: int | str | None) -> datetime | None:
    """The first of the wire's times that can be read: milliseconds, else seconds or RFC 3339 text."""
    if ts_ms is not None:
        return from_ms(ts_ms)
    for other in others:
        try:
            if other is not None:
                return parse_time(other) if isinstance(other, str) else from_seconds(other)
        except ValueError:  # times are deprecated ornaments here: an odd one is no reason to fail in a callback
            continue
    return None
