"""Books that are wrong, or may be, and how they become right again.

A repair climbs a ladder of three rungs: it asks for snapshots; if that fails, it subscribes again, which
brings a new snapshot of every market; if that fails too, it has the connection replaced. RepairRung says how
far up it is, RepairState what it is waiting for:

    state      what happens -> the next state
    IDLE       a gap -> DUE
               a subscription is confirmed -> EXPECTING
    EXPECTING  a snapshot comes -> EXPECTING, for longer
               a gap -> DUE
               time is up -> look
    DUE        the moment has come -> look
    (look)     some books lack a snapshot -> ASKING, or EXPECTING while the subscription is not open
               no book does -> IDLE, on the first rung
    ASKING     all have answered -> ASKING for the next part, or what fell due meanwhile, or IDLE
               some are silent or refused, but others get theirs -> ASKING for the next part; the silent ones
               are DUE
               all are silent or refused -> one rung up

A gap first waits in DUE for ``Timing.gap_merge`` seconds, so that gaps close together share one repair. A
request names at most CHUNK markets, so a large one goes out in parts, each when the one before is answered. A
market that stays silent while others get their snapshots is not worth tearing anything down for: it becomes
*mute*, and is asked for again once in a while (``Timing.mute_market``).

Apart from the ladder, two counters replace the connection at once: three failed repairs, or more than a
thousand gaps, within ``Timing.failed_repairs_window``.

Owns the marking of books as STALE, and the one repair in flight. Not thread-safe; owned by the session.
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
_MAX_GAPS: Final = 1000  # within the same window: the limit for an exchange whose seqs are nonsense
_MOST_EXTENSIONS: Final = 6  # times Timing.snapshot, as long as snapshots of other markets come


class RepairState(enum.Enum):
    """What a Repair is waiting for. If several apply, the last one listed here counts."""

    IDLE = "idle"  # nothing: no book is known to lack a snapshot
    # the snapshots that a subscription brings by itself; missing ones are asked for when time is up
    EXPECTING = "expecting"
    # the moment to find the books that lack a snapshot, and to ask for those
    DUE = "due"
    ASKING = "asking"  # the answers to a get_snapshot; whatever falls due meanwhile has to wait


class RepairRung(enum.Enum):
    """How far up the ladder a Repair is; the third rung, a new connection, ends it."""

    SNAPSHOT = "snapshot"  # asking with get_snapshot; if that fails, the next rung is to subscribe again
    # subscribed again since the books were last right; if get_snapshot fails now, the connection is replaced
    SUBSCRIPTION = "subscription"


class Repair:
    """Watches the books that wait for a snapshot. Not thread-safe; owned by the session."""

    def __init__(self, books: Mapping[str, Book], output: Output, timing: Timing) -> None:
        self._books = books
        self._output = output
        self._timing = timing
        # The mute markets: silent although others answered. Kept across connections; a snapshot removes its
        # market.
        self._mute: set[str] = set()
        self.reset()

    def reset(self) -> None:
        """Forget what is under way: there is no connection."""
        # Back to the first rung when a request was answered, or no book lacks a snapshot.
        self._rung = RepairRung.SNAPSHOT

        # DUE: when to look for the books that lack a snapshot. Set by a gap, and by a request to be repeated.
        self._due = _NEVER
        # EXPECTING: when the snapshots that a subscription brings by itself are overdue. Each one extends it,
        self._promised = _NEVER
        self._promised_at_most = _NEVER  # but not beyond this, which is fixed when EXPECTING begins

        # ASKING: the markets of the get_snapshot in flight that have not answered. Empty in every other
        # state.
        self._asked: set[str] = set()
        self._deadline = _NEVER  # when that get_snapshot is overdue; each answer extends it
        self._queue: list[str] = []  # the markets this repair asks for next, once those have answered
        # whether any market has answered in this repair: then the subscription works, and only some are
        # silent
        self._some_answered = False

        # No snapshot counts as overdue before this, because it may be among what was not read yet. Set by the
        # session.
        self.not_overdue_before = 0.0

        self._failures: deque[float] = deque()  # when repairs failed, within Timing's window
        self._gaps: deque[float] = deque(maxlen=_MAX_GAPS)  # when the last gaps were
        # The markets of the last gap that concerned all books, as long as none of them is LIVE again. None:
        # unknown, go through the books.
        self._broken: tuple[str, ...] | None = None

    @property
    def state(self) -> RepairState:
        """What the repair is waiting for now."""
        if self._asked:
            return RepairState.ASKING
        if self._due < _NEVER:
            return RepairState.DUE
        return RepairState.EXPECTING if self._promised < _NEVER else RepairState.IDLE

    def save(self) -> RepairMemory:
        """Everything as plain values."""
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
        """Continue from ``memory``."""
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
        """When tick() next has something to do."""
        if self._asked:
            return max(self._deadline, self.not_overdue_before)
        return min(self._due, max(self._promised, self.not_overdue_before))

    def expect(self, now: float) -> None:
        """Snapshots were promised, or keep coming: look for missing ones later, up to a limit."""
        self.books_changed()
        if self._promised == _NEVER:
            self._promised_at_most = now + _MOST_EXTENSIONS * self._timing.snapshot
        self._promised = min(now + self._timing.snapshot, self._promised_at_most)

    def books_changed(self) -> None:
        """A book is LIVE again, or other books are wanted: the next gap has to go through the books."""
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
        """Messages are missing: report a Gap, mark the affected books STALE, start a repair.

        ``market_tickers`` names the affected markets if they are known. A gap in seq may hide a change to any
        market of the subscription (PROTOCOL.md 5.2), even to one whose snapshot came before the exchange
        confirmed it. ``started``: see Gap.gap_started.
        """
        is_book = subscription.name == BOOK_CHANNEL
        if market_tickers is not None:
            tickers = tuple(market_tickers)
        elif not is_book:
            tickers = subscription.named()
        elif self._broken is not None:  # a gap with every frame must not cost a pass over all books
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
        # ASKING: a snapshot that we wait for may be among the lost messages
        if market_tickers is None and self._asked:
            self._abandon(now)
        if not self._asked.issuperset(tickers):
            self._due = min(self._due, now + self._timing.gap_merge)

    def left(
        self, subscription: ServerSubscription, market_tickers: Iterable[str] | None, reason: str, now: float
    ) -> None:
        """The exchange no longer sends these markets (None: any of them): their LIVE books become STALE."""
        named = None if market_tickers is None else set(market_tickers)
        gone = [ticker for ticker in self.live() if named is None or ticker in named]
        if subscription.name == BOOK_CHANNEL and gone:
            self.gap(subscription, None, None, reason, now, gone)

    def forget(self, market_tickers: Iterable[str]) -> None:
        """These markets are no longer wanted."""
        self.books_changed()
        self._mute.difference_update(market_tickers)

    def live(self) -> list[str]:
        """The markets whose books are LIVE."""
        return [ticker for ticker, book in self._books.items() if book.status is BookStatus.LIVE]

    def mark_stale(self, market_tickers: Iterable[str]) -> None:
        """Make those of these books STALE that are LIVE: they no longer follow the exchange."""
        for ticker in market_tickers:
            book = self._books.get(ticker)
            if book is not None and book.status is BookStatus.LIVE:
                book.set_status(BookStatus.STALE)
                self._output.status_changed.add(ticker)

    def awaits(self, market_ticker: str) -> bool:
        """Whether the book's snapshot was requested and has not come yet."""
        return market_ticker in self._asked

    def answered(self, market_ticker: str, reconciler: Reconciler, now: float) -> None:
        """A book that was not LIVE has received its snapshot."""
        self._mute.discard(market_ticker)
        self.books_changed()
        if self._promised < _NEVER:  # EXPECTING
            self.expect(now)  # they are coming: give the rest more time
        if market_ticker in self._asked:  # ASKING
            self._asked.discard(market_ticker)
            self._some_answered = True
            self._deadline = now + self._timing.snapshot
            if not self._asked:
                self._ask(reconciler, now)

    def refused(self, code: int, is_passing: bool, reconciler: Reconciler, now: float) -> None:
        """The exchange refused the request for snapshots; ``is_passing``: it may accept one in a moment."""
        if self.state is not RepairState.ASKING:
            return
        if is_passing:
            self._asked.clear()
            self._due = min(self._due, now + self._timing.retry_initial)
        else:
            self._failed(f"error {code}", reconciler, now)

    def tick(self, reconciler: Reconciler, now: float) -> None:
        """Begin a repair that is due, or end one that was not answered."""
        if now < self.next_deadline():
            return
        if self.state is RepairState.ASKING:
            self._unanswered(reconciler, now)
        else:
            self._look(reconciler, now)

    def _look(self, reconciler: Reconciler, now: float) -> None:
        """Ask for the missing snapshots; if none is missing, all is well."""
        self._due = self._promised = _NEVER
        subscription = reconciler.subscriptions.get(BOOK_CHANNEL)
        lacking = self._lacking(subscription.confirmed) if subscription is not None else []
        # those that never answer go last
        self._queue = sorted(lacking, key=lambda ticker: (ticker in self._mute, ticker))
        self._some_answered = False
        if self._queue:
            self._ask(reconciler, now)
        elif subscription is not None and subscription.confirmed:
            self._rung = RepairRung.SNAPSHOT

    def _unanswered(self, reconciler: Reconciler, now: float) -> None:
        """The request in flight has timed out."""
        self._asked = set(self._lacking(self._asked))  # some may no longer be wanted
        if self._asked:
            self._failed(_SILENCE, reconciler, now)
        else:
            self._ask(reconciler, now)

    def _lacking(self, market_tickers: Iterable[str]) -> list[str]:
        """Those of the markets that lack a snapshot; the exchange may name some that were never wanted."""
        return [t for t in market_tickers if t in self._books and self._books[t].status in _WAITING]

    def _ask(self, reconciler: Reconciler, now: float) -> None:
        """Send the next part of the request, or end the repair if all have answered."""
        chunk, self._queue = self._queue[:CHUNK], self._queue[CHUNK:]
        self._asked = set(chunk)
        self._deadline = now + self._timing.snapshot
        if not chunk:
            if self._some_answered:
                self._rung = RepairRung.SNAPSHOT
                self._output.counts.resyncs += 1
        elif not reconciler.get_snapshot(tuple(chunk), now):
            self._asked.clear()
            self.expect(now)  # the subscription is not open; opening it brings the snapshots

    def _failed(self, reason: str, reconciler: Reconciler, now: float) -> None:
        """The rest of the request will not be answered: one rung up, unless only these markets are silent."""
        silent, subscription = self._asked, reconciler.subscriptions[BOOK_CHANNEL]
        is_known, text = silent <= self._mute, f"no snapshot of {_some(silent)}: {reason}"
        others_do = reason == _SILENCE and not subscription.confirmed.isdisjoint(self.live())
        if self._some_answered or is_known or others_do:  # the subscription works for others
            self._mute |= silent
            self._due = min(self._due, now + (self._timing.mute_market if is_known else 0.0))
            self._output.fault("no_snapshot", f"{text}; asking for them again", now)
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
        """The repair failed; stop ASKING. After too many failures, replace the connection."""
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
