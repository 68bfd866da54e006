"""What an interactive session sees: Tab offers the public names and the tickers, a notebook draws a book."""

from __future__ import annotations

import re
from typing import Any

import pytest

import kalshi_feed
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, wait_equal


def test_the_package_offers_its_public_names_only() -> None:
    offered = [name for name in dir(kalshi_feed) if not name.startswith("__")]
    assert offered == sorted(name for name in kalshi_feed.__all__ if not name.startswith("__"))
    assert {"__all__", "__doc__", "__version__"} <= set(dir(kalshi_feed))
    assert kalshi_feed.engine and "engine" not in offered  # type: ignore[attr-defined]  # it is there, for those who name it


def test_the_books_offer_their_tickers(make_feed: FeedMaker) -> None:
    feed = make_feed()
    books: Any = feed.books
    assert books._ipython_key_completions_() == []
    feed.subscribe("orderbook_delta", [B, A])
    assert books._ipython_key_completions_() == [B, A]
    assert not isinstance(type(feed).books, property), "IPython evaluates no property when it completes"
    with pytest.raises(AttributeError, match=r"feed\.books cannot be set"):
        feed.books = {}


def test_a_notebook_shows_a_book_as_a_table(exchange: Exchange, make_feed: FeedMaker) -> None:
    with make_feed() as feed:
        feed.subscribe("orderbook_delta", [A]).wait(5)
        wait_equal(feed, exchange, A)
        view = feed.book(A).view()
        shown = view._repr_html_()
        assert shown == feed.book(A)._repr_html_()
        bid, ask = view.bids()[0], view.asks()[0]
        first = f"<td>{bid.price}</td><td>{bid.quantity:,}</td><td>{ask.price}</td><td>{ask.quantity:,}</td>"
        assert f"<tbody><tr>{first}</tr>" in shown
        title = f"{A} LIVE yes, {len(view.bids())} bids, {len(view.asks())} asks"
        assert f"<caption>{title}</caption>" in shown
        rows = min(10, max(len(view.bids()), len(view.asks())))
        assert len(re.findall("<tr>", shown)) == 1 + rows and shown.count("<td>") == 4 * rows


def test_a_book_that_has_not_come_is_a_table_without_rows_and_its_name_is_text(make_feed: FeedMaker) -> None:
    feed = make_feed()
    assert "<tbody></tbody>" in feed.book(A)._repr_html_() and f"{A} PENDING" in feed.book(A)._repr_html_()
    assert "&lt;b&gt;" in feed.book("<b>")._repr_html_()
