"""A user who trusts the feed and checks it: kalshi_feed/README.md's invariants, as callbacks see them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kalshi_feed import BookStatus, FeedState, Gap, KalshiFeed, Lagged, ReconnectPolicy, StateChange
from kalshi_feed.simulator import Exchange
from tests.feed.support import wait_equal
from tests.support import wait_until

__all__ = ["Bookkeeper"]


class Bookkeeper:
    """Keeps books from callbacks alone, and notes violations of the invariants. Register it before start().

    The feed's worker appends, the test reads: ``received`` is everything in order, ``wrong`` the violations.
    """

    def __init__(self, feed: KalshiFeed, policy: ReconnectPolicy | None = None) -> None:
        self._feed = feed
        self._policy = policy
        self._last: dict[int | None, int] = {}  # the last seq by sid
        self.received: list[Any] = []
        self.wrong: list[str] = []
        self.books: dict[str, dict[str, dict[Decimal, Decimal]]] = {}  # of the markets whose base is known
        for register in (feed.on_state, feed.on_gap, feed.on_lagged, feed.on_error, feed.on_message):
            register(self._take)

    def _take(self, item: Any) -> None:
        self.received.append(item)
        if isinstance(item, StateChange):
            self._state(item)
        elif isinstance(item, Gap):
            if item.channel == "orderbook_delta":
                for ticker in item.market_tickers:
                    self.books.pop(ticker, None)
        elif isinstance(item, Lagged):
            self.wrong.append(f"nothing here is slow, yet {item}")
        elif getattr(item, "type", None) in ("orderbook_snapshot", "orderbook_delta"):
            last = self._last.get(item.sid, 0)
            if item.seq <= last:
                self.wrong.append(f"{item.type} {item.seq} after {last}")
            self._last[item.sid] = item.seq
            (self._snapshot if item.type == "orderbook_snapshot" else self._delta)(item)

    def _state(self, change: StateChange) -> None:
        self._last.clear()
        self.books.clear()
        if change.state is not FeedState.RECONNECTING:
            return
        before = self._feed.stats()
        live = [ticker for ticker, book in self._feed.books.items() if book.status is BookStatus.LIVE]
        after = self._feed.stats()
        if (
            live
            and before.state is after.state is FeedState.RECONNECTING
            and before.reconnects == after.reconnects
        ):
            self.wrong.append(f"LIVE without a connection: {live}")
        if self._policy is not None and (change.delay or 0.0) < self._policy.delay(change.attempt, 0.0):
            self.wrong.append(f"attempt {change.attempt} after {change.delay} s only")

    def _snapshot(self, item: Any) -> None:
        self.books[item.market_ticker] = {"yes": dict(item.yes), "no": dict(item.no)}

    def _delta(self, item: Any) -> None:
        if item.market_ticker not in self.books:
            self.wrong.append(f"a delta of {item.market_ticker} without a snapshot")
            return
        levels = self.books[item.market_ticker][item.side]
        levels[item.price] = levels.get(item.price, Decimal(0)) + item.delta
        if levels[item.price] < 0:
            self.wrong.append(f"{item.market_ticker} {item.side} {item.price}: {levels[item.price]}")
        if not levels[item.price]:
            del levels[item.price]

    # -- for the test ----------------------------------------------------------------------------------------

    @property
    def losses(self) -> list[StateChange]:
        """The announced ends of connections and the failed attempts so far."""
        return [
            item
            for item in self.received
            if isinstance(item, StateChange) and item.state is FeedState.RECONNECTING
        ]

    def kinds(self) -> list[str]:
        """The kinds of the faults so far."""
        return [item.kind for item in self.received if hasattr(item, "kind")]

    def of(self, type_: str) -> list[Any]:
        """The messages of a type so far."""
        return [item for item in self.received if getattr(item, "type", None) == type_]

    def wait_right(self, exchange: Exchange, *tickers: str, timeout: float = 10.0) -> None:
        """Wait until the feed's and the callbacks' books are LIVE and right; nothing was wrong on the way."""
        wait_equal(self._feed, exchange, *tickers, timeout=timeout)
        wait_until(
            lambda: all(self.books.get(ticker) == exchange.book(ticker) for ticker in tickers),
            timeout,
            "the books made of callbacks to equal the exchange's",
        )
        assert self.wrong == []
