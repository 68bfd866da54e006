"""The grammar of numbers and times: faults S14, PROTOCOL.md 7."""

from __future__ import annotations

import decimal
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_feed.messages import values
from kalshi_feed.messages.values import (
    PRICES,
    Level,
    cents_units,
    check_counts,
    check_money,
    check_prices,
    check_sizes,
    count_units,
    from_ms,
    from_seconds,
    index_value,
    json_number,
    level,
    money_decimal,
    money_units,
    parse_time,
    price_decimal,
    price_units,
    size_decimal,
    size_units,
)

few = settings(derandomize=True, max_examples=100, deadline=None)

# Decimal(), float() or int() would accept most of these.
NOT_NUMBERS = [
    "",
    " ",
    "NaN",
    "sNaN",
    "Infinity",
    "-Infinity",
    "inf",
    "1e400",
    "1E0",
    "5e-1",
    "1_000",
    "0_0.5",
    " 0.5",
    "0.5 ",
    " 1 ",
    "0.5\n",
    "\u0661",  # ARABIC-INDIC DIGIT ONE: isdigit() and int() accept it
    "0.\u0661",
    "\u0661\u0661.\u0661\u0661",
    "\uff11.00",
    "\u00b2.00",
    "+0.5",
    "+1.00",
    "--1.00",
    "-",
    "-.50",
    ".50",
    ".5",
    "5.",
    ".",
    "..",
    "0..5",
    "0.5.0",
    "0,50",
    "0x1",
    "1.00,2.00",
    "null",
    "true",
]


@pytest.mark.parametrize(
    "text", [*NOT_NUMBERS, "-0.5", "-0", "0.12345", "0.00001", "1.0001", "2", "00.5", "01", "9" * 5000]
)
def test_price_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match="is not a number of dollars from 0 to 1 with at most 4 decimals"
    ) as caught:
        price_units(text)
    assert len(str(caught.value)) < 200
    assert text not in PRICES
    with pytest.raises(ValueError, match="number of dollars"):
        check_prices(None, "0.5", text)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0", 0),
        ("1", 10_000),
        ("0.5", 5000),
        ("0.54", 5400),
        ("0.960", 9600),
        ("0.0100", 100),
        ("0.0001", 1),
        ("0.9999", 9999),
        ("1.0000", 10_000),
        ("0.0", 0),
    ],
)
def test_price(text: str, units: int) -> None:
    assert price_units(text) == units
    assert PRICES[text] == units
    assert price_units(text) == units  # from the cache
    check_prices(text, None)


def test_prices_stay_few() -> None:
    for units in range(10_001):
        for text in (f"{units / 10_000:.4f}", f"{units / 10_000:g}"):
            if "e" not in text:
                assert price_units(text) == units
    assert len(PRICES) < 12_000


@pytest.mark.parametrize(
    "text", [*NOT_NUMBERS, "1.234", "0.001", "1234567890123456", "1" * 16 + ".00", "9" * 5000]
)
def test_size_refused(text: str) -> None:
    for refused in (text, "-" + text):
        for function in (size_units, count_units, check_counts):
            if refused == "-" + text and function is size_units and text.startswith("-"):
                continue
            with pytest.raises(ValueError, match=r"size .* is n"):
                function(refused)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("158.53", 15853),
        ("0.00", 0),
        ("0.01", 1),
        ("1.00", 100),
        ("1", 100),
        ("1.5", 150),
        ("0", 0),
        ("9999999999999.99", 999_999_999_999_999),
        ("000.50", 50),
        ("123456789012345", 12_345_678_901_234_500),
    ],
)
def test_size(text: str, units: int) -> None:
    assert size_units(text) == count_units(text) == units
    check_counts(text, None)
    assert size_units("-" + text) == -units
    for function in (count_units, check_counts):
        with pytest.raises(ValueError, match="is negative"):
            function("-" + text)


@pytest.mark.parametrize("text", [*NOT_NUMBERS, "0.0000001", "1" * 16, "1234567890.123456"])
def test_money_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount .* is not a number of dollars with at most 6 decimals"):
        money_units(text)


@pytest.mark.parametrize(
    ("text", "units"),
    [("0.010000", 10_000), ("-0.01", -10_000), ("3", 3_000_000), ("0.000001", 1), ("12.3456", 12_345_600)],
)
def test_money(text: str, units: int) -> None:
    assert money_units(text) == units
    assert money_decimal(units) == Decimal(text)
    assert money_decimal(units).as_tuple().exponent == -6


def test_cents() -> None:
    assert [cents_units(cents) for cents in (0, 1, 54, 100)] == [0, 100, 5400, 10_000]
    for wrong in (-1, 101):
        with pytest.raises(ValueError, match="not in 0 to 100"):
            cents_units(wrong)


def test_decimals_keep_their_places() -> None:
    assert [str(price_decimal(units)) for units in (0, 1, 5400, 10_000, 20_000)] == [
        "0.0000",
        "0.0001",
        "0.5400",
        "1.0000",
        "2.0000",
    ]
    assert [str(size_decimal(units)) for units in (0, 1, 15853, -5400)] == [
        "0.00",
        "0.01",
        "158.53",
        "-54.00",
    ]
    assert str(money_decimal(10_000)) == "0.010000"
    assert level(5400, 15853) == Level(Decimal("0.54"), Decimal("158.53"))


def test_decimals_do_not_depend_on_the_programs_context() -> None:
    with decimal.localcontext() as context:
        context.prec = 2
        context.traps[decimal.Inexact] = True
        values._price_decimals.clear()
        assert str(price_decimal(5432)) == "0.5432"
        assert str(size_decimal(123_456_789)) == "1234567.89"
        assert str(money_decimal(123_456_789)) == "123.456789"


