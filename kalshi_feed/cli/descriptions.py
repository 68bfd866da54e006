"""What REST says about the markets that were given by name: titles, times, results.

Owns Descriptions. Main thread only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from ..messages.listed import Market
from .about import is_over
from .asking import RestQuestion

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["Descriptions"]

_MOST: Final = 1_000  # markets that are asked about
_AGAIN: Final = 30.0  # seconds until the next question about markets that are over without a result


class Descriptions:
    """What is known about these markets. Main thread only.

    It asks once, and again about those that are over while their result is not known. It is a courtesy: where
    there is no REST, or it does not answer, nothing is known.
    """

    def __init__(self, rest: Rest | None, market_tickers: Sequence[str]) -> None:
        self._rest = rest
        self._known: dict[str, Market] = {}
        self._question: RestQuestion[list[Market]] | None = None
        self._due = 0.0  # when to ask again (time.monotonic())
        self._ask(list(market_tickers[:_MOST]))

    def look(self) -> Mapping[str, Market]:
        """Take in an answer, and ask again if it is time; return what is known, by ticker."""
        if self._question is not None and self._question.is_done:
            # replaced as a whole: a callback may look at it
            self._known = self._known | {market.ticker: market for market in self._question.answer or ()}
            self._question, self._due = None, time.monotonic() + _AGAIN
        if self._question is None and time.monotonic() >= self._due:
            now, self._due = datetime.now(timezone.utc), time.monotonic() + _AGAIN
            self._ask([one.ticker for one in self._known.values() if not one.result and is_over(one, now)])
        return self._known

    def close(self) -> None:
        """Leave no question behind; the Rest has been closed."""
        if self._question is not None:
            self._question.join(1.0)

    def _ask(self, market_tickers: list[str]) -> None:
        rest = self._rest
        if rest is not None and market_tickers:
            self._question = RestQuestion(lambda: list(rest.markets(tickers=market_tickers)))
