"""What is gathered from a running feed for the view: counts, last trades, notes.

Owns Monitor. Imports the feed and the model; must not import rich or click.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ..books.book import BookStatus, BookView
from ..events import FeedFault, FeedState, Gap, Lagged, StateChange
from ..feed import KalshiFeed
from ..messages import Fill, OrderbookDelta, Ticker, Trade
from ..messages.values import Level
from .model import Figures, Ladder, MarketRow, NoteLine, Room, Screen, TradeLine, ladder_of, printable, row_of

__all__ = ["Monitor", "clock_text", "fill_text", "note_of", "time_text", "trade_text"]

_KEPT = 50
_MOMENT = 1.0  # seconds for which a level is marked that has changed


class Monitor:
    """Watches a feed. The worker thread alone writes; one other thread reads, since each value is replaced in
    one step.

    ``market_tickers`` are the markets shown, in this order; without any, those that the feed has books of.
    """

    def __init__(self, feed: KalshiFeed, market_tickers: Sequence[str], title: str) -> None:
        self.feed = feed
        self.market_tickers = tuple(market_tickers)
        self.title = title
        self.begun = time.monotonic()
        self._begun_at = feed.now()
        self.deltas = 0
        self.trade_count = 0
        self._last: dict[str, Decimal] = {}
        self._tickers: dict[str, Ticker] = {}
        self._trades: defaultdict[str, deque[TradeLine]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._notes: deque[NoteLine] = deque(maxlen=_KEPT)
        self._views: deque[tuple[float, BookView]] = deque()  # of the ladder's market, as it was shown lately
        feed.on_delta(self._on_delta)
        feed.on_trade(self._on_trade)
        feed.on_ticker(self._on_ticker)
        feed.on_fill(self._on_fill)
        feed.on_state(self._note)
        feed.on_gap(self._note)
        feed.on_lagged(self._note)
        feed.on_error(self._note)

    @property
    def elapsed(self) -> float:
        """Seconds since ``begun``; of a replay, of its recording."""
        if self.feed.replayed is not None:
            return (self.feed.now() - self._begun_at).total_seconds()
        return time.monotonic() - self.begun

    @property
    def shown(self) -> tuple[str, ...]:
        """The markets shown now."""
        return self.market_tickers or tuple(self.feed.books)

    def screen(self, room: Room, selected: int = 0) -> Screen:
        """What is to be seen now, as far as there is room, with the ladder of one of the markets shown."""
        stats, tickers = self.feed.stats(), self.shown
        selected = max(0, min(selected, len(tickers) - 1))
        first = max(0, min(selected - room.rows // 2, len(tickers) - room.rows))
        chosen = tickers[selected] if tickers else None
        return Screen(
            title=self.title
            if self.feed.replayed is None
            else f"{self.title}  {clock_text(self.feed, None)}",
            state=stats.state.value,
            elapsed=self.elapsed,
            ladder=None if chosen is None else self._ladder(chosen, room.depth),
            selected=selected,
            markets=len(tickers),
            rows=tuple(self._row(ticker) for ticker in tickers[first : first + room.rows]),
            first_row=first,
            trades=self._trades_of(chosen, room.trades),
            notes=tuple(self._notes.copy())[-room.notes :] if room.notes else (),
            figures=Figures(
                deltas=self.deltas,
                trades=self.trade_count,
                rates=(stats.rate_1s, stats.rate_10s, stats.rate_60s),
                latency_p50=stats.processing_latency_p50,
                latency_p99=stats.processing_latency_p99,
                exchange_latency_p50=stats.exchange_latency_p50,
                reconnects=stats.reconnects,
                gaps=stats.gaps,
                dropped=stats.dropped,
            ),
            statuses=dict(Counter(self.feed.book(ticker).status.value for ticker in tickers)),
        )

    def _ladder(self, market_ticker: str, depth: int) -> Ladder:
        now, view, views = time.monotonic(), self.feed.book(market_ticker).view(), self._views
        if views and views[0][1].market_ticker != market_ticker:
            views.clear()
        while len(views) > 1 and now - views[1][0] >= _MOMENT:
            views.popleft()
        views.append((now, view))
        return ladder_of(view, depth, before=views[0][1], is_wanted=market_ticker in self.feed.books)

    def _row(self, market_ticker: str) -> MarketRow:
        """From the book; where there is none, as the last ticker message says."""
        row, ticker = (
            row_of(self.feed.book(market_ticker).view(), self._last.get(market_ticker)),
            self._tickers.get(market_ticker),
        )
        if row.status != BookStatus.PENDING.value or ticker is None:
            return row
        return replace(
            row,
            bid=_level(ticker.yes_bid, ticker.yes_bid_size),
            ask=_level(ticker.yes_ask, ticker.yes_ask_size),
        )

    def _trades_of(self, market_ticker: str | None, count: int) -> tuple[TradeLine, ...]:
        """The last ones, the newest first."""
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

    def _note(self, event: StateChange | Gap | Lagged | FeedFault) -> None:
        text, style = note_of(event)
        self._notes.append(NoteLine(self._time(None), text, style))

    def _time(self, moment: datetime | None) -> str:
        """The time of day: of a replay the recording's, as in the title."""
        text = clock_text(self.feed, moment)
        return text if self.feed.replayed is None else text[11:-1]


