"""Books that look wrong although no seq is missing: another channel contradicts them, or they are crossed.

If the exchange stops sending a single market, seq shows no gap: that market's deltas simply stop. Its ticker
and its trades, where subscribed, still come and give it away. They race with the book (they come on other
streams, in no order relative to it), so a single mismatch means nothing, and a book that has just changed is
not compared at all. A book is suspected when ``_SIGNS`` messages contradict it while it has not changed for
``Timing.contradiction`` seconds, with no ticker in between that agrees. A crossed book (its two best bids add
up to more than a dollar) is suspected after it was found crossed as many times, over as long.

Suspected books are checked with get_snapshot: all of them in one command, each market at most once per
``Timing.recheck``. Meanwhile the book stays LIVE: nothing is known to be missing, and a false alarm must not
stop anyone's trading. The snapshot decides. If it differs, the session reports a Gap and then delivers the
snapshot. If none comes, the session hands the book over to the repair.

Owns the suspicions. Not thread-safe; owned by the session. Deltas do not pass through here: a timer looks at
a few books at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..books.book import Book, BookStatus
from ..messages import Ticker, Trade
from ..messages.values import ONE_DOLLAR, cents_units, price_units
from .commands import CHUNK
from .memory import CrossCheckMemory, SuspicionMemory, from_moment, to_moment
from .output import Output
from .reconciler import Reconciler
from .timing import Timing

__all__ = ["CrossCheck"]

_NEVER: Final = float("inf")
_SIGNS: Final = 3
_ROUNDS: Final = 5  # passes over all the books within Timing.contradiction
_AT_ONCE: Final = 50  # books per look: about 0.1 ms


class _Suspicion:
    """Since when, and how often, something has contradicted a book (at this version)."""

    __slots__ = ("signs", "since", "version")

    def __init__(self, since: float, version: int, signs: int = 0) -> None:
        self.since = since
        self.version = version
        self.signs = signs

    def save(self) -> SuspicionMemory:
        """Everything but the version, which is the book's, as plain values."""
        return SuspicionMemory(to_moment(self.since), self.signs)

    def grows(self, now: float, lasting: float) -> bool:
        """Count one more sign; return whether there are enough of them now."""
        self.signs += 1
        return self.signs >= _SIGNS and now - self.since >= lasting


