"""The threads of one follow(): lifecycle messages, REST's lists and the clock drive its roster.

Owns Follower. Its thread ``kalshi-feed-follow`` is the only one that touches the roster. It waits for
lifecycle messages on a stream, which the reader fills whatever the callbacks do, and looks a few times a
second at the clock, the connection and what REST has answered. What follows from that, it hands to the
engine: markets to subscribe and unsubscribe, and what to report. Those are inputs of the session, and so they
are in a recording, while this module does not run in a replay.

Requests over REST run one after the other on short-lived threads ``kalshi-feed-rest``, because each may take
many seconds; they only put their answer into a queue. A list is asked for as soon as the exchange has
confirmed the lifecycle channel on a new connection, because messages may have been missed before; after a
gap; after a defect of our own; and every five minutes. A second request asks by name for the markets that are
on none of its lists. While REST fails, messages and the clock go on by themselves.

A run lasts from start() until stop(), or until the feed has ended, which ends its stream: start() may come
too late, after a close() in a signal handler. The next run waits for the end of the one before, because there
is one roster.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from .. import greenlets
from ..connection.redaction import detach
from ..dispatch import MessageStream
from ..engine.engine import Engine
from ..engine.live import LiveEngine
from ..errors import KalshiFeedError, RestError, WaitTimeout
from ..events import Gap, MarketStep
from ..messages import EventLifecycle, MarketLifecycle
from ..messages.listed import Market
from ..session.wanted import Want
from ..threads import ServiceThread, log_safely
from .news import News
from .roster import MarketNews, Roster

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["LIFECYCLE", "Follower", "ListedBy"]

LIFECYCLE: Final = "market_lifecycle_v2"
LIST_EVERY: Final = 300.0  # seconds
LEAST_BETWEEN: Final = 1.0  # seconds between two lists, however often the connection is lost
FIRST_RETRY: Final = 5.0  # seconds after a list that failed, although Rest has tried again by itself
LAST_RETRY: Final = 60.0
_LOOK: Final = 0.1  # seconds between two looks at the clock, and at least between two at all markets
_LEAST_SKEW: Final = 2.0  # seconds by which a clock may be off before that is taken into account
_LEARNED_AT_ONCE: Final = 100  # markets; about half a millisecond
_HEARD_AT_ONCE: Final = 1_000  # messages; about ten milliseconds
_AFTER_DEFECT: Final = 1.0  # seconds, and twice as long after each one
_LONGEST_AFTER_DEFECT: Final = 60.0
_REST_GRACE: Final = 1.0  # seconds that close() waits for an answer from REST, which no one needs any more
_logger: Final = logging.getLogger("kalshi_feed")

ListedBy = Callable[["Rest"], Iterable[Market]]
"""Lists the markets that can still be followed: those that are open, and those that will open."""


class _Listing(NamedTuple):
    """What a request over REST has brought. Immutable."""

    asked_at: float  # the exchange's time of the request, Unix seconds
    markets: list[Market]
    error: Exception | None
    is_list: bool  # otherwise the markets were asked for by name
    skew: float | None = None  # our clock minus the exchange's at the answer
    # of our clock then, which may have been set since; None: it was set meanwhile, and ``skew`` means nothing
    wall_offset: float | None = None


class Follower:
    """What runs beside the feed for one follow(). Thread-safe: start(), stop(), join() and the properties.

    ``make_rest`` makes the Rest to ask, and says whether it has to be closed. ``want`` is the subscription
    whose markets change, ``lifecycle`` the one to the lifecycle channel.
    """

    def __init__(
        self,
        engine: Engine,
        roster: Roster,
        make_rest: Callable[[], tuple[Rest, bool]],
        listed_by: ListedBy,
        want: Want,
        lifecycle: Want,
        news: News,
    ) -> None:
        self._engine = engine
        self._roster = roster
        self._make_rest = make_rest
        self._listed_by = listed_by
        self._want = want
        self._lifecycle = lifecycle
        self.news = news  # shared with the feed's other followers
        self._name = engine.thread_name("follow")
        self.is_listed = False  # whether a list has been taken in since the beginning
        # Of the threads that run, set under the store's lock; ``_stopping`` belongs to this run.
        self._thread: ServiceThread | None = None
        self._stopping = True
        self._stream: MessageStream[MarketLifecycle] | None = None
        self._events: MessageStream[EventLifecycle] | None = None
        self._rest: Rest | None = None
        self._closes_rest = False
        self._rest_thread: ServiceThread | None = None
        # REST threads append, the follower's pops; each run has its own
        self._answers: deque[_Listing] = deque()
        # The follower's thread alone.
        self._subscribed: dict[str, None] = {}
        self._known: frozenset[str] = frozenset()  # the roster's markets at the last look at all of them
        self._began: float | None = None  # the exchange's time of this run's first list; None before
        self._wall_offset = _wall_offset()  # of our wall clock to the monotonic one, at the last _set_clock()
        self._offset = self._wall_offset  # the same of the exchange's clock
        self._due = 0.0  # when the clock has something for the roster: the exchange's time
        self._looked_at = 0.0  # the exchange's time at the last look, which shows if a clock was set
        self._advanced_at = 0.0  # the exchange's time at the last look at all markets
        self._list_at = float("inf")  # when to list (time.monotonic())
        self._listed_at = float("-inf")  # when the last list was asked for
        self._retry = FIRST_RETRY
        self._connection: float | None = None  # the one on which the lifecycle channel was last confirmed
        self._dropped = 0  # messages that the stream had dropped at the last look
        self._has_gap = False  # set by any thread: messages are missing
        self._is_failing = False  # REST failed last time, and that was reported
        self._pause = _AFTER_DEFECT  # seconds after the next defect

    # -- any thread ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run from now on; see Companion."""
        with self._engine.store.lock:
            if not self._stopping or self._want.closed:
                return
            before, self._stopping = self._thread, False
            # first, so that the reader fills it first: an event is known before its markets
            events = self._events = self._engine.dispatcher.stream("event_lifecycle")
            stream = self._stream = self._engine.dispatcher.stream(LIFECYCLE)
            self._thread = thread = ServiceThread(lambda: self._run(stream, events, before), self._name)
        self._engine.dispatcher.off(self._on_gap)  # of a run that has ended by itself
        self._engine.dispatcher.register(Gap, self._on_gap)
        thread.start()

    def stop(self) -> None:
        """Ask the threads to end; see Companion."""
        streams, rest = (self._stream, self._events), self._rest
        self._stopping = True
        self._engine.troubles.pop(self, None)
        self._engine.dispatcher.off(self._on_gap)
        for stream in streams:
            if stream is not None:
                stream.close()
        if rest is not None and self._closes_rest:
            rest.close()

    def end(self) -> None:
        """The user has unsubscribed: stop for good."""
        self.stop()
        with self._engine.store.lock:
            self.news.forget(self._roster.tickers)

    def join(self, deadline: float) -> None:
        """Wait for the threads until ``deadline``; see Companion."""
        me, thread, rest = ServiceThread.current(), self._thread, self._rest_thread
        if thread is not None and thread is not me:
            thread.join(max(deadline - time.monotonic(), 0.0))
            if thread.is_alive() and greenlets.may_wait():
                log_safely(
                    _logger,
                    logging.WARNING,
                    "the thread %s has not ended in time, most likely because where() has not returned; "
                    "abandoning it (daemon thread)",
                    self._name,
                )
        if rest is not None:
            rest.join(max(min(deadline - time.monotonic(), _REST_GRACE), 0.0))

    @property
    def is_over(self) -> bool:
        """Whether it was ended by unsubscribe(), and none of its threads is left."""
        threads = (self._thread, self._rest_thread)
        return self._want.closed and not any(thread and thread.is_alive() for thread in threads)

    def _on_gap(self, gap: Gap) -> None:
        if gap.channel == LIFECYCLE:
            self._has_gap = True

    # -- the follower's thread -------------------------------------------------------------------------------

    def _run(
        self,
        stream: MessageStream[MarketLifecycle],
        events: MessageStream[EventLifecycle],
        before: ServiceThread | None,
    ) -> None:
        if before is not None:
            before.join(None)
        self._answers = deque()
        self._connection = None
        self._began = None
        self._dropped = 0
        self._pause = _AFTER_DEFECT
        try:
            self._rest, self._closes_rest = self._make_rest()
            while not (self._stopping or self._stream is not stream or self._engine.store.forked):
                try:
                    if not self._step(stream, events):
                        break
                except Exception as defect:
                    self._report_defect(defect)
        finally:
            if self._closes_rest and self._rest is not None:
                self._rest.close()
            with self._engine.store.lock:
                if self._stream is stream:
                    self._stopping = True

    def _report_defect(self, defect: Exception) -> None:
        """Report a defect of our own; go on after a while with a list, because something may be missing."""
        if self._stopping:
            return
        log_safely(_logger, logging.ERROR, "defect in kalshi_feed, in follow()", error=defect)
        text = f"a defect in kalshi_feed, in follow(): {defect!r}; please report it with the log's traceback"
        self._engine.report_fault("defect", text, detach(defect))
        self._has_gap = True
        until, self._pause = time.monotonic() + self._pause, min(self._pause * 2, _LONGEST_AFTER_DEFECT)
        while not self._stopping and time.monotonic() < until:
            time.sleep(_LOOK)

    def _step(self, stream: MessageStream[MarketLifecycle], events: MessageStream[EventLifecycle]) -> bool:
        """Wait for a message or the next look, and do all that is due; False if the feed has ended."""
        timeout, has_news = _LOOK, False
        try:
            for _ in range(_HEARD_AT_ONCE):
                message = stream.get(timeout)
                self._hear(events)
                has_news |= self._roster.heard(message, self._now())
                timeout = 0.0
        except WaitTimeout:
            pass
        except KalshiFeedError:  # the end of the stream: the feed is closed, or has failed
            return False
        self._hear(events)
        while self._answers:
            self._take(self._answers.popleft())
            has_news = True
        now = self._now()
        if has_news:  # during a burst of messages, not after each one
            self._due = min(self._due, self._advanced_at + _LOOK)
        if now >= self._due or now < self._looked_at:
            self._apply(now)
        elif has_news:
            self._report_news()
        self._looked_at = now
        self._look_at_connection(stream)
        if time.monotonic() >= self._list_at and not self._is_asking():
            self._list_at, self._listed_at = time.monotonic() + LIST_EVERY, time.monotonic()
            self._ask(self._listed_by, is_list=True)
        return True

    def _hear(self, events: MessageStream[EventLifecycle]) -> None:
        """Take in what has come about events."""
        try:
            while True:
                self._roster.heard_event(events.get(0.0))
        except KalshiFeedError:  # no more of them now, or the end of the stream, which _step() sees as well
            pass

    def _now(self) -> float:
        """The exchange's time, Unix seconds. It goes by the monotonic clock, which no one sets."""
        return time.monotonic() + self._offset

    def _set_clock(self, skew: float | None, wall_offset: float) -> None:
        """The exchange has said what time it is: our clock, at ``wall_offset`` then, was ahead by ``skew``
        seconds."""
        is_off = skew is not None and abs(skew) >= _LEAST_SKEW
        # its time has whole seconds, and so is half of one behind on average
        self._offset = wall_offset - (skew - 0.5 if skew is not None and is_off else 0.0)
        self._wall_offset = wall_offset

    def _apply(self, now: float) -> None:
        """Let the clock go on, report what is new, and then subscribe to what is wanted now."""
        over = self._roster.advance(now)
        self._report_news()
        if over:
            with self._engine.store.lock:
                self.news.forget(over)
        self._advanced_at, self._due = now, self._roster.next_at()
        wanted = dict.fromkeys(self._roster.wanted(now))
        gone = [ticker for ticker in self._subscribed if ticker not in wanted]
        new = [ticker for ticker in wanted if ticker not in self._subscribed]
        if self._want.closed or self._stopping:
            return
        if new:
            self._note_missed(new, now)
            self._engine.requests.add_markets(self._want, new)
            # of many that were announced, the store has forgotten some; it keeps those that have a book
            known = self._engine.store.markets
            self._learn([MarketNews(self._roster.market(t), None, None) for t in new if t not in known])
        if gone:
            self._engine.requests.delete_markets(self._want, gone)
        self._subscribed, self._known = wanted, frozenset(self._roster.tickers)

    def _note_missed(self, market_tickers: list[str], now: float) -> None:
        """Markets are about to be subscribed to. If that is late, fill_gaps fetches what was missed: from now
        on while the connection is lost, and from its opening if a market has only just become known."""
        engine = self._engine
        if self._began is None or not isinstance(engine, LiveEngine):
            return  # what came before this run is up to fill_since
        if not engine.requests.look(lambda: engine.requests.confirmed(self._lifecycle)):
            engine.missed(self._want.channels, tuple(market_tickers), now)
        for ticker in market_tickers:
            opened = self._roster.market(ticker).open_at
            if ticker not in self._known and opened is not None and opened.timestamp() < now:
                engine.missed(self._want.channels, (ticker,), max(opened.timestamp(), self._began))

    def _report_news(self) -> None:
        self._learn(self._roster.take_news())

    def _learn(self, news: list[MarketNews]) -> None:
        for begin in range(0, len(news), _LEARNED_AT_ONCE):  # the lock is not held for long
            self._engine.learn_markets(self._fresh(news[begin : begin + _LEARNED_AT_ONCE]))

    def _fresh(self, news: list[MarketNews]) -> Iterator[tuple[Market, MarketStep | None]]:
        """What no other follow() has reported. learn_markets() iterates over it under the store's lock."""
        for one in news:
            if self._want.closed:
                return
            if self.news.is_new(one):
                yield one.market, one.change
            elif self._engine.store.markets.get(one.market.ticker) != one.market:
                yield one.market, None

    def _look_at_connection(self, stream: MessageStream[MarketLifecycle]) -> None:
        """Ask for a list if messages may have been missed."""
        engine = self._engine
        connection = engine.requests.look(
            lambda: engine.connected_at if engine.requests.confirmed(self._lifecycle) else None
        )
        missed = self._has_gap or stream.dropped > self._dropped
        is_new = connection is not None and connection != self._connection
        wall_offset = _wall_offset()
        if abs(wall_offset - self._wall_offset) >= _LEAST_SKEW:
            # the wall clock was set, or the machine slept; REST will say what time it is
            missed, self._wall_offset = True, wall_offset
        elif is_new:
            self._set_clock(engine.clock_skew, wall_offset)
        if missed or is_new:
            self._connection = connection if connection is not None else self._connection
            self._has_gap, self._dropped = False, stream.dropped
            self._list_at = min(self._list_at, max(time.monotonic(), self._listed_at + LEAST_BETWEEN))

    # -- REST ------------------------------------------------------------------------------------------------

    def _is_asking(self) -> bool:
        return self._rest_thread is not None and self._rest_thread.is_alive()

    def _ask(self, question: ListedBy, *, is_list: bool) -> None:
        asked_at, rest, answers, before = self._now(), self._rest, self._answers, _wall_offset()
        assert rest is not None  # made before the first step

        def ask() -> None:
            markets: list[Market] = []
            error: Exception | None = None
            try:
                markets.extend(question(rest))
            except Exception as failed:
                error = failed
            after = _wall_offset()
            steady = after if abs(after - before) < _LEAST_SKEW else None
            answers.append(_Listing(asked_at, markets, error, is_list, rest.clock_skew, steady))

        self._rest_thread = thread = ServiceThread(ask, self._engine.thread_name("rest"))
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left: as if REST had failed
            answers.append(_Listing(asked_at, [], KalshiFeedError(str(error)), is_list))

    def _take(self, answer: _Listing) -> None:
        if answer.error is not None:
            self._failed(answer.error)
            return
        self._is_failing, self._retry = False, FIRST_RETRY
        self._engine.troubles.pop(self, None)
        if (
            answer.wall_offset is not None
        ):  # otherwise the next look sees that the clock was set, and lists again
            self._set_clock(answer.skew, answer.wall_offset)
        now = self._now()
        self._roster.listed(answer.markets, answer.asked_at, now)
        if not answer.is_list:
            return
        if self._began is None:
            self._apply(now)
            self._began = answer.asked_at
        if not self.is_listed:
            self.is_listed = True
            self._engine.wake()
        tickers = self._roster.unlisted(market.ticker for market in answer.markets)
        if tickers:
            self._ask(lambda rest: rest.markets(tickers=tickers), is_list=False)

    def _failed(self, error: Exception) -> None:
        """Try again later, and report the first of several failures."""
        if self._stopping:
            return
        if not isinstance(error, KalshiFeedError):
            raise error  # a defect
        self._list_at = min(self._list_at, time.monotonic() + self._retry)
        if not self.is_listed:
            self._engine.troubles[self] = f"the markets of {self._roster.subject} cannot be listed: {error}"
        if not self._is_failing:
            self._is_failing = True
            text = f"markets cannot be listed, trying again in {self._retry:.0f} s: {error}"
            log_safely(_logger, logging.WARNING, "follow: %s", text)
            self._engine.report_fault("rest", text, error if isinstance(error, RestError) else None)
        self._retry = min(self._retry * 2, LAST_RETRY)

    def __repr__(self) -> str:
        return f"<Follower {self._name}, {len(self._subscribed)} of {len(self._roster)} markets>"


def _wall_offset() -> float:
    return time.time() - time.monotonic()
