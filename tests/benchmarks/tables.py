"""Results as Markdown tables, for the terminal and for the README."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

Row = Sequence[str]


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table whose columns also line up in a terminal."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts) + "\n"


def number(value: float | None) -> str:
    """A number with three significant digits (more before the point); a dash for None."""
    if value is None:
        return "–"
    places = max(2 - math.floor(math.log10(abs(value))), 0) if value else 0
    return f"{value:,.{places}f}"