class CrossCheck:
    """Which books are suspected, and since when. Not thread-safe; owned by the session."""

    def __init__(self, books: Mapping[str, Book], output: Output, timing: Timing) -> None:
        self._books = books
        self._output = output
        self._timing = timing
        self._round = timing.contradiction / _ROUNDS
        self.reset()

    def reset(self) -> None:
        """Forget everything: the connection is gone, and the next one brings a new snapshot of every book."""
        self.not_overdue_before = 0.0  # no snapshot counts as overdue before this
        self.has_news = False  # whether books may have changed since the last look; the session sets it
        self._look_at = 0.0  # when to look at some more books
        self._to_look_at: list[Book] = []  # the rest of the current pass over all books
        self._denied: dict[str, _Suspicion] = {}  # contradicted by another channel
        self._crossed: dict[str, _Suspicion] = {}  # ``since`` is _NEVER once the fault was reported
        self._due: dict[str, None] = {}  # markets to ask for with the next get_snapshot
        self._ask_at = 0.0  # when that may be sent
        self._asked: dict[str, float] = {}  # markets asked for, and when their snapshot is overdue
        self._not_before: dict[str, float] = {}  # when a market may be asked for again

    def save(self) -> CrossCheckMemory:
        """Everything as plain values; contradictions of older versions of a book no longer count."""
        books = self._books
        denied = {
            ticker: one.save() for ticker, one in self._denied.items() if one.version == books[ticker].version
        }
        return CrossCheckMemory(
            not_overdue_before=self.not_overdue_before,
            has_news=self.has_news,
            look_at=self._look_at,
            to_look_at=[book.market_ticker for book in self._to_look_at],
            denied=denied,
            crossed={ticker: one.save() for ticker, one in self._crossed.items()},
            due=list(self._due),
            ask_at=self._ask_at,
            asked=self._asked.copy(),
            not_before=self._not_before.copy(),
        )

    def restore(self, memory: CrossCheckMemory) -> None:
        """Continue from ``memory``; the books are as they were then. Markets without a book are left out."""
        books = self._books
        self.not_overdue_before, self.has_news = memory.not_overdue_before, memory.has_news
        self._look_at, self._ask_at = memory.look_at, memory.ask_at
        self._to_look_at = [books[ticker] for ticker in memory.to_look_at if ticker in books]
        self._denied, self._crossed = self._suspicions(memory.denied), self._suspicions(memory.crossed)
        self._due = {ticker: None for ticker in memory.due if ticker in books}
        self._asked = {ticker: deadline for ticker, deadline in memory.asked.items() if ticker in books}
        self._not_before = dict(memory.not_before)

    def _suspicions(self, memories: Mapping[str, SuspicionMemory]) -> dict[str, _Suspicion]:
        return {
            ticker: _Suspicion(from_moment(memory.since), self._books[ticker].version, memory.signs)
            for ticker, memory in memories.items()
            if ticker in self._books
        }

    def compare(self, message: Ticker | Trade, now: float) -> None:
        """Compare the book with what the exchange says about its market on another channel."""
        book = self._books.get(message.msg.market_ticker or "")
        if book is None or book.status is not BookStatus.LIVE:
            return
        if book.updated is not None and now - book.updated < self._round:  # most messages end here
            return
        agrees = _agrees(message, book)
        if agrees is not False:
            if agrees:
                self._denied.pop(book.market_ticker, None)
            return
        denied = self._denied.get(book.market_ticker)
        if denied is None or denied.version != book.version:
            denied = self._denied[book.market_ticker] = _Suspicion(now, book.version)
        if denied.grows(now, self._timing.contradiction):
            self._ask_for(book.market_ticker, now)

    def answered(self, book: Book, yes: dict[int, int], no: dict[int, int]) -> bool:
        """A snapshot has arrived: whether it was requested here and proves the LIVE book wrong.

        The snapshot has its place in seq, so a correct book is equal to it.
        """
        was_asked = self._asked.pop(book.market_ticker, None) is not None
        return was_asked and book.status is BookStatus.LIVE and (book.yes != yes or book.no != no)

    def forget(self, market_ticker: str) -> None:
        """Forget a market whose book is no longer wanted."""
        known: tuple[dict[str, Any], ...] = (
            self._denied,
            self._crossed,
            self._due,
            self._asked,
            self._not_before,
        )
        for suspicions in known:
            suspicions.pop(market_ticker, None)

    def next_deadline(self) -> float:
        """When tick() next has something to do."""
        look_at = self._look_at if self.has_news else _NEVER
        if not self._due and not self._asked:
            return look_at
        ask_at = self._ask_at if self._due else _NEVER
        return min(look_at, ask_at, max(next(iter(self._asked.values()), _NEVER), self.not_overdue_before))

    def tick(self, reconciler: Reconciler, now: float) -> list[str]:
        """Do what is due; return the markets whose snapshot is overdue and whose books are still LIVE."""
        if self.has_news and now >= self._look_at:
            self._look(now)
        if self._due and now >= self._ask_at:
            self._ask(reconciler, now)
        silent = []
        for market_ticker, deadline in tuple(self._asked.items()):
            if max(deadline, self.not_overdue_before) > now:
                break
            del self._asked[market_ticker]
            book = self._books.get(market_ticker)
            if book is not None and book.status is BookStatus.LIVE:
                silent.append(market_ticker)
        return silent

    def _look(self, now: float) -> None:
        """Check some books for being crossed; the next pass starts a little after the last one has ended."""
        if not self._to_look_at:
            self._to_look_at = list(self._books.values())
        some, self._to_look_at = self._to_look_at[:_AT_ONCE], self._to_look_at[_AT_ONCE:]
        for book in some:
            market_ticker = book.market_ticker
            if book.status is not BookStatus.LIVE or not book.is_crossed:
                self._crossed.pop(market_ticker, None)
                continue
            crossed = self._crossed.setdefault(market_ticker, _Suspicion(now, book.version))
            if crossed.grows(now, self._timing.contradiction) and self._ask_for(market_ticker, now):
                crossed.since = _NEVER
                text = (
                    f"the book of {market_ticker} is crossed: its best yes and no bids add up to more than "
                    "a dollar"
                )
                self._output.fault("crossed_book", text, now, market_ticker=market_ticker)
        if self._to_look_at:
            self._look_at = now + self._round / 10
        else:
            self._look_at = now + self._round
            self.has_news = any(crossed.since < _NEVER for crossed in self._crossed.values())

    def _ask_for(self, market_ticker: str, now: float) -> bool:
        """Queue a request for the market, unless there was one a moment ago; return whether it was queued."""
        if self._not_before.get(market_ticker, now) > now:
            return False
        self._not_before[market_ticker] = now + self._timing.recheck
        self._due[market_ticker] = None
        return True

    def _ask(self, reconciler: Reconciler, now: float) -> None:
        some = tuple(self._due)[:CHUNK]
        for market_ticker in some:
            del self._due[market_ticker]
        self._ask_at = now + self._round
        if reconciler.get_snapshot(some, now):
            self._asked.update(dict.fromkeys(some, now + self._timing.snapshot))


def _agrees(message: Ticker | Trade, book: Book) -> bool | None:
    """Whether the book and the message agree; None if the message says nothing about it.

    How a ticker shows an empty side is not documented (0 or 1), so both count as empty.
    """
    bid, ask = book.best_yes() or 0, ONE_DOLLAR - (book.best_no() or 0)
    if isinstance(message, Trade):
        price = _units(message.msg.yes_price_dollars, message.msg.yes_price_cents)
        if price is None or message.is_block_trade or bid <= price <= ask:
            return None
        return False
    stated_bid = _units(message.msg.yes_bid_dollars, message.msg.yes_bid_cents)
    stated_ask = _units(message.msg.yes_ask_dollars, message.msg.yes_ask_cents)
    if stated_bid is None and stated_ask is None:
        return None
    bids_agree = stated_bid is None or stated_bid % ONE_DOLLAR == bid % ONE_DOLLAR
    return bids_agree and (stated_ask is None or stated_ask % ONE_DOLLAR == ask % ONE_DOLLAR)


def _units(text: str | None, cents: int | None) -> int | None:
    if text:
        return price_units(text)
    return None if cents is None else cents_units(cents)
