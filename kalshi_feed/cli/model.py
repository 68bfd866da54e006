"""What the view shows, as plain values: the ladder of one market, a row for each, trades, notes, metrics.

Owns these frozen types and how they are computed from a BookView. Thread-safe: immutable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from ..books.book import BookView
from ..errors import UnknownMarketError
from ..messages.values import Level

__all__ = [
    "About",
    "Figures",
    "Ladder",
    "MarketRow",
    "NoteLine",
    "Room",
    "Rung",
    "Screen",
    "Shows",
    "TradeLine",
    "counted",
    "ladder_of",
    "level_counts",
    "matching",
    "printable",
    "quote",
    "row_of",
]

_ONE = Decimal(1)


@dataclass(frozen=True)
class Rung:
    """One level on the yes scale: dollars, contracts, ``total`` contracts down to here, ``share`` (0 to 1) of
    the largest level shown.

    ``change`` is how many more contracts it has than a moment ago, negative for fewer. Immutable.
    """

    price: Decimal
    quantity: Decimal
    total: Decimal
    share: float
    change: Decimal = Decimal(0)

    @property
    def other_price(self) -> Decimal:
        """The same level in the no side's own price, dollars."""
        return _ONE - self.price


@dataclass(frozen=True)
class About:
    """What is known about a market besides its book; strings are empty where it is not known. Immutable.

    ``word`` is what it is, unless it is open: "paused", "closed", "settled yes" …; ``when`` is the time to
    its opening or its close, or since then. ``is_over``: it will not be open again.
    """

    title: str = ""
    word: str = ""
    when: str = ""
    is_over: bool = False


@dataclass(frozen=True)
class Ladder:
    """One market's book: ``asks`` (implied by the no bids) and ``bids`` of yes, both best first; age in
    seconds. Immutable.

    ``quote`` stands in for a book that no one subscribed to; None where there is a subscription. ``unknown``
    says why a book is UNKNOWN.
    """

    market_ticker: str
    status: str
    asks: tuple[Rung, ...] = ()
    bids: tuple[Rung, ...] = ()
    spread: Decimal | None = None
    mid: Decimal | None = None
    age: float | None = None
    seq: int | None = None
    is_crossed: bool = False
    quote: MarketRow | None = None
    about: About | None = None
    unknown: UnknownMarketError | None = None


@dataclass(frozen=True)
class MarketRow:
    """One market in the list: best prices of yes and the last price traded, None where there is none.

    ``status`` is empty where no one subscribed to the book. Immutable.
    """

    market_ticker: str
    status: str
    bid: Level | None = None
    ask: Level | None = None
    last: Decimal | None = None
    is_crossed: bool = False
    about: About | None = None


@dataclass(frozen=True)
class TradeLine:
    """One trade: the side the taker got ("yes", "no" or ""), the price on the yes scale, contracts.
    Immutable."""

    time: str
    taker: str
    price: Decimal | None
    quantity: Decimal | None


@dataclass(frozen=True)
class NoteLine:
    """A note with its time of day as a string; ``style`` is "good", "bad" or "". Immutable."""

    time: str
    text: str
    style: str = ""


@dataclass(frozen=True)
class Shows:
    """What there can be to see, by the channels subscribed to; ``others``: messages that only notes show.
    Immutable."""

    books: bool = True
    quotes: bool = True
    trades: bool = True
    others: bool = False

    @property
    def only_messages(self) -> bool:
        """Neither books nor trades: the notes get their space."""
        return not (self.books or self.trades)

    @property
    def markets(self) -> bool:
        """Whether there is something to choose a market for."""
        return self.books or self.trades or self.quotes


@dataclass(frozen=True)
class Room:
    """How much can be shown: levels per side, markets, trades, notes. Immutable."""

    depth: int
    rows: int
    trades: int
    notes: int


@dataclass(frozen=True)
class Figures:
    """Counts and measurements. Immutable.

    ``others`` counts the messages of other channels. Rates are messages per second over 1, 10 and 60 s,
    latencies are seconds.
    """

    deltas: int = 0
    trades: int = 0
    others: int = 0
    rates: tuple[float, float, float] = (0.0, 0.0, 0.0)
    latency_p50: float | None = None
    latency_p99: float | None = None
    exchange_latency_p50: float | None = None
    reconnects: int = 0
    gaps: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Screen:
    """Everything shown at one moment.

    ``elapsed`` is in seconds. ``markets`` is how many match the filter ``wanted``, which is empty for all of
    them; ``selected`` is the place of the ladder's market among them, ``first_row`` that of the first row.
    ``retry`` is "in 3 s" or "now" while the feed is RECONNECTING, ``reason`` why it is. ``trades`` may be
    more than there is room for. ``waiting`` says what the screen waits for while it has no market. Immutable.
    """

    title: str
    state: str
    elapsed: float
    ladder: Ladder | None = None
    selected: int = 0
    markets: int = 0
    rows: tuple[MarketRow, ...] = ()
    first_row: int = 0
    trades: tuple[TradeLine, ...] = ()
    notes: tuple[NoteLine, ...] = ()
    figures: Figures = Figures()
    statuses: dict[str, int] = field(default_factory=dict)
    retry: str = ""
    reason: str = ""
    wanted: str = ""
    shows: Shows = Shows()
    waiting: str = ""


def ladder_of(view: BookView, depth: int, *, before: BookView | None = None) -> Ladder:
    """The best ``depth`` levels of each side; bars are scaled to the largest of them. Changes are relative to
    ``before``."""
    asks, bids = view.asks("yes", depth), view.bids("yes", depth)
    largest = max((level.quantity for level in (*asks, *bids)), default=_ONE)
    before = before or view

    def rungs(side: Literal["yes", "no"], levels: tuple[Level, ...]) -> tuple[Rung, ...]:
        total, made = Decimal(0), []
        for price, quantity in levels:
            total += quantity
            change = quantity - before.depth_at(side, price if side == "yes" else _ONE - price)
            made.append(Rung(price, quantity, total, float(quantity / largest), change))
        return tuple(made)

    return Ladder(
        market_ticker=view.market_ticker,
        status=view.status.value,
        asks=rungs("no", asks),
        bids=rungs("yes", bids),
        spread=view.spread(),
        mid=view.mid(),
        age=view.age(),
        seq=view.seq,
        is_crossed=view.is_crossed,
    )


def row_of(view: BookView, last: Decimal | None) -> MarketRow:
    """The market's best prices."""
    return MarketRow(
        view.market_ticker, view.status.value, view.best_bid(), view.best_ask(), last, view.is_crossed
    )


def quote(bid: Level | Rung | None, ask: Level | Rung | None) -> str:
    """ "0.2700 × 300.00 / 0.3200 × 20.00"; an empty side is a dash."""
    sides = (
        f"{level.price:.4f} × {level.quantity:,.2f}" if level is not None else "-" for level in (bid, ask)
    )
    return " / ".join(sides)


def counted(count: int, what: str) -> str:
    """ "1 trade", "2,000 trades"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def level_counts(yes: int, no: int) -> str:
    """How many levels a book has: "1 yes level, 2 no levels"."""
    return f"{counted(yes, 'yes level')}, {counted(no, 'no level')}"


def matching(market_tickers: Sequence[str], wanted: str) -> Sequence[str]:
    """The tickers that contain ``wanted``, in upper or lower case."""
    folded = wanted.casefold()
    return [one for one in market_tickers if folded in one.casefold()] if wanted else market_tickers


def printable(text: object) -> str:
    """A string from outside without control characters: a ticker or an error must not drive the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
