"""The rules for Redis's users, as the guide prints them. test_security.py tries them: enough, and no more.

Each is what follows ``ACL SETUSER name on >password``; ``main`` is the relay's name.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ACCOUNT", "READER", "RELAY", "WISHES"]

RELAY: Final = (
    "resetchannels -@all ~kalshi_feed:{main}:* "
    "+get +set +pexpire +del +exists +xinfo|stream +xadd +xread +xtrim +time +ping"
)
"""The relay itself."""

READER: Final = (
    "resetchannels -@all %R~kalshi_feed:{main}:stream %R~kalshi_feed:{main}:checkpoint "
    "+xread +xrevrange +ping"
)
"""A consumer with remote=False: it reads the market data."""

WISHES: Final = f"{READER} %W~kalshi_feed:{{main}}:wishes +xadd"
"""A consumer that also subscribes to more than the relay has."""

ACCOUNT: Final = (
    "resetchannels -@all %R~kalshi_feed:{main}:account:stream %R~kalshi_feed:{main}:account:checkpoint "
    "%W~kalshi_feed:{main}:account:wishes +xread +xrevrange +xadd +ping"
)
"""A consumer with account=True."""
