"""What the entries of a relay's stream mean to a consumer: which comes next, what is missing, what is old.

Owns Tracker. It does no I/O; times are time.monotonic() of the consumer's machine and passed in. Not
thread-safe; the consumer's reader owns it.

**Nothing is missing** as long as each entry has the id that follows the one before it: the same generation,
and the next number. Anything else is a hole: entries were lost, were trimmed before they were read, or
another writer has taken over.

**Being current** means that the books may be shown as LIVE. That takes an entry which was written after the
consumer had last asked where the stream ends: only that proves that a relay is writing now, and that
everything before it has been read. The end is asked for at the beginning, and again whenever being current
has ended: because nothing came for a while, because Redis was out of reach, because the relay was closed or
has fallen behind Redis, or because the consumer itself has fallen behind.
"""

from __future__ import annotations

from typing import Final

from .layout import EntryId, EntryKind, StreamEntry

__all__ = ["LATE", "Tracker"]

LATE: Final = 1.0  # seconds: a relay that adds its entries later than this has yet to catch up
_NOWHERE: Final = EntryId(0, 0)


class Tracker:
    """Follows the entries of one stream. The module says who owns it.

    ``silence``: seconds without an entry after which the consumer is no longer current.
    """

    def __init__(self, silence: float) -> None:
        self._silence = silence
        # The last entry that was taken or is contained in the checkpoint; None: a checkpoint is needed.
        self.position: EntryId | None = None
        self.is_current = False
        self.wants_end = True  # whether the end of the stream must be asked for before anything is current
        self._goal = _NOWHERE  # where the stream ended then: an entry beyond it is new
        self._is_late = False  # the last entry says that the relay is behind
        self.was_closed = False  # the last entry says that the relay was closed
        self._heard_at = 0.0  # when the last entry came
        self._ended_at = 0.0  # when everything that was there had been read
        self._older_end: EntryId | None = None  # an end of an earlier generation than ours, see saw_end()

    def begin(self, position: EntryId, now: float) -> None:
        """Go on from a checkpoint that contains everything up to ``position``."""
        self.position = position
        self._older_end = None
        self._is_late = self.was_closed = False
        self._heard_at = now
        self.lose()

    def lose(self) -> None:
        """What was read so far may be old by now."""
        self.is_current = False
        self.wants_end = True

    def forget(self) -> None:
        """Something is missing: only a checkpoint can help."""
        self.lose()
        self.position = None

    def saw_end(self, end: EntryId | None) -> bool:
        """The stream ends there now, None if it is empty. Returns False if it is not the one that was read.

        When Redis comes back with older data, the stream ends before the position; the relay that was writing
        goes on from there. But if someone else goes on in an older generation, none of that would ever be
        read.
        """
        if self.position is not None and end is not None and end.generation < self.position.generation:
            if self._older_end is not None and end != self._older_end:
                return False
            self._older_end = end
        else:
            self._older_end = None
        if self.wants_end:
            self._goal = max(self.position or _NOWHERE, end or _NOWHERE)
            self.wants_end = False
        return True

    def is_next(self, id: EntryId) -> bool:
        """Whether nothing is missing before the entry with this id."""
        return self.position is not None and id == self.position.next

    def missing_before(self, id: EntryId) -> int | None:
        """How many entries are missing before this one; None if that cannot be known."""
        position = self.position
        if position is None or id.generation != position.generation:
            return None
        return id.number - position.number - 1

    def take(self, entry: StreamEntry, now: float) -> None:
        """The next entry was taken in."""
        self.position = entry.id
        self._heard_at = now
        self._is_late = entry.late > LATE
        self.was_closed = entry.kind is EntryKind.END
        if (self._is_late or self.was_closed) and self.is_current:
            self.lose()

    def has_read(self, is_end: bool, now: float) -> bool:
        """Entries were read; ``is_end``: everything that was there. Returns False if the consumer is current
        and should not be: it reads more slowly than the relay writes, and what it has may be old."""
        if is_end:
            self._ended_at = now
        return not self.is_current or now - self._ended_at <= self._silence

    def read_to_end(self) -> bool:
        """Everything that was there has been taken in: return whether it has just become current."""
        if self.is_current or self.wants_end or self._is_late or self.was_closed or self.position is None:
            return False
        self.is_current = self.position > self._goal
        return self.is_current

    def excuse(self, seconds: float) -> None:
        """The callbacks kept us from reading for ``seconds``: that does not count as silence."""
        self._heard_at += seconds

    def is_silent(self, now: float) -> bool:
        """Whether nothing has come for too long."""
        return now - self._heard_at > self._silence

    def silent_at(self) -> float:
        """When it will have been too long."""
        return self._heard_at + self._silence
