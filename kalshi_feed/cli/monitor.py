"""What is gathered from a running feed for the view: counts, last trades, notes.

Owns Monitor. Imports the feed and the model; must not import rich or click.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from ..feed import KalshiFeed
from ..messages import Fill, OrderbookDelta, Ticker, Trade
from ..session.events import FeedFault, FeedState, Gap, Lagged, StateChange
from .model import Line, Room, Screen, ladder_of, printable, row_of

__all__ = ["Monitor", "fill_text", "note_of", "time_text", "trade_text"]

_KEPT = 50


class Monitor:
    """Watches a feed. The worker thread alone writes; any thread may read, since each value is replaced in one step."""

    def __init__(self, feed: KalshiFeed, market_tickers: Sequence[str], title: str) -> None:
        self.feed = feed
        self.market_tickers = tuple(market_tickers)
        self.title = title
        self.begun = time.monotonic()
        self.deltas = 0
        self.trade_count = 0
        self._last: dict[str, Decimal] = {}
        self._trades: deque[Line] = deque(maxlen=_KEPT)
        self._notes: deque[Line] = deque(maxlen=_KEPT)
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
        """Seconds since ``begun``."""
        return time.monotonic() - self.begun

    def screen(self, room: Room) -> Screen:
        """What is to be seen now, as far as there is room."""
        stats = self.feed.stats()
        books = [self.feed.book(ticker) for ticker in self.market_tickers]
        return Screen(
            title=self.title,
            state=stats.state.value,
            elapsed=self.elapsed,
            ladder=ladder_of(books[0].view(), room.depth),
            rows=tuple(row_of(book.view(), self._last.get(book.market_ticker)) for book in books[: room.rows]),
            hidden_rows=max(0, len(books) - room.rows),
            trades=tuple(self._trades.copy())[-room.trades :],
            notes=tuple(self._notes.copy())[-room.notes :],
            deltas=self.deltas,
            trade_count=self.trade_count,
            rates=(stats.rate_1s, stats.rate_10s, stats.rate_60s),
            latency_p50=stats.processing_latency_p50,
            latency_p99=stats.processing_latency_p99,
            reconnects=stats.reconnects,
            gaps=stats.gaps,
            dropped=stats.dropped,
            statuses=dict(Counter(book.status.value for book in books)),
        )

    def _on_delta(self, delta: OrderbookDelta) -> None:
        self.deltas += 1

    def _on_trade(self, trade: Trade) -> None:
        self.trade_count += 1
        if trade.market_ticker is not None and trade.yes_price is not None:
            self._last[trade.market_ticker] = trade.yes_price
        self._trades.append(Line(time_text(trade.time), trade_text(trade), trade.taker_outcome_side or ""))

    def _on_ticker(self, ticker: Ticker) -> None:
        if ticker.market_ticker is not None and ticker.price is not None:
            self._last[ticker.market_ticker] = ticker.price

    def _on_fill(self, fill: Fill) -> None:
        self._notes.append(Line(time_text(fill.time), fill_text(fill), "good"))

    def _note(self, event: StateChange | Gap | Lagged | FeedFault) -> None:
        text, style = note_of(event)
        self._notes.append(Line(time_text(None), text, style))


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


def _money(price: Decimal | None) -> str:
    return "?" if price is None else f"{price:.4f}"


def _size(count: Decimal | None) -> str:
    return "?" if count is None else f"{count:,.2f}"
