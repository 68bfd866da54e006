"""Checks that nothing wrong is ever LIVE, through the public API: invariant 1 of kalshi_feed/README.md."""

from __future__ import annotations

from typing import Any

from kalshi_feed import KalshiFeed
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, sides
from tests.support import wait_until

__all__ = ["Witness", "actions", "number_of"]


class Witness:
    """Watches every LIVE book that callbacks can see, and remembers every state of the exchange's books."""

    def __init__(self, feed: KalshiFeed, exchange: Exchange) -> None:
        self._exchange = exchange
        self._feed = feed
        self._seen: list[Any] = []
        self.truths: dict[str, list[Any]] = {ticker: [] for ticker in (A, B)}
        self.note()
        for register in (feed.on_message, feed.on_book, feed.on_error, feed.on_gap):
            register(self._look)

    def _look(self, told: object) -> None:
        for ticker in (A, B):
            view = self._feed.book(ticker).view()
            if view.is_live:
                self._seen.append((ticker, sides(view)))

    def note(self) -> None:
        """Note that the exchange's books, as they are now, may be seen from now on."""
        for ticker in (A, B):
            self.truths[ticker].append(self._exchange.book(ticker))

    def change(self, ticker: str, side: str, price: str, delta: Any) -> None:
        """Change the exchange's book, and note what it is then."""
        self._exchange.change(ticker, side, price, delta)
        self.note()

    def check(self) -> None:
        """Check that nothing wrong was ever LIVE."""
        wait_until(lambda: self._seen, what="a callback that sees a LIVE book")
        for ticker, seen in tuple(self._seen):
            assert seen in self.truths[ticker], f"the book of {ticker} was LIVE with {seen}"


def actions(exchange: Exchange) -> list[str]:
    """What the exchange has been asked so far: the command, or the action of an update."""
    return [c.get("params", {}).get("action", c["cmd"]) for c in exchange.commands]


def number_of(exchange: Exchange, action: str) -> int:
    """How often the exchange has been asked for it."""
    return actions(exchange).count(action)
