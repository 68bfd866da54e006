"""The exchange's messages as frozen, typed objects, and the decoding of frames.

Owns what is on the wire and nothing else: no socket, thread, clock or log, and no import of the package but errors.

    decode(frame) -> Message          one frame, all numbers checked; ProtocolError for what is no message
    Decoder(use_yes_price)            the same for a connection's frames, also many at once
    Message                           sid, seq, sending_ts_ms, type, market_ticker
      OrderbookSnapshot, OrderbookDelta, Ticker, Trade, Fill
      Reply: Subscribed, Unsubscribed, Ok, ErrorMessage
      UnknownMessage                  every other type
"""

from __future__ import annotations

from kalshi_feed.messages.account import Fill
from kalshi_feed.messages.base import Message, UnknownMessage
from kalshi_feed.messages.books import OrderbookDelta, OrderbookSnapshot
from kalshi_feed.messages.decoder import MESSAGE_TYPES, Decoder, decode, undecodable
from kalshi_feed.messages.market import Ticker, Trade
from kalshi_feed.messages.replies import ErrorMessage, ListSubscriptions, Ok, Reply, Subscribed, Unsubscribed
from kalshi_feed.messages.values import Level

__all__ = [
    "MESSAGE_TYPES",
    "Decoder",
    "ErrorMessage",
    "Fill",
    "Level",
    "ListSubscriptions",
    "Message",
    "Ok",
    "OrderbookDelta",
    "OrderbookSnapshot",
    "Reply",
    "Subscribed",
    "Ticker",
    "Trade",
    "UnknownMessage",
    "Unsubscribed",
    "decode",
    "undecodable",
]
