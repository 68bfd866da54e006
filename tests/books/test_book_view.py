"""BookView: reading, arithmetic, immutability."""

from __future__ import annotations

import copy
import decimal
import json
import pickle
from datetime import datetime, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_feed.books.book import Book, BookStatus, BookView
from kalshi_feed.errors import ConfigurationError
from tests.books.support import NO, YES, book, level, view

# --- BookView: state


def test_view_is_of_one_moment() -> None:
    made = book()
    seen = made.view(102.5, 1_785_901_540.0)
    made.apply("yes", 4600, -2550, 8, 71, 103.0)
    made.set_status(BookStatus.STALE)
    made.yes.clear()
    assert seen.best_bid() == level("0.46", "25.50")
    assert (seen.market_ticker, seen.status, seen.version, seen.seq, seen.clock) == (
        "MARKET-A",
        BookStatus.LIVE,
        1,
        7,
        70,
    )
    assert seen.is_live
    assert not made.view(103.0, 0.0).is_live


def test_view_times() -> None:
    seen = view()
    assert seen.age() == 2.5
    assert seen.updated_at == datetime.fromtimestamp(1_785_901_537.5, timezone.utc)
    never = Book("MARKET-A").view(5.0, 1_785_901_540.0)
    assert never.age() is None
    assert never.updated_at is None


