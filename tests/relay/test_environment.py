"""KALSHI_RELAY and its companions mean the same in from_env(), commands, Flask and samples."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import flask
import pytest
from click.testing import CliRunner

from kalshi_feed import ConfigurationError, KalshiFeed
from kalshi_feed.cli.access import feed_for
from kalshi_feed.cli.commands import group
from kalshi_feed.contrib.flask import FeedExtension
from kalshi_feed.relay.environment import RelayAccess, relay_access
from kalshi_feed.simulator import Exchange
from tests.cli.support import Access

RELAY = {"KALSHI_RELAY": "redis://127.0.0.1:1/0"}
OPTIONS = {"env": None, "url": None, "ca_file": None, "key_id": None, "key_file": None}


@pytest.fixture
def access(exchange: Exchange, tmp_path: Path) -> Access:
    return Access(exchange, tmp_path / "access")


@pytest.fixture(autouse=True)
def no_one_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith("KALSHI_"):
            monkeypatch.delenv(name)


def test_what_the_variables_say(tmp_path: Path) -> None:
    assert relay_access({}) is relay_access({"KALSHI_RELAY": ""}) is None
    assert relay_access(RELAY) == RelayAccess(RELAY["KALSHI_RELAY"])
    file = tmp_path / "password"
    file.write_text("s3cret word\r\n")
    more = {"KALSHI_RELAY_NAME": "nfl", "KALSHI_RELAY_CA_FILE": "ca.pem"}
    found = relay_access(RELAY | more | {"KALSHI_RELAY_PASSWORD_FILE": str(file)})
    assert found == RelayAccess(RELAY["KALSHI_RELAY"], "nfl", "s3cret word", "ca.pem")
    assert found == relay_access(RELAY | more | {"KALSHI_RELAY_PASSWORD": "s3cret word"})
    assert "s3cret" not in repr(found) and "127.0.0.1" not in repr(found)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (
            {"KALSHI_RELAY_NAME": "a b"},
            "^KALSHI_RELAY_NAME must be at most 64 letters, digits, dots, dashes or underscores, not 'a b'",
        ),
        (
            {"KALSHI_RELAY_PASSWORD": "s3cret", "KALSHI_RELAY_PASSWORD_FILE": "file"},
            "^KALSHI_RELAY_PASSWORD_FILE is set, and so is KALSHI_RELAY_PASSWORD; unset the one",
        ),
        (
            {"KALSHI_RELAY_PASSWORD_FILE": "/no/such/file"},
            "^KALSHI_RELAY_PASSWORD_FILE names the file '/no/such/file', which cannot be read: No such file",
        ),
        ({"KALSHI_RELAY": "wss://s3cret:s3cret@x/"}, "^KALSHI_RELAY must start with redis://"),
        ({"KALSHI_RELAY": "redis://x/s3cret"}, "^KALSHI_RELAY has a database that is not a number"),
        ({"KALSHI_RELAY_CA_FILE": "ca.pem"}, "^KALSHI_RELAY_CA_FILE is for rediss:// only"),
    ],
)
def test_what_cannot_work(more: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        KalshiFeed.from_env(environ=RELAY | more)
    assert "s3cret" not in str(caught.value)


def test_a_relay_and_a_key(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the two was meant? A program must not open a connection of its own by mistake."""
    both = access.environ | RELAY
    text = r"^KALSHI_RELAY and KALSHI_API_KEY_ID are both set: .*; unset the one you do not mean$"
    with pytest.raises(ConfigurationError, match=text):
        KalshiFeed.from_env(environ=both)
    with pytest.raises(ConfigurationError, match=r"^KALSHI_RELAY and KALSHI_PRIVATE_KEY are "):
        KalshiFeed.from_env(environ=RELAY | {"KALSHI_PRIVATE_KEY": "x"})
    for name, value in both.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=text):
        feed_for(**OPTIONS)
    with pytest.raises(ConfigurationError, match=text):
        FeedExtension(flask.Flask("both"))
    found = CliRunner().invoke(group, ["watch", "KXSIM-001"])
    assert found.exit_code == 2 and "KALSHI_API_KEY_ID are both set" in found.output


@pytest.mark.parametrize(
    "overrides", [{"credentials": None}, {"url": "wss://x/"}, {"reconnect": None}, {"fill_gaps": True}]
)
def test_overrides_that_a_consumer_cannot_have(overrides: dict[str, Any]) -> None:
    (name,) = overrides
    text = rf"^{name} makes no sense while KALSHI_RELAY is set, because .*: leave out the one or unset the o"
    with pytest.raises(ConfigurationError, match=text):
        KalshiFeed.from_env(environ=RELAY, **overrides)


def test_overrides_that_it_can(access: Access) -> None:
    """The same program runs with a key and with a relay: a name is the threads' name with both."""
    options = {"queue_size": 10, "workers": 2, "overflow": "drop_oldest", "name": "mine"}
    KalshiFeed.from_env(environ=access.environ, **options)
    KalshiFeed.from_env(environ=RELAY, silence=5.0, remote=False, **options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("watch", "KX-A", "--env", "demo"), "--env makes no sense while KALSHI_RELAY is set"),
        (
            ("watch", "KX-A", "--rest-url", "https://x/"),
            "--rest-url makes no sense while",
        ),
        (("record", "KX-A", "-o", "a.ndjson", "--key-id", "x"), "--key-id makes no sense while KALSHI_RELAY"),
        (("check", "--url", "wss://x/"), "--url makes no sense while KALSHI_RELAY is set"),
    ],
)
def test_options_of_the_exchange(options: tuple[str, ...], text: str) -> None:
    found = CliRunner().invoke(group, options, env=RELAY)
    assert found.exit_code == 2 and text in " ".join(found.output.split()), found.output


def test_the_application_s_configuration_comes_first(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    app = flask.Flask("app")
    app.config |= {"KALSHI_RELAY": "redis://127.0.0.1:2/0", "KALSHI_RELAY_NAME": "nfl"}
    for name, value in (access.environ | RELAY).items():
        monkeypatch.setenv(name, value)
    feeds = FeedExtension(app)
    with app.app_context():
        assert "127.0.0.1:2" in feeds.feed.url
    feeds.close(app)
    other = flask.Flask("other")
    other.config |= {name: value for name, value in access.environ.items() if name != "KALSHI_REST_URL"}
    other.config["KALSHI_URL"] = access.exchange.url
    feeds = FeedExtension(other)
    with other.app_context():
        assert feeds.feed.url == access.exchange.url
    feeds.close(other)


def test_check_in_json_names_the_variable() -> None:
    found = CliRunner().invoke(group, ["check", "--json"], env={**RELAY, "KALSHI_RELAY_NAME": "a b"})
    step = json.loads(found.output)["steps"][0]
    assert (found.exit_code, step["step"], step["status"]) == (1, "relay", "failed")
    assert step["found"].startswith("KALSHI_RELAY_NAME must be at most 64 letters")
