"""Draws a Screen: exactly the lines of a terminal, or one line for a pipe.

Owns how it looks. Pure functions. Every line is cut to its columns; only what stands in place of a ladder
wraps, because there is room for it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from rich.text import Text

from ..errors import UnknownMarketError
from .keys import EXPLAINED
from .layout import QUOTE, TWO_SIDED, Layout
from .model import Ladder, MarketRow, NoteLine, Rung, Screen, TradeLine, counted, printable, quote

__all__ = ["draw", "plain_line"]

_BID, _ASK, _BAD, _DIM = "green", "red", "bold red", "dim"
_STYLES = {
    "yes": _BID,
    "no": _ASK,
    "good": "green",
    "bad": _BAD,
    "LIVE": "bold green",
    "CONNECTED": "bold green",
    "PENDING": "yellow",
    "CONNECTING": "yellow",
    "STALE": "bold white on red",
    "UNKNOWN": "bold white on red",
    "CROSSED": "bold white on red",
    "RECONNECTING": "bold white on red",
    "FAILED": "bold white on red",
}
_NO_BOOK = "no book: add --channel orderbook_delta"
_SIZE = 10  # "250,000.00"
_PRICE = 6  # "0.3650"
_CENTS = 4  # "0.36"
_NARROWEST = 24  # columns of a ladder; a narrower terminal cuts its right end off
_TOTALS = 72  # from this many columns on, a ladder has room for totals
_KEYS = (("q", "quit"), ("?", "help"), ("Tab ↓ ↑", "other market"), ("/", "filter"), ("1-9", "by number"))
_KEYS_FILTERED = (*_KEYS[:2], ("Esc", "all markets"), *_KEYS[2:])
_KEYS_TYPING = (("Enter", "keep"), ("Esc", "all markets"))


def draw(
    screen: Screen, layout: Layout, *, keys: bool = True, helping: bool = False, typing: bool = False
) -> list[Text]:
    """The lines of the whole screen. ``keys``: keys are read, so the foot names some; ``helping``: a list of
    all keys is shown instead of the market; ``typing``: the foot is the filter being typed."""
    head = _head(screen, layout.width)
    foot = _prompt(screen, layout.width) if typing else _foot(screen, layout.width, keys)
    if helping:
        return _fitted([*_padded([*head, *_help()], layout.height - 1), foot], layout)
    notes = [_note(note) for note in screen.notes]
    notes += [Text()] * (layout.room.notes - len(notes))
    if screen.shows.only_messages:
        return _fitted([*head, *_above_messages(screen, layout), *notes, foot], layout)
    ladder = _ladder(screen, layout)
    if not layout.right:
        below = _list(screen, layout.width) + _tape(screen, layout.width, layout.room.trades)
        body = _padded(ladder + below, layout.body)
        return _fitted([*head, *body, *notes, foot], layout)
    right = _list(screen, layout.right)
    right += [Text()] if right else []
    right += _tape(screen, layout.right, layout.room.trades)
    seam = Text(" │", _DIM)
    pairs = zip(_padded(ladder, layout.body), _padded(right, layout.body), strict=True)
    body = [_joined([_cut(left, layout.ladder), seam, other]) for left, other in pairs]
    top, bottom = (Text("─" * (layout.ladder + 1) + joint + "─" * layout.right, _DIM) for joint in ("┬", "┴"))
    return _fitted([*head, top, *body, *([bottom, *notes] if notes else []), foot], layout)


def plain_line(screen: Screen, new_deltas: int, seconds: float) -> str:
    """The view in one line, for a pipe: ``new_deltas`` came in the last ``seconds``."""
    figures, ladder = screen.figures, screen.ladder
    line = (
        f"{screen.elapsed:5.0f} s  {_state(screen)}  {counted(figures.deltas, 'delta')} "
        f"({new_deltas / seconds:,.0f}/s)"
    )
    line += f"  {counted(figures.trades, 'trade')}"
    if figures.others:
        line += f"  {counted(figures.others, 'other message')}"
    if ladder is not None and ladder.quote is not None:
        row = ladder.quote
        last = "" if row.last is None else f" last {row.last:.4f}"
        prices = f" yes {quote(row.bid, row.ask)}" if row.bid or row.ask else ""
        line += f"  {printable(row.market_ticker)}{last}{prices}"
    elif ladder is not None:
        bid, ask = (rungs[0] if rungs else None for rungs in (ladder.bids, ladder.asks))
        line += f"  {printable(ladder.market_ticker)} {_status(ladder)} yes {quote(bid, ask)}"
    if screen.reason:
        line += f"  {screen.reason}"
    elif screen.markets > 1 and screen.statuses:
        line += "  books: " + " ".join(
            f"{count} {status}" for status, count in sorted(screen.statuses.items())
        )
    return line


def _state(screen: Screen) -> str:
    return f"{screen.state} {screen.retry}".rstrip()


# -- head and foot -------------------------------------------------------------------------------------------


def _head(screen: Screen, width: int) -> list[Text]:
    minutes, seconds = divmod(int(screen.elapsed), 60)
    right = _joined(
        [
            Text("  "),
            _styled(screen.state, _state(screen)),
            Text(" "),
            Text(f" {minutes // 60}:{minutes % 60:02d}:{seconds:02d} "),
        ]
    )
    title = Text(" " + printable(screen.title), "bold")
    return [_spread(title, right, width), _row(_figures(screen), width)]


def _figures(screen: Screen) -> Iterable[Text]:
    """The most important first: the last ones are left out if there is no room."""
    figures, shows = screen.figures, screen.shows
    last, ten, minute = figures.rates
    yield Text.assemble((f"{last:,.0f}", "bold"), " msg/s")
    yield _count("gaps", figures.gaps)
    yield Text.assemble("latency ", (_ms(figures.latency_p50), "bold"))
    yield Text(f"p99 {_ms(figures.latency_p99)}")
    yield _count("reconnects", figures.reconnects)
    yield _count("dropped", figures.dropped)
    for status, count in sorted(screen.statuses.items()):
        if status != "LIVE":
            yield _styled(status, f"{count:,} {status}")
    yield Text(f"wire {_ms(figures.exchange_latency_p50)}")
    if shows.books:
        yield Text(counted(figures.deltas, "delta"))
    if shows.trades:
        yield Text(counted(figures.trades, "trade"))
    if figures.others:
        yield Text(counted(figures.others, "other message"))
    yield Text(f"10 s {ten:,.0f}/s  60 s {minute:,.0f}/s", _DIM)


def _count(name: str, count: int) -> Text:
    return Text(f"{name} {count:,}", _BAD if count else _DIM)


def _row(parts: Iterable[Text], width: int) -> Text:
    """As many of the parts as fit."""
    line = Text(" ")
    for part in parts:
        gap = "  " if len(line) > 1 else ""
        if line.cell_len + len(gap) + part.cell_len > width - 1:
            break
        line.append(gap).append_text(part)
    return line


def _foot(screen: Screen, width: int, keys: bool) -> Text:
    several = screen.shows.markets and (screen.markets > 1 or screen.wanted)
    known = _KEYS_FILTERED if screen.wanted else _KEYS if several else _KEYS[:2]
    place = _place(screen) if several else ""
    parts = _named(known) if keys else [Text("Ctrl-C quits", _DIM)]
    return _spread(_row(parts, width - len(place)), Text(place, _DIM), width)


def _prompt(screen: Screen, width: int) -> Text:
    """The filter as it is typed; of a long one the end is shown."""
    place = _place(replace(screen, wanted=""))
    room = max(1, width - len(place) - 4)
    typed = Text.assemble(" ", ("/", "bold"), screen.wanted[-room:], (" ", "reverse"))
    free = width - len(place) - typed.cell_len
    return _spread(_joined([typed, _row(_named(_KEYS_TYPING), free)]), Text(place, _DIM), width)


def _place(screen: Screen) -> str:
    named = f"/{_shortened(screen.wanted, 20)}: " if screen.wanted else ""
    if not screen.markets:
        return f"{named}no market "
    return f"{named}market {screen.selected + 1:,} of {screen.markets:,} "


def _named(keys: Iterable[tuple[str, str]]) -> list[Text]:
    return [Text.assemble((key, "bold"), " ", (what, _DIM)) for key, what in keys]


def _help() -> list[Text]:
    rows = [Text.assemble(f"   {key:<12}", (what, _DIM)) for key, what in EXPLAINED]
    return [Text(), Text(" keys", "bold"), *rows]


def _note(note: NoteLine) -> Text:
    return Text.assemble(" ", (note.time, _DIM), " ", (note.text, _STYLES.get(note.style, "")))


# -- the ladder ----------------------------------------------------------------------------------------------


def _ladder(screen: Screen, layout: Layout) -> list[Text]:
    """The market, the column names, the asks down to the middle, the middle, the bids. The middle never
    moves."""
    ladder, width, depth = screen.ladder, layout.ladder, layout.room.depth
    if ladder is None:
        if screen.wanted:
            return _wrapped(f"no market's ticker contains {screen.wanted!r}", width)
        return [Text(" no market yet", _DIM)]
    if ladder.quote is not None:
        return _without_book(screen, ladder.quote, layout)
    lines = [_title(ladder, width)]
    if ladder.status == "PENDING":
        return [*lines, Text(), *_wrapped(_waiting(screen), width)]
    if ladder.status == "UNKNOWN":
        error = UnknownMarketError(ladder.market_ticker)
        said = [
            "the exchange does not know this market:",
            *(f"- {printable(advice)}" for advice in error.advice),
        ]
        return [*lines, Text(), *(line for text in said for line in _wrapped(text, width))]
    shape = _Shape(max(width, _NARROWEST))
    faded = "" if ladder.status == "LIVE" else _DIM
    asks = [shape.rung(rung, _ASK, first=i == 0, faded=faded) for i, rung in enumerate(ladder.asks)]
    bids = [shape.rung(rung, _BID, first=i == 0, faded=faded) for i, rung in enumerate(ladder.bids)]
    asks = asks or [shape.empty("no one sells yes")]
    bids = bids or [shape.empty("no one buys yes")]
    blank = [Text()] * (depth - len(asks))
    return [*lines, shape.names(), *blank, *reversed(asks), shape.middle(ladder), *bids]


def _waiting(screen: Screen) -> str:
    """Why a PENDING book is not there yet."""
    if screen.state == "CONNECTED":
        return "waiting for its snapshot"
    if screen.state == "CONNECTING":
        return "connecting …"
    if screen.state == "RECONNECTING":
        return f"not connected, next attempt {screen.retry}: {printable(screen.reason)}"
    return "not connected"


def _wrapped(text: str, width: int) -> list[Text]:
    """The whole text in place of a ladder; the further lines of an item of a list are indented."""
    indent = "   " if text.startswith("- ") else " "
    lines = textwrap.wrap(text, width, initial_indent=" ", subsequent_indent=indent)
    return [Text(line, _DIM) for line in lines]


def _without_book(screen: Screen, row: MarketRow, layout: Layout) -> list[Text]:
    """A market whose book no one subscribed to: its quote and its trades."""
    room = 2 * layout.room.depth - 1  # a ladder's lines, without the three of this head and the last one
    if not layout.right:
        room += layout.room.trades + 1 if layout.room.trades else 0
    return [
        *_quoted(screen, row, layout.ladder),
        *_trades(screen, layout.ladder, room),
        Text(f" {_NO_BOOK}", _DIM),
    ]


def _quoted(screen: Screen, row: MarketRow, width: int) -> list[Text]:
    """The market and its prices, as far as a channel brings them."""
    prices = [("last", row.last, "bold")]
    if screen.shows.quotes:
        prices.append(("bid", row.bid.price if row.bid else None, _BID))
        prices.append(("ask", row.ask.price if row.ask else None, _ASK))
    parts = [
        _joined([Text(f"{name} ", _DIM), Text(_price(price).strip(), style)]) for name, price, style in prices
    ]
    return [Text(f" {_shortened(printable(row.market_ticker), width - 2)}", "bold"), _row(parts, width)]


def _above_messages(screen: Screen, layout: Layout) -> list[Text]:
    """What stands above the notes if there are neither books nor trades: quotes, and the notes' title."""
    lines: list[Text] = []
    if screen.shows.quotes:
        row = screen.ladder.quote if screen.ladder is not None else None
        lines = _ladder(screen, layout) if row is None else _quoted(screen, row, layout.width)
        lines = [*_padded(lines, QUOTE), *_list(screen, layout.width)]
    title = _row([Text("messages", _DIM), Text(f"({_NO_BOOK})", _DIM)], layout.width)
    return [*_padded(lines, layout.body - 1), title]