def test_view_is_immutable() -> None:
    seen = view()
    for name in (*BookView.__slots__, "is_live", "updated_at", "new"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(seen, name, None)
        with pytest.raises(AttributeError, match="immutable"):
            delattr(seen, name)
    assert not hasattr(seen, "__dict__")
    assert seen == view()


def test_a_view_stays_as_it_was() -> None:
    made = book({4000: 100, 4001: 200}, {5000: 300, 5001: 400})
    seen, before = made.view(102.5, 0.0), made.view(102.5, 0.0).to_dict()
    for side, price in (("yes", 4000), ("yes", 4001), ("no", 5000), ("no", 5001), ("yes", 1), ("no", 100)):
        made.apply(side, price, 50, 8, 71, 103.0)
    assert seen.to_dict() == before
    made.replace({}, {}, 9, 72, 104.0)
    assert seen.to_dict() == before


def test_view_equality() -> None:
    seen = view()
    assert seen == book().view(999.0, 5.0)
    assert hash(seen) == hash(view())
    assert seen != view(yes={})
    assert seen != view(no={})
    assert seen != "MARKET-A"
    other = Book("MARKET-B")
    other.replace(dict(YES), dict(NO), 7, 70, 100.0)
    assert other.view(102.5, 0.0) != seen
    later = book()
    later.apply("yes", 1, 0, 8, 70, 101.0)
    assert later.view(102.5, 0.0) != seen
    stale, closed = book(), book()
    stale.set_status(BookStatus.STALE)
    closed.set_status(BookStatus.CLOSED)
    assert stale.view(1.0, 1.0) != closed.view(1.0, 1.0)


def test_view_can_be_copied_and_pickled() -> None:
    seen = view()
    for twin in (copy.copy(seen), copy.deepcopy(seen), pickle.loads(pickle.dumps(seen))):
        assert twin == seen
        assert twin.to_dict() == seen.to_dict()
        assert (twin.age(), twin.clock, twin.seq) == (2.5, 70, 7)


def test_view_repr_is_short() -> None:
    assert repr(view()) == "<BookView MARKET-A LIVE yes 0.4600 / 0.4800 version 1>"
    assert repr(view(yes={}, no={100: 1})) == "<BookView MARKET-A LIVE yes - / 0.9900 version 1>"


def test_to_dict_is_ready_for_json() -> None:
    assert json.loads(json.dumps(view().to_dict())) == {
        "market_ticker": "MARKET-A",
        "status": "LIVE",
        "is_crossed": False,
        "version": 1,
        "seq": 7,
        "clock": 70,
        "updated_at": "2026-08-05T03:45:37.500000+00:00",
        "yes": [["0.4600", "25.50"], ["0.4500", "50.00"], ["0.4000", "100.00"]],
        "no": [["0.5200", "10.00"], ["0.5000", "200.00"]],
    }
    empty = Book("MARKET-B").view(1.0, 1.0).to_dict()
    assert (empty["status"], empty["updated_at"], empty["yes"], empty["no"]) == ("PENDING", None, [], [])


# --- BookView: questions


@pytest.mark.parametrize(
    ("yes", "no", "crossed"),
    [
        ({}, {}, False),
        ({10_000: 1}, {}, False),
        ({4000: 1}, {6000: 1}, False),
        ({4000: 1, 1: 1}, {2: 1, 6001: 1}, True),
    ],
)
def test_crossed_is_more_than_a_dollar(yes: dict[int, int], no: dict[int, int], crossed: bool) -> None:
    seen = view(yes=yes, no=no)
    assert seen.is_crossed is seen.to_dict()["is_crossed"] is crossed


def test_best_prices_of_the_view() -> None:
    seen = view()
    assert seen.best_bid() == seen.best_bid("yes") == level("0.46", "25.50")
    assert seen.best_ask() == level("0.48", "10")
    assert seen.best_bid("no") == level("0.52", "10")
    assert seen.best_ask("no") == level("0.54", "25.50")


def test_levels() -> None:
    seen = view()
    assert seen.bids() == (level("0.46", "25.50"), level("0.45", "50"), level("0.40", "100"))
    assert seen.asks() == (level("0.48", "10"), level("0.50", "200"))
    assert seen.bids("no") == (level("0.52", "10"), level("0.50", "200"))
    assert seen.asks("no") == (level("0.54", "25.50"), level("0.55", "50"), level("0.60", "100"))
    assert seen.bids("yes", 1) == seen.bids()[:1]
    assert seen.asks("yes", depth=1) == seen.asks()[:1]
    assert seen.bids(depth=99) == seen.bids()
    assert [str(value) for value in seen.bids()[0]] == ["0.4600", "25.50"]


def test_middles() -> None:
    seen = view()
    assert str(seen.mid()) == "0.4700"
    assert str(seen.mid("no")) == "0.5300"
    assert str(seen.spread()) == str(seen.spread("no")) == "0.0200"
    # (0.46 x 10 + 0.48 x 25.50) / 35.50
    assert seen.microprice() == Decimal("0.4743661971830985915492957746")
    no_side = seen.microprice("no")
    assert no_side is not None
    assert abs(no_side - (1 - Decimal("0.4743661971830985915492957746"))) < Decimal("1e-27")
    odd = view(yes={4600: 1}, no={5299: 1})
    assert str(odd.mid()) == "0.46505"
    assert str(odd.spread()) == "0.0101"
    assert odd.microprice() == Decimal("0.46505")


def test_crossed_book_is_answered_as_it_is() -> None:
    crossed = view(yes={6000: 100}, no={5000: 100})
    assert crossed.spread() == Decimal("-0.1")
    assert crossed.mid() == Decimal("0.55")


@pytest.mark.parametrize(("yes", "no"), [({}, NO), (YES, {}), ({}, {})])
@pytest.mark.parametrize("side", ["yes", "no"])
def test_an_empty_side_gives_none(yes: dict[int, int], no: dict[int, int], side: str) -> None:
    seen = view(yes=yes, no=no)
    assert seen.mid(side) is seen.spread(side) is seen.microprice(side) is None
    own, other = (yes, no) if side == "yes" else (no, yes)
    assert (seen.best_bid(side) is None) == (not own)
    assert (seen.best_ask(side) is None) == (not other)
    assert (seen.bids(side) == ()) == (not own)
    assert (seen.asks(side) == ()) == (not other)
    assert (seen.cost_to_sell(side, 1) is None) == (not own)
    assert (seen.cost_to_buy(side, 1) is None) == (not other)


def test_imbalance() -> None:
    seen = view()
    assert seen.imbalance() == (Decimal("175.5") - 210) / (Decimal("175.5") + 210)
    assert seen.imbalance(1) == Decimal("15.5") / Decimal("35.5")
    assert seen.imbalance(depth=1, side="no") == -Decimal("15.5") / Decimal("35.5")
    assert view(yes={}).imbalance() == -1
    assert view(no={}).imbalance() == 1
    assert view(yes={}, no={}).imbalance() is None
    assert view(yes={100: 5}, no={100: 5}).imbalance() == 0


@pytest.mark.parametrize(
    "price", ["0.45", "0.4500", Decimal("0.45"), Decimal("0.450000000"), Decimal("45e-2"), 0.45]
)
def test_depth_at(price: Any) -> None:
    seen = view()
    assert str(seen.depth_at("yes", price)) == "50.00"
    assert str(seen.depth_at("no", price)) == "0.00"


def test_depth_at_the_edges() -> None:
    seen = view(yes={0: 1, 10_000: 2})
    assert [seen.depth_at("yes", price) for price in (0, "0", 0.0, Decimal(0))] == [Decimal("0.01")] * 4
    assert [seen.depth_at("yes", price) for price in (1, "1", 1.0, "1.0000")] == [Decimal("0.02")] * 4


def test_cost_to_buy() -> None:
    seen = view()  # yes offers: 10 at 0.48, 200 at 0.50
    assert str(seen.cost_to_buy("yes", 10)) == "4.800000"
    assert seen.cost_to_buy("yes", "10.01") == Decimal("4.805")
    assert seen.cost_to_buy("yes", 210) == Decimal("104.8")
    assert seen.cost_to_buy("yes", Decimal("210.01")) is None
    assert seen.cost_to_buy("no", 25.5) == Decimal("13.77")


def test_cost_to_sell() -> None:
    seen = view()  # yes bids: 25.50 at 0.46, 50 at 0.45, 100 at 0.40
    assert seen.cost_to_sell("yes", "0.01") == Decimal("0.0046")
    assert seen.cost_to_sell("yes", 75.5) == Decimal("34.23")
    assert seen.cost_to_sell("yes", "175.5") == Decimal("74.23")
    assert seen.cost_to_sell("yes", 176) is None
    assert seen.cost_to_sell("no", 10) == Decimal("5.2")


@pytest.mark.parametrize("side", ["YES", "", "bid", None, 1, True, [], "y" * 1000])
def test_side_must_be_yes_or_no(side: Any) -> None:
    seen = view()
    for question in (
        book().best_bid,
        book().best_ask,
        seen.best_bid,
        seen.best_ask,
        seen.bids,
        seen.asks,
        seen.mid,
        seen.spread,
        seen.microprice,
        lambda side: seen.imbalance(side=side),
        lambda side: seen.depth_at(side, "0.5"),
        lambda side: seen.cost_to_buy(side, 1),
        lambda side: seen.cost_to_sell(side, 1),
    ):
        with pytest.raises(ConfigurationError, match='side must be "yes" or "no"') as caught:
            question(side)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("depth", [0, -1, True, False, 1.0, "1", 1.5, pytest.param(-(10**5000), id="giant")])
def test_depth_must_be_positive(depth: Any) -> None:
    seen = view()
    for question in (
        lambda: seen.bids("yes", depth),
        lambda: seen.asks("yes", depth),
        lambda: seen.imbalance(depth),
    ):
        with pytest.raises(ConfigurationError, match="depth must be a whole number of at least 1"):
            question()


HUGE = Decimal("1e999999")
GIANT = pytest.param(10**5000, id="giant")  # too long for repr()
NO_NUMBERS: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    b"1",
    1j,
    "",
    " 1",
    "1 ",
    "1e1",
    "NaN",
    "one",
    "\u0661",
    "1_0",
    "+1",
]
NO_FINITE = [
    float("nan"),
    float("inf"),
    -float("inf"),
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("-Infinity"),
    HUGE,
    -HUGE,
]
NO_STEPS: list[Any] = [
    Decimal("1e-999999"),
    Decimal("0." + "1" * 100),
    0.1 + 0.2,
    GIANT,
    "9" * 5000,
    1e300,
    1e-300,
]


