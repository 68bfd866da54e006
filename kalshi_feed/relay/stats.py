"""The metrics of a relay. Owns the record."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..messages.plain import Number, number_function, plain

__all__ = ["RelayStats"]


@dataclass(frozen=True)
class RelayStats:
    """A relay's metrics at one moment. Immutable, and so thread-safe.

    ``state``: "idle" before start(), "waiting" for the lease, "writing" or "ended". ``is_connected``: whether
    Redis could be reached at the last try. ``entries`` and ``bytes`` were written, of all streams;
    ``backlog`` entries and ``backlog_bytes`` wait to be. ``late``: seconds between the newest entry's time
    and its writing. ``missed`` messages were lost, on ``losses`` occasions, because Redis was away for
    too long. ``kept`` is how many entries the stream keeps. ``consumers`` have a lease, and want ``keys`` on
    all channels and ``follows`` series and events; ``refused`` wishes and requests were refused, and
    ``ignored`` messages were not from a consumer. ``errors`` calls to Redis failed; ``last_error`` says why
    the relay has ended, or cannot write now.
    """

    state: str = "idle"
    is_writer: bool = False
    is_connected: bool = False
    generation: int = 0
    entries: int = 0
    bytes: int = 0
    backlog: int = 0
    backlog_bytes: int = 0
    late: float = 0.0
    missed: int = 0
    losses: int = 0
    kept: int = 0
    checkpoints: int = 0
    checkpoint_bytes: int = 0
    consumers: int = 0
    keys: int = 0
    follows: int = 0
    refused: int = 0
    ignored: int = 0
    errors: int = 0
    last_error: str = ""

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """Everything as plain data, ready for JSON. ``number`` is not used: there are no Decimals."""
        passed = number_function(number)
        return {item.name: plain(getattr(self, item.name), passed) for item in fields(self)}
