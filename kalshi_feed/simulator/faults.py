"""Faults of a connection's frames: they are lost, duplicated, swapped or corrupted.

Owns the armed faults and applies them to finished messages. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from . import schemas, wire
from .subscriptions import SEQUENCED

SEQUENCED_DATA = frozenset(
    type_
    for channel, sequenced in SEQUENCED.items()
    if sequenced
    for type_ in schemas.types_of(channel)
    if not type_.endswith("list")
)
"""The types that are numbered and do not answer a command."""


@dataclass
class Fault:
    """One armed fault: its kind, its message type (None: any sequenced data message), how many it hits."""

    kind: Literal["lose", "duplicate", "swap", "corrupt"]
    type: str | None
    remaining: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    remove: tuple[str, ...] = ()

    def matches(self, type_: str) -> bool:
        """Whether the fault is for messages of this type."""
        return type_ == self.type if self.type is not None else type_ in SEQUENCED_DATA


class Faults:
    """The armed faults of one connection, first armed, first served. Not thread-safe: the exchange's lock
    guards it."""

    def __init__(self) -> None:
        self.armed: list[Fault] = []
        self.lost = 0
        self._held: bytes | None = None  # the first half of a swap

    def arm(self, fault: Fault) -> None:
        """Put a fault behind those already armed."""
        self.armed.append(fault)

    def clear(self) -> None:
        """Disarm every fault."""
        self.armed.clear()

    def apply(self, type_: str, payload: bytes) -> Sequence[bytes]:
        """The messages to send instead of ``payload``."""
        if not self.armed and self._held is None:
            return (payload,)
        held, self._held = self._held, None
        out = [payload]
        for fault in self.armed:
            if fault.matches(type_):
                out = self._strike(fault, payload)
                fault.remaining -= 1
                if fault.remaining <= 0:
                    self.armed.remove(fault)
                break
        if held is not None:
            out.append(held)
        return out

    def _strike(self, fault: Fault, payload: bytes) -> list[bytes]:
        if fault.kind == "lose":
            self.lost += 1
            return []
        if fault.kind == "duplicate":
            return [payload, payload]
        if fault.kind == "swap":
            self._held = payload
            return []
        return [_corrupted(payload, fault.fields, fault.remove)]


def _corrupted(payload: bytes, fields: Mapping[str, Any], remove: tuple[str, ...]) -> bytes:
    """The message with fields of ``msg`` replaced or removed; ``sid``, ``seq``, ``type``, ``id`` and ``msg``
    are those of the envelope."""
    message: dict[str, Any] = msgspec.json.decode(payload)
    msg = message.get("msg")
    for name, value in fields.items():
        target = message if name in ("sid", "seq", "type", "id", "msg") or not isinstance(msg, dict) else msg
        target[name] = value
    for name in remove:
        target = message if name in message or not isinstance(msg, dict) else msg
        target.pop(name, None)
    return wire.encode_json(message)
