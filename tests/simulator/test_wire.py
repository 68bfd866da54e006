"""Numbers, times and frames as they are on the wire."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_feed.simulator import wire


@given(st.integers(0, 10_000))
def test_prices_come_back(price: int) -> None:
    text = wire.price_text(price)
    assert len(text) == 6 and wire.price_units(text) == price
    assert Decimal(text) == wire.price_decimal(price)


@given(st.integers(-(10**9), 10**9))
def test_sizes_come_back(size: int) -> None:
    text = wire.size_text(size)
    assert text[-3] == "." and wire.size_units(text) == size
    assert Decimal(text) == wire.size_decimal(size)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1.5", "-0.1", "0.00001", "x"])
def test_impossible_prices(value: str) -> None:
    with pytest.raises(ValueError, match="price"):
        wire.price_units(value)


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (1_785_901_540_722_003, "2026-08-05T03:45:40.722003Z"),
        (1_785_901_540_720_000, "2026-08-05T03:45:40.72Z"),
        (1_785_901_540_000_000, "2026-08-05T03:45:40Z"),
    ],
)
def test_times_are_written_as_go_does(microseconds: int, text: str) -> None:
    assert wire.go_time(microseconds) == text


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frame_lengths(size: int) -> None:
    framed = wire.frame(wire.TEXT, b"x" * size)
    header = 2 if size < 126 else 4 if size < 65_536 else 10
    assert len(framed) == header + size and framed[0] == 0x81
    if header > 2:
        assert int.from_bytes(framed[2:header], "big") == size


def test_prices_a_test_put_there_pass_the_yes_scale_unharmed() -> None:
    assert (
        wire.on_yes_scale("orderbook_delta", {"side": "no", "price_dollars": "NaN"})["price_dollars"] == "NaN"
    )
