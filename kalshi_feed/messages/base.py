"""What all messages have in common, and the message for types that this package does not know.

Owns Message, UnknownMessage, the choice of attributes for to_dict(), and the wire's checked integers.

A message is the wire's envelope with its body inside (``msg``), decoded in one step by msgspec. Properties
give access to the body under the wire's own names, next to the ready values. Hot paths may read the body
directly (``delta.msg.side``). Messages of the quieter channels hold the fields themselves, see messages.flat.
``gc=False`` is safe: all fields are immutable, so there can be no reference cycles.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Literal, get_args, get_type_hints

import msgspec

from .plain import Number, number_function, plain, shown, shown_fields
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
    "MAX_ID",
    "Body",
    "BookSide",
    "Cents",
    "Clock",
    "Count",
    "Id",
    "Int64",
    "Message",
    "Milliseconds",
    "Seconds",
    "Side",
    "Time",
    "UnknownMessage",
    "bodies",
    "field_names",
    "fields_to_dict",
    "struct_names",
]

MAX_ID = 2**53 - 1
"""The largest sid, seq or id.

It must fit into a signed 64-bit column and, with the next number (a Gap and a repaired sequence name that
one, too), into a double: every number is one in JavaScript, and in a pandas column with missing values. At a
million messages a second, it takes 285 years to count that far; seqs above 13 million have been seen
(PROTOCOL.md 5.2).
"""

Id = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]
"""A sid, seq, id or other small count; never negative."""

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Clock = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""The exchange's clock. None has been seen yet (PROTOCOL.md 11); in nanoseconds it would exceed MAX_ID."""
Cents = Annotated[int, msgspec.Meta(ge=0, le=100)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**13)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]  # the end of the year 9999
Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
Side = Literal["yes", "no"]
BookSide = Literal["bid", "ask"]
Time = Int64 | str | None
"""``ts``: Unix seconds or, on deltas, an RFC 3339 string; both are read everywhere (PROTOCOL.md 7)."""


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Base of all messages. Thread-safe: immutable.

    ``sid`` is the subscription, ``seq`` the number within it (None on unsequenced channels),
    ``sending_ts_ms`` the Unix time in milliseconds at which the exchange queued the frame (since 2026-09-30).
    Any of them may be None (PROTOCOL.md 9.8).
    """

    type: ClassVar[str]
    source: ClassVar[Literal["feed", "rest"]] = "feed"
    """Where the message came from: the feed, or a request over REST (messages.from_rest)."""

    sid: Id | None = None
    seq: Id | None = None
    sending_ts_ms: Milliseconds | None = None

    @property
    def market_ticker(self) -> str | None:
        """The market this message is about; None if it is about none or several."""
        return None

    @property
    def time(self) -> datetime | None:
        """When the event happened, as an aware datetime; None if the message does not say."""
        return None

    @property
    def sent_at(self) -> datetime | None:
        """``sending_ts_ms`` as an aware datetime."""
        return ready_time(self.sending_ts_ms)

    @property
    def extra(self) -> Mapping[str, Any]:
        """The rest of ``msg``: unknown keys and unreadable values (messages.flat).

        Always empty for replies, books and trades.
        """
        return {}

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """Return the message as plain data, with the same keys for every message of a type.

        The keys are ``type``, the names of the ready values, the wire fields without a ready value, and
        ``extra``; for the types that also come over REST, ``source``. Times are ISO 8601 strings in UTC,
        levels [price, quantity]. Each Decimal is passed through ``number``: ``str`` (exact, never with an
        exponent), ``float`` (for pandas), ``Decimal`` (unchanged) or your own function. Raises
        ConfigurationError if ``number`` is not callable.
        """
        known: dict[str, Any] = {"type": self.type}
        if self.type in _ALSO_OVER_REST:
            known["source"] = self.source
        return known | fields_to_dict(self, number)

    def __repr__(self) -> str:
        return self._shown()

    def _shown(self, first: str = "", but: tuple[str, ...] = ()) -> str:
        """The repr: the market, ``first``, and what to_dict() has, without None and the names in ``but``."""
        left_out = {"market_ticker", *but}
        names = [name for name in field_names(type(self)) if name not in left_out]
        head = [shown(self.market_ticker)] if self.market_ticker is not None else []
        if self.source != "feed":
            head.append(f"source {self.source}")
        parts = [*head, *([first] if first else []), *shown_fields(self, names)]
        return f"{type(self).__name__}({' '.join(parts)})"


class Body(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Base of the bodies (``msg``). Thread-safe: immutable."""


