"""The series and events that a command follows: whether the exchange knows them, and what it waits for.

Owns Followed. Main thread, except for the callbacks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ..errors import KalshiFeedError, RestError
from ..events import FeedFault, MarketChange
from ..feed import KalshiFeed
from ..following import Following
from ..subscription import SubscriptionState
from .about import time_left
from .asking import RestQuestion
from .errors import Failed
from .notes import exchange_time
from .wording import in_own_terms

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["Followed", "subject_of"]

_ADVICE: Final = {
    "series": "write the whole series' ticker, which is the first part of its markets' tickers",
    "event": "write the whole event's ticker, which is the first two parts of its markets' tickers",
}
_NO_ANSWER: Final = "REST had not answered yet"
_ENVIRONMENTS: Final = "production and demo have different ones, and `kalshi-feed markets WORDS` finds them"


def subject_of(following: Following) -> str:
    """ "the series KXBTC15M"."""
    return f"the series {following.series}" if following.event is None else f"the event {following.event}"


class _FollowedOne:
    """One of them, and what is known about it. Main thread only."""

    def __init__(self, following: Following) -> None:
        self.following = following
        self.is_listed = False  # REST has said which markets it has
        self.had_markets = False
        self.is_waiting = False  # it has no market to watch now, and that was said
        self.question: RestQuestion[Any] | None = None  # asks REST whether there is such a series or event
        self.is_unknown = False  # the exchange has said that there is no such series or event

    def ask(self, rest: Rest) -> None:
        series, event = self.following.series or "", self.following.event
        self.question = RestQuestion(lambda: rest.series(series) if event is None else rest.event(event))


class Followed:
    """Series and events of a feed that is to be started. Main thread, except for the callbacks.

    ``alone``: there is nothing else to watch, so it ends the command if the exchange knows none of them.
    ``say`` is called with each sentence for the user.
    """

    def __init__(
        self,
        feed: KalshiFeed,
        followings: Sequence[Following],
        rest: Rest | None,
        *,
        alone: bool,
        say: Callable[[str], object],
    ) -> None:
        self.followings = tuple(followings)
        self.waiting = ""  # what the screen waits for while it has nothing to watch
        self._feed = feed
        self._rest = rest
        self._alone = alone
        self._say = say
        self._all = [_FollowedOne(one) for one in followings]
        # written by the thread that runs callbacks
        self.opened = 0  # markets that have opened
        self._coming: dict[str, MarketChange] = {}  # the last change of each market that is only announced
        self._error: BaseException | None = None  # why the markets could not be listed the last time
        if followings:
            feed.on_market(self._on_market)
            feed.on_error(self._on_error)

    @property
    def is_useless(self) -> bool:
        """Whether the exchange knows none of them."""
        return bool(self._all) and all(one.is_unknown for one in self._all)

    def look(self) -> None:
        """Say what is new. Raises Failed if the exchange knows none of them, and there is nothing else."""
        waiting = []
        for one in self._all:
            if one.following.market_tickers:
                one.had_markets, one.is_waiting, one.is_unknown = True, False, False
                continue
            one.is_listed |= one.following.state is SubscriptionState.ACTIVE
            if not one.is_listed:
                waiting.append(self._why_not_listed(one.following))
                continue
            if not one.had_markets and self._rest is not None:
                if one.question is None:
                    one.ask(self._rest)
                if one.question is not None and not one.question.is_done:
                    continue
            waiting.append(self._wait_for(one))
        if self._alone and self.is_useless:
            raise Failed("\n".join(waiting))
        self.waiting = "; ".join(waiting)

    def check(self) -> None:
        """Raise Failed, with the last reason, if none of them was ever listed, and there is nothing else."""
        if self._alone and not any(one.is_listed or one.had_markets for one in self._all):
            error = self._error
            why = in_own_terms(error) if isinstance(error, KalshiFeedError) else _NO_ANSWER
            subjects = " and ".join(subject_of(one) for one in self.followings)
            raise Failed(f"the markets of {subjects} could not be listed: {why}")

    def _why_not_listed(self, following: Following) -> str:
        error, subject = self._error, subject_of(following)
        if isinstance(error, KalshiFeedError):
            return f"the markets of {subject} could not be listed: {in_own_terms(error)}"
        return f"asking for the markets of {subject}"

    def close(self) -> None:
        """Leave no question behind; the Rest has been closed."""
        for one in self._all:
            if one.question is not None:
                one.question.join(1.0)

    def _wait_for(self, one: _FollowedOne) -> str:
        """Say once that it has no markets now; return what the command waits for."""
        subject, is_new = subject_of(one.following), not one.is_waiting
        one.is_waiting = True
        error = None if one.question is None else one.question.error
        if not one.had_markets and isinstance(error, RestError) and error.status == 404:
            one.is_unknown = True
            kind = "series" if one.following.event is None else "event"
            text = f"the exchange does not know {subject}: {_ADVICE[kind]}; {_ENVIRONMENTS}"
            if is_new and not (self._alone and self.is_useless):
                self._say(f"warning: {text}")
            return text
        text = f"no market of {subject} is open"
        if is_new:
            self._say(f"{text}: waiting for the next one")
        opens = self._next(one.following)
        if opens is None:
            return f"{text}: waiting for the next one"
        now = exchange_time(self._feed, self._feed.stats().clock_skew)
        return f"{text}: the next one opens in {time_left(opens - now)}"

    def _next(self, following: Following) -> datetime | None:
        found = [
            opens
            for change in tuple(self._coming.values())
            if (opens := change.market.open_at) is not None
            and following.event in (None, change.event_ticker)
            and following.series in (None, change.series_ticker)
        ]
        return min(found, default=None)

    def _on_market(self, event: MarketChange) -> None:
        ticker, change = event.market_ticker, event.change
        self.opened += change == "opened"
        if change == "announced" or (change == "rescheduled" and ticker in self._coming):
            self._coming[ticker] = event
        elif change != "rescheduled":
            self._coming.pop(ticker, None)

    def _on_error(self, fault: FeedFault) -> None:
        if fault.kind == "rest":
            self._error = fault.error
