"""Reference values: CF Benchmarks indices and Pyth underlyings, which move while a client listens
(PROTOCOL.md 6.12).

Owns the values and their messages. An index has the same values on both cfbenchmarks channels. Inside, values
are ints of 1/100,000,000 dollar.
"""

from __future__ import annotations

import random
from collections import deque
from decimal import Decimal, InvalidOperation
from typing import Any

from . import wire
from .core import Core
from .wire import Number

UNIT = 100_000_000
INDICES = {
    "BRTI": 68_000,
    "ETHUSD_RTI": 2_500,
    "SOLUSD_RTI": 150,
    "XRPUSD_RTI": 2,
    "DOGEUSD_RTI": 1,
    "LTCUSD_RTI": 90,
}
FIVE_HZ = frozenset({"BRTI", "ETHUSD_RTI", "SOLUSD_RTI", "XRPUSD_RTI", "DOGEUSD_RTI"})
UNDERLYINGS = {
    "Commodities.Index.NATGAS/USD": 3,
    "Commodities.Index.PYTHOIL/USD": 82,
    "InterestRate.US2Y": 4,
    "Metal.XAG/USD": 30,
    "Metal.XAU/USD": 2_365,
    "Metal.XPT/USD": 990,
}
PULSES_PER_SECOND = 5
WINDOW_MS = 60_000
MINUTE_MS = 60_000
DRIFT = 0.0001  # how far a value moves in a second, as a fraction of itself


def value_units(value: Number) -> int:
    """Convert dollars (percent for yields, any sign) to ints of 1/100,000,000. Raises ValueError below the
    smallest step."""
    try:
        scaled = Decimal(str(value)) * UNIT
    except InvalidOperation:
        raise ValueError(f"value must be a number, got {value!r}") from None
    if not scaled.is_finite() or scaled != int(scaled):
        raise ValueError(f"value {value!r} is finer than 0.00000001, or not finite")
    return int(scaled)


def value_text(value: int) -> str:
    """``236512345000`` -> ``"2365.12345000"``."""
    whole, rest = divmod(abs(value), UNIT)
    return f"{'-' if value < 0 else ''}{whole}.{rest:08d}"


