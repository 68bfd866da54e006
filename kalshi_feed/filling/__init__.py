"""What was missed while the feed was not connected, or in a gap, is fetched over REST: ``fill_gaps=``.

Owns fill_gaps(), which checks the arguments. Layers, downwards: this > filler > jobs > judging. What is
missing and where it belongs is decided in the core (engine/holes.py, engine/holding.py). Needs the extra
``rest``.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from ..engine.live import LiveEngine
from ..errors import ConfigurationError
from .filler import Filler

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["fill_gaps"]


def fill_gaps(engine: LiveEngine, given: bool | Rest, timeout: float, since: datetime | float | None) -> None:
    """Have the feed's gaps filled from now on; see KalshiFeed. Raises ConfigurationError."""
    unix = _seconds(since)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 <= timeout < math.inf:
        raise ConfigurationError(f"must be a number of seconds, at least 0, not {timeout!r}", "fill_timeout")
    if given is False:
        if since is not None:
            raise ConfigurationError("needs fill_gaps=True: there is nothing to fill otherwise", "fill_since")
        return
    from ..rest import Rest  # needs requests
    from ..rest.for_feed import rest_for

    if given is not True and not isinstance(given, Rest):
        raise ConfigurationError(f"must be True, False or a Rest, not {type(given).__name__}", "fill_gaps")
    make = rest_for(engine, None if given is True else given, engine.credentials)
    engine.fill_gaps(float(timeout), unix)
    engine.companions[Filler(engine, make)] = None


def _seconds(since: datetime | float | None) -> float | None:
    if isinstance(since, datetime):
        if since.tzinfo is None:
            raise ConfigurationError(
                "has no time zone: write datetime.now(timezone.utc), for example", "fill_since"
            )
        return since.timestamp()
    if since is None:
        return None
    if isinstance(since, bool) or not isinstance(since, (int, float)) or not 0 <= since < 1e11:
        raise ConfigurationError(f"must be an aware datetime or Unix seconds, not {since!r}", "fill_since")
    return float(since)
