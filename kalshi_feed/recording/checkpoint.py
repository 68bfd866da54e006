"""What a session knows at one moment, as lines, and a session that goes on from such lines.

Owns both directions. take() and restore() are called with the store's lock held; lines_of() is not, and does the slow part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ..books.book import Book, BookStatus
from ..books.levels import Levels
from ..books.store import BookStore
from ..engine.engine import Engine
from ..messages.values import price_decimal, price_units, size_decimal, size_units
from ..session.commands import Command
from ..session.server_subscription import ServerSubscription
from ..session.session import Session
from ..session.wanted import Want, Wanted
from .lines import BookLine, CommandLine, LinkLine, SessionLine, WantLine

__all__ = ["Checkpoint", "Numbers", "SessionCopy", "lines_of", "restore", "take_checkpoint", "want_of"]


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
    books: list[BookLine]


def take_checkpoint(engine: Engine, numbers: Numbers, missed: int) -> SessionCopy:
    """What the engine's session knows now."""
    reconciler, books = engine.session.reconciler, engine.store.books
    tickers = engine.requests.wanted_books_locked()
    return SessionCopy(
        SessionLine(
            state=engine.state.value,
            books=len(tickers),
            missed=missed,
            next_id=reconciler.next_id,
            wants=[line for want in engine.wanted.wants for line in _want_lines(want, numbers.of(want))],
            links=[_subscription_line(subscription) for subscription in reconciler.subscriptions],
            in_flight=[_command_line(command) for command in reconciler.in_flight.values()],
            retired=sorted(reconciler.subscriptions.retired),
            unsettled=sorted(reconciler.unsettled | engine.wanted.changed),
        ),
        [_copy(books[ticker]) for ticker in tickers],
    )


def _copy(book: Book) -> BookCopy:
    return BookCopy(book.market_ticker, book.status, book.seq, book.clock, book.updated, book.levels())


def lines_of(copy: SessionCopy) -> Iterable[BookLine]:
    """The books of a checkpoint, written out."""
    for book in copy.books:
        yield BookLine(
            book.market_ticker,
            book.status.value,
            book.seq,
            book.clock,
            book.updated,
            [(str(price_decimal(price)), str(size_decimal(size))) for price, size in book.levels.yes.items()],
            [(str(price_decimal(price)), str(size_decimal(size))) for price, size in book.levels.no.items()],
        )


def _want_lines(want: Want, number: int) -> list[WantLine]:
    """One for each channel: what the exchange has refused of it is no longer wanted."""
    return [
        WantLine(number, [name], want.selector, [key for key in want.keys if key not in want.refused.get(name, ())], want.options)
        for name in want.live_channels()
    ]


def want_of(line: WantLine) -> Want:
    """The subscription of a line."""
    return Want(tuple(line.channels), line.selector, line.keys, line.options)


def _subscription_line(subscription: ServerSubscription) -> LinkLine:
    return LinkLine(
        channel=subscription.name,
        sid=subscription.sid,
        is_open=subscription.is_open,
        next_seq=subscription.next_seq,
        selector=subscription.selector,
        confirmed=list(subscription.confirmed),
        uncertain=list(subscription.uncertain),
        pending=subscription.pending.id if subscription.pending is not None else None,
        failures=subscription.failures,
        opened_at=subscription.opened_at,
        retry_at=subscription.retry_at,
        chunk=subscription.chunk,
    )


def _subscription_of(line: LinkLine, in_flight: dict[int, Command]) -> ServerSubscription:
    subscription = ServerSubscription(line.channel)
    subscription.sid, subscription.is_open, subscription.next_seq, subscription.selector = (
        line.sid,
        line.is_open,
        line.next_seq,
        line.selector,
    )
    subscription.confirm(line.confirmed)
    subscription.uncertain.update(line.uncertain)
    subscription.pending = in_flight.get(line.pending) if line.pending is not None else None
    subscription.failures, subscription.opened_at, subscription.retry_at = line.failures, line.opened_at, line.retry_at
    subscription.chunk = line.chunk if line.chunk is not None else subscription.chunk
    return subscription


def _command_line(command: Command) -> CommandLine:
    return CommandLine(
        command.id, command.cmd, command.channel, list(command.keys), command.deadline, command.sid, command.repeated
    )


def _command_of(line: CommandLine) -> Command:
    return Command(line.id, line.cmd, line.channel, tuple(line.keys), line.deadline, line.sid, line.repeated)


def restore(checkpoint: Checkpoint, store: BookStore, wanted: Wanted, session: Session, now: float) -> dict[int, list[Want]]:
    """Make the session what it was then, whatever it was before; returns the subscriptions by their numbers."""
    line, changed = checkpoint.session, session.output.status_changed
    for old in tuple(wanted.wants):
        session.books_unwanted(wanted.remove(old))
    wants: dict[int, list[Want]] = {}
    for want_line in line.wants:
        want = want_of(want_line)
        for ticker in wanted.add(want):
            book = store.book_locked(ticker)
            book.wanted_at = now
            book.set_status(BookStatus.PENDING)
            changed.add(ticker)
        wants.setdefault(want_line.number, []).append(want)
    session.disconnected(now)  # hands the lists that were asked for back to wanted
    wanted.take_pending()
    for book_line in checkpoint.books:
        book = store.book_locked(book_line.market_ticker)
        if book_line.updated is not None:
            levels = [
                {price_units(price): size_units(size) for price, size in side}
                for side in (book_line.yes_dollars_fp, book_line.no_dollars_fp)
            ]
            book.replace(levels[0], levels[1], book_line.seq, book_line.clock, book_line.updated)
        book.set_status(BookStatus(book_line.status))
        changed.add(book_line.market_ticker)
    if line.state == "CONNECTED":
        in_flight = {one.id: _command_of(one) for one in line.in_flight}
        subscriptions = [_subscription_of(one, in_flight) for one in line.links]
        session.resume(subscriptions, line.retired, in_flight.values(), line.unsettled, line.next_id, now)
    else:
        session.reconciler.next_id = line.next_id
        wanted.changed.update(line.unsettled)
    return wants
