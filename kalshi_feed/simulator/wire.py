"""Numbers, times, envelopes and websocket frames as the exchange writes them.

Owns how numbers and times are written; pure functions. Inside the simulator, prices are ints of 1/10,000
dollar, sizes ints of 1/100 contract, costs and fees ints of 1/1,000,000 dollar (PROTOCOL.md 7).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

DOLLAR = 10_000
CONTRACT = 100
MICRO = 1_000_000  # amounts of money: price x size, in 1/1,000,000 dollar

Number = str | Decimal | int | float
Side = Mapping[Number, Number] | None  # a side of a book as a test writes it: {price: size}

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA

encode_json = msgspec.json.Encoder(decimal_format="string").encode


def _scaled(value: Number, scale: int, what: str) -> int:
    try:
        scaled = Decimal(str(value)) * scale
    except InvalidOperation:
        raise ValueError(f"{what} must be a number, got {value!r}") from None
    if not scaled.is_finite() or scaled != int(scaled):
        raise ValueError(f"{what} {value!r} is finer than 1/{scale}, or not finite")
    return int(scaled)


def price_units(value: Number) -> int:
    """Convert dollars to ints of 1/10,000. Raises ValueError outside 0..1 or below the smallest step."""
    price = _scaled(value, DOLLAR, "price")
    if not 0 <= price <= DOLLAR:
        raise ValueError(f"price {value!r} is not between 0 and 1 dollar")
    return price


def size_units(value: Number) -> int:
    """Convert contracts (signed) to ints of 1/100. Raises ValueError below the smallest step."""
    return _scaled(value, CONTRACT, "size")


def levels_units(side: Side) -> dict[int, int]:
    """A side of a book in units. Raises ValueError."""
    return {price_units(price): size_units(size) for price, size in (side or {}).items()}


@functools.lru_cache(maxsize=DOLLAR + 1)
def price_text(price: int) -> str:
    """``4800`` -> ``"0.4800"``."""
    return f"{price // DOLLAR}.{price % DOLLAR:04d}"


def size_text(size: int) -> str:
    """``-5400`` -> ``"-54.00"``."""
    whole, cents = divmod(abs(size), CONTRACT)
    return f"{'-' if size < 0 else ''}{whole}.{cents:02d}"


def money_units(value: Number) -> int:
    """Convert a cost or fee in dollars to ints of 1/1,000,000. Raises ValueError below the smallest step."""
    return _scaled(value, MICRO, "amount")


def money_text(amount: int) -> str:
    """``-1500000`` -> ``"-1.500000"``."""
    dollars, micros = divmod(abs(amount), MICRO)
    return f"{'-' if amount < 0 else ''}{dollars}.{micros:06d}"


def price_decimal(price: int) -> Decimal:
    """A price in dollars."""
    return Decimal(price).scaleb(-4)


def size_decimal(size: int) -> Decimal:
    """A size in contracts."""
    return Decimal(size).scaleb(-2)


def go_time(microseconds: int) -> str:
    """RFC 3339 as Go writes it: microseconds without trailing zeros (PROTOCOL.md 6.2)."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{_second(seconds)}.{fraction:06d}".rstrip("0").rstrip(".") + "Z"


@functools.lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


def envelope(
    type_: str,
    msg: bytes | None,
    now_ms: int,
    *,
    sid: int | None = None,
    seq: int | None = None,
    id_: int | None = None,
) -> bytes:
    """One server message: the given parts and ``sending_ts_ms``. ``msg`` is JSON; None leaves it out."""
    if id_ is None and sid is not None and seq is not None and msg is not None:  # nearly all of them
        return b'{"type":"%b","sid":%d,"seq":%d,"msg":%b,"sending_ts_ms":%d}' % (
            type_.encode(),
            sid,
            seq,
            msg,
            now_ms,
        )
    parts = [b'{"type":"%b"' % type_.encode()]
    if id_ is not None:
        parts.append(b'"id":%d' % id_)
    if sid is not None:
        parts.append(b'"sid":%d' % sid)
    if seq is not None:
        parts.append(b'"seq":%d' % seq)
    if msg is not None:
        parts.append(b'"msg":' + msg)
    parts.append(b'"sending_ts_ms":%d}' % now_ms)
    return b",".join(parts)


def frame(opcode: int, payload: bytes) -> bytes:
    """An unmasked, final websocket frame (RFC 6455 5.2), as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def close_payload(code: int | None, reason: str = "") -> bytes:
    """The body of a close frame; None is a close frame without a code. Any code passes, even a wrong one."""
    return b"" if code is None else struct.pack("!H", code) + reason.encode()


def levels(side: Mapping[int, int], *, complement: bool = False) -> list[list[str]]:
    """A side of a book as a snapshot lists it, ascending in the reported price; ``complement``: a no side on
    the yes scale."""
    items: Iterable[tuple[int, int]] = side.items()
    if complement:
        items = ((DOLLAR - price, size) for price, size in items)
    return [[price_text(price), size_text(size)] for price, size in sorted(items)]


def on_yes_scale(type_: str, msg: dict[str, Any]) -> dict[str, Any]:
    """The message as a subscriber with ``use_yes_price`` gets it: prices p of no become 1 - p (PROTOCOL.md
    3.1).

    Prices that the wire cannot carry (a test may have put them there) stay as they are.
    """
    if type_ == "orderbook_delta" and msg.get("side") == "no":
        return {**msg, "price_dollars": _complement(msg.get("price_dollars"))}
    if type_ == "orderbook_snapshot" and isinstance(msg.get("no_dollars_fp"), list):
        turned = [[_complement(level[0]), *level[1:]] for level in msg["no_dollars_fp"]]
        return {**msg, "no_dollars_fp": turned[::-1]}
    return msg


def _complement(price: Any) -> Any:
    try:
        return price_text(DOLLAR - price_units(price))
    except ValueError:
        return price


class WireMessage:
    """One message for many subscribers: its JSON is made once per price scale. Not thread-safe: the
    exchange's lock guards it."""

    __slots__ = ("_plain", "_yes_scale", "msg", "type")

    def __init__(self, type_: str, msg: dict[str, Any], plain: bytes | None = None) -> None:
        self.type = type_
        self.msg = msg
        self._plain = plain
        self._yes_scale: bytes | None = None

    def encoded(self, use_yes_price: bool) -> bytes:
        """The JSON of ``msg`` on one of the two price scales."""
        if use_yes_price:
            if self._yes_scale is None:
                self._yes_scale = encode_json(on_yes_scale(self.type, self.msg))
            return self._yes_scale
        if self._plain is None:
            self._plain = encode_json(self.msg)
        return self._plain
