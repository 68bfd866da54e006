"""How messages of all but the three busiest channels are read: the fields of ``msg`` become the message's.

Owns FlatMessage, Part and the kinds of field (PriceText, MoneyText, JsonNumber …).

A subclass of FlatMessage declares each wire field once; its annotation is the rule:

    fee_cost: MoneyText = None  # an amount: a string, or an exact JSON number
    yes_price_cents: OldCents = field(default=None, name="msg.yes_price")  # a ready value has the wire's name
    order_id: str | None = None  # anything but a string goes to ``extra``

A *strict* field makes the frame invalid if it cannot be read: tickers, strikes, lists of parts, and the price
and size of a fill (TradedPrice, TradedCount). All other fields are loose: they become None, and the value
goes to ``extra``, together with the keys that this version does not know. unread_amounts() says which of them
are amounts, so that they are reported. Inside a Part only amounts are loose: they become None in the Part,
and ``extra`` gets the whole field that holds the Part. A Part's unknown keys are skipped.

The price of ``extra``: ``msg`` is first decoded to a dict and converted from there. Measured (2026-11, one
loaded core), a fill takes 17 µs instead of 7.6, a message with unknown keys 4 µs more than without, all
others 4 to 25 µs; the only thing kept is a string with the unknown keys, if there are any. An orderbook_delta
would take 10 µs instead of 1.4, so orderbook_delta, orderbook_snapshot, ticker and trade are not
FlatMessages: their unknown keys are skipped. No frame is decoded twice because of a new key or an odd value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType, field
from msgspec.structs import astuple, force_setattr

from .base import Body, Cents, Count, Message, field_names, fields_to_dict, struct_names
from .plain import Number, shown_fields
from .values import (
    ScientificNumber,
    check_counts,
    check_money,
    check_prices,
    check_sizes,
    index_value,
    json_number,
    number_text,
)

__all__ = [
    "STRICT",
    "CountText",
    "FlatMessage",
    "IndexText",
    "JsonNumber",
    "JsonText",
    "MoneyText",
    "OldCentiCents",
    "OldCents",
    "OldCount",
    "OldSize",
    "Part",
    "PriceText",
    "SizeText",
    "TickerText",
    "TradedCents",
    "TradedCount",
    "TradedOldCount",
    "TradedPrice",
    "decoded",
    "exact_number",
    "json_object",
    "json_text",
    "read_part",
    "unread_amounts",
    "wire_names",
    "wire_number",
    "wire_object",
]


class Kind(NamedTuple):
    """What an annotation says about a field.

    ``read`` turns the wire's value into the field's, or raises ValueError. ``strict``: an unreadable value
    makes the frame invalid. ``is_amount``: a price, a size, or money.
    """

    read: Callable[[Any], Any] | None = None
    strict: bool = True
    is_amount: bool = False


STRICT = Kind()


def _amount(check: Callable[[str], object], *, strict: bool = False) -> Kind:
    def read(value: object) -> str:
        text = number_text(value)
        check(text)
        return text

    return Kind(read, strict, is_amount=True)


def _json_text(value: dict[str, Any] | bytes) -> bytes:
    return value if isinstance(value, bytes) else json_text(value)  # bytes: a copy, or unpickled


def wire_number(text: str) -> Decimal | ScientificNumber:
    """The float_hook for frames: a number with a fraction or an exponent, never rounded."""
    return ScientificNumber(text) if "e" in text or "E" in text else Decimal(text)


def exact_number(text: str) -> Decimal | str:
    """The float_hook for values that users get: a number with a fraction or an exponent, as a Decimal."""
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent of 20 digits
        return text


_OLD_AMOUNT = Kind(strict=False, is_amount=True)

PriceText = Annotated[str | None, _amount(check_prices)]
"""Dollars from 0 to 1 with at most 4 decimals."""
CountText = Annotated[str | None, _amount(check_counts)]
"""Contracts with at most 2 decimals, never negative."""
SizeText = Annotated[str | None, _amount(check_sizes)]
"""Contracts with at most 2 decimals, signed."""
MoneyText = Annotated[str | None, _amount(check_money)]
"""Dollars with at most 6 decimals, signed."""
IndexText = Annotated[str | None, _amount(index_value)]
"""An index value: dollars, or percent, with at most 8 decimals, signed."""
TradedPrice = Annotated[str | None, _amount(check_prices, strict=True)]
"""PriceText of a fill; strict."""
TradedCount = Annotated[str | None, _amount(check_counts, strict=True)]
"""CountText of a fill; strict."""
TickerText = Annotated[str | None, STRICT]

OldCents = Annotated[Cents | None, _OLD_AMOUNT]
OldCount = Annotated[Count | None, _OLD_AMOUNT]
OldSize = Annotated[Annotated[int, msgspec.Meta(ge=-(10**13), le=10**13)] | None, _OLD_AMOUNT]
OldCentiCents = Annotated[Annotated[int, msgspec.Meta(ge=-(10**15), le=10**15)] | None, _OLD_AMOUNT]
"""1/10,000 dollar."""
TradedCents = Annotated[Cents | None, STRICT]
TradedOldCount = Annotated[Count | None, STRICT]

if TYPE_CHECKING:
    JsonNumber = Decimal | None
    """A JSON number, with all its digits."""
    JsonText = bytes | None
    """A JSON object, kept as JSON and therefore immutable; json_object() reads it."""
else:
    JsonNumber = Annotated[Any, Kind(json_number)]
    JsonText = Annotated[dict[str, Any] | None, Kind(_json_text, strict=False)]


def _raw(number: ScientificNumber) -> msgspec.Raw:
    return msgspec.Raw(number.text.encode())


json_text = msgspec.json.Encoder(decimal_format="number", order="deterministic", enc_hook=_raw).encode
"""Plain Python values, as read from a frame, back into JSON."""
decoded = msgspec.json.Decoder(float_hook=exact_number).decode
wire_object = msgspec.json.Decoder(dict[str, Any], float_hook=wire_number).decode
"""Read a JSON object that is not a frame, numbers as read_part() takes them. Raises ValueError."""
# msgspec's message ends with the path; input that it quotes cannot be at that place.
_error_name = re.compile(r"(?s).* - at `\$\.([A-Za-z0-9_]+)[^`]*`").fullmatch


def json_object(text: bytes | None) -> dict[str, Any] | None:
    """The object in a JsonText, numbers with a fraction as Decimals: the caller's own copy."""
    if text is None:
        return None
    value: dict[str, Any] = decoded(text)
    return value


