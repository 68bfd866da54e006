"""How the messages of all channels but the busiest three are read: the fields of ``msg`` become the message's own.

Owns FlatMessage, Part and the kinds of field (PriceText, MoneyText, JsonNumber …). Must not import anything of the package
but messages.base, messages.plain and messages.values.

A subclass of FlatMessage declares each wire field once, as a plain annotated field; the annotation is the rule:

    yes_price_dollars: PriceText = None                                    # checked: a wrong text refuses the frame
    yes_price_cents: OldCents = field(default=None, name="msg.yes_price")  # the wire's name is that of a ready value
    order_id: str | None = None                                            # loose: what is no text goes to ``extra``

What is *strict* refuses the frame when it cannot be read: money, sizes, index values, tickers and lists of parts. All else is
loose: None, and its value in ``extra``, together with the keys that this version has no field for. Inside a Part everything
is strict and unknown keys are skipped.

What keeping ``extra`` costs: ``msg`` is first decoded to a dict and converted from there. Measured (2026-11, one loaded core): a
fill takes 17 µs in place of 7.6, a message with unknown keys 4 µs more than without, all others 4 to 25 µs; nothing is held but
a text of the unknown keys, if there were any. An orderbook_delta would take 10 µs in place of 1.4, so it, orderbook_snapshot,
ticker and trade are no FlatMessages: their unknown keys are skipped and their ``extra`` is always empty. No frame leaves the
joined decoding of a batch because of a key that is new or a value that is odd.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType, field
from msgspec.structs import astuple, force_setattr

from .base import Body, Cents, Count, Message, field_names, fields_to_dict, struct_names
from .plain import Number, shown_fields
from .values import check_counts, check_money, check_prices, check_sizes, index_value, json_number

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
    "decoded",
    "exact_number",
    "json_object",
    "wire_names",
]


class Kind(NamedTuple):
    """What an annotation says of a field: ``read`` takes the wire's value and gives the field's or raises ValueError;
    ``strict``: an unreadable value refuses the frame.
    """

    read: Callable[[Any], Any] | None = None
    strict: bool = True


STRICT = Kind()


def _checked(check: Callable[[str], object]) -> Kind:
    def read(text: str) -> str:
        check(text)
        return text

    return Kind(read)


def _json_text(value: dict[str, Any] | bytes) -> bytes:
    return value if isinstance(value, bytes) else _to_json(value)  # bytes: a copy, or unpickled


def exact_number(text: str) -> Decimal | str:
    """The float_hook of everything that reads a FlatMessage: a number with a fraction or an exponent."""
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent of 20 digits
        return text


PriceText = Annotated[str | None, _checked(check_prices)]
"""Dollars from 0 to 1 with at most 4 decimals."""
CountText = Annotated[str | None, _checked(check_counts)]
"""Contracts with at most 2 decimals, never negative."""
SizeText = Annotated[str | None, _checked(check_sizes)]
"""Contracts with at most 2 decimals, signed."""
MoneyText = Annotated[str | None, _checked(check_money)]
"""Dollars with at most 6 decimals, signed."""
IndexText = Annotated[str | None, _checked(index_value)]
"""An index value: dollars, or percent, with at most 8 decimals, signed."""
TickerText = Annotated[str | None, STRICT]

OldCents = Annotated[Cents | None, STRICT]
OldCount = Annotated[Count | None, STRICT]
OldSize = Annotated[Annotated[int, msgspec.Meta(ge=-(10**13), le=10**13)] | None, STRICT]
OldCentiCents = Annotated[Annotated[int, msgspec.Meta(ge=-(10**15), le=10**15)] | None, STRICT]
"""1/10,000 dollar."""

if TYPE_CHECKING:
    JsonNumber = Decimal | None
    """A number of the JSON text, with all its digits."""
    JsonText = bytes | None
    """An object of the JSON text as JSON again: immutable. See json_object()."""
else:
    JsonNumber = Annotated[Any, Kind(json_number)]
    JsonText = Annotated[dict[str, Any] | None, Kind(_json_text, strict=False)]

_to_json = msgspec.json.Encoder(decimal_format="number", order="deterministic").encode
decoded = msgspec.json.Decoder(float_hook=exact_number).decode
# msgspec ends its message with the path; input quoted in the message cannot reach that place.
_error_name = re.compile(r"(?s).* - at `\$\.([A-Za-z0-9_]+)[^`]*`").fullmatch


def json_object(text: bytes | None) -> dict[str, Any] | None:
    """The object of a JsonText, numbers with a fraction as Decimal: the caller's own copy."""
    if text is None:
        return None
    value: dict[str, Any] = decoded(text)
    return value


