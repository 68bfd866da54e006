"""A consumer in Flask and in a process that forks, and what Prometheus sees of a relay and its consumer."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import flask
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parsed

from kalshi_feed import ConfigurationError, KalshiFeed
from kalshi_feed.contrib.flask import FeedExtension, feed_blueprint
from kalshi_feed.contrib.process import ProcessFeed
from kalshi_feed.contrib.prometheus import FeedCollector, RelayCollector
from kalshi_feed.relay import Relay
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B
from tests.support import wait_until

from .consumers import ConsumerMaker
from .redis_server import RedisServer

C = "KX-C"


@pytest.fixture(autouse=True)
def no_one_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith("KALSHI_"):
            monkeypatch.delenv(name)


def test_flask_serves_a_relays_books(relay: Relay, redis_server: RedisServer, tmp_path: Path) -> None:
    """Only those that it was configured with are served, and the health is the consumer's."""
    app = flask.Flask("books")
    app.config |= {"KALSHI_RELAY": redis_server.url, "KALSHI_TICKERS": A, "KALSHI_PATIENCE": 3}
    feeds = FeedExtension(app)
    app.register_blueprint(feed_blueprint())
    client = app.test_client()
    found = client.get(f"/books/{A}")  # the first request starts the feed, and waits for the book
    assert (found.status_code, found.get_json()["status"]) == (200, "LIVE")
    assert client.get("/health").get_json()["status"] == "ok"
    with app.app_context():
        metrics = app.extensions["kalshi_feed"].state().metrics()
    assert (
        metrics["exchange"] == f"relay at 127.0.0.1:{redis_server.port}" and metrics["state"] == "CONNECTED"
    )
    relay.close()
    wait_until(lambda: client.get("/health").status_code == 503, 10)
    assert "RECONNECTING" in client.get("/health").get_json()["reasons"][0]
    found = client.get(f"/books/{A}")
    assert found.status_code == 503 and found.get_json()["status"] == "STALE"
    feeds.close(app)


def test_flask_refuses_what_a_consumer_cannot_have(redis_server: RedisServer) -> None:
    app = flask.Flask("wrong")
    app.config["KALSHI_RELAY"] = redis_server.url
    with pytest.raises(ConfigurationError, match=r"^fill_gaps makes no sense while KALSHI_RELAY is set"):
        FeedExtension(app, fill_gaps=True)
    app.config["KALSHI_RELAY"] = "http://host"
    with pytest.raises(ConfigurationError, match=r"^KALSHI_RELAY must start with redis://"):
        FeedExtension(app)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_process_has_a_consumer_of_its_own(relay: Relay, redis_server: RedisServer) -> None:
    environ = {"KALSHI_RELAY": redis_server.url}
    feeds = ProcessFeed(lambda: KalshiFeed.from_env(environ=environ, name="mine"))
    assert feeds.get().wait_for_book(A, 10).is_live
    child = os.fork()
    if not child:
        code = 1
        signal.alarm(20)  # if it hangs, it ends here, and the test with it
        try:
            code = 0 if feeds.started is None and feeds.get().wait_for_book(A, 10).is_live else 2
            feeds.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert feeds.get().wait_for_book(B, 10).is_live
    feeds.close()


def test_prometheus_sees_relay_and_consumer(
    relay: Relay, make_consumer: ConsumerMaker, exchange: Exchange
) -> None:
    consumer = make_consumer()
    registry = CollectorRegistry()
    RelayCollector(relay, registry=registry)
    FeedCollector({"mine": consumer, "relay's": relay.feed}, registry=registry)
    with consumer:
        consumer.wait_for_book(A, 10)
        consumer.subscribe("ticker", [A, B]).wait(10)
        wait_until(lambda: relay.stats().keys >= 2)

        def value(name: str, **labels: str) -> float:
            families = parsed(generate_latest(registry).decode())
            samples = [sample for family in families for sample in family.samples if sample.name == name]
            (found,) = [sample.value for sample in samples if sample.labels == labels]
            return found

        assert value("kalshi_relay_state", relay="main", kalshi_relay_state="writing") == 1
        assert value("kalshi_relay_redis_connected", relay="main") == 1
        assert value("kalshi_relay_consumers", relay="main") == 1
        assert value("kalshi_relay_wanted_keys", relay="main") >= 2
        assert value("kalshi_relay_entries_total", relay="main") > 0
        assert value("kalshi_relay_missed_total", relay="main") == 0
        assert value("kalshi_feed_relay_entries_total", feed="mine") > 0
        assert value("kalshi_feed_relay_bootstraps_total", feed="mine") == 1
        assert value("kalshi_feed_relay_lag_seconds", feed="mine") >= 0
        with pytest.raises(ValueError, match="not enough values"):
            value("kalshi_feed_relay_entries_total", feed="relay's")
        relay.close()
        wait_until(lambda: value("kalshi_relay_state", relay="main", kalshi_relay_state="ended") == 1)
        wait_until(lambda: value("kalshi_feed_health", feed="mine", kalshi_feed_health="down") == 1)
    with pytest.raises(ValueError, match="Duplicated"):
        RelayCollector(relay, registry=registry)
    with pytest.raises(TypeError, match="RelayCollector takes a Relay, or a mapping of names to Relays, not"):
        RelayCollector(consumer)  # type: ignore[arg-type]
