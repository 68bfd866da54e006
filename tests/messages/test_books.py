"""orderbook_snapshot and orderbook_delta: generations, levels, ready values. Faults S10, S13."""

from __future__ import annotations

import copy
import pickle
import random
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_feed.errors import ProtocolError
from kalshi_feed.messages import Level, OrderbookDelta, OrderbookSnapshot, decode

from .frames import ABSENT, DELTA, SNAPSHOT, text

OLD_DELTA: dict[str, Any] = {"price_dollars": ABSENT, "delta_fp": ABSENT, "price": 54, "delta": -54}


def delta(use_yes_price: bool = False, **body: Any) -> OrderbookDelta:
    message = decode(text(DELTA, **body), use_yes_price)
    assert isinstance(message, OrderbookDelta)
    return message


def snapshot(use_yes_price: bool = False, **body: Any) -> OrderbookSnapshot:
    message = decode(text(SNAPSHOT, **body), use_yes_price)
    assert isinstance(message, OrderbookSnapshot)
    return message


def levels(*pairs: tuple[str, str]) -> tuple[Level, ...]:
    return tuple(Level(Decimal(price), Decimal(quantity)) for price, quantity in pairs)


def test_delta_fields() -> None:
    message = delta(client_order_id="mine", subaccount=3)
    assert (message.type, message.sid, message.seq, message.sending_ts_ms) == (
        "orderbook_delta",
        2,
        3,
        1785901540750,
    )
    assert (message.market_ticker, message.side, message.clock) == ("MARKET-A", "no", 4182061)
    assert message.market_id == "9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1"
    assert (message.price_dollars, message.delta_fp) == ("0.5400", "-54.50")
    assert (str(message.price), str(message.delta)) == ("0.5400", "-54.50")
    assert message.units() == (5400, -5450)
    assert (message.ts, message.ts_ms) == ("2026-08-05T03:45:40.722003Z", 1785901540722)
    assert message.time == datetime(2026, 8, 5, 3, 45, 40, 722000, tzinfo=timezone.utc)
    assert (message.client_order_id, message.subaccount) == ("mine", 3)
    assert (message.price_cents, message.delta_int) == (None, None)


def test_delta_with_nothing_but_what_is_needed() -> None:
    message = decode(
        '{"type":"orderbook_delta","msg":{"market_ticker":"A","price_dollars":"0.5","delta_fp":"1","side":"yes"}}'
    )
    assert isinstance(message, OrderbookDelta)
    assert message.units() == (5000, 100)
    for name in (
        "sid",
        "seq",
        "sending_ts_ms",
        "market_id",
        "clock",
        "ts",
        "ts_ms",
        "time",
        "client_order_id",
        "subaccount",
    ):
        assert getattr(message, name) is None, name


def test_delta_generations_are_equal() -> None:
    new, old = delta(delta_fp="-54.00"), delta(**OLD_DELTA)
    assert (old.price_cents, old.delta_int, old.price_dollars, old.delta_fp) == (54, -54, None, None)
    for name in ("price", "delta", "time", "market_ticker", "side"):
        assert getattr(new, name) == getattr(old, name)
        assert str(getattr(new, name)) == str(getattr(old, name))
    assert new.units() == old.units() == (5400, -5400)
    both = delta(
        price=54, delta=-54
    )  # in February 2026 the exchange sent both: the strings are the exact ones
    assert both.units() == (5400, -5450)


