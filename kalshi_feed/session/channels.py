"""The exchange's channels: their names, the filters they take, and the likely intent behind a wrong name.

Owns the table of PROTOCOL.md section 2 and the checks of a subscribe call's names and options. Thread-safe:
pure functions and constants.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigurationError
from ..messages import MESSAGE_TYPES

__all__ = [
    "ALL_MARKETS",
    "BOOK_CHANNEL",
    "CHANNELS",
    "CHANNEL_OF_TYPE",
    "OLD_FORM",
    "Channel",
    "advice_on",
    "channel_names",
    "check_options",
    "is_message_type",
    "is_name",
    "names",
    "old_form",
    "rule_of",
]

BOOK_CHANNEL: Final = "orderbook_delta"
ALL_MARKETS: Final = frozenset({"*all*"})  # stands for "no filter" where a set of selectors is expected


@dataclass(frozen=True)
class Channel:
    """One channel's rules.

    ``types`` are the wire types of its messages, ``selectors`` the subscribe parameters that can filter it,
    and ``options`` the channel-wide subscribe parameters. ``is_account``: its messages are about the key's
    own account, not about the markets.
    """

    name: str
    types: tuple[str, ...]
    selectors: tuple[str, ...] = ()
    filter_required: bool = False
    sequenced: bool = True
    options: tuple[str, ...] = ()
    is_account: bool = False


_TICKERS = ("market_tickers",)
_COMMUNICATIONS = (
    "rfq_created", "rfq_deleted", "quote_created", "quote_accepted", "quote_executed",
    "rfq_batch_created", "rfq_batch_deleted", "rfq_batch_best_quotes", "rfq_batch_executed",
    "batch_quote_created", "batch_quote_accepted", "batch_quote_executed",
)  # fmt: skip

# PROTOCOL.md section 2; a type that two channels share is listed with the first one only
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
        Channel("fill", ("fill",), _TICKERS, sequenced=False, is_account=True),
        Channel("user_orders", ("user_order",), _TICKERS, sequenced=False, is_account=True),
        Channel("market_positions", ("market_position",), _TICKERS, sequenced=False, is_account=True),
        Channel("market_lifecycle_v2", ("market_lifecycle_v2", "event_lifecycle", "event_fee_update")),
        Channel("multivariate_market_lifecycle", ("multivariate_market_lifecycle",)),
        Channel("order_group_updates", ("order_group_updates",), is_account=True),
        Channel(
            "communications",
            _COMMUNICATIONS,
            options=("user_filter", "shard_factor", "shard_key"),
            is_account=True,
        ),
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

OLD_FORM: Final = "the 'channel:market' form is no longer understood"
_NEAR: Final = 0.75  # "trades" and "orderbook" are close to a type, "quote" and "order" are not

_RETIRED = {
    "ticker_v2": "it was removed on 2026-02-12; write 'ticker'",
    "multivariate": "it was removed on 2026-08-06; write 'multivariate_market_lifecycle'",
    "batch_communications": "its messages come on 'communications'",
    "orderbook_snapshot": "it is a message type, not a channel; write 'orderbook_delta', whose first message "
    "for each market is an orderbook_snapshot",
    "orderbook": "write 'orderbook_delta'",
}


def rule_of(name: str) -> Channel:
    """The channel's rules; a name that ``allow_unknown`` let through gets rules that forbid nothing."""
    return CHANNELS.get(name) or Channel(
        name, (name,), ("market_tickers", "market_ids", "index_ids", "underlying_tickers")
    )


def channel_names(channels: str | Iterable[str], *, allow_unknown: bool = False) -> tuple[str, ...]:
    """The channel names of a subscribe call, without repeats.

    Raises ConfigurationError, which says what to write instead.
    """
    found = names(channels, "channels")
    for name in found:
        if name not in CHANNELS and not allow_unknown:
            raise ConfigurationError(f"unknown channel {name!r}: {_advice_for_programs(name)}")
    return found


def is_name(text: str) -> bool:
    """Whether ``text`` can name a market or any other key: no spaces, commas or control characters."""
    return bool(text) and text.isprintable() and not any(c.isspace() or c == "," for c in text)


def names(value: str | Iterable[str], what: str) -> tuple[str, ...]:
    """The strings as a tuple, in order and without repeats. Raises ConfigurationError for anything else."""
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, Iterable) or isinstance(items, (bytes, bytearray)):
        raise ConfigurationError(f"{what} must be a string or a list of strings, not {type(value).__name__}")
    found: dict[str, None] = {}
    for item in items:
        if not isinstance(item, str):
            raise ConfigurationError(f"{what} must contain strings, not {type(item).__name__}")
        if not is_name(item):
            raise ConfigurationError(
                f"{what} contains {item!r}: pass each name as a separate string, without spaces or commas"
            )
        found[item] = None
    if not found:
        raise ConfigurationError(f"{what} is empty: pass at least one, or omit the argument")
    return tuple(found)


def is_message_type(name: str) -> bool:
    """Whether this is a known message type. Raises ConfigurationError for an obvious misspelling."""
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
        f"unknown message type {name!r}: {what} (allow_unknown=True accepts the name as it is)"
    )


def _advice_for_programs(name: str) -> str:
    old = old_form(name)
    if old is not None:
        channel, ticker = old
        return f"{OLD_FORM}; write subscribe({channel!r}, [{ticker!r}])"
    more = "" if _known_mistake(name) else "; allow_unknown=True sends the name as it is"
    return advice_on(name) + more


def old_form(name: str) -> tuple[str, str] | None:
    """(channel, ticker) of a name in the exchange's old form "channel:ticker"; None for any other name."""
    channel, colon, ticker = name.partition(":")
    return (channel if channel in CHANNELS else BOOK_CHANNEL, ticker) if colon else None


def advice_on(name: str) -> str:
    """What to write in place of ``name``, which is not a channel."""
    return _known_mistake(name) or _nearest(name)


def _known_mistake(name: str) -> str:
    if name in _RETIRED:
        return _RETIRED[name]
    if name in CHANNEL_OF_TYPE:
        return f"it is a message type; its channel is {CHANNEL_OF_TYPE[name]!r}"
    return ""


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, CHANNELS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? The" if near else "the"
    return f"{hint} channels are {', '.join(CHANNELS)}"


def check_options(options: Mapping[str, object]) -> None:
    """Refuse what the exchange answers with errors 1, 11 and 19 to 22 (PROTOCOL.md 3.1): raises
    ConfigurationError."""
    for name in ("send_initial_snapshot", "skip_ticker_ack"):
        if not isinstance(options.get(name, False), bool):
            raise ConfigurationError(f"{name} must be True or False, not {options[name]!r}")
    if options.get("user_filter", "") not in ("", "self"):
        raise ConfigurationError(f"user_filter must be 'self' or '', not {options['user_filter']!r}")
    factor = options.get("shard_factor", 1)
    if type(factor) is not int or not 1 <= factor <= 100:
        raise ConfigurationError(f"shard_factor must be a whole number from 1 to 100, not {factor!r}")
    key = options.get("shard_key", 0)
    if "shard_key" in options and "shard_factor" not in options:
        raise ConfigurationError("shard_key needs shard_factor, the number of parts the stream is split into")
    if type(key) is not int or not 0 <= key < factor:
        raise ConfigurationError(f"shard_key must be a whole number from 0 to {factor - 1}, not {key!r}")
