"""Books that are not right, and how they become right again.

It asks for a snapshot, then subscribes again, then gives the connection up: the rungs of a ladder. What a
repair is waiting for is a RepairState, and how far up it has gone is a RepairRung:

    IDLE       a gap -> DUE; a subscription is confirmed -> EXPECTING EXPECTING  a snapshot comes ->
    EXPECTING, for longer; time is up -> look; a gap -> DUE DUE        the moment has come -> look (look)
    some books lack a snapshot -> ASKING, or EXPECTING while the subscription is not open; none does -> IDLE,
    and
               the first rung
    ASKING     all answered -> the next part of the request, or what was expected or due meanwhile, or IDLE;
               silent or refused: others get theirs -> those that were silent are DUE, and the next part; else
               one rung up

Owns the marking of books as STALE and the one repair in flight; must not import sockets, threads or clocks.
Not thread-safe; owned by the session.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from ..books.book import Book, BookStatus
from ..events import Gap
from .channels import BOOK_CHANNEL
from .commands import CHUNK
from .memory import RepairMemory, from_moment, to_moment
from .output import Output
from .reconciler import Reconciler
from .server_subscription import ServerSubscription
from .timing import Timing

__all__ = ["Repair", "RepairRung", "RepairState"]

_NEVER: Final = float("inf")
_WAITING: Final = (BookStatus.PENDING, BookStatus.STALE)  # for a snapshot
_SILENCE: Final = "no answer to get_snapshot"
_MAX_FAILURES: Final = 3
_MAX_GAPS: Final = 1000  # within the same window; what an exchange may send that numbers nothing right
_MOST_EXTENSIONS: Final = 6  # times Timing.snapshot, while snapshots of others come


class RepairState(enum.Enum):
    """What a Repair is waiting for; the first that applies, from the bottom up."""

    IDLE = "idle"  # nothing: no book is known to lack a snapshot
    # the snapshots that a subscription brings by itself; those that do not come are asked for
    EXPECTING = "expecting"
    # the moment to look which books lack a snapshot, and to ask for those; gaps close together share it
    DUE = "due"
    ASKING = "asking"  # the answer to a get_snapshot; what falls due meanwhile has to wait for it


class RepairRung(enum.Enum):
    """How far up the ladder a Repair has gone since the books were last right. The third rung is a new
    connection.
    """

    SNAPSHOT = (
        "snapshot"  # get_snapshot; if that fails: unsubscribe and subscribe again, which brings new ones
    )
    # it was subscribed again; if get_snapshot fails after that too, the connection is given up
    SUBSCRIPTION = "subscription"


class Repair:
    """Watches the books that wait for a snapshot. Not thread-safe; see the module."""

    def __init__(self, books: Mapping[str, Book], output: Output, timing: Timing) -> None:
        self._books = books
        self._output = output
        self._timing = timing
        # Markets that answer no request though others do; they are asked again, but nothing is torn down for
        # them. Kept over connections; a snapshot takes its market out.
        self._mute: set[str] = set()
        self.reset()

    def reset(self) -> None:
        """No connection, nothing under way."""
        # How far up the ladder this repair is; back on the first rung when a request was answered, or no book
        # lacks anything.
        self._rung = RepairRung.SNAPSHOT

        # DUE: when to look for the books that lack a snapshot. Set by a gap, and by a request that is to be
        # repeated.
        self._due = _NEVER
        # EXPECTING: until when the snapshots have time that a subscription brings by itself. Each that comes
        # extends it.
        self._promised = _NEVER
        self._promised_at_most = _NEVER  # but not beyond this; fixed when the expecting begins

        # ASKING: the markets of the get_snapshot in flight that have not answered. Empty in every other
        # state.
        self._asked: set[str] = set()
        self._deadline = _NEVER  # of that get_snapshot; each answer extends it
        self._queue: list[str] = []  # what the same repair asks for next, when those have answered
        self._some_answered = (
            False  # in this repair: then the subscription works, and only some markets are silent
        )

        # No snapshot, asked for or expected, is overdue before this: what was not read yet may contain it.
        # Set by the session.
        self.not_overdue_before = 0.0

        self._failures: deque[float] = deque()  # when repairs failed, within the window that Timing sets
        self._gaps: deque[float] = deque(maxlen=_MAX_GAPS)  # when the last gaps were
        # The markets that the last gap of all books concerned, while none of them is LIVE again; None: look.
        self._broken: tuple[str, ...] | None = None

    @property
    def state(self) -> RepairState:
        """What is waited for now."""
        if self._asked:
            return RepairState.ASKING
        if self._due < _NEVER:
            return RepairState.DUE
        return RepairState.EXPECTING if self._promised < _NEVER else RepairState.IDLE

    def save(self) -> RepairMemory:
        """All of it as plain values."""
        return RepairMemory(
            due=to_moment(self._due),
            promised=to_moment(self._promised),
            promised_at_most=to_moment(self._promised_at_most),
            deadline=to_moment(self._deadline),
            not_overdue_before=self.not_overdue_before,
            asked=list(self._asked),
            queue=self._queue.copy(),
            some_answered=self._some_answered,
            resubscribed=self._rung is RepairRung.SUBSCRIPTION,
            failures=list(self._failures),
            gaps=list(self._gaps),
            broken=list(self._broken) if self._broken is not None else None,
            mute=list(self._mute),
        )

    def restore(self, memory: RepairMemory) -> None:
        """Go on where ``memory`` was saved."""
        self._due, self._promised = from_moment(memory.due), from_moment(memory.promised)
        self._promised_at_most, self._deadline = (
            from_moment(memory.promised_at_most),
            from_moment(memory.deadline),
        )
        self.not_overdue_before = memory.not_overdue_before
        self._asked, self._queue, self._mute = set(memory.asked), list(memory.queue), set(memory.mute)
        self._some_answered = memory.some_answered
        self._rung = RepairRung.SUBSCRIPTION if memory.resubscribed else RepairRung.SNAPSHOT
        self._failures = deque(memory.failures)
        self._gaps = deque(memory.gaps, maxlen=_MAX_GAPS)
        self._broken = tuple(memory.broken) if memory.broken is not None else None

    def next_deadline(self) -> float:
        """When tick() has something to do next."""
        if self._asked:
            return max(self._deadline, self.not_overdue_before)
        return min(self._due, max(self._promised, self.not_overdue_before))

    def expect(self, now: float) -> None:
        """Snapshots were promised, or go on coming: look for the missing ones later, but some day."""
        self.books_changed()
        if self._promised == _NEVER:
            self._promised_at_most = now + _MOST_EXTENSIONS * self._timing.snapshot
        self._promised = min(now + self._timing.snapshot, self._promised_at_most)

    def books_changed(self) -> None:
        """A book is LIVE again, or others are wanted: the next gap has to look which it concerns."""
        self._broken = None

    def gap(
        self,
        subscription: ServerSubscription,
        expected: int | None,
        received: int | None,
        reason: str,
        now: float,
        market_tickers: Iterable[str] | None = None,
        started: datetime | None = None,
    ) -> None:
        """Messages of ``subscription`` are missing: tell it, mark the books that may be wrong now, and have
        them repaired.

        ``market_tickers`` names the markets concerned where that is known; a gap in seq may hide a change of
        any (PROTOCOL.md 5.2), also of one whose snapshot came before the exchange confirmed it. ``started``:
        see Gap.gap_started.
        """
        is_book = subscription.name == BOOK_CHANNEL
        if market_tickers is not None:
            tickers = tuple(market_tickers)
        elif not is_book:
            tickers = subscription.named()
        elif self._broken is not None:  # a gap with every frame must not cost a look at every book
            tickers = self._broken
        else:
            tickers = self._broken = tuple(
                ticker for ticker, book in self._books.items() if _may_be_wrong(book, subscription)
            )
            self.mark_stale(tickers)
        self._output.counts.gaps += 1
        self._output.items.append(
            Gap(subscription.name, subscription.sid, expected, received, tickers, reason, started)
        )
        if len(self._gaps) == _MAX_GAPS and self._gaps[0] > now - self._timing.failed_repairs_window:
            self._output.give_up = (
                f"more than {_MAX_GAPS} gaps within {self._timing.failed_repairs_window:.0f} s"
            )
        self._gaps.append(now)
        if not is_book:
            return
        if market_tickers is not None:
            self.mark_stale(tickers)
        # ASKING: a snapshot we wait for may be among what was lost
        if market_tickers is None and self._asked:
            self._abandon(now)
        if not self._asked.issuperset(tickers):
            self._due = min(self._due, now + self._timing.gap_merge)

    def left(
        self, subscription: ServerSubscription, market_tickers: Iterable[str] | None, reason: str, now: float
    ) -> None:
        """The exchange no longer sends these markets (None: any); a LIVE one among them is no longer kept up.
        """
        named = None if market_tickers is None else set(market_tickers)
        gone = [ticker for ticker in self.live() if named is None or ticker in named]
        if subscription.name == BOOK_CHANNEL and gone:
            self.gap(subscription, None, None, reason, now, gone)

    def forget(self, market_tickers: Iterable[str]) -> None:
        """Nobody wants these any more."""
        self.books_changed()
        self._mute.difference_update(market_tickers)

    def live(self) -> list[str]:
        """The markets whose books are LIVE."""
        return [ticker for ticker, book in self._books.items() if book.status is BookStatus.LIVE]

    def mark_stale(self, market_tickers: Iterable[str]) -> None:
        """These books are no longer kept up: a LIVE one becomes STALE."""
        for ticker in market_tickers:
            book = self._books.get(ticker)
            if book is not None and book.status is BookStatus.LIVE:
                book.set_status(BookStatus.STALE)
                self._output.status_changed.add(ticker)

    def awaits(self, market_ticker: str) -> bool:
        """Whether the book's snapshot was asked for and has not come."""
        return market_ticker in self._asked

    def answered(self, market_ticker: str, reconciler: Reconciler, now: float) -> None:
        """A book that was not LIVE has had its snapshot."""
        self._mute.discard(market_ticker)
        self.books_changed()
        if self._promised < _NEVER:  # EXPECTING
            self.expect(now)  # they are coming: give the others time too
        if market_ticker in self._asked:  # ASKING
            self._asked.discard(market_ticker)
            self._some_answered = True
            self._deadline = now + self._timing.snapshot
            if not self._asked:
                self._ask(reconciler, now)

    def refused(self, code: int, is_passing: bool, reconciler: Reconciler, now: float) -> None:
        """The exchange did not accept the request for snapshots; ``is_passing`` if it may do so in a moment.
        """
        if self.state is not RepairState.ASKING:
            return
        if is_passing:
            self._asked.clear()
            self._due = min(self._due, now + self._timing.retry_initial)
        else:
            self._failed(f"error {code}", reconciler, now)

    def tick(self, reconciler: Reconciler, now: float) -> None:
        """Begin a repair that is due; end one that had no answer."""
        if now < self.next_deadline():
            return
        if self.state is RepairState.ASKING:
            self._unanswered(reconciler, now)
        else:
            self._look(reconciler, now)

    def _look(self, reconciler: Reconciler, now: float) -> None:
        """Ask for the snapshots that are missing; where none is, all is well."""
        self._due = self._promised = _NEVER
        subscription = reconciler.subscriptions.get(BOOK_CHANNEL)
        lacking = self._lacking(subscription.confirmed) if subscription is not None else []
        # those that never answer come last
        self._queue = sorted(lacking, key=lambda ticker: (ticker in self._mute, ticker))
        self._some_answered = False
        if self._queue:
            self._ask(reconciler, now)
        elif subscription is not None and subscription.confirmed:
            self._rung = RepairRung.SNAPSHOT

    def _unanswered(self, reconciler: Reconciler, now: float) -> None:
        """The time for the request in flight is up."""
        self._asked = set(self._lacking(self._asked))  # some may be no longer wanted
        if self._asked:
            self._failed(_SILENCE, reconciler, now)
        else:
            self._ask(reconciler, now)

    def _lacking(self, market_tickers: Iterable[str]) -> list[str]:
        """Which of them want a snapshot; the exchange may have named some that nobody ever wanted."""
        return [t for t in market_tickers if t in self._books and self._books[t].status in _WAITING]

    def _ask(self, reconciler: Reconciler, now: float) -> None:
        """Send the next part of the request, or end the repair when all have answered."""
        chunk, self._queue = self._queue[:CHUNK], self._queue[CHUNK:]
        self._asked = set(chunk)
        self._deadline = now + self._timing.snapshot
        if not chunk:
            if self._some_answered:
                self._rung = RepairRung.SNAPSHOT
                self._output.counts.resyncs += 1
        elif not reconciler.get_snapshot(tuple(chunk), now):
            self._asked.clear()
            self.expect(now)  # the subscription is not open now; opening it brings the snapshots

    def _failed(self, reason: str, reconciler: Reconciler, now: float) -> None:
        """What is left of the request in flight is not coming: one rung up, unless only these markets are
        silent.
        """
        silent, subscription = self._asked, reconciler.subscriptions[BOOK_CHANNEL]
        is_known, text = silent <= self._mute, f"no snapshot of {_some(silent)}: {reason}"
        others_do = reason == _SILENCE and not subscription.confirmed.isdisjoint(self.live())
        if self._some_answered or is_known or others_do:  # the subscription works for others
            self._mute |= silent
            self._due = min(self._due, now + (self._timing.mute_market if is_known else 0.0))
            self._output.fault("no_snapshot", f"{text}; they are asked for again", now)
            self._ask(reconciler, now)
            return
        self._abandon(now)
        if self._rung is RepairRung.SNAPSHOT:
            self._rung = RepairRung.SUBSCRIPTION
            self._output.fault("no_snapshot", f"{text}; subscribing again", now)
            reconciler.resubscribe(subscription, now)
            self.expect(now)
        else:
            self._mute |= silent
            self._output.give_up = f"the books could not be repaired: {reason}"

    def _abandon(self, now: float) -> None:
        """No longer ASKING: the repair failed. Too many of those within a minute, and the connection is given
        up.
        """
        self._asked = set()
        self._queue.clear()
        self._failures.append(now)
        while self._failures[0] < now - self._timing.failed_repairs_window:
            self._failures.popleft()
        if len(self._failures) >= _MAX_FAILURES:
            self._failures.clear()
            self._output.give_up = "three repairs of the books failed within a minute"


def _may_be_wrong(book: Book, subscription: ServerSubscription) -> bool:
    return book.status is BookStatus.LIVE or (
        book.status in _WAITING and book.market_ticker in subscription.confirmed
    )


def _some(tickers: set[str]) -> str:
    named = sorted(tickers)
    return ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