@pytest.mark.parametrize("missing", ["market_ticker", "side", "price_dollars", "delta_fp"])
@pytest.mark.parametrize("value", [ABSENT, None])
def test_delta_without_what_is_needed(missing: str, value: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        delta(**{missing: value})
    assert (caught.value.type, caught.value.sid, caught.value.seq) == ("orderbook_delta", 2, 3)


@pytest.mark.parametrize(
    ("ts", "hour"), [("2026-08-05T03:45:40Z", 3), ("2026-08-05T04:45:40.123456789Z", 4), (1785901540, 3)]
)
def test_delta_time_from_ts(ts: Any, hour: int) -> None:
    moment = delta(ts=ts, ts_ms=ABSENT).time
    assert moment is not None
    assert (moment.hour, moment.minute, moment.tzinfo) == (hour, 45, timezone.utc)


@pytest.mark.parametrize("ts", ["yesterday", "", 2**62])
def test_a_time_that_cannot_be_read_is_none(ts: Any) -> None:
    assert delta(ts=ts, ts_ms=ABSENT).time is None


def test_messages_are_immutable_values() -> None:
    for message in (delta(), snapshot(), delta(use_yes_price=True), snapshot(use_yes_price=True)):
        for name in ("sid", "seq", "msg", "price_dollars", "market_ticker", "new"):
            with pytest.raises(AttributeError):
                setattr(message, name, None)
        with pytest.raises(AttributeError):
            message.msg.market_ticker = "B"  # type: ignore[misc]
        assert hash(message) == hash(copy.deepcopy(message))
        twin = pickle.loads(pickle.dumps(message))
        assert twin == message
        assert type(twin) is type(message)


def test_snapshot_fields() -> None:
    message = snapshot()
    assert (message.type, message.sid, message.seq, message.id) == ("orderbook_snapshot", 2, 2, None)
    assert (message.market_ticker, message.clock) == ("MARKET-A", 4182057)
    assert message.market_id == "9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1"
    assert message.yes_dollars_fp == (("0.0800", "300.00"), ("0.2200", "333.25"))
    assert message.no_dollars_fp == (("0.5400", "20.00"), ("0.5600", "146.00"))
    assert message.yes == levels(("0.22", "333.25"), ("0.08", "300"))
    assert message.no == levels(("0.56", "146"), ("0.54", "20"))
    assert message.book_sides() == ({800: 30000, 2200: 33325}, {5400: 2000, 5600: 14600})
    for name in ("yes_cents", "no_cents", "yes_dollars", "no_dollars"):
        assert getattr(message, name) is None
    assert decode(text(SNAPSHOT, {"id": 127})).id == 127  # type: ignore[attr-defined]


def test_book_sides_are_the_callers_own() -> None:
    message = snapshot()
    message.book_sides()[0].clear()
    assert message.book_sides()[0] == {800: 30000, 2200: 33325}


@pytest.mark.parametrize("empty", [ABSENT, None, []])
def test_a_missing_side_is_empty(empty: Any) -> None:
    one = snapshot(yes_dollars_fp=empty)
    assert one.yes == ()
    assert len(one.no) == 2
    none = snapshot(yes_dollars_fp=empty, no_dollars_fp=empty, market_id="")
    assert none.book_sides() == ({}, {})
    assert none.market_id == ""


NO_FP: dict[str, Any] = {"yes_dollars_fp": ABSENT, "no_dollars_fp": ABSENT}


@pytest.mark.parametrize(
    "old",
    [
        {"yes": [[8, 300], [22, 333]], "no": [[54, 20]]},
        {"yes_dollars": [["0.0800", 300], ["0.22", 333]], "no_dollars": [["0.5400", 20]]},
        {"yes_dollars": [["0.080", "300.00"], ["0.2200", 333]], "no_dollars": [["0.54", "20"]]},
        {"yes_dollars": [["0.080", 300], ["0.2200", 333]], "no": [[54, 20]]},
        {
            "yes_dollars": [["0.080", 300], ["0.2200", 333]],
            "yes": [[1, 1]],
            "no_dollars": [["0.54", 20]],
            "no": [[1, 1]],
        },
    ],
)
def test_snapshot_generations_are_equal(old: dict[str, Any]) -> None:
    new = snapshot(
        yes_dollars_fp=[["0.0800", "300.00"], ["0.2200", "333.00"]],
        no_dollars_fp=[["0.5400", "20.00"]],
        **old,
    )
    message = snapshot(**NO_FP, **old)
    assert message.book_sides() == new.book_sides() == ({800: 30000, 2200: 33300}, {5400: 2000})
    assert (message.yes, message.no) == (new.yes, new.no)
    assert [list(map(list, side or ())) for side in (message.yes_cents, message.yes_dollars)] == [
        old.get("yes", []),
        old.get("yes_dollars", []),
    ]
    assert (message.no_cents is None, message.no_dollars is None) == (
        "no" not in old,
        "no_dollars" not in old,
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_order_of_levels_does_not_matter(reverse: bool) -> None:
    pairs = [[f"{price / 100:.4f}", f"{price}.00"] for price in (30, 10, 20, 40)]
    pairs.sort(reverse=reverse)
    assert [level.price for level in snapshot(yes_dollars_fp=pairs).yes] == [
        Decimal("0.4"),
        Decimal("0.3"),
        Decimal("0.2"),
        Decimal("0.1"),
    ]


def test_zero_sizes_are_dropped() -> None:
    message = snapshot(yes_dollars_fp=[["0.1000", "0.00"], ["0.2000", "1.00"]], no_dollars_fp=[["0.3", "0"]])
    assert message.book_sides() == ({2000: 100}, {})
    assert snapshot(**NO_FP, yes=[[10, 0], [20, 1]]).book_sides() == ({2000: 100}, {})


@pytest.mark.parametrize(
    "side",
    [
        [["0.1000", "1.00"], ["0.1000", "2.00"]],
        [["0.1000", "1.00"], ["0.1", "1.00"]],
        [["0.1000", "0.00"], ["0.1", "1.00"]],
        [["0.1000", "-1.00"]],
        [["0.1000", "-0.00"]],
        [["1.5000", "1.00"]],
        [["-0.1000", "1.00"]],
        [["0.1000", "1.00,2.00"]],
        [["0.1000", "1.00,"], ["0.2000", "1.00"]],
        [["0.1000", ""], ["0.2000", "1.00,1.00"]],
        [["0.1000", "NaN"]],
        [["0.1000", "\u0661.00"]],
        [["0.1000", "1e2"]],
        [["", "1.00"]],
        [["0.1000", ""]],
        [["0.1000", None]],
        [[None, "1.00"]],
        [[0.12345, "1.00"]],
        [["0.1000", 1.001]],
        [["0.1000", -1]],
        [[5, "1.00"]],
        [["0.1000"]],
        [["0.1000", "1.00", "x"]],
        [{"price": "0.1"}],
        ["0.1000"],
        {"0.1000": "1.00"},
        "0.1000",
        5,
        True,
    ],
)
def test_bad_levels_are_refused(side: Any) -> None:
    for name in ("yes_dollars_fp", "no_dollars_fp"):
        with pytest.raises(ProtocolError) as caught:
            snapshot(**{name: side})
        assert (caught.value.sid, caught.value.seq, caught.value.market_ticker) == (2, 2, "MARKET-A")


def test_the_error_names_the_level() -> None:
    with pytest.raises(ProtocolError, match=r"size '1.00,2.00' is not a number"):
        snapshot(yes_dollars_fp=[["0.1000", "1.00,2.00"]])
    with pytest.raises(ProtocolError, match="two no levels at one price"):
        snapshot(no_dollars_fp=[["0.1000", "1.00"], ["0.1", "1.00"]])


@pytest.mark.parametrize(
    "old",
    [
        {"yes": [[101, 1]]},
        {"yes": [[-1, 1]]},
        {"yes": [[1, -1]]},
        {"yes": [[1.0, 1]]},
        {"yes": [[1, True]]},
        {"yes": [["1", 1]]},
        {"yes": [[1, 1], [1, 2]]},
        {"yes_dollars": [["0.01", -5]]},
        {"yes_dollars": [["0.01", "-5"]]},
        {"yes_dollars": [["0.01", 5], ["0.0100", 5]]},
        {"yes_dollars": [[2, 5]]},
    ],
)
def test_bad_old_levels_are_refused(old: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        snapshot(**NO_FP, **old)


sides = st.dictionaries(st.integers(0, 10_000), st.integers(1, 10**12), max_size=12)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(sides, sides)
def test_snapshot_round_trip(yes: dict[int, int], no: dict[int, int]) -> None:
    def wire(side: dict[int, int]) -> list[list[str]]:
        return [[f"{p // 10_000}.{p % 10_000:04d}", f"{s // 100}.{s % 100:02d}"] for p, s in side.items()]

    message = snapshot(yes_dollars_fp=wire(yes), no_dollars_fp=wire(no))
    assert message.book_sides() == (yes, no)
    assert {int(price * 10_000): int(quantity * 100) for price, quantity in message.yes} == yes


def test_sizes_of_a_snapshot_are_exact() -> None:
    """They are all read in one step, through floats."""
    chance = random.Random(5)
    units = [chance.randrange(1, 10**digits) for digits in range(1, 16) for _ in range(60)] + [
        1,
        29,
        115,
        10**15 - 1,
    ]
    levels = [[f"{i / 10_000:.4f}", f"{size // 100}.{size % 100:02}"] for i, size in enumerate(units)]
    assert list(snapshot(yes_dollars_fp=levels).book_sides()[0].values()) == units
    levels[7][1] = "007.00"  # which JSON does not have
    assert snapshot(yes_dollars_fp=levels).book_sides()[0][7] == 700
