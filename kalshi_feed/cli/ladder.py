"""The chosen market as lines of a screen: its ladder, or what stands in its place.

Pure functions. Only what stands in place of a ladder wraps, because there is room for it.
"""

from __future__ import annotations

import textwrap

from rich.text import Text

from ..errors import UnknownMarketError
from .columns import (
    ASK,
    BAD,
    BID,
    DIM,
    PRICE,
    SIZE,
    age_text,
    fitting,
    joined,
    price_text,
    shortened,
    size_text,
    spread,
    styled,
)
from .layout import TWO_SIDED, Layout
from .lists import trade_lines
from .model import About, Ladder, MarketRow, Rung, Screen, printable

__all__ = ["NO_BOOK", "about_line", "ladder_lines", "quoted"]

NO_BOOK = "no book: add --channel orderbook_delta"
_IS_SETTLED = "it is over: its book is empty"
_WHY_EMPTY = {
    "closed": "no one can trade it anymore; its outcome is not known yet",
    "not open": "no one can trade it yet: its book is empty",
}
_NARROWEST = 24  # columns of a ladder; a narrower terminal cuts its right end off
_TOTALS = 72  # from this many columns on, a ladder has room for totals


def ladder_lines(screen: Screen, layout: Layout) -> list[Text]:
    """The market, the column names, the asks down to the middle, the middle, the bids. The middle never
    moves."""
    ladder, width, depth = screen.ladder, layout.ladder, layout.room.depth
    if ladder is None:
        if screen.wanted:
            return _wrapped(f"no market's ticker contains {screen.wanted!r}", width)
        return _wrapped(screen.waiting or "no market yet", width)
    if ladder.quote is not None:
        return _without_book(screen, ladder.quote, layout)
    lines = [_title(ladder, width)]
    if layout.about and not layout.right:
        lines.append(about_line(ladder.about, width))
    if ladder.about is not None and not (ladder.asks or ladder.bids):
        word = ladder.about.word
        why = _IS_SETTLED if word.startswith("settled") else _WHY_EMPTY.get(word)
        if why is not None:
            return [*lines, Text(), *_wrapped(why, width)]
    if ladder.status == "PENDING":
        return [*lines, Text(), *_wrapped(_waiting(screen), width)]
    if ladder.status == "UNKNOWN":
        error = ladder.unknown or UnknownMarketError(ladder.market_ticker)
        said = [
            f"the exchange {'no longer knows' if error.was_known else 'does not know'} this market:",
            *(f"- {printable(advice)}" for advice in error.advice),
        ]
        return [*lines, Text(), *(line for text in said for line in _wrapped(text, width))]
    shape = _Shape(max(width, _NARROWEST))
    is_over = ladder.about is not None and ladder.about.is_over
    faded = "" if ladder.status == "LIVE" and not is_over else DIM
    asks = [shape.rung(rung, ASK, first=i == 0, faded=faded) for i, rung in enumerate(ladder.asks)]
    bids = [shape.rung(rung, BID, first=i == 0, faded=faded) for i, rung in enumerate(ladder.bids)]
    asks = asks or [shape.empty("no one sells yes")]
    bids = bids or [shape.empty("no one buys yes")]
    blank = [Text()] * (depth - len(asks))
    return [*lines, shape.names(), *blank, *reversed(asks), shape.middle(ladder), *bids]


def _waiting(screen: Screen) -> str:
    """Why a PENDING book is not there yet."""
    if screen.state == "CONNECTED":
        return "waiting for its snapshot"
    if screen.state == "CONNECTING":
        return f"connecting … {printable(screen.reason)}".rstrip()
    if screen.state == "RECONNECTING":
        return f"not connected, next attempt {screen.retry}: {printable(screen.reason)}"
    return "not connected"


def _wrapped(text: str, width: int) -> list[Text]:
    """The whole text in place of a ladder; the further lines of an item of a list are indented."""
    indent = "   " if text.startswith("- ") else " "
    lines = textwrap.wrap(text, width, initial_indent=" ", subsequent_indent=indent)
    return [Text(line, DIM) for line in lines]


def _without_book(screen: Screen, row: MarketRow, layout: Layout) -> list[Text]:
    """A market whose book no one subscribed to: its quote and its trades."""
    room = 2 * layout.room.depth - 1  # a ladder's lines, without the three of this head and the last one
    if not layout.right:
        room += layout.room.trades + 1 if layout.room.trades else 0
    return [
        *quoted(screen, row, layout.ladder, 0 if layout.right else layout.about),
        *trade_lines(screen, layout.ladder, room),
        Text(f" {NO_BOOK}", DIM),
    ]


