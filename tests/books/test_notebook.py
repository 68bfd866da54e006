"""What a notebook shows of a book, and what it offers after ``feed.books["``."""

from __future__ import annotations

import time

from kalshi_feed import BookStatus
from kalshi_feed.books.notebook import html_of
from kalshi_feed.books.store import Books, BookStore

from .support import book, view

HEAD = "<thead><tr><th>bid</th><th>contracts</th><th>ask</th><th>contracts</th></tr></thead>"


def test_the_best_levels_stand_side_by_side() -> None:
    table = (
        "<table><caption>MARKET-A LIVE yes, 3 bids, 2 asks</caption>" + HEAD + "<tbody>"
        "<tr><td>0.4600</td><td>25.50</td><td>0.4800</td><td>10.00</td></tr>"
        "<tr><td>0.4500</td><td>50.00</td><td>0.5000</td><td>200.00</td></tr>"
        "<tr><td>0.4000</td><td>100.00</td><td></td><td></td></tr>"
        "</tbody></table>"
    )
    assert html_of(view()) == view()._repr_html_() == table


def test_only_ten_levels_and_all_of_them_counted() -> None:
    shown = html_of(view({100 * i: 100_000_000 for i in range(1, 13)}, {}))
    assert shown.count("<tr>") == 11 and "12 bids, 0 asks" in shown
    assert "<td>0.1200</td><td>1,000,000.00</td><td></td>" in shown and "<td>0.0200</td>" not in shown


def test_a_handle_shows_the_book_as_it_is_now() -> None:
    store = BookStore()
    handle = store.handle("<b>")
    assert "<caption>&lt;b&gt; PENDING yes, 0 bids, 0 asks</caption>" in handle._repr_html_()
    with store.lock:
        made = store.book_locked("<b>")
        made.replace(dict(book().yes), {}, 7, 3, time.monotonic())
        made.set_status(BookStatus.LIVE)
    assert "LIVE yes, 3 bids, 0 asks" in handle._repr_html_()


def test_tickers_are_offered() -> None:
    wanted = ["B", "A"]
    assert Books(BookStore(), lambda: tuple(wanted), wanted.__contains__)._ipython_key_completions_() == [
        "B",
        "A",
    ]