class _Field(NamedTuple):
    attribute: str
    name: str
    read: Callable[[Any], Any] | None


class _Plan(NamedTuple):
    """How a FlatMessage class is read: ``body`` is a Struct of its wire fields under their wire names."""

    body: type[msgspec.Struct]
    fields: tuple[_Field, ...]
    names: frozenset[str]
    strict: frozenset[str]


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
    return _Plan(
        msgspec.defstruct(f"{cls.__name__}Body", [(name, hints[attribute], None) for attribute, name in inside], gc=False),
        tuple(_Field(attribute, name, kinds[attribute].read) for attribute, name in inside),
        frozenset(name for _, name in inside),
        frozenset(name for attribute, name in inside if kinds[attribute].strict),
    )


_PREFIX = "msg."


def _inside(attribute: str) -> str:
    return _PREFIX + attribute


class FlatMessage(Message, frozen=True, gc=False, kw_only=True, rename=_inside):
    """Base of the messages whose wire fields are their own fields. Thread-safe: immutable.

    Every field is None where the exchange left it out, sent null or (but for money, sizes and tickers) something unreadable.
    """

    wire: dict[str, Any] | UnsetType = field(name="msg")  # only while it is read
    extra_json: bytes = b""

    def __post_init__(self) -> None:
        wire = self.wire
        if wire is UNSET:  # a copy, or unpickled
            return
        plan = _plan(type(self))
        extra: dict[str, Any] = {}
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
        # all of them, None too: what stood on top of the frame under a field's own encoding is not taken
        for (attribute, name, read), value in zip(plan.fields, astuple(body), strict=True):
            if read is not None and value is not None:
                try:
                    force_setattr(self, attribute, read(value))
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
            else:
                force_setattr(self, attribute, value)
        if not plan.names.issuperset(wire):
            extra |= {name: value for name, value in wire.items() if name not in plan.names}
        force_setattr(self, "extra_json", _to_json(extra) if extra else b"")
        force_setattr(self, "wire", UNSET)

    @property
    def extra(self) -> Mapping[str, Any]:
        """What ``msg`` held beside the fields that could be read: unknown keys and odd values, as plain Python values (a copy)."""
        return json_object(self.extra_json or None) or {}

    @property
    def msg(self) -> dict[str, Any]:
        """``msg`` as it was sent, as plain Python values under the wire's names (a copy); what was null is left out."""
        sent: dict[str, Any] = {}
        for attribute, name, _ in _plan(type(self)).fields:
            value = getattr(self, attribute)
            if value is not None:
                sent[name] = _plain(value)
        return {**sent, **self.extra}


@cache
def _reads(cls: type[Part]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    hints = get_type_hints(cls, include_extras=True)
    reads = [(name, _kind(hints[name]).read) for name in cls.__struct_fields__]
    return tuple((name, read) for name, read in reads if read is not None)


class Part(Body, frozen=True, gc=False, kw_only=True):
    """Base of what lies inside a message: legs, price ranges, the RFQs and quotes of a batch. Thread-safe: immutable.

    Every field may be None, as in the messages.
    """

    def __post_init__(self) -> None:
        for name, read in _reads(type(self)):
            value = getattr(self, name)
            if value is not None:
                force_setattr(self, name, read(value))

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """The part as plain data, as Message.to_dict() has it."""
        return fields_to_dict(self, number)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({' '.join(shown_fields(self, field_names(type(self))))})"


def wire_names(cls: type[FlatMessage]) -> dict[str, str]:
    """The keys of ``msg`` that the class reads, each with the attribute that holds it."""
    return {name: attribute for attribute, name, _ in _plan(cls).fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        names = struct_names(type(value)).items()
        return {name: _plain(inner) for name, attribute in names if (inner := getattr(value, attribute)) is not None}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return json_object(value) if isinstance(value, bytes) else value
