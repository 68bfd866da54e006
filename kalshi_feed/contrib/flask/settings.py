"""``app.config["KALSHI_…"]`` and the environment, as checked values.

Owns Settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...connection.environment import (
    EXCHANGE_VARIABLES,
    REST_VARIABLE,
    exchange_context,
    exchange_url,
    rest_url,
)
from ...connection.redaction import without_locals
from ...credentials import Credentials
from ...errors import ConfigurationError
from ...session.channels import channel_names, names, rule_of

__all__ = ["Settings"]

# Groups of which one name is enough: if the application's configuration has one of a group, the environment's
# are ignored for that group.
_ALTERNATIVES: Final = (
    ("KALSHI_API_KEY_ID",),
    ("KALSHI_PRIVATE_KEY_PATH", "KALSHI_PRIVATE_KEY"),
    ("KALSHI_PRIVATE_KEY_PASSWORD",),
    (*EXCHANGE_VARIABLES, REST_VARIABLE),
    ("KALSHI_CA_FILE",),
)
_CHANNELS: Final = ("orderbook_delta", "trade")


@dataclass(frozen=True)
class Settings:
    """How feeds are made and streams are run. Immutable, hence thread-safe.

    ``feed`` holds arguments of KalshiFeed; ``rest_url`` is None if nothing but the feed's url says it; times
    are in seconds.
    """

    feed: Mapping[str, Any]
    rest_url: str | None
    market_tickers: tuple[str, ...]
    series: tuple[str, ...]
    events: tuple[str, ...]
    channels: tuple[str, ...]
    patience: float
    stream_clients: int
    stream_depth: int
    stream_interval: float
    stream_heartbeat: float
    stream_timeout: float

    @classmethod
    @without_locals
    def read(cls, config: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
        """Read them. Raises ConfigurationError and CredentialsError, which say what to set."""
        found: dict[str, str] = {}
        for alternatives in _ALTERNATIVES:
            source: Mapping[str, Any] = config if any(config.get(name) for name in alternatives) else environ
            found |= {name: str(source[name]) for name in alternatives if source.get(name)}
        feed: dict[str, Any] = {
            "credentials": Credentials.from_env(found),
            "url": exchange_url(found),
            "ssl_context": exchange_context(found),
        }
        tickers, series, event_tickers, channels = (
            _listed(config, environ, f"KALSHI_{name}") for name in ("TICKERS", "SERIES", "EVENTS", "CHANNELS")
        )
        if series or event_tickers:
            _check_followable(channels)
        return cls(
            feed=feed,
            rest_url=rest_url(found) if REST_VARIABLE in found else None,
            market_tickers=tickers,
            series=series,
            events=event_tickers,
            channels=channels or (_CHANNELS if tickers or series or event_tickers else ()),
            patience=_number(config, "KALSHI_PATIENCE", 2.0),
            stream_clients=int(_number(config, "KALSHI_STREAM_CLIENTS", 32)),
            stream_depth=int(_number(config, "KALSHI_STREAM_DEPTH", 20)),
            stream_interval=_number(config, "KALSHI_STREAM_INTERVAL", 0.1),
            stream_heartbeat=_number(config, "KALSHI_STREAM_HEARTBEAT", 1.0),
            stream_timeout=_number(config, "KALSHI_STREAM_TIMEOUT", 5.0),
        )


def _listed(config: Mapping[str, Any], environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    """A list of names, or one string with commas between them."""
    value = config.get(name) or environ.get(name) or ()
    if isinstance(value, str):
        value = [item for part in value.split(",") if (item := part.strip())]
    return names(value, name) if value else ()


def _check_followable(channels: tuple[str, ...]) -> None:
    for name in channel_names(channels) if channels else ():
        if "market_tickers" not in rule_of(name).selectors:
            raise ConfigurationError(
                f"contains {name}, which is not subscribed to by market ticker, and so does not go with "
                "KALSHI_SERIES and KALSHI_EVENTS: subscribe to it in on_start",
                "KALSHI_CHANNELS",
            )


def _number(config: Mapping[str, Any], name: str, default: float) -> float:
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
        raise ConfigurationError(f"{name} must be a positive number, not {value!r}")
    return float(value)
