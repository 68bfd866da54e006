"""Plain data: how to_dict() converts a value, and how a repr shows it.

Owns both conversions, for messages, events, metrics and books alike. Thread-safe: pure functions.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from ..errors import ConfigurationError

__all__ = ["Number", "number_function", "plain", "shown", "shown_fields"]

Number = Callable[[Decimal], object]
"""Converts each Decimal: ``str`` (exact, ready for JSON), ``float`` (for pandas), ``Decimal`` (unchanged)."""

_MOST_DIGITS = 400  # of a number written out; a peer may send 1e999999999, whose digits would fill memory
_SHOWN = 60  # characters of a string in a repr
_MOST_SHOWN = 300  # characters of anything else


def number_function(number: Number) -> Number:
    """Return the function for Decimals; ``str`` writes no exponents. Raises ConfigurationError."""
    if number is str:
        return _exact
    if not callable(number):
        raise ConfigurationError(
            f"number must be a function of a Decimal such as str, float or Decimal, not {str(number)[:40]!r}"
        )
    return number


def _exact(value: Decimal) -> str:
    text = str(value)
    return f"{value:f}" if "E" in text and abs(value.adjusted()) <= _MOST_DIGITS else text


def plain(value: Any, number: Number) -> Any:
    """Return the value as None, bool, int, float, str, list or dict, each Decimal as ``number(decimal)``.

    ``number`` comes from number_function(). Times become ISO 8601 strings in UTC, tuples lists, NaN and
    infinities None, an enum its value, an error its string.
    """
    if value is None or (isinstance(value, (bool, int, str)) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, Decimal):
        value = number(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return (value if value.tzinfo is None else value.astimezone(timezone.utc)).isoformat()
    if isinstance(value, enum.Enum):
        return plain(value.value, number)
    if isinstance(value, Mapping):
        return {str(key): plain(inner, number) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(inner, number) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(inner, number) for inner in value), key=str)
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    to_dict = getattr(value, "to_dict", None)
    return _string(value) if to_dict is None else to_dict(number)


def _string(value: object) -> str:
    """``str(value)``, or the type's name if that is empty or raises: it may be an error of the user's."""
    try:
        return str(value) or type(value).__name__
    except Exception:
        return type(value).__name__


def shown_fields(owner: object, names: Iterable[str]) -> list[str]:
    """``name value`` for each attribute that is not None or empty; "?" if it cannot be read. Never raises."""
    found = []
    for name in names:
        try:
            value = getattr(owner, name)
        except Exception:
            # not checked yet, in a batch, or half constructed: a debugger shows these, too
            found.append(f"{name} ?")
            continue
        if value is not None and value != () and value != {}:
            found.append(f"{name} {shown(value)}")
    return found


def shown(value: Any) -> str:
    """One value in a repr: numbers and times plain, a printable word without quotes, long values cut."""
    if isinstance(value, str):
        is_word = value.isprintable() and value and not any(c.isspace() or c in "(),'\"" for c in value)
        return (
            value
            if is_word and len(value) <= _SHOWN
            else repr(value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…")
        )
    if isinstance(value, Decimal):
        return _exact(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple) and len(value) > 3:
        return f"({', '.join(map(shown, value[:3]))}, … {len(value)} in all)"
    if isinstance(value, tuple):
        return (
            " x ".join(map(shown, value))
            if hasattr(value, "_fields")
            else f"({', '.join(map(shown, value))})"
        )
    text = repr(plain(value, _exact)) if isinstance(value, Mapping) else repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"