class _Field(NamedTuple):
    """A wire field: the attribute that holds it, its name in ``msg``, and how to read it."""

    attribute: str
    name: str
    read: Callable[[Any], Any] | None


_Reads = tuple[tuple[str, Callable[[Any], Any]], ...]


class _Plan(NamedTuple):
    """How a FlatMessage class is read: ``body`` is a Struct of its wire fields under their wire names.

    ``parts``: the fields that hold Parts with amounts, each with the functions that read those. ``amounts``:
    the fields that are amounts or hold some.
    """

    body: type[msgspec.Struct]
    fields: tuple[_Field, ...]
    names: frozenset[str]
    strict: frozenset[str]
    parts: tuple[tuple[str, _Reads], ...]
    amounts: frozenset[str]


def _kind(hint: Any) -> Kind:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((mark for mark in marks if isinstance(mark, Kind)), _LOOSE)


_LOOSE = Kind(strict=False)


@cache
def _plan(cls: type[FlatMessage]) -> _Plan:
    hints = get_type_hints(cls, include_extras=True)
    inside = [
        (attribute, name.removeprefix(_PREFIX))
        for name, attribute in struct_names(cls).items()
        if name.startswith(_PREFIX) and attribute != "extra_json"
    ]
    kinds = {attribute: _kind(hints[attribute]) for attribute, _ in inside}
    types = {
        attribute: Any if _is_read_amount(kinds[attribute]) else hints[attribute] for attribute, _ in inside
    }
    parts = {
        name: amounts
        for attribute, name in inside
        for part in _parts(hints[attribute])
        if (amounts := _amounts(part))
    }
    return _Plan(
        msgspec.defstruct(
            f"{cls.__name__}Body", [(name, types[attribute], None) for attribute, name in inside], gc=False
        ),
        tuple(_Field(attribute, name, kinds[attribute].read) for attribute, name in inside),
        frozenset(name for _, name in inside),
        frozenset(name for attribute, name in inside if kinds[attribute].strict),
        tuple(parts.items()),
        frozenset(parts) | {name for attribute, name in inside if kinds[attribute].is_amount},
    )


