"""KALSHI_URL, KALSHI_ENV and KALSHI_CA_FILE mean the same in from_env(), commands, Flask and samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kalshi_feed import DEMO_URL, PRODUCTION_URL, ConfigurationError, KalshiFeed, TLSError
from kalshi_feed.cli.access import context_for, url_for
from kalshi_feed.connection.environment import exchange_context, exchange_url
from kalshi_feed.contrib.flask.settings import Settings
from kalshi_feed.simulator import Exchange
from tests.cli.support import Access, kalshi_feed
from tests.samples.support import sample, with_access

ELSEWHERE = "wss://elsewhere.example/ws"
URLS = {
    "nothing": ({}, PRODUCTION_URL),
    "empty": ({"KALSHI_URL": "", "KALSHI_ENV": ""}, PRODUCTION_URL),
    "production": ({"KALSHI_ENV": "production"}, PRODUCTION_URL),
    "demo": ({"KALSHI_ENV": "demo"}, DEMO_URL),
    "url": ({"KALSHI_URL": ELSEWHERE}, ELSEWHERE),
    "both": ({"KALSHI_URL": ELSEWHERE, "KALSHI_ENV": "demo"}, ELSEWHERE),
    "url, and an unknown env": ({"KALSHI_URL": ELSEWHERE, "KALSHI_ENV": "moon"}, ELSEWHERE),
}


@pytest.fixture
def access(exchange: Exchange, tmp_path: Path) -> Access:
    return Access(exchange, tmp_path / "access")


@pytest.mark.parametrize("case", URLS)
def test_the_url(case: str, access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    environ, url = URLS[case]
    for name in ("KALSHI_URL", "KALSHI_ENV", "KALSHI_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert exchange_url(environ) == url_for(None, None) == url
    assert Settings.read({}, access.environ | environ).feed["url"] == url
    assert url.split("/")[2] in repr(KalshiFeed.from_env(environ=access.environ | environ))
    assert "over.example" in repr(
        KalshiFeed.from_env(environ=access.environ | environ, url="wss://over.example/")
    )
    assert (url_for("demo", None), url_for("production", None)) == (DEMO_URL, PRODUCTION_URL)
    assert url_for(None, "wss://over.example/") == "wss://over.example/"


def test_an_unknown_env(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KALSHI_URL", raising=False)
    monkeypatch.setenv("KALSHI_ENV", "moon")
    for read in (
        lambda: exchange_url({"KALSHI_ENV": "moon"}),
        lambda: url_for(None, None),
        lambda: KalshiFeed.from_env(environ=access.environ | {"KALSHI_ENV": "moon"}),
        lambda: Settings.read({"KALSHI_ENV": "moon"}, access.environ),
    ):
        with pytest.raises(ConfigurationError, match="KALSHI_ENV is 'moon'; write 'production' or 'demo'"):
            read()


def test_a_url_that_is_none(access: Access) -> None:
    """The variable is named, not an argument that no one passed."""
    for read in (
        lambda: exchange_url({"KALSHI_URL": "https://x.example/"}),
        lambda: KalshiFeed.from_env(environ=access.environ | {"KALSHI_URL": "https://x.example/"}),
        lambda: Settings.read({"KALSHI_URL": "https://x.example/"}, access.environ),
    ):
        with pytest.raises(ConfigurationError, match=r"^KALSHI_URL starts with https://; the WebSocket url"):
            read()


def test_the_ca_file(access: Access, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A url from the environment needs a certificate from there, too, and an argument wins over both."""
    environ = with_access(access)
    with KalshiFeed.from_env(environ=environ) as feed:
        feed.wait_until_connected(5)
    with KalshiFeed.from_env(environ=environ, ssl_context=None) as feed, pytest.raises(TLSError):
        feed.wait_until_connected(5)
    missing = environ | {"KALSHI_CA_FILE": str(tmp_path / "gone.pem")}
    text = "the CA file of KALSHI_CA_FILE '.*gone.pem' cannot be used: No such file or directory"
    with pytest.raises(ConfigurationError, match=text):
        KalshiFeed.from_env(environ=missing)
    with KalshiFeed.from_env(environ=missing, ssl_context=access.exchange.ssl_context) as feed:
        feed.wait_until_connected(5)
    monkeypatch.setenv("KALSHI_CA_FILE", missing["KALSHI_CA_FILE"])
    with pytest.raises(ConfigurationError, match=text):
        context_for(None)
    assert context_for(str(access.ca_file)) is not None
    assert exchange_context({"KALSHI_CA_FILE": ""}) is None


def test_a_ca_file_at_home(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(access.ca_file.parent))
    assert exchange_context({"KALSHI_CA_FILE": f"~/{access.ca_file.name}"}) is not None


@pytest.mark.slow
@pytest.mark.parametrize("env", ["", "demo"])
def test_commands_dial_the_exchange_of_the_environment(access: Access, env: str, tmp_path: Path) -> None:
    """A program meant for the simulator must not dial production."""
    environ = with_access(access) | {"KALSHI_ENV": env}
    (ticker, *_) = access.exchange.market_tickers
    check = kalshi_feed("check", ticker, "--json", **environ)
    assert (check.returncode, check.stderr) == (0, ""), check.stdout
    watch = kalshi_feed("watch", ticker, "--plain", "--seconds", "4", **environ)
    assert (watch.returncode, watch.stderr) == (0, "") and f" {ticker} snapshot" in watch.stdout
    file = str(tmp_path / "a.ndjson")
    record = kalshi_feed("record", ticker, "-o", file, "--seconds", "4", "--json", **environ)
    assert (record.returncode, record.stderr) == (0, "") and json.loads(record.stdout)["messages"] > 0


def test_an_option_wins_over_the_environment(access: Access) -> None:
    wrong = with_access(access) | {"KALSHI_URL": ELSEWHERE, "KALSHI_CA_FILE": "/no/such.pem"}
    check = kalshi_feed("check", "--json", *access.options, **wrong)
    assert (check.returncode, check.stderr) == (0, ""), check.stdout
    url = json.loads(
        kalshi_feed("check", "--env", "demo", "--json", "--timeout", "0.01", **with_access(access)).stdout
    )["steps"][1]
    assert (url["step"], url["status"]) == ("url", "ok") and DEMO_URL.split("/")[2] in url["found"]


@pytest.mark.slow
def test_samples_dial_the_exchange_of_the_environment(access: Access) -> None:
    (ticker, *_) = access.exchange.market_tickers
    found = sample(
        "print_deltas.py", ticker, "--seconds", "4", **with_access(access) | {"KALSHI_ENV": "demo"}
    )
    assert (found.returncode, found.stderr) == (0, "") and "feed CONNECTED connected" in found.stdout
