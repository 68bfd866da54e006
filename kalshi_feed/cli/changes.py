"""A message or a feed event in one line: text for people, a JSON object for programs.

Pure functions.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

from ..books.book import BookView
from ..events import FeedFault, Gap, GapFilled, Lagged, MarketChange, StateChange
from ..messages import Fill, Message, OrderbookDelta, OrderbookSnapshot, Ticker, Trade
from ..messages.plain import plain
from .model import level_counts, printable, quote
from .notes import FeedEvent, fill_text, note_of, other_text, trade_text

__all__ = ["change_text", "event_json", "event_text", "message_json", "message_text"]


_NAMES: Final = {
    StateChange: "feed_state",
    Gap: "feed_gap",
    GapFilled: "feed_gap_filled",
    Lagged: "feed_lagged",
    MarketChange: "feed_market",
    FeedFault: "feed_fault",
}


def message_text(message: Message, book: BookView | None, time: str) -> str:
    """The time, the message, and the ``book`` after it."""
    text = f"{time} {change_text(message)}"
    return (
        text
        if book is None
        else f"{text}  | {book.status.value} yes {quote(book.best_bid(), book.best_ask())}"
    )


def event_text(event: FeedEvent, time: str) -> str:
    """The time and the event."""
    return f"{time} {note_of(event)[0]}"


def change_text(message: Message) -> str:
    """A message in one line, without its time."""
    ticker = printable(message.market_ticker)
    if isinstance(message, OrderbookDelta):
        return f"{ticker} delta {message.side} {message.price:.4f} {message.delta:+,.2f}"
    if isinstance(message, OrderbookSnapshot):
        return f"{ticker} snapshot, {level_counts(len(message.yes), len(message.no))}"
    if isinstance(message, Trade):
        return f"{trade_text(message)} traded"
    if isinstance(message, Fill):
        return fill_text(message)
    if isinstance(message, Ticker):
        return f"{ticker} ticker last {message.price} bid {message.yes_bid} ask {message.yes_ask}"
    return other_text(message)


def message_json(message: Message, book: BookView | None) -> str:
    """message.to_dict() as JSON, with ``book`` added: its status and best prices after the message."""
    record = message.to_dict()
    if book is not None:
        record["book"] = {
            "status": book.status.value,
            "is_crossed": book.is_crossed,
            "yes_bid": plain(book.best_bid(), str),
            "yes_ask": plain(book.best_ask(), str),
        }
    return json.dumps(record, separators=(",", ":"))


def event_json(event: FeedEvent, now: datetime) -> str:
    """event.to_dict() as JSON, with ``type`` ("feed_state", "feed_gap" …), ``time``, and ``text``, the line
    for people."""
    record = {"type": _NAMES[type(event)], "time": now.isoformat()} | event.to_dict()
    return json.dumps(record | {"text": note_of(event)[0]}, separators=(",", ":"))
