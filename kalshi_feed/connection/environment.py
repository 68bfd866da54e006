"""Which exchange the environment names: KALSHI_URL, KALSHI_REST_URL, KALSHI_ENV and KALSHI_CA_FILE.

Owns the meaning of these variables, for from_env(), the command line, Flask and the samples alike. An empty
variable counts as unset. KALSHI_RELAY takes the place of all of them (relay/environment.py). Thread-safe:
functions only.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Final

from ..errors import ConfigurationError
from .context import ca_context
from .url import parse_rest_url, parse_url

__all__ = [
    "DEMO_REST_URL",
    "DEMO_URL",
    "EXCHANGE_VARIABLES",
    "PRODUCTION_REST_URL",
    "PRODUCTION_URL",
    "RELAY_VARIABLE",
    "REST_VARIABLE",
    "checked_url",
    "exchange_context",
    "exchange_url",
    "rest_url",
    "rest_url_of",
]

PRODUCTION_URL: Final = "wss://external-api-ws.kalshi.com/trade-api/ws/v2"  # PROTOCOL.md 1.1
DEMO_URL: Final = "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2"
PRODUCTION_REST_URL: Final = "https://external-api.kalshi.com/trade-api/v2"  # PROTOCOL.md 12.1
DEMO_REST_URL: Final = "https://external-api.demo.kalshi.co/trade-api/v2"
EXCHANGE_VARIABLES: Final = ("KALSHI_URL", "KALSHI_ENV")  # either is enough; the first wins
REST_VARIABLE: Final = "KALSHI_REST_URL"
RELAY_VARIABLE: Final = "KALSHI_RELAY"
_CA_VARIABLE: Final = "KALSHI_CA_FILE"
_URLS: Final = {"production": PRODUCTION_URL, "demo": DEMO_URL}
# by the feed's host and port
_REST_URLS: Final = {
    parse_url(PRODUCTION_URL).authority: PRODUCTION_REST_URL,
    parse_url(DEMO_URL).authority: DEMO_REST_URL,
}


def exchange_url(environ: Mapping[str, str]) -> str:
    """Return the exchange's url: KALSHI_URL if set, otherwise that of KALSHI_ENV ("production", the default,
    or "demo").

    Raises ConfigurationError, which names the variable, for a KALSHI_URL that is not a WebSocket url or any
    other KALSHI_ENV.
    """
    url_variable, env_variable = EXCHANGE_VARIABLES
    url, env = environ.get(url_variable, ""), environ.get(env_variable, "")
    if url:
        return checked_url(url, parse_url, url_variable)
    if (env or "production") not in _URLS:
        raise ConfigurationError(f"is {env!r}; write 'production' or 'demo'", env_variable)
    return _URLS[env or "production"]


def rest_url(environ: Mapping[str, str]) -> str:
    """Return the url of the exchange's REST API: KALSHI_REST_URL if set, otherwise the one that belongs to
    exchange_url().

    Raises ConfigurationError, which names the variable: also for a KALSHI_URL that is neither production's
    nor the demo environment's, because nothing says where the REST API of another exchange is.
    """
    url = environ.get(REST_VARIABLE, "")
    if not url:
        return rest_url_of(exchange_url(environ))
    return checked_url(url, parse_rest_url, REST_VARIABLE)


def checked_url(url: str, parse: Callable[[str], object], name: str) -> str:
    """Return the url if it can be parsed. Raises ConfigurationError, which names it by ``name``."""
    try:
        parse(url)
    except ConfigurationError as error:
        problem = error.problem
    else:
        return url
    raise ConfigurationError(problem, name)


def rest_url_of(feed_url: str) -> str:
    """Return the url of the REST API that belongs to a feed's url. Raises ConfigurationError."""
    endpoint = parse_url(feed_url)
    url = _REST_URLS.get(endpoint.authority)
    if url is None:
        raise ConfigurationError(
            f"is not set, and only production and demo imply it: set it to the REST url that belongs to "
            f"{endpoint.redacted}, such as {PRODUCTION_REST_URL!r}",
            REST_VARIABLE,
        )
    return url


def exchange_context(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return a context that trusts only the certificates in KALSHI_CA_FILE (PEM), or None if that is not set.

    Raises ConfigurationError for a file that cannot be used.
    """
    ca_file = environ.get(_CA_VARIABLE, "")
    return ca_context(ca_file, f" of {_CA_VARIABLE}") if ca_file else None
