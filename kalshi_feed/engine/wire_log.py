"""The feed's log of the conversation, for debugging: commands, replies, snapshots, gaps, faults.

At DEBUG it has each step of a dial, each command sent, each reply and each snapshot; at INFO gaps and faults;
at WARNING markets that the exchange does not know. It never has a line for a delta, and above INFO it is
nearly free: only reads that change a book's status are looked at. A record's ``kalshi`` attribute has the
same as data, for structured logs.

Owns the wording of these lines. Called by the reader thread, without the store's lock; never raises.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ..events import Event, FeedFault, Gap
from ..messages import ErrorMessage, Message, OrderbookSnapshot, Reply
from ..threads import log_safely

__all__ = ["dial_progress", "log_turn"]

_logger: Final = logging.getLogger("kalshi_feed")
_LOGGED: Final = (Reply, OrderbookSnapshot, Gap, FeedFault)
_LENGTH: Final = 500  # characters of a command or of a string from the exchange


def dial_progress() -> Callable[[str, str], object] | None:
    """The function that logs a dial's steps; None if DEBUG is off."""
    if not _logger.isEnabledFor(logging.DEBUG):
        return None
    return lambda step, found: _say(logging.DEBUG, "dial", f"{step}: {_clean(found)}", step=step, found=found)


def log_turn(items: Sequence[Message | Event], outbox: Iterable[bytes], changed: Iterable[str]) -> None:
    """Log what one read brought, and what is sent; ``changed``: markets whose books changed status."""
    if changed:
        _warn(items)
    if not _logger.isEnabledFor(logging.INFO):
        return
    if items:
        kinds = {kind for kind in set(map(type, items)) if issubclass(kind, _LOGGED)}
        if kinds:
            for item in items:
                if type(item) in kinds:
                    _log_item(item)
    for command in outbox:
        text = command.decode()
        _say(logging.DEBUG, "sent", f"sending {_clean(text)}", command=text)


def _warn(items: Sequence[Message | Event]) -> None:
    """Log one line for all the markets of this read that the exchange does not know."""
    unknown = [item for item in items if isinstance(item, FeedFault) and item.kind == "unknown_market"]
    if unknown:
        tickers = [item.context["market_ticker"] for item in unknown]
        more = f" (and {len(tickers) - 1} more: {_clean(', '.join(tickers[1:]))})" if len(tickers) > 1 else ""
        _say(logging.WARNING, "unknown_market", _clean(unknown[0].message) + more, market_tickers=tickers)


def _log_item(item: Message | Event) -> None:
    if isinstance(item, Gap):
        numbers = f": expected {item.expected}, received {item.received}" if item.received is not None else ""
        text = f"{item.reason} on {item.channel}{numbers}; {len(item.market_tickers)} markets affected"
        _say(logging.INFO, "gap", text, **vars(item))
    elif isinstance(item, FeedFault):
        if item.kind == "unknown_market":
            return  # see _warn()
        _say(
            logging.INFO,
            "fault",
            f"{item.kind}: {_clean(item.message)}",
            kind=item.kind,
            message=item.message,
        )
    elif isinstance(item, OrderbookSnapshot):
        text = f"snapshot of {_clean(item.market_ticker)}, sid {item.sid}, seq {item.seq}"
        _say(logging.DEBUG, "snapshot", text, market_ticker=item.market_ticker, sid=item.sid, seq=item.seq)
    elif isinstance(item, Reply):
        data: dict[str, Any] = {"id": item.id, "type": item.type, "sid": item.sid, "seq": item.seq}
        if isinstance(item, ErrorMessage):
            data |= {"code": item.code, "message": item.message}
        else:
            data["channel"] = getattr(item, "channel", None)
        shown = " ".join(
            f"{name} {_clean(value)}" for name, value in data.items() if value is not None and name != "type"
        )
        _say(logging.DEBUG, "reply", f"{item.type}: {shown}", **data)


def _clean(value: object) -> str:
    """``value`` as one line of a log, not too long."""
    text = "".join(character if character.isprintable() else " " for character in str(value))
    return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}… ({len(text)} characters)"


def _say(level: int, event: str, text: str, **data: Any) -> None:
    log_safely(_logger, level, "%s", text, extra={"kalshi": {"event": event, **data}})
