"""What the exchange's replies to commands say, and what they mean (PROTOCOL.md 3 and 4).

Owns the reading of their optional fields. Thread-safe: pure functions.
"""

from __future__ import annotations

from typing import Final

from ..messages import ErrorMessage, Ok

__all__ = ["advice", "listed_keys", "named_markets"]

_OVERFLOW: Final = 25


def listed_keys(message: Ok) -> tuple[str, ...]:
    """The keys the subscription has after a change, if the exchange names them."""
    return (
        message.market_tickers or message.market_ids or message.index_ids or message.underlying_tickers or ()
    )


def named_markets(message: ErrorMessage) -> set[str]:
    """The markets named in an error."""
    return set(message.market_tickers or ()) | ({message.market_ticker} if message.market_ticker else set())


def advice(code: int) -> str:
    """What to do about an error whose own message does not say so; "" for all others."""
    return (
        " (this program reads too slowly, or subscribes to too many markets on one connection)"
        if code == _OVERFLOW
        else ""
    )
