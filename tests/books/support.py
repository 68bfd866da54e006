"""What the tests of the book share: a book with a few levels, and its view."""

from __future__ import annotations

from decimal import Decimal

from kalshi_feed.books.book import Book, BookView
from kalshi_feed.messages.values import Level

__all__ = ["NO", "YES", "book", "level", "view"]

YES = {4000: 10_000, 4500: 5000, 4600: 2550}  # bids at 0.40, 0.45, 0.46
NO = {5000: 20_000, 5200: 1000}  # bids at 0.50, 0.52: yes offers at 0.50, 0.48


def book(yes: dict[int, int] | None = None, no: dict[int, int] | None = None) -> Book:
    made = Book("MARKET-A")
    made.replace(dict(YES if yes is None else yes), dict(NO if no is None else no), 7, 70, 100.0)
    made._check()
    return made


def view(yes: dict[int, int] | None = None, no: dict[int, int] | None = None) -> BookView:
    return book(yes, no).view(102.5, 1_785_901_540.0)


def level(price: str, quantity: str) -> Level:
    return Level(Decimal(price), Decimal(quantity))