@few
@given(st.integers(-(10**15) + 1, 10**15 - 1))
def test_size_round_trip(units: int) -> None:
    assert size_units(str(size_decimal(units))) == units


@few
@given(st.text(alphabet="0123456789.-+e_ \u0661", max_size=8))
def test_what_is_accepted_is_what_decimal_says(text: str) -> None:
    """Always stricter than Decimal, and never another number."""
    for function, scale in (
        (price_units, 10_000),
        (size_units, 100),
        (count_units, 100),
        (money_units, 1_000_000),
    ):
        try:
            units = function(text)
        except ValueError:
            continue
        assert Decimal(text) * scale == units


UTC = timezone.utc


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2022-11-22T20:44:01Z", datetime(2022, 11, 22, 20, 44, 1, tzinfo=UTC)),
        ("2026-08-05T03:45:40.722003Z", datetime(2026, 8, 5, 3, 45, 40, 722003, tzinfo=UTC)),
        ("2026-08-05T03:45:40.7Z", datetime(2026, 8, 5, 3, 45, 40, 700000, tzinfo=UTC)),
        ("2026-08-05T03:45:40.72Z", datetime(2026, 8, 5, 3, 45, 40, 720000, tzinfo=UTC)),
        ("2026-08-05T03:45:40.000001999Z", datetime(2026, 8, 5, 3, 45, 40, 1, tzinfo=UTC)),
        ("2026-08-05t03:45:40z", datetime(2026, 8, 5, 3, 45, 40, tzinfo=UTC)),
        ("2026-08-05T03:45:40.5-04:00", datetime(2026, 8, 5, 7, 45, 40, 500000, tzinfo=UTC)),
        ("2026-08-05T03:45:40+05:30", datetime(2026, 8, 4, 22, 15, 40, tzinfo=UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_time(text: str, expected: datetime) -> None:
    parsed = parse_time(text)
    assert parsed == expected
    assert parsed.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2022-11-22",
        "2022-11-22T20:44:01",  # no time zone
        "2022-11-22 20:44:01Z",
        "2022-11-22T20:44Z",
        "2022-11-22T20:44:01.Z",
        "2022-11-22T20:44:01.1234567890Z",
        "2022-11-22T20:44:01Z\n",
        "2022-13-22T20:44:01Z",
        "2023-02-29T00:00:00Z",
        "2022-11-22T25:44:01Z",
        "2022-11-22T20:44:61Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2022-11-22T20:44:01+24:00",
        "2022-11-22T20:44:01+01:60",
        "\u0662022-11-22T20:44:01Z",
        "1669149841",
        "x" * 10_000,
    ],
)
def test_time_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^time ") as caught:
        parse_time(text)
    assert len(str(caught.value)) < 300


def test_unix_times() -> None:
    assert from_ms(1785901540722) == datetime(2026, 8, 5, 3, 45, 40, 722000, tzinfo=UTC)
    assert from_seconds(1669149841) == datetime(2022, 11, 22, 20, 44, 1, tzinfo=UTC)
    assert from_ms(0) == from_seconds(0) == datetime(1970, 1, 1, tzinfo=UTC)
    for wrong in (2**62, -(2**62), 10**30):
        with pytest.raises(ValueError, match="outside the years"):
            from_ms(wrong)
        with pytest.raises(ValueError, match="outside the years"):
            from_seconds(wrong)


@few
@given(st.integers(0, 253_402_300_799_999))
def test_every_millisecond_is_exact(milliseconds: int) -> None:
    moment = from_ms(milliseconds)
    assert (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) == milliseconds
    assert parse_time(moment.isoformat()) == moment


@pytest.mark.parametrize("text", [*NOT_NUMBERS, "0.123456789", "9" * 16, "9" * 5000])
def test_index_value_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number with at most 8 decimals") as caught:
        index_value(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["68000.12000000", "-0.50000001", "0", "4", "999999999999999.99999999"])
def test_index_value(text: str) -> None:
    with decimal.localcontext(decimal.Context(prec=3)):
        assert str(index_value(text)) == text


@pytest.mark.parametrize(
    "number",
    [*NOT_NUMBERS, True, None, 1.5, [], "9" * 61, Decimal("nan"), Decimal("1e61"), Decimal("1e-61"), 10**61],
)
def test_json_number_refused(number: object) -> None:
    with pytest.raises(ValueError, match="is not a JSON number") as caught:
        json_number(number)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "number", [0, -5, 10**30, Decimal("0.10"), Decimal("1e-7"), Decimal("0e500"), "4487", "-0.5"]
)
def test_json_number(number: object) -> None:
    with decimal.localcontext(decimal.Context(prec=3)):
        assert json_number(number) == Decimal(str(number))


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_checks_refuse_what_the_units_refuse(text: str) -> None:
    for check, units in ((check_sizes, size_units), (check_money, money_units)):
        with pytest.raises(ValueError) as caught:
            units(text)
        with pytest.raises(ValueError) as checked:
            check(None, "1.00", text)
        assert str(checked.value) == str(caught.value)


@few
@given(st.from_regex(r"-?[0-9]{0,17}(\.[0-9]{0,8})?", fullmatch=True))
def test_checks_accept_what_the_units_accept(text: str) -> None:
    for check, units in ((check_sizes, size_units), (check_money, money_units)):
        try:
            units(text)
        except ValueError:
            with pytest.raises(ValueError):
                check(text)
        else:
            check(text)
