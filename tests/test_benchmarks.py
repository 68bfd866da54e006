"""The benchmarks run, their server answers properly, and the pages show the results that were kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import ProtocolError
from kalshi_feed.books.book import Book
from kalshi_feed.messages import Decoder, OrderbookDelta, OrderbookSnapshot, Ticker, Trade
from tests.benchmarks import captured, frames, publish, relay
from tests.benchmarks.orders import digest
from tests.benchmarks.rounds import QUICK, compare
from tests.benchmarks.spawn import TOP, Bench
from tests.benchmarks.tables import number, table
from tests.benchmarks.throughput import _pair

pytest.importorskip("orjson")


def payload(frame: bytes) -> bytes:
    size = frame[1]
    return frame[2:] if size < 126 else frame[4:] if size == 126 else frame[10:]


@pytest.mark.parametrize("kind", ["deltas", "new sizes", "mixed", "tickers", "trades", "snapshots"])
@pytest.mark.parametrize("yes_price", [True, False])
def test_the_frames_make_a_possible_market(kind: str, yes_price: bool) -> None:
    """Numbered without a gap, and never more taken away than there is; a command for three markets, then one
    for the rest."""
    plan = frames.Plan(markets=5, deltas=400, levels=20, kind=kind, yes_price=yes_price, chunk=3)
    world = frames.World(plan)
    decoder = Decoder(yes_price)
    books: dict[str, Book] = {}
    seqs: list[int | None] = []
    trades: list[int | None] = []
    kinds = Counter[str]()
    sent = [world.snapshot(m, seq) for m, seq in zip(range(5), (1, 2, 3, 5, 6), strict=True)]  # 4 is the ok's
    for message in decoder.decode_batch([payload(frame) for frame in (*sent, *frames.stream(world, plan))]):
        assert not isinstance(message, ProtocolError)
        kinds[message.type] += 1
        if isinstance(message, (OrderbookSnapshot, OrderbookDelta)):
            seqs.append(message.seq)
        if isinstance(message, OrderbookSnapshot):
            known = books.setdefault(message.market_ticker, Book(message.market_ticker))
            assert not known.version or (known.yes, known.no) == message.book_sides()
            known.replace(*message.book_sides(), message.seq, message.clock, 0.0)
        elif isinstance(message, OrderbookDelta):
            books[message.market_ticker].apply(
                message.side, *message.units(), message.seq, message.clock, 0.0
            )
        elif isinstance(message, Trade):
            trades.append(message.seq)
        else:
            assert isinstance(message, Ticker)
    assert seqs == [1, 2, 3, *range(5, len(seqs) + 2)]
    assert trades == list(range(1, len(trades) + 1))
    del kinds["orderbook_snapshot" if kind != "snapshots" else ""]
    usual = {"orderbook_delta": 400}
    assert kinds == {
        "mixed": {"orderbook_delta": 280, "ticker": 80, "trade": 40},
        "tickers": {"ticker": 400},
        "trades": {"trade": 400},
        "snapshots": {"orderbook_snapshot": 405},
    }.get(kind, usual)
    assert plan.first_seq(1) == 4


@pytest.mark.parametrize("yes_price", [True, False])
def test_captured_frames_are_a_possible_subscription(yes_price: bool) -> None:
    """Numbered without a gap; each book takes all of its changes."""
    if not captured.FILES:
        pytest.skip("no recordings in ../shared/capture")
    plan = frames.Plan(
        captured.MARKETS, captured.CHANGES, levels=0, kind="captured", yes_price=yes_price, chunk=8
    )
    world = captured.Captured(plan)
    sent = [world.snapshot(market, market + 1) for market in range(plan.markets)]
    sent += islice(world.stream(plan.last_seq()), plan.deltas)
    books: dict[str, Book] = {}
    for seq, message in enumerate(Decoder(yes_price).decode_batch([payload(one) for one in sent]), 1):
        assert isinstance(message, (OrderbookSnapshot, OrderbookDelta)) and (message.sid, message.seq) == (
            1,
            seq,
        )
        if isinstance(message, OrderbookSnapshot):
            book = books[message.market_ticker] = Book(message.market_ticker)
            book.replace(*message.book_sides(), seq, None, 0.0)
        else:
            books[message.market_ticker].apply(message.side, *message.units(), seq, None, 0.0)
    assert len(sent) == plan.markets + plan.deltas and len(books) == captured.MARKETS
    assert not any(book.is_crossed for book in books.values())


@pytest.mark.parametrize("kind", ["", "ticker", "trade"])
def test_feed_and_floor_are_measured_on_the_same_frames(kind: str) -> None:
    """The deltas are measured bound, too."""
    server: dict[str, Any] = {"markets": 3, "deltas": 300, "levels": 10}
    if kind:
        server |= {"kind": f"{kind}s", "channels": ["orderbook_delta", kind]}
    cases = _pair(kind, server, {"kind": kind, "channels": server["channels"]} if kind else {})
    floor, feed = compare(cases, 1, also_bound=not kind).values()
    for one, other in [(feed, floor), *([(feed["bound"], floor["bound"])] if "bound" in feed else [])]:
        assert one["dropped"] == 0 and one["ratio"] == pytest.approx(one["us"] / other["us"])


@pytest.mark.slow  # a redis-server and six processes of Python
def test_the_relay_is_measured_with_every_part_in_a_process_of_its_own() -> None:
    pytest.importorskip("redis")
    from tests.relay.redis_server import program

    program()  # or the test is skipped
    cases = [relay.Case("relayed", 500, 2, markets=3), relay.Case("direct", 500, 2, direct=True, markets=3)]
    with Bench() as bench:
        figures = {case.name: relay.measure(bench, case, 0.6) for case in cases}
        joiner = relay._join(bench, 3, 1)
    for one in figures.values():
        assert (one["equal_books"], one["lost"], one["gaps"], one["faults"]) == (2, 0, 0, 0)
        assert (
            0 < one["read_to_book"]["p50"] <= one["read_to_callback"]["p50"] < one["sent_to_callback"]["max"]
        )
    assert {"exchange", "relay", "redis-server", "client"} < set(figures["relayed"]["cpu_percent"])
    assert figures["relayed"]["relay"]["books"] and joiner["tries"][0]["seconds"] > 0
    whole = {"cases": figures, "joiner": joiner, "load": [0.0]}
    assert "relayed" in relay.text(whole) and [name for name, _ in relay.rows(whole)] == [
        "relay's read to the book, relayed",
        "CPU and memory, relayed",
        "a late consumer, 3 books, 2,000/s",
    ]


def test_where_there_is_no_redis_server_the_relays_section_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    figures = relay.run(QUICK)
    assert "redis-server is not installed" in relay.text(figures) and relay.rows(figures) == []


def test_books_are_equal_only_if_every_level_is() -> None:
    world = frames.World(frames.Plan(markets=2, deltas=1, levels=4, kind="deltas", yes_price=True, chunk=2))
    before = digest(world.levels())
    assert before == digest(reversed(list(world.levels())))
    world.delta(3, 3)
    assert digest(world.levels()) != before


def test_the_command_line_says_what_it_takes() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "no-such"],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 2 and "no such section: no-such" in ran.stderr


@pytest.mark.parametrize("page", [publish.README, publish.PAGE], ids=["README", "benchmarks"])
def test_pages_show_the_results_that_were_kept(page: Path) -> None:
    kept = json.loads(publish.FIGURES.read_text())
    assert publish.written(page, kept) == page.read_text(encoding="utf-8"), "run publish.publish(kept)"
    assert (publish.RESULTS / "latest.png").exists()


MEASURED = """
import json, sys
from pathlib import Path
from tests.benchmarks import plot, publish
panels = plot.draw(json.loads(publish.FIGURES.read_text()), Path(sys.argv[1]))
for panel in (panels[0], panels[2], panels[3]):
    left = min(label.get_window_extent().x0 for label in panel.get_yticklabels() if label.get_text())
    box = panel.get_window_extent()
    print((box.x0 - left) / (box.x1 - left))
"""


def test_the_labels_of_the_plot_leave_room_for_its_bars(tmp_path: Path) -> None:
    """In a process of its own: matplotlib keeps its fonts open."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra benchmark)")
    program = [sys.executable, "-c", MEASURED, str(tmp_path / "plot.png")]
    shares = subprocess.run(program, cwd=TOP, check=True, capture_output=True, text=True, timeout=60).stdout
    assert [float(share) < 0.28 for share in shares.split()] == [True] * 3, shares


def test_numbers_and_tables() -> None:
    texts = [number(value) for value in (None, 0, 1.4159, 27.43, 0.051, 0.25, 999.6, 12345.6)]
    assert texts == ["–", "0", "1.42", "27.4", "0.0510", "0.250", "1,000", "12,346"]
    assert table(("a", "b"), [("x", "long")]) == "| a | b    |\n|---|------|\n| x | long |\n"
