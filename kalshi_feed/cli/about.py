"""What is known about a market besides its book, in words: its title, its time to close, how it ended.

Pure functions.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ..messages.listed import Market
from ..messages.phase import has_ended, phase
from .model import About, printable

__all__ = ["about_of", "is_over", "time_left", "title_of"]

_WORDS: Final = {"paused": "paused", "unopened": "not open"}  # of a market that is not over, by its phase
_NONE: Final = timedelta(0)


def about_of(market: Market, now: datetime) -> About:
    """What there is to say about the market at this moment of the exchange's time."""
    title, doing = title_of(market), phase(market, now.timestamp())
    opens, closes = market.open_at, market.close_at
    if is_over(market, now):
        when = "" if closes is None or closes > now else f"closed {time_left(now - closes)} ago"
        word = _outcome(market) or ("settled" if doing == "settled" else "closed")
        return About(title, word, when, is_over=True)
    if opens is not None and opens > now:
        return About(title, "not open", f"opens in {time_left(opens - now)}")
    return About(
        title, _WORDS.get(doing, ""), "" if closes is None else f"closes in {time_left(closes - now)}"
    )


def is_over(market: Market, now: datetime) -> bool:
    """Whether no one can trade it anymore."""
    closes = market.close_at
    return has_ended(market) or (closes is not None and closes <= now)


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
    return f"settled {printable(market.result)}" if market.result else ""


def time_left(left: timedelta) -> str:
    """ "0:05", "14:02", "3:20:00", "2 d 4 h"."""
    minutes, seconds = divmod(int(max(left, _NONE).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