def _title(ladder: Ladder, width: int) -> Text:
    age = "" if ladder.age is None else f"{_age(ladder.age)} ago"
    seq = f"seq {ladder.seq}" if ladder.seq is not None and width >= TWO_SIDED else ""
    status = _joined(
        [_styled(ladder.status), Text("  "), _styled("CROSSED")]
        if ladder.is_crossed
        else [_styled(ladder.status)]
    )
    right = Text.assemble((f"{seq}  {age} ".lstrip(), _DIM))
    ticker = _shortened(printable(ladder.market_ticker), max(4, width - status.cell_len - right.cell_len - 5))
    return _spread(Text.assemble((f" {ticker}", "bold"), "  ", status), right, width)


class _Shape:
    """The columns of a ladder of this width: bars on both sides of the prices, or on one side if it is
    narrow. Used by the drawing thread only."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.totals = width >= _TOTALS
        self.two_sided = width >= TWO_SIDED
        prices, sizes = 2 * _PRICE + 2, _SIZE + 2 + (_SIZE + 1 if self.totals else 0)
        self.side = (width - prices) // 2 if self.two_sided else width - prices - 1
        self.bar = max(0, self.side - sizes)

    def rung(self, rung: Rung, style: str, *, first: bool, faded: str) -> Text:
        on_left = style is _BID or not self.two_sided
        style = f"{style} {faded}"
        size, bar = (
            Text(_size(rung.quantity), faded),
            Text(_bar(rung.share, self.bar, to_left=on_left), style),
        )
        total = [Text(_size(rung.total), _DIM)] if self.totals else []
        price = Text(_price(rung.price), f"bold {style}" if first else style)
        other = Text(_price(rung.other_price), _DIM)
        gap, change = Text(" "), Text("▲" if rung.change > 0 else "▼" if rung.change else " ", "bold")
        if on_left:
            left = _joined([*(part for one in total for part in (one, gap)), size, change, bar, gap])
            return _joined([left, price, gap, other])
        right = [gap, bar, change, size, *(part for one in total for part in (gap, one))]
        return _joined([Text(" " * self.side), price, gap, other, *right])

    def names(self) -> Text:
        """The column names."""
        size, total = f"{'size':>{_SIZE - 3}}   ", f"{'total':>{_SIZE - 3}}   "
        left = (f"{total} " if self.totals else "") + size
        if not self.two_sided:
            return Text(f"{left:<{self.side}}yes    no", _DIM)
        right = f"{size} {total}" if self.totals else size
        left = f"{left} {'bids':>{self.bar}} "
        return Text(
            f"{left:<{self.side}}{'yes':<{_PRICE}} {'no':<{_PRICE}} {'asks':<{self.bar}} {right}", _DIM
        )

    def middle(self, ladder: Ladder) -> Text:
        """Mid and spread between two rules."""
        if ladder.mid is None or ladder.spread is None:
            return Text("─" * self.width, _DIM)
        mid, other = _price(ladder.mid), _price(1 - ladder.mid)
        left = " mid ".rjust(self.side - (len(mid) - _PRICE), "─")
        spread = f"spread {_price(ladder.spread).strip()} "
        style = _BAD if ladder.is_crossed else "bold"
        if self.two_sided:
            line = Text.assemble((left, _DIM), (mid, "bold"), " ", (other, _DIM), " ", (spread, style))
            return line.append("─" * (self.width - line.cell_len), _DIM)
        left = left[len(spread) + 2 :]
        return Text.assemble(("─ ", _DIM), (spread, style), (left, _DIM), (mid, "bold"), " ", (other, _DIM))

    def empty(self, text: str) -> Text:
        return Text(f"{text:^{self.width}}", _DIM)


def _bar(share: float, width: int, *, to_left: bool) -> str:
    """In half columns; the smallest size gets one."""
    full, half = divmod(max(1, round(share * width * 2)), 2)
    if to_left:
        return ("▐" * half + "█" * full).rjust(width)[-width:] if width else ""
    return ("█" * full + "▌" * half).ljust(width)[:width]


# -- the markets and the trades ------------------------------------------------------------------------------


def _list(screen: Screen, width: int) -> list[Text]:
    """The markets with their best prices, in the columns that fit."""
    if not screen.rows:
        return []
    sizes, words, last = width >= 76, width >= 48, width >= 37
    fixed = 3 + 2 * (_PRICE + 1) + 2 * (_SIZE + 1) * sizes + 10 * words + (_PRICE + 1) * last
    ticker_width = max(4, width - fixed)
    above, below = screen.first_row, screen.markets - screen.first_row - len(screen.rows)
    more = "".join(f" {sign}{count:,}" for sign, count in (("↑", above), ("↓", below)) if count)
    names = f"   {'markets' + more:<{ticker_width}}"
    names += (
        f" {'size':>{_SIZE - 3}}   " * sizes
        + f" {'bid':<{_PRICE}} {'ask':<{_PRICE}}"
        + f" {'size':>{_SIZE - 3}}   " * sizes
    )
    names += f" {'last':<{_PRICE}}" * last + "  book" * words
    lines = [Text(names, _DIM)]
    for place, row in enumerate(screen.rows, screen.first_row):
        chosen = place == screen.selected
        number = str(place + 1) if place < 9 else " "
        ticker = _shortened(printable(row.market_ticker), ticker_width)
        line = Text().append("▸" if chosen else " ", "bold yellow").append(f"{number} ", _DIM)
        line.append(f"{ticker:<{ticker_width}}", "bold" if chosen else "")
        line.append_text(_quote(row, sizes=sizes, word=not words))
        if last:
            line.append(f" {_price(row.last)}")
        if words:
            line.append("  ").append_text(_styled(_status(row)))
        lines.append(line)
    return lines


def _quote(row: MarketRow, *, sizes: bool, word: bool) -> Text:
    """Best bid and ask; with ``word``, the book's status instead if it is not LIVE."""
    if word and _status(row) not in ("LIVE", ""):
        status = _status(row)
        return Text(" ").append_text(_styled(status)).append(" " * (2 * _PRICE + 1 - len(status)))
    faded = "" if row.status == "LIVE" else _DIM
    line = Text()
    if sizes:
        line.append(f" {_size(row.bid.quantity if row.bid else None)}", faded)
    line.append(f" {_price(row.bid.price if row.bid else None)}", f"{_BID} {faded}")
    line.append(f" {_price(row.ask.price if row.ask else None)}", f"{_ASK} {faded}")
    if sizes:
        line.append(f" {_size(row.ask.quantity if row.ask else None)}", faded)
    return line


