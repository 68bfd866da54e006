"""A feed's metrics for Prometheus: a collector that follows prometheus_client's conventions.

    from prometheus_client import start_http_server
    from kalshi_feed.contrib.prometheus import FeedCollector

    FeedCollector(feed)
    start_http_server(9464)  # http://…:9464/metrics

Needs the extra ``prometheus`` (prometheus-client). Owns the metrics' names. It reads feed.stats(),
feed.health() and feed.books during a scrape only: between scrapes it costs nothing, and it holds none of the
feed's locks for long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from .. import BookStatus, FeedState, FeedStats, Health, KalshiFeed, KalshiFeedError, __version__
from ..messages import MESSAGE_TYPES

__all__ = ["FeedCollector"]

M = TypeVar("M", bound=Metric)
_TYPES: Final = frozenset((*MESSAGE_TYPES, "unreadable"))
_HEALTH: Final = ("ok", "degraded", "down")


class FeedCollector(Collector):
    """The metrics of one feed, or of several by name; registers itself, as prometheus_client's own collectors
    do. Thread-safe.

    ``feeds``: a KalshiFeed (its ``feed`` label is "default"), or a mapping of names to feeds. ``registry``:
    where to register; None: nowhere. A feed may be IDLE, closed, FAILED or another process's (after a fork):
    the scrape still succeeds, and ``kalshi_feed_health`` says "down". Except for the names of the feeds, all
    label values come from fixed lists.

    Raises ValueError if the registry already has a FeedCollector (give all feeds to one collector), and
    TypeError for anything that is not a KalshiFeed.
    """

    def __init__(
        self, feeds: KalshiFeed | Mapping[str, KalshiFeed], *, registry: CollectorRegistry | None = REGISTRY
    ) -> None:
        self._feeds = dict(feeds) if isinstance(feeds, Mapping) else {"default": feeds}
        for feed in self._feeds.values():
            if not isinstance(feed, KalshiFeed):
                raise TypeError(
                    "FeedCollector takes a KalshiFeed, or a mapping of names to KalshiFeeds, not "
                    f"{type(feed).__name__}"
                )
        if registry is not None:
            registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """The metrics without values, for the registry."""
        return _Metrics().all

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now. An error of one feed does not end the scrape."""
        metrics = _Metrics()
        for name, feed in self._feeds.items():
            try:
                health, stats = feed.health(), feed.stats()
                books = Counter(
                    book.status for ticker in feed.books if (book := feed.books.get(ticker)) is not None
                )
            except KalshiFeedError:  # another process's feed
                metrics.health.add_metric([name], dict.fromkeys(_HEALTH, False) | {"down": True})
            else:
                metrics.add(name, health, stats, books)
        yield from metrics.all


