"""A loopback exchange that speaks Kalshi's feed protocol: for tests (yours, too) and for the demo.

```python
from kalshi_feed import KalshiFeed
from kalshi_feed.simulator import Exchange

with Exchange(markets=["KXSIM-A"], rate=200) as exchange:
    with KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed:
        feed.subscribe("orderbook_delta", "KXSIM-A")
        book = feed.wait_for_book("KXSIM-A", timeout=10)
        print(f"KXSIM-A: yes {book.best_bid().price} bid, {book.best_ask().price} asked")
```

In pytest, the fixture ``kalshi_exchange`` is a started exchange. Needs the extra ``simulator`` (websockets,
trustme). The names are loaded when they are first used, so that the pytest plugin in this package can be
found and imported where the extra is missing.

``exchange.py`` has the list of the parts. Layers, downward: exchange > serving > series > movement, replay,
scripting, market_control, trading, quoting, lifecycle > matching, reception > rest_service > rest_endpoints >
rest_json, rest_pages > listing, references > history > core > connection > session, faults, reordering >
commands, subscriptions, rfqs, portfolio, mover > markets > facts, http_wire > wire, schemas, settings. Beside
them stand accounts, certificates and kept_keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exchange import Exchange
    from .reception import Handshake
    from .replay import Replay
    from .rest_service import RestRequest, RestUsage
    from .series import SeriesRun
    from .settings import Quirks

__all__ = ["Exchange", "Handshake", "Quirks", "Replay", "RestRequest", "RestUsage", "SeriesRun"]

_HOMES = {
    "Exchange": "exchange",
    "Handshake": "reception",
    "Quirks": "settings",
    "Replay": "replay",
    "RestRequest": "rest_service",
    "RestUsage": "rest_service",
    "SeriesRun": "series",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    try:
        module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("websockets", "trustme"):
            raise
        from ..extras import how_to_install

        raise ImportError(
            f"kalshi_feed.simulator needs the package {error.name!r}; {how_to_install('simulator')}",
            name=error.name,
        ) from error
    return getattr(module, name)
