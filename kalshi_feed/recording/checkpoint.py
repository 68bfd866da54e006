"""Checkpoints: what a session knows at one moment, and a session that goes on from there.

Owns both directions. A checkpoint has three parts: what the session itself remembers (session/memory.py knows
what that is: sids, sequence numbers, holes, commands in flight), what is wanted, and the books. A recording
has one at the beginning of each file and after each loss, so that a replay can start there without anything
before it. Where a file goes on exactly where the last one ended, the replay ignores the checkpoint: its
session already knows all of it.

take_checkpoint() and restore() are called with the store's lock held, and only copy. encode_checkpoint() does
the slow part, formatting every level of every book, on the writer's thread without the lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..books.book import Book, BookStatus
from ..books.levels import Levels
from ..books.store import BookStore
from ..engine.engine import Engine
from ..errors import ConfigurationError
from ..messages.books import levels_in
from ..messages.listed import Market
from ..messages.values import price_decimal, size_decimal
from ..session.session import Session
from ..session.wanted import Want, Wanted
from .lines import BookLine, Line, SessionLine, WantLine, encode_line, learned_line

__all__ = [
    "BookCopy",
    "Checkpoint",
    "Numbers",
    "SessionCopy",
    "book_of",
    "encode_checkpoint",
    "lines_of",
    "restore",
    "take_checkpoint",
    "want_of",
]


class Numbers:
    """Numbers for subscriptions, so that a later wish can say which one it means. Not thread-safe."""

    def __init__(self) -> None:
        self._numbers: dict[Want, int] = {}
        self._next = 1

    def of(self, want: Want) -> int:
        """Return the subscription's number, a new one if it has none."""
        number = self._numbers.get(want)
        if number is None:
            number = self._numbers[want] = self._next
            self._next += 1
        return number

    def forget(self, want: Want) -> None:
        """Drop the number of a subscription that has ended."""
        self._numbers.pop(want, None)


class BookCopy(NamedTuple):
    """A book at the moment of a checkpoint. Immutable, and its levels are its own copy."""

    market_ticker: str
    status: BookStatus
    seq: int | None
    clock: int | None
    updated: float | None
    was_known: bool
    levels: Levels


class SessionCopy(NamedTuple):
    """A checkpoint as it was taken; its books are not formatted yet."""

    session: SessionLine
    books: list[BookCopy]
    markets: list[Market]  # what was known about those of the books


@dataclass
class Checkpoint:
    """A checkpoint as it was read from a file."""

    ns: int
    session: SessionLine
    books: list[BookCopy]


def take_checkpoint(engine: Engine, numbers: Numbers, missed: int, *, cut: bool) -> SessionCopy:
    """Copy what the engine's session knows now; see SessionLine for ``missed`` and ``cut``."""
    books, tickers = engine.store.books, engine.requests.wanted_books_locked()
    wants = [line for want in engine.wanted.wants for line in _want_lines(want, numbers.of(want))]
    line = SessionLine(state=engine.state.value, books=len(tickers), missed=missed, cut=cut, wants=wants)
    engine.session.save(line)
    line.holding = engine.holding.save() if engine.holding is not None else None
    known = engine.store.markets
    return SessionCopy(
        line,
        [_copy(books[ticker]) for ticker in tickers],
        [known[ticker] for ticker in tickers if ticker in known],
    )


def _copy(book: Book) -> BookCopy:
    return BookCopy(
        book.market_ticker, book.status, book.seq, book.clock, book.updated, book.was_known, book.levels()
    )


def lines_of(copy: SessionCopy) -> Iterable[BookLine]:
    """Format the books of a checkpoint."""
    for book in copy.books:
        yield BookLine(
            book.market_ticker,
            book.status,
            book.seq,
            book.clock,
            book.updated,
            [(str(price_decimal(price)), str(size_decimal(size))) for price, size in book.levels.yes.items()],
            [(str(price_decimal(price)), str(size_decimal(size))) for price, size in book.levels.no.items()],
            book.was_known,
        )


def encode_checkpoint(copy: SessionCopy, ns: int) -> Iterator[bytes]:
    """Return the lines of a checkpoint, each formatted when it is asked for; ``ns`` is its time (Unix)."""
    yield encode_line(Line(session=copy.session), ns)
    for book in lines_of(copy):
        yield encode_line(Line(book=book), ns)
    for market in copy.markets:
        yield encode_line(learned_line(market), ns)


def book_of(line: BookLine) -> BookCopy:
    """Read a book from its line. Raises ValueError for impossible levels."""
    levels = Levels()
    levels.put(levels_in(line.yes_dollars_fp, "yes"), levels_in(line.no_dollars_fp, "no"))
    return BookCopy(
        line.market_ticker, line.status, line.seq, line.clock, line.updated, line.was_known, levels
    )


def _want_lines(want: Want, number: int) -> list[WantLine]:
    """One line per channel of the subscription, without the markets that the exchange refused there."""
    return [
        WantLine(
            number,
            [name],
            want.selector,
            [key for key in want.keys if key not in want.refused.get(name, ())],
            want.options,
        )
        for name in want.live_channels()
    ]


def want_of(line: WantLine) -> Want:
    """Make a subscription from its line."""
    return Want(tuple(line.channels), line.selector, line.keys, line.options)


def restore(
    checkpoint: Checkpoint, store: BookStore, wanted: Wanted, session: Session, now: float
) -> tuple[dict[int, list[Want]], list[str]]:
    """Bring the session to the state of the checkpoint, whatever it was before.

    First everything wanted so far is dropped; then the subscriptions of the checkpoint are added, which makes
    their books PENDING; the session forgets its connection; the books get their levels and status back; and
    last the session takes up what it remembered. Returns the subscriptions by number, and what is wrong with
    the checkpoint.
    """
    line, changed, troubles = checkpoint.session, session.output.status_changed, []
    for old in tuple(wanted.wants):
        session.books_unwanted(wanted.remove(old))
    wants: dict[int, list[Want]] = {}
    for want_line in line.wants:
        want = want_of(want_line)
        try:
            tickers = wanted.add(want)
        except ConfigurationError as error:
            troubles.append(f"a subscription in a checkpoint is not valid and was skipped: {error}")
            continue
        for ticker in tickers:
            book = store.book_locked(ticker)
            book.wanted_at = now
            book.set_status(BookStatus.PENDING)
            changed.add(ticker)
        wants.setdefault(want_line.number, []).append(want)
    session.disconnected(now)
    for copy in checkpoint.books:
        book = store.book_locked(copy.market_ticker)
        if copy.updated is not None:
            book.replace({}, {}, copy.seq, copy.clock, copy.updated)
            book.adopt(copy.levels.levels())
        book.set_status(copy.status)
        if copy.status is BookStatus.UNKNOWN or not book.was_known:
            book.was_known = copy.was_known
        changed.add(copy.market_ticker)
    if line.books > len(checkpoint.books):
        troubles.append(f"{line.books - len(checkpoint.books)} books of a checkpoint are missing")
    if line.state == "CONNECTED" and line.connected_at is None:  # older recordings lack the time
        line.connected_at = now
    session.restore(line, now)
    return wants, troubles
