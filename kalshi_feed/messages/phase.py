"""What a market is doing, in a word or two: for health(), the page and the terminal.

Owns phase(), has_ended(), and the words for a market that trades or is paused. Thread-safe: functions only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from .listed import Market

__all__ = ["GOING", "PAUSED", "has_ended", "phase"]

# What the exchange says once trading is over.
_ENDED: Final = {
    "closed": "closed",
    "determined": "determined",
    "disputed": "determined",
    "amended": "determined",
    "settled": "settled",
    "finalized": "settled",
}
GOING: Final = ("active", "open")  # what it says while a market trades
PAUSED: Final = ("inactive", "paused")
_UNOPENED: Final = ("initialized", "unopened")


def phase(market: Market, now: float) -> str:
    """Return "unopened", "open", "paused", "closed", "determined" or "settled"; the last two with the result,
    as in "settled yes" or, where it is neither yes nor no, with the dollars a yes contract is worth.

    ``now`` is the exchange's time, Unix seconds: it decides where the status does not, and that a market is
    closed.
    """
    status = (market.status or "").lower()
    if not has_ended(market):
        if _is_past(market.close_at, now):
            return "closed"
        if status in GOING:
            return "open"
        if status in PAUSED:
            return "paused"
        is_unopened = status in _UNOPENED if market.open_at is None else not _is_past(market.open_at, now)
        return "unopened" if is_unopened else "open"
    word = _ENDED.get(status, "closed")
    if word == "closed" and market.result:
        word = "determined"
    result = market.result
    if result not in ("yes", "no", "") and market.settlement_value is not None:
        result = f"{market.settlement_value:.4f}"  # dollars that a yes contract is worth
    return word if word == "closed" or not result else f"{word} {result}"


def has_ended(market: Market) -> bool:
    """Whether trading is known to be over. Quick, because it does not read the times: follow() updates the
    status when a market closes."""
    status = market.status
    return bool(market.result) or (status is not None and status.lower() in _ENDED)


def _is_past(at: datetime | None, now: float) -> bool:
    return at is not None and at.timestamp() <= now
