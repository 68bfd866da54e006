"""The commands the exchange understands, and their JSON (PROTOCOL.md 3).

Owns Command and encode(). Thread-safe: immutable, and a pure function.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .channels import ALL_MARKETS

__all__ = ["CHUNK", "Command", "encode"]

CHUNK: Final = 500  # markets in one command: about 16 kB of JSON, one answer at a time

# the exchange's names for a change to a filter other than a list of markets (PROTOCOL.md 3.3)
_ACTIONS: Final = {
    ("add_markets", "index_ids"): "subscribe_indices",
    ("delete_markets", "index_ids"): "unsubscribe_indices",
    ("add_markets", "underlying_tickers"): "subscribe_underlyings",
    ("delete_markets", "underlying_tickers"): "unsubscribe_underlyings",
}


@dataclass(frozen=True)
class Command:
    """A command that was sent and not yet answered.

    ``cmd`` is the wire's command, or the action of an update_subscription. ``deadline`` is on the session's
    clock, in seconds.
    """

    id: int
    cmd: str
    channel: str
    keys: tuple[str, ...]
    deadline: float
    sid: int | None = None  # the subscription it was sent to
    repeated: bool = False  # this is the second try, after the first one timed out


def encode(command: Command, selector: str | None, options: Mapping[str, Any]) -> bytes:
    """The command's JSON; ``selector`` is the parameter for its keys, ``options`` the channel-wide ones."""
    message: dict[str, Any] = {"id": command.id, "cmd": command.cmd}
    named = {selector or "market_tickers": list(command.keys)}
    if command.cmd == "subscribe":
        filtered = named if command.keys != tuple(ALL_MARKETS) else {}
        message["params"] = {"channels": [command.channel], **options, **filtered}
    elif command.cmd == "unsubscribe":
        message["params"] = {"sids": [command.sid]}
    elif command.cmd != "list_subscriptions":
        message["cmd"] = "update_subscription"
        action = _ACTIONS.get((command.cmd, selector or ""), command.cmd)
        message["params"] = {"sids": [command.sid], **(named if command.keys else {}), "action": action}
        if command.cmd == "add_markets" and "send_initial_snapshot" in options:
            message["params"]["send_initial_snapshot"] = options["send_initial_snapshot"]
    return json.dumps(message, separators=(",", ":")).encode()
