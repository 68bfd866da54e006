"""The Rest that a feed uses by itself, for follow() and fill_gaps: its exchange, its TLS and its proxy."""

from __future__ import annotations

from collections.abc import Callable

from ..credentials import Credentials
from ..engine.live import LiveEngine
from ..errors import ConfigurationError
from .client import Rest

__all__ = ["rest_for"]


def rest_for(
    engine: LiveEngine, given: Rest | None, credentials: Credentials | None = None
) -> Callable[[], tuple[Rest, bool]]:
    """Return what makes the Rest to ask, and says whether it has to be closed: the given one, or a new one
    for the feed's exchange, with ``credentials`` if the account's data is wanted.

    Raises ConfigurationError, also if the url of the exchange's REST API is not known.
    """
    if given is not None:
        if not isinstance(given, Rest):
            raise ConfigurationError(f"rest must be a Rest, not {type(given).__name__}")
        return lambda: (given, False)
    url, context, proxy = engine.rest_url, engine.rest_context, engine.rest_proxy

    def make() -> tuple[Rest, bool]:
        return Rest(credentials, url=url, ssl_context=context, proxy=proxy), True  # type: ignore[arg-type]  # a Proxy is as good

    make()[0].close()  # now, so that what is wrong with them is raised here
    return make