def note_of(event: StateChange | Gap | Lagged | FeedFault) -> tuple[str, str]:
    """What an event of the feed says in one line, and its style."""
    if isinstance(event, StateChange):
        if event.state is FeedState.CONNECTED:
            return "CONNECTED", "good"
        text = f"{event.state.value}: {printable(event.reason)}" if event.reason else event.state.value
        if event.delay is not None:
            text += f"; attempt {event.attempt} in {event.delay:.1f} s"
        return text, "bad" if event.state in (FeedState.RECONNECTING, FeedState.FAILED) else ""
    if isinstance(event, Gap):
        markets = "1 market" if len(event.market_tickers) == 1 else f"{len(event.market_tickers)} markets"
        return f"gap on {event.channel}, {markets}: {printable(event.reason)}", "bad"
    if isinstance(event, Lagged):
        return f"{event.dropped} messages dropped: the callbacks were too slow", "bad"
    return f"{event.kind}: {printable(event.message)}", "bad"


def trade_text(trade: Trade) -> str:
    """ "KXSIM-001 yes 0.2700 × 40.00": what the taker gained, in its own price."""
    side = trade.taker_outcome_side or "yes"
    price = trade.no_price if side == "no" else trade.yes_price
    return f"{printable(trade.market_ticker)} {printable(side)} {_money(price)} × {_size(trade.count)}"


def fill_text(fill: Fill) -> str:
    """ "fill KXSIM-001 yes 0.5400 × 3.00"."""
    side = fill.outcome_side or fill.side or "yes"
    price = fill.yes_price
    if price is not None and side == "no":
        price = 1 - price
    return f"fill {printable(fill.market_ticker)} {printable(side)} {_money(price)} × {_size(fill.count)}"


def time_text(moment: datetime | None) -> str:
    """The local time of day with milliseconds; now, if the message had none."""
    local = (moment or datetime.now().astimezone()).astimezone()
    return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"


def clock_text(feed: KalshiFeed, moment: datetime | None) -> str:
    """The time of a line: of a live feed as time_text(); of a replay the moment of its recording, as --at
    understands it."""
    if feed.replayed is None:
        return time_text(moment)
    now = feed.now()
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def _level(price: Decimal | None, size: Decimal | None) -> Level | None:
    """A ticker's 0 is what it says of a side without bids, and 1 of one without asks."""
    return None if not price or price == 1 else Level(price, size or Decimal(0))


def _money(price: Decimal | None) -> str:
    return "?" if price is None else f"{price:.4f}"


def _size(count: Decimal | None) -> str:
    return "?" if count is None else f"{count:,.2f}"
