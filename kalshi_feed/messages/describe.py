"""What a message class can be asked: its wire fields and its ready values, for tables and tests.

Owns no facts of its own, it reads the classes. Must not import anything of the package but messages.base and
messages.flat.
"""

from __future__ import annotations

from typing import Any

from .base import Message, bodies, struct_names
from .flat import FlatMessage, wire_names

__all__ = ["ready_fields", "wire_fields"]


def wire_fields(cls: type[Message]) -> dict[str, str]:
    """The keys of ``msg`` that the class reads, each with the attribute that holds its value as it was sent.

    The two differ where a ready value has the wire's name: ``{"yes_price": "yes_price_cents"}``.
    """
    if issubclass(cls, FlatMessage):
        return wire_names(cls)
    return {name: attribute for body in bodies(cls) for name, attribute in struct_names(body).items()}


def ready_fields(cls: type[Message]) -> tuple[str, ...]:
    """The attributes that the class has beside those that hold what was sent: Decimals, datetimes and the
    like."""
    plain = {*wire_fields(cls).values(), *_COMMON}
    found: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        found |= {
            name: None
            for name, value in vars(base).items()
            if isinstance(value, property) and _is_documented_by(cls, base, name)
        }
    return tuple(name for name in found if not name.startswith("_") and name not in plain)


def _is_documented_by(cls: type[Message], base: type[Any], name: str) -> bool:
    """A property that a subclass made a field of is none; ``time`` counts where a class has its own."""
    return isinstance(getattr(cls, name), property) and (
        base is not Message or getattr(cls, name) is not vars(base)[name]
    )


_COMMON = ("sent_at", "extra", "raw", "msg")
