"""What the exchange's replies to commands say, and what they mean (PROTOCOL.md 3 and 4).

Must not import sockets, threads or clocks. Thread-safe: pure functions.
"""

from __future__ import annotations

from typing import Final

from ..messages import ErrorMessage, Ok

__all__ = ["advice", "listed_keys", "named_markets"]

_OVERFLOW: Final = 25


def listed_keys(message: Ok) -> tuple[str, ...]:
    """What the subscription holds after a change, where the exchange says so."""
    return (
        message.market_tickers or message.market_ids or message.index_ids or message.underlying_tickers or ()
    )


def named_markets(message: ErrorMessage) -> set[str]:
    """The markets that an error names."""
    return set(message.market_tickers or ()) | ({message.market_ticker} if message.market_ticker else set())


def advice(code: int) -> str:
    """What to do about an error, for those whose text does not say it."""
    return (
        " (this program reads too slowly, or subscribes to too many markets on one connection)"
        if code == _OVERFLOW
        else ""
    )
