"""use_yes_price: the same book messages on either scale of the wire's no side."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_feed.messages import Decoder, OrderbookDelta, OrderbookSnapshot, decode, yes_scale

from .frames import ABSENT, DELTA, SNAPSHOT, text


def both(own: str, scaled: str) -> tuple[OrderbookDelta, OrderbookDelta]:
    first, second = decode(own), decode(scaled, use_yes_price=True)
    assert isinstance(first, OrderbookDelta) and isinstance(second, OrderbookDelta)
    return first, second


def test_delta_on_the_no_side() -> None:
    own, scaled = both(text(DELTA, price_dollars="0.3000"), text(DELTA, price_dollars="0.7000"))
    assert own.price == scaled.price == Decimal("0.3")
    assert own.units() == scaled.units() == (3000, -5450)
    assert scaled.price_dollars == "0.7000"  # the wire's string, unchanged
    assert own != scaled  # another wire, another message


def test_delta_on_the_yes_side() -> None:
    own, scaled = both(text(DELTA, side="yes"), text(DELTA, side="yes"))
    assert own.price == scaled.price == Decimal("0.54")
    assert own.units() == scaled.units()


def test_delta_in_cents() -> None:
    old: dict[str, Any] = {"price_dollars": ABSENT, "delta_fp": ABSENT, "delta": 5}
    own, scaled = both(text(DELTA, price=30, **old), text(DELTA, price=70, **old))
    assert own.units() == scaled.units() == (3000, 500)


def test_snapshot() -> None:
    own = decode(text(SNAPSHOT))
    scaled = decode(
        text(SNAPSHOT, no_dollars_fp=[["0.4600", "20.00"], ["0.4400", "146.00"]]), use_yes_price=True
    )
    assert isinstance(own, OrderbookSnapshot) and isinstance(scaled, OrderbookSnapshot)
    assert own.book_sides() == scaled.book_sides()
    assert (own.yes, own.no) == (scaled.yes, scaled.no)
    assert own.no[0].price == Decimal("0.56")


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["yes", "no"]))
def test_every_price(units: int, side: str) -> None:
    wire = 10_000 - units if side == "no" else units
    own, scaled = both(
        text(DELTA, side=side, price_dollars=f"{units // 10_000}.{units % 10_000:04d}"),
        text(DELTA, side=side, price_dollars=f"{wire // 10_000}.{wire % 10_000:04d}"),
    )
    assert own.units() == scaled.units() == (units, -5450)
    assert str(own.price) == str(scaled.price)


def test_they_look_like_the_others() -> None:
    message = decode(text(DELTA), use_yes_price=True)
    assert type(message) is yes_scale.OrderbookDelta
    assert repr(message).startswith("OrderbookDelta(")
    assert repr(decode(text(SNAPSHOT), use_yes_price=True)).startswith("OrderbookSnapshot(")
    assert message.type == "orderbook_delta"
    twin = pickle.loads(pickle.dumps(message))
    assert isinstance(twin, yes_scale.OrderbookDelta)
    assert twin.units() == message.units()


@pytest.mark.parametrize("use_yes_price", [False, True])
def test_a_decoder_keeps_to_its_scale(use_yes_price: bool) -> None:
    decoder = Decoder(use_yes_price)
    frame = text(DELTA, price_dollars="0.3000").encode()
    odd = text(DELTA, price_dollars="0.3000", ts={}).encode()  # the slow path
    for message in (
        decoder.decode(frame),
        decoder.decode(odd),
        *decoder.decode_batch([frame, odd]),
        *decoder.decode_batch([frame]),
    ):
        assert isinstance(message, OrderbookDelta)
        assert message.units()[0] == (7000 if use_yes_price else 3000)
