"""What type checkers must refuse: each line that ends with ``# refused``, and no other."""

from __future__ import annotations

from kalshi_feed import (
    BookView,
    Fill,
    Gap,
    KalshiFeed,
    MessageStream,
    OrderbookDelta,
    StateChange,
    Subscription,
    Ticker,
    Trade,
)
from kalshi_feed.messages import MarketLifecycle, RfqCreated
from kalshi_feed.rest import Rest


def filled(fill: Fill) -> None: ...
def traded(trade: Trade) -> None: ...
def viewed(view: BookView) -> None: ...
def changed(change: StateChange) -> None: ...
def created(message: RfqCreated) -> None: ...
def lived(message: MarketLifecycle) -> None: ...
def nothing() -> None: ...


def registrations(feed: KalshiFeed) -> None:
    feed.on_snapshot(traded)  # refused
    feed.on_delta(traded)  # refused
    feed.on_book(traded)  # refused
    feed.on_trade(filled)  # refused
    feed.on_trade(nothing)  # refused
    feed.on_trade(traded, market_tickers=5)  # refused
    feed.on_ticker(traded)  # refused
    feed.on_fill(traded)  # refused
    feed.on_order(filled)  # refused
    feed.on_position(filled)  # refused
    feed.on_lifecycle(lived)  # refused
    feed.on_event(lived)  # refused
    feed.on_order_group(filled)  # refused
    feed.on_communication(created)  # refused
    feed.on_index(traded)  # refused
    feed.on_message(traded)  # refused
    feed.on_market(changed)  # refused
    feed.on_gap_filled(changed)  # refused
    feed.on_state(viewed)  # refused
    feed.on_gap(changed)  # refused
    feed.on_lagged(changed)  # refused
    feed.on_error(changed)  # refused
    feed.on("trade", filled)  # refused
    feed.on("rfq_created", traded)  # refused
    feed.on("brand_new", traded)  # refused

    @feed.on_trade  # refused
    def first(fill: Fill) -> None: ...

    @feed.on_trade(market_tickers="A")  # refused
    def second(fill: Fill) -> None: ...

    @feed.on("trade")  # refused
    def third(fill: Fill) -> None: ...


def waits(feed: KalshiFeed) -> None:
    fill: Fill = feed.wait_for("trade")  # refused
    feed.wait_for("trade", filled)  # refused
    stream: MessageStream[Fill] = feed.messages("trade")  # refused
    for trade in feed.messages("trade"):
        _ = trade.fee  # refused
    gap: Gap = feed.messages("orderbook_delta").get()  # refused
    del fill, stream, gap


def follow(feed: KalshiFeed) -> None:
    feed.follow(series=["A", "B"])  # refused
    feed.follow(series="A", where=traded)  # refused
    feed.follow(series="A", limit="10")  # refused
    feed.follow("A")  # refused
    following: Subscription = feed.follow(series="A")  # refused
    _ = feed.book("A").market.title  # refused
    del following


def sides(feed: KalshiFeed, delta: OrderbookDelta, ticker: Ticker, name: str) -> None:
    feed.book("A").best_bid("maybe")  # refused
    feed.book("A").view().best_ask(name)  # refused
    feed.book("A").cost_to_buy("YES", 10)  # refused
    if delta.side == "up":  # refused
        pass
    ticker.to_dict("float")  # refused


def over_rest(rest: Rest) -> None:
    rest.markets(status="active")  # refused
    rest.trades(since="yesterday")  # refused
    _ = rest.market("A").close_at.year  # refused
