"""Recordings of earlier versions replay to the exchange's books; corpus/README.md says how to make them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.feed.support import sides
from tests.recording.support import EXPECTED, books_of, files_of, played, troubles


def levels(name: str) -> dict[str, Any]:
    """Return the exchange's books at the end of a recording."""
    return {
        ticker: {
            side: {Decimal(price): Decimal(size) for price, size in book.items()}
            for side, book in both.items()
        }
        for ticker, both in EXPECTED[name]["books"].items()
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_it_replays_to_the_exchange_s_books(name: str) -> None:
    outcomes = []
    for _ in range(2):
        with played(files_of(name)) as (feed, heard):
            assert {ticker: sides(book) for ticker, book in feed.books.items()} == levels(name)
            assert all(book.is_live for book in feed.books.values())
            assert [gap.reason for gap in heard.gaps] == EXPECTED[name]["gaps"]
            assert troubles(heard) == []
            outcomes.append((heard.messages, heard.events, books_of(feed)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("number", [1, 2])
def test_the_parts_go_on_without_the_ones_before(number: int) -> None:
    with played(files_of("rotated.ndjson")[number:]) as (feed, heard):
        assert {ticker: sides(book) for ticker, book in feed.books.items()} == levels("rotated.ndjson")
        assert heard.gaps == [] and troubles(heard) == []