def quoted(screen: Screen, row: MarketRow, width: int, about: int) -> list[Text]:
    """The market and its prices, as far as a channel brings them, in ``about`` lines more than QUOTE."""
    prices = [("last", row.last, "bold")]
    if screen.shows.quotes:
        prices.append(("bid", row.bid.price if row.bid else None, BID))
        prices.append(("ask", row.ask.price if row.ask else None, ASK))
    parts = [
        joined([Text(f"{name} ", DIM), Text(price_text(price).strip(), style)])
        for name, price, style in prices
    ]
    return [
        Text(f" {shortened(printable(row.market_ticker), width - 2)}", "bold"),
        *([about_line(row.about, width)] * about),
        fitting(parts, width),
    ]


def about_line(about: About | None, width: int) -> Text:
    """The market's title, and the time to its close."""
    if about is None:
        return Text()
    return spread(Text(f" {about.title}"), Text(f"  {about.when} " if about.when else "", "bold"), width)


def _title(ladder: Ladder, width: int) -> Text:
    age = "" if ladder.age is None else f"{age_text(ladder.age)} ago"
    seq = f"seq {ladder.seq}" if ladder.seq is not None and width >= TWO_SIDED else ""
    about = ladder.about or About()
    words = [*([] if about.is_over else [ladder.status]), about.word, "CROSSED" if ladder.is_crossed else ""]
    status = Text("  ").join(styled(word) for word in words if word)
    right = Text.assemble((f"{seq}  {age} ".lstrip(), DIM))
    ticker = shortened(printable(ladder.market_ticker), max(4, width - status.cell_len - right.cell_len - 5))
    return spread(Text.assemble((f" {ticker}", "bold"), "  ", status), right, width)


class _Shape:
    """The columns of a ladder of this width: bars on both sides of the prices, or on one side if it is
    narrow. Used by the drawing thread only."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.totals = width >= _TOTALS
        self.two_sided = width >= TWO_SIDED
        prices, sizes = 2 * PRICE + 2, SIZE + 2 + (SIZE + 1 if self.totals else 0)
        self.side = (width - prices) // 2 if self.two_sided else width - prices - 1
        self.bar = max(0, self.side - sizes)

    def rung(self, rung: Rung, style: str, *, first: bool, faded: str) -> Text:
        on_left = style is BID or not self.two_sided
        style = f"{style} {faded}"
        size, bar = (
            Text(size_text(rung.quantity), faded),
            Text(_bar(rung.share, self.bar, to_left=on_left), style),
        )
        total = [Text(size_text(rung.total), DIM)] if self.totals else []
        price = Text(price_text(rung.price), f"bold {style}" if first else style)
        other = Text(price_text(rung.other_price), DIM)
        gap, change = Text(" "), Text("▲" if rung.change > 0 else "▼" if rung.change else " ", "bold")
        if on_left:
            left = joined([*(part for one in total for part in (one, gap)), size, change, bar, gap])
            return joined([left, price, gap, other])
        right = [gap, bar, change, size, *(part for one in total for part in (gap, one))]
        return joined([Text(" " * self.side), price, gap, other, *right])

    def names(self) -> Text:
        """The column names."""
        size, total = f"{'size':>{SIZE - 3}}   ", f"{'total':>{SIZE - 3}}   "
        left = (f"{total} " if self.totals else "") + size
        if not self.two_sided:
            return Text(f"{left:<{self.side}}yes    no", DIM)
        right = f"{size} {total}" if self.totals else size
        left = f"{left} {'bids':>{self.bar}} "
        return Text(f"{left:<{self.side}}{'yes':<{PRICE}} {'no':<{PRICE}} {'asks':<{self.bar}} {right}", DIM)

    def middle(self, ladder: Ladder) -> Text:
        """Mid and spread between two rules."""
        if ladder.mid is None or ladder.spread is None:
            return Text("─" * self.width, DIM)
        mid, other = price_text(ladder.mid), price_text(1 - ladder.mid)
        left = " mid ".rjust(self.side - (len(mid) - PRICE), "─")
        spread = f"spread {price_text(ladder.spread).strip()} "
        style = BAD if ladder.is_crossed else "bold"
        if self.two_sided:
            line = Text.assemble((left, DIM), (mid, "bold"), " ", (other, DIM), " ", (spread, style))
            return line.append("─" * (self.width - line.cell_len), DIM)
        left = left[len(spread) + 2 :]
        return Text.assemble(("─ ", DIM), (spread, style), (left, DIM), (mid, "bold"), " ", (other, DIM))

    def empty(self, text: str) -> Text:
        return Text(f"{text:^{self.width}}", DIM)


def _bar(share: float, width: int, *, to_left: bool) -> str:
    """In half columns; the smallest size gets one."""
    full, half = divmod(max(1, round(share * width * 2)), 2)
    if to_left:
        return ("▐" * half + "█" * full).rjust(width)[-width:] if width else ""
    return ("█" * full + "▌" * half).ljust(width)[:width]