class Reference:
    """One index or underlying. Not thread-safe: the exchange's lock guards it."""

    def __init__(self, name: str, value: int) -> None:
        self.name = name
        self.value = value
        self.seen: deque[tuple[int, int]] = deque()  # (ms, value) as published in the last 60 seconds

    def move(self, pick: random.Random, seconds: float) -> None:
        """Take a random step of whole 1/10,000 dollars."""
        step = round(self.value * pick.gauss(0.0, DRIFT * seconds) / 10_000) * 10_000
        self.value += step

    def record(self, now_ms: int) -> None:
        """Remember the value as published now, for the averages."""
        self.seen.append((now_ms, self.value))
        while self.seen[0][0] < now_ms - WINDOW_MS:
            self.seen.popleft()

    def upstream(self, now_ms: int) -> str:
        """The raw frame of the source, as a string."""
        frame = {"type": "value", "id": self.name, "time": now_ms, "value": value_text(self.value)[:-4]}
        return wire.encode_json(frame).decode()

    def index_message(self, now_ms: int) -> dict[str, Any]:
        """The ``msg`` of a cfbenchmarks_value, with the quarter-hour's average in its last minute."""
        msg: dict[str, Any] = {
            "index_id": self.name,
            "received_at": now_ms,
            "data": self.upstream(now_ms),
            "avg_60s_data": self._average(now_ms - WINDOW_MS, now_ms),
        }
        if now_ms // MINUTE_MS % 15 == 14:
            msg["last_60s_windowed_average_15min"] = self._average(now_ms // MINUTE_MS * MINUTE_MS, now_ms)
        return msg

    def _average(self, start_ms: int, now_ms: int) -> dict[str, Any]:
        values = [value for at, value in self.seen if at >= start_ms] or [self.value]
        return {
            "value": value_text(sum(values) // len(values)),
            "window_size": len(values),
            "window_start_ts_ms": start_ms,
            "window_end_ts_exclusive": now_ms,
        }

    def fast_message(self, now_ms: int) -> dict[str, Any]:
        """The ``msg`` of a cfbenchmarks_value_5hz."""
        return {
            "index_id": self.name,
            "value_usd": value_text(self.value),
            "source_ts_ms": now_ms,
            "received_at": now_ms,
            "data": self.upstream(now_ms),
        }

    def underlying_message(self, now_ms: int) -> dict[str, Any]:
        """The ``msg`` of a pyth_value."""
        return {
            "underlying_ticker": self.name,
            "value_usd": value_text(self.value),
            "source_ts_ms": now_ms,
            "received_at": now_ms,
        }


class References:
    """The reference feeds of the exchange. Thread-safe; methods named ``…_locked`` need the exchange's lock
    held."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._indices = {name: Reference(name, dollars * UNIT) for name, dollars in INDICES.items()}
        self._underlyings = {name: Reference(name, dollars * UNIT) for name, dollars in UNDERLYINGS.items()}

    def publish_index(self, index_id: str, value: Number | None = None) -> None:
        """Publish a value of a CF Benchmarks index on both channels (the 5 Hz one carries only some of them).

        ``value``: None repeats the current one. A new ``index_id`` becomes available. Raises ValueError,
        LookupError.
        """
        with self._core.step():
            self._publish_index(self._reference(self._indices, index_id, value), slow=True)

    def publish_underlying(self, underlying_ticker: str, value: Number | None = None) -> None:
        """Publish a value of a Pyth underlying, as ``publish_index`` does. Raises ValueError, LookupError."""
        with self._core.step():
            self._publish_underlying(self._reference(self._underlyings, underlying_ticker, value))

    def names_locked(self, channel: str) -> list[str]:
        """The indices or underlyings that a channel offers, sorted."""
        if channel == "pyth_value":
            return sorted(self._underlyings)
        return sorted(name for name in self._indices if channel == "cfbenchmarks_value" or name in FIVE_HZ)

    def _reference(self, known: dict[str, Reference], name: str, value: Number | None) -> Reference:
        units = None if value is None else value_units(value)
        if name not in known:
            if units is None:
                raise LookupError(
                    f"the exchange has no reference value {name!r}: pass a value, or use {sorted(known)}"
                )
            known[name] = Reference(name, units)
        elif units is not None:
            known[name].value = units
        return known[name]

    def _publish_named(self, channel: str, name: str, msg: dict[str, Any]) -> None:
        listeners = [pair for pair in self._core.subscribed(channel) if pair[1].wants_name(name)]
        self._core.send(listeners, channel, lambda: msg)

    def _publish_index(self, index: Reference, *, slow: bool) -> None:
        now_ms = self._core.now_us() // 1000
        if slow:
            index.record(now_ms)
            self._publish_named("cfbenchmarks_value", index.name, index.index_message(now_ms))
        if index.name in FIVE_HZ:
            self._publish_named("cfbenchmarks_value_5hz", index.name, index.fast_message(now_ms))

    def _publish_underlying(self, underlying: Reference) -> None:
        self._publish_named(
            "pyth_value", underlying.name, underlying.underlying_message(self._core.now_us() // 1000)
        )

    def _heard_names(self, channel: str, known: dict[str, Reference]) -> list[Reference]:
        """The reference values that a client listens to."""
        listeners = self._core.subscribed(channel)
        return [item for name, item in known.items() if any(one.wants_name(name) for _, one in listeners)]

    def move_locked(self, pick: random.Random, beat: int) -> None:
        """Move the values that a client listens to; of five pulses a second, every fifth is for the slow
        channels, too."""
        slow = beat % PULSES_PER_SECOND == 0
        heard = dict.fromkeys(self._heard_names("cfbenchmarks_value_5hz", self._indices))
        if slow:
            heard |= dict.fromkeys(self._heard_names("cfbenchmarks_value", self._indices))
            for underlying in self._heard_names("pyth_value", self._underlyings):
                underlying.move(pick, 1.0)
                self._publish_underlying(underlying)
        for index in heard:
            index.move(pick, 1 / PULSES_PER_SECOND)
            self._publish_index(index, slow=slow)
