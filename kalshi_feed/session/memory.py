"""What a session knows, as plain values: a session that restores them continues where the other one was.

Owns only the values. Each object of the session saves and restores its own part, from Session.save() and
restore() on down. Everything else follows from the saved parts; tests/session/test_memory.py lists each
attribute that is not saved, and why. Recordings write the values as JSON, so a new field needs a default
(older recordings lack it), and a name used in a file (``name=``) must stay. A moment that never comes is
None, because JSON has no infinity. Plain data without a lock.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from .commands import Command

__all__ = [
    "CrossCheckMemory",
    "OutputMemory",
    "ReconcilerMemory",
    "RepairMemory",
    "SessionMemory",
    "SubscriptionMemory",
    "SuspicionMemory",
    "UnknownMarketsMemory",
    "from_moment",
    "to_moment",
]

_NEVER: Final = float("inf")


def to_moment(when: float) -> float | None:
    """The form in which a moment is saved."""
    return None if when == _NEVER else when


def from_moment(saved: float | None) -> float:
    """The moment that was saved."""
    return _NEVER if saved is None else saved


class SubscriptionMemory(msgspec.Struct, omit_defaults=True):
    """The memory of a ServerSubscription. ``pending`` is the id of a command in flight."""

    channel: str
    sid: int | None = None
    is_open: bool = True
    next_seq: int | None = None
    selector: str | None = None
    confirmed: list[str] = []
    uncertain: list[str] = msgspec.field(default_factory=list, name="doubtful")
    pending: int | None = None
    failures: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0
    opened_at: float = 0.0
    retry_at: float = 0.0
    chunk: Annotated[int, msgspec.Meta(ge=1)] | None = None  # None: the usual one
    floor: int = 0
    hole: tuple[int, int] = (0, 0)  # the first missing seq, and the one after the last
    unproven: list[str] = []
    renewing: list[str] = []


class ReconcilerMemory(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The memory of a Reconciler, including the users' requests that it has not looked at yet."""

    next_id: int = 1
    subscriptions: list[SubscriptionMemory] = msgspec.field(default_factory=list, name="links")
    in_flight: list[Command] = []
    retired: list[int] = []
    ended_early: list[tuple[str, int, str]] = []
    unsettled: list[str] = []
    expired: list[Command] = []
    snapshots: list[str] = []
    snapshots_at: float = 0.0
    questions: list[tuple[str, str]] = []
    new_books: list[str] = []
    lists: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0  # list_subscriptions calls not sent yet
    lists_sent: list[int] = []  # the ids of those sent
    not_overdue_before: float = 0.0


class RepairMemory(msgspec.Struct, omit_defaults=True):
    """The memory of a Repair. The moments are on the session's clock."""

    due: float | None = None
    promised: float | None = None
    promised_at_most: float | None = None
    deadline: float | None = None
    not_overdue_before: float = 0.0
    asked: list[str] = []
    queue: list[str] = []
    some_answered: bool = False
    resubscribed: bool = False
    failures: list[float] = []
    gaps: list[float] = []
    broken: list[str] | None = None
    mute: list[str] = []


class SuspicionMemory(msgspec.Struct, omit_defaults=True):
    """The memory of a suspicion against a book at its present version."""

    since: float | None = None
    signs: int = 0


class CrossCheckMemory(msgspec.Struct, omit_defaults=True):
    """The memory of a CrossCheck. The dicts are by market."""

    not_overdue_before: float = 0.0
    has_news: bool = False
    look_at: float = 0.0
    to_look_at: list[str] = []
    denied: dict[str, SuspicionMemory] = {}
    crossed: dict[str, SuspicionMemory] = {}
    due: list[str] = []
    ask_at: float = 0.0
    asked: dict[str, float] = {}
    not_before: dict[str, float] = {}


class UnknownMarketsMemory(msgspec.Struct, omit_defaults=True):
    """The memory of an UnknownMarkets.

    ``questions`` holds, by market, its Question's ``due``, ``delay``, ``not_before`` and ``waits_until``.
    """

    questions: dict[str, tuple[float, float, float, float]] = {}
    closes: dict[str, int] = {}


class OutputMemory(msgspec.Struct, omit_defaults=True):
    """The memory of an Output: how many faults were reported this second."""

    second: int = 0
    reported: int = 0
    suppressed: int = 0


class SessionMemory(ReconcilerMemory, omit_defaults=True, kw_only=True):
    """The memory of a Session.

    ``connected_at`` is None while there is no connection; a part is None if it was not saved.
    """

    connected_at: float | None = None
    bad_frames: list[float] = []
    unknown_sids: list[int | None] = []
    snapshotless: list[str] = []
    unread_types: list[str] = []
    replies_repeat: bool = False
    repair: RepairMemory | None = None
    cross_check: CrossCheckMemory | None = None
    unknown_markets: UnknownMarketsMemory | None = None  # None: unknown markets are not asked for again
    output: OutputMemory | None = None
