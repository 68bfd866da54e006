"""What is known about markets, in words and on the screen: titles, times, closed and settled markets."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from rich.cells import cell_len

from kalshi_feed import KalshiFeed
from kalshi_feed.books.book import Book
from kalshi_feed.cli.about import about_of
from kalshi_feed.cli.changes import event_json, event_text
from kalshi_feed.cli.check import market_step, unknown_market
from kalshi_feed.cli.keys import Choice, anchored, pressed
from kalshi_feed.cli.layout import layout_for
from kalshi_feed.cli.model import About, MarketRow, Room, Screen, Shows, ladder_of
from kalshi_feed.cli.monitor import Monitor
from kalshi_feed.cli.render import draw, plain_line
from kalshi_feed.connection.url import parse_url
from kalshi_feed.errors import UnknownMarketError
from kalshi_feed.events import Event, GapFilled, MarketChange
from kalshi_feed.messages.listed import market_in
from kalshi_feed.simulator import Exchange
from tests.support import wait_until

NOW = datetime(2026, 8, 5, 12, 0, tzinfo=timezone.utc)


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("fields", "word", "when", "is_over"),
    [
        ({"status": "active", "close_time": at(252)}, "", "closes in 4:12", False),
        ({"status": "active", "close_time": at(3 * 3600 + 5)}, "", "closes in 3:00:05", False),
        ({"status": "active", "close_time": at(28 * 3600)}, "", "closes in 1 d 4 h", False),
        ({"status": "active"}, "", "", False),
        (
            {"status": "initialized", "open_time": at(5), "close_time": at(900)},
            "not open",
            "opens in 0:05",
            False,
        ),
        ({"status": "inactive", "close_time": at(60)}, "paused", "closes in 1:00", False),
        ({"status": "active", "close_time": at(-42)}, "closed", "closed 0:42 ago", True),
        ({"status": "closed", "close_time": at(60)}, "closed", "", True),
        (
            {"status": "finalized", "result": "yes", "close_time": at(-1)},
            "settled yes",
            "closed 0:01 ago",
            True,
        ),
        (
            {"status": "finalized", "result": "scalar", "settlement_value_dollars": "0.43"},
            "settled 0.4300",
            "",
            True,
        ),
        ({"status": "determined"}, "closed", "", True),
        ({"status": "finalized"}, "settled", "", True),
    ],
)
def test_what_is_said(fields: dict[str, Any], word: str, when: str, is_over: bool) -> None:
    market = market_in({"ticker": "KX-A", "title": "Rain\x1b?", **fields})
    assert about_of(market, NOW) == About("Rain\N{REPLACEMENT CHARACTER}?", word, when, is_over)


TITLE = "Bitcoin price up in the next 15 minutes?: Target price $95,123.45"
OPEN, SETTLED = About(TITLE, "", "closes in 4:12"), About(TITLE, "settled yes", "closed 0:12 ago", True)


def screen_of(about: About, *, quote: bool = False) -> Screen:
    book = Book("KXBTC15M-26AUG051215-15")
    book.empty(1, 0, 1.0)
    ladder = replace(ladder_of(book.view(1.0, 1.0), 5), status="LIVE", about=about)
    row = MarketRow(ladder.market_ticker, "" if quote else "LIVE", about=about)
    return Screen(
        "feed",
        "CONNECTED",
        1.0,
        replace(ladder, quote=row if quote else None),
        markets=2,
        rows=(row, replace(row, about=None)),
        shows=Shows(books=not quote, others=quote, trades=not quote),
    )


@pytest.mark.parametrize(
    "about",
    [OPEN, SETTLED, replace(OPEN, word="paused"), replace(OPEN, word="not open")],
    ids=lambda one: one.word or "open",
)
@pytest.mark.parametrize("quote", [False, True])
@pytest.mark.parametrize(("width", "height"), [(24, 10), (80, 24), (112, 30), (200, 50)])
def test_the_title_and_the_time_to_close_fit(about: About, quote: bool, width: int, height: int) -> None:
    screen = screen_of(about, quote=quote)
    layout = layout_for(width, height, 2, screen.shows, describes=True)
    lines = [line.plain for line in draw(screen, layout)]
    assert len(lines) == height and {cell_len(line) for line in lines} == {width}
    text = "\n".join(lines)
    if width >= 80:
        assert TITLE[:60] in text and about.when in text
        assert about.word in text and ("no one sells yes" in text) is (
            about.word in ("", "paused") and not quote
        )
    if about.is_over:
        assert ("LIVE" in lines[2] + lines[3] + lines[4]) is False
        assert "settled yes" in plain_line(screen, 0, 1.0)


def test_a_market_that_is_over_is_not_misspelled() -> None:
    with Exchange(tls=False) as exchange:
        exchange.add_market("KX-A", yes={"0.40": 100})
        with KalshiFeed(exchange.credentials, url=exchange.url) as feed:
            monitor = Monitor(feed, ("KX-A",), "t")
            feed.subscribe("orderbook_delta", "KX-A")
            feed.wait_for_book("KX-A", timeout=10)
            exchange.remove_market("KX-A")
            exchange.reset()
            wait_until(lambda: feed.book("KX-A").view().status.value == "UNKNOWN")
            screen = monitor.screen(Room(5, 0, 0, 0))
    text = " ".join(" ".join(line.plain for line in draw(screen, layout_for(80, 24, 1))).split())
    assert "no longer knows this market" in text and "the market is over: leave it out" in text
    assert "whole ticker" not in text


def test_the_chosen_market_stays_chosen_wherever_it_is() -> None:
    before = ("KX-1", "KX-2", "KX-3")
    assert anchored(Choice(), before) == Choice()
    chosen = pressed(Choice(), "2", before)
    assert chosen == Choice(selected=1, ticker="KX-2")
    moved = anchored(chosen, ("KX-3", "KX-4", "KX-1", "KX-2"))
    assert moved == Choice(selected=3, ticker="KX-2")
    assert anchored(moved, ("KX-3", "KX-4")) == Choice()  # it has left: the first one again
    assert pressed(Choice(), "x", before) == Choice()
    assert pressed(Choice(), "1", before) == Choice(ticker="KX-1")  # the first one was chosen, too


MARKET = market_in(
    {"ticker": "KX-1", "event_ticker": "KX", "title": "Rain?", "open_time": at(0), "close_time": at(900)}
)


SETTLED_NO = market_in({"ticker": "KX-1", "result": "no"})
EVENTS = (
    (
        MarketChange("KX-1", "KX", "KX", "announced", MARKET),
        "KX-1 announced: Rain? (opens 2026-08-05T12:00:00Z)",
    ),
    (MarketChange("KX-1", "KX", "KX", "opened", MARKET), "KX-1 opened: Rain? (closes 2026-08-05T12:15:00Z)"),
    (MarketChange("KX-1", "KX", "KX", "closed", MARKET), "KX-1 closed"),
    (MarketChange("KX-1", "KX", "KX", "settled", SETTLED_NO), "KX-1 settled no"),
    (GapFilled("trade", NOW, NOW, ("KX-1",), 2, 1, True), "gap on trade filled: 2 messages found"),
    (
        GapFilled("trade", NOW, NOW, (), 1, 0, False, "REST is away"),
        "gap on trade filled: 1 message found, some may be missing: REST is away",
    ),
)


@pytest.mark.parametrize(("event", "text"), EVENTS)
def test_events_as_text_and_as_json(event: Any, text: str) -> None:
    assert event_text(event, "12:00:00") == f"12:00:00 {text}"
    record = json.loads(event_json(event, NOW))
    kind = "feed_market" if isinstance(event, MarketChange) else "feed_gap_filled"
    assert (record["type"], record["text"], record["time"]) == (kind, text, NOW.isoformat())
    assert isinstance(event, Event) and record.items() >= event.to_dict().items()


def test_check_says_what_rest_knows() -> None:
    assert (market_step(OPEN, 0.1).status, market_step(OPEN, 0.1).found) == (
        "ok",
        f"{TITLE} (closes in 4:12)",
    )
    over = market_step(SETTLED, 0.1)
    assert (
        over.status == "warning"
        and "(settled yes, closed 0:12 ago)" in over.found
        and "leave it out" in over.advice[0]
    )
    error, kalshis = UnknownMarketError("KX-A"), parse_url("wss://api.kalshi.com/x")
    assert any("--env" in text for text in unknown_market(error, kalshis, None).advice)
    other = parse_url("wss://evilkalshi.com/x")
    assert not any("--env" in text for text in unknown_market(error, other, None).advice)
    known = unknown_market(error, kalshis, SETTLED)
    assert (
        "REST does know it" in known.found
        and "settled yes" in known.found
        and "whole ticker" not in str(known.advice)
    )
