"""What can be changed about a running exchange: its attributes, and its answers to open questions.

Owns the values. Every part of the exchange reads them here at the moment they matter.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Quirks:
    """Answers to what the protocol leaves open. Set them on ``exchange.quirks`` to try the other answer."""

    # what orderbook_delta without tickers draws: 14 or 2 (PROTOCOL.md 3.1)
    missing_ticker_code: int = 14
    # whether get_snapshot also draws an ``ok`` (PROTOCOL.md 3.3)
    get_snapshot_ok: bool = False
    # whether ``subscribed`` carries the command's id (PROTOCOL.md 9.15)
    echo_id: bool = True
    snapshot_before_subscribed: bool = False
    # whether ``ok`` and ``unsubscribed`` take a number (PROTOCOL.md 5.2)
    replies_have_seq: bool = True
    # whether that number repeats the last one instead of being the next
    replies_repeat_seq: bool = False
    # the number of the snapshots that get_snapshot draws (PROTOCOL.md 5.2)
    get_snapshot_seq: Literal["next", "last", "none"] = "next"
    # whether a ticker that was unknown when it was added is served once it exists (PROTOCOL.md 5.4)
    unknown_markets_flow: bool = False
    # whether commands that arrive together are answered in the order they arrived in (PROTOCOL.md 4)
    answers_in_order: bool = False
    # whether an ``ok`` lists markets in the order they were added instead of sorted
    lists_in_order: bool = False
    # the price scale of the no side, whatever the client asked for; None: as asked for (PROTOCOL.md 3.1)
    use_yes_price: bool | None = None
    # whether REST has other ids for trades, and for fills, than the feed
    rest_trade_ids_differ: bool = False
    rest_fill_ids_differ: bool = False
    # whether a compressed message may refer to those before it (PROTOCOL.md 1.2)
    context_takeover: bool = True
    # how many entries of a REST page the next one repeats
    rest_pages_overlap: int = 0


@dataclass(eq=False, repr=False)
class ExchangeSettings:
    """The attributes of an ``Exchange`` that any thread may change at any time; a new value holds at once."""

    # level changes per second over all moving markets; 0: they stand still
    rate: float = 0.0
    # whether the account places and cancels orders while the markets move
    account_activity: bool = False
    # whether indices and underlyings move while a client listens; None: while ``rate`` is above zero
    references_move: bool | None = None
    # whether the exchange sends pings, and how many seconds apart
    pings: bool = True
    heartbeat: float = 10.0
    # seconds that the exchange's clock is ahead of the machine's
    clock_offset: float = 0.0
    # how many seconds a signed timestamp may be off that clock (the real tolerance is unknown)
    max_clock_skew: float = 10.0
    # whether the offer of a new client to compress (permessage-deflate) is accepted
    compression: bool = True
    # bytes that a connection may be behind before error 25 ends the subscription
    max_buffer: int = 64 * 1024 * 1024
    # picks the order in which each connection's commands are answered; None is as repeatable as a number
    seed: int | None = None
    quirks: Quirks = field(default_factory=Quirks)
    # markets that one subscription may name before error 26; None: any number
    market_limit: int | None = None
    # markets that one command may name before error 26; None: any number
    tickers_per_command: int | None = None
    # changes of one subscription per second before error 27; None: any number
    command_limit: int | None = None
    # channels that draw error 9
    not_entitled: Collection[str] = ()
    # markets whose changes draw no delta and take no number
    dead_books: Collection[str] = ()
    # markets that get no snapshot
    mute_books: Collection[str] = ()
    # whose REST limit holds; None: there is none
    rest_tier: Literal["basic", "advanced", "expert", "premier", "paragon", "prime", "prestige"] | None = (
        "basic"
    )
    # REST tokens per second (a request costs 10) in place of the tier's
    rest_tokens: float | None = None
    # seconds that fills, orders and positions over REST are behind the feed
    rest_lag: float = 0.0
    # seconds before each REST answer
    rest_delay: float = 0.0
    # what happens to every REST request: a status (503), or the end of its connection, or no answer at all
    rest_down: int | Literal["reset", "close", "hang"] | None = None
    # seconds that a REST cursor can be used for; None: without end
    rest_cursor_seconds: float | None = None
    # seconds after which a trade is found under /historical/trades only
    rest_trades_seconds: float = 90 * 86_400.0
    # what /exchange/status says
    exchange_active: bool = True
    trading_active: bool = True
