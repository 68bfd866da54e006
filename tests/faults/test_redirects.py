"""H06 and H14: a redirect is never followed. It is the server's mistake, and it passes."""

# mypy: no-strict-equality

from __future__ import annotations

import logging

import pytest

from kalshi_feed import FeedState, HandshakeRejected, ReconnectPolicy
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import RawServer
from tests.faults.support import Script, first_retry, of, says
from tests.feed.support import A, FeedMaker, HurriedFeed, Recorder
from tests.support import wait_until


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["ws", "wss", "http", "https"])
def test_H06_H14_redirects_are_refused_and_the_target_named(
    code: int, scheme: str, make_feed: FeedMaker
) -> None:
    with RawServer(Script()) as other:
        location = f"Location: {scheme}://u:hunter2@localhost:{other.port}/el\x1bsewhere?token=hunter2"
        script = Script(says(f"{code} Moved", location))
        with RawServer(script) as server:
            change = first_retry(*of(make_feed, server))
        assert other.connections == 0
    assert f"handshake with {code}" in change.reason and f"{scheme}://localhost/el sewhere" in change.reason
    assert "hunter2" not in change.reason
    assert change.delay is not None and 2.5 <= change.delay <= 5
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "location", [[], ["Location: /trade-api/ws/v2"], ["Location: //[["], ["Location: " + "x" * 60_000]]
)
def test_H06_odd_targets(location: list[str], make_feed: FeedMaker) -> None:
    script = Script(says("302 Found", *location))
    with RawServer(script) as server:
        change = first_retry(*of(make_feed, server))
    assert len(script.requests) == 1 and len(change.reason) < 600


def test_H14_maintenance_passes(
    exchange: Exchange, make_feed: FeedMaker, caplog: pytest.LogCaptureFixture
) -> None:
    exchange.reject_next(1, 302, {"Location": "https://status.example/maintenance"})
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().wait_for_book(A, 10)
    assert [handshake.status for handshake in exchange.handshakes] == [302, 101]
    wait_until(lambda: len(heard.steps()) >= 3)
    assert heard.steps() == [FeedState.CONNECTING, FeedState.RECONNECTING, FeedState.CONNECTED]
    warnings = [
        record
        for record in caplog.records
        if record.name == "kalshi_feed" and record.levelno >= logging.WARNING
    ]
    assert [record.levelno for record in warnings] == [logging.WARNING]
    assert (
        "https://status.example/maintenance" in warnings[0].getMessage()
        and "next attempt (1)" in warnings[0].getMessage()
    )


def test_H14_every_one_of_them_is_a_warning(
    exchange: Exchange,
    make_feed: FeedMaker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That includes those after a healthy session, and no number of them ends the feed."""
    monkeypatch.setattr("kalshi_feed.session.retry._SLOW_DELAY", 0.02)
    feed = make_feed(HurriedFeed)
    heard = Recorder(feed)
    feed.start().wait_for_book(A, 5)
    exchange.reject_next(8, 307, {"Location": "/"})
    exchange.disconnect()
    wait_until(lambda: heard.steps().count(FeedState.CONNECTED) == 2)
    said = [record.getMessage() for record in caplog.records if "handshake with 307" in record.getMessage()]
    assert len(said) == 8
    assert feed.wait_for_book(A, 5).is_live


@pytest.mark.parametrize(
    ("policy", "dials"), [(ReconnectPolicy.never(), 1), (ReconnectPolicy(2, 0.0, 0.0), 3)]
)
def test_H14_the_policy_decides_as_for_any_other_loss(
    policy: ReconnectPolicy,
    dials: int,
    exchange: Exchange,
    make_feed: FeedMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kalshi_feed.session.retry._SLOW_DELAY", 0.02)
    exchange.reject_next(9, 302, {"Location": "https://elsewhere.example/"})
    feed = make_feed(reconnect=policy)
    with pytest.raises(HandshakeRejected, match="if the exchange has moved, pass its new url") as caught:
        feed.start().wait_until_connected(10)
    assert caught.value.status == 302 and len(exchange.handshakes) == dials
    assert feed.state is FeedState.FAILED
