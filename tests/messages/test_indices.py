"""The reference feeds: values, averages, upstream data parsed on demand, lists."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from msgspec import UNSET

from kalshi_feed.messages import (
    CfBenchmarks5HzIndexList,
    CfBenchmarks5HzValue,
    CfBenchmarksIndexList,
    CfBenchmarksValue,
    IndexMessage,
    PythUnderlyingList,
    PythValue,
    decode,
)

from .frames import ABSENT, FLAT, text


def moment(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=ms)


def value(**body: Any) -> CfBenchmarksValue:
    message = decode(text(FLAT["cfbenchmarks_value"], **body))
    assert isinstance(message, CfBenchmarksValue)
    return message


def test_cfbenchmarks_value() -> None:
    message = value()
    assert isinstance(message, IndexMessage)
    assert (message.index_id, message.market_ticker) == ("BRTI", None)
    assert (message.value, message.time) == (Decimal("68000.12"), moment(1710000000100))
    assert message.upstream is not None
    assert message.upstream["more"] == Decimal("0.10")
    assert message.upstream is not message.upstream
    assert (message.received_at, message.received_time) == (1710000000123, moment(1710000000123))
    average = message.avg_60s_data
    assert average is not None
    assert (average.value, str(average.average), average.window_size) == (
        "68000.12000000",
        "68000.12000000",
        60,
    )
    assert (average.window_start_at, average.window_end_at) == (moment(1709999940123), moment(1710000000123))
    assert message.last_60s_windowed_average_15min is not None
    assert message.last_60s_windowed_average_15min.average == Decimal("68000.23")
    assert value(last_60s_windowed_average_15min=ABSENT).last_60s_windowed_average_15min is None


@pytest.mark.parametrize(
    "data",
    [None, ABSENT, "", "x", "[]", "5", "{", "{}", '{"value":null}', '{"value":"NaN","time":-1}', '{"value":[],"time":"x"}',  # noqa: E501
     '{"value":1e400,"time":1e400}', '{"value":"1_0","time":99999999999999999999}', '{"value":true,"time":true}', "[" * 100_000],  # noqa: E501
    ids=lambda data: repr(data)[:30],
)  # fmt: skip
def test_data_that_cannot_be_read(data: Any) -> None:
    message = value(data=data)
    assert message.value is None
    assert message.time is not None
    assert message.upstream is None or isinstance(message.upstream, dict)


@pytest.mark.parametrize("number", ['"68000.12"', "68000.12", '"-0.5"', "68000"])
def test_upstream_values(number: str) -> None:
    assert value(data=f'{{"value":{number}}}').value == Decimal(number.strip('"'))


def test_the_base_has_no_value() -> None:
    assert IndexMessage(wire=UNSET).value is None


def test_5hz() -> None:
    message = decode(text(FLAT["cfbenchmarks_value_5hz"]))
    assert isinstance(message, CfBenchmarks5HzValue)
    assert (str(message.value), message.value_usd) == ("68000.12000001", "68000.12000001")
    assert message.time == message.source_at == moment(1710000000323)
    bare = decode(text(FLAT["cfbenchmarks_value_5hz"], source_ts_ms=ABSENT, value_usd=ABSENT))
    assert isinstance(bare, CfBenchmarks5HzValue)
    assert (bare.time, bare.value) == (moment(1710000000341), None)


def test_pyth() -> None:
    message = decode(text(FLAT["pyth_value"]))
    assert isinstance(message, PythValue)
    assert (message.underlying_ticker, str(message.value), message.time) == (
        "Metal.XAU/USD",
        "2365.12345000",
        moment(1710000000100),
    )


def test_lists() -> None:
    for type_, cls in (
        ("cfbenchmarks_value_indexlist", CfBenchmarksIndexList),
        ("cfbenchmarks_value_5hz_indexlist", CfBenchmarks5HzIndexList),
        ("pyth_value_underlying_list", PythUnderlyingList),
    ):
        message = decode(text(FLAT[type_], {"id": 2}))
        assert isinstance(message, cls)
        assert message.id == 2
        assert decode(text(FLAT[type_])).id is None  # type: ignore[attr-defined]
    assert decode(text(FLAT["pyth_value_underlying_list"])).underlying_tickers == (
        "Metal.XAG/USD",
        "Metal.XAU/USD",
    )  # type: ignore[attr-defined]
