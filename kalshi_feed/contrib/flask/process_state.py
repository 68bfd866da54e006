"""What one process holds for one application: its feed, its tape and its streams, and how they look as JSON.

Owns ProcessState.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from ...books.book import BookStatus
from ...books.store import OrderBook
from ...connection.environment import DEMO_URL, PRODUCTION_URL
from ...errors import KalshiFeedError, StaleBookError, UnknownMarketError
from ...feed import KalshiFeed
from ...messages.phase import phase
from .settings import Settings
from .streams import Slots
from .tape import Tape

__all__ = ["ProcessState"]

_EXCHANGES: Final = {urlsplit(PRODUCTION_URL).hostname: "production", urlsplit(DEMO_URL).hostname: "demo"}

_LEAST_SKEW: Final = 2.0  # seconds; it is not known more precisely than that


class ProcessState:
    """One feed, its tape and its stream slots. Thread-safe."""

    def __init__(self, feed: KalshiFeed, settings: Settings) -> None:
        self.feed = feed
        self.settings = settings
        self.tape = Tape(feed)
        self.slots = Slots(settings.stream_clients)
        self._skew = 0.0  # this machine's clock minus the exchange's, at the last metrics(); seconds

    def served(self, market_ticker: str) -> OrderBook | None:
        """The market's book, if the application subscribed to it.

        Nothing else is ever subscribed: an unauthenticated URL must not create subscriptions.
        """
        # not feed.book(), which raises once the feed has FAILED
        return self.feed.books.get(market_ticker)

    def market_tickers(self) -> list[str]:
        """Every market that is served."""
        return list(self.feed.books)

    def book(self, book: OrderBook, depth: int | None = None) -> dict[str, Any]:
        """The book now: BookView.to_dict() cut to ``depth`` levels of each side, with spread and mid in
        dollars, age in seconds, and the last trade.

        If the exchange does not know the market (UNKNOWN), ``error`` says what may be wrong.
        """
        view = book.view()
        spread, mid, age = view.spread(), view.mid(), view.age()
        found = view.to_dict()
        if depth is not None:
            found |= {side: found[side][:depth] for side in ("yes", "no")}
        if view.status is BookStatus.UNKNOWN:
            found["error"] = str(_why(book))
        return found | {
            "spread": None if spread is None else str(spread),
            "mid": None if mid is None else str(mid),
            "age": None if age is None else round(age, 3),
            "last_trade": next(iter(self.tape.trades(book.market_ticker)[-1:]), None),
        }

    def description(self, book: OrderBook) -> dict[str, Any]:
        """What follow() knows about the book's market: Market.to_dict() as ``market``, and as ``phase`` what
        it is doing ("open", "paused", "settled yes" …); both None for a market that is not followed."""
        market = book.market
        return {
            "phase": None if market is None else phase(market, self.now()),
            "market": None if market is None else market.to_dict(),
        }

    def past(self, market_ticker: str) -> OrderBook | None:
        """The book of a market that is not served anymore, if it was followed and is not long gone."""
        with suppress(KalshiFeedError):  # not a ticker, or the feed has FAILED
            book = self.feed.book(market_ticker)
            if book.market is not None:
                return book
        return None

    def now(self) -> float:
        """The exchange's time, Unix seconds."""
        return time.time() - self._skew

    def status(self) -> dict[str, Any]:
        """The feed's state and its health, which rarely change."""
        return {"state": self.feed.state.value, "health": self.feed.health().to_dict()}

    def exchange(self) -> str:
        """ "production", "demo", or the host of any other exchange; of a relay's consumer, where its relay
        is."""
        url = urlsplit(self.feed.url)
        if self.settings.relay:
            return f"relay at {url.netloc or url.path}"
        return _EXCHANGES.get(url.hostname, url.netloc)

    def metrics(self) -> dict[str, Any]:
        """status() and the metrics that the page shows; times in seconds, ``time`` is the exchange's."""
        stats = self.feed.stats()
        skew = stats.clock_skew or 0.0
        self._skew = skew if abs(skew) >= _LEAST_SKEW else 0.0
        return self.status() | {
            "rate_1s": stats.rate_1s,
            "processing_latency_p50": stats.processing_latency_p50,
            "processing_latency_p99": stats.processing_latency_p99,
            "last_message_age": stats.last_message_age,
            "reconnects": stats.reconnects,
            "gaps": stats.gaps,
            "heartbeat": self.settings.stream_heartbeat,
            "exchange": self.exchange(),
            "time": round(self.now(), 3),
            "following": [*self.settings.series, *self.settings.events],
        }


def _why(book: OrderBook) -> StaleBookError:
    """Why a book is UNKNOWN, or was a moment ago."""
    try:
        book.view(require_live=True)
    except StaleBookError as error:
        return error
    return UnknownMarketError(book.market_ticker)
