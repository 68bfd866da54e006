"""The messages that also come over REST: trades, fills, orders and positions, read from its answers.

Owns four types that differ from those in messages.market and messages.account by one class variable, so that
``source`` costs a message of the feed nothing. They have the same names, are instances of those types, and
pickle by this module. Owns how REST's fields become the feed's; fields that the feed does not have end up in
``extra``, except for trades.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, TypeVar

import msgspec

from . import account, market
from .base import Message
from .decoder import converted
from .flat import FlatMessage, json_text, wire_object
from .values import parse_time

__all__ = [
    "Fill",
    "MarketPosition",
    "Trade",
    "UserOrder",
    "fill",
    "from_json",
    "order",
    "position",
    "to_json",
    "trade",
]

_M = TypeVar("_M", bound=Message)


class Trade(market.Trade, frozen=True, gc=False, kw_only=True, tag="trade"):
    """market.Trade that came over REST. Thread-safe: immutable."""

    source: ClassVar[Literal["feed", "rest"]] = "rest"


class Fill(account.Fill, frozen=True, gc=False, kw_only=True, tag="fill"):
    """account.Fill that came over REST. Thread-safe: immutable."""

    source: ClassVar[Literal["feed", "rest"]] = "rest"


class UserOrder(account.UserOrder, frozen=True, gc=False, kw_only=True, tag="user_order"):
    """account.UserOrder that came over REST: an order as it is now. Thread-safe: immutable."""

    source: ClassVar[Literal["feed", "rest"]] = "rest"


class MarketPosition(account.MarketPosition, frozen=True, gc=False, kw_only=True, tag="market_position"):
    """account.MarketPosition that came over REST: a position as it is now. Thread-safe: immutable."""

    source: ClassVar[Literal["feed", "rest"]] = "rest"


_TYPES: Final[Mapping[object, type[Message]]] = {
    cls.type: cls for cls in (Trade, Fill, UserOrder, MarketPosition)
}


def trade(wire: Mapping[str, Any]) -> Trade:
    """Return the trade in an object of ``/markets/trades``. Raises ValueError."""
    return _message(Trade, _timed(_renamed(wire, {"ticker": "market_ticker"})), "trade_id")


def fill(wire: Mapping[str, Any]) -> Fill:
    """Return the fill in an object of ``/portfolio/fills``. Raises ValueError.

    ``fill_id`` there is the feed's ``trade_id`` (PROTOCOL.md 12.5); ``no_price_dollars`` follows from the
    yes price.
    """
    names = {"ticker": "market_ticker", "fill_id": "trade_id", "subaccount_number": "subaccount"}
    found = _renamed(wire, names)
    if found.get("yes_price_dollars") is not None:
        found.pop("no_price_dollars", None)
    return _message(Fill, _timed(found), "trade_id")


def order(wire: Mapping[str, Any]) -> UserOrder:
    """Return the order in an object of ``/portfolio/orders``. Raises ValueError."""
    found = dict(wire)
    if found.get("yes_price_dollars") is not None:
        found.pop("no_price_dollars", None)
    return _message(UserOrder, found, "order_id")


def position(wire: Mapping[str, Any]) -> MarketPosition:
    """Return the position in an object of ``/portfolio/positions``. Raises ValueError.

    Its exposure and traded dollars have no counterpart on the feed: they are in ``extra``.
    """
    names = {"ticker": "market_ticker", "subaccount_number": "subaccount"}
    return _message(MarketPosition, _renamed(wire, names), "market_ticker")


def to_json(message: Message) -> bytes:
    """Return a message that came over REST as JSON, written as a frame of the feed."""
    if isinstance(message, FlatMessage):
        return json_text({"type": message.type, "msg": message.msg})
    return json_text(message)


def from_json(text: bytes | msgspec.Raw) -> Message:
    """Return the message that to_json() wrote. Raises ValueError."""
    wire = wire_object(text)
    cls = _TYPES.get(wire.get("type"))
    if cls is None:
        raise ValueError(f"{wire.get('type')!r:.60} does not come over REST")
    return converted(wire, cls)


def _renamed(wire: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A copy with REST's names of fields as the feed's; a field that has both keeps REST's newer one."""
    found = {name: value for name, value in wire.items() if name not in names}
    for name, ours in names.items():
        if wire.get(name) is not None and (name == "fill_id" or found.get(ours) is None):
            found[ours] = wire[name]
    return found


def _timed(body: dict[str, Any]) -> dict[str, Any]:
    """Put ``created_time`` (RFC 3339) into ``ts_ms``, where the feed has the time, in milliseconds."""
    text = body.pop("created_time", None)
    if body.get("ts_ms") is None and isinstance(text, str):
        moment = parse_time(text)
        body["ts_ms"] = int(moment.timestamp()) * 1000 + moment.microsecond // 1000
    return body


def _message(cls: type[_M], body: dict[str, Any], needed: str) -> _M:
    if not isinstance(body.get(needed), str) or not body[needed]:
        raise ValueError(f"{cls.type}: no {needed}")
    message = converted({"type": cls.type, "msg": body}, cls)
    assert isinstance(message, cls)
    return message
