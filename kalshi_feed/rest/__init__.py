"""Kalshi's REST API, read only: markets, events, series, trades, and the account's fills, orders, positions.

Needs the extra ``rest`` (requests). Market data needs no key.

    from kalshi_feed.rest import Rest

    with Rest.from_env() as rest:
        for market in rest.markets(series="KXBTC15M", status="open"):
            print(market.ticker, market.close_at, market.yes_bid, market.yes_ask)

Owns the public names. Layers, downwards: client > asking > (sessions, budget, records).
"""

from __future__ import annotations

from ..connection.environment import DEMO_REST_URL, PRODUCTION_REST_URL
from ..errors import RestError
from ..extras import how_to_install

try:
    import requests as _requests
except ModuleNotFoundError as _error:
    raise ImportError(
        f"kalshi_feed.rest needs the package {_error.name!r}; {how_to_install('rest')}"
    ) from _error

from .client import Rest
from .records import Event, ExchangeStatus, Limits, Market, Series

del _requests

__all__ = [
    "DEMO_REST_URL",
    "PRODUCTION_REST_URL",
    "Event",
    "ExchangeStatus",
    "Limits",
    "Market",
    "Rest",
    "RestError",
    "Series",
]
