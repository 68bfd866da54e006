"""Markets that the exchange does not know, on the command line: a command with no other markets ends, one
with some warns.

Owns these words on standard error. Main thread, but for the callback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from ..errors import StaleBookError, UnknownMarketError
from ..events import FeedFault
from ..feed import KalshiFeed
from ..session.channels import BOOK_CHANNEL
from .errors import Failed
from .model import printable

__all__ = ["UnknownTickers"]

_SHOWN: Final = 5


class UnknownTickers:
    """Which of a command's markets the exchange does not know. Main thread, but for the callback.

    ``warns``: each is told on standard error as soon as it is known to be one; else by tell(), where a screen
    would be in the way.
    """

    def __init__(
        self, feed: KalshiFeed, market_tickers: Sequence[str], channels: Sequence[str], *, warns: bool = True
    ) -> None:
        self._feed = feed
        self._warns = warns
        self._market_tickers = dict.fromkeys(market_tickers if BOOK_CHANNEL in channels else ())
        self._told: dict[str, None] = {}
        # written by the worker thread alone; looked at, so that 10,000 books need not be
        self._suspects: dict[str, None] = {}
        feed.on_error(self._hear)
        self.found: list[str] = []  # those that the exchange did not know when it was last looked

    def look(self) -> None:
        """Warn of those that have become known to be unknown. Raises Failed if all of the markets are."""
        errors = self._errors()
        if (
            errors
            and len(errors) == len(self._market_tickers)
            and not any(error.was_known for error in errors)
        ):
            more = f"\n… and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
            raise Failed("\n".join(printable(error) for error in errors[:_SHOWN]) + more)
        if self._warns:
            self._tell(errors)

    def tell(self) -> None:
        """Tell what was not told yet."""
        self._tell(self._errors())

    def _hear(self, fault: FeedFault) -> None:
        if fault.kind == "unknown_market" and fault.context["market_ticker"] in self._market_tickers:
            self._suspects[fault.context["market_ticker"]] = None

    def _tell(self, errors: list[UnknownMarketError]) -> None:
        for error in errors:
            if error.market_ticker not in self._told:
                self._told[error.market_ticker] = None
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