class _Metrics:
    """The metric families of one scrape. Not thread-safe; the scrape owns it."""

    def __init__(self) -> None:
        self.all: list[Metric] = []
        self._info = self._family(
            InfoMetricFamily("kalshi_feed", "The version of kalshi_feed.", {"version": __version__})
        )
        self.health = self._family(
            StateSetMetricFamily("kalshi_feed_health", "What feed.health() says.", labels=["feed"])
        )
        self._state = self._family(
            StateSetMetricFamily("kalshi_feed_state", "The feed's state.", labels=["feed"])
        )
        self._messages = self._counter(
            "messages", "Messages received, by wire type; types unknown here are 'other'.", "type"
        )
        self._bytes = self._counter("bytes", "Bytes of the messages received, by wire type.", "type")
        self._faults = self._counter("faults", "Faults reported to on_error, by kind.", "kind")
        self._ignored = self._counter(
            "ignored", "Frames ignored, by reason; mostly late ones and duplicates.", "reason"
        )
        self._gaps = self._counter("gaps", "Times messages were missing.")
        self._resyncs = self._counter("resyncs", "Times books were repaired by fresh snapshots.")
        self._reconnects = self._counter("reconnects", "Connections after the first one.")
        self._dropped = self._counter("dropped", "Messages dropped because callbacks were too slow.")
        self._callback_errors = self._counter("callback_errors", "Callbacks that raised.")
        self._callback_seconds = self._counter("callback_seconds", "Time spent in callbacks.")
        self._stalls = self._counter(
            "stalls", "Times the reader stood still for over half a second: Python's lock was kept."
        )
        self._longest_stall = self._gauge("longest_stall_seconds", "The longest of these times so far.")
        self._queue_depth = self._gauge("queue_depth", "Messages waiting for callbacks.")
        self._queue_high_water = self._gauge(
            "queue_high_water", "The most messages that ever waited for callbacks at once."
        )
        self._books = self._gauge("books", "Subscribed books, by status.", "status")
        self._age = self._gauge(
            "last_message_age_seconds", "Time since the last message; absent before the first."
        )
        self._since = self._gauge(
            "connection_start_time_seconds",
            "When the current connection was made, Unix time; absent without one.",
        )
        self._skew = self._gauge(
            "clock_skew_seconds", "This machine's clock minus the exchange's; absent while unknown."
        )
        self._processing = self._summary(
            "processing_latency_seconds", "From the socket's read to the callback, last 1 to 2 min."
        )
        self._exchange = self._summary(
            "exchange_latency_seconds", "From the exchange's timestamp to the read, last 1 to 2 min."
        )

    def _family(self, family: M) -> M:
        self.all.append(family)
        return family

    def add(self, feed: str, health: Health, stats: FeedStats, books: Mapping[BookStatus, int]) -> None:
        """Add one feed's samples."""
        label = [feed]
        self.health.add_metric(label, {status: status == health.status for status in _HEALTH})
        self._state.add_metric(label, {state.value: state is stats.state for state in FeedState})
        for family, counts in ((self._messages, stats.messages), (self._bytes, stats.bytes)):
            for type_, count in _bounded(counts).items():
                family.add_metric([feed, type_], count)
        for kind, count in stats.faults.items():
            self._faults.add_metric([feed, kind], count)
        for reason, count in stats.ignored.items():
            self._ignored.add_metric([feed, reason], count)
        self._gaps.add_metric(label, stats.gaps)
        self._resyncs.add_metric(label, stats.resyncs)
        self._reconnects.add_metric(label, stats.reconnects)
        self._dropped.add_metric(label, stats.dropped)
        self._callback_errors.add_metric(label, stats.callback_errors)
        self._callback_seconds.add_metric(label, stats.callback_seconds)
        self._stalls.add_metric(label, stats.stalls.count)
        self._longest_stall.add_metric(label, stats.stalls.longest)
        self._queue_depth.add_metric(label, stats.queue_depth)
        self._queue_high_water.add_metric(label, stats.queue_high_water)
        for status in BookStatus:
            self._books.add_metric([feed, status.value], books.get(status, 0))
        _add_known(self._age, label, stats.last_message_age)
        _add_known(
            self._since,
            label,
            stats.connected_since.timestamp() if stats.connected_since is not None else None,
        )
        _add_known(self._skew, label, stats.clock_skew)
        for summary, quantiles in (
            (self._processing, {"0.5": stats.processing_latency_p50, "0.99": stats.processing_latency_p99}),
            (self._exchange, {"0.5": stats.exchange_latency_p50, "0.99": stats.exchange_latency_p99}),
        ):
            for quantile, value in quantiles.items():
                if value is not None:
                    summary.add_sample(summary.name, {"feed": feed, "quantile": quantile}, value)

    def _counter(self, name: str, documentation: str, *labels: str) -> CounterMetricFamily:
        return self._family(
            CounterMetricFamily(
                f"kalshi_feed_{name}", documentation, unit=_unit(name), labels=["feed", *labels]
            )
        )

    def _gauge(self, name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
        return self._family(
            GaugeMetricFamily(
                f"kalshi_feed_{name}", documentation, unit=_unit(name), labels=["feed", *labels]
            )
        )

    def _summary(self, name: str, documentation: str) -> SummaryMetricFamily:
        return self._family(
            SummaryMetricFamily(f"kalshi_feed_{name}", documentation, unit=_unit(name), labels=["feed"])
        )


def _unit(name: str) -> str:
    last = name.rpartition("_")[2]
    return last if last in ("bytes", "seconds") else ""


def _bounded(counts: Mapping[str, int]) -> Counter[str]:
    """The counts by wire type; types unknown to this version share one label, as an exchange must not be able
    to create labels at will."""
    bounded: Counter[str] = Counter()
    for type_, count in counts.items():
        bounded[type_ if type_ in _TYPES else "other"] += count
    return bounded


def _add_known(gauge: GaugeMetricFamily, label: list[str], value: float | None) -> None:
    if value is not None:
        gauge.add_metric(label, value)
