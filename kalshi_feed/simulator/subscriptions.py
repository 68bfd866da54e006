"""The channels, and one subscription: its sid, its sequence numbers, its filter.

Owns a subscriber's filter, and the last number sent to it. Pure data.

How the exchange shards is unknown. Here, a frame of ``communications`` belongs to the shard crc32(key) modulo
``shard_factor``; the key is the market's ticker or the batch's id (PROTOCOL.md 3.1).
"""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass, field

from .markets import Market

SEQUENCED = {
    "orderbook_delta": True,
    "ticker": False,
    "trade": True,
    "market_lifecycle_v2": True,
    "multivariate_market_lifecycle": True,
    "fill": False,
    "user_orders": False,
    "market_positions": False,
    "order_group_updates": True,
    "communications": True,
    "cfbenchmarks_value": True,
    "cfbenchmarks_value_5hz": True,
    "pyth_value": True,
}
"""Every channel, and whether its messages carry ``seq`` (PROTOCOL.md 2)."""

FILTERED = frozenset({"orderbook_delta", "ticker", "trade", "fill", "user_orders", "market_positions"})
"""Channels with a market filter, which add_markets and delete_markets change."""

MESSAGE_TYPE = {
    "user_orders": "user_order",
    "market_positions": "market_position",
    "communications": "rfq_created",
}
"""The usual message type of a channel where it is not the channel's own name (PROTOCOL.md 9.17)."""

INDEX_ACTIONS = {
    "cfbenchmarks_value": ("subscribe_indices", "unsubscribe_indices", "indexlist", "index_ids", 24),
    "cfbenchmarks_value_5hz": ("subscribe_indices", "unsubscribe_indices", "indexlist", "index_ids", 24),
    "pyth_value": (
        "subscribe_underlyings",
        "unsubscribe_underlyings",
        "underlying_list",
        "underlying_tickers",
        28,
    ),
}
"""Per reference feed: the actions to add, drop and list, the field they need, and the error code if it is
missing."""


ALL = "all"
SECOND_US = 1_000_000


@dataclass
class OpenChannel:
    """One channel of one connection. Not thread-safe: the exchange's lock guards it."""

    channel: str
    sid: int
    everything: bool  # no market filter: all markets
    use_yes_price: bool = False
    skip_ticker_ack: bool = False
    seq: int = 0
    market_tickers: dict[str, None] = field(default_factory=dict)  # an ordered set
    # tickers that were unknown when they were added: their books are not served
    deaf: set[str] = field(default_factory=set)
    market_ids: dict[str, None] = field(default_factory=dict)
    # index_ids or underlying_tickers; "all" means every one
    names: dict[str, None] = field(default_factory=dict)
    own_only: bool = False  # user_filter "self"
    shard_factor: int | None = None
    shard_key: int = 0
    updated_us: deque[int] = field(default_factory=deque)  # when it was changed, within the last second

    @property
    def sequenced(self) -> bool:
        """Whether its messages are numbered."""
        return SEQUENCED[self.channel]

    def next_seq(self) -> int:
        """Take the next number."""
        self.seq += 1
        return self.seq

    def wants(self, market: Market) -> bool:
        """Whether a market passes the filter."""
        if market.ticker in self.deaf:
            return False
        return self.everything or market.ticker in self.market_tickers or market.market_id in self.market_ids

    def wants_name(self, name: str) -> bool:
        """Whether an index or underlying is subscribed."""
        return name in self.names or ALL in self.names

    def wants_communication(self, key: str, own: bool, request: bool) -> bool:
        """Whether a frame passes shard and ``user_filter``, which is about the frames of requests.

        ``own``: the account made the RFQ or batch; ``request``: the frame is about the RFQ or batch itself.
        """
        if self.own_only and request and not own:
            return False
        return self.shard_factor is None or zlib.crc32(key.encode()) % self.shard_factor == self.shard_key

    def market_count(self, tickers: list[str], ids: list[str]) -> int:
        """How many markets the filter would have with these added."""
        if self.everything:
            return 0
        return len({*self.market_tickers, *tickers}) + len({*self.market_ids, *ids})

    def include(self, tickers: list[str], ids: list[str]) -> tuple[list[str], list[str]]:
        """Widen the filter and return what is new in it; an unfiltered subscription stays unfiltered."""
        new_tickers = [ticker for ticker in dict.fromkeys(tickers) if ticker not in self.market_tickers]
        new_ids = [market_id for market_id in dict.fromkeys(ids) if market_id not in self.market_ids]
        if not self.everything:
            self.market_tickers.update(dict.fromkeys(new_tickers))
            self.market_ids.update(dict.fromkeys(new_ids))
        return new_tickers, new_ids

    def may_change(self, now_us: int, limit: int) -> bool:
        """Count a command against ``limit`` per second; False if the last second has had that many."""
        while self.updated_us and not 0 <= now_us - self.updated_us[0] < SECOND_US:
            self.updated_us.popleft()
        if len(self.updated_us) >= limit:
            return False
        self.updated_us.append(now_us)
        return True
