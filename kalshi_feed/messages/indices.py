"""The messages of the reference feeds: cfbenchmarks_value, cfbenchmarks_value_5hz, pyth_value and their lists
(PROTOCOL.md 6.12).

Owns the types. Every field may be None. ``*_ts_ms`` and ``received_at`` are Unix times in milliseconds.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from msgspec import field

from .base import Count, Id, Milliseconds, ready_time
from .flat import STRICT, FlatMessage, IndexText, Part, TickerText, decoded
from .values import index_value, json_number

__all__ = [
    "CfBenchmarks5HzIndexList",
    "CfBenchmarks5HzValue",
    "CfBenchmarksIndexList",
    "CfBenchmarksValue",
    "IndexAverage",
    "IndexMessage",
    "PythUnderlyingList",
    "PythValue",
]


class IndexAverage(Part, frozen=True, gc=False, kw_only=True):
    """An index's average over a window of time; ``value`` is the wire's string. Thread-safe: immutable."""

    value: IndexText = None
    window_size: Count | None = None
    """How many values were averaged."""
    window_start_ts_ms: Milliseconds | None = None
    window_end_ts_exclusive: Milliseconds | None = None
    """The first millisecond after the window."""

    @property
    def average(self) -> Decimal | None:
        """``value``, to 8 decimals."""
        return None if self.value is None else index_value(self.value)

    @property
    def window_start_at(self) -> datetime | None:
        """The beginning of the averaged window, UTC."""
        return ready_time(self.window_start_ts_ms)

    @property
    def window_end_at(self) -> datetime | None:
        """The first moment after the window, UTC."""
        return ready_time(self.window_end_ts_exclusive)


class IndexMessage(FlatMessage, frozen=True, gc=False, kw_only=True):
    """Base of the three messages with an index's value. Thread-safe: immutable.

    ``received_at`` is the wire's number of milliseconds; as a datetime it is ``received_time``.
    """

    received_at: Milliseconds | None = None
    """When the exchange got the value."""

    @property
    def value(self) -> Decimal | None:
        """The index's value: dollars, or percent for Pyth's Treasury yields."""
        return None

    @property
    def received_time(self) -> datetime | None:
        """When the exchange got the value (``received_at``), as an aware datetime."""
        return ready_time(self.received_at)


class _Upstream(IndexMessage, frozen=True, gc=False, kw_only=True):
    """A message that carries CF Benchmarks' own JSON. Thread-safe: immutable."""

    index_id: TickerText = None
    """Such as "BRTI"."""
    data: str | None = None
    """The JSON that CF Benchmarks sent, unchecked. Read ``upstream``."""

    @property
    def upstream(self) -> dict[str, Any] | None:
        """``data`` as a new dict, numbers with a fraction as Decimals; None if it is not a JSON object."""
        try:
            value = decoded(self.data or "")
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


class CfBenchmarksValue(
    _Upstream, frozen=True, gc=False, kw_only=True, tag_field="type", tag="cfbenchmarks_value"
):
    """A CF Benchmarks index's value and averages, about every second (since 2026-06).

    Thread-safe: immutable.
    """

    type: ClassVar[str] = "cfbenchmarks_value"

    avg_60s_data: Annotated[IndexAverage | None, STRICT] = None
    """Over the last 60 seconds."""
    last_60s_windowed_average_15min: Annotated[IndexAverage | None, STRICT] = None
    """Over the minute before :00, :15, :30 and :45; only sent in that minute."""

    @property
    def value(self) -> Decimal | None:
        """Dollars, from ``data``; None if that has no readable "value"."""
        value = (self.upstream or {}).get("value")
        try:
            return index_value(value) if isinstance(value, str) else json_number(value)
        except ValueError:
            return None

    @property
    def time(self) -> datetime | None:
        """When CF Benchmarks made the value ("time" in ``data``) or, without that, the exchange got it."""
        made = (self.upstream or {}).get("time")
        if type(made) is int:
            try:
                return ready_time(made)
            except ValueError:
                pass
        return self.received_time


class CfBenchmarks5HzValue(
    _Upstream, frozen=True, gc=False, kw_only=True, tag_field="type", tag="cfbenchmarks_value_5hz"
):
    """A value of a CF Benchmarks index, five a second (since 2026-09-03). Thread-safe: immutable."""

    type: ClassVar[str] = "cfbenchmarks_value_5hz"

    value_usd: IndexText = None
    """Dollars with 8 decimals."""
    source_ts_ms: Milliseconds | None = None
    """When CF Benchmarks made the value."""

    @property
    def value(self) -> Decimal | None:
        """Dollars, to 8 decimals (``value_usd``)."""
        return None if self.value_usd is None else index_value(self.value_usd)

    @property
    def source_at(self) -> datetime | None:
        """When the source made the value, UTC."""
        return ready_time(self.source_ts_ms)

    @property
    def time(self) -> datetime | None:
        """When CF Benchmarks made the value or, without that, the exchange got it, as an aware datetime."""
        return self.source_at or self.received_time


class PythValue(IndexMessage, frozen=True, gc=False, kw_only=True, tag_field="type", tag="pyth_value"):
    """A value of a Pyth price feed (since 2026-07-23; a paid channel). Thread-safe: immutable."""

    type: ClassVar[str] = "pyth_value"

    underlying_ticker: TickerText = None
    """Such as "Metal.XAU/USD"."""
    value_usd: IndexText = None
    """Dollars with 8 decimals; percent for Treasury yields."""
    source_ts_ms: Milliseconds | None = None
    """When Pyth made the value."""

    @property
    def value(self) -> Decimal | None:
        """Dollars, or percent for Treasury yields, to 8 decimals (``value_usd``)."""
        return None if self.value_usd is None else index_value(self.value_usd)

    @property
    def source_at(self) -> datetime | None:
        """When the source made the value, UTC."""
        return ready_time(self.source_ts_ms)

    @property
    def time(self) -> datetime | None:
        """When Pyth made the value or, without that, the exchange got it, as an aware datetime."""
        return self.source_at or self.received_time


class _List(FlatMessage, frozen=True, gc=False, kw_only=True):
    """An answer that lists what can be subscribed to. Thread-safe: immutable."""

    id: Id | None = field(default=None, name="id")
    """The command's; None if it had none."""


class CfBenchmarksIndexList(
    _List, frozen=True, gc=False, kw_only=True, tag_field="type", tag="cfbenchmarks_value_indexlist"
):
    """The answer to "indexlist": all indices. Thread-safe: immutable."""

    type: ClassVar[str] = "cfbenchmarks_value_indexlist"

    index_ids: tuple[str, ...] | None = None


class CfBenchmarks5HzIndexList(
    _List, frozen=True, gc=False, kw_only=True, tag_field="type", tag="cfbenchmarks_value_5hz_indexlist"
):
    """The answer to "indexlist" on the 5 Hz channel: all indices. Thread-safe: immutable."""

    type: ClassVar[str] = "cfbenchmarks_value_5hz_indexlist"

    index_ids: tuple[str, ...] | None = None


class PythUnderlyingList(
    _List, frozen=True, gc=False, kw_only=True, tag_field="type", tag="pyth_value_underlying_list"
):
    """The answer to "underlying_list": all underlyings. Thread-safe: immutable."""

    type: ClassVar[str] = "pyth_value_underlying_list"

    underlying_tickers: tuple[str, ...] | None = None