def _is_read_amount(kind: Kind) -> bool:
    """Whether ``read``, and not the field's type, decides what is accepted."""
    return kind.is_amount and kind.read is not None


def _parts(hint: Any) -> list[type[Part]]:
    """The Part types that a field of this type holds."""
    if isinstance(hint, type) and issubclass(hint, Part):
        return [hint]
    return [part for inner in get_args(hint) for part in _parts(inner)]


def _amounts(cls: type[Part]) -> _Reads:
    hints = get_type_hints(cls, include_extras=True)
    kinds = {name: _kind(hints[attribute]) for name, attribute in struct_names(cls).items()}
    return tuple(
        (name, kind.read) for name, kind in kinds.items() if kind.is_amount and kind.read is not None
    )


def _read_parts(value: Any, reads: _Reads) -> tuple[Any, bool]:
    """Return a Part (or a list) as sent, amounts as strings, and whether an amount had to be left out."""
    if isinstance(value, list):
        pairs = [_read_parts(part, reads) for part in value]
        return [part for part, _ in pairs], any(is_odd for _, is_odd in pairs)
    if not isinstance(value, dict):
        return value, False
    part, is_odd = dict(value), False
    for name, read in reads:
        if part.get(name) is not None:
            try:
                part[name] = read(part[name])
            except ValueError:
                part[name], is_odd = None, True
    return part, is_odd


_PREFIX = "msg."


def _inside(attribute: str) -> str:
    return _PREFIX + attribute


class FlatMessage(Message, frozen=True, gc=False, kw_only=True, rename=_inside):
    """Base of the messages that have the wire's fields as their own. Thread-safe: immutable.

    A field is None if the exchange left it out or sent null or, unless it is strict, something unreadable.
    """

    wire: dict[str, Any] | UnsetType = field(name="msg")  # only while it is being read
    extra_json: bytes = b""

    def __post_init__(self) -> None:
        wire = self.wire
        if wire is UNSET:  # a copy, or unpickled
            return
        plan = _plan(type(self))
        extra: dict[str, Any] = {}
        for name, reads in plan.parts:
            sent = wire.get(name)
            if sent is not None:
                parts, is_odd = _read_parts(sent, reads)
                wire = {**wire, name: parts}
                if is_odd:
                    extra[name] = sent
        while True:
            try:
                body = msgspec.convert(wire, plan.body)
                break
            except msgspec.ValidationError as error:
                found = _error_name(str(error))
                if found is None or found[1] in plan.strict or found[1] not in wire:
                    raise ValueError(str(error).replace(" - at `$.", " - at `$.msg.")) from None
                extra[found[1]] = wire[found[1]]
                wire = {name: value for name, value in wire.items() if name != found[1]}
        # all of them, None included: a key "msg.…" at the frame's top level must not set a field
        for (attribute, name, read), value in zip(plan.fields, astuple(body), strict=True):
            if read is not None and value is not None:
                try:
                    value = read(value)
                except ValueError as error:
                    if name in plan.strict:
                        raise ValueError(f"{name}: {error}") from None
                    extra[name], value = value, None
            force_setattr(self, attribute, value)
        if not plan.names.issuperset(wire):
            extra |= {name: value for name, value in wire.items() if name not in plan.names}
        force_setattr(self, "extra_json", json_text(extra) if extra else b"")
        force_setattr(self, "wire", UNSET)

    @property
    def extra(self) -> Mapping[str, Any]:
        """The rest of ``msg``, as plain Python values (a copy): unknown keys and unreadable values."""
        return json_object(self.extra_json or None) or {}

    @property
    def msg(self) -> dict[str, Any]:
        """``msg`` as sent, as plain Python values (a copy), without nulls; amounts are strings."""
        sent: dict[str, Any] = {}
        for attribute, name, _ in _plan(type(self)).fields:
            value = getattr(self, attribute)
            if value is not None:
                sent[name] = _plain(value)
        return {**sent, **self.extra}


