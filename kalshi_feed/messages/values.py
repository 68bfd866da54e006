"""Exact values: dollars, contracts and times, from the wire's strings to integers, Decimals and datetimes.

Owns the one grammar of numbers (PROTOCOL.md 7): ASCII digits and at most one point with digits on both sides;
no exponent, plus sign, space or underscore; a leading "-" on signed values only. Inside the package, a price
is an int of 1/10,000 dollar, a size an int of 1/100 contract, money an int of 1/1,000,000 dollar. Every
function raises ValueError for invalid input; callers turn it into a ProtocolError. Thread-safe: a cache entry
is the same no matter who adds it.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any, NamedTuple

from .plain import Number, number_function, plain

__all__ = [
    "EXACT",
    "ONE_DOLLAR",
    "OTHER_SIDE",
    "PRICES",
    "SIZES",
    "Level",
    "ScientificNumber",
    "cents_units",
    "check_counts",
    "check_money",
    "check_prices",
    "check_sizes",
    "count_units",
    "from_ms",
    "from_seconds",
    "index_value",
    "json_number",
    "level",
    "money_decimal",
    "money_units",
    "new_size_units",
    "number_text",
    "parse_time",
    "price_decimal",
    "price_units",
    "size_decimal",
    "size_units",
]

ONE_DOLLAR = 10_000
"""One dollar in price units; the other side's price is ``ONE_DOLLAR - price``."""

EXACT = Context(prec=60, traps=[])
"""Arithmetic of our own, so that a program's decimal context neither rounds nor traps our values."""

# books share one int object per price: less memory, and comparing finds it by identity
_UNITS = tuple(range(ONE_DOLLAR + 1))
OTHER_SIDE = _UNITS[::-1]
"""``OTHER_SIDE[price]`` is ``ONE_DOLLAR - price``."""

PRICES: dict[str, int] = {}
"""Price strings seen so far, with their units: the session's shortcut. The grammar allows about 11,000."""

SIZES: dict[str, int] = {}
"""Size strings seen recently, with their units. People trade round sizes: 96% of 37,000 deltas repeat one."""

_MOST_SIZES = 16_384  # then the cache is cleared: 2 MB
_SMALL = 10_000  # 100 contracts: below that, sizes that are not round are repeated, too
_price_decimals: dict[int, Decimal] = {}
_CENT = Decimal("0.01")
_multiply = EXACT.multiply
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MAX_DIGITS = 15

_PRICE = re.compile(r"([01])(?:\.([0-9]{1,4}))?")
_SIZE = re.compile(r"(-?)([0-9]+)(?:\.([0-9]{1,2}))?")
_usual_size = re.compile(r"-?[0-9]{1,13}\.[0-9]{2}").fullmatch
_usual_count = re.compile(r"[0-9]{1,13}\.[0-9]{2}").fullmatch
_usual_money = re.compile(r"-?[0-9]{1,9}\.[0-9]{1,6}").fullmatch
_MONEY = re.compile(r"(-?)([0-9]+)(?:\.([0-9]{1,6}))?")
_INDEX = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,8})?")
_NUMBER = re.compile(r"-?[0-9]{1,60}(?:\.[0-9]{1,60})?")
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


class Level(NamedTuple):
    """One price level: ``price`` in dollars, ``quantity`` in contracts. Thread-safe: immutable."""

    price: Decimal
    quantity: Decimal

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """``{"price": …, "quantity": …}``, each passed through ``number`` as in Message.to_dict().

        Inside anything else, a level is [price, quantity].
        """
        passed = number_function(number)
        return {"price": plain(self.price, passed), "quantity": plain(self.quantity, passed)}


class ScientificNumber:
    """A JSON number written with an exponent: ``text`` as in the frame. Thread-safe: immutable.

    It has its own class so that nothing mistakes it for an amount: the grammar has no exponents, and a
    Decimal would not distinguish 10e-1 from 1.0. Some, such as 1e99999999999999999999, do not fit into one.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def number_text(value: object) -> str:
    """Return an amount as the wire would write it: strings unchanged, an int or Decimal with all its digits.

    Raises ValueError for anything else. price_units() and its siblings check whether the string is an amount.
    """
    if isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise ValueError(f"{repr(value)[:40]} is neither a string nor a number without an exponent")


def price_units(text: str) -> int:
    """Convert a price in dollars ("0.5400", 0 to 1, at most 4 decimals) to 1/10,000 dollar."""
    units = PRICES.get(text)
    if units is None:
        match = _PRICE.fullmatch(text)
        units = int(match[1]) * ONE_DOLLAR + int((match[2] or "").ljust(4, "0")) if match else ONE_DOLLAR + 1
        if units > ONE_DOLLAR:
            raise ValueError(
                f"price {text[:40]!r} is not a number of dollars from 0 to 1 with at most 4 decimals"
            )
        PRICES[text] = units = _UNITS[units]
    return units


def cents_units(cents: int) -> int:
    """Convert a price in whole cents (the wire until March 2026) to 1/10,000 dollar."""
    if not 0 <= cents <= 100:
        raise ValueError(f"price of {cents} cents is not in 0 to 100")
    return _UNITS[cents * 100]


def size_units(text: str) -> int:
    """Convert a signed size in contracts ("-54.00", at most 2 decimals and 15 digits) to 1/100 contract."""
    units = SIZES.get(text)
    if units is None:
        units = new_size_units(text)
    if units is None:
        units = _scaled(_SIZE.fullmatch(text), text, 2, "size", "contracts")
    return units


def new_size_units(text: str) -> int | None:
    """size_units() of a string that is not in SIZES; None unless it has two decimals, as usual."""
    if not _usual_size(text):
        return None
    units = int(text.replace(".", ""))
    if -_SMALL < units < _SMALL or not units % 100:  # the others are not likely to come again
        if len(SIZES) >= _MOST_SIZES:
            SIZES.clear()
        SIZES[text] = units
    return units


def count_units(text: str) -> int:
    """Like size_units, for sizes that cannot be negative."""
    units = size_units(text)
    if text[0] == "-":
        raise ValueError(f"size {text[:40]!r} is negative")
    return units


def check_prices(*texts: str | None) -> None:
    """Raise price_units' ValueError for the first string that is not a price; None is skipped."""
    for text in texts:
        if text is not None and text not in PRICES:
            price_units(text)


