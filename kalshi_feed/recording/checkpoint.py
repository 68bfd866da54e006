"""What a session knows at one moment, as lines, and a session that goes on from such lines.

Owns both directions: what a session remembers is its own business (session/memory.py), the wants and the
books are added here. take_checkpoint() and restore() are called with the store's lock held; lines_of() is
not, and does the slow part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ..books.book import Book, BookStatus
from ..books.levels import Levels
from ..books.store import BookStore
from ..engine.engine import Engine
from ..errors import ConfigurationError
from ..messages.values import count_units, price_decimal, price_units, size_decimal
from ..session.session import Session
from ..session.wanted import Want, Wanted
from .lines import BookLine, SessionLine, WantLine

__all__ = [
    "BookCopy",
    "Checkpoint",
    "Numbers",
    "SessionCopy",
    "book_of",
    "lines_of",
    "restore",
    "take_checkpoint",
    "want_of",
]


class Numbers:
    """Numbers for subscriptions, so that a wish can name its own. Not thread-safe."""

    def __init__(self) -> None:
        self._numbers: dict[Want, int] = {}
        self._next = 1

    def of(self, want: Want) -> int:
        """The subscription's number, a new one if it has none."""
        number = self._numbers.get(want)
        if number is None:
            number = self._numbers[want] = self._next
            self._next += 1
        return number

    def forget(self, want: Want) -> None:
        """The subscription has ended."""
        self._numbers.pop(want, None)


class BookCopy(NamedTuple):
    """A book as it was."""

    market_ticker: str
    status: BookStatus
    seq: int | None
    clock: int | None
    updated: float | None
    was_known: bool
    levels: Levels


class SessionCopy(NamedTuple):
    """A checkpoint as it was taken, its books yet to be written out."""

    session: SessionLine
    books: list[BookCopy]


@dataclass
class Checkpoint:
    """A checkpoint as it was read."""

    ns: int
    session: SessionLine
    books: list[BookCopy]


def take_checkpoint(engine: Engine, numbers: Numbers, missed: int, *, cut: bool) -> SessionCopy:
    """What the engine's session knows now; see SessionLine for ``missed`` and ``cut``."""
    books, tickers = engine.store.books, engine.requests.wanted_books_locked()
    wants = [line for want in engine.wanted.wants for line in _want_lines(want, numbers.of(want))]
    line = SessionLine(state=engine.state.value, books=len(tickers), missed=missed, cut=cut, wants=wants)
    engine.session.save(line)
    return SessionCopy(line, [_copy(books[ticker]) for ticker in tickers])


def _copy(book: Book) -> BookCopy:
    return BookCopy(
        book.market_ticker, book.status, book.seq, book.clock, book.updated, book.was_known, book.levels()
    )


def lines_of(copy: SessionCopy) -> Iterable[BookLine]:
    """The books of a checkpoint, written out."""
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


def book_of(line: BookLine) -> BookCopy:
    """The book of a line. Raises ValueError for levels that cannot be."""
    yes, no = (
        {price_units(price): count_units(size) for price, size in side}
        for side in (line.yes_dollars_fp, line.no_dollars_fp)
    )
    levels = Levels()
    levels.put(yes, no)
    return BookCopy(
        line.market_ticker, line.status, line.seq, line.clock, line.updated, line.was_known, levels
    )


def _want_lines(want: Want, number: int) -> list[WantLine]:
    """One for each channel: what the exchange has refused of it is no longer wanted."""
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
    """The subscription of a line."""
    return Want(tuple(line.channels), line.selector, line.keys, line.options)


def restore(
    checkpoint: Checkpoint, store: BookStore, wanted: Wanted, session: Session, now: float
) -> tuple[dict[int, list[Want]], list[str]]:
    """Make the session what it was then, whatever it was before.

    Returns the subscriptions by their numbers, and what is wrong with the checkpoint.
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
            troubles.append(f"a subscription of a checkpoint cannot be, and is left out: {error}")
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
            book.replace(copy.levels.yes, copy.levels.no, copy.seq, copy.clock, copy.updated)
        book.set_status(copy.status)
        if copy.status is BookStatus.UNKNOWN or not book.was_known:
            book.was_known = copy.was_known
        changed.add(copy.market_ticker)
    if line.books > len(checkpoint.books):
        troubles.append(f"{line.books - len(checkpoint.books)} books of a checkpoint are missing")
    if line.state == "CONNECTED" and line.connected_at is None:  # older recordings do not say since when
        line.connected_at = now
    session.restore(line, now)
    return wants, troubles