def unread_amounts(message: FlatMessage) -> dict[str, Any]:
    """The amounts in ``extra``: sent, but unreadable. For an amount in a Part, it is the whole field."""
    amounts = _plan(type(message)).amounts
    return {name: value for name, value in message.extra.items() if name in amounts}


_P = TypeVar("_P", bound="Part")


@cache
def _reads(cls: type[Part]) -> _Reads:
    hints = get_type_hints(cls, include_extras=True)
    reads = [(name, _kind(hints[name]).read) for name in cls.__struct_fields__]
    return tuple((name, read) for name, read in reads if read is not None)


class Part(Body, frozen=True, gc=False, kw_only=True):
    """Base of the objects inside a message: legs, price ranges, the RFQs and quotes of a batch.

    Every field may be None, as in the messages. Thread-safe: immutable.
    """

    def __post_init__(self) -> None:
        for name, read in _reads(type(self)):
            value = getattr(self, name)
            if value is not None:
                force_setattr(self, name, read(value))

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """Return the part as plain data; ``number`` is as in Message.to_dict(). Raises ConfigurationError."""
        return fields_to_dict(self, number)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({' '.join(shown_fields(self, field_names(type(self))))})"


def read_part(cls: type[_P], wire: Mapping[str, Any], needed: str | None) -> tuple[_P, dict[str, Any]]:
    """Return an object that came by itself, as loosely as a message's fields are read, and the rest of it:
    unknown keys and unreadable values.

    ``needed`` is the one key that must be there and readable, if any. Raises ValueError.
    """
    reads = dict(_reads(cls))
    known = struct_names(cls)
    values, rest = {}, {}
    for name, value in wire.items():
        read = reads.get(known.get(name, ""))
        if name not in known:
            rest[name] = value
        elif value is not None:
            try:
                text = value if read is None else read(value)
            except ValueError:
                rest[name] = value
            else:
                values[name] = text if isinstance(text, str) else value  # the Part itself reads the others
    while True:
        try:
            part = msgspec.convert(values, cls)
            break
        except msgspec.ValidationError as error:
            found = _error_name(str(error))
            if found is None or found[1] not in values:
                raise
            rest[found[1]] = wire[found[1]]
            del values[found[1]]
    if needed is not None and not values.get(needed):
        raise ValueError(f"an object without {needed}")
    return part, rest


def part_object(part: Part) -> dict[str, Any]:
    """Return the part's fields under their wire names, as read_part() takes them; without those that are
    None."""
    found: dict[str, Any] = _plain(part)
    return found


def wire_names(cls: type[FlatMessage]) -> dict[str, str]:
    """The keys of ``msg`` that the class reads, each with the attribute that holds it."""
    return {name: attribute for attribute, name, _ in _plan(cls).fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        names = struct_names(type(value)).items()
        return {
            name: _plain(inner)
            for name, attribute in names
            if (inner := getattr(value, attribute)) is not None
        }
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return json_object(value) if isinstance(value, bytes) else value
