"""A loopback exchange that speaks Kalshi's feed protocol: for tests, for the demo, and for users' own tests.

    from . import Exchange

    with Exchange(markets=("KXSIM-A",), rate=200) as exchange:
        ...  # connect to exchange.url with exchange.credentials and exchange.ssl_context

Needs the extra ``simulator`` (websockets, trustme). The names are loaded when they are first asked for, so
that the pytest plugin in this package can be found and imported where the extra is missing. Layers,
downwards: exchange > scripting, quoting, lifecycle, references > trading > matching > core > connection >
session > (commands, faults) > subscriptions, rfqs, portfolio > markets > wire, schemas; beside core stand
generator and replay, accounts and certificates. Only ``exchange`` touches the package outside this folder
(credentials, imported when asked for).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core import Handshake
    from .exchange import Exchange
    from .replay import Replay
    from .session import Quirks

__all__ = ["Exchange", "Handshake", "Quirks", "Replay"]

_HOMES = {"Exchange": "exchange", "Handshake": "core", "Quirks": "session", "Replay": "replay"}


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
