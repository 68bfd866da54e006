"""Levels: whole cents and finer prices side by side, against plain dicts."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_feed.books.book import Book, NegativeSize
from kalshi_feed.books.levels import MOST, Levels
from kalshi_feed.messages.values import ONE_DOLLAR

PRICES = st.one_of(
    st.sampled_from([0, 1, 99, 100, 101, 5000, 9900, 9999, ONE_DOLLAR]), st.integers(0, ONE_DOLLAR)
)
SIDES = st.dictionaries(PRICES, st.one_of(st.just(1), st.integers(1, 10**15), st.sampled_from([256, 2**56])))


def made(yes: dict[int, int], no: dict[int, int]) -> Levels:
    levels = Levels()
    levels.put(yes, no)
    return levels


@given(SIDES, SIDES)
def test_what_was_put_is_there_and_nothing_else(yes: dict[int, int], no: dict[int, int]) -> None:
    levels = made({100: 7, 101: 7}, {100: 7, 101: 7})
    levels.put(yes, no)
    assert (levels.yes, levels.no) == (yes, no)
    assert (levels.best_yes(), levels.best_no()) == (max(yes, default=None), max(no, default=None))
    for price in (0, 1, 100, 101, 5000, ONE_DOLLAR, *yes, *no):
        assert (levels.size("yes", price), levels.size("no", price)) == (yes.get(price, 0), no.get(price, 0))


@given(SIDES, SIDES)
def test_copies_are_equal_and_apart(yes: dict[int, int], no: dict[int, int]) -> None:
    levels = made(yes, no)
    copies = [levels.levels(), copy.deepcopy(levels), pickle.loads(pickle.dumps(levels))]
    assert all(levels.same_as(other) and type(other) is Levels for other in copies)
    for other in copies:
        other.cents[50] += 1
        other.yes_fine[5001] = other.no_fine[5001] = 8
    assert (levels.yes, levels.no) == (yes, no)


@given(SIDES, SIDES)
def test_adopted_levels_replace_all(yes: dict[int, int], no: dict[int, int]) -> None:
    levels = made({100: 7, 101: 7}, {100: 7, 101: 7})
    levels.adopt(made(yes, no))
    assert (levels.yes, levels.no) == (yes, no)


@pytest.mark.parametrize("price", [5000, 5001])
def test_every_level_counts_when_compared(price: int) -> None:
    ones = [made({price: 1}, {}), made({}, {price: 1}), made({price: 2}, {}), made({}, {})]
    assert [[one.same_as(other) for other in ones] for one in ones] == [
        [one is other for other in ones] for one in ones
    ]


@given(SIDES, SIDES, st.sampled_from(["yes", "no"]), st.sampled_from([5000, 5001, 0, ONE_DOLLAR]))
def test_a_delta_changes_its_level_and_nothing_else(
    yes: dict[int, int], no: dict[int, int], side: str, price: int
) -> None:
    book = Book("A")
    book.put(yes, no)
    book.apply(side, price, 1, 1, 1, 0.0)
    wanted = {"yes": yes, "no": no}
    wanted[side] = {**wanted[side], price: wanted[side].get(price, 0) + 1}
    assert {"yes": book.yes, "no": book.no} == wanted


def test_sides_are_the_callers_own() -> None:
    levels = made({4000: 1, 4001: 2}, {})
    levels.yes.clear()
    assert levels.yes == {4000: 1, 4001: 2}


@pytest.mark.parametrize("price", [4000, 4001])
def test_a_level_has_an_upper_bound(price: int) -> None:
    book = Book("A")
    book.apply("yes", price, MOST - 1, 1, 1, 0.0)
    with pytest.raises(
        ValueError, match=r"A: delta of 0\.01 on yes 0\.40.*9999999999999999\.99 already"
    ) as caught:
        book.apply("yes", price, 1, 2, 1, 0.0)
    assert not isinstance(caught.value, NegativeSize)
    assert book.yes == {price: MOST - 1} and book.seq == 1
