"""Markets, events, series and the exchange's state, as REST describes them.

Owns these types. They follow the messages' rules (kalshi_feed.messages): a wire field keeps its name, next to
it is its ready value (Decimal dollars and contracts, aware datetimes), unknown keys and unreadable values end
up in ``extra``, and every field but the ticker may be None.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from msgspec import field
from msgspec.structs import replace

from ..messages import PriceRange
from ..messages.base import Id, Time, ready_price, ready_size, ready_time
from ..messages.flat import (
    CountText,
    JsonNumber,
    JsonText,
    Part,
    PriceText,
    json_object,
    json_text,
    read_part,
)
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

_R = TypeVar("_R", bound="Record")
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


class Record(Part, frozen=True, gc=False, kw_only=True):
    """Base of the types that REST describes. Thread-safe: immutable. ``to_dict()`` works as on messages."""

    extra_json: bytes = b""

    @property
    def extra(self) -> Mapping[str, Any]:
        """Unknown keys and unreadable values, as plain Python values (a copy)."""
        return json_object(self.extra_json or None) or {}


class Market(Record, frozen=True, gc=False, kw_only=True):
    """A market. Thread-safe: immutable.

    An empty side of the book shows as a bid of 0 or an ask of 1, which is not a level.
    """

    ticker: str = ""
    """The market; ``market_ticker`` is the same."""
    event_ticker: str | None = None
    series_text: str | None = field(default=None, name="series_ticker")
    market_type: str | None = None
    title: str | None = None
    """Deprecated by the exchange, and may be missing: the event has a title, too."""
    yes_sub_title: str | None = None
    no_sub_title: str | None = None
    status: str | None = None
    """ "active", "closed", "determined", "finalized" …: more words than markets(status=…) takes, and the
    exchange may add others."""
    created_time: Time = None
    open_time: Time = None
    close_time: Time = None
    expected_expiration_time: Time = None
    latest_expiration_time: Time = None
    can_close_early: bool | None = None
    result: str | None = None
    """ "yes" or "no" once it is determined, "" before."""
    settlement_value_dollars: PriceText = None
    settlement_ts: Time = None
    yes_bid_dollars: PriceText = None
    yes_bid_size_fp: CountText = None
    yes_ask_dollars: PriceText = None
    yes_ask_size_fp: CountText = None
    last_price_dollars: PriceText = None
    volume_fp: CountText = None
    volume_24h_fp: CountText = None
    open_interest_fp: CountText = None
    price_level_structure: str | None = None
    price_ranges: tuple[PriceRange, ...] | None = None
    strike_type: str | None = None
    floor_strike: JsonNumber = None
    cap_strike: JsonNumber = None
    custom_strike_json: JsonText = field(default=None, name="custom_strike")
    rules_primary: str | None = None
    mve_collection_ticker: str | None = None
    exchange_index: Id | None = None

    @property
    def market_ticker(self) -> str:
        """The market, under the messages' name."""
        return self.ticker

    @property
    def series_ticker(self) -> str:
        """The series; where REST does not say, the first part of the ticker, as the exchange names them."""
        return self.series_text or (self.event_ticker or self.ticker).partition("-")[0]

    @property
    def created_at(self) -> datetime | None:
        """When it was made, UTC."""
        return ready_time(None, self.created_time)

    @property
    def open_at(self) -> datetime | None:
        """When trading begins, UTC."""
        return ready_time(None, self.open_time)

    @property
    def close_at(self) -> datetime | None:
        """When trading ends, UTC; if ``can_close_early``, at the latest."""
        return ready_time(None, self.close_time)

    @property
    def expected_expiration_at(self) -> datetime | None:
        """When the outcome is expected to be known, UTC."""
        return ready_time(None, self.expected_expiration_time)

    @property
    def latest_expiration_at(self) -> datetime | None:
        """When the outcome is known at the latest, UTC."""
        return ready_time(None, self.latest_expiration_time)

    @property
    def settlement_value(self) -> Decimal | None:
        """Dollars that a yes contract was worth, once it is settled."""
        return ready_price(self.settlement_value_dollars)

    @property
    def settlement_at(self) -> datetime | None:
        """When it was settled, UTC."""
        return ready_time(None, self.settlement_ts)

    @property
    def yes_bid(self) -> Decimal | None:
        """Dollars; 0 if there is no bid."""
        return ready_price(self.yes_bid_dollars)

    @property
    def yes_ask(self) -> Decimal | None:
        """Dollars; 1 if there is no ask."""
        return ready_price(self.yes_ask_dollars)

    @property
    def yes_bid_size(self) -> Decimal | None:
        """Contracts at the best bid."""
        return ready_size(self.yes_bid_size_fp)

    @property
    def yes_ask_size(self) -> Decimal | None:
        """Contracts at the best ask."""
        return ready_size(self.yes_ask_size_fp)

    @property
    def last_price(self) -> Decimal | None:
        """Dollars of the last trade (yes price)."""
        return ready_price(self.last_price_dollars)

    @property
    def volume(self) -> Decimal | None:
        """Contracts traded so far."""
        return ready_size(self.volume_fp)

    @property
    def volume_24h(self) -> Decimal | None:
        """Contracts traded in the last 24 hours."""
        return ready_size(self.volume_24h_fp)

    @property
    def open_interest(self) -> Decimal | None:
        """Contracts open."""
        return ready_size(self.open_interest_fp)

    @property
    def custom_strike(self) -> Mapping[str, Any] | None:
        """As sent (a copy)."""
        return json_object(self.custom_strike_json)

    def __repr__(self) -> str:
        names = ("status", "yes_bid", "yes_ask", "volume", "open_at", "close_at", "result", "title")
        return f"Market({' '.join([self.ticker, *shown_fields(self, names)])})"


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


def market_in(wire: Mapping[str, Any]) -> Market:
    """Return the market in an object of ``/markets``. Raises ValueError."""
    return _record(Market, wire, "ticker")


def event_in(wire: Mapping[str, Any], markets: object = None) -> Event:
    """Return the event in an object of ``/events``. Raises ValueError.

    ``markets``: its markets, where they stand beside the event.
    """
    body = dict(wire)
    inner = body.pop("markets", None)
    objects = inner if markets is None else markets
    if not isinstance(objects, (list, type(None))) or not all(isinstance(o, dict) for o in objects or ()):
        raise ValueError("the markets of an event are not a list of objects")
    event = _record(Event, body, "event_ticker")
    found = (market_in({"series_ticker": event.series_ticker, **one}) for one in objects or ())
    return replace(event, markets=tuple(found))


def series_in(wire: Mapping[str, Any]) -> Series:
    """Return the series in an object of ``/series``. Raises ValueError."""
    return _record(Series, wire, "ticker")


def status_in(wire: Mapping[str, Any]) -> ExchangeStatus:
    """Return the answer of ``/exchange/status``. Raises ValueError."""
    return _record(ExchangeStatus, wire, None)


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


def _record(cls: type[_R], wire: Mapping[str, Any], needed: str | None) -> _R:
    record, rest = read_part(cls, wire, needed)
    return replace(record, extra_json=json_text(rest)) if rest else record
