"""The order in which commands that arrive together are carried out and answered (PROTOCOL.md 4).

Owns the rule of which command may overtake which: never one that could affect it. A command and its answer
are one step, so numbers, snapshots and effects follow the new order by themselves. Pure.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import commands
from .commands import CommandError
from .subscriptions import FILTERED, OpenChannel

# how many commands are worked on at once; in the production capture none was answered further from its place
WINDOW = 6

Touched = Mapping[str, frozenset[str] | None]
"""The markets that a command reads or changes, by channel; None: all of the channel."""


@dataclass(frozen=True)
class PendingCommand:
    """A command that waits for its turn. ``touched`` None: it overtakes no other and none overtakes it."""

    touched: Touched | None
    carry_out: Callable[[], None]

    def must_follow(self, earlier: PendingCommand) -> bool:
        """Whether ``earlier`` could affect this command."""
        if self.touched is None or earlier.touched is None:
            return True
        for channel in self.touched.keys() & earlier.touched.keys():
            mine, other = self.touched[channel], earlier.touched[channel]
            if mine is None or other is None or not mine.isdisjoint(other):
                return True
        return False


def reordered(pending: Sequence[PendingCommand], chance: random.Random) -> Iterator[PendingCommand]:
    """The commands in another order, with the same effects as in the order they arrived in."""
    waiting = list(pending)
    while len(waiting) > 1:
        place = chance.randrange(min(WINDOW, len(waiting)))
        while any(waiting[place].must_follow(earlier) for earlier in waiting[:place]):
            place -= 1
        yield waiting.pop(place)
    yield from waiting


def touched_by(command: Mapping[str, Any], subscriptions: Mapping[str, OpenChannel]) -> Touched | None:
    """The markets that a command is about, by channel, given the connection's subscriptions."""
    name, params = command.get("cmd"), command.get("params")
    if name not in ("subscribe", "unsubscribe", "update_subscription"):
        return None  # list_subscriptions shows the effects of all before it
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
        return {}  # it draws an error and does nothing
    by_sid = {subscription.sid: channel for channel, subscription in subscriptions.items()}
    if not all(isinstance(sid, int) and sid in by_sid for sid in sids):
        return None  # a command before it may have opened that sid
    channels = [by_sid[sid] for sid in sids]
    return {
        channel: markets if name != "unsubscribe" and channel in FILTERED else None for channel in channels
    }
