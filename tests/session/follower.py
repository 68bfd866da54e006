"""A user's program that follows the messages, and fails if one is wrong or a loss was not reported."""

from __future__ import annotations

from kalshi_feed.events import Event, Gap
from kalshi_feed.messages import Message, OrderbookDelta, OrderbookSnapshot, Trade
from tests.session.driver import BOOK, Levels, Venue

__all__ = ["Follower"]

# A very late frame looks like a new count; and frames attributed to the wrong channel may come again
ANYTHING_MAY_COME = ("sequence went back", "unreadable frame", "the exchange names another subscription")


class Follower:
    """A user's program: all it knows is what was delivered, in that order, on one connection."""

    def __init__(self, venue: Venue, trades: dict[int, list[int]]) -> None:
        self._venue = venue
        self._trades = trades  # by sid, the seqs of its trades
        self.books: dict[str, Levels] = {}
        self._last_book: dict[int, int] = {}
        self._last_trade: dict[int, int] = {}
        self._trade_gap = False

    def hear(self, item: Message | Event) -> None:
        if isinstance(item, Gap):
            if item.sid is not None and item.reason in ANYTHING_MAY_COME:
                self.number_anew(item.sid)
            if item.channel == BOOK:
                for name in item.market_tickers:
                    self.books.pop(name, None)
            self._trade_gap |= item.channel == "trade"
        elif isinstance(item, OrderbookSnapshot):
            yes, no = item.book_sides()
            self.books[item.market_ticker] = {"yes": yes, "no": no}
            self._check_book(item)
        elif isinstance(item, OrderbookDelta):
            price, size = item.units()
            levels = self.books[item.market_ticker][item.side]
            levels[price] = levels.get(price, 0) + size
            if not levels[price]:
                del levels[price]
            self._check_book(item)
        elif isinstance(item, Trade):
            assert item.sid is not None and item.seq is not None
            last = self._last_trade.get(item.sid, 0)
            assert item.seq > last, "out of order, or twice"
            lost = [seq for seq in self._trades[item.sid] if last < seq < item.seq]
            assert not lost or self._trade_gap, f"trades {lost} were lost in silence"
            self._last_trade[item.sid], self._trade_gap = item.seq, False

    def _check_book(self, item: OrderbookSnapshot | OrderbookDelta) -> None:
        assert item.sid is not None and item.seq is not None
        assert item.seq > self._last_book.get(item.sid, 0), "out of order, or twice"
        self._last_book[item.sid] = item.seq
        truth = self._venue.history[item.sid, item.market_ticker][item.seq]
        assert self.books[item.market_ticker] == truth, f"a change before {item} was lost in silence"

    def number_anew(self, sid: int) -> None:
        """The exchange starts this subscription's seq at 1 again."""
        for known in (self._last_book, self._last_trade):
            known.pop(sid, None)
