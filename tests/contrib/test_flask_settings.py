"""The application's configuration and the environment, and which of them wins."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import flask
import pytest

from kalshi_feed import DEMO_URL, ConfigurationError, CredentialsError
from kalshi_feed.contrib.flask import FeedExtension, feed_blueprint
from kalshi_feed.contrib.flask.settings import Settings
from tests.cli.support import Access


@pytest.fixture
def config(access: Access) -> dict[str, Any]:
    return {"KALSHI_API_KEY_ID": access.exchange.api_key_id, "KALSHI_PRIVATE_KEY_PATH": access.key_file}


def test_the_environment_is_enough(access: Access) -> None:
    found = Settings.read(
        {},
        access.environ | {"KALSHI_ENV": "demo", "KALSHI_TICKERS": " KX-A, KX-B,", "KALSHI_CHANNELS": "trade"},
    )
    assert found.market_tickers == ("KX-A", "KX-B") and found.channels == ("trade",)
    assert found.feed["url"] == DEMO_URL and found.feed["ssl_context"] is None
    assert found.feed["credentials"].api_key_id == access.exchange.api_key_id


def test_the_configuration_comes_first(config: dict[str, Any], access: Access) -> None:
    environ = {
        "KALSHI_API_KEY_ID": "another-id",
        "KALSHI_PRIVATE_KEY": "another way to name the key",
        "KALSHI_URL": "wss://elsewhere/",
        "KALSHI_TICKERS": "OTHER",
        "KALSHI_CA_FILE": str(access.ca_file),
    }
    found = Settings.read(config | {"KALSHI_ENV": "demo", "KALSHI_TICKERS": ["KX-A"]}, environ)
    assert found.feed["credentials"].api_key_id == access.exchange.api_key_id
    assert found.feed["url"] == DEMO_URL, (
        "the environment's KALSHI_URL must not win over the configuration's KALSHI_ENV"
    )
    assert found.market_tickers == ("KX-A",) and found.channels == ("orderbook_delta", "trade")
    assert found.feed["ssl_context"].cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 1}


def test_without_markets_nothing_is_subscribed(config: dict[str, Any]) -> None:
    assert Settings.read(config, {}).channels == ()


def test_series_and_events(config: dict[str, Any]) -> None:
    environ = {"KALSHI_SERIES": "KXA, KXB", "KALSHI_EVENTS": "KXC-26NOV30", "KALSHI_REST_URL": "https://x/v2"}
    found = Settings.read(config, environ)
    assert (found.series, found.events, found.market_tickers) == (("KXA", "KXB"), ("KXC-26NOV30",), ())
    assert found.channels == ("orderbook_delta", "trade") and found.rest_url == "https://x/v2"
    found = Settings.read(config | {"KALSHI_ENV": "demo", "KALSHI_SERIES": ["KXD"]}, environ)
    assert found.series == ("KXD",) and found.rest_url is None, "it may be of another exchange"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"KALSHI_SERIES": ["A B"]}, "KALSHI_SERIES contains 'A B'"),
        ({"KALSHI_SERIES": "KXMVECROSS"}, "KALSHI_SERIES cannot be followed: 'KXMVECROSS': combos"),
        ({"KALSHI_EVENTS": "KXMVECROSS-1"}, "KALSHI_EVENTS cannot be followed: 'KXMVECROSS-1': combos"),
        ({"KALSHI_EVENTS": "KXA-1", "KALSHI_URL": "wss://x.example/"}, "KALSHI_REST_URL is not set"),
        ({"KALSHI_SERIES": "KXA", "KALSHI_REST_URL": "ftp://x"}, "KALSHI_REST_URL"),
        (
            {"KALSHI_SERIES": "KXA", "KALSHI_CHANNELS": "trade,communications"},
            "KALSHI_CHANNELS contains comm",
        ),
        ({"KALSHI_TICKERS": 5}, "KALSHI_TICKERS must be a string or a list of strings, not int"),
        ({"KALSHI_TICKERS": ["A B"]}, "KALSHI_TICKERS contains 'A B'"),
        ({"KALSHI_CHANNELS": "orderbok_delta"}, "orderbook_delta"),
        ({"KALSHI_CHANNELS": "orderbook_delta"}, "orderbook_delta needs markets"),
        ({"KALSHI_ENV": "test"}, "KALSHI_ENV is 'test'"),
        ({"KALSHI_URL": "http://x"}, "KALSHI_URL starts with http://"),
        (
            {"KALSHI_CA_FILE": "/no/such.pem"},
            "the CA file of KALSHI_CA_FILE '/no/such.pem' cannot be used: No such file or directory",
        ),
        ({"KALSHI_CA_FILE": __file__}, "it contains no PEM certificate"),
        ({"KALSHI_STREAM_CLIENTS": "many"}, "KALSHI_STREAM_CLIENTS must be a positive number, not 'many'"),
        ({"KALSHI_STREAM_INTERVAL": 0}, "KALSHI_STREAM_INTERVAL must be a positive number, not 0"),
        ({"KALSHI_PATIENCE": True}, "KALSHI_PATIENCE must be a positive number, not True"),
    ],
)
def test_what_cannot_work_stops_the_server_when_it_starts(
    config: dict[str, Any], wrong: dict[str, Any], said: str
) -> None:
    app = flask.Flask("wrong")
    app.config.update(config | wrong)
    with pytest.raises(ConfigurationError) as refused:
        FeedExtension(app)
    assert said in str(refused.value)
    assert "kalshi_feed" not in app.extensions


def test_following_needs_requests(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("kalshi_feed.rest")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "requests", None)
    app = flask.Flask("no_requests")
    app.config.update(config, KALSHI_SERIES="KXA")
    with pytest.raises(ImportError, match=r"KALSHI_SERIES and KALSHI_EVENTS: .*'requests'; install"):
        FeedExtension(app)


def test_missing_keys_and_impossible_arguments(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="not set in the environment: KALSHI_API_KEY_ID"):
        FeedExtension(flask.Flask("no_key"))
    app = flask.Flask("wrong")
    app.config.update(config)
    with pytest.raises(ConfigurationError, match="workers"):
        FeedExtension(app, workers=0)


def test_a_blueprint_without_its_extension_says_so() -> None:
    app = flask.Flask("forgotten")
    app.testing = True
    app.register_blueprint(feed_blueprint())
    with pytest.raises(RuntimeError, match=r"write FeedExtension\(app\)"):
        app.test_client().get("/health")
