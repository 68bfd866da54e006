"""The facts of a market besides its book: titles, times, outcome, price grid.

Owns these values, and REST's names for a market's status. Pure data: times are arguments, in microseconds
since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SECOND = 1_000_000
LIFE_US = 30 * 86_400 * SECOND  # of a market that was added without a close time

# what REST calls a status, and the filter that finds it
FILTERS = {
    "initialized": "unopened",
    "active": "open",
    "inactive": "open",
    "closed": "closed",
    "determined": "closed",
    "finalized": "settled",
}


@dataclass
class MarketFacts:
    """The facts of one market. Not thread-safe: the exchange's lock guards them."""

    title: str = ""
    yes_sub_title: str = "Yes"
    no_sub_title: str = "No"
    rules_primary: str = "The simulator decides."
    can_close_early: bool = True
    price_level_structure: str = "linear_cent"
    price_ranges: list[dict[str, str]] = field(
        default_factory=lambda: [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
    )
    strikes: dict[str, Any] = field(default_factory=dict)  # strike_type, floor_strike, cap_strike ...
    serial: int = 0  # in the order in which markets were listed
    created_us: int = 0
    open_us: int = 0
    close_us: int = 0
    expiration_us: int = 0
    updated_us: int = 0
    settled_us: int | None = None
    result: str = ""

    def listed(self, serial: int, now_us: int, ticker: str) -> None:
        """Fill in the facts that no one has given for a market that is listed now."""
        self.serial = serial
        self.title = self.title or f"Will {ticker} happen?"
        self.created_us = self.updated_us = now_us
        self.open_us = self.open_us or now_us
        self.close_us = self.close_us or self.open_us + LIFE_US
        self.expiration_us = self.expiration_us or self.close_us

    def update(self, metadata: Mapping[str, Any]) -> None:
        """Take fields of a lifecycle message's metadata."""
        for name, value in metadata.items():
            if name in ("title", "yes_sub_title", "no_sub_title", "rules_primary", "can_close_early"):
                setattr(self, name, value)
            elif name in ("strike_type", "floor_strike", "cap_strike", "custom_strike"):
                self.strikes[name] = value
            elif name == "expected_expiration_ts":
                self.expiration_us = int(value) * SECOND


def rest_status(status: str, facts: MarketFacts, now_us: int) -> str:
    """What REST calls the status of a market: opening and closing are a matter of the clock."""
    if status in ("active", "replayed"):
        if now_us < facts.open_us:
            return "initialized"
        return "active" if now_us < facts.close_us else "closed"
    return "finalized" if status == "settled" else status
