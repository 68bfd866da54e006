"""The markets of a series or an event: what is known about each, what has happened, which to subscribe to.

Owns Roster, the state machine behind follow(). It merges two sources by ticker: lists from REST, which are
complete but may be seconds old, and lifecycle messages, which are quick but may be missing. No source says
when a market opens or closes as scheduled; that is up to the clock, so every method gets the exchange's
time (Unix seconds). No threads, no clock, no I/O.

A market's life has five steps, ``STEPS``, and goes through them in order. Whatever the source, a market that
is found further on takes all the steps in between, so each is reported once. Only a market that is
rescheduled to close in the future after it has closed goes back, to be opened again. "paused", "resumed" and
"rescheduled" are reported beside the steps.

A list from REST was made at a moment between its request and its answer. For a market about which a message
came since a little before the request, the times and the state in the list may be older than the message, and
are ignored; the next list brings them again. Steps never go back because of a list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from ..events import MarketStep
from ..messages import EventLifecycle, MarketLifecycle
from ..messages.listed import Market, market_after
from ..messages.phase import GOING, PAUSED

__all__ = ["STEPS", "MarketNews", "Roster"]

STEPS: Final[tuple[MarketStep, ...]] = ("announced", "opened", "closed", "determined", "settled")
_ANNOUNCED, _OPENED, _CLOSED, _DETERMINED, _SETTLED = range(5)
# What REST says of a market; with any other word, the clock decides.
_STEP_OF_STATUS: Final = {
    "unopened": _ANNOUNCED,
    "initialized": _ANNOUNCED,
    "active": _OPENED,
    "open": _OPENED,
    "closed": _CLOSED,
    "determined": _DETERMINED,
    "disputed": _DETERMINED,
    "amended": _DETERMINED,
    "settled": _SETTLED,
    "finalized": _SETTLED,
}
_STATUS: Final = ("initialized", "active", "closed", "determined", "finalized")  # by step, after a message
# What changes all the time, and is not worth a line in a recording: the feed has it, and fresher.
_QUOTES: Final[dict[str, Any]] = dict.fromkeys(
    (
        "yes_bid_dollars",
        "yes_bid_size_fp",
        "yes_ask_dollars",
        "yes_ask_size_fp",
        "last_price_dollars",
        "volume_fp",
        "volume_24h_fp",
        "open_interest_fp",
    )
) | {"extra_json": b""}
_LATE: Final = 5.0  # seconds by which a list may be older than its request, and a clock be wrong
MOST_ASKED: Final = 1_000  # closed markets whose outcome is asked for at a time
_REMEMBERED: Final = 60.0  # seconds after it is settled, in case an old list still has it
_MOST_EVENTS: Final = 1_000  # events of the series that are not named after it; then the oldest go
KEPT_CLOSED: Final = 10_000  # closed markets that are waited for until they are settled; then the oldest go


class MarketNews(NamedTuple):
    """What is new about a market. Immutable."""

    market: Market
    change: MarketStep | None  # None: only the description differs
    cause: MarketLifecycle | None  # the message that said so; None: REST or the clock


class _Followed:
    """One market. Owned by its roster."""

    __slots__ = (
        "close_at",
        "closed_at",
        "due",
        "heard_at",
        "is_chosen",
        "is_paused",
        "market",
        "open_at",
        "over_at",
        "reported",
        "step",
    )

    def __init__(self, market: Market) -> None:
        self.step = -1  # the index in STEPS that it has reached; -1 before the first look
        self.reported = -1  # the one that was reported; behind ``step`` while where() says no
        self.is_paused = False
        self.is_chosen = False  # what where() has said
        self.heard_at = -math.inf  # when the last lifecycle message came
        self.closed_at = math.inf  # when it closed; linger counts from here
        self.over_at = math.inf  # when it was found to be settled
        self.due = -math.inf  # when the clock has something for it
        self.set(market)

    def set(self, market: Market) -> None:
        """Keep a new description; its times are also kept as Unix seconds, because they are read often."""
        self.market = market
        opens, closes = market.open_at, market.close_at
        self.open_at = -math.inf if opens is None else opens.timestamp()
        self.close_at = math.inf if closes is None else closes.timestamp()


class Roster:
    """The followed markets. Not thread-safe: owned by its follower.

    Exactly one of ``series`` and ``event`` is given. ``where`` chooses among the markets and must not raise.
    ``lead`` and ``linger`` are seconds: how long before its opening a market is wanted, and how long after
    its close. ``limit``: so many of the open ones are wanted, those that close soonest. A market that lingers
    does not count, and neither does one that closes within ``lead``, so that the next one can begin.
    """

    def __init__(
        self,
        *,
        series: str | None,
        event: str | None,
        lead: float,
        linger: float,
        limit: int | None = None,
        where: Callable[[Market], bool] = lambda market: True,
    ) -> None:
        self._series = series
        self._event = event
        self._lead = lead
        self._linger = linger
        self._limit = limit
        self._where = where
        self._followed: dict[str, _Followed] = {}
        self._events: dict[str, None] = {}  # of the series, although their tickers begin otherwise
        self._advanced_at = -math.inf  # the time of the last advance()
        self._news: list[MarketNews] = []
        self._cause: MarketLifecycle | None = None  # the message that is being taken in

    def __len__(self) -> int:
        return len(self._followed)

    @property
    def tickers(self) -> tuple[str, ...]:
        """All its markets, wanted or not. Any thread."""
        return tuple(self._followed)

    # -- what comes in ---------------------------------------------------------------------------------------

    def listed(self, markets: Iterable[Market], asked_at: float, now: float) -> None:
        """Take in markets from REST, which was asked at ``asked_at``."""
        for market in markets:
            market = self._in_series(market)
            known = self._followed.get(market.ticker)
            step = _STEP_OF_STATUS.get((market.status or "").lower())
            if known is None:
                known = _Followed(market)
                if (step is not None and step >= _CLOSED) or known.close_at <= now:
                    continue  # it was over before it was ever known
                self._followed[market.ticker] = known
                self._choose(known)
                self._look(known, now, step)
                self._see_pause(known, market)
                continue
            kept = known.market
            market = _over(kept, market)
            if known.heard_at >= asked_at - _LATE:
                market = replace(
                    market,
                    status=kept.status or market.status,
                    result=kept.result or market.result,
                    open_time=market.open_time if kept.open_time is None else kept.open_time,
                    close_time=market.close_time if kept.close_time is None else kept.close_time,
                )
                self._change(known, market, now, None)
                continue
            if step is not None and step < known.step:
                market = replace(market, status=kept.status)
            self._change(known, market, now, step)
            self._see_pause(known, market)

    def heard_event(self, message: EventLifecycle) -> None:
        """Take in the message about an event, which comes before those about its markets."""
        if self._series is not None and message.series_ticker == self._series and message.event_ticker:
            self._keep_event(message.event_ticker)

    def heard(self, message: MarketLifecycle, now: float) -> bool:
        """Take in a lifecycle message; return whether it is about a market of this roster."""
        self._cause = message
        try:
            return self._heard(message, now)
        finally:
            self._cause = None

    def _heard(self, message: MarketLifecycle, now: float) -> bool:
        ticker = message.market_ticker
        if not ticker:
            return False
        known = self._followed.get(ticker)
        if known is None:
            if message.event_type != "created" or not self._is_ours(message):
                return False
            market = self._in_series(market_after(Market(ticker=ticker), message))
            known = self._followed[ticker] = _Followed(market)
            known.heard_at = now
            self._choose(known)
            self._look(known, now, None)
            return True
        known.heard_at = now
        step = {"determined": _DETERMINED, "settled": _SETTLED}.get(message.event_type or "")
        market = market_after(known.market, message)
        if step is not None:
            market = replace(market, status=_STATUS[step])
        self._change(known, market, now, step)
        if message.event_type in ("activated", "deactivated"):
            self._pause(known, message.event_type == "deactivated")
        return True

    def advance(self, now: float) -> list[str]:
        """Let the clock open and close markets; forget those that are over, and return them."""
        is_set_back, self._advanced_at = now < self._advanced_at, now
        over = []
        for ticker, known in self._followed.items():
            if known.due <= now or is_set_back:
                self._look(known, now, None)
                if now >= known.over_at + _REMEMBERED and not self._lingers(known, now):
                    over.append(ticker)
        if len(self._followed) > KEPT_CLOSED:
            closed = [t for t, one in self._followed.items() if one.step in (_CLOSED, _DETERMINED)]
            over += closed[:-KEPT_CLOSED]
        for ticker in over:
            self._followed.pop(ticker, None)
        return over

    # -- what comes of it ------------------------------------------------------------------------------------

    def take_news(self) -> list[MarketNews]:
        """Hand over what is new about the chosen markets, in order."""
        news, self._news = self._news, []
        return news

    def wanted(self, now: float) -> list[str]:
        """The markets to be subscribed to now, those that close soonest first."""
        begun = [one for one in self._followed.values() if one.is_chosen and one.open_at - self._lead <= now]
        begun.sort(key=lambda one: (one.close_at, one.market.ticker))
        found, counted = [], 0
        for one in begun:
            if one.step >= _CLOSED:
                if self._lingers(one, now):
                    found.append(one.market.ticker)
            elif self._limit is None or one.close_at - self._lead <= now:
                found.append(one.market.ticker)
            elif counted < self._limit:
                counted += 1
                found.append(one.market.ticker)
        return found

    def market(self, ticker: str) -> Market:
        """What is known about a wanted market. Raises KeyError for one that is not known."""
        return self._followed[ticker].market

    def next_at(self) -> float:
        """When advance() and wanted() have something new, if nothing comes in; inf for never."""
        return min((one.due for one in self._followed.values()), default=math.inf)

    def unlisted(self, listed: Iterable[str]) -> list[str]:
        """The markets that REST must be asked about by name, because they are not among ``listed``: those
        whose end is not known yet, the newest ones first."""
        missing = self._followed.keys() - set(listed)
        tickers = [
            ticker
            for ticker, one in self._followed.items()
            if ticker in missing and (one.step < _SETTLED or not one.market.result)
        ]
        return tickers[: -MOST_ASKED - 1 : -1]

    @property
    def subject(self) -> str:
        """What is followed, in words."""
        return f"the series {self._series}" if self._event is None else f"the event {self._event}"

    # -- inside ----------------------------------------------------------------------------------------------

    def _is_ours(self, message: MarketLifecycle) -> bool:
        event = message.additional_metadata and message.additional_metadata.event_ticker
        if self._event is not None:
            return event == self._event
        return event in self._events or _series_in(event or message.market_ticker) == self._series

    def _in_series(self, market: Market) -> Market:
        """The market with its series, where that is not what its ticker says."""
        if self._series is None or market.series_ticker == self._series:
            return market
        if market.event_ticker:
            self._keep_event(market.event_ticker)
        return replace(market, series_text=self._series)

    def _keep_event(self, event: str) -> None:
        if _series_in(event) != self._series:
            self._events[event] = None
            if len(self._events) > _MOST_EVENTS:
                del self._events[next(iter(self._events))]

    def _lingers(self, known: _Followed, now: float) -> bool:
        return known.step >= _CLOSED and now < known.closed_at + self._linger

    def _change(self, known: _Followed, market: Market, now: float, step: int | None) -> None:
        """A source has described a known market: report what differs."""
        before, reported = known.market, len(self._news)
        known.set(market)
        if before != market:
            self._choose(known)
            is_moved = _differs(before.open_at, market.open_at) or _differs(before.close_at, market.close_at)
            if is_moved and (known.step < _CLOSED or (known.step == _CLOSED and known.close_at > now)):
                if known.step == _CLOSED:
                    known.step = known.reported = _ANNOUNCED
                    known.closed_at = math.inf
                self._report(known, "rescheduled")
        self._look(known, now, step)
        if len(self._news) == reported and replace(before, **_QUOTES) != replace(market, **_QUOTES):
            self._report(known, None)

    def _look(self, known: _Followed, now: float, step: int | None) -> None:
        """Go as far as the clock, or ``step`` if a source has said that one, is; report the steps."""
        reached = _CLOSED if known.close_at <= now else _OPENED if known.open_at <= now else _ANNOUNCED
        if step is not None and step >= reached:
            reached = step
        elif reached > known.step and not known.is_paused:
            known.market = replace(known.market, status=_STATUS[reached])
        if known.step < _CLOSED <= reached:
            # closed early, it closes now; closed long ago, it does not linger
            known.closed_at = min(now, max(known.close_at, now - self._linger))
            known.is_paused = False
        if known.step < _SETTLED <= reached:
            known.over_at = now
        known.step = max(known.step, reached)
        if known.is_chosen:
            for number in range(known.reported + 1, known.step + 1):
                self._report(known, STEPS[number])
            known.reported = known.step
        known.due = self._due(known, now)

    def _due(self, known: _Followed, now: float) -> float:
        """When the clock has something for this market next; inf for never."""
        opens, closes = known.open_at, known.close_at
        due = math.inf
        for at in (
            opens - self._lead,
            opens,
            closes - self._lead,
            closes,
            known.closed_at + self._linger,
            known.over_at + _REMEMBERED,
        ):
            if now < at < due:
                due = at
        return due

    def _see_pause(self, known: _Followed, market: Market) -> None:
        """REST says whether trading is paused, while a market is open."""
        status = (market.status or "").lower()
        if status in (*PAUSED, *GOING):
            self._pause(known, status in PAUSED)

    def _pause(self, known: _Followed, is_paused: bool) -> None:
        if known.is_paused is not is_paused and known.step < _CLOSED:
            known.is_paused = is_paused
            known.market = replace(known.market, status="inactive" if is_paused else _STATUS[known.step])
            self._report(known, "paused" if is_paused else "resumed")

    def _choose(self, known: _Followed) -> None:
        known.is_chosen = self._where(known.market)

    def _report(self, known: _Followed, change: MarketStep | None) -> None:
        if known.is_chosen:
            self._news.append(MarketNews(known.market, change, self._cause))


def _series_in(ticker: str | None) -> str:
    """The series in the ticker of an event or market, as the exchange usually names them."""
    return (ticker or "").partition("-")[0]


def _differs(before: datetime | None, now: datetime | None) -> bool:
    """Whether a time that was known is another one now."""
    return before is not None and now is not None and before != now


def _over(old: Market, new: Market) -> Market:
    """The newer description, with what only the older one says: REST may leave out a title, for example."""
    kept = {
        name: value
        for name in Market.__struct_fields__
        if getattr(new, name) is None and (value := getattr(old, name)) is not None
    }
    return replace(new, **kept) if kept else new
