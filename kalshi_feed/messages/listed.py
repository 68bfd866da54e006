"""A market as REST lists it, which the feed's own events and books know, too.

Owns Market, and Record, the base of all that REST describes (the other records are in rest/records.py). They
follow the messages' rules: a wire field keeps its name, next to it is its ready value (Decimal dollars and
contracts, aware datetimes), unknown keys and unreadable values end up in ``extra``, and every field but the
ticker may be None.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from msgspec import field
from msgspec.structs import replace

from .base import Id, Time, ready_price, ready_size, ready_time
from .flat import (
    CountText,
    JsonNumber,
    JsonText,
    Part,
    PriceText,
    json_object,
    json_text,
    part_object,
    read_part,
)
from .lifecycle import MarketLifecycle, MarketMetadata, MultivariateMarketLifecycle, PriceRange
from .plain import shown_fields

__all__ = ["Market", "Record", "market_after", "market_in", "market_json", "record_in"]

_R = TypeVar("_R", bound="Record")


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


def market_in(wire: Mapping[str, Any]) -> Market:
    """Return the market in an object of ``/markets``. Raises ValueError."""
    return record_in(Market, wire, "ticker")


def market_json(market: Market) -> bytes:
    """Return the market as JSON, as REST writes it: ``market_in`` of that object is an equal market."""
    fields = part_object(replace(market, extra_json=b"{}"))  # an empty string is not JSON
    del fields["extra_json"]
    return json_text({**market.extra, **fields})


def record_in(cls: type[_R], wire: Mapping[str, Any], needed: str | None) -> _R:
    """Return the record in a JSON object, which must have the key ``needed``. Raises ValueError."""
    record, rest = read_part(cls, wire, needed)
    return replace(record, extra_json=json_text(rest)) if rest else record


def market_after(market: Market, message: MarketLifecycle | MultivariateMarketLifecycle) -> Market:
    """The market with what a lifecycle message says about it."""
    known: dict[str, Any] = {
        "open_time": _time(message.open_at),
        "close_time": _time(message.close_at),
        "result": message.result,
        "settlement_value_dollars": message.settlement_value,
        "settlement_ts": _time(message.settled_at),
        "price_level_structure": message.price_level_structure or None,
        "exchange_index": message.exchange_index,
    }
    if isinstance(message, MarketLifecycle):
        known |= {"price_ranges": message.price_ranges, **_strike(message)}
    about = message.additional_metadata
    if about is not None:
        known |= {
            "event_ticker": about.event_ticker,
            "title": about.title or about.name,
            "no_sub_title": about.no_sub_title,
            "rules_primary": about.rules_primary,
            "can_close_early": about.can_close_early,
            "expected_expiration_time": _time(about.expected_expiration_at),
            **_strike(about),
        }
    return replace(market, **{name: value for name, value in known.items() if value is not None})


def _strike(described: MarketLifecycle | MarketMetadata) -> dict[str, Any]:
    """What is said of the strike: with "metadata_updated" in the message, with "created" in its metadata."""
    said = {
        "yes_sub_title": described.yes_sub_title,
        "strike_type": described.strike_type,
        "floor_strike": described.floor_strike,
        "cap_strike": described.cap_strike,
        "custom_strike_json": described.custom_strike_json,
    }
    return {name: value for name, value in said.items() if value is not None}


def _time(at: datetime | None) -> str | None:
    """A time as REST writes it, so that both sources' descriptions compare as equal."""
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")
