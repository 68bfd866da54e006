"""A Screen as something to look at: boxes for a terminal, one line for a pipe.

Owns the looks. Must not import the feed or click; pure functions.
"""

from __future__ import annotations

from decimal import Decimal

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .model import Ladder, Line, Room, Rung, Screen, printable, quote

__all__ = ["draw", "fitting", "plain_line"]

BAR_WIDTH = 18
WIDE = 100  # columns from which the two halves stand side by side
_STYLES = {"yes": "green", "no": "red", "good": "green", "bad": "bold red", "": ""}
_STATUS_STYLES = {
    "LIVE": "green",
    "CONNECTED": "green",
    "PENDING": "yellow",
    "CONNECTING": "yellow",
    "STALE": "bold red",
    "RECONNECTING": "bold red",
    "FAILED": "bold red",
}
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def draw(screen: Screen, width: int) -> RenderableType:
    """The whole view for a terminal of ``width`` columns."""
    right = Group(_rows(screen), _lines("last trades", screen.trades))
    body: RenderableType
    if width >= WIDE:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(_ladder(screen.ladder), right)
        body = grid
    else:
        body = Group(_ladder(screen.ladder), right)
    parts: list[RenderableType] = [_head(screen), body]
    if screen.notes:
        parts.append(_lines("the feed says", screen.notes))
    return Group(*parts)


def fitting(width: int, height: int) -> Room:
    """What fits into a terminal of this size below the head and above the notes."""
    notes = 3
    room = max(12, height - 5 - notes)
    if width >= WIDE:
        rows = max(1, room // 3 - 2)
        return Room(depth=(room - 4) // 2, rows=rows, trades=max(1, room - rows - 4), notes=notes)
    rows = max(1, room // 4 - 3)
    return Room(depth=max(1, (room // 2 - 4) // 2), rows=rows, trades=max(1, room // 4 - 2), notes=notes)


def plain_line(screen: Screen, new_deltas: int, seconds: float) -> str:
    """The view in one line, for a pipe: ``new_deltas`` came in the last ``seconds``."""
    ladder = screen.ladder
    bid, ask = (rungs[0] if rungs else None for rungs in (ladder.bids, ladder.asks))
    others = len(screen.rows) + screen.hidden_rows - 1
    books = " ".join(f"{count} {status}" for status, count in sorted(screen.statuses.items()))
    return (
        f"{screen.elapsed:5.0f} s  {screen.state}  {screen.deltas:,} deltas ({new_deltas / seconds:,.0f}/s)  "
        f"{screen.trade_count:,} trades  {printable(ladder.market_ticker)} {ladder.status} yes {quote(bid, ask)}"
        + (f"  books: {books}" if others else "")
    )


def _head(screen: Screen) -> Text:
    head = Text()
    head.append(printable(screen.title), "bold")
    head.append("  ")
    head.append(screen.state, _STATUS_STYLES.get(screen.state, ""))
    head.append(f"  {screen.elapsed:.0f} s\n")
    last, ten, minute = screen.rates
    head.append(f"{screen.deltas:,} deltas, {screen.trade_count:,} trades", "bold")
    head.append(f"   messages/s {last:,.0f} (10 s: {ten:,.0f}, 60 s: {minute:,.0f})")
    head.append(f"   latency p50 {_ms(screen.latency_p50)} p99 {_ms(screen.latency_p99)}\n")
    for status, count in sorted(screen.statuses.items()):
        head.append(f"{count} {status} ", _STATUS_STYLES.get(status, ""))
    head.append("  ")
    for name, count in (("reconnects", screen.reconnects), ("gaps", screen.gaps), ("dropped", screen.dropped)):
        head.append(f"{name} {count}  ", "bold red" if count else "dim")
    return head


def _ladder(ladder: Ladder) -> Panel:
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("contracts", justify="right", min_width=11)
    table.add_column("", width=BAR_WIDTH)
    table.add_column("yes", justify="right", min_width=7)
    table.add_column("no", justify="right", min_width=7, style="dim")
    for rung in reversed(ladder.asks):
        table.add_row(f"{rung.quantity:,.2f}", _bar(rung, "red"), Text(f"{rung.price:.4f}", "red"), _other(rung))
    if not ladder.asks:
        table.add_row("", Text("nobody sells yes", "dim"), "", "")
    mid, other = (None, None) if ladder.mid is None else (ladder.mid, 1 - ladder.mid)
    spread = Text(f"{_dollars(ladder.spread)} {'mid':>{BAR_WIDTH - 7}}", "bold")
    table.add_row(Text("spread", "bold"), spread, Text(_mid(mid), "bold"), _mid(other))
    if not ladder.bids:
        table.add_row("", Text("nobody buys yes", "dim"), "", "")
    for rung in ladder.bids:
        table.add_row(f"{rung.quantity:,.2f}", _bar(rung, "green"), Text(f"{rung.price:.4f}", "green"), _other(rung))
    title = Text.assemble((printable(ladder.market_ticker), "bold"), " ", (ladder.status, _STATUS_STYLES.get(ladder.status, "")))
    age = "no change yet" if ladder.age is None else f"changed {ladder.age:.1f} s ago"
    if ladder.status == "STALE":
        age = "what was last known; " + age
    return Panel(table, title=title, subtitle=Text(age, "dim"), box=box.ROUNDED, expand=False)


def _rows(screen: Screen) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("market", overflow="ellipsis", no_wrap=True, max_width=36)
    for name in ("bid", "ask", "last"):
        table.add_column(name, justify="right")
    table.add_column("book")
    for row in screen.rows:
        bid, ask = (level.price if level is not None else None for level in (row.bid, row.ask))
        status = Text(row.status, _STATUS_STYLES.get(row.status, ""))
        table.add_row(Text(printable(row.market_ticker)), _dollars(bid), _dollars(ask), _dollars(row.last), status)
    if screen.hidden_rows:
        table.add_row(Text(f"… and {screen.hidden_rows} more", "dim"), "", "", "", "")
    return table


def _lines(title: str, lines: tuple[Line, ...]) -> Text:
    text = Text()
    text.append(f"{title}\n" if lines else "", "bold")
    for line in reversed(lines):
        text.append(f"{line.time} ", "dim")
        text.append(f"{line.text}\n", _STYLES.get(line.style, ""))
    text.rstrip()
    return text


def _bar(rung: Rung, style: str) -> Text:
    eighths = max(1, round(rung.share * BAR_WIDTH * 8))
    full, rest = divmod(eighths, 8)
    return Text("█" * full + (_EIGHTHS[rest] if rest else ""), style)


def _other(rung: Rung) -> str:
    return f"{rung.other_price:.4f}"


def _mid(price: Decimal | None) -> str:
    """Half a tick may need a fifth decimal."""
    return "-" if price is None else f"{price:.5f}".removesuffix("0")


def _dollars(price: Decimal | None) -> str:
    return "-" if price is None else f"{price:.4f}"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.2f} ms"
