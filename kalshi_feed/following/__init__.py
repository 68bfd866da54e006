"""A series or an event as one subscription, whose markets change by themselves: what feed.follow() does.

Owns Following, the handle, and follow(), which checks the arguments. Layers, downwards: this > follower >
news > roster. Needs the extra ``rest``, but not in a replay.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from ..engine.engine import Engine
from ..engine.live import LiveEngine
from ..engine.requests import FollowRequest
from ..errors import ConfigurationError, FeedClosedError, SubscriptionError
from ..messages.listed import Market
from ..session.channels import CHANNELS, names
from ..session.wanted import Want
from ..subscription import Subscription, SubscriptionState
from ..threads import log_safely
from .follower import LIFECYCLE, Follower
from .news import News
from .roster import Roster

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["Following", "follow"]

_COMBOS: Final = "KXMVE"
_FOLLOWABLE: Final = tuple(name for name, rule in CHANNELS.items() if "market_tickers" in rule.selectors)
_SLOW: Final = 1.0  # seconds in where() that a timed-out wait mentions
_logger: Final = logging.getLogger("kalshi_feed")


class Following:
    """What one follow() call requested. Thread-safe; only wait() blocks.

    It outlives reconnects, close() and start(). Its markets change by themselves; see feed.follow().
    """

    def __init__(
        self,
        engine: Engine,
        series: str | None,
        event: str | None,
        where: _Chosen,
        want: Want,
        lifecycle: Want,
        follower: Follower | None,
    ) -> None:
        self._engine = engine
        self._series = series
        self._event = event
        self._where = where
        self._want = want
        self._lifecycle = lifecycle
        self._follower = follower  # None in a replay
        self._subscription = Subscription(engine.requests, want)

    @property
    def series(self) -> str | None:
        """The followed series; None if it is an event."""
        return self._series

    @property
    def event(self) -> str | None:
        """The followed event; None if it is a series."""
        return self._event

    @property
    def channels(self) -> tuple[str, ...]:
        """The requested channels; market_lifecycle_v2 comes in addition."""
        return self._subscription.channels

    @property
    def market_tickers(self) -> tuple[str, ...]:
        """The markets subscribed to at this moment; in a replay, those that were."""
        if self._follower is not None:
            return self._subscription.market_tickers
        recorded = self._engine.requests.look(self._recorded_locked)
        return tuple(market.ticker for market in recorded if self._where(market))  # without the lock

    @property
    def markets(self) -> Mapping[str, Market]:
        """What is known about each of them, by ticker (a copy)."""
        tickers, known = self.market_tickers, self._engine.store.markets
        return {ticker: market for ticker in tickers if (market := known.get(ticker)) is not None}

    @property
    def sids(self) -> Mapping[str, int]:
        """Channel to sid, the exchange's current number for it; confirmed channels only."""
        return self._subscription.sids

    @property
    def error(self) -> SubscriptionError | None:
        """The exchange's refusal, also of market_lifecycle_v2, or None."""
        return self._subscription.error or self._lifecycle.error

    @property
    def state(self) -> SubscriptionState:
        """PENDING until the markets are known and confirmed; otherwise as in SubscriptionState."""
        self._engine.store.check_fork()
        return self._state()

    def _state(self) -> SubscriptionState:
        state = self._subscription._state()
        if state is SubscriptionState.CLOSED:
            return state
        if self._lifecycle.failed:
            return SubscriptionState.FAILED
        is_pending = self._follower is not None and not self._follower.is_listed
        return SubscriptionState.PENDING if state is SubscriptionState.ACTIVE and is_pending else state

    def wait(self, timeout: float | None = None) -> Following:
        """Wait until the markets are known and the exchange has confirmed them; return this.

        There may be none at this moment. ``timeout`` is in seconds; None waits indefinitely. Raises
        SubscriptionError if the exchange has refused one, WaitTimeout, the feed's fatal error,
        FeedClosedError.
        """
        requests, follower = self._engine.requests, self._follower

        def check() -> bool | None:
            if (error := self._want.error or self._lifecycle.error) is not None:
                raise error.fresh()
            if self._want.closed:
                raise FeedClosedError("it was ended by unsubscribe()")
            return ((follower is None or follower.is_listed) and requests.confirmed(self._want)) or None

        def missing() -> str:
            text = f"the markets of {self._subject} are not known yet"
            if follower is None or follower.is_listed:
                text = f"the exchange has not confirmed the markets of {self._subject}"
            seconds = self._where.running_for
            return f"where() has been running for {seconds:.0f} s" if seconds > _SLOW else text

        self._engine.store.wait(check, timeout, missing)
        return self

    def unsubscribe(self) -> None:
        """Stop following, and unsubscribe from its markets. Idempotent; other subscriptions stay."""
        self._engine.check()
        if self._follower is not None:
            self._follower.end()  # and close() waits for it, until another follow() finds that it is over
        for want in (self._want, self._lifecycle):
            self._engine.requests.unsubscribe(want)

    def _recorded_locked(self) -> list[Market]:
        """The markets of a replay: those wanted in the recording that belong to the series or event."""
        wanted, known = self._engine.wanted.channels, self._engine.store.markets
        tickers = chain(*(wanted[name].holders for name in self._want.channels if name in wanted))
        markets = [known[ticker] for ticker in dict.fromkeys(tickers) if ticker in known]
        if self._event is not None:
            return [market for market in markets if market.event_ticker == self._event]
        return [market for market in markets if market.series_ticker == self._series]

    @property
    def _subject(self) -> str:
        return f"the series {self._series}" if self._event is None else f"the event {self._event}"

    def __repr__(self) -> str:
        count = len(self._want.keys) if self._follower is not None else len(self.market_tickers)
        markets = f"{count} market{'' if count == 1 else 's'}"
        return f"<Following {self._subject}, {markets}, {self._state().value}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a Following belongs to its feed and cannot be pickled or copied")