def check_counts(*texts: str | None) -> None:
    """Raise count_units' ValueError for the first string that is not a count; None is skipped."""
    for text in texts:
        if text is not None and not _usual_count(text):
            count_units(text)


def check_sizes(*texts: str | None) -> None:
    """Raise size_units' ValueError for the first string that is not a size; None is skipped."""
    for text in texts:
        if text is not None and not _usual_size(text):
            size_units(text)


def check_money(*texts: str | None) -> None:
    """Raise money_units' ValueError for the first string that is not an amount; None is skipped."""
    for text in texts:
        if text is not None and not _usual_money(text):
            money_units(text)


def money_units(text: str) -> int:
    """Convert signed dollars (fees, costs; at most 6 decimals and 15 digits) to 1/1,000,000 dollar."""
    return _scaled(_MONEY.fullmatch(text), text, 6, "amount", "dollars")


def _scaled(match: re.Match[str] | None, text: str, places: int, what: str, unit: str) -> int:
    if match is None or len(match[2]) + len(match[3] or "") > _MAX_DIGITS:
        raise ValueError(
            f"{what} {text[:40]!r} is not a number of {unit} with at most {places} decimals and "
            f"{_MAX_DIGITS} digits"
        )
    units = int(match[2] + (match[3] or "").ljust(places, "0"))
    return -units if match[1] else units


def price_decimal(units: int) -> Decimal:
    """Convert 1/10,000 dollar to dollars with 4 decimals: 5400 is Decimal("0.5400")."""
    price = _price_decimals.get(units)
    if price is None:
        price = EXACT.scaleb(units, -4)
        if 0 <= units <= ONE_DOLLAR:
            _price_decimals[units] = price
    return price


def size_decimal(units: int) -> Decimal:
    """Convert 1/100 contract to contracts with 2 decimals: 15853 is Decimal("158.53")."""
    return _multiply(units, _CENT)


def money_decimal(units: int) -> Decimal:
    """Convert 1/1,000,000 dollar to dollars with 6 decimals: 10000 is Decimal("0.010000")."""
    return EXACT.scaleb(units, -6)


def index_value(text: str) -> Decimal:
    """Convert a signed index value (dollars or percent, at most 15 digits and 8 decimals) to a Decimal."""
    if _INDEX.fullmatch(text) is None:
        raise ValueError(f"index value {text[:40]!r} is not a number with at most 8 decimals")
    return Decimal(text)


def json_number(number: object) -> Decimal:
    """Convert a decoded JSON number (int, Decimal or ScientificNumber) to a Decimal with all its digits.

    At most 60 digits, from 1e-60 to 1e60. Also accepts a string without an exponent, because a spec's example
    has one (floor_strike).
    """
    if isinstance(number, ScientificNumber):
        try:
            number = Decimal(number.text)
        except ArithmeticError:  # an exponent of 20 digits
            number = None
    if (
        type(number) is int
        or isinstance(number, Decimal)
        or (isinstance(number, str) and _NUMBER.fullmatch(number))
    ):
        value = Decimal(number)
        if (
            value.is_finite()
            and len(value.as_tuple().digits) <= 60
            and (not value or -60 <= value.adjusted() <= 60)
        ):
            return value
    raise ValueError(f"{str(number)[:40]!r} is not a JSON number of at most 60 digits")


def level(price: int, size: int) -> Level:
    """The Level of a price in 1/10,000 dollar and a size in 1/100 contract."""
    return Level(price_decimal(price), size_decimal(size))


def parse_time(text: str) -> datetime:
    """Convert an RFC 3339 string to an aware datetime in UTC.

    Go trims the zeros of a fraction, so 0 to 9 digits are accepted (PROTOCOL.md 7) and cut to microseconds.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"time {text[:60]!r} is not an RFC 3339 time such as 2026-08-05T03:45:40.722003Z")
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    try:
        local = datetime(
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            int(second),
            int((fraction or "")[:6].ljust(6, "0")),
            timezone.utc,
        )
        if sign is None:
            return local
        if int(offset_hours) > 23 or int(offset_minutes) > 59:
            raise ValueError("its offset is out of range")
        offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
        return local - offset if sign == "+" else local + offset
    except (ValueError, OverflowError) as error:
        raise ValueError(f"time {text[:60]!r} does not exist: {error}") from None


def from_ms(milliseconds: int) -> datetime:
    """Convert Unix time in milliseconds to an aware datetime in UTC."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise ValueError(f"time {str(milliseconds)[:40]} ms is outside the years 1 to 9999") from None


def from_seconds(seconds: int) -> datetime:
    """Convert Unix time in seconds to an aware datetime in UTC."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"time {str(seconds)[:40]} s is outside the years 1 to 9999") from None
