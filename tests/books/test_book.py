"""Book: applying, replacing, and checking its own consistency. Faults S11, S12."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kalshi_feed.books.book import Book, BookStatus, NegativeSize
from tests.books.support import NO, YES, book, level


def test_new_book() -> None:
    new = Book("MARKET-A")
    new._check()
    assert (new.market_ticker, new.status, new.version) == ("MARKET-A", BookStatus.PENDING, 0)
    assert (new.seq, new.clock, new.updated, new.yes, new.no) == (None, None, None, {}, {})
    assert new.best_bid() is new.best_ask() is None
    assert repr(new) == "<Book MARKET-A PENDING yes - / - version 0>"
    with pytest.raises(AttributeError):
        new.other = 1  # type: ignore[attr-defined]


def test_replace_replaces_everything() -> None:
    made = book()
    assert (made.status, made.version, made.seq, made.clock, made.updated) == (
        BookStatus.LIVE,
        1,
        7,
        70,
        100.0,
    )
    made.set_status(BookStatus.STALE)
    made.replace({100: 1}, {}, 8, None, 101.0)
    assert (made.status, made.version, made.seq, made.clock, made.updated) == (
        BookStatus.LIVE,
        3,
        8,
        None,
        101.0,
    )
    assert (made.yes, made.no) == ({100: 1}, {})


def test_apply() -> None:
    made = book()
    made.apply("yes", 4600, -550, 8, 71, 101.0)
    assert made.yes == {4000: 10_000, 4500: 5000, 4600: 2000}
    assert (made.version, made.seq, made.clock, made.updated) == (2, 8, 71, 101.0)
    made.apply("no", 100, 1, 9, None, 102.0)  # a missing level is created
    assert made.no == {**NO, 100: 1}
    assert (made.version, made.seq, made.clock, made.updated) == (3, 9, None, 102.0)
    made._check()


def test_apply_to_exactly_zero_removes_the_level() -> None:
    made = book()
    made.apply("yes", 4600, -2550, 8, 71, 101.0)
    assert 4600 not in made.yes
    assert made.best_bid() == level("0.45", "50")
    made._check()


@pytest.mark.parametrize(("price", "side"), [(4600, "yes"), (1, "yes"), (5200, "no")])
def test_a_zero_delta_changes_no_level(price: int, side: str) -> None:
    made = book()
    made.apply(side, price, 0, 8, 71, 101.0)
    assert (made.yes, made.no) == (YES, NO)
    assert made.seq == 8
    made._check()


@pytest.mark.parametrize(
    ("side", "price", "size"), [("yes", 4600, -2551), ("no", 5200, -5400), ("no", 1, -1)]
)
def test_a_level_cannot_fall_below_zero(side: str, price: int, size: int) -> None:
    made = book()
    with pytest.raises(
        NegativeSize,
        match=r"MARKET-A: delta of -[0-9.]+ on (yes|no) 0\.[0-9]{4}, where only [0-9.]+ are left",
    ):
        made.apply(side, price, size, 8, 71, 101.0)
    assert (made.yes, made.no) == (YES, NO)
    assert (made.version, made.seq, made.clock, made.updated, made.status) == (
        1,
        7,
        70,
        100.0,
        BookStatus.LIVE,
    )
    assert issubclass(NegativeSize, ValueError)


def test_set_status() -> None:
    made = book()
    assert not made.set_status(BookStatus.LIVE)
    assert made.version == 1
    for version, status in enumerate((BookStatus.STALE, BookStatus.CLOSED, BookStatus.PENDING), 2):
        assert made.set_status(status)
        assert (made.status, made.version) == (status, version)
    assert (made.yes, made.no, made.seq) == (YES, NO, 7)


def test_best_prices_of_the_book() -> None:
    made = book()
    assert made.best_bid() == made.best_bid("yes") == level("0.46", "25.50")
    assert made.best_ask() == made.best_ask("yes") == level("0.48", "10")
    assert made.best_bid("no") == level("0.52", "10")
    assert made.best_ask("no") == level("0.54", "25.50")
    assert repr(made) == "<Book MARKET-A LIVE yes 0.4600 / 0.4800 version 1>"


def break_price(made: Book) -> None:
    made.yes_fine[10_001] = 1


def break_negative_price(made: Book) -> None:
    made.no_fine[-1] = 1


def break_price_type(made: Book) -> None:
    made.yes_fine[0.5] = 1  # type: ignore[index]


def break_zero(made: Book) -> None:
    made.no_fine[5001] = 0


def break_negative(made: Book) -> None:
    made.no_fine[5001] = -1


def break_cents(made: Book) -> None:
    made.cents[50] = -1


def break_place(made: Book) -> None:
    made.no_fine[5000] = 1  # a whole cent


def break_size_type(made: Book) -> None:
    made.yes_fine[5001] = 1.0  # type: ignore[assignment]


def break_sides(made: Book) -> None:
    made.no_fine = made.yes_fine


def break_live(made: Book) -> None:
    made.updated = None


def break_version(made: Book) -> None:
    made.version = -1


@pytest.mark.parametrize(
    "damage",
    [
        break_price,
        break_negative_price,
        break_price_type,
        break_zero,
        break_negative,
        break_cents,
        break_place,
        break_size_type,
        break_sides,
        break_live,
        break_version,
    ],
)
def test_check_finds(damage: Callable[[Book], None]) -> None:
    made = book()
    made._check()
    damage(made)
    with pytest.raises(AssertionError):
        made._check()
