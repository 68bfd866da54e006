"""The list of markets and the trades of one, as lines of a screen.

Pure functions.
"""

from __future__ import annotations

from rich.text import Text

from .columns import (
    ASK,
    BID,
    DIM,
    PRICE,
    SIZE,
    STYLES,
    price_text,
    shortened,
    size_text,
    status_of,
    styled,
)
from .model import MarketRow, Screen, TradeLine, printable

__all__ = ["market_lines", "tape", "trade_lines"]

_STATUS = 10  # columns
_LONG_STATUS = 13  # "settled yes"


def market_lines(screen: Screen, width: int) -> list[Text]:
    """The markets with their best prices, in the columns that fit."""
    if not screen.rows:
        return []
    sizes, words, last = width >= 76, width >= 48, width >= 37
    status_width = _STATUS if all(row.about is None for row in screen.rows) else _LONG_STATUS
    fixed = 3 + 2 * (PRICE + 1) + 2 * (SIZE + 1) * sizes + status_width * words + (PRICE + 1) * last
    ticker_width = max(4, width - fixed)
    above, below = screen.first_row, screen.markets - screen.first_row - len(screen.rows)
    more = "".join(f" {sign}{count:,}" for sign, count in (("↑", above), ("↓", below)) if count)
    names = f"   {'markets' + more:<{ticker_width}}"
    names += (
        f" {'size':>{SIZE - 3}}   " * sizes
        + f" {'bid':<{PRICE}} {'ask':<{PRICE}}"
        + f" {'size':>{SIZE - 3}}   " * sizes
    )
    names += f" {'last':<{PRICE}}" * last + "  book" * words
    lines = [Text(names, DIM)]
    for place, row in enumerate(screen.rows, screen.first_row):
        chosen = place == screen.selected
        number = str(place + 1) if place < 9 else " "
        ticker = shortened(printable(row.market_ticker), ticker_width)
        line = Text().append("▸" if chosen else " ", "bold yellow").append(f"{number} ", DIM)
        line.append(f"{ticker:<{ticker_width}}", "bold" if chosen else "")
        line.append_text(_quote(row, sizes=sizes, word=not words))
        if last:
            line.append(f" {price_text(row.last)}")
        if words:
            line.append("  ").append_text(styled(status_of(row)))
        lines.append(line)
    return lines


def _quote(row: MarketRow, *, sizes: bool, word: bool) -> Text:
    """Best bid and ask; with ``word``, the book's status instead if it is not LIVE."""
    status = status_of(row)
    if word and status not in ("LIVE", ""):
        cut = status[: 2 * PRICE + 1]
        return Text(" ").append_text(styled(cut)).append(" " * (2 * PRICE + 1 - len(cut)))
    faded = "" if row.status == "LIVE" and status in ("LIVE", "CROSSED") else DIM
    line = Text()
    if sizes:
        line.append(f" {size_text(row.bid.quantity if row.bid else None)}", faded)
    line.append(f" {price_text(row.bid.price if row.bid else None)}", f"{BID} {faded}")
    line.append(f" {price_text(row.ask.price if row.ask else None)}", f"{ASK} {faded}")
    if sizes:
        line.append(f" {size_text(row.ask.quantity if row.ask else None)}", faded)
    return line


def tape(screen: Screen, width: int, room: int) -> list[Text]:
    """The trades beside or below a ladder; without a ladder they are in its place."""
    shown_already = screen.ladder is not None and screen.ladder.quote is not None
    return [] if shown_already else trade_lines(screen, width, room)


def trade_lines(screen: Screen, width: int, room: int) -> list[Text]:
    """Newest first: the side the taker got, at the price on the yes scale."""
    if room < 1:
        return []
    stamp, gap = (12, " ") if width >= 35 else (8, "")
    names = Text(f" {'trades':<{stamp}} got {'yes':<{PRICE}}{gap}{'size':>{SIZE - 3}}", DIM)
    lines = [names] + [_trade(trade, stamp, gap) for trade in screen.trades[:room]]
    return [*lines, Text(" none yet", DIM)] if len(lines) == 1 else lines


def _trade(trade: TradeLine, stamp: int, gap: str) -> Text:
    style = STYLES.get(trade.taker, "")
    taker = (f"{printable(trade.taker)[:3]:<3}", f"bold {style}")
    return Text.assemble(
        (f" {trade.time[:stamp]} ", DIM),
        taker,
        (f" {price_text(trade.price)}", style),
        gap + size_text(trade.quantity),
    )
