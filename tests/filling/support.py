"""Feeds that fill their gaps, and what their callbacks have heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kalshi_feed import GapFilled, KalshiFeed, ReconnectPolicy
from kalshi_feed.engine.live import LiveEngine
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange
from tests.support import wait_until

__all__ = [
    "QUICK",
    "A",
    "B",
    "Heard",
    "back",
    "disconnect",
    "engine_of",
    "filling",
    "is_holding_some",
    "one_missed",
    "replayed",
    "rest_of",
    "subscribed",
    "trade",
]

QUICK = ReconnectPolicy(initial_delay=0.05, max_delay=0.06)
A, B = "KX-A", "KX-B"
KEYS = {
    "trade": "trade_id",
    "fill": "trade_id",
    "user_order": "order_id",
    "market_position": "market_ticker",
}


class Heard:
    """What the callbacks of a feed have got, in order."""

    def __init__(self, feed: KalshiFeed) -> None:
        self.messages: dict[str, list[Any]] = {type_: [] for type_ in KEYS}
        self.gaps: list[GapFilled] = []
        self.faults: list[str] = []
        self.order: list[tuple[str, str]] = []  # all of it: the type and the key
        for type_ in KEYS:
            feed.on(type_, self._on_message)
        feed.on_gap_filled(self._on_gap)
        feed.on_error(lambda fault: self.faults.append(fault.kind))

    def _on_message(self, message: Any) -> None:
        self.messages[message.type].append(message)
        self.order.append((message.type, getattr(message, KEYS[message.type])))

    def _on_gap(self, gap: GapFilled) -> None:
        self.gaps.append(gap)
        self.order.append(("gap", gap.channel))

    @property
    def trades(self) -> list[Any]:
        return self.messages["trade"]

    @property
    def fills(self) -> list[Any]:
        return self.messages["fill"]

    def prices(self, market_ticker: str) -> str:
        """The market's trades: their prices in cents, those that came over REST in brackets."""
        return " ".join(
            f"[{trade.yes_price * 100:.0f}]" if trade.source == "rest" else f"{trade.yes_price * 100:.0f}"
            for trade in self.trades
            if trade.market_ticker == market_ticker
        )

    def gap(self, channel: str) -> GapFilled:
        """The one gap of a channel."""
        (found,) = [gap for gap in self.gaps if gap.channel == channel]
        return found


def rest_of(exchange: Exchange, **options: Any) -> Rest:
    """A Rest for the exchange, with its key."""
    given = {"url": exchange.rest_url, "ssl_context": exchange.ssl_context, "retry_for": 0.3} | options
    return Rest(exchange.credentials, **given)


def filling(exchange: Exchange, rest: bool | Rest, **options: Any) -> KalshiFeed:
    """A feed that fills its gaps."""
    given = {"reconnect": QUICK, "url": exchange.url, "ssl_context": exchange.ssl_context} | options
    return KalshiFeed(exchange.credentials, fill_gaps=rest, **given)


def replayed(path: Path) -> Heard:
    """What the callbacks of a replay get."""
    replay = KalshiFeed.replay(path)
    heard = Heard(replay)
    with replay:
        replay.run_forever()
    return heard


def trade(exchange: Exchange, *cents: int, market: str = A) -> None:
    for price in cents:
        exchange.trade(market, "yes", price / 100, 1)


def disconnect(exchange: Exchange) -> None:
    """What happens from here on is missed, until the feed has dialed again."""
    exchange.disconnect()


def back(feed: KalshiFeed, reconnects: int = 1) -> None:
    """What happens from here on is not missed."""

    def is_back() -> bool:
        return feed.stats().reconnects == reconnects and all(one.sids for one in feed.subscriptions)

    wait_until(is_back)


def subscribed(feed: KalshiFeed, *channels: str, markets: Any = (A, B)) -> None:
    feed.subscribe(channels, markets).wait(5)


def one_missed(exchange: Exchange, feed: KalshiFeed, heard: Heard) -> None:
    """The trade at 1 cent came, the one at 2 was missed, and the feed is back."""
    subscribed(feed, "trade")
    trade(exchange, 1)
    wait_until(lambda: heard.trades)
    disconnect(exchange)
    trade(exchange, 2)
    back(feed)


def engine_of(feed: KalshiFeed) -> LiveEngine:
    engine = feed._engine
    assert isinstance(engine, LiveEngine)
    return engine


def is_holding_some(feed: KalshiFeed) -> bool:
    """Whether a trade waits for REST's answer."""
    holding = engine_of(feed).holding
    return holding is not None and bool(holding._held)
