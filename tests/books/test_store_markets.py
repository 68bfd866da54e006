"""Descriptions of markets in the store: from REST, from lifecycle messages, and which are forgotten."""

from __future__ import annotations

import json

import pytest

from kalshi_feed.books import store as store_module
from kalshi_feed.books.store import BookStore
from kalshi_feed.messages import MarketLifecycle, decode
from kalshi_feed.messages.listed import Market


def learn(store: BookStore, *market_tickers: str) -> None:
    with store.lock:
        for ticker in market_tickers:
            store.learn_market_locked(Market(ticker=ticker))


def hear(store: BookStore, event_type: str, market_ticker: str = "A", **fields: object) -> None:
    body = {"market_ticker": market_ticker, "event_type": event_type, **fields}
    message = decode(json.dumps({"type": "market_lifecycle_v2", "sid": 1, "msg": body}))
    assert isinstance(message, MarketLifecycle)
    with store.lock:
        store.hear_market_locked(message)


def test_a_book_has_the_newest_description_of_its_market() -> None:
    store = BookStore()
    assert store.handle("A").market is None
    with store.lock:
        store.learn_market_locked(Market(ticker="A", title="Will it rain?"))
        store.learn_market_locked(Market(ticker="A", title="Will it snow?"))
    market = store.handle("A").market
    assert market is not None and market.title == "Will it snow?"


@pytest.mark.parametrize(
    ("event_type", "status"),
    [
        ("created", "initialized"),
        ("activated", "active"),
        ("deactivated", "inactive"),
        ("determined", "determined"),
        ("settled", "finalized"),
        ("close_date_updated", "as before"),
    ],
)
def test_what_a_lifecycle_message_says(event_type: str, status: str) -> None:
    store = BookStore()
    with store.lock:
        store.learn_market_locked(Market(ticker="A", title="Will it rain?", status="as before"))
    hear(store, event_type)
    assert store.markets["A"] == Market(ticker="A", title="Will it rain?", status=status)


def test_a_market_of_which_only_a_message_is_known() -> None:
    store = BookStore()
    hear(store, "determined", "B", result="yes")
    assert (store.markets["B"].result, store.markets["B"].status) == ("yes", "determined")
    hear(store, "determined", "")
    assert set(store.markets) == {"B"}


def test_old_descriptions_are_forgotten_unless_their_book_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_LEAST_MARKETS", 3)
    store = BookStore(is_wanted={"WANTED"}.__contains__)
    with store.lock:
        store.book_locked("WANTED")
    handle = store.handle("HELD")
    learn(store, "WANTED", "HELD", "1", "2", "1")
    assert list(store.markets) == ["WANTED", "HELD", "2", "1"]  # as they were learned
    learn(store, "3", "4")
    assert set(store.markets) == {"WANTED", "HELD", "1", "3", "4"} and handle.market is not None
    learn(store, *"56789", "10", "11", "12", "13", "14")
    assert {"WANTED", "HELD", "14"} <= set(store.markets) and len(store.markets) <= 10
