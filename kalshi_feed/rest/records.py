"""Events, series and the exchange's state, as REST describes them; Market is in messages/listed.py.

Owns these types. They follow the messages' rules (kalshi_feed.messages): a wire field keeps its name, next to
it is its ready value (Decimal dollars and contracts, aware datetimes), unknown keys and unreadable values end
up in ``extra``, and every field but the ticker may be None.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from ..messages.base import Time, ready_time
from ..messages.flat import json_text
from ..messages.listed import Market, Record, market_in, record_in
from ..messages.plain import shown_fields
from .budget import BASIC_TOKENS, COST

__all__ = [
    "Event",
    "ExchangeStatus",
    "Limits",
    "Market",
    "Record",
    "Series",
    "event_in",
    "limits_in",
    "market_in",
    "series_in",
    "status_in",
]

# Tokens a second by the tier's name, which is in every answer; the lowest where the name is not known.
_TIERS: Final = {
    "basic": 200.0,
    "advanced": 300.0,
    "expert": 600.0,
    "premier": 1_200.0,
    "paragon": 2_400.0,
    "prime": 4_800.0,
    "prestige": 12_000.0,
}


class Event(Record, frozen=True, gc=False, kw_only=True):
    """An event: a question with one or more markets. Thread-safe: immutable."""

    event_ticker: str = ""
    series_ticker: str | None = None
    title: str | None = None
    sub_title: str | None = None
    category: str | None = None
    mutually_exclusive: bool | None = None
    """Whether at most one of its markets can end with yes."""
    markets: tuple[Market, ...] = ()
    """Empty if they were not requested."""

    @property
    def subtitle(self) -> str | None:
        """``sub_title``, under the messages' name."""
        return self.sub_title

    def __repr__(self) -> str:
        names = ("series_ticker", "category", "title", "sub_title")
        count = [f"{len(self.markets)} markets"] if self.markets else []
        return f"Event({' '.join([self.event_ticker, *shown_fields(self, names), *count])})"


class Series(Record, frozen=True, gc=False, kw_only=True):
    """A series: events of one kind, such as every 15 minutes. Thread-safe: immutable."""

    ticker: str = ""
    title: str | None = None
    category: str | None = None
    tags: tuple[str, ...] | None = None
    frequency: str | None = None
    fee_type: str | None = None

    def __repr__(self) -> str:
        names = ("frequency", "category", "title", "tags")
        return f"Series({' '.join([self.ticker, *shown_fields(self, names)])})"


class ExchangeStatus(Record, frozen=True, gc=False, kw_only=True):
    """Whether the exchange is open. Thread-safe: immutable."""

    exchange_active: bool | None = None
    trading_active: bool | None = None
    exchange_estimated_resume_time: Time = None

    @property
    def exchange_estimated_resume_at(self) -> datetime | None:
        """When a pause is expected to end, UTC."""
        return ready_time(None, self.exchange_estimated_resume_time)


class Limits(Record, frozen=True, gc=False, kw_only=True):
    """How much the account may request. Thread-safe: immutable."""

    usage_tier: str | None = None
    """ "basic", "advanced" …"""
    tokens_per_second: float = BASIC_TOKENS
    """For reading; a request costs 10."""

    @property
    def requests_per_second(self) -> float:
        """For reading."""
        return self.tokens_per_second / COST


def event_in(wire: Mapping[str, Any], markets: object = None) -> Event:
    """Return the event in an object of ``/events``. Raises ValueError.

    ``markets``: its markets, where they stand beside the event.
    """
    body = dict(wire)
    inner = body.pop("markets", None)
    objects = inner if markets is None else markets
    if not isinstance(objects, (list, type(None))) or not all(isinstance(o, dict) for o in objects or ()):
        raise ValueError("the markets of an event are not a list of objects")
    event = record_in(Event, body, "event_ticker")
    found = (market_in({"series_ticker": event.series_ticker, **one}) for one in objects or ())
    return replace(event, markets=tuple(found))


def series_in(wire: Mapping[str, Any]) -> Series:
    """Return the series in an object of ``/series``. Raises ValueError."""
    return record_in(Series, wire, "ticker")


def status_in(wire: Mapping[str, Any]) -> ExchangeStatus:
    """Return the answer of ``/exchange/status``. Raises ValueError."""
    return record_in(ExchangeStatus, wire, None)


def limits_in(wire: Mapping[str, Any]) -> Limits:
    """Return the answer of ``/account/limits``; the rate is at least one request a second.

    Its shape is not documented: the rate comes from ``read.refill_rate`` (tokens), ``read_limit``, or the
    tier's name. ``read_limit`` counts requests in older answers: from 200 on it is taken for tokens, because
    too slow is better than too fast.
    """
    tier = wire.get("usage_tier")
    read = wire.get("read")
    rate = _number(read.get("refill_rate")) if isinstance(read, Mapping) else None
    old = _number(wire.get("read_limit"))
    if rate is None and old is not None:
        rate = old if old >= BASIC_TOKENS else old * COST
    if rate is None:
        rate = _TIERS.get(str(tier).lower(), BASIC_TOKENS)
    rest = {name: value for name, value in wire.items() if name != "usage_tier"}
    return Limits(
        usage_tier=tier if isinstance(tier, str) else None,
        tokens_per_second=max(rate, COST),
        extra_json=json_text(rest) if rest else b"",
    )


def _number(value: object) -> float | None:
    is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < 1e9 else None  # type: ignore[operator,arg-type]
