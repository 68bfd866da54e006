"""What on_market has reported about each market, over all follow() calls of a feed.

Two calls may follow the same market, each with a roster and a thread of its own, and both find out what
happens to it. Owns News, which lets each change through once. The threads are not
in step: one may be at the end of a pause while the other still takes in its beginning. So a change is known
by the message that caused it, if one did, and otherwise by what was reported before.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from ..events import MarketStep
from ..messages import MarketLifecycle
from .roster import STEPS, MarketNews

__all__ = ["News"]

_CLOSED: Final = STEPS.index("closed")
_MOST_CAUSES: Final = 4_000


class _Reported:
    """One market. Guarded by the store's lock."""

    __slots__ = ("is_paused", "step", "times")

    def __init__(self) -> None:
        self.step = -1  # the index in STEPS of the last one
        self.is_paused: bool | None = None  # None: neither "paused" nor "resumed"
        self.times: tuple[datetime | None, datetime | None] | None = None  # opens, closes


class News:
    """Which changes were reported. Guarded by the store's lock; shared by the followers of a feed."""

    def __init__(self) -> None:
        self.is_shared = False  # whether a second follower has it, too: otherwise nothing is reported twice
        self._reported: dict[str, _Reported] = {}
        # The last causes by identity, each with its message, so that it is not the identity of another one.
        self._caused: dict[tuple[int, MarketStep], MarketLifecycle] = {}

    def is_new(self, news: MarketNews) -> bool:
        """Whether no follow() has reported this change; from now on one has."""
        market, change, cause = news
        if change is None:
            return False
        if cause is not None and self.is_shared:
            if (id(cause), change) in self._caused:
                return False
            self._caused[id(cause), change] = cause
            if len(self._caused) > _MOST_CAUSES:
                del self._caused[next(iter(self._caused))]
        known = self._reported.get(market.ticker)
        if known is None:
            known = self._reported[market.ticker] = _Reported()
        times = (market.open_at, market.close_at)
        if change == "rescheduled":
            if known.times == times:
                return False
            if known.step == _CLOSED:
                known.step = 0  # it opens again
        elif change in ("paused", "resumed"):
            if known.is_paused is (change == "paused"):
                return False
            known.is_paused = change == "paused"
        else:
            step = STEPS.index(change)
            if step <= known.step:
                return False
            known.step = step
            if step >= _CLOSED:
                known.is_paused = None
        known.times = times
        return True

    def forget(self, market_tickers: Iterable[str]) -> None:
        """Forget these markets: they are over, or no longer followed."""
        for ticker in market_tickers:
            self._reported.pop(ticker, None)