def _tape(screen: Screen, width: int, room: int) -> list[Text]:
    """The trades beside or below a ladder; without a ladder they are in its place."""
    shown_already = screen.ladder is not None and screen.ladder.quote is not None
    return [] if shown_already else _trades(screen, width, room)


def _trades(screen: Screen, width: int, room: int) -> list[Text]:
    """Newest first: the side the taker got, at the price on the yes scale."""
    if room < 1:
        return []
    stamp, gap = (12, " ") if width >= 35 else (8, "")
    names = Text(f" {'trades':<{stamp}} got {'yes':<{_PRICE}}{gap}{'size':>{_SIZE - 3}}", _DIM)
    lines = [names] + [_trade(trade, stamp, gap) for trade in screen.trades[:room]]
    return [*lines, Text(" none yet", _DIM)] if len(lines) == 1 else lines


def _trade(trade: TradeLine, stamp: int, gap: str) -> Text:
    style = _STYLES.get(trade.taker, "")
    taker = (f"{printable(trade.taker)[:3]:<3}", f"bold {style}")
    return Text.assemble(
        (f" {trade.time[:stamp]} ", _DIM),
        taker,
        (f" {_price(trade.price)}", style),
        gap + _size(trade.quantity),
    )


# -- strings -------------------------------------------------------------------------------------------------


