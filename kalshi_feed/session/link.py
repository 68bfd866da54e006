"""One channel on one connection: its sid, the next seq, which markets the exchange has confirmed.

Owns Link, Command and the decision which command comes next; must not import sockets, threads or clocks. Not thread-safe; owned
by the session.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from .channels import ALL_MARKETS, Channel, rule_of

__all__ = ["CHUNK", "Command", "Link"]

CHUNK: Final = 500  # markets named in one command: about 16 kB of JSON, one answer at a time


@dataclass(frozen=True)
class Command:
    """A command sent and not yet answered. ``cmd`` is the wire's, or the action of an update_subscription."""

    id: int
    cmd: str
    channel: str
    keys: tuple[str, ...]
    deadline: float
    repeated: bool = False


class Link:
    """One channel on the present connection. Not thread-safe; see the module."""

    __slots__ = ("confirmed", "failures", "is_open", "name", "next_seq", "pending", "retry_at", "rule", "sid")

    def __init__(self, name: str) -> None:
        self.name = name
        self.rule: Channel = rule_of(name)
        self.failures = 0  # subscriptions that died or were put off since one stood
        self.retry_at = 0.0
        self.pending: Command | None = None  # one change at a time: the last wish wins, and the rate stays polite
        self.reset()

    def reset(self) -> None:
        """The exchange has no such subscription."""
        self.sid: int | None = None
        self.is_open = False
        self.next_seq: int | None = 1  # None: whatever comes next (after a frame that may or may not have counted)
        self.confirmed: set[str] = set()

    def next_step(self, wanted: Iterable[str]) -> tuple[str, tuple[str, ...]] | None:
        """The next command (cmd, keys) on the way to ``wanted``, or None when there is nothing to do.

        Markets are added before others are deleted, so that a filter is never empty (what the exchange would then send is
        unknown, protocol.md 3.3); the last one goes by unsubscribing.
        """
        keys = wanted if isinstance(wanted, (set, frozenset)) else set(wanted)
        if not self.is_open:
            return ("subscribe", tuple(islice(wanted, CHUNK))) if keys else None
        if keys == self.confirmed:
            return None
        if not keys or ALL_MARKETS in (keys, self.confirmed):
            return "unsubscribe", ()
        missing = tuple(islice((key for key in wanted if key not in self.confirmed), CHUNK))
        if missing:
            return "add_markets", missing
        return "delete_markets", tuple(islice((key for key in self.confirmed if key not in keys), CHUNK))
