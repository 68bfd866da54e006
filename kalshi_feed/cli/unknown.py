"""Markets that the exchange does not know: a command with no other markets ends, any other one warns.

Owns these messages on standard error. Main thread, except for the callback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from ..books.book import BookStatus
from ..errors import StaleBookError, UnknownMarketError
from ..events import FeedFault, FeedState, StateChange
from ..feed import KalshiFeed
from ..session.channels import BOOK_CHANNEL
from .errors import Failed
from .model import printable

__all__ = ["UnknownTickers"]

_SHOWN: Final = 5


class UnknownTickers:
    """Which of a command's markets the exchange does not know. Main thread, except for the callback.

    With ``warns``, each is reported on standard error as soon as it is found; otherwise by report(), for a
    command that draws on the screen meanwhile. ``alone``: there is nothing else to see.
    """

    def __init__(
        self,
        feed: KalshiFeed,
        market_tickers: Sequence[str],
        channels: Sequence[str],
        *,
        warns: bool = True,
        alone: bool = True,
    ) -> None:
        self._feed = feed
        self._warns = warns
        self._alone = alone
        self._market_tickers = dict.fromkeys(market_tickers if BOOK_CHANNEL in channels else ())
        self._reported: dict[str, None] = {}
        # written by the worker thread only: the books to look at, in place of all 10,000
        self._suspects: dict[str, None] = {}
        feed.on_error(self._hear)
        feed.on_state(self._look_at_all)
        self.found: list[str] = []  # those that the exchange did not know at the last look

    def look(self) -> None:
        """Warn about new ones. Raises Failed if the exchange knows none of the markets."""
        errors = self._errors()
        if (
            self._alone
            and errors
            and len(errors) == len(self._market_tickers)
            and not any(error.was_known for error in errors)
        ):
            self._reported.update(dict.fromkeys(error.market_ticker for error in errors))
            more = f"\n… and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
            raise Failed("\n".join(printable(error) for error in errors[:_SHOWN]) + more)
        if self._warns:
            self._report(errors)

    def report(self) -> None:
        """Report those that were not reported yet."""
        self._report(self._errors())

    def _hear(self, fault: FeedFault) -> None:
        if fault.kind == "unknown_market" and fault.context["market_ticker"] in self._market_tickers:
            self._suspects[fault.context["market_ticker"]] = None

    def _look_at_all(self, change: StateChange) -> None:
        """What a relay's consumer takes in before it is connected is not reported to callbacks."""
        if change.state is FeedState.CONNECTED:
            books = self._feed.books
            for ticker in self._market_tickers:
                if ticker in books and books[ticker].status is BookStatus.UNKNOWN:
                    self._suspects[ticker] = None

    def _report(self, errors: list[UnknownMarketError]) -> None:
        for error in errors:
            if error.market_ticker not in self._reported:
                self._reported[error.market_ticker] = None
                click.echo(f"warning: {printable(error)}", err=True)

    def _errors(self) -> list[UnknownMarketError]:
        found = []
        for ticker in tuple(self._suspects):
            book = self._feed.books.get(ticker)
            if book is not None and not book.is_live:
                try:
                    book.view(require_live=True)
                except UnknownMarketError as error:
                    found.append(error)
                except StaleBookError:
                    pass
        self.found = [error.market_ticker for error in found]
        return found
