"""What the engine measures, for stats() and health().

Owns the meters, which the reader feeds once per read. Guarded by the store's lock: the reader writes, any
thread reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from ..books.book import Book, BookStatus
from ..books.store import BookStore
from ..dispatch import Delivery
from ..events import Event
from ..messages import Message
from ..messages.listed import Market
from ..messages.phase import has_ended, phase
from ..meters import Histogram, Meter
from ..session.output import Counts
from ..session.wanted import Want
from ..stats import NAMED, FeedStats, Health, Stalls, assess
from ..waiting import Clock
from .state import State

__all__ = ["Metering"]

_LATELY: Final = 30.0  # seconds that health() reports a dropped message
_LONG_STALL: Final = 1.0  # seconds; shorter ones are only counted
_LOG_STALLS_EVERY: Final = 60.0  # seconds, at most


class Metering:
    """The metrics of one feed. Guarded by the store's lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._meter = Meter()
        self._exchange_latency = Histogram()
        self._last_message: float | None = None  # when the last read was
        self._connected_at: tuple[float, datetime] | None = None  # the last connection, by both clocks
        self._reconnects = 0
        # messages dropped in total, when that last grew, and how many since the callbacks last kept up
        self._dropped, self._dropped_at, self._lag = 0, float("-inf"), 0
        self._stalls = Stalls()
        self._stall_logged = float("-inf")  # when the log last had one (time.monotonic())
        self.clock_skew: float | None = None  # seconds by which our clock is ahead of the exchange's

    def new_clock(self) -> None:
        """The clock, which is a relay's, was replaced by another one: forget the times by the old one."""
        self._meter, self._exchange_latency = Meter(), Histogram()
        self._last_message, self._dropped_at, self._stall_logged = None, float("-inf"), float("-inf")

    def connected(self, now: float, wall: datetime) -> None:
        """There is a connection; every one after the first counts as a reconnect."""
        if self._connected_at is not None:
            self._reconnects += 1
        self._connected_at = (now, wall)

    def ended(self) -> None:
        """The feed was closed: the next connection is not a reconnect."""
        self._connected_at = None

    def received(self, payloads: int, items: list[Message | Event], dropped: int, now: float) -> None:
        """Count one read, and sample the exchange's latency from its last message."""
        self._meter.add(now, payloads)
        self._dropped_lately(dropped, now)
        self._last_message = now
        last = items[-1] if items else None
        if last is not None and not isinstance(last, Event) and last.source == "feed":
            sent = last.sending_ts_ms or getattr(last, "ts_ms", None)
            if isinstance(sent, int):
                self._exchange_latency.add(max(self._clock.time() - sent / 1000, 0.0))
        self._exchange_latency.rotate(now)

    def stood_still(self, seconds: float, now: float) -> tuple[Stalls, bool]:
        """Count a stall. Returns all stalls so far, and whether this one is to be logged."""
        self._stalls = Stalls(self._stalls.count + 1, max(self._stalls.longest, seconds))
        is_news = seconds > _LONG_STALL and now - self._stall_logged >= _LOG_STALLS_EVERY
        if is_news:
            self._stall_logged = now
        return self._stalls, is_news

    def _dropped_lately(self, dropped: int, now: float) -> int:
        """Messages that the current lag has cost; it is over when nothing has been dropped for a while."""
        over = now - self._dropped_at > _LATELY
        if dropped != self._dropped:
            self._lag = (0 if over else self._lag) + dropped - self._dropped
            self._dropped, self._dropped_at = dropped, now
        elif over:
            self._lag = 0
        return self._lag

    def stats(self, state: State, counts: Counts, dispatcher: Delivery) -> FeedStats:
        """The feed's metrics at this moment."""
        now = self._clock.monotonic()
        counters = dispatcher.counters
        rate_1s, rate_10s, rate_60s = self._meter.rates(now)
        return FeedStats(
            state=state.value,
            connected_since=self._connected_at[1] if self._connected_at and state.is_connected else None,
            reconnects=self._reconnects,
            messages=counts.messages,
            bytes=counts.bytes,
            rate_1s=rate_1s,
            rate_10s=rate_10s,
            rate_60s=rate_60s,
            gaps=counts.gaps,
            resyncs=counts.resyncs,
            faults=counts.faults,
            ignored=counts.ignored,
            queue_depth=counters.depth,
            queue_high_water=counters.high_water,
            dropped=counters.dropped,
            callback_errors=counters.callback_errors,
            callback_seconds=counters.callback_seconds,
            last_message_age=None if self._last_message is None else now - self._last_message,
            processing_latency_p50=counters.processing.percentile(50),
            processing_latency_p99=counters.processing.percentile(99),
            exchange_latency_p50=self._exchange_latency.percentile(50),
            exchange_latency_p99=self._exchange_latency.percentile(99),
            clock_skew=self.clock_skew,
            stalls=self._stalls,
        )

    def health(
        self,
        state: State,
        store: BookStore,
        wants: Iterable[Want],
        market_tickers: tuple[str, ...],
        dispatcher: Delivery,
        *,
        troubles: tuple[str, ...],
        overdue_after: float,
        queue_size: int,
        last_received: float | None,
        idle_timeout: float,
    ) -> Health:
        """The verdict; ``overdue_after``: seconds after which a missing first snapshot is overdue.

        The book of a market that has ended no longer matters, whatever its status.
        """
        now, wall = self._clock.monotonic(), self._clock.time() - (self.clock_skew or 0.0)
        markets = store.markets
        books: list[Book] = []
        ended: list[str] = []
        for ticker in market_tickers:
            book, market = store.books[ticker], markets.get(ticker)
            if market is not None and has_ended(market):
                ended.append(_described(market, wall) if len(ended) < NAMED else ticker)
            else:
                books.append(book)
        since = self._connected_at[0] if self._connected_at is not None else now
        return assess(
            state=state.value,
            error=state.last_error,
            books=Counter(store.status_of(book).value for book in books),
            overdue=[
                book.market_ticker
                for book in books
                if book.status is BookStatus.PENDING
                and now - max(since, book.wanted_at) > overdue_after
                and not _is_unopened(markets.get(book.market_ticker), wall)
            ],
            unknown=[
                book.market_ticker
                for book in books
                if book.status is BookStatus.UNKNOWN and not book.was_known
            ],
            ended=ended,
            troubles=troubles,
            failed_subscriptions=sum(want.error is not None for want in wants),
            queue_depth=dispatcher.counters.depth,
            queue_size=queue_size,
            dropped_recently=self._dropped_lately(dispatcher.counters.dropped, now),
            stuck_callback=dispatcher.stuck_callback,
            last_received_age=now - last_received if last_received is not None else None,
            idle_timeout=idle_timeout,
            clock_skew=self.clock_skew,
        )


def _described(market: Market, now: float) -> str:
    title = f" ({market.title})" if market.title else ""
    return f"{market.ticker} {phase(market, now)}{title}"


def _is_unopened(market: Market | None, now: float) -> bool:
    return market is not None and phase(market, now) == "unopened"