def _fitted(lines: Sequence[Text], layout: Layout) -> list[Text]:
    """Exactly as many lines as the screen has, each exactly as wide."""
    return [_cut(line, layout.width) for line in _padded(lines, layout.height)]


def _padded(lines: Sequence[Text], height: int) -> list[Text]:
    return [*lines[:height], *(Text() for _ in range(height - len(lines)))]


def _cut(text: Text, width: int) -> Text:
    """A copy that is exactly ``width`` columns wide."""
    copy = text.copy()
    copy.truncate(width, overflow="ellipsis", pad=True)
    return copy


def _joined(parts: Iterable[Text]) -> Text:
    line = Text()
    for part in parts:
        line.append_text(part)
    return line


def _spread(left: Text, right: Text, width: int) -> Text:
    """One at each end; if they do not both fit, the left one is cut."""
    return _joined([_cut(left, max(0, width - right.cell_len)), right])


def _styled(name: str, text: str | None = None) -> Text:
    return Text(text or name, _STYLES.get(name, ""))


def _status(book: Ladder | MarketRow) -> str:
    return "CROSSED" if book.is_crossed and book.status == "LIVE" else book.status


def _shortened(text: str, width: int) -> str:
    """Cut in the middle: the end is what tells the markets of an event apart."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 3
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def _price(price: Decimal | None) -> str:
    """Cents, and fractions of a cent only if there are any; always the same width, half a tick is one
    wider."""
    if price is None:
        return f"{'-':>{_CENTS}}".ljust(_PRICE)
    text = f"{price:.5f}"
    return (text[:_CENTS] + text[_CENTS:].rstrip("0")).ljust(_PRICE)


def _size(size: Decimal | None) -> str:
    """Contracts with aligned decimal points; millions are shortened."""
    if size is None:
        return f"{'-':>{_SIZE - 3}}   "
    text = f"{size:,.2f}"
    if len(text) > _SIZE:
        text = f"{size / 1_000_000:,.3f}M"
        return f"{text:>{_SIZE}}"
    return f"{text.removesuffix('.00'):>{_SIZE - 3}}   " if text.endswith(".00") else f"{text:>{_SIZE}}"


def _age(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"


def _ms(seconds: float | None) -> str:
    """About three digits."""
    if seconds is None:
        return "-"
    ms = seconds * 1000
    return f"{ms:.2f} ms" if ms < 10 else f"{ms:.0f} ms" if ms < 10_000 else f"{seconds:.0f} s"
