"""The URLs, through Flask's own test client."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient

from kalshi_feed import DEMO_URL, PRODUCTION_URL, KalshiFeed
from kalshi_feed.contrib.flask import FeedExtension, feed_blueprint
from kalshi_feed.contrib.flask.process_state import ProcessState
from kalshi_feed.contrib.flask.settings import Settings
from tests.cli.support import Access
from tests.support import wait_until

from .support import application, desk_of

PAGE = Path(__file__).parents[2] / "kalshi_feed" / "contrib" / "flask" / "page"
THREADS = {"wsgi.multithread": True}


@pytest.fixture
def client(access: Access) -> Iterator[FlaskClient]:
    app, feeds = application(access, KALSHI_PATIENCE=0.3)
    with app.test_client() as client:
        wait_until(lambda: client.get("/books/KX-A").status_code == 200, 10, "the book")
        yield client
    feeds.close(app)


def test_nothing_runs_before_the_first_request(access: Access) -> None:
    app, feeds = application(access)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("kalshi-feed")]
    app.add_url_rule("/other", "other", lambda: "something else")
    app.test_client().get("/other")
    access.exchange.wait_for_connections(1)
    assert desk_of(app).feed.wait_for_book("KX-A", timeout=10).is_live
    feeds.close(app)
    access.exchange.wait_for_connections(0)


def test_books_are_the_exchanges(client: FlaskClient, access: Access) -> None:
    access.exchange.quiesce()
    desk_of(client.application).feed.list_subscriptions(5)  # its answer comes after everything sent before
    for ticker, truth in access.exchange.books().items():
        found = client.get(f"/books/{ticker}")
        book = found.get_json()
        assert (found.status_code, book["status"], found.headers["Cache-Control"]) == (
            200,
            "LIVE",
            "no-store",
        )
        for side in ("yes", "no"):
            assert {Decimal(price): Decimal(size) for price, size in book[side]} == truth[side]
        best = [Decimal(book[side][0][0]) for side in ("yes", "no")]
        assert (
            Decimal(book["spread"]) == 1 - sum(best) and Decimal(book["mid"]) == (best[0] + 1 - best[1]) / 2
        )
        cut = client.get(f"/books/{ticker}?depth=2").get_json()
        assert (cut["yes"], cut["no"]) == (book["yes"][:2], book["no"][:2])
        for depth in ("0", "-5", "x", "", "1e3", "9" * 5000):
            refused = client.get(f"/books/{ticker}?depth={depth}")
            assert refused.status_code == 400 and "positive whole number" in refused.get_json()["error"]
    all_of_them = client.get("/books").get_json()
    assert [book["market_ticker"] for book in all_of_them["books"]] == ["KX-A", "KX-B"]
    assert all_of_them["feed"]["state"] == "CONNECTED" and all_of_them["feed"]["health"] == {
        "status": "ok",
        "reasons": [],
        "notes": [],
    }


@pytest.mark.parametrize("depth", ["0", "-5", "many", "", "1.5", "9" * 30])
def test_a_depth_that_makes_no_sense(client: FlaskClient, depth: str) -> None:
    for path in ("/books", "/books/KX-A"):
        found = client.get(path, query_string={"depth": depth})
        assert found.status_code == 400
        assert found.get_json()["error"].startswith(
            f"depth must be a positive whole number, not '{depth[:40]}"
        )


@pytest.mark.parametrize(("url", "name"), [(PRODUCTION_URL, "production"), (DEMO_URL, "demo"), (None, "")])
def test_the_metrics_say_which_exchange(access: Access, url: str | None, name: str) -> None:
    feed = KalshiFeed(access.exchange.credentials, url=url or "wss://exchange.example:8443/ws?secret=1")
    state = ProcessState(feed, Settings.read({}, access.environ))
    assert state.metrics()["exchange"] == (name or "exchange.example:8443")


def test_the_last_trade(client: FlaskClient, access: Access) -> None:
    access.exchange.pause()
    for subscription in desk_of(client.application).feed.subscriptions:
        subscription.wait(10)  # there may be books before the trades are subscribed
    msg = {
        "market_ticker": "KX-A",
        "trade_id": "d91bc706-ee49-470d-82d8-11418bda6fed",
        "yes_price_dollars": "0.4100",
        "no_price_dollars": "0.5900",
        "count_fp": "12.00",
        "taker_side": "no",
        "taker_outcome_side": "no",
        "taker_book_side": "ask",
        "is_block_trade": False,
        "ts": 1795649006,
        "ts_ms": 1795649006500,
    }
    access.exchange.send("trade", msg)

    def last() -> Any:
        return client.get("/books/KX-A").get_json()["last_trade"]

    wait_until(lambda: last() is not None and last()["yes_price"] == "0.4100", 5, "the trade")
    found = last()
    assert (found["count"], found["taker_outcome_side"], found["time"]) == ("12.00", "no", 1795649006.5)


def test_no_url_subscribes_to_anything(client: FlaskClient, access: Access) -> None:
    for path in ("/books/OTHER", "/stream/OTHER"):
        found = client.get(path, environ_overrides=THREADS)
        assert (found.status_code, found.get_json()) == (404, {"error": "no market OTHER here"})
    commands = [command for command in access.exchange.commands if "OTHER" in str(command)]
    assert commands == []


def test_S39_a_market_that_the_exchange_does_not_know(access: Access) -> None:
    app, feeds = application(access, KALSHI_TICKERS="KX-A,GONE")
    client = app.test_client()
    wait_until(lambda: client.get("/books/GONE").status_code == 404, 10, "404")
    assert client.get("/books/GONE").get_json()["status"] == "UNKNOWN"
    wait_until(lambda: client.get("/books/KX-A").status_code == 200, 10, "the other book")
    known, unknown = client.get("/books").get_json()["books"]
    assert (known["status"], unknown["status"]) == ("LIVE", "UNKNOWN") and "error" not in known
    assert unknown["error"].startswith(
        "the exchange does not know the market GONE: write the market's whole ticker"
    )
    wait_until(lambda: len(access.exchange.commands) == 2, 10, "both subscriptions")
    asked = len(access.exchange.commands)
    for _ in range(5):
        assert client.get("/books/GONE").status_code == 404
    assert len(access.exchange.commands) == asked, "a request does not make this server ask the exchange"
    assert client.get("/health").get_json()["status"] == "degraded"
    assert client.get("/stream/GONE", environ_overrides=THREADS).status_code == 200
    access.exchange.add_market("GONE", yes={"0.40": 10})  # listed at last
    desk_of(app).feed.wait_for_book("GONE", timeout=10)
    wait_until(lambda: client.get("/books/GONE").status_code == 200, 10, "the book")
    feeds.close(app)


def test_a_cut_feed_and_its_return(client: FlaskClient, access: Access) -> None:
    assert client.get("/health").get_json()["status"] in ("ok", "degraded")
    access.exchange.reject_next(1000, 503)
    access.exchange.reset()
    wait_until(lambda: client.get("/health").status_code == 503, 5, "the feed to notice")
    found = client.get("/books/KX-A")
    book = found.get_json()
    assert (found.status_code, book["status"]) == (503, "STALE") and book["yes"], (
        "what was last known is still there"
    )
    assert "not connected to wss://127.0.0.1" in book["error"]
    assert client.get("/books").get_json()["books"][0]["status"] == "STALE"
    access.exchange.behave()
    wait_until(lambda: client.get("/books/KX-A").status_code == 200, 20, "the book to be LIVE again")
    assert client.get("/health").status_code == 200


def test_a_feed_that_has_failed_is_reported_everywhere(access: Access) -> None:
    access.exchange.reject_next(1000, 403)
    app, feeds = application(access, KALSHI_PATIENCE=0.3, KALSHI_STREAM_INTERVAL=0.01)
    client = app.test_client()
    wait_until(lambda: client.get("/books").get_json()["feed"]["state"] == "FAILED", 10, "the refusal")
    assert client.get("/health").status_code == 503
    found = client.get("/books/KX-A")
    assert found.status_code == 503 and "403" in found.get_json()["error"]
    stream = client.get("/stream", environ_overrides=THREADS, buffered=False)
    chunks = iter(stream.response)  # type: ignore[arg-type]
    assert '"state":"FAILED"' in str(next(chunks)) + str(next(chunks))
    stream.close()
    feeds.close(app)


def test_callbacks_are_registered_before_the_start(access: Access) -> None:
    app = application(access)[0]
    feeds = FeedExtension(name="mine")
    seen: list[str] = []

    @feeds.on_start
    def prepare(feed: KalshiFeed) -> None:
        seen.append(feed.state.value)
        feed.on_snapshot(lambda snapshot: seen.append(snapshot.market_ticker))

    feeds.init_app(app)
    assert seen == [], "the trial feed that only checks the configuration reaches no callback"
    with app.app_context():
        assert feeds.feed.wait_for_book("KX-B", timeout=10).is_live
        wait_until(lambda: len(seen) == 3, 5, "both snapshots")
        assert any(thread.name.startswith("mine-") for thread in threading.enumerate()), (
            "KalshiFeed's own arguments are passed on"
        )
    assert seen[0] == "IDLE" and sorted(seen[1:]) == ["KX-A", "KX-B"]
    feeds.close(app)


def test_two_applications_have_a_feed_each(access: Access) -> None:
    apps = [application(access, KALSHI_TICKERS=ticker) for ticker in ("KX-A", "KX-B")]
    feeds = FeedExtension()
    for app, _ in apps:
        feeds.init_app(app)
    found = []
    for app, _ in apps:
        with app.app_context():
            found.append(feeds.feed)
    assert [list(feed.books) for feed in found] == [["KX-A"], ["KX-B"]]
    for app, _ in apps:
        feeds.close(app)


def test_a_server_without_threads_gets_no_streams(client: FlaskClient) -> None:
    """One stream would keep a sync worker of gunicorn busy for good."""
    found = client.get("/stream")
    assert found.status_code == 501 and "--threads" in found.get_json()["error"]
    assert desk_of(client.application).slots.taken == 0
    assert client.head("/stream", environ_overrides=THREADS).status_code == 200
    assert desk_of(client.application).slots.taken == 0, "HEAD holds no slot"


def test_metrics(client: FlaskClient) -> None:
    pytest.importorskip(
        "kalshi_feed.contrib.prometheus", reason="prometheus_client is not installed: /metrics is not tested"
    )
    for _ in range(2):
        found = client.get("/metrics")
        assert found.status_code == 200 and found.content_type.startswith("text/plain")
        assert "kalshi_feed_health" in found.text and "kalshi_feed_messages" in found.text


def test_metrics_without_the_extra_say_what_to_install(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in ("kalshi_feed.contrib.flask.metrics", "kalshi_feed.contrib.prometheus"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    found = client.get("/metrics")
    assert (
        found.status_code == 501
        and "install kalshi-feed[prometheus]: pip install " in found.get_json()["error"]
    )


def test_the_page_needs_nothing_from_elsewhere(client: FlaskClient) -> None:
    """This also holds if the blueprint has a prefix. The policy forbids inline scripts and styles."""
    found = client.get("/", buffered=True)
    policy = found.headers["Content-Security-Policy"]
    assert (
        found.status_code == 200
        and "default-src 'none'" in policy
        and "unsafe" not in policy
        and "http" not in policy
    )
    text = found.text
    links = re.findall(r'(?:href|src)="([^"]+)"', text)
    assert len(links) == 5
    for link in set(links) - {"books", "#"}:
        assert client.get("/" + link, buffered=True).status_code == 200, link
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)
    for file in PAGE.iterdir():
        outside = set(
            re.findall(
                r"(?:https?:)?//[\w.]+", re.sub(r"^\s*//.*| // .*", "", file.read_text("utf-8"), flags=re.M)
            )
        )
        assert outside <= {"http://www.w3.org"}, file.name  # SVG's namespace, which is never fetched


def test_a_prefix_and_a_name(access: Access) -> None:
    app, feeds = application(access)
    app.register_blueprint(feed_blueprint("again"), url_prefix="/state")
    client = app.test_client()
    # so that the page's relative links are right
    assert client.get("/state").headers["Location"].endswith("/state/")
    assert [client.get(path, buffered=True).status_code for path in ("/state/", "/state/page/page.js")] == [
        200,
        200,
    ]
    feeds.close(app)


def test_without_flask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    for name in [name for name in sys.modules if name.startswith("kalshi_feed.contrib.flask")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flask", None)
    with pytest.raises(ImportError, match=r"kalshi-feed\[flask\]"):
        importlib.import_module("kalshi_feed.contrib.flask")
    assert flask.__name__ == "flask"
