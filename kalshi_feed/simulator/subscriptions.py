"""The channels, and one subscription: its sid, its sequence numbers, its filter.

Owns what a subscriber wants and has been sent. Pure data; imports only markets.
"""

from __future__ import annotations

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
"""Every channel, and whether its messages carry ``seq`` (protocol.md 2)."""

FILTERED = frozenset({"orderbook_delta", "ticker", "trade", "fill", "user_orders", "market_positions"})
"""Channels that heed a market filter and add_markets / delete_markets."""

MESSAGE_TYPE = {
    "user_orders": "user_order",
    "market_positions": "market_position",
    "multivariate_market_lifecycle": "multivariate_market_lifecycle",
    "communications": "rfq_created",
}
"""The usual message type of a channel where it is not the channel's own name (protocol.md 9, 17)."""

INDEX_ACTIONS = {
    "cfbenchmarks_value": ("subscribe_indices", "unsubscribe_indices", "indexlist", "index_ids", 24),
    "cfbenchmarks_value_5hz": ("subscribe_indices", "unsubscribe_indices", "indexlist", "index_ids", 24),
    "pyth_value": ("subscribe_underlyings", "unsubscribe_underlyings", "underlying_list", "underlying_tickers", 28),
}
"""Per reference feed: the actions to add, drop and list, the field they need, the error code when it is missing."""


@dataclass
class Subscription:
    """One channel of one connection. Not thread-safe: the exchange's lock guards it."""

    channel: str
    sid: int
    everything: bool  # no market filter: all markets
    use_yes_price: bool = False
    skip_ticker_ack: bool = False
    seq: int = 0
    market_tickers: dict[str, None] = field(default_factory=dict)  # an ordered set
    market_ids: dict[str, None] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)  # index_ids or underlying_tickers

    @property
    def sequenced(self) -> bool:
        return SEQUENCED[self.channel]

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def wants(self, market: Market) -> bool:
        return self.everything or market.ticker in self.market_tickers or market.market_id in self.market_ids

    def include(self, tickers: list[str], ids: list[str]) -> tuple[list[str], list[str]]:
        """Widen the filter and return what is new; an unfiltered subscription stays unfiltered."""
        new_tickers = [ticker for ticker in dict.fromkeys(tickers) if ticker not in self.market_tickers]
        new_ids = [market_id for market_id in dict.fromkeys(ids) if market_id not in self.market_ids]
        if not self.everything:
            self.market_tickers.update(dict.fromkeys(new_tickers))
            self.market_ids.update(dict.fromkeys(new_ids))
        return new_tickers, new_ids
