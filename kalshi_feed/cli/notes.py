"""Events of the feed and messages in one line each, the time of a line, and the exchange's time.

Pure functions.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal

from ..events import FeedFault, FeedState, Gap, GapFilled, Lagged, MarketChange, StateChange
from ..feed import KalshiFeed
from ..messages import Fill, Message, Trade, UnknownMessage
from .about import title_of
from .model import counted, printable
from .wording import short

__all__ = [
    "FeedEvent",
    "clock_text",
    "exchange_time",
    "fill_text",
    "note_of",
    "other_text",
    "time_text",
    "trade_text",
    "why_connecting",
]

FeedEvent = StateChange | Gap | GapFilled | Lagged | MarketChange | FeedFault
"""What the feed itself reports."""

# fields that say what a message is about: shown first, because a line may be cut
_FIRST = ("index_id", "underlying_ticker", "event_ticker", "event_type", "status", "outcome_side")
_LONGEST = 300  # characters shown of a message with many fields
_LEAST_SKEW = 2.0  # seconds by which a clock may be off: the exchange's time comes in whole ones


def why_connecting(feed: KalshiFeed) -> str:
    """Why a relay's consumer is still CONNECTING: "no relay 'main' writes to …"; "" for any other feed."""
    if feed.state is not FeedState.CONNECTING or feed.stats().relay is None:
        return ""
    reasons = feed.health().reasons
    return printable(reasons[0].partition(": ")[2]) if reasons else ""


def note_of(event: FeedEvent) -> tuple[str, str]:
    """An event of the feed in one line, and the line's style."""
    if isinstance(event, StateChange):
        if event.state is FeedState.CONNECTED:
            return "CONNECTED", "good"
        failed = event.state in (FeedState.RECONNECTING, FeedState.FAILED)
        reason = printable(short(event.reason) if failed else event.reason)
        text = f"{event.state.value}: {reason}" if reason else event.state.value
        if event.delay is not None:
            text += f"; attempt {event.attempt} in {event.delay:.1f} s"
        return text, "bad" if failed else ""
    if isinstance(event, Gap):
        markets = counted(len(event.market_tickers), "market")
        return f"gap on {event.channel}, {markets}: {printable(event.reason)}", "bad"
    if isinstance(event, GapFilled):
        found = f"gap on {event.channel} filled: {counted(event.found, 'message')} found"
        return (
            (found, "good")
            if event.complete
            else (f"{found}, some may be missing: {printable(event.reason)}", "bad")
        )
    if isinstance(event, MarketChange):
        return _change_text(event), ""
    if isinstance(event, Lagged):
        return f"{counted(event.dropped, 'message')} dropped: the callbacks were too slow", "bad"
    return f"{event.kind}: {printable(event.message)}", "bad"


def _change_text(event: MarketChange) -> str:
    """ "KXDEMO-1 opened: Above 100? (closes 2026-08-05T03:45:00Z)", "KXDEMO-1 settled yes"."""
    market, change = event.market, event.change
    text = f"{printable(event.market_ticker)} {change}"
    if change in ("determined", "settled"):
        return f"{text} {printable(market.result)}" if market.result else text
    if change in ("announced", "opened", "rescheduled"):
        word, at = ("opens", market.open_at) if change == "announced" else ("closes", market.close_at)
        text += f": {title}" if (title := title_of(market)) else ""
        return f"{text} ({word} {at:%Y-%m-%dT%H:%M:%SZ})" if at is not None else text
    return text


def trade_text(trade: Trade) -> str:
    """ "KXSIM-001 yes 0.2700 × 40.00": what the taker gained, in its own price."""
    side = trade.taker_outcome_side or "yes"
    price = trade.no_price if side == "no" else trade.yes_price
    return f"{printable(trade.market_ticker)} {printable(side)} {_money(price)} × {_size(trade.count)}"


def fill_text(fill: Fill) -> str:
    """ "fill KXSIM-001 yes 0.5400 × 3.00"."""
    side = fill.outcome_side or fill.side or "yes"
    price = fill.yes_price
    if price is not None and side == "no":
        price = 1 - price
    return f"fill {printable(fill.market_ticker)} {printable(side)} {_money(price)} × {_size(fill.count)}"


def other_text(message: Message) -> str:
    """A message of any type in one line: market and type, then the other fields that are set, and first those
    that say what it is about."""
    if isinstance(message, UnknownMessage):
        return f"{printable(message.type)} {printable(message.raw)[:_LONGEST]}"
    fields = message.to_dict()
    head = [fields.pop(name, None) for name in ("market_ticker", "type")]
    parts = [str(word) for word in head if word]
    for name in sorted(fields, key=lambda name: name not in _FIRST):
        value = fields[name]
        if value not in (None, "", [], {}):
            shown = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
            parts.append(f"{name}={shown}")
    return printable(" ".join(parts))[:_LONGEST]


def time_text(moment: datetime | None) -> str:
    """The local time of day with milliseconds; now, if the message has no time."""
    local = (moment or datetime.now().astimezone()).astimezone()
    return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"


def clock_text(feed: KalshiFeed, moment: datetime | None) -> str:
    """The time of a line: time_text() for a live feed; for a replay the recording's time, in a form that --at
    takes."""
    if feed.replayed is None:
        return time_text(moment)
    now = feed.now()
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def exchange_time(feed: KalshiFeed, skew: float | None) -> datetime:
    """The exchange's time, by which markets open and close, also where this machine's clock is off; ``skew``
    is the feed's ``stats().clock_skew``."""
    now = feed.now()
    if skew is None or abs(skew) < _LEAST_SKEW or feed.replayed is not None:
        return now
    return now - timedelta(seconds=skew)


def _money(price: Decimal | None) -> str:
    return "?" if price is None else f"{price:.4f}"


def _size(count: Decimal | None) -> str:
    return "?" if count is None else f"{count:,.2f}"
