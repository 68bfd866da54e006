"""What the feed's threads hand to the publisher: the recording's own queue, which wakes its reader at once.

Owns RelayQueue and AnswerItem.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from ..engine.engine import Engine
from ..recording.queue import Item, RecordingQueue, SentItem, TurnItem

__all__ = ["AnswerItem", "RelayItem", "RelayQueue"]

_ANSWER_BYTES: Final = 64  # the cost of an answer besides its payload


class AnswerItem(NamedTuple):
    """An answer to a consumer; ``account``: it goes to the account's stream."""

    now: float
    payload: bytes
    account: bool

    @property
    def size(self) -> int:
        """How many bytes of the queue's bound the item uses."""
        return len(self.payload) + _ANSWER_BYTES


RelayItem = Item | AnswerItem


class RelayQueue(RecordingQueue):
    """The tap of a feed that is relayed. Its state is guarded by the store's lock.

    A relay that does not write (it waits for the lease) takes nothing in, which does not count as a loss.
    """

    def __init__(
        self,
        engine: Engine,
        wake: Callable[[], object],
        on_end: Callable[[], object],
        join: Callable[[float], object],
    ) -> None:
        super().__init__(engine, on_end, join)
        self._wake = wake  # wakes the publisher; costs next to nothing while it is awake
        self.is_idle = True  # whether the relay is not the writer
        self.losses = 0  # how often inputs were lost

    @property
    def waiting_bytes(self) -> int:
        """About how many bytes wait to be taken out. Any thread."""
        return self._queued - self._taken

    @property
    def waiting(self) -> int:
        """How many items wait to be taken out. Any thread."""
        return len(self._queue)

    def take_locked(self, most: int) -> list[RelayItem]:
        """Take items out, in order, until they have ``most`` bytes. A turn and its commands stay together."""
        queue, taken = cast("deque[RelayItem]", self._queue), list[RelayItem]()
        size = 0
        while queue and (size < most or (type(queue[0]) is SentItem and type(taken[-1]) is TurnItem)):
            item = queue.popleft()
            size += item.size
            taken.append(item)
        self._taken += size
        return taken

    def begin_locked(self) -> None:
        """The relay is the writer from now on: begin with a checkpoint."""
        self._queue.clear()
        self._queued = self._taken = 0
        self._missed_before, self._was_cut = self.missed, False
        self.is_idle = False
        self.checkpoint_locked(new_part=True)

    def idle_locked(self) -> None:
        """The relay is no longer the writer: forget what is waiting, and take nothing in."""
        self.is_idle, self.accepts, self._was_cut = True, False, False
        self._queue.clear()
        self._queued = self._taken = 0

    def answer_locked(self, payload: bytes, now: float, *, account: bool) -> None:
        """Queue an answer to a consumer, behind what it caused. If inputs were lost, it is lost as well."""
        self._add(cast(Any, AnswerItem(now, payload, account)))

    def checkpoint_locked(self, new_part: bool) -> None:
        """Queue a checkpoint, as in a recording."""
        super().checkpoint_locked(new_part)
        self._wake()

    def renewed(self, now: float) -> None:
        """A fresh session took over: no consumer can go on with the old one."""
        if not self.is_idle:
            self._was_cut = True
            super().renewed(now)

    def _add(self, item: Item) -> bool:
        if self.is_idle:
            return True
        accepted = self.accepts
        added = super()._add(item)
        if accepted and not added:
            self.losses += 1
        self._wake()
        return added
