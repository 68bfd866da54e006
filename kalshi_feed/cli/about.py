"""What is known about a market besides its book, in words: its title, its time to close, how it ended.

Pure functions.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ..messages.listed import Market
from .model import About, printable

__all__ = ["about_of", "is_over", "time_left", "title_of"]

_NOT_OPEN: Final = ("unopened", "initialized")
_PAUSED: Final = ("paused", "inactive")
_OVER: Final = ("closed", "determined", "disputed", "amended", "settled", "finalized")
_SETTLED: Final = ("settled", "finalized")
_NONE: Final = timedelta(0)


def about_of(market: Market, now: datetime) -> About:
    """What there is to say about the market at this moment of the exchange's time."""
    title, status = title_of(market), (market.status or "").lower()
    opens, closes = market.open_at, market.close_at
    if is_over(market, now):
        when = "" if closes is None or closes > now else f"closed {time_left(now - closes)} ago"
        return About(title, _outcome(market) or "closed", when, is_over=True)
    if opens is not None and opens > now:
        return About(title, "not open", f"opens in {time_left(opens - now)}")
    word = "paused" if status in _PAUSED else "not open" if status in _NOT_OPEN and opens is None else ""
    return About(title, word, "" if closes is None else f"closes in {time_left(closes - now)}")


def is_over(market: Market, now: datetime) -> bool:
    """Whether no one can trade it anymore."""
    closes = market.close_at
    return (
        bool(market.result)
        or (market.status or "").lower() in _OVER
        or (closes is not None and closes <= now)
    )


def title_of(market: Market) -> str:
    """The title, and what sets this market apart from the others of its event."""
    title, outcome = market.title or "", market.yes_sub_title or ""
    if outcome.lower() in ("yes", "") or outcome.lower() in title.lower():
        return printable(title or outcome)
    return printable(f"{title}: {outcome}" if title else outcome)


def _outcome(market: Market) -> str:
    """ "settled yes", "settled 0.4300"; "" as long as it is not known."""
    if market.result in ("yes", "no"):
        return f"settled {market.result}"
    if market.settlement_value is not None:
        return f"settled {market.settlement_value:.4f}"
    if market.result:
        return f"settled {printable(market.result)}"
    return "settled" if (market.status or "").lower() in _SETTLED else ""


def time_left(left: timedelta) -> str:
    """ "0:05", "14:02", "3:20:00", "2 d 4 h"."""
    minutes, seconds = divmod(int(max(left, _NONE).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
