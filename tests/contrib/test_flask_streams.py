"""Server-sent events: always the newest, nothing queued, limited clients, slow and lost ones dropped."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed.contrib.flask.streams import Slots, events
from kalshi_feed.simulator import Exchange
from tests.cli.support import Access
from tests.support import wait_until

from .support import Event, application, desk_of, events_of, get, serving, stream

BIG = 60  # markets, so that a stream has plenty to send


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Access]:
    """An exchange in which only the test makes things happen."""
    with Exchange() as exchange:
        for ticker in ("KX-A", "KX-B"):
            exchange.add_market(ticker, yes={"0.40": 100}, no={"0.50": 100})
        yield Access(exchange, tmp_path / "access")


def until(found: Iterator[Event], kind: str, **wanted: Any) -> Event:
    """The first event of this kind with these values."""
    return next(
        event
        for event in found
        if event.kind == kind and all(event.data[name] == value for name, value in wanted.items())
    )


def test_each_look_sends_only_the_newest(quiet: Access) -> None:
    app, feeds = application(quiet, KALSHI_STREAM_INTERVAL=0.001)
    state = desk_of(app)
    for ticker in ("KX-A", "KX-B"):
        state.feed.wait_for_book(ticker, timeout=10)
    client = events(state, None)
    assert next(client) == "retry: 1000\n\n"
    first = events_of(next(client))
    assert [(event.kind, event.data.get("market_ticker")) for event in first] == [
        ("history", "KX-A"),
        ("book", "KX-A"),
        ("history", "KX-B"),
        ("book", "KX-B"),
        ("feed", None),
    ]
    version = state.feed.book("KX-A").version
    for _ in range(500):  # while this client reads nothing
        quiet.exchange.change("KX-A", "yes", "0.41", "1")
    wait_until(lambda: state.feed.book("KX-A").version == version + 500, 10, "all changes")
    changed = [event for event in events_of(next(client)) if event.kind == "book"]
    assert len(changed) == 1 and changed[0].data["yes"][0] == ["0.4100", "500.00"]
    client.close()
    feeds.close(app)


def test_trades_between_two_looks_all_come_once(access: Access) -> None:
    app, feeds = application(access, KALSHI_STREAM_INTERVAL=0.01)
    state = desk_of(app)
    client = events(state, "KX-A")
    numbers: list[int] = []
    for chunk in client:
        for event in events_of(chunk):
            if event.kind == "history":
                numbers += [trade["number"] for trade in event.data["trades"]]
            elif event.kind == "trade":
                assert event.data["market_ticker"] == "KX-A"
                numbers.append(event.data["number"])
        if len(numbers) > 15:
            break
    assert numbers == list(range(1, len(numbers) + 1))
    feeds.close(app)


def test_earlier_prices_and_trades_come_first(access: Access) -> None:
    app, feeds = application(access)
    state = desk_of(app)
    wait_until(
        lambda: len(state.tape.prices("KX-A")) > 2 and len(state.tape.trades("KX-A")) > 2, 15, "a history"
    )
    history = events_of("".join(itertools.islice(events(state, "KX-A"), 2)))[0]
    assert history.kind == "history" and len(history.data["prices"]) > 2 and len(history.data["trades"]) > 2
    times = [when for when, _ in history.data["prices"]]
    assert all(after - before >= 0.99 for before, after in itertools.pairwise(times)), "a second apart"
    assert all(0 < Decimal(mid) < 1 for _, mid in history.data["prices"])
    feeds.close(app)


def test_a_stream_follows_its_book_and_says_when_it_is_stale(quiet: Access) -> None:
    app, feeds = application(quiet, KALSHI_STREAM_INTERVAL=0.02, KALSHI_STREAM_HEARTBEAT=0.2)
    with serving(app, feeds) as port, stream(port, "/stream/KX-A") as found:
        until(found, "book", status="LIVE")
        assert next(event for event in found if event.kind == ":").data == ": heartbeat"
        quiet.exchange.change("KX-B", "yes", "0.41", "7")
        quiet.exchange.change("KX-A", "yes", "0.42", "7")
        assert until(found, "book").data["yes"][0] == ["0.4200", "7.00"], "and nothing about other markets"
        quiet.exchange.reject_next(1000, 503)
        quiet.exchange.reset()
        missing = {"STALE", "down"}
        for event in found:
            if event.kind == "book":
                missing.discard(event.data["status"])
            elif event.kind == "feed":
                missing.discard(event.data["health"]["status"])
            if not missing:
                break
        quiet.exchange.behave()
        assert until(found, "book", status="LIVE").data["yes"][0] == ["0.4200", "7.00"]


def test_only_so_many_at_once(quiet: Access) -> None:
    app, feeds = application(quiet, KALSHI_STREAM_CLIENTS=2, KALSHI_STREAM_HEARTBEAT=0.1)
    with serving(app, feeds) as port:
        with stream(port) as first, stream(port, "/stream/KX-A") as second:
            next(first), next(second)
            status, said = get(port, "/stream")
            assert status == 503 and "2 streams are open" in said["error"]
            assert get(port, "/books")[0] == 200, "other requests are answered"
        wait_until(lambda: desk_of(app).slots.taken == 0, 5, "the server to notice that the clients are gone")
        with stream(port) as again:
            next(again)


def test_a_client_that_does_not_read_is_dropped(tmp_path: Path) -> None:
    with Exchange(markets=BIG, rate=1500) as exchange:
        access = Access(exchange, tmp_path / "access")
        app, feeds = application(
            access,
            KALSHI_TICKERS=exchange.market_tickers,
            KALSHI_STREAM_INTERVAL=0.02,
            KALSHI_STREAM_TIMEOUT=0.5,
        )
        with serving(app, feeds) as port, stream(port) as reader, socket.socket() as slow:
            next(reader)
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.settimeout(10)
            slow.connect(("127.0.0.1", port))
            slow.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            slots = desk_of(app).slots
            wait_until(lambda: slots.taken == 2, 10, "both streams")
            deadline = time.monotonic() + 20
            for event in reader:  # still gets everything new
                if slots.taken == 1:
                    break
                assert time.monotonic() < deadline, f"the slow client is still there, {event}"
            until(reader, "book", status="LIVE")


def test_all_end_with_the_feed(quiet: Access) -> None:
    app, feeds = application(quiet)
    with serving(app, feeds) as port, stream(port) as found:
        until(found, "book", status="LIVE")
        feeds.close(app)
        assert list(found)[-1].data["state"] == "CLOSED"


def test_slots() -> None:
    slots = Slots(1)
    assert slots.take() and not slots.take()
    slots.give_back()
    assert slots.take()