_UNITS: Final = ("_dollars_fp", "_dollars", "_fp", "_centi_cents", "_cents", "_int", "_json")
_TIMES: Final = ("_ts_ms", "_ts", "_time", "_date")
# ready values that are not named after their wire field, see the docstring of messages
_OTHERWISE: Final = {
    "data": "upstream",
    "end": "end_price",
    "fee_cost": "fee",
    "frame": "raw",
    "last_update_time": "last_updated_at",
    "received_at": "received_time",
    "sending_ts_ms": "sent_at",
    "settlement_value": "settlement",
    "start": "start_price",
    "step": "tick",
    "series_text": "series_ticker",
    "sub_title": "subtitle",
    "ticker": "market_ticker",
    "time_text": "time",
    "top_code": "code",
    "top_market_ticker": "market_ticker",
    "top_market_tickers": "market_tickers",
    "top_message": "message",
    "top_subscriptions": "subscriptions",
    "ts": "time",
    "ts_ms": "time",
    "value": "average",
    "value_usd": "value",
    "window_end_ts_exclusive": "window_end_at",
}
_ALSO_OVER_REST: Final = ("trade", "fill", "user_order", "market_position")
_LEFT_OUT: Final = {"msg", "wire"}  # its fields are listed one by one
# the order in repr and to_dict(); 1: the other ready values, 4: fields as sent
_PLACES: Final = {
    "market_ticker": 0,
    "seq": 2,
    "time": 3,
    "sid": 5,
    "sent_at": 6,
    "extra": 7,
}


def _ready_name(attribute: str) -> str:
    """The name that the ready value of a wire field would have; "" if it cannot have one."""
    if attribute in _OTHERWISE:
        return _OTHERWISE[attribute]
    for ending in _UNITS:
        if attribute.endswith(ending):
            return attribute.removesuffix(ending)
    return next(
        (attribute.removesuffix(ending) + "_at" for ending in _TIMES if attribute.endswith(ending)), ""
    )


def struct_names(cls: type[msgspec.Struct]) -> dict[str, str]:
    """A struct's keys on the wire, each with its attribute."""
    return dict(zip(cls.__struct_encode_fields__, cls.__struct_fields__, strict=True))


@cache
def bodies(cls: type[msgspec.Struct]) -> tuple[type[Body], ...]:
    """The possible types of ``msg`` in a plain message; none for a FlatMessage."""
    hint = get_type_hints(cls).get("msg")
    return tuple(
        part for part in (hint, *get_args(hint)) if isinstance(part, type) and issubclass(part, Body)
    )


@cache
def field_names(cls: type[msgspec.Struct]) -> tuple[str, ...]:
    """The attributes that hold all of a message, or of a Part, once: ready values, and fields without one."""
    sent = [name for struct in (cls, *bodies(cls)) for name in struct.__struct_fields__]
    properties = [
        name
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, property)
    ]
    ready = [name for name in properties if name not in sent]
    rest = [name for name in sent if _ready_name(name) not in {*ready, *sent}]
    names = dict.fromkeys(name for name in (*ready, *rest) if name not in _LEFT_OUT)
    return tuple(sorted(names, key=lambda name: _PLACES.get(name, 1 if name in ready else 4)))


def fields_to_dict(owner: msgspec.Struct, number: Number) -> dict[str, Any]:
    """What to_dict() returns for a message, except for its type, or for a Part."""
    passed = number_function(number)
    return {name: plain(getattr(owner, name), passed) for name in field_names(type(owner))}


class UnknownMessage(Message, frozen=True, gc=False, kw_only=True):
    """A message whose type has no class of its own: ``type`` is the wire's, ``frame`` the whole frame.

    Thread-safe: immutable.
    """

    type: str  # type: ignore[misc]  # the one class whose type is data
    market_ticker: str | None = None  # a field instead of the property
    frame: bytes = b""

    @property
    def raw(self) -> dict[str, Any]:
        """The whole frame as plain Python values, decoded at each call: the caller's own copy."""
        value: dict[str, Any] = msgspec.json.decode(self.frame)
        return value

    @property
    def msg(self) -> Any:
        """The frame's ``msg`` as plain Python values (a copy); None if it has none."""
        return self.raw.get("msg")


def ready_price(text: str | None, cents: int | None = None) -> Decimal | None:
    """Decimal dollars from the current field or, without it, the old one; None if both are missing or "".

    ``text`` is dollars, ``cents`` whole cents. Raises ValueError for an invalid number.
    """
    if text:
        return price_decimal(price_units(text))
    return None if cents is None else price_decimal(cents_units(cents))


def ready_size(text: str | None, count: int | None = None) -> Decimal | None:
    """Like ready_price, for sizes: both fields are contracts."""
    if text:
        return size_decimal(count_units(text))
    return None if count is None else size_decimal(count * 100)


def ready_money(text: str | None, centi_cents: int | None = None) -> Decimal | None:
    """Like ready_price, for money: dollars with 6 decimals; the old field is in 1/10,000 dollar."""
    if text is not None:
        return money_decimal(money_units(text))
    return None if centi_cents is None else money_decimal(centi_cents * 100)


def ready_signed(text: str | None, count: int | None = None) -> Decimal | None:
    """Like ready_size, for sizes that may be negative."""
    if text is not None:
        return size_decimal(size_units(text))
    return None if count is None else size_decimal(count * 100)


def ready_time(ts_ms: int | None, *others: int | str | None) -> datetime | None:
    """The first of the wire's times that can be read: milliseconds, then seconds or RFC 3339 strings."""
    if ts_ms is not None:
        return from_ms(ts_ms)
    for other in others:
        try:
            if other is not None:
                return parse_time(other) if isinstance(other, str) else from_seconds(other)
        except ValueError:  # these times are deprecated extras: an odd one must not fail in a callback
            continue
    return None
