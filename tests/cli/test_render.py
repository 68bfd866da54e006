"""The view model and its looks: one-sided, empty and stale books, small terminals, text from outside."""

from __future__ import annotations

import io
from decimal import Decimal

import pytest
from rich.console import Console

from kalshi_feed.cli.model import Line, Room, Screen, ladder_of, printable, quote, row_of
from kalshi_feed.cli.monitor import note_of
from kalshi_feed.cli.render import draw, fitting, plain_line
from kalshi_feed.orderbook import BookStatus, BookView
from kalshi_feed.session.events import FeedFault, FeedState, Gap, StateChange

ROOM = Room(depth=5, rows=5, trades=5, notes=3)
YES, NO = {5400: 10_000, 5300: 2_500, 100: 1}, {4400: 5_000}


def book(yes: dict[int, int], no: dict[int, int], status: BookStatus = BookStatus.LIVE, ticker: str = "KX-A") -> BookView:
    pending = status is BookStatus.PENDING
    return BookView(ticker, status, 3, None if pending else 7, None, None if pending else 2.5, 1e9, yes, no)


def screen_of(view: BookView, room: Room = ROOM, markets: int = 1) -> Screen:
    rows = tuple(row_of(view, Decimal("0.55")) for _ in range(min(markets, room.rows)))
    trade = Line("12:00:00.000", "KX-A yes 0.5400 × 3.00", "yes")
    return Screen(
        title="a feed",
        state="CONNECTED",
        elapsed=3.0,
        ladder=ladder_of(view, room.depth),
        rows=rows,
        hidden_rows=max(0, markets - room.rows),
        trades=(trade,) * room.trades,
        notes=(trade,) * room.notes,
        statuses={view.status.value: markets},
    )


def seen(screen: Screen, width: int = 120, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(draw(screen, width))
    return capture.get()


def test_ladder_has_both_sides_on_the_yes_scale() -> None:
    ladder = ladder_of(book(YES, NO), 2)
    assert [(rung.price, rung.quantity) for rung in ladder.bids] == [
        (Decimal("0.5400"), Decimal("100.00")),
        (Decimal("0.5300"), Decimal("25.00")),
    ]
    assert [(rung.price, rung.other_price) for rung in ladder.asks] == [(Decimal("0.5600"), Decimal("0.4400"))]
    assert [rung.share for rung in (*ladder.bids, *ladder.asks)] == [1.0, 0.25, 0.5]
    assert (ladder.spread, ladder.mid) == (Decimal("0.0200"), Decimal("0.5500"))


def test_two_sided() -> None:
    text = seen(screen_of(book(YES, NO)))
    asked, middle, bid = (text.index(part) for part in ("0.5600", "spread  0.0200", "0.5400   0.4600"))
    assert asked < middle < bid
    assert "█" * 18 in text and "changed 2.5 s ago" in text


@pytest.mark.parametrize(
    ("yes", "no", "shown", "line"),
    [
        (YES, {}, ["nobody sells yes", "0.5400"], "yes 0.5400 × 100.00 / -"),
        ({}, NO, ["nobody buys yes", "0.5600"], "yes - / 0.5600 × 50.00"),
        ({}, {}, ["nobody buys yes", "nobody sells yes", "spread  -"], "yes - / -"),
    ],
    ids=["only yes", "only no", "empty"],
)
def test_sides_without_bids(yes: dict[int, int], no: dict[int, int], shown: list[str], line: str) -> None:
    screen = screen_of(book(yes, no))
    text = seen(screen)
    assert all(part in text for part in shown), text
    assert line in plain_line(screen, 0, 1.0)


def test_stale_and_pending_books_say_so() -> None:
    stale = seen(screen_of(book(YES, NO, BookStatus.STALE)))
    assert "KX-A STALE" in stale and "what was last known" in stale and "0.5400" in stale
    pending = seen(screen_of(book({}, {}, BookStatus.PENDING)))
    assert "KX-A PENDING" in pending and "no change yet" in pending


def test_half_a_tick_in_the_middle() -> None:
    assert "0.54505" in seen(screen_of(book({5400: 100}, {4499: 100})))


@pytest.mark.parametrize("height", [24, 30, 40, 60])
@pytest.mark.parametrize("width", [80, 99, 100, 120, 200])
def test_it_fits(width: int, height: int) -> None:
    many = dict.fromkeys(range(100, 9000, 100), 12345678)
    view = book(many, dict.fromkeys(range(100, 900, 10), 1), ticker="KXNCAAFGAME-25OCT11ALAMIZZ-ALABAMA-LONG")
    text = seen(screen_of(view, fitting(width, height), markets=50), width, height)
    assert len(text.splitlines()) <= height, text
    assert max(map(len, text.splitlines())) <= width


def test_tiny_terminals_do_no_harm() -> None:
    for width, height in ((1, 1), (20, 5), (60, 15)):
        seen(screen_of(book(YES, NO), fitting(width, height), markets=3), width, height)


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    assert printable("KX\x1b[31m\x9b\r\n") == "KX�[31m���"
    text = seen(screen_of(book(YES, NO, ticker="KX\x1b[2J[red]")))
    assert "\x1b" not in text and "[red]" in text
    note, style = note_of(FeedFault("protocol", "bad frame \x1b[2J"))
    assert "\x1b" not in note and style == "bad"


def test_notes() -> None:
    lost = StateChange(FeedState.CONNECTED, FeedState.RECONNECTING, "reset", attempt=2, delay=0.75)
    assert note_of(lost) == ("RECONNECTING: reset; attempt 2 in 0.8 s", "bad")
    assert note_of(Gap("orderbook_delta", 1, 5, 7, ("A",)))[0] == "gap on orderbook_delta, 1 market: sequence gap"
    assert quote(None, None) == "- / -"
