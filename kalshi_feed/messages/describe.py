"""The attributes of a message class: its wire fields and its ready values, for tables and tests.

Owns no facts: it reads the classes.
"""

from __future__ import annotations

from typing import Any

from .base import Message, bodies, struct_names
from .flat import FlatMessage, wire_names

__all__ = ["ready_fields", "wire_fields"]


def wire_fields(cls: type[Message]) -> dict[str, str]:
    """The keys of ``msg`` that the class reads, each with the attribute that holds its value as sent.

    The two differ if a ready value has the wire's name: ``{"yes_price": "yes_price_cents"}``.
    """
    if issubclass(cls, FlatMessage):
        return wire_names(cls)
    return {name: attribute for body in bodies(cls) for name, attribute in struct_names(body).items()}


def ready_fields(cls: type[Message]) -> tuple[str, ...]:
    """The class's attributes other than those that hold what was sent: Decimals, datetimes and so on."""
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
    """Whether the property counts: not if a subclass made it a field; ``time`` only if overridden."""
    return isinstance(getattr(cls, name), property) and (
        base is not Message or getattr(cls, name) is not vars(base)[name]
    )


_COMMON = ("sent_at", "extra", "raw", "msg")
