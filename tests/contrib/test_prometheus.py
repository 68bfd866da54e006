"""FeedCollector, scraped over HTTP as a Prometheus server does while a feed runs, and the dashboard that
shows it."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest, start_http_server
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strictly_parsed
from prometheus_client.parser import text_string_to_metric_families as parsed

import kalshi_feed
from kalshi_feed import FeedState, KalshiFeed
from kalshi_feed.contrib.prometheus import FeedCollector
from kalshi_feed.messages import MESSAGE_TYPES
from kalshi_feed.simulator import Exchange
from tests.feed.conftest import exchange, feed, make_feed
from tests.feed.support import A, B, FeedMaker, Held, wait_equal
from tests.support import wait_until

__all__ = ["exchange", "feed", "make_feed"]  # fixtures

DASHBOARD = Path(__file__).parents[2] / "samples" / "grafana_dashboard.json"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@contextmanager
def served(registry: CollectorRegistry) -> Iterator[str]:
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def get(url: str, accept: str = "*/*") -> str:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(urllib.request.Request(url, headers={"Accept": accept}), timeout=5) as answer:
        text: str = answer.read().decode()
    return text


class Scrape:
    """One scrape's samples."""

    def __init__(self, text: str) -> None:
        self.families: list[Metric] = list(parsed(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        found = [
            s.value
            for s in self.samples
            if s.name == f"kalshi_feed_{name}" and s.labels == {"feed": "default", **labels}
        ]
        assert len(found) == 1, (name, labels, found)
        return found[0]

    def on(self, name: str, feed: str = "default") -> str:
        """The one state that is set."""
        name = f"kalshi_feed_{name}"
        (state,) = [
            s.labels[name]
            for s in self.samples
            if s.name == name and s.labels["feed"] == feed and s.value == 1
        ]
        return state


def scrape(registry: CollectorRegistry) -> Scrape:
    with served(registry) as url:
        return Scrape(get(url))


def test_a_scrape_shows_what_the_feed_knows(exchange: Exchange, feed: KalshiFeed) -> None:
    registry = CollectorRegistry()
    collector = FeedCollector(feed, registry=registry)
    feed.on_trade(lambda trade: 1 / 0)
    subscription = feed.subscribe(["orderbook_delta", "trade"], [A, B])
    with feed, served(registry) as url:
        feed.wait_for_book(A, 5)
        feed.wait_for_book(B, 5)
        exchange.change(A, "yes", "0.10", "5")
        exchange.lose(1)
        exchange.change(A, "yes", "0.11", "5")
        exchange.change(A, "yes", "0.12", "5")  # reveals the gap
        wait_until(lambda: feed.stats().resyncs == 1)
        exchange.reset()
        wait_until(lambda: feed.stats().reconnects == 1)
        wait_equal(feed, exchange, A, B)
        subscription.wait(5)  # the trades' too
        exchange.send("trade", {"market_ticker": A, "trade_id": "1"}, check=False)
        wait_until(lambda: feed.stats().callback_errors == 1)
        wait_until(lambda: feed.stats().processing_latency_p50 is not None)
        exchange.quiesce()
        feed.list_subscriptions(5)
        before, found, after = feed.stats(), Scrape(get(url)), feed.stats()
        strict = list(strictly_parsed(get(url, OPENMETRICS)))
    for type_ in ("orderbook_snapshot", "orderbook_delta", "trade", "subscribed"):
        assert found.value("messages_total", type=type_) == after.messages[type_]
        assert found.value("bytes_total", type=type_) == after.bytes[type_] > 0
    assert (found.value("gaps_total"), found.value("resyncs_total"), found.value("reconnects_total")) == (
        1,
        1,
        1,
    )
    assert (found.value("dropped_total"), found.value("callback_errors_total")) == (0, 1)
    assert found.value("faults_total", kind="callback") == 1
    assert found.value("stalls_total") == after.stalls.count
    assert found.value("longest_stall_seconds") == pytest.approx(after.stalls.longest)
    assert found.value("queue_depth") == 0 and found.value("queue_high_water") == after.queue_high_water > 0
    assert before.callback_seconds <= found.value("callback_seconds_total") <= after.callback_seconds
    assert found.value("books", status="LIVE") == 2 and found.value("books", status="STALE") == 0
    assert before.last_message_age is not None and after.last_message_age is not None
    assert before.last_message_age <= found.value("last_message_age_seconds") <= after.last_message_age
    assert after.connected_since is not None
    assert found.value("connection_start_time_seconds") == pytest.approx(after.connected_since.timestamp())
    assert found.value("clock_skew_seconds") == pytest.approx(after.clock_skew)
    assert found.value("processing_latency_seconds", quantile="0.99") == pytest.approx(
        after.processing_latency_p99, rel=0.2
    )
    assert found.value("exchange_latency_seconds", quantile="0.5") < 60
    assert (found.on("state"), found.on("health")) == ("CONNECTED", "ok")
    assert [s.labels for s in found.samples if s.name == "kalshi_feed_info"] == [
        {"version": kalshi_feed.__version__}
    ]
    assert [family.name for family in strict] == [family.name for family in collector.describe()]


def test_names_keep_the_rules(exchange: Exchange, feed: KalshiFeed) -> None:
    """What `promtool check metrics` complains about: missing help, endings of counters and units, quantiles
    outside of summaries."""
    with feed:
        feed.wait_for_book(A, 5)
        families = list(FeedCollector(feed, registry=None).collect())
    for family in families:
        assert family.documentation.endswith(".") and re.fullmatch("kalshi_feed(_[a-z]+)*", family.name), (
            family
        )
        assert family.unit in ("", "seconds", "bytes") and family.name.endswith(family.unit)
        assert ("seconds" in family.name) == (family.unit == "seconds")
        assert not re.search("_(total|count|sum|bucket|info|milliseconds|ms|kilobytes)$", family.name)
        for sample in family.samples:
            assert (family.type == "summary") == ("quantile" in sample.labels)
    assert len({family.name for family in families}) == len(families)


def test_labels_are_bounded(exchange: Exchange, feed: KalshiFeed) -> None:
    registry = CollectorRegistry()
    FeedCollector(feed, registry=registry)
    with feed:
        feed.wait_for_book(A, 5)
        for number in range(50):
            exchange.send_raw(
                json.dumps({"type": f"news_{number}", "msg": {"market_ticker": f"KX-{number}"}})
            )
        exchange.send_raw("no json")
        wait_until(lambda: feed.stats().messages.get("unreadable") == 1)
        found = scrape(registry)
    assert found.value("messages_total", type="other") == 50
    types = {sample.labels["type"] for sample in found.samples if "type" in sample.labels}
    assert types <= {*MESSAGE_TYPES, "other", "unreadable"}
    values = {
        value
        for sample in found.samples
        for name, value in sample.labels.items()
        if name not in ("type", "version", "kind", "reason")
    }
    assert values <= {
        "default",
        "0.5",
        "0.99",
        "ok",
        "degraded",
        "down",
        "PENDING",
        "LIVE",
        "STALE",
        "UNKNOWN",
        *FeedState.__members__,
    }
    assert "protocol" in {sample.labels.get("kind") for sample in found.samples}


def test_several_feeds_in_every_state(exchange: Exchange, make_feed: FeedMaker) -> None:
    feeds = {name: make_feed() for name in ("idle", "running", "closed", "failed")}
    registry = CollectorRegistry()
    FeedCollector(feeds, registry=registry)
    assert [scrape(registry).on("state", name) for name in feeds] == ["IDLE"] * 4
    feeds["closed"].start().wait_for_book(A, 5)
    feeds["closed"].close()
    exchange.reject_next(1, 403)
    with pytest.raises(kalshi_feed.AuthenticationError):
        feeds["failed"].start().wait_until_connected(5)
    feeds["running"].start().wait_for_book(A, 5)
    found = scrape(registry)
    assert [found.on("state", name) for name in feeds] == ["IDLE", "CONNECTED", "CLOSED", "FAILED"]
    assert [found.on("health", name) for name in feeds] == ["down", "ok", "down", "down"]
    books = [s.labels for s in found.samples if s.name == "kalshi_feed_books" and s.value]
    assert books == [{"feed": "running", "status": "LIVE"}, {"feed": "closed", "status": "CLOSED"}]
    assert "kalshi_feed_last_message_age_seconds" not in {
        s.name for s in found.samples if s.labels.get("feed") == "idle"
    }


def test_a_scrape_does_not_wait_for_a_callback(exchange: Exchange, feed: KalshiFeed) -> None:
    registry, held = CollectorRegistry(), Held()
    FeedCollector(feed, registry=registry)
    feed.on_message(held)
    with feed:
        feed.wait_for_book(A, 5)
        assert held.entered.wait(5)
        for _ in range(3):
            exchange.change(A, "yes", "0.10", "1")
        wait_until(lambda: feed.stats().queue_depth >= 3)
        assert scrape(registry).value("queue_depth") >= 3
        held.go_on.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_feed_of_the_parent_does_not_break_the_childs_scrape(exchange: Exchange, feed: KalshiFeed) -> None:
    registry = CollectorRegistry()
    FeedCollector(feed, registry=registry)
    with feed:
        feed.wait_for_book(A, 5)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, generate_latest(registry))
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            found = Scrape(pipe.read().decode())
        os.waitpid(child, 0)
    assert found.on("health") == "down"
    assert {s.name for s in found.samples} == {"kalshi_feed_health", "kalshi_feed_info"}


def test_registering(feed: KalshiFeed) -> None:
    registry = CollectorRegistry()
    collector = FeedCollector(feed, registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        FeedCollector(feed, registry=registry)
    registry.unregister(collector)
    FeedCollector({"again": feed}, registry=registry)
    assert scrape(registry).on("state", "again") != "CLOSED"
    with pytest.raises(TypeError, match="a KalshiFeed, or a mapping of names to KalshiFeeds, not str"):
        FeedCollector("feed")  # type: ignore[arg-type]


# -- the dashboard


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def known(feed: KalshiFeed) -> dict[str, set[str]]:
    """The labels of every possible sample, by its name."""
    labels: dict[str, set[str]] = {}
    for family in FeedCollector(feed, registry=None).collect():
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def test_every_expression_of_the_dashboard_uses_what_exists(exchange: Exchange, feed: KalshiFeed) -> None:
    with feed:
        feed.on_delta(lambda delta: 1 / 0)
        feed.wait_for_book(A, 5)
        exchange.change(A, "yes", "0.10", "1")
        wait_until(lambda: feed.stats().callback_errors == 1)
        exchange.duplicate(1)
        exchange.change(A, "yes", "0.10", "1")
        wait_until(lambda: feed.stats().ignored.get("duplicate") == 1)
        wait_until(
            lambda: (
                feed.stats().processing_latency_p50 is not None
                and feed.stats().exchange_latency_p50 is not None
            )
        )
        labels = known(feed)
    used: set[str] = set()
    for panel in panels():
        for target in panel.get("targets", []):
            expression = target["expr"]
            assert expression.count("(") == expression.count(")") and expression.count(
                "{"
            ) == expression.count("}")
            for name, matchers in re.findall(
                r"(kalshi_feed\w*)(?:\{([^}]*)\})?", re.sub(r'"[^"]*"', '""', expression)
            ):
                assert name in labels, f"{panel['title']}: no metric {name}"
                asked = set(re.findall(r"(\w+)\s*=~?", matchers))
                assert "feed" in asked and asked <= labels[name], (
                    f"{panel['title']}: {name} has no {asked - labels[name]}"
                )
                used.add(name)
            for by in re.findall(r"\bby \(([^)]*)\)", expression):
                assert set(re.split(r",\s*", by)) <= set().union(*labels.values())
            for shown in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert shown in set().union(*labels.values())
    assert set(labels) - used <= {"kalshi_feed_info"}, "not on the dashboard"


def test_the_dashboard_has_titles_units_and_no_overlaps() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["title"] and (
            panel["type"] == "row" or (panel["description"] and panel["fieldConfig"]["defaults"]["unit"])
        )
    assert len({panel["id"] for panel in panels()}) == len(panels())