def follow(
    engine: Engine,
    *,
    series: str | None,
    event: str | None,
    channels: str | Iterable[str],
    where: Callable[[Market], object] | None,
    lead: float,
    linger: float,
    limit: int | None,
    rest: Rest | None,
) -> Following:
    """Begin to follow; see KalshiFeed.follow(). Raises ConfigurationError."""
    if (series is None) is (event is None):
        raise ConfigurationError(
            "follow() needs either a series or an event: write series='KXBTC15M', for example"
        )
    word, subject = ("series", series) if event is None else ("event", event)
    found = names(subject or "", word)
    if len(found) != 1 or not isinstance(subject, str):
        raise ConfigurationError(f"{word} must be one ticker; call follow() once for each")
    if subject.startswith(_COMBOS):
        raise ConfigurationError(
            f"{subject!r}: combos ({_COMBOS}…) are not on {LIFECYCLE}; subscribe by ticker"
        )
    wanted = names(channels, "channels")
    for name in wanted:
        if name not in _FOLLOWABLE:
            raise ConfigurationError(
                f"{name!r} cannot be followed: those that are subscribed to by market ticker are "
                f"{', '.join(_FOLLOWABLE)}"
            )
    for argument, value in (("lead", lead), ("linger", linger)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise ConfigurationError(f"{argument} must be a number of seconds, at least 0, not {value!r}")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ConfigurationError(
            f"limit must be a whole number of markets, at least 1, or None, not {limit!r}"
        )
    if where is not None and not callable(where):
        raise ConfigurationError(f"where must be a function of a Market, not {type(where).__name__}")
    chosen = _Chosen(engine, where)
    want, lifecycle = Want(wanted, "market_tickers", (), {}), Want((LIFECYCLE,), None, (), {})
    others = [one for one in tuple(engine.companions) if isinstance(one, Follower)]
    follower = None
    if not engine.store.is_past:
        news = others[0].news if others else News()
        news.is_shared = bool(others)
        roster = Roster(series=series, event=event, lead=lead, linger=linger, limit=limit, where=chosen)
        follower = Follower(
            engine,
            roster,
            _rest_of(engine, rest),
            lambda rest: _listed(rest, series, event),
            want,
            lifecycle,
            news,
        )
    following = Following(engine, series, event, chosen, want, lifecycle, follower)
    try:
        if follower is None:
            engine.requests.note_follow(want, lifecycle, FollowRequest(series, event, lead, linger, limit))
        engine.requests.subscribe(want)  # first, because its channels may contradict another subscription
        engine.requests.subscribe(lifecycle)
        if follower is not None:
            for other in others:
                if other.is_over:
                    engine.companions.pop(other, None)
            engine.companions[follower] = None
            if engine.is_running:
                follower.start()
    except BaseException:  # no thread can be started, or Ctrl-C: nothing is left behind
        following.unsubscribe()
        raise
    return following


def _listed(rest: Rest, series: str | None, event: str | None) -> Iterator[Market]:
    yield from rest.markets(series=series, event=event, status="unopened")
    yield from rest.markets(series=series, event=event, status="open")  # later: one may open in between


def _rest_of(engine: Engine, given: Rest | None) -> Callable[[], tuple[Rest, bool]]:
    """Return what makes the Rest to ask: the given one, or one for the exchange, which needs no key."""
    from ..rest.for_feed import rest_for  # needs requests

    assert isinstance(engine, LiveEngine)  # a replay asks nothing
    return rest_for(engine, given)


class _Chosen:
    """The user's where(), as a function that does not raise. Called by one thread at a time."""

    def __init__(self, engine: Engine, where: Callable[[Market], object] | None) -> None:
        self._engine = engine
        self._where = where
        self._since: float | None = None  # when the call that runs began (time.monotonic())
        self._is_logged = False

    @property
    def running_for(self) -> float:
        """The seconds since the call that runs began; 0 if none does. Any thread."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def __call__(self, market: Market) -> bool:
        if self._where is None:
            return True
        self._since = time.monotonic()
        try:
            return bool(self._where(market))
        except Exception as error:
            text = f"where() of follow() raised {error!r} for {market.ticker}, which counts as no"
            if not self._is_logged:
                self._is_logged = True
                log_safely(_logger, logging.ERROR, "%s", text, error=error)
            self._engine.report_fault("callback", text, error)
            return False
        finally:
            self._since = None
