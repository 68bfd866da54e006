"""What the tests of the books share: a book with a few levels and its view, and threads that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from kalshi_feed.books.book import Book, BookView
from kalshi_feed.books.store import BookStore
from kalshi_feed.messages.values import Level
from tests.support import wait_until

__all__ = ["NO", "YES", "Waiting", "book", "level", "view", "waiting"]

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


class Waiting:
    """Threads that wait, and how each ended: a value or an error."""

    def __init__(self, wait: Callable[[], Any], n: int = 1) -> None:
        self.ends: list[Any] = []
        self._wait = wait
        self.threads = [threading.Thread(target=self._run) for _ in range(n)]

    def _run(self) -> None:
        try:
            self.ends.append(self._wait())
        except Exception as error:
            self.ends.append(error)


@contextmanager
def waiting(store: BookStore, wait: Callable[[], Any], n: int = 1) -> Iterator[Waiting]:
    """``n`` threads that have all begun to wait, and have all ended afterwards."""
    found = Waiting(wait, n)
    for thread in found.threads:
        thread.start()
    wait_until(lambda: len(store._waiters) == n, what="the waiters")
    yield found
    for thread in found.threads:
        thread.join(5)
        assert not thread.is_alive()
    assert store._waiters == []