@pytest.mark.parametrize(
    "price",
    [
        *NO_NUMBERS,
        *NO_FINITE,
        *NO_STEPS,
        "0.12345",
        0.12345,
        -0.5,
        "-0.5",
        2,
        1.0001,
        Decimal("1.0001"),
        -1,
        100,
    ],
)
def test_price_is_validated_exactly(price: Any) -> None:
    with pytest.raises(
        ConfigurationError, match="price must be 0 to 1 dollar with at most 4 decimals"
    ) as caught:
        view().depth_at("yes", price)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "quantity",
    [
        *NO_NUMBERS,
        *NO_FINITE,
        *NO_STEPS,
        0,
        "0",
        "0.00",
        0.0,
        Decimal(0),
        -1,
        "-1",
        0.001,
        "1.001",
        Decimal("1.001"),
    ],
)
def test_quantity_is_validated_exactly(quantity: Any) -> None:
    seen = view()
    for question in (seen.cost_to_buy, seen.cost_to_sell):
        with pytest.raises(
            ConfigurationError, match="quantity must be a positive number of contracts"
        ) as caught:
            question("yes", quantity)
        assert len(str(caught.value)) < 200


def test_answers_do_not_depend_on_the_programs_context() -> None:
    expected = view(yes={4567: 123_456_789}, no={4321: 987_654_321})

    def answers() -> list[object]:
        seen = expected
        return [
            seen.mid(),
            seen.spread(),
            seen.microprice(),
            seen.imbalance(),
            seen.cost_to_buy("yes", "1234567.89"),
            seen.depth_at("yes", 0.4567),
            seen.to_dict(),
        ]

    normal = answers()
    with decimal.localcontext() as context:
        context.prec = 3
        context.rounding = decimal.ROUND_UP
        context.traps[decimal.Inexact] = True
        assert answers() == normal


