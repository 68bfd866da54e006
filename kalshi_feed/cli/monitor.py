"""Gathers from a running feed what the view shows: counts, last trades, notes.

Owns Monitor.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain

from ..books.book import BookStatus, BookView
from ..books.store import OrderBook
from ..errors import StaleBookError, UnknownMarketError
from ..events import FeedState, MarketChange, StateChange
from ..feed import KalshiFeed
from ..following import Following
from ..messages import Fill, Message, OrderbookDelta, Ticker, Trade
from ..messages.listed import Market
from ..messages.values import Level
from ..session.channels import BOOK_CHANNEL, CHANNEL_OF_TYPE
from .about import about_of
from .model import (
    About,
    Figures,
    Ladder,
    MarketRow,
    NoteLine,
    Room,
    Screen,
    Shows,
    TradeLine,
    counted,
    ladder_of,
    matching,
    printable,
    row_of,
)
from .notes import (
    FeedEvent,
    clock_text,
    exchange_time,
    fill_text,
    note_of,
    other_text,
    why_connecting,
)
from .subscribing import hidden_types
from .wording import short

__all__ = ["Monitor"]

_KEPT = 50
# a note shows each of these messages; the others have a place of their own on the screen
_OTHER_TYPES = CHANNEL_OF_TYPE.keys() - {"orderbook_snapshot", "orderbook_delta", "trade", "ticker", "fill"}
_MOMENT = 1.0  # seconds for which a changed level stays marked
_NEWS = timedelta(seconds=60)  # a market that opened longer ago was open when it began to be followed
_MOST_SETTLED = 1_000  # settled markets of which trades and prices are kept


class Monitor:
    """Watches a feed. Only the worker thread writes; one other thread reads, which is safe because each value
    is replaced in one step.

    ``market_tickers`` are the markets shown, in this order; if it is empty, those the feed has books of.
    ``channels`` are those subscribed to; None: not known, as in a replay. The markets of ``followings`` come
    after the others: at first those that can be traded, then those that are over.
    """

    def __init__(
        self,
        feed: KalshiFeed,
        market_tickers: Sequence[str],
        title: str,
        channels: Sequence[str] | None = None,
        followings: Sequence[Following] = (),
    ) -> None:
        self.feed = feed
        self.market_tickers = tuple(market_tickers)
        self.title = title
        self.shows = Shows() if channels is None else _shown_of(channels)
        self.begun = time.monotonic()
        self._begun_at = feed.now()
        self.deltas = 0
        self.trade_count = 0
        self.other_count = 0  # messages of the channels that are neither books, trades, tickers nor fills
        self.described: Mapping[str, Market] = {}  # what else is known about markets, by ticker
        self.waiting = ""  # what the screen waits for while it is empty; the reading thread sets it
        self._followings = tuple(followings)
        self._opened = 0  # markets that are or were open
        self._over: dict[str, None] = {}  # markets that no one can trade anymore
        self._settled: deque[str] = deque()  # the last of them
        self._is_described = False  # whether any MarketChange has come
        # Messages that say the same; a replay does not know that no one asked for them.
        self._described_by = hidden_types((), follows=feed.replayed is not None)
        self._last: dict[str, Decimal] = {}
        self._tickers: dict[str, Ticker] = {}
        self._trades: defaultdict[str, deque[TradeLine]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._notes: deque[NoteLine] = deque(maxlen=_KEPT)
        self._views: deque[tuple[float, BookView]] = (
            deque()
        )  # of the ladder's market, shown in the last second
        # why the connection is gone, and when (monotonic) it is tried again; None while there is one
        self._retry: tuple[str, float] | None = None
        feed.on_delta(self._on_delta)
        feed.on_trade(self._on_trade)
        feed.on_ticker(self._on_ticker)
        feed.on_fill(self._on_fill)
        relayed = feed.stats().relay is not None
        for other in _OTHER_TYPES - hidden_types(channels or (), follows=bool(followings), relayed=relayed):
            feed.on(other, self._on_other)
        feed.on_state(self._on_state)
        feed.on_gap(self._note)
        feed.on_gap_filled(self._note)
        feed.on_market(self._on_market)
        feed.on_lagged(self._note)
        feed.on_error(self._note)

    @property
    def elapsed(self) -> float:
        """Seconds since ``begun``; in a replay, seconds of the recording."""
        if self.feed.replayed is not None:
            return (self.feed.now() - self._begun_at).total_seconds()
        return time.monotonic() - self.begun

    @property
    def shown(self) -> tuple[str, ...]:
        """The tickers of all markets that there are to see now."""
        if self._followings:
            found: Sequence[str] = [*chain(*(one.market_tickers for one in self._followings))]
        elif self.market_tickers:
            return self.market_tickers
        else:
            found = tuple(self.feed.books)
        over = self._over
        last = [ticker for ticker in found if ticker in over] if over else ()
        return tuple(dict.fromkeys((*self.market_tickers, *(t for t in found if t not in over), *last)))

    @property
    def describes(self) -> bool:
        """Whether something may be known about markets besides their books."""
        return self._is_described or bool(self._followings or self.described)

    def screen(self, room: Room, selected: int = 0, wanted: str = "") -> Screen:
        """What the view shows now of the markets whose ticker contains ``wanted``, as much as ``room``
        allows, with the ladder of the ``selected`` one."""
        stats, shown = self.feed.stats(), self.shown
        now = exchange_time(self.feed, stats.clock_skew)
        tickers = matching(shown, wanted)
        selected = max(0, min(selected, len(tickers) - 1))
        first = max(0, min(selected - room.rows // 2, len(tickers) - room.rows))
        chosen = tickers[selected] if tickers else None
        return Screen(
            title=self.title
            if self.feed.replayed is None
            else f"{self.title}  {clock_text(self.feed, None)}",
            state=stats.state.value,
            retry=self._retry_text() if stats.state is FeedState.RECONNECTING else "",
            reason=self._retry[0] if self._retry is not None else why_connecting(self.feed),
            elapsed=self.elapsed,
            ladder=None if chosen is None else self._ladder(chosen, room.depth, now),
            selected=selected,
            markets=len(tickers),
            rows=tuple(self._row(ticker, now) for ticker in tickers[first : first + room.rows]),
            first_row=first,
            trades=self._trades_of(chosen, room.trades + 2 * room.depth),
            notes=tuple(self._notes.copy())[-room.notes :] if room.notes else (),
            figures=Figures(
                deltas=self.deltas,
                trades=self.trade_count,
                others=self.other_count,
                rates=(stats.rate_1s, stats.rate_10s, stats.rate_60s),
                latency_p50=stats.processing_latency_p50,
                latency_p99=stats.processing_latency_p99,
                exchange_latency_p50=stats.exchange_latency_p50,
                reconnects=stats.reconnects,
                gaps=stats.gaps,
                dropped=stats.dropped,
            ),
            # a filter does not hide what is wrong with the other books
            statuses=self._statuses(shown),
            wanted=wanted,
            shows=self.shows,
            waiting=self.waiting,
        )

    def summary(self) -> str:
        """What there was to see, in one line: what a view leaves behind when it ends."""
        stats, tickers = self.feed.stats(), self.shown
        minutes, seconds = divmod(int(self.elapsed), 60)
        count = len(self.market_tickers) + self._opened if self._followings else len(tickers)
        parts = [
            f"watched {tickers[0] if count == len(tickers) == 1 else counted(count, 'market')} for "
            f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}",
            counted(self.deltas, "delta"),
            counted(self.trade_count, "trade"),
            *([counted(self.other_count, "other message")] if self.other_count else []),
            counted(stats.gaps, "gap"),
            counted(stats.reconnects, "reconnect"),
            *([f"{stats.dropped:,} dropped"] if stats.dropped else []),
        ]
        return ", ".join(parts)

    def _statuses(self, shown: Iterable[str]) -> dict[str, int]:
        books, over = self.feed.books, self._over
        words = (
            "over" if ticker in over else books[ticker].status.value for ticker in shown if ticker in books
        )
        return dict(Counter(words))

    def _retry_text(self) -> str:
        retry = self._retry  # the worker replaces it
        left = 0.0 if retry is None else retry[1] - time.monotonic()
        return f"in {left:.0f} s" if left >= 0.5 else "now"

    def _about(self, market_ticker: str, now: datetime) -> About | None:
        market = self.feed.book(market_ticker).market or self.described.get(market_ticker)
        return None if market is None else about_of(market, now)

    def _ladder(self, market_ticker: str, depth: int, now: datetime) -> Ladder:
        at, book, views = time.monotonic(), self.feed.book(market_ticker), self._views
        view = book.view()
        if views and views[0][1].market_ticker != market_ticker:
            views.clear()
        while len(views) > 1 and at - views[1][0] >= _MOMENT:
            views.popleft()
        views.append((at, view))
        ladder = replace(
            ladder_of(view, depth, before=views[0][1]),
            about=self._about(market_ticker, now),
            unknown=_unknown(book) if view.status is BookStatus.UNKNOWN else None,
        )
        if market_ticker in self.feed.books:
            return ladder
        return replace(ladder, quote=self._row(market_ticker, now))

    def _row(self, market_ticker: str, now: datetime) -> MarketRow:
        """From the book; without one, from the last ticker message."""
        view, ticker = self.feed.book(market_ticker).view(), self._tickers.get(market_ticker)
        row = replace(row_of(view, self._last.get(market_ticker)), about=self._about(market_ticker, now))
        if market_ticker not in self.feed.books:
            row = replace(row, status="")
        elif row.status != BookStatus.PENDING.value:
            return row
        if ticker is None:
            return row
        return replace(
            row,
            bid=_level(ticker.yes_bid, ticker.yes_bid_size),
            ask=_level(ticker.yes_ask, ticker.yes_ask_size),
        )

    def _trades_of(self, market_ticker: str | None, count: int) -> tuple[TradeLine, ...]:
        """The last trades, newest first."""
        trades = None if market_ticker is None else self._trades.get(market_ticker)
        return () if trades is None else tuple(reversed(trades.copy()))[:count]

    def _on_delta(self, delta: OrderbookDelta) -> None:
        self.deltas += 1

    def _on_trade(self, trade: Trade) -> None:
        self.trade_count += 1
        if trade.market_ticker is not None and trade.yes_price is not None:
            self._last[trade.market_ticker] = trade.yes_price
            line = TradeLine(
                self._time(trade.time), trade.taker_outcome_side or "", trade.yes_price, trade.count
            )
            self._trades[trade.market_ticker].append(line)

    def _on_ticker(self, ticker: Ticker) -> None:
        if ticker.market_ticker is not None:
            self._tickers[ticker.market_ticker] = ticker
            if ticker.price is not None:
                self._last[ticker.market_ticker] = ticker.price

    def _on_fill(self, fill: Fill) -> None:
        self._notes.append(NoteLine(self._time(fill.time), fill_text(fill), "good"))

    def _on_other(self, message: Message) -> None:
        if self._is_described and message.type in self._described_by:
            return
        self.other_count += 1
        self._notes.append(NoteLine(self._time(message.time), other_text(message)))

    def _on_state(self, change: StateChange) -> None:
        lost = change.state is FeedState.RECONNECTING
        due = time.monotonic() + (change.delay or 0.0)
        self._retry = (printable(short(change.reason)), due) if lost else None
        self._note(change)

    def _on_market(self, event: MarketChange) -> None:
        ticker, change = event.market_ticker, event.change
        self._is_described = True
        if change == "opened":
            self._opened += ticker not in self._over
            self._over.pop(ticker, None)
            opened = event.market.open_at
            if opened is None or self.feed.now() - opened < _NEWS:  # otherwise it has been open before
                self._note(event)
        elif change != "announced":
            self._note(event)
        if change in ("closed", "determined", "settled"):
            self._over[ticker] = None
        if change == "settled":
            self._settled.append(ticker)
            if len(self._settled) > _MOST_SETTLED:
                gone = self._settled.popleft()
                for known in (self._over, self._last, self._tickers, self._trades):
                    known.pop(gone, None)

    def _note(self, event: FeedEvent) -> None:
        text, style = note_of(event)
        self._notes.append(NoteLine(self._time(None), text, style))

    def _time(self, moment: datetime | None) -> str:
        """The time of day; in a replay the recording's, as in the title."""
        text = clock_text(self.feed, moment)
        return text if self.feed.replayed is None else text[11:-1]


def _shown_of(channels: Sequence[str]) -> Shows:
    return Shows(
        books=BOOK_CHANNEL in channels,
        quotes=BOOK_CHANNEL in channels or "ticker" in channels,
        trades="trade" in channels,
        others=bool({*channels} - {BOOK_CHANNEL, "ticker", "trade"}),
    )


def _unknown(book: OrderBook) -> UnknownMarketError | None:
    try:
        book.view(require_live=True)
    except UnknownMarketError as error:
        return error
    except StaleBookError:
        pass
    return None


def _level(price: Decimal | None, size: Decimal | None) -> Level | None:
    """A ticker says 0 for a side without bids and 1 for one without asks."""
    return None if not price or price == 1 else Level(price, size or Decimal(0))
