"""What a market is doing, in a word or two: for health(), the page and the terminal.

Owns phase() and has_ended(). Thread-safe: functions only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from .listed import Market

__all__ = ["has_ended", "phase"]

# What the exchange says once trading is over.
_ENDED: Final = {
    "closed": "closed",
    "determined": "determined",
    "disputed": "determined",
    "amended": "determined",
    "settled": "settled",
    "finalized": "settled",
}
_GOING: Final = ("active", "open")
_PAUSED: Final = ("inactive", "paused")
_UNOPENED: Final = ("initialized", "unopened")


def phase(market: Market, now: float) -> str:
    """Return "unopened", "open", "paused", "closed", "determined" or "settled"; the last two with the result,
    as in "settled yes".

    ``now`` is the exchange's time, Unix seconds: it decides where the status does not, and that a market is
    closed.
    """
    status = (market.status or "").lower()
    if status not in _ENDED:
        if _is_past(market.close_at, now):
            return "closed"
        if status in _GOING:
            return "open"
        if status in _PAUSED:
            return "paused"
        is_unopened = status in _UNOPENED if market.open_at is None else not _is_past(market.open_at, now)
        return "unopened" if is_unopened else "open"
    word = _ENDED[status]
    return word if word == "closed" or not market.result else f"{word} {market.result}"


def has_ended(market: Market) -> bool:
    """Whether trading is known to be over. Quick, because it does not read the times: follow() updates the
    status when a market closes."""
    status = market.status
    return status is not None and status.lower() in _ENDED


def _is_past(at: datetime | None, now: float) -> bool:
    return at is not None and at.timestamp() <= now
