"""A feed's and a relay's metrics for Prometheus: collectors that follow prometheus_client's conventions.

    from prometheus_client import start_http_server
    from kalshi_feed.contrib.prometheus import FeedCollector

    FeedCollector(feed)
    start_http_server(9464)  # http://…:9464/metrics

A relay's program adds RelayCollector(relay). Needs the extra ``prometheus`` (prometheus-client). Owns the
metrics' names. It reads feed.stats(), feed.health(), feed.books and relay.stats() during a scrape only:
between scrapes it costs nothing, and it holds none of the feed's locks for long.
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
from ..relay import Relay, RelayStats

__all__ = ["FeedCollector", "RelayCollector"]

M = TypeVar("M", bound=Metric)
_TYPES: Final = frozenset((*MESSAGE_TYPES, "unreadable"))
_HEALTH: Final = ("ok", "degraded", "down")
_RELAY_STATES: Final = ("idle", "waiting", "writing", "ended")


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


class RelayCollector(Collector):
    """The metrics of a relay, or of several; registers itself. Thread-safe.

    ``relays``: a Relay (its ``relay`` label is its name), or a mapping of other names to Relays.
    ``registry``: where to register; None: nowhere. Its feed's metrics are FeedCollector's. Raises ValueError
    if the registry already has a RelayCollector, and TypeError for anything that is not a Relay.
    """

    def __init__(
        self, relays: Relay | Mapping[str, Relay], *, registry: CollectorRegistry | None = REGISTRY
    ) -> None:
        found: Mapping[str, Relay] = relays if isinstance(relays, Mapping) else {"": relays}
        for relay in found.values():
            if not isinstance(relay, Relay):
                raise TypeError(
                    "RelayCollector takes a Relay, or a mapping of names to Relays, not "
                    f"{type(relay).__name__}"
                )
        self._relays = {name or relay.name: relay for name, relay in found.items()}
        if registry is not None:
            registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """The metrics without values, for the registry."""
        return _RelayMetrics().all

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        metrics = _RelayMetrics()
        for name, relay in self._relays.items():
            metrics.add(name, relay.stats())
        yield from metrics.all


class _Families:
    """The metric families of one scrape. Not thread-safe; the scrape owns it."""

    def __init__(self, prefix: str, label: str) -> None:
        self.all: list[Metric] = []
        self._prefix = prefix
        self._label = label

    def _family(self, family: M) -> M:
        self.all.append(family)
        return family

    def _counter(self, name: str, documentation: str, *labels: str) -> CounterMetricFamily:
        return self._family(
            CounterMetricFamily(
                f"{self._prefix}_{name}", documentation, unit=_unit(name), labels=[self._label, *labels]
            )
        )

    def _gauge(self, name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
        return self._family(
            GaugeMetricFamily(
                f"{self._prefix}_{name}", documentation, unit=_unit(name), labels=[self._label, *labels]
            )
        )

    def _summary(self, name: str, documentation: str) -> SummaryMetricFamily:
        return self._family(
            SummaryMetricFamily(
                f"{self._prefix}_{name}", documentation, unit=_unit(name), labels=[self._label]
            )
        )


class _Metrics(_Families):
    """The families of feeds. Not thread-safe; the scrape owns it."""

    def __init__(self) -> None:
        super().__init__("kalshi_feed", "feed")
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
        self._relay_entries = self._counter("relay_entries", "Entries read from a relay; of consumers only.")
        self._relay_holes = self._counter("relay_holes", "Times entries of a relay were missing.")
        self._relay_bootstraps = self._counter(
            "relay_bootstraps", "Times a consumer began with a relay's checkpoint."
        )
        self._relay_lag = self._gauge(
            "relay_lag_seconds", "By how much the last entry came later than the quickest one lately."
        )
        self._processing = self._summary(
            "processing_latency_seconds", "From the socket's read to the callback, last 1 to 2 min."
        )
        self._exchange = self._summary(
            "exchange_latency_seconds", "From the exchange's timestamp to the read, last 1 to 2 min."
        )

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
        if (relay := stats.relay) is not None:
            self._relay_entries.add_metric(label, relay.entries)
            self._relay_holes.add_metric(label, relay.holes)
            self._relay_bootstraps.add_metric(label, relay.bootstraps)
            self._relay_lag.add_metric(label, relay.lag)
        for summary, quantiles in (
            (self._processing, {"0.5": stats.processing_latency_p50, "0.99": stats.processing_latency_p99}),
            (self._exchange, {"0.5": stats.exchange_latency_p50, "0.99": stats.exchange_latency_p99}),
        ):
            for quantile, value in quantiles.items():
                if value is not None:
                    summary.add_sample(summary.name, {"feed": feed, "quantile": quantile}, value)


class _RelayMetrics(_Families):
    """The families of relays. Not thread-safe; the scrape owns it."""

    def __init__(self) -> None:
        super().__init__("kalshi_relay", "relay")
        self._state = self._family(
            StateSetMetricFamily("kalshi_relay_state", "What the relay does.", labels=["relay"])
        )
        self._connected = self._gauge("redis_connected", "1 if Redis could be reached at the last try.")
        self._counts = {
            "entries": self._counter("entries", "Entries written to Redis."),
            "bytes": self._counter("bytes", "Bytes of these entries."),
            "checkpoints": self._counter("checkpoints", "Checkpoints written."),
            "missed": self._counter("missed", "Messages lost because Redis was away or slow for too long."),
            "losses": self._counter("losses", "Times messages were lost."),
            "errors": self._counter("errors", "Calls to Redis that failed."),
            "refused": self._counter("refused", "Wishes of consumers that were refused."),
            "ignored": self._counter(
                "ignored", "Messages on the stream of wishes that no consumer has sent."
            ),
        }
        self._levels = {
            "backlog": self._gauge("backlog_entries", "Entries that wait to be written."),
            "backlog_bytes": self._gauge("backlog_bytes", "Bytes that wait to be written."),
            "late": self._gauge("late_seconds", "From the newest entry's time to its writing."),
            "kept": self._gauge("kept_entries", "How many entries the stream keeps."),
            "checkpoint_bytes": self._gauge("checkpoint_bytes", "Size of the last checkpoint."),
            "consumers": self._gauge("consumers", "Consumers with a lease."),
            "keys": self._gauge("wanted_keys", "Markets and other keys that they want, on all channels."),
            "follows": self._gauge("follows", "Series and events that they follow."),
        }

    def add(self, relay: str, stats: RelayStats) -> None:
        """Add one relay's samples."""
        label = [relay]
        self._state.add_metric(label, {state: state == stats.state for state in _RELAY_STATES})
        self._connected.add_metric(label, float(stats.is_connected))
        for counts in (self._counts, self._levels):
            for name, family in counts.items():
                family.add_metric(label, getattr(stats, name))


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
