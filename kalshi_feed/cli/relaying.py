"""What ``kalshi-feed relay`` does, and how far along it is.

Owns the loop, the progress line and the summary. Main thread, except for the callbacks.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ..connection.environment import RELAY_VARIABLE
from ..events import FeedState
from ..feed import KalshiFeed
from ..relay import Relay
from ..relay.environment import NAME_VARIABLE, RelayAccess
from ..relay.layout import DEFAULT_NAME
from ..subscription import Subscription
from .first_connection import FirstConnection
from .followed import Followed
from .model import counted
from .notes import time_text
from .recordings import Progress, report_fault
from .show import quiet_log
from .subscribing import CHANNELS, Subject, follow, raise_failure, raise_refusal, subscribe
from .unknown import UnknownTickers

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["run"]

_LOOK: Final = 0.1  # seconds between two looks
_LATE: Final = 0.25  # seconds from which being late is worth a word


def run(
    feed: KalshiFeed,
    subject: Subject,
    rest: Rest | None,
    access: RelayAccess,
    *,
    allow: Sequence[str],
    account: bool,
    keep: float,
    standby: bool,
    seconds: float | None,
    quiet: bool,
) -> dict[str, Any]:
    """Relay until Ctrl-C or for ``seconds``; returns the summary. ``rest``, which this closes, is needed for
    series and events. Raises KalshiFeedError."""
    relay = Relay(feed, **access.arguments(), allow=allow, account=account, keep=keep, standby=standby)
    feed.on_error(report_fault)
    progress, begun = Progress(quiet), time.monotonic()
    first = FirstConnection(feed)
    made = _subscribed(feed, subject)
    followings = follow(feed, subject, rest)
    unknown = UnknownTickers(feed, subject.market_tickers, subject.channels, alone=False)
    followed = Followed(feed, followings, rest, alone=False, say=progress.say)
    news = _News(relay, feed, progress, standby=standby)
    end = None if seconds is None else begun + seconds
    try:
        with quiet_log(), contextlib.suppress(KeyboardInterrupt), contextlib.closing(relay):
            relay.start()
            while end is None or time.monotonic() < end:
                raise_failure(feed)
                if relay.error is not None:
                    raise relay.error
                raise_refusal((*made, *followings))
                unknown.look()
                followed.look()
                news.look()
                time.sleep(_LOOK if end is None else max(0.0, min(_LOOK, end - time.monotonic())))
    finally:
        if rest is not None:
            rest.close()
        followed.close()
        relay.close()  # also if Ctrl-C came while it was being started
        feed.close()
        progress.end()
    first.check()
    stats, feed_stats = relay.stats(), feed.stats()
    return {
        "relay": relay.name,
        "messages": feed_stats.messages_total,
        "entries": stats.entries,
        "bytes": stats.bytes,
        "missed": stats.missed,
        "seconds": round(time.monotonic() - begun, 3),
        "gaps": feed_stats.gaps,
        "reconnects": feed_stats.reconnects,
        "unknown_markets": unknown.found,
    }


def _subscribed(feed: KalshiFeed, subject: Subject) -> tuple[Subscription, ...]:
    """The relay's own subscriptions: to the markets that were named; if none was, to whole channels, if those
    were named."""
    if subject.market_tickers or subject.follows or subject.channels == CHANNELS:
        return subscribe(feed, subject)
    return subscribe(feed, subject, whole=True)


class _News:
    """Says what has changed since the last look, and how far along the relay is. Main thread only."""

    def __init__(self, relay: Relay, feed: KalshiFeed, progress: Progress, *, standby: bool) -> None:
        self._relay = relay
        self._feed = feed
        self._progress = progress
        self._standby = standby
        self._role = ""
        self._state = FeedState.IDLE
        self._was_reachable = True

    def look(self) -> None:
        """Print the news, and the line of progress if it is due."""
        stats, say = self._relay.stats(), self._progress.say
        role = "writer" if stats.is_writer else "standby" if self._standby else "waiting"
        if role != self._role:
            self._role = role
            say(f"{time_text(None)} {self._sentence(role)}")
        if stats.is_connected != self._was_reachable:
            self._was_reachable = stats.is_connected
            say(f"{time_text(None)} {'Redis is back' if stats.is_connected else stats.last_error}")
        state = self._feed.state
        if state is not self._state:
            self._state = state
            say(f"{time_text(None)} the feed is {state.value}")
        parts = [role, counted(stats.consumers, "consumer"), f"backlog {stats.backlog:,}"]
        if stats.late >= _LATE:
            parts.append(f"{stats.late:.1f} s late")
        if stats.missed:
            parts.append(f"{stats.missed:,} missed")
        if state is not FeedState.CONNECTED:
            parts.append(state.value)
        if not stats.is_connected:
            parts.append("Redis is away")  # why is a line of its own
        self._progress.look(self._feed.stats().messages_total, ", ".join(parts))

    def _sentence(self, role: str) -> str:
        relay = self._relay
        if role == "writer":
            named = "" if relay.name == DEFAULT_NAME else f" {NAME_VARIABLE}={relay.name}"
            return f"relay {relay.name} writes; it is read with {RELAY_VARIABLE}={relay.url}{named}"
        if role == "standby":
            return f"relay {relay.name} is a standby: another one writes to {relay.url}"
        return f"relay {relay.name} does not write to {relay.url} now"
