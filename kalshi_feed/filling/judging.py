"""What REST's list for a hole means: which part of it to ask for, whether its ids can be compared with those
of the feed, and whether it is complete. Pure functions of the list and of what came over the feed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..engine.holes import DISORDER, OVERLAP, Hole, key_of, time_of
from ..messages import Message

__all__ = ["asked_for", "ids_differ", "is_unfiltered", "late", "matched"]

AFTER = 2.0  # seconds after it
_UNSURE = 2.0  # seconds next to a hole in which a message may have been missed
_FEW = 20  # markets that are asked for one by one while the rate of trades is unknown
_PAGE = 1000


def asked_for(hole: Hole) -> tuple[float, float]:
    """Return the interval to ask for, in Unix seconds by the exchange's clock.

    Nothing from before the channel was first confirmed, as far as the clocks can say, unless the hole begins
    there: then it is the user who says where.
    """
    if hole.is_exact:
        return hole.since, hole.until + AFTER
    return max(hole.since - OVERLAP, min(hole.since, hole.begun - _UNSURE)), hole.until + AFTER


def matched(hole: Hole, rows: Sequence[Message]) -> int:
    """Return how many of the rows came over the feed."""
    return len({key for row in rows if (key := key_of(row)) in hole.known})


def ids_differ(hole: Hole, rows: Sequence[Message], *, have_agreed: bool, have_differed: bool) -> bool:
    """Whether REST's ids are not the feed's, so that no one can say what is missing.

    That is so if none of them was ever the same, and REST lists a message from a time in which it must have
    come over the feed. A list without such messages proves nothing.
    """
    if have_agreed or matched(hole, rows):
        return False
    if have_differed:
        return True
    for row in rows:
        at = time_of(row)
        last = max(hole.since - _UNSURE, hole.latest.get(row.market_ticker, 0.0) - DISORDER)
        if at is not None and hole.sure_since + _UNSURE <= at <= last:
            return True
    return False


def late(hole: Hole, rows: Sequence[Message], asked_at: float) -> int:
    """Return how many messages came over the feed before REST was asked at ``asked_at``, and are not on its
    list: then others may be missing there, too."""
    first, last = asked_for(hole)
    listed = {key_of(row) for row in rows}
    markets = frozenset(hole.market_tickers)
    return sum(
        first <= seen.at <= last
        and seen.received <= asked_at
        and (not markets or seen.market_ticker in markets)
        and key not in listed
        for key, seen in hole.known.items()
    )


def is_unfiltered(markets: Collection[str], seconds: float, rate: float | None) -> bool:
    """Whether to ask for all markets at once, because that takes fewer requests than one for each.

    ``rate``: how many trades a second the whole exchange had at the last look, if there was one.
    """
    pages = _FEW if rate is None else max(rate * seconds / _PAGE, 1.0)
    return not markets or len(markets) > pages
