"""Reading commands: their parameters, and the error codes for wrong ones (PROTOCOL.md 3 and 4.1).

Owns the rules that a command must keep before it is carried out. Pure functions.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

TEXTS = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    9: "Authentication required",
    10: "Channel error",
    11: "Invalid parameter",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market Ticker required",
    15: "Action required",
    18: "Command timeout",
    19: "shard_factor must be > 0",
    20: "shard_factor is required when shard_key is set",
    21: "shard_key must be >= 0 and < shard_factor",
    22: "shard_factor must be <= 100",
    23: "Match IDs required",
    24: "Index IDs required",
    25: "Subscription buffer overflow",
    26: "Subscription market limit exceeded",
    27: "Too many requests",
    28: "Underlying tickers required",
}
TERMINAL = frozenset({10, 17, 25})  # these end the subscription they are about


class CommandError(Exception):
    """A command that is answered with an error frame."""

    def __init__(self, code: int, text: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.text = text or TEXTS[code]


def parse(text: str | bytes) -> dict[str, Any] | None:
    """A command as a dict; None if it is not a JSON object."""
    try:
        command = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return command if isinstance(command, dict) else None


def strings(params: dict[str, Any], key: str) -> list[str]:
    """A list of strings; empty if it is missing. Raises CommandError."""
    value = params.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise CommandError(1)
    return value


def integers(params: dict[str, Any], key: str) -> list[int]:
    """A list of ints; empty if it is missing. Raises CommandError."""
    value = params.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(
        isinstance(item, int) and not isinstance(item, bool) for item in value
    ):
        raise CommandError(1)
    return value


def flag(params: dict[str, Any], key: str) -> bool:
    """A bool; False if it is missing. Raises CommandError."""
    value = params.get(key, False)
    if not isinstance(value, bool):
        raise CommandError(1)
    return value


def _one_or_many(params: dict[str, Any], one: str, many: str) -> list[str]:
    if one in params and many in params:
        raise CommandError(11)
    if one not in params:
        return strings(params, many)
    if not isinstance(params[one], str):
        raise CommandError(1)
    return [params[one]]


def markets(params: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The tickers and ids: only one kind of the two, and only in one spelling (PROTOCOL.md 3.1). Raises
    CommandError."""
    tickers = _one_or_many(params, "market_ticker", "market_tickers")
    ids = _one_or_many(params, "market_id", "market_ids")
    if tickers and ids:
        raise CommandError(11)
    for market_id in ids:
        try:
            uuid.UUID(market_id)
        except ValueError:
            raise CommandError(11) from None
    return tickers, ids


def check_shards(params: dict[str, Any]) -> None:
    """Check shard_factor and shard_key. Raises CommandError."""
    factor, key = params.get("shard_factor"), params.get("shard_key")
    for value in (factor, key):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise CommandError(1)
    if key is not None and factor is None:
        raise CommandError(20)
    if factor is not None and factor <= 0:
        raise CommandError(19)
    if factor is not None and factor > 100:
        raise CommandError(22)
    if key is not None and not 0 <= key < (factor or 0):
        raise CommandError(21)


def check_user_filter(params: dict[str, Any]) -> None:
    """Check user_filter. Raises CommandError."""
    if params.get("user_filter") not in (None, "", "self"):
        raise CommandError(11)
