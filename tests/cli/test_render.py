"""The view model and its looks: one-sided, empty and stale books, every size of terminal, text from
outside."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from rich.cells import cell_len

from kalshi_feed.books.book import BookStatus, BookView
from kalshi_feed.books.levels import Levels
from kalshi_feed.cli.layout import TWO_SIDED, layout_for
from kalshi_feed.cli.model import (
    Figures,
    MarketRow,
    NoteLine,
    Room,
    Screen,
    Shows,
    TradeLine,
    ladder_of,
    level_counts,
    printable,
    quote,
    row_of,
)
from kalshi_feed.cli.notes import note_of
from kalshi_feed.cli.render import draw, plain_line
from kalshi_feed.events import FeedFault, FeedState, Gap, Lagged, StateChange
from kalshi_feed.messages.values import Level

ROOM = Room(depth=5, rows=5, trades=5, notes=3)
YES, NO = {5400: 10_000, 5300: 2_500, 100: 1}, {4400: 5_000}
DEEP = {price: 12_345_678 + price for price in range(100, 4_500, 100)}
LONG = "KXNCAAFGAME-25OCT11ALAMIZZ-ALABAMA-LONG"


def book(
    yes: dict[int, int], no: dict[int, int], status: BookStatus = BookStatus.LIVE, ticker: str = "KX-A"
) -> BookView:
    pending, levels = status is BookStatus.PENDING, Levels()
    levels.put(yes, no)
    return BookView(ticker, status, 3, None if pending else 7, None, None if pending else 2.5, 1e9, levels)


def screen_of(view: BookView, room: Room = ROOM, markets: int = 1, selected: int = 0) -> Screen:
    row = row_of(view, Decimal("0.55"))
    trade = TradeLine("12:00:00.000", "yes", Decimal("0.5400"), Decimal("3.00"))
    return Screen(
        title="a feed",
        state="CONNECTED",
        elapsed=3725.0,
        ladder=ladder_of(view, room.depth),
        selected=selected,
        markets=markets,
        rows=(row,) * min(markets, room.rows),
        trades=(trade,) * room.trades,
        notes=(NoteLine("12:00:00.000", "a note that is longer than a narrow terminal has columns", "bad"),)
        * room.notes,
        statuses={view.status.value: markets},
    )


def seen(
    view: BookView, width: int = 120, height: int = 40, markets: int = 1, selected: int = 0
) -> list[str]:
    layout = layout_for(width, height, markets)
    return [line.plain for line in draw(screen_of(view, layout.room, markets, selected), layout)]


def text_of(view: BookView, width: int = 120, height: int = 40, markets: int = 1) -> str:
    return "\n".join(seen(view, width, height, markets))


def line_with(part: str, lines: list[str]) -> int:
    found = [place for place, line in enumerate(lines) if part in line]
    assert len(found) == 1, (part, lines)
    return found[0]


def test_ladder_has_both_sides_on_the_yes_scale() -> None:
    ladder = ladder_of(book(YES, NO), 2)
    assert [(rung.price, rung.quantity) for rung in ladder.bids] == [
        (Decimal("0.5400"), Decimal("100.00")),
        (Decimal("0.5300"), Decimal("25.00")),
    ]
    assert [(rung.price, rung.other_price) for rung in ladder.asks] == [
        (Decimal("0.5600"), Decimal("0.4400"))
    ]
    assert [rung.share for rung in (*ladder.bids, *ladder.asks)] == [1.0, 0.25, 0.5]
    assert (ladder.spread, ladder.mid) == (Decimal("0.0200"), Decimal("0.5500"))


def test_totals_grow_away_from_the_middle() -> None:
    ladder = ladder_of(book(YES, {4400: 5_000, 4300: 100}), 5)
    assert [str(rung.total) for rung in ladder.bids] == ["100.00", "125.00", "125.01"]
    assert [str(rung.total) for rung in ladder.asks] == ["50.00", "51.00"]


def test_levels_that_have_just_changed_are_marked() -> None:
    before, now = book(YES, NO), book(YES | {5400: 9_000, 5200: 100}, {4400: 6_000})
    ladder = ladder_of(now, 5, before=before)
    assert [str(rung.change) for rung in (*ladder.asks, *ladder.bids)] == [
        "10.00",
        "-10.00",
        "0.00",
        "1.00",
        "0.00",
    ]
    for width in (40, 80, 160):
        layout = layout_for(width, 24, 1)
        lines = [line.plain for line in draw(Screen("t", "CONNECTED", 1.0, ladder=ladder, markets=1), layout)]
        marks = {
            price: lines[line_with(price, lines)]
            for price in ("0.56   0.44", "0.54   0.46", "0.53   0.47", "0.52   0.48")
        }
        assert [("▲" in line, "▼" in line) for line in marks.values()] == [
            (True, False),
            (False, True),
            (False, False),
            (True, False),
        ]
    unchanged = ladder_of(now, 5)
    assert not any(rung.change for rung in (*unchanged.asks, *unchanged.bids))


def test_asks_stand_above_the_middle_and_bids_below() -> None:
    lines = seen(book(YES, NO))
    ask, middle, bid = (line_with(part, lines) for part in ("0.56   0.44", "spread 0.02", "0.54   0.46"))
    assert ask + 1 == middle == bid - 1
    assert "mid 0.55   0.45" in lines[middle]
    assert "KX-A  LIVE" in lines[3] and "seq 7  2.5 s ago" in lines[3]
    assert "CONNECTED  1:02:05" in lines[0]
    asked, was_bid = lines[ask], lines[bid]
    assert asked.index("0.56") < asked.index("█") < asked.index(" 50 ")  # the sizes of asks on the right
    assert was_bid.index(" 100 ") < was_bid.index("█") < was_bid.index("0.54")
    assert (was_bid.count("█"), asked.count("█"), asked.count("▌")) == (11, 5, 1)  # half as long


def test_a_narrow_ladder_has_its_bars_on_one_side() -> None:
    lines = seen(book(YES, NO), TWO_SIDED - 1, 24)
    for size, price in ((" 50 ", "0.56   0.44"), (" 100 ", "0.54   0.46")):
        line = lines[line_with(price, lines)]
        assert line.index(size) < line.index("█") < line.index(price)


def test_the_middle_does_not_move_with_the_levels() -> None:
    places = {line_with("─ mid ", seen(book(yes, no), 80, 24)) for yes in (YES, DEEP) for no in (NO, DEEP)}
    assert len(places) == 1


@pytest.mark.parametrize(
    ("yes", "no", "shown", "line"),
    [
        (YES, {}, ["no one sells yes", "0.54"], "yes 0.5400 × 100.00 / -"),
        ({}, NO, ["no one buys yes", "0.56"], "yes - / 0.5600 × 50.00"),
        ({}, {}, ["no one buys yes", "no one sells yes"], "yes - / -"),
    ],
    ids=["only yes", "only no", "empty"],
)
def test_sides_without_bids(yes: dict[int, int], no: dict[int, int], shown: list[str], line: str) -> None:
    for width in (40, 80, 120):
        text = text_of(book(yes, no), width, 24)
        assert all(part in text for part in shown) and "mid" not in text, text
    assert line in plain_line(screen_of(book(yes, no)), 0, 1.0)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_books_that_are_not_right_say_so(width: int) -> None:
    stale = text_of(book(YES, NO, BookStatus.STALE), width, 24, markets=3)
    assert "STALE" in stale and "0.54" in stale  # and what was last known
    pending = text_of(book({}, {}, BookStatus.PENDING), width, 24)
    assert "KX-A  PENDING" in pending and "waiting for its snapshot" in pending
    for state, text in (
        ("CONNECTING", " connecting …"),
        ("RECONNECTING", " not connected, next attempt in 3 s: "),
        ("CLOSED", " not connected"),
    ):
        screen = replace(
            screen_of(book({}, {}, BookStatus.PENDING)), state=state, retry="in 3 s", reason="refused"
        )
        lines = "\n".join(line.plain for line in draw(screen, layout_for(width, 24, 1)))
        assert text in lines and "waiting for its snapshot" not in lines
    crossed = text_of(book({6000: 100}, {4500: 100}), width, 24, markets=3)
    assert "CROSSED" in crossed and "spread -0.05" in crossed
    assert "CROSSED yes 0.6000" in plain_line(screen_of(book({6000: 100}, {4500: 100})), 0, 1.0)


def test_the_list_tells_of_books_that_are_not_live_where_there_is_room_for_one_thing_only() -> None:
    layout = layout_for(80, 24, 2)
    rows = (row_of(book(YES, NO), None), MarketRow("KX-B", "STALE"))
    lines = [line.plain for line in draw(Screen("t", "CONNECTED", 1.0, markets=2, rows=rows), layout)]
    assert "0.54   0.56" in lines[line_with(" KX-A ", lines)] and "STALE" in lines[line_with(" KX-B ", lines)]


def test_no_book_is_watched() -> None:
    row = MarketRow("KX-A", "", Level(Decimal("0.40"), Decimal(5)), None, Decimal("0.42"))
    ladder = replace(ladder_of(book({}, {}, BookStatus.PENDING), 5), quote=row)
    trade = TradeLine("12:00:00.000", "yes", Decimal("0.4200"), Decimal("3.00"))
    for width, height, markets in ((80, 24, 1), (120, 40, 3), (40, 24, 1), (60, 40, 3), (30, 10, 2)):
        layout = layout_for(width, height, markets)
        screen = Screen(
            "t",
            "CONNECTED",
            1.0,
            ladder=ladder,
            markets=markets,
            rows=(row,) * layout.room.rows,
            trades=(trade,) * 50,
        )
        text = "\n".join(line.plain for line in draw(screen, layout))
        assert "PENDING" not in text and "last 0.42  bid 0.40  ask -" in text
        assert "no book: add --channel" in text
        assert (
            text.count(" yes 0.42 ") > 2 * layout.room.depth - 2 and len(re.findall("trades +got", text)) == 1
        )
    nobody = "\n".join(line.plain for line in draw(replace(screen, trades=()), layout))
    assert "none yet" in nobody
    assert plain_line(screen, 0, 1.0).endswith("  KX-A last 0.4200 yes 0.4000 × 5.00 / -")
    layout = layout_for(80, 24, 1)
    nothing = "\n".join(line.plain for line in draw(Screen("t", "CONNECTED", 1.0), layout))
    assert "no market yet" in nothing


@pytest.mark.parametrize(
    ("shows", "shown", "hidden"),
    [
        (Shows(trades=False), ["0.54   0.46"], ["trades", "messages", "no book"]),
        (Shows(trades=False, others=True), ["0.54   0.46"], ["trades", "no book"]),
        (Shows(books=False, quotes=False), ["last 0.55", "trades"], ["bid", "0 deltas", "messages"]),
        (Shows(books=False, trades=False), ["last 0.55  bid 0.54", "messages"], ["trade", "none yet"]),
        (
            Shows(books=False, quotes=False, trades=False, others=True),
            ["messages"],
            ["trade", "none yet", "KX-A", "last", "market"],
        ),
    ],
    ids=["books", "books, fill", "trade", "ticker", "fill"],
)
def test_only_what_is_subscribed_is_shown(shows: Shows, shown: list[str], hidden: list[str]) -> None:
    for width, height, markets in ((80, 24, 1), (80, 24, 3), (120, 40, 3), (60, 40, 3), (40, 12, 1)):
        layout = layout_for(width, height, markets, shows)
        screen = replace(screen_of(book(YES, NO), layout.room, markets), shows=shows)
        if not shows.books:
            assert screen.ladder is not None
            quoted = replace(screen.ladder, quote=row_of(book(YES, NO), Decimal("0.55")))
            screen = replace(screen, ladder=quoted, statuses={})
        if not shows.trades:
            screen = replace(screen, trades=())
        lines = [line.plain for line in draw(screen, layout)]
        text = "\n".join(lines)
        assert len(lines) == height and {cell_len(line) for line in lines} == {width}
        assert all(part in text for part in shown), text
        if markets == 1:
            assert not any(part in text for part in hidden), text
        assert ("no book: add --channel" in text) == (not shows.books and (shows.trades or width > 40))
        notes = sum("12:00:00.000 a note" in line for line in lines)
        if shows.only_messages:  # they have all the lines that are left
            assert notes == layout.room.notes >= height - 9 - min(markets, 40) and "12:00" in lines[-2]
        elif shows.others and height >= 24:
            assert notes == height // 4


def test_help_lists_the_keys_in_place_of_the_market() -> None:
    for width, height in ((30, 12), (80, 24), (120, 40)):
        layout = layout_for(width, height, 3)
        screen = screen_of(book(YES, NO), layout.room, 3)
        lines = [line.plain for line in draw(screen, layout, helping=True)]
        assert len(lines) == height and {cell_len(line) for line in lines} == {width}
        text = "\n".join(lines)
        assert "CONNECTED" in lines[0] and "next market" in text and "0.54" not in text
        assert lines[-1].startswith(" q quit  ? help")
    assert "Ctrl-Z" in text and "any key closes it" in text


def test_the_foot_shows_the_filter() -> None:
    for width, height in ((30, 12), (80, 24), (120, 40)):
        layout = layout_for(width, height, 3)
        screen = replace(screen_of(book(YES, NO), layout.room, 3), wanted="x-a")
        typed = [line.plain for line in draw(screen, layout, typing=True)]
        assert len(typed) == height and {cell_len(line) for line in typed} == {width}
        assert typed[-1].startswith(" /x-a  ") and typed[-1].endswith(" market 1 of 3 ")
        assert ("Enter keep  Esc all markets" in typed[-1]) == (width >= 80)
        kept = draw(screen, layout)[-1].plain
        assert kept.startswith(" q quit") and kept.endswith("/x-a: market 1 of 3 ")
        assert ("Esc all markets" in kept) == (width >= 80)
        long = draw(replace(screen, wanted="A" * 99 + "Z"), layout, typing=True)[-1].plain
        assert cell_len(long) == width and "AZ " in long
        nothing = draw(replace(screen, ladder=None, markets=0, rows=()), layout)
        assert "/x-a: no market " in nothing[-1].plain
        text = " ".join("\n".join(line.plain for line in nothing).split())
        assert "no market's ticker contains 'x-a'" in text.replace(" │", "")


def test_a_lost_connection_says_when_it_is_tried_again() -> None:
    screen = Screen("t", "RECONNECTING", 1.0, retry="in 3 s", reason="the connection was refused")
    head = draw(screen, layout_for(80, 24, 1))[0].plain
    assert "RECONNECTING in 3 s  0:00:01" in head
    line = plain_line(screen, 0, 1.0)
    assert "  RECONNECTING in 3 s  0 deltas " in line and line.endswith("  the connection was refused")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_what_stands_in_place_of_a_ladder_is_not_cut_off(width: int) -> None:
    reason = "the certificate was not accepted: unable to get local issuer certificate, the last word"
    layout = layout_for(width, 24, 1)
    screen = replace(
        screen_of(book({}, {}, BookStatus.PENDING)), state="RECONNECTING", retry="in 3 s", reason=reason
    )
    refused = [line.plain for line in draw(screen, layout)]
    unknown = seen(book({}, {}, BookStatus.UNKNOWN), width, 24)
    for lines, whole in (
        (refused, f"next attempt in 3 s: {reason}"),
        (unknown, "the event's or the series'"),
    ):
        columns = " ".join(line[: layout.ladder].strip() for line in lines)
        assert whole in columns, "\n".join(lines)


def test_half_a_tick_in_the_middle() -> None:
    lines = seen(book({5400: 100}, {4499: 100}), 80, 24)
    middle, bid = lines[line_with("0.54505", lines)], lines[line_with("0.54   0.46", lines)]
    assert middle.index("0.54505") == bid.index("0.54") - 1 and middle.index("0.45495") == bid.index("0.46")


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (1, "      0.01"),
        (10_000, "    100   "),
        (12_345_678, "123,456.78"),
        (10**8, "    1.000M"),
        (123_456_789_012, "1,234.568M"),
    ],
)
def test_sizes_have_their_points_below_each_other(size: int, shown: str) -> None:
    assert f"{shown} " in text_of(book({5400: size}, {}), 80, 24)


@pytest.mark.parametrize("markets", [1, 200])
@pytest.mark.parametrize("height", [10, 16, 24, 40, 100])
@pytest.mark.parametrize("width", [30, 40, 45, 46, 75, 76, 80, 120, 147, 300])
def test_it_fills_the_terminal_exactly_and_cuts_nothing_that_matters(
    width: int, height: int, markets: int
) -> None:
    lines = seen(book(DEEP, DEEP, ticker=LONG), width, height, markets)
    assert len(lines) == height
    assert {cell_len(line) for line in lines} == {width}
    assert "CONNECTED" in lines[0] and "msg/s" in lines[1] and " q quit " in lines[-1]
    text = "\n".join(lines)
    # best bid, best ask, middle
    assert "0.44   0.56" in text and "0.56   0.44" in text and "0.50   0.50" in text
    assert (f"market 1 of {markets} " in lines[-1]) == (markets > 1)
    assert "-LONG" in text  # the end of a ticker tells the markets of an event apart
    if height >= 16:
        assert text.count("123,4") > 2 and "12:00:00" in text


def test_tiny_terminals_do_no_harm() -> None:
    for width, height in ((1, 1), (5, 2), (20, 5), (30, 3)):
        lines = seen(book(YES, NO), width, height, markets=3)
        assert len(lines) == height and {cell_len(line) for line in lines} == {width}


def test_the_chosen_market_is_marked_without_colour_too() -> None:
    lines = seen(book(YES, NO), 80, 24, markets=3, selected=1)
    assert [line[50:52] for line in lines[4:7]] == [" 1", "▸2", " 3"]
    assert "market 2 of 3" in lines[-1]


def test_what_went_wrong_is_counted_in_the_head() -> None:
    layout = layout_for(80, 24, 1)
    figures = Figures(
        rates=(1234.4, 1.0, 1.0), latency_p50=0.00024, latency_p99=12.0, gaps=2, reconnects=1, dropped=1_000
    )
    lines = draw(Screen("t", "RECONNECTING", 1.0, figures=figures), layout)
    assert "1,234 msg/s  gaps 2  latency 0.24 ms  p99 12 s  reconnects 1  dropped 1,000" in lines[1].plain
    assert "RECONNECTING" in lines[0].plain
    hint = draw(Screen("t", "CONNECTED", 1.0), layout, keys=False)[-1].plain
    assert "Ctrl-C quits" in hint and " q " not in hint


def test_one_is_not_plural() -> None:
    one = Screen("t", "CONNECTED", 1.0, figures=Figures(deltas=1, trades=1, others=1))
    assert plain_line(one, 1, 1.0) == "    1 s  CONNECTED  1 delta (1/s)  1 trade  1 other message"
    assert "  1 delta  1 trade  1 other message  " in draw(one, layout_for(200, 24, 1))[1].plain
    none = Screen("t", "CONNECTED", 1.0)
    assert plain_line(none, 0, 1.0) == "    1 s  CONNECTED  0 deltas (0/s)  0 trades"
    lag = Lagged(1, ("A",), datetime(2026, 1, 1, tzinfo=timezone.utc))
    assert note_of(lag)[0] == "1 message dropped: the callbacks were too slow"
    assert level_counts(1, 2) == "1 yes level, 2 no levels"


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    assert printable("KX\x1b[31m\x9b\r\n") == "KX�[31m���"
    text = text_of(book(YES, NO, ticker="KX\x1b[2J[red]"))
    assert "\x1b" not in text and "[red]" in text
    trade = TradeLine("12:00:00.000", "\x1b[2", None, None)
    lines = draw(Screen("\x1b[2J", "CONNECTED", 1.0, trades=(trade,)), layout_for(80, 24, 1))
    assert not any("\x1b" in line.plain for line in lines)
    note, style = note_of(FeedFault("protocol", "bad frame \x1b[2J"))
    assert "\x1b" not in note and style == "bad"


def test_notes() -> None:
    lost = StateChange(FeedState.CONNECTED, FeedState.RECONNECTING, "reset", attempt=2, delay=0.75)
    assert note_of(lost) == ("RECONNECTING: reset; attempt 2 in 0.8 s", "bad")
    url = "wss://x.example:443/trade-api/ws/v2"
    refused = replace(lost, reason=f"{url}: connecting failed: the connection was refused; check the url")
    assert note_of(refused)[0] == "RECONNECTING: the connection was refused; attempt 2 in 0.8 s"
    assert (
        note_of(Gap("orderbook_delta", 1, 5, 7, ("A",)))[0]
        == "gap on orderbook_delta, 1 market: sequence gap"
    )
    assert quote(None, None) == "- / -"
