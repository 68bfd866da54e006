"""``app.config["KALSHI_…"]`` and the environment, as checked values.

Owns Settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ...connection.environment import (
    EXCHANGE_VARIABLES,
    RELAY_VARIABLE,
    REST_VARIABLE,
    exchange_context,
    exchange_url,
    rest_url,
)
from ...connection.redaction import without_locals
from ...credentials import Credentials
from ...errors import ConfigurationError
from ...feed import KalshiFeed
from ...relay.environment import (
    CA_VARIABLE,
    KEY_VARIABLES,
    NAME_VARIABLE,
    PASSWORD_FILE_VARIABLE,
    PASSWORD_VARIABLE,
    consumer_from,
)
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
    (RELAY_VARIABLE,),
    (NAME_VARIABLE,),
    (PASSWORD_VARIABLE, PASSWORD_FILE_VARIABLE),
    (CA_VARIABLE,),
)
_CHANNELS: Final = ("orderbook_delta", "trade")


@dataclass(frozen=True)
class Settings:
    """How feeds are made and streams are run. Immutable, hence thread-safe.

    ``feed`` holds arguments of KalshiFeed, None for a relay's consumer, which the variables in ``relay``
    describe; ``rest_url`` is None if nothing but the feed's url says it; times are in seconds.
    """

    feed: Mapping[str, Any] | None
    relay: Mapping[str, str] = field(repr=False)  # may contain a password
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
        _choose_source(found, config)
        relay = found if RELAY_VARIABLE in found else {}
        feed: dict[str, Any] | None = None
        if not relay:
            feed = {
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
            relay=relay,
            rest_url=rest_url(found) if REST_VARIABLE in found and not relay else None,
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

    @without_locals
    def make_feed(self, arguments: Mapping[str, Any]) -> KalshiFeed:
        """Make a feed, not started, with further ``arguments``. Raises ConfigurationError, and ImportError if
        the extra redis is needed and not installed."""
        if self.feed is not None:
            return KalshiFeed(**{**self.feed, **arguments})
        if any(rule_of(name).is_account for name in self.channels):
            arguments = {"account": True, **arguments}
        return consumer_from(KalshiFeed.from_relay, self.relay, arguments)


def _choose_source(found: dict[str, str], config: Mapping[str, Any]) -> None:
    """If the application's configuration names a relay or a key, the environment's other one does not count;
    if the same place names both, that is reported later."""
    names_relay = bool(config.get(RELAY_VARIABLE))
    names_key = any(config.get(name) for name in KEY_VARIABLES)
    if names_relay and not names_key:
        for name in KEY_VARIABLES:
            found.pop(name, None)
    elif names_key and not names_relay:
        found.pop(RELAY_VARIABLE, None)


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
