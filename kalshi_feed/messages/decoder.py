"""Frames in, messages out: decode(), Decoder, and what happens to frames that are not right.

Owns the choice between strict and lenient reading: books, trades and fills are strict, the wire is loose. A
frame is first decoded straight into its type. Only if that fails do we look at it again as plain Python
values: to accept an amount that is a JSON number, to leave out an odd field that nothing depends on, to find
an unknown type, or to say what is wrong. A FlatMessage does the first two itself.

Duplicate keys: the last one wins. Unknown keys are skipped unread (not even their UTF-8 is checked), except
for those in ``msg`` of a FlatMessage, which end up in its ``extra``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Union

import msgspec
from msgspec.structs import force_setattr

from ..errors import ProtocolError
from . import account, books, indices, lifecycle, market, replies, retired, rfq_batches, rfqs, yes_scale
from .amounts import set_aside, spelled_out
from .base import MAX_ID, Message, Milliseconds, UnknownMessage
from .flat import FlatMessage, json_text, unread_amounts, wire_number

__all__ = ["MESSAGE_TYPES", "Decoder", "converted", "decode", "undecodable", "unread"]

_TYPES: tuple[type[Message], ...] = (
    books.OrderbookSnapshot,
    books.OrderbookDelta,
    market.Ticker,
    market.Trade,
    account.Fill,
    account.UserOrder,
    account.MarketPosition,
    account.OrderGroupUpdate,
    lifecycle.MarketLifecycle,
    lifecycle.MultivariateMarketLifecycle,
    lifecycle.EventLifecycle,
    lifecycle.EventFeeUpdate,
    rfqs.RfqCreated,
    rfqs.RfqDeleted,
    rfqs.QuoteCreated,
    rfqs.QuoteAccepted,
    rfqs.QuoteExecuted,
    rfq_batches.RfqBatchCreated,
    rfq_batches.RfqBatchDeleted,
    rfq_batches.BatchQuoteCreated,
    rfq_batches.RfqBatchBestQuotes,
    rfq_batches.BatchQuoteAccepted,
    rfq_batches.RfqBatchExecuted,
    rfq_batches.BatchQuoteExecuted,
    indices.CfBenchmarksValue,
    indices.CfBenchmarksIndexList,
    indices.CfBenchmarks5HzValue,
    indices.CfBenchmarks5HzIndexList,
    indices.PythValue,
    indices.PythUnderlyingList,
    replies.Subscribed,
    replies.Unsubscribed,
    replies.Ok,
    replies.ListSubscriptions,
    replies.ErrorMessage,
    retired.TickerV2,
    retired.MultivariateLookup,
)

MESSAGE_TYPES: dict[str, type[Message]] = {cls.type: cls for cls in _TYPES}
"""Wire type to class, for every type that has one; all others become UnknownMessage."""

_YES_SCALE_TYPES: dict[str, type[Message]] = {
    **MESSAGE_TYPES,
    yes_scale.OrderbookSnapshot.type: yes_scale.OrderbookSnapshot,
    yes_scale.OrderbookDelta.type: yes_scale.OrderbookDelta,
}

_FRAME_CHARS = 200
_MESSAGE_CHARS = 300  # msgspec quotes a wrong value in full
# how a FlatMessage names the fields of msg (messages.flat); at the top level of a frame they mean nothing
_OWN_NAMES = "msg."

# Fields that no price, size, sequence or address depends on: if unreadable, they are left out. All others
# are strict.
_LOOSE = frozenset(
    {
        "Clock",
        "action",
        "book_side",
        "client_order_id",
        "clock",
        "dollar_open_interest",
        "dollar_volume",
        "exchange_index",
        "index_ids",
        "is_block_trade",
        "is_taker",
        "extra_json",
        "market_id",
        "market_ids",
        "market_tickers",
        "message",
        "order_id",
        "outcome_side",
        "purchased_side",
        "sending_ts_ms",
        "subaccount",
        "taker_book_side",
        "taker_outcome_side",
        "taker_side",
        "time",
        "trade_id",
        "ts",
        "ts_ms",
        "underlying_tickers",
    }
)
# msgspec's message ends with the path, if there is one; input that it quotes cannot be at that place.
_error_path = re.compile(r"(?s).* - at `\$((?:\.msg)?)\.([A-Za-z_]+)[^`]*`").fullmatch


class Decoder:
    """Decodes the frames of one connection. Thread-safe: it never changes.

    ``use_yes_price``: what the orderbook_delta subscription asked for (PROTOCOL.md 3.1).
    """

    __slots__ = ("_typed", "_types", "delta_type", "use_yes_price")

    def __init__(self, use_yes_price: bool = False) -> None:
        self.use_yes_price = use_yes_price
        self._types = _YES_SCALE_TYPES if use_yes_price else MESSAGE_TYPES
        self.delta_type: type[books.OrderbookDelta] = (
            yes_scale.OrderbookDelta if use_yes_price else books.OrderbookDelta
        )
        union: Any = Union[tuple(self._types.values())]  # noqa: UP007  # made at run time
        self._typed = msgspec.json.Decoder(union, float_hook=wire_number).decode

    def decode(self, frame: str | bytes) -> Message:
        """Return the message of one frame, with every number checked. Raises ProtocolError."""
        message = self._decode(frame)
        if isinstance(message, ProtocolError):
            raise message
        return message

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Message | ProtocolError]:
        """Return one message for each frame, in order; a ProtocolError for a bad one. Never raises.

        Numbers are checked, except for those of OrderbookDelta and OrderbookSnapshot: the caller computes
        units() or book_sides() anyway and must treat their ValueError as that frame's error, see
        undecodable(). Each frame is decoded by itself: two frames that are JSON only when joined must not
        pass, and joining would not be faster.
        """
        try:
            return list(map(self._typed, payloads))
        except (ValueError, RecursionError):  # DecodeError and UnicodeDecodeError are ValueErrors
            return self._decode_each(payloads)

    def _decode_each(self, payloads: Sequence[bytes]) -> list[Message | ProtocolError]:
        """decode_batch() when at least one frame needs a second look."""
        messages: list[Message | ProtocolError] = []
        remaining = iter(payloads)
        while len(messages) < len(payloads):
            try:
                messages.extend(map(self._typed, remaining))  # keeps those before one that fails
            except (ValueError, RecursionError):
                messages.append(self._decode(payloads[len(messages)]))
        return messages

    def _decode(self, frame: str | bytes) -> Message | ProtocolError:
        """Return errors instead of raising them: one kept in a list must not keep this stack frame alive."""
        try:
            message: Message = self._typed(frame)
            _check_numbers(message)
            return message
        except msgspec.ValidationError as error:
            return self._decode_loosely(frame, error)
        except RecursionError as error:
            return _protocol_error("JSON nested too deep", frame, error)
        except ValueError as error:
            return _protocol_error(str(error), frame, error, _plain(frame))

    def _decode_loosely(self, frame: str | bytes, error: msgspec.ValidationError) -> Message | ProtocolError:
        plain = _plain(frame)
        if not isinstance(plain, dict):
            return _protocol_error(str(error) if plain is None else "not a JSON object", frame, error)
        wire_type = plain.get("type")
        if not isinstance(wire_type, str):
            return _protocol_error("a message without a type", frame, error, plain)
        cls = self._types.get(wire_type)
        if cls is None:
            return _unknown(wire_type, frame, plain)
        try:
            return converted(plain, cls)
        except RecursionError as deep:
            return _protocol_error("JSON nested too deep", frame, deep)
        except ValueError as wrong:
            return _protocol_error(f"{wire_type}: {wrong}", frame, wrong, plain)


_own_scale = Decoder(use_yes_price=False)
_yes_scale = Decoder(use_yes_price=True)


def decode(frame: str | bytes, use_yes_price: bool = False) -> Message:
    """Return the message of one frame. ``use_yes_price``: what its subscription asked for (PROTOCOL.md 3.1).

    Raises ProtocolError if it is not a message. A type without a class of its own becomes an UnknownMessage.
    """
    return (_yes_scale if use_yes_price else _own_scale).decode(frame)


def undecodable(message: Message, error: Exception) -> ProtocolError:
    """The ProtocolError for a decoded message whose units() or book_sides() raised ``error``."""
    frame = msgspec.json.encode(message).decode("utf-8", "replace")
    broken = ProtocolError(
        f"{message.type}: {error}",
        frame[:_FRAME_CHARS],
        message.type,
        message.sid,
        message.seq,
        message.market_ticker,
    )
    broken.__cause__ = error.with_traceback(None)
    return broken


def unread(message: Message) -> dict[str, Any]:
    """The message's amounts that were sent but cannot be read, by wire name; {} for nearly all messages.

    They are None in the message, and in its ``extra``.
    """
    if isinstance(message, FlatMessage):
        return unread_amounts(message) if message.extra_json else {}
    return dict(message.extra)


def converted(plain: dict[str, Any], cls: type[Message]) -> Message:
    """Convert a frame's plain values to a message: amounts spelled out, odd fields of no importance left out.

    Raises ValueError.
    """
    plain = {name: value for name, value in plain.items() if not name.startswith(_OWN_NAMES)}
    odd: dict[str, Any] = {}
    sent = plain.get("msg")
    if isinstance(sent, dict):
        plain["msg"] = body = spelled_out(cls, sent)
        odd = {name: sent[name] for name in set_aside(cls, body)}
    while True:
        try:
            message = msgspec.convert(plain, cls)
            break
        except msgspec.ValidationError as error:
            path = _error_path(str(error))
            holder = None if path is None else plain.get("msg") if path[1] else plain
            if path is None or path[2] not in _LOOSE or not isinstance(holder, dict) or path[2] not in holder:
                raise
            del holder[path[2]]
    _check_numbers(message)
    if odd:
        force_setattr(message, "extra_json", json_text(odd))
    return message


def _check_numbers(message: Message) -> None:
    """Check the numbers that a message type leaves to its user. Raises ValueError."""
    if isinstance(message, books.OrderbookDelta):
        message.units()
    elif isinstance(message, books.OrderbookSnapshot):
        message.book_sides()


_plain_values = msgspec.json.Decoder(float_hook=wire_number).decode


def _plain(frame: str | bytes) -> Any:
    """The frame as plain Python values; None if it is not JSON."""
    try:
        return _plain_values(frame)
    except (ValueError, RecursionError):
        return None


def _wire_id(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_ID else None


def _ticker(plain: dict[str, Any]) -> str | None:
    body = plain.get("msg")
    ticker = body.get("market_ticker") if isinstance(body, dict) else None
    return ticker if isinstance(ticker, str) else None


def _unknown(wire_type: str, frame: str | bytes, plain: dict[str, Any]) -> Message | ProtocolError:
    for key in ("sid", "seq"):
        if plain.get(key) is not None and _wire_id(plain[key]) is None:
            return _protocol_error(
                f"{wire_type}: {key} is not a whole number from 0 to {MAX_ID}", frame, None, plain
            )
    sent_ms = plain.get("sending_ts_ms")
    try:
        sent_ms = msgspec.convert(sent_ms, Milliseconds) if type(sent_ms) is int else None
        msgspec.json.decode(frame)  # as its ``raw`` will do
    except ValueError as error:
        return _protocol_error(f"{wire_type}: {error}", frame, error, plain)
    return UnknownMessage(
        type=wire_type,
        sid=plain.get("sid"),
        seq=plain.get("seq"),
        sending_ts_ms=sent_ms,
        market_ticker=_ticker(plain),
        frame=frame.encode() if isinstance(frame, str) else bytes(frame),
    )


def _protocol_error(
    what: str, frame: str | bytes, cause: Exception | None, plain: Any = None
) -> ProtocolError:
    """A ProtocolError with what can be read from ``plain``, the frame as plain values if it is JSON."""
    start = frame[: _FRAME_CHARS * 4]
    if isinstance(start, str):
        start = start.encode("utf-8", "replace")  # lone surrogates
    text = bytes(start).decode("utf-8", "replace")
    found: tuple[Any, ...] = ()
    if isinstance(plain, dict):
        wire_type = plain.get("type")
        found = (
            wire_type if isinstance(wire_type, str) else None,
            _wire_id(plain.get("sid")),
            _wire_id(plain.get("seq")),
            _ticker(plain),
        )
    broken = ProtocolError(what[:_MESSAGE_CHARS], text[:_FRAME_CHARS], *found)
    if cause is not None:
        broken.__cause__ = cause.with_traceback(None)
    return broken
