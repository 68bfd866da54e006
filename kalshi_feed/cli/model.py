"""What the view shows, as plain values: the ladder of one market, a row for each, trades, notes, figures.

Owns the frozen types and the arithmetic between a BookView and them. Must not import rich, click, or anything
that runs. Thread-safe: immutable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from ..books.book import BookView
from ..messages.values import Level

__all__ = [
    "Figures",
    "Ladder",
    "MarketRow",
    "NoteLine",
    "Room",
    "Rung",
    "Screen",
    "TradeLine",
    "ladder_of",
    "printable",
    "quote",
    "row_of",
]

_ONE = Decimal(1)


@dataclass(frozen=True)
class Rung:
    """One level on the yes scale: dollars, contracts, ``total`` contracts down to here, ``share`` (0 to 1) of
    the largest shown.

    ``change`` is what it has of contracts more (or less) than a moment ago.
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
class Ladder:
    """One market's book: ``asks`` (implied by the no bids) and ``bids`` of yes, both with the best first; age
    in seconds.

    ``is_wanted`` is False where nobody has subscribed to the market's book.
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
    is_wanted: bool = True


@dataclass(frozen=True)
class MarketRow:
    """One market in the list: best prices of yes and the last price traded, None where there is none."""

    market_ticker: str
    status: str
    bid: Level | None = None
    ask: Level | None = None
    last: Decimal | None = None
    is_crossed: bool = False


@dataclass(frozen=True)
class TradeLine:
    """One trade: the side that the taker gained ("yes", "no" or ""), the price on the yes scale,
    contracts."""

    time: str
    taker: str
    price: Decimal | None
    quantity: Decimal | None


@dataclass(frozen=True)
class NoteLine:
    """A note with its time of day as text; ``style`` is "good", "bad" or ""."""

    time: str
    text: str
    style: str = ""


@dataclass(frozen=True)
class Room:
    """How much can be shown: levels a side, markets, trades, notes."""

    depth: int
    rows: int
    trades: int
    notes: int


@dataclass(frozen=True)
class Figures:
    """What is counted and measured. Rates in messages per second over 1, 10 and 60 s, latencies in
    seconds."""

    deltas: int = 0
    trades: int = 0
    rates: tuple[float, float, float] = (0.0, 0.0, 0.0)
    latency_p50: float | None = None
    latency_p99: float | None = None
    exchange_latency_p50: float | None = None
    reconnects: int = 0
    gaps: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Screen:
    """All that is shown at one moment.

    ``elapsed`` is in seconds. ``selected`` is the place of the ladder's market among the ``markets``,
    ``first_row`` that of the first row.
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


def ladder_of(
    view: BookView, depth: int, *, before: BookView | None = None, is_wanted: bool = True
) -> Ladder:
    """The best ``depth`` levels of each side; bars are scaled to the largest of them. ``before`` is what
    changes are told from."""
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
        is_wanted=is_wanted,
    )


def row_of(view: BookView, last: Decimal | None) -> MarketRow:
    """The market's best prices."""
    return MarketRow(
        view.market_ticker, view.status.value, view.best_bid(), view.best_ask(), last, view.is_crossed
    )


def quote(bid: Level | Rung | None, ask: Level | Rung | None) -> str:
    """ "0.2700 × 300.00 / 0.3200 × 20.00"; a side without bids is a dash."""
    sides = (
        f"{level.price:.4f} × {level.quantity:,.2f}" if level is not None else "-" for level in (bid, ask)
    )
    return " / ".join(sides)


def printable(text: object) -> str:
    """Text from outside without control characters: a ticker or an error must not steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
