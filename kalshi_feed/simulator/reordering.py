"""In which order commands that came together are carried out and answered (PROTOCOL.md 4).

Owns the rule of what may overtake what: never a command that one before it may matter to. A command and its
answer are one step, so numbers, snapshots and effects follow the new order by themselves. Pure; imports
commands and subscriptions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import commands
from .commands import CommandError
from .subscriptions import FILTERED, OpenChannel

# so many commands are worked on at once; in the production capture none was answered further from its place
WINDOW = 6

Touched = Mapping[str, frozenset[str] | None]
"""What a command reads or changes: per channel the markets, None for all of the channel."""


@dataclass(frozen=True)
class PendingCommand:
    """A command that waits for its turn. ``touched`` None: it stays behind all before it and before all
    behind it."""

    touched: Touched | None
    carry_out: Callable[[], None]

    def must_follow(self, earlier: PendingCommand) -> bool:
        """Whether ``earlier`` may matter to this one."""
        if self.touched is None or earlier.touched is None:
            return True
        for channel in self.touched.keys() & earlier.touched.keys():
            mine, other = self.touched[channel], earlier.touched[channel]
            if mine is None or other is None or not mine.isdisjoint(other):
                return True
        return False


def reordered(pending: Sequence[PendingCommand], chance: random.Random) -> Iterator[PendingCommand]:
    """The commands in another order that the client cannot tell from a slower or faster exchange by their
    effects."""
    waiting = list(pending)
    while len(waiting) > 1:
        place = chance.randrange(min(WINDOW, len(waiting)))
        while any(waiting[place].must_follow(earlier) for earlier in waiting[:place]):
            place -= 1
        yield waiting.pop(place)
    yield from waiting


def touched_by(command: Mapping[str, Any], subscriptions: Mapping[str, OpenChannel]) -> Touched | None:
    """What a command is about, the connection having these subscriptions, by channel."""
    name, params = command.get("cmd"), command.get("params")
    if name not in ("subscribe", "unsubscribe", "update_subscription"):
        return None  # list_subscriptions shows what all before it have done
    if not isinstance(params, dict):
        return {}
    try:
        tickers, ids = commands.markets(params)
        markets = frozenset([*tickers, *ids]) or None
        if name == "subscribe":
            channels = commands.strings(params, "channels")
            return {
                channel: markets if channel in subscriptions and channel in FILTERED else None
                for channel in channels
            }
        sids = [*commands.integers(params, "sids"), *([params["sid"]] if "sid" in params else [])]
    except CommandError:
        return {}  # an error is all it draws
    by_sid = {subscription.sid: channel for channel, subscription in subscriptions.items()}
    if not all(isinstance(sid, int) and sid in by_sid for sid in sids):
        return None  # a sid that one before it may have opened
    channels = [by_sid[sid] for sid in sids]
    return {
        channel: markets if name != "unsubscribe" and channel in FILTERED else None for channel in channels
    }
