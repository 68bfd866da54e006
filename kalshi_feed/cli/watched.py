"""What a command has to look at while its feed runs: failures, refusals, markets that are not there.

Owns Watched. Main thread, except for the callbacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..feed import KalshiFeed
from ..following import Following
from ..subscription import Subscription
from .first_connection import FirstConnection
from .followed import Followed
from .model import printable
from .subscribing import Subject, follow, raise_failure, raise_refusal, subscribe
from .unknown import UnknownTickers

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["Watched"]


class Watched:
    """The subscriptions of a feed that is to be started. Main thread, except for the callbacks.

    With ``warns``, markets and series that are not there are reported on standard error at once; otherwise
    by report(), for a command that draws on the screen meanwhile. ``say`` is where. Raises
    ConfigurationError.
    """

    def __init__(
        self,
        feed: KalshiFeed,
        subject: Subject,
        rest: Rest | None,
        *,
        warns: bool = True,
        say: Callable[[str], object] | None = None,
    ) -> None:
        self._feed = feed
        self._rest = rest
        self._unsaid: list[str] = []
        self._say = say or _echo
        self._first = FirstConnection(feed)
        followings = follow(feed, subject, rest)
        self._subscriptions: tuple[Subscription | Following, ...] = (*subscribe(feed, subject), *followings)
        self.unknown = UnknownTickers(
            feed, subject.market_tickers, subject.channels, warns=warns, alone=not subject.follows
        )
        self.followed = Followed(
            feed,
            followings,
            rest,
            alone=not subject.market_tickers,
            say=self._say if warns else self._unsaid.append,
        )

    def look(self) -> None:
        """Raise the feed's fatal error, a refusal, or Failed if the exchange knows nothing of what was
        asked for."""
        raise_failure(self._feed)
        self._first.look()
        raise_refusal(self._subscriptions)
        self.unknown.look()
        self.followed.look()

    def report(self) -> None:
        """Report the warnings that were not reported yet."""
        self.unknown.report()
        for text in self._unsaid:
            if text.startswith("warning: "):
                self._say(text)

    def summary(self) -> dict[str, Any]:
        """The counts of markets, for the command's own summary."""
        opened = {"markets_opened": self.followed.opened} if self.followed.followings else {}
        return {**opened, "unknown_markets": self.unknown.found}

    def check(self) -> None:
        """Raise Failed, with the reason, if nothing can have been shown or stored. The feed has been
        closed."""
        self._first.check()
        self.followed.check()

    def close(self) -> None:
        """End the requests over REST, so that closing the feed does not wait for them."""
        if self._rest is not None:
            self._rest.close()
        self.followed.close()


def _echo(text: str) -> None:
    click.echo(printable(text), err=True)
