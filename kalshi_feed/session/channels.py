"""The exchange's channels: what each is called, which filter it takes, and what a user meant who wrote
something else.

Owns the table of PROTOCOL.md section 2 and the checks of a subscribe call's words; must not import anything
of the package but errors and messages. Thread-safe: pure functions and constants.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigurationError
from ..messages import MESSAGE_TYPES

__all__ = [
    "ALL_MARKETS",
    "BOOK_CHANNEL",
    "CHANNELS",
    "CHANNEL_OF_TYPE",
    "Channel",
    "channel_names",
    "is_message_type",
    "is_name",
    "names",
    "rule_of",
]

BOOK_CHANNEL: Final = "orderbook_delta"
ALL_MARKETS: Final = frozenset({"*all*"})  # stands for "no filter" where a set of selectors is expected


@dataclass(frozen=True)
class Channel:
    """One channel's rules: ``selectors`` are the subscribe parameters that can filter it, ``types`` its
    messages'."""

    name: str
    types: tuple[str, ...]
    selectors: tuple[str, ...] = ()
    filter_required: bool = False
    sequenced: bool = True
    options: tuple[str, ...] = ()


_TICKERS = ("market_tickers",)
_COMMUNICATIONS = (
    "rfq_created", "rfq_deleted", "quote_created", "quote_accepted", "quote_executed",
    "rfq_batch_created", "rfq_batch_deleted", "rfq_batch_best_quotes", "rfq_batch_executed",
    "batch_quote_created", "batch_quote_accepted", "batch_quote_executed",
)  # fmt: skip

# PROTOCOL.md section 2; types shared by two channels stand with the first one only
CHANNELS: Final[dict[str, Channel]] = {
    channel.name: channel
    for channel in (
        Channel(BOOK_CHANNEL, ("orderbook_snapshot", "orderbook_delta"), _TICKERS, filter_required=True),
        Channel(
            "ticker",
            ("ticker",),
            ("market_tickers", "market_ids"),
            sequenced=False,
            options=("send_initial_snapshot",),
        ),
        Channel("trade", ("trade",), _TICKERS),
        Channel("fill", ("fill",), _TICKERS, sequenced=False),
        Channel("user_orders", ("user_order",), _TICKERS, sequenced=False),
        Channel("market_positions", ("market_position",), _TICKERS, sequenced=False),
        Channel("market_lifecycle_v2", ("market_lifecycle_v2", "event_lifecycle", "event_fee_update")),
        Channel("multivariate_market_lifecycle", ("multivariate_market_lifecycle",)),
        Channel("order_group_updates", ("order_group_updates",)),
        Channel("communications", _COMMUNICATIONS, options=("user_filter", "shard_factor", "shard_key")),
        Channel("cfbenchmarks_value", ("cfbenchmarks_value", "cfbenchmarks_value_indexlist"), ("index_ids",)),
        Channel(
            "cfbenchmarks_value_5hz",
            ("cfbenchmarks_value_5hz", "cfbenchmarks_value_5hz_indexlist"),
            ("index_ids",),
        ),
        Channel("pyth_value", ("pyth_value", "pyth_value_underlying_list"), ("underlying_tickers",)),
    )
}
CHANNEL_OF_TYPE: Final[dict[str, str]] = {
    type_: channel.name for channel in CHANNELS.values() for type_ in channel.types
}

_NEAR: Final = 0.75  # of difflib: "trades" and "orderbook" are near a type, "quote" and "order" are not

_RETIRED = {
    "ticker_v2": "it was removed on 2026-02-12; write 'ticker'",
    "multivariate": "it was removed on 2026-08-06; write 'multivariate_market_lifecycle'",
    "batch_communications": "its messages come on 'communications'",
    "orderbook_snapshot": "it is a message type, not a channel; write 'orderbook_delta', whose first message "
    "of every "
    "market is an orderbook_snapshot",
    "orderbook": "write 'orderbook_delta'",
}


def rule_of(name: str) -> Channel:
    """The channel's rules; for a name let through by ``allow_unknown`` ones that forbid nothing."""
    return CHANNELS.get(name) or Channel(
        name, (name,), ("market_tickers", "market_ids", "index_ids", "underlying_tickers")
    )


def channel_names(channels: str | Iterable[str], *, allow_unknown: bool = False) -> tuple[str, ...]:
    """The channel names of a subscribe call, each once. Raises ConfigurationError that says what to write
    instead."""
    found = names(channels, "channels")
    for name in found:
        if name not in CHANNELS and not allow_unknown:
            raise ConfigurationError(f"unknown channel {name!r}: {_advice(name)}")
    return found


def is_name(text: str) -> bool:
    """Whether a market, or whatever else is subscribed to, can be called so: no blanks, commas or control
    characters."""
    return bool(text) and text.isprintable() and not any(c.isspace() or c == "," for c in text)


def names(value: str | Iterable[str], what: str) -> tuple[str, ...]:
    """One text or several as a tuple, each once, in order.

    Raises ConfigurationError for anything that is no such list.
    """
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, Iterable) or isinstance(items, (bytes, bytearray)):
        raise ConfigurationError(f"{what} must be a text or a list of texts, not {type(value).__name__}")
    found: dict[str, None] = {}
    for item in items:
        if not isinstance(item, str):
            raise ConfigurationError(f"{what} must hold texts, not {type(item).__name__}")
        if not is_name(item):
            raise ConfigurationError(
                f"{what} holds {item!r}: write each name as a text of its own, without blanks or commas"
            )
        found[item] = None
    if not found:
        raise ConfigurationError(f"{what} is empty: name at least one, or leave the argument out")
    return tuple(found)


def is_message_type(name: str) -> bool:
    """Whether messages of this type are known. Raises ConfigurationError for a name that is surely meant to
    be another one."""
    if name in MESSAGE_TYPES:
        return True
    plain = name.strip().lower().replace("-", "_")
    if plain in CHANNELS and plain not in MESSAGE_TYPES:
        what = (
            "it is a channel; write the type of its messages, "
            f"{' or '.join(map(repr, CHANNELS[plain].types))}"
        )
    else:
        near = difflib.get_close_matches(plain, MESSAGE_TYPES, n=1, cutoff=_NEAR)
        if not near:
            return False
        what = f"did you mean {near[0]!r}?"
    raise ConfigurationError(
        f"unknown message type {name!r}: {what} (allow_unknown=True takes the name as it is)"
    )


def _advice(name: str) -> str:
    channel, colon, ticker = name.partition(":")
    if colon:
        known = "orderbook_delta" if channel not in CHANNELS else channel
        return f"the 'channel:market' form is no longer understood; write subscribe({known!r}, [{ticker!r}])"
    if name in _RETIRED:
        return _RETIRED[name]
    if name in CHANNEL_OF_TYPE:
        return f"it is a message type; its channel is {CHANNEL_OF_TYPE[name]!r}"
    near = difflib.get_close_matches(name, CHANNELS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}The channels are {', '.join(CHANNELS)}; allow_unknown=True sends the name as it is"
