"""Amounts that are JSON numbers instead of strings, in the messages that are decoded in one step: books,
tickers and trades.

Owns the second look at such a frame. The first one requires strings, because that is what the exchange sends,
and because it is fastest. A frame that fails it comes here as plain Python values, with every number exact
(wire_number() in messages.flat).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .base import Message
from .books import OrderbookDelta, OrderbookSnapshot
from .market import Ticker, Trade
from .values import check_counts, check_prices, number_text

__all__ = ["set_aside", "spelled_out"]

_PRICES: Final = frozenset(
    {"price_dollars", "yes_price_dollars", "no_price_dollars", "yes_bid_dollars", "yes_ask_dollars"}
)
_SIZES: Final = frozenset(
    {
        "count_fp",
        "delta_fp",
        "last_trade_size_fp",
        "open_interest_fp",
        "volume_fp",
        "yes_ask_size_fp",
        "yes_bid_size_fp",
    }
)
_LEVELS: Final = ("yes_dollars_fp", "no_dollars_fp", "yes_dollars", "no_dollars")
_LEVELS_WITH_INTS: Final = ("yes_dollars", "no_dollars")  # whose sizes are whole contracts


def spelled_out(cls: type[Message], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``msg`` with amounts that are JSON numbers as strings, and the rest unchanged."""
    found = dict(body)
    if issubclass(cls, OrderbookDelta | Ticker | Trade):
        for name in found.keys() & (_PRICES | _SIZES):
            found[name] = _text(found[name])
    elif issubclass(cls, OrderbookSnapshot):
        for name in _LEVELS:
            if isinstance(found.get(name), list):
                found[name] = [_level(pair, sizes=name not in _LEVELS_WITH_INTS) for pair in found[name]]
    return found


def set_aside(cls: type[Message], body: dict[str, Any]) -> list[str]:
    """Remove a Ticker's unreadable amounts from ``body``; return their names. Other types need all theirs."""
    odd: list[str] = []
    if cls is Ticker:
        for name, check in _TICKER_CHECKS.items():
            value = body.get(name)
            if value is not None:
                try:
                    check(value)
                except (TypeError, ValueError):
                    odd.append(name)
                    del body[name]
    return odd


def _text(value: object) -> object:
    try:
        return number_text(value)
    except ValueError:
        return value


def _level(pair: object, *, sizes: bool) -> object:
    if not isinstance(pair, list) or len(pair) != 2:
        return pair
    price, size = pair
    return [_text(price), size if type(size) is int and not sizes else _text(size)]


def _unless_empty(check: Callable[[str], object]) -> Callable[[Any], object]:
    return lambda value: (
        value == "" or check(value)
    )  # "" was sent if there was no trade yet (PROTOCOL.md 6.3)


def _whole(most: int) -> Callable[[Any], object]:
    def check(value: Any) -> None:
        if type(value) is not int or not 0 <= value <= most:
            raise ValueError("not a whole number in range")

    return check


_TICKER_CHECKS: Final[dict[str, Callable[[Any], object]]] = {
    **{name: _unless_empty(check_prices) for name in ("price_dollars", "yes_bid_dollars", "yes_ask_dollars")},
    **{name: _unless_empty(check_counts) for name in sorted(_SIZES - {"count_fp", "delta_fp"})},
    **dict.fromkeys(("price", "yes_bid", "yes_ask"), _whole(100)),
    **dict.fromkeys(("volume", "open_interest"), _whole(10**13)),
}
