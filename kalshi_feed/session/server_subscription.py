"""One channel on one connection: its sid, the next seq, which markets the exchange has confirmed.

Owns Link and the decision which command comes next; must not import sockets, threads or clocks. Not thread-safe; owned
by the session.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from .channels import ALL_MARKETS, Channel, rule_of
from .commands import CHUNK, Command

__all__ = ["Link"]


class Link:
    """One channel on the present connection. Not thread-safe; see the module."""

    __slots__ = (
        "_named",
        "chunk",
        "confirmed",
        "doubtful",
        "failures",
        "floor",
        "hole",
        "is_open",
        "name",
        "next_seq",
        "opened_at",
        "pending",
        "retry_at",
        "rule",
        "selector",
        "sid",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.rule: Channel = rule_of(name)
        self.failures = 0  # subscriptions that died or were put off since one stood
        self.opened_at = 0.0
        self.retry_at = 0.0
        self.selector: str | None = None  # what the keys are called, from the subscribe on
        self.pending: Command | None = None  # one change at a time: the last wish wins, and the rate stays polite
        self.reset()

    def reset(self) -> None:
        """The exchange has no such subscription."""
        self.sid: int | None = None
        self.is_open = False
        self.next_seq: int | None = 1  # None: see lose_count()
        self.floor = 0
        self.hole = range(0)  # the numbers that the last gap left out; a frame with one of them is merely late
        self.confirmed: set[str] = set()  # changed by confirm() and drop() only
        self.doubtful: set[str] = set()  # what the exchange may have or not; see doubt()
        self._named: tuple[str, ...] | None = None
        self.chunk = CHUNK  # keys a command; fewer near the exchange's limit of markets

    def confirm(self, keys: Iterable[str]) -> None:
        """The exchange has these."""
        self.confirmed.update(keys)
        self.doubtful.difference_update(keys)
        self._named = None

    def drop(self, keys: Iterable[str]) -> None:
        """The exchange no longer has these."""
        self.confirmed.difference_update(keys)
        self.doubtful.difference_update(keys)
        self._named = None

    def doubt(self, command: Command) -> None:
        """Nobody knows whether the exchange has carried ``command`` out (error 18).

        What it named is added once more where it is wanted, which does no harm if it is there, and else deleted.
        """
        keys = self.confirmed.copy() if command.cmd == "unsubscribe" else set(command.keys)
        if command.cmd != "add_markets":
            self.drop(keys)
        self.doubtful |= keys

    def named(self) -> tuple[str, ...]:
        """The markets confirmed; empty where all are. One tuple for as long as they are the same."""
        if self._named is None:
            self._named = tuple(self.confirmed - ALL_MARKETS)
        return self._named

    def lose_count(self, floor: int = 0) -> None:
        """Whatever number comes next is taken for the right one, but for those below ``floor``: they were counted already."""
        self.next_seq, self.floor = None, floor

    def keeps(self, key: str) -> bool:
        """Whether the exchange has ``key`` and is not being asked to drop it."""
        leaving = self.pending is not None and (
            self.pending.cmd == "unsubscribe" or (self.pending.cmd == "delete_markets" and key in self.pending.keys)
        )
        return key in self.confirmed and not leaving

    def next_step(self, wanted: Iterable[str], selector: str | None) -> tuple[str, tuple[str, ...]] | None:
        """The next command (cmd, keys) on the way to ``wanted``, or None when there is nothing to do.

        Markets are added before others are deleted, so that a filter is never empty (what the exchange would then send
        is unknown, PROTOCOL.md 3.3); the last one goes by unsubscribing, and so does a filter of another kind.
        """
        keys = wanted if isinstance(wanted, (set, frozenset)) else set(wanted)
        if not self.is_open:
            return ("subscribe", tuple(islice(wanted, self.chunk))) if keys else None
        if not keys:
            return "unsubscribe", ()
        if keys == self.confirmed and (keys == ALL_MARKETS or self.doubtful <= keys):
            return None
        if ALL_MARKETS in (keys, self.confirmed) or self.doubtful >= ALL_MARKETS or selector != self.selector:
            return "unsubscribe", ()
        missing = tuple(islice((key for key in wanted if key not in self.confirmed), self.chunk))
        if missing:
            return "add_markets", missing
        return "delete_markets", tuple(islice((self.confirmed | self.doubtful) - keys, CHUNK))