# --- against a slow and obvious model (for the book as it changes, see tests/faults/test_book_model.py)

levels = st.dictionaries(st.integers(1, 9999), st.integers(1, 10**6), max_size=8)
sides = st.sampled_from(["yes", "no"])
slow = settings(derandomize=True, max_examples=80, deadline=None)


@slow
@given(levels, levels, sides, st.integers(1, 3 * 10**6))
def test_questions_against_fractions(
    yes: dict[int, int], no: dict[int, int], side: str, quantity: int
) -> None:
    seen = view(yes=yes, no=no)
    own, other = (yes, no) if side == "yes" else (no, yes)
    bids = [(Fraction(p, 10_000), Fraction(s, 100)) for p, s in sorted(own.items(), reverse=True)]
    asks = [(1 - Fraction(p, 10_000), Fraction(s, 100)) for p, s in sorted(other.items(), reverse=True)]
    assert [(Fraction(p), Fraction(q)) for p, q in seen.bids(side)] == bids
    assert [(Fraction(p), Fraction(q)) for p, q in seen.asks(side)] == asks
    if bids and asks:
        (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
        mid, spread, micro = seen.mid(side), seen.spread(side), seen.microprice(side)
        assert mid is not None and spread is not None and micro is not None
        assert Fraction(mid) == (bid + ask) / 2
        assert Fraction(spread) == ask - bid
        assert abs(Fraction(micro) - (bid * ask_size + ask * bid_size) / (bid_size + ask_size)) < Fraction(
            1, 10**27
        )
    contracts = Decimal(quantity).scaleb(-2)
    for offers, cost in (
        (asks, seen.cost_to_buy(side, contracts)),
        (bids, seen.cost_to_sell(side, contracts)),
    ):
        left, total = Fraction(quantity, 100), Fraction(0)
        for price, size in offers:
            total += price * min(left, size)
            left -= min(left, size)
        assert (None if cost is None else Fraction(cost)) == (None if left else total)
    imbalance = seen.imbalance(side=side)
    assert imbalance is None if not (own or other) else -1 <= imbalance <= 1  # type: ignore[operator]
