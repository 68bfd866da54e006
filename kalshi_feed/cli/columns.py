"""What every part of the screen is written with: styles, strings of a fixed width, cut lines.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from rich.text import Text

from .model import Ladder, MarketRow

__all__ = [
    "ASK",
    "BAD",
    "BID",
    "DIM",
    "PRICE",
    "SIZE",
    "STYLES",
    "age_text",
    "cut",
    "fitting",
    "joined",
    "ms_text",
    "padded",
    "price_text",
    "shortened",
    "size_text",
    "spread",
    "status_of",
    "styled",
]

BID, ASK, BAD, DIM = "green", "red", "bold red", "dim"
STYLES = {
    "yes": BID,
    "no": ASK,
    "good": "green",
    "bad": BAD,
    "closed": "yellow",
    "settled yes": "bold green",
    "settled no": "bold red",
    "paused": "yellow",
    "not open": "yellow",
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
SIZE = 10  # "250,000.00"
PRICE = 6  # "0.3650"
_CENTS = 4  # "0.36"


def fitting(parts: Iterable[Text], width: int) -> Text:
    """As many of the parts as fit."""
    line = Text(" ")
    for part in parts:
        gap = "  " if len(line) > 1 else ""
        if line.cell_len + len(gap) + part.cell_len > width - 1:
            break
        line.append(gap).append_text(part)
    return line


def padded(lines: Sequence[Text], height: int) -> list[Text]:
    return [*lines[:height], *(Text() for _ in range(height - len(lines)))]


def cut(text: Text, width: int) -> Text:
    """A copy that is exactly ``width`` columns wide."""
    copy = text.copy()
    copy.truncate(width, overflow="ellipsis", pad=True)
    return copy


def joined(parts: Iterable[Text]) -> Text:
    line = Text()
    for part in parts:
        line.append_text(part)
    return line


def spread(left: Text, right: Text, width: int) -> Text:
    """One at each end; if they do not both fit, the left one is cut."""
    return joined([cut(left, max(0, width - right.cell_len)), right])


def styled(name: str, text: str | None = None) -> Text:
    return Text(text or name, STYLES.get(name, ""))


def status_of(book: Ladder | MarketRow) -> str:
    """The book's status; of a market that cannot be traded, why."""
    about = book.about
    if about is not None and about.word and (about.is_over or book.status in ("LIVE", "")):
        return about.word
    return "CROSSED" if book.is_crossed and book.status == "LIVE" else book.status


def shortened(text: str, width: int) -> str:
    """Cut in the middle: the end is what tells the markets of an event apart."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 3
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def price_text(price: Decimal | None) -> str:
    """Cents, and fractions of a cent only if there are any; always the same width, half a tick is one
    wider."""
    if price is None:
        return f"{'-':>{_CENTS}}".ljust(PRICE)
    text = f"{price:.5f}"
    return (text[:_CENTS] + text[_CENTS:].rstrip("0")).ljust(PRICE)


def size_text(size: Decimal | None) -> str:
    """Contracts with aligned decimal points; millions are shortened."""
    if size is None:
        return f"{'-':>{SIZE - 3}}   "
    text = f"{size:,.2f}"
    if len(text) > SIZE:
        text = f"{size / 1_000_000:,.3f}M"
        return f"{text:>{SIZE}}"
    return f"{text.removesuffix('.00'):>{SIZE - 3}}   " if text.endswith(".00") else f"{text:>{SIZE}}"


def age_text(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"


def ms_text(seconds: float | None) -> str:
    """About three digits."""
    if seconds is None:
        return "-"
    ms = seconds * 1000
    return f"{ms:.2f} ms" if ms < 10 else f"{ms:.0f} ms" if ms < 10_000 else f"{seconds:.0f} s"
