"""How a notebook shows a book: its best levels as an HTML table. Owns html_of(). Pure, hence thread-safe."""

from __future__ import annotations

import html
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..messages.values import Level
    from .book import BookView

__all__ = ["html_of"]

_DEPTH: Final = 10  # levels of each side; a caption says how many there are


def html_of(view: BookView) -> str:
    """The yes side of the book, bids on the left and asks on the right, best first."""
    bids, asks = view.bids("yes"), view.asks("yes")
    rows = "".join(
        f"<tr>{_cells(bid)}{_cells(ask)}</tr>"
        for bid, ask in zip_longest(bids[:_DEPTH], asks[:_DEPTH], fillvalue=None)
    )
    title = f"{html.escape(view.market_ticker)} {view.status.value} yes, {len(bids)} bids, {len(asks)} asks"
    head = "<th>bid</th><th>contracts</th><th>ask</th><th>contracts</th>"
    return f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cells(level: Level | None) -> str:
    return "<td></td><td></td>" if level is None else f"<td>{level.price}</td><td>{level.quantity:,}</td>"
