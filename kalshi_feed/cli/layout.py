"""Where things go on a screen of a given size.

Owns Layout and the arithmetic of columns and lines. Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass

from .model import Room, Shows

__all__ = ["ABOUT", "HEAD", "LADDER", "QUOTE", "TWO_SIDED", "Layout", "layout_for"]

HEAD = 2  # lines of state and metrics
QUOTE = 2  # lines of a market without a ladder: its name, its prices
LADDER = 3  # lines of a ladder besides its levels: the market, the column names, the middle
ABOUT = 1  # line with a market's title and its time to close, if something is known about markets
TWO_SIDED = 46  # from this many columns on, bids and asks have bars of their own
_ALL = Shows()
_SIDE_BY_SIDE = 76  # from this many columns on, markets and trades are beside the ladder
_WIDEST_LADDER = 84
_ROWS_BELOW = 30  # from this many lines on, there is room for a list below the ladder
_WITH_LIST = 12  # from this many lines on, messages leave room for a list of markets
_WITH_TRADES = 8  # from this many free lines on, a narrow screen gives some to trades


@dataclass(frozen=True)
class Layout:
    """A screen of ``width`` columns and ``height`` lines; ``ladder`` and ``right`` are columns, ``body`` is
    lines.

    ``right`` is 0 if markets and trades go below the ladder. ``about`` is how many lines there are for what
    is known about a market: below its name, or above both sides. Immutable.
    """

    width: int
    height: int
    ladder: int
    right: int
    body: int
    room: Room
    about: int = 0


def layout_for(
    width: int, height: int, markets: int, shows: Shows = _ALL, *, describes: bool = False
) -> Layout:
    """What fits on the screen with this many ``markets``; a list of them only if there are several, trades
    only if they are subscribed to. ``describes``: more than their tickers is known about markets."""
    about = ABOUT if describes else 0
    if shows.only_messages:
        return _messages_only(width, height, markets, shows, about if shows.quotes else 0)
    both = shows.books and shows.trades
    notes = _notes(height, shows.others and not both)
    if width < _SIDE_BY_SIDE or (markets < 2 and not both):  # nothing to put beside the ladder
        body = max(LADDER + about + 2, height - HEAD - 1 - notes)
        rows = min(markets, height // 6) if markets > 1 and height >= _ROWS_BELOW else 0
        free = body - LADDER - about - (rows + 1 if rows else 0)
        depth, trades = max(1, free // 2), 0
        if free >= _WITH_TRADES and shows.trades:
            depth = (free - free // 4 - 1) // 2
            trades = free - 2 * depth - 1
        return Layout(width, height, width, 0, body, Room(depth, rows, trades, notes), about)
    # two rules and the keys, and across the whole screen what is known about the market
    body = max(LADDER + 2, height - HEAD - about - 2 - (notes + 1 if notes else 0))
    ladder = min(_WIDEST_LADDER, max(TWO_SIDED + 2, width // 2))
    most = (body - 3) // 2 if shows.trades else body - 1
    rows = min(markets, max(1, most)) if markets > 1 else 0
    trades = max(0, body - 1 - (rows + 2 if rows else 0)) if shows.trades else 0
    depth = (body - LADDER) // 2
    return Layout(width, height, ladder, width - ladder - 2, body, Room(depth, rows, trades, notes), about)


def _messages_only(width: int, height: int, markets: int, shows: Shows, about: int) -> Layout:
    """The market's quote and the list, if there are quotes; all other lines are for notes."""
    free = height - HEAD - 2  # without the keys and the notes' title
    rows = min(markets, max(1, free // 3)) if shows.quotes and markets > 1 and height >= _WITH_LIST else 0
    body = (QUOTE + about if shows.quotes else 0) + (rows + 1 if rows else 0) + 1
    return Layout(width, height, width, 0, body, Room(1, rows, 0, max(0, height - HEAD - 1 - body)), about)


def _notes(height: int, more: bool) -> int:
    if height < 16:
        return 0
    if more:
        return height // 4
    return 1 if height < 24 else 2 if height < 36 else 4
