"""A program that uses the typed API as intended: mypy --strict has no complaints."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from typing_extensions import assert_type

from kalshi_feed import (
    BookView,
    Credentials,
    FeedFault,
    Fill,
    Following,
    GapFilled,
    KalshiFeed,
    KalshiFeedError,
    Level,
    MarketChange,
    Message,
    MessageStream,
    OrderbookDelta,
    SubscriptionState,
    Trade,
    UnknownMessage,
)
from kalshi_feed.messages import Communication, QuoteCreated
from kalshi_feed.rest import Market, Rest


def traded(trade: Trade) -> int:
    return trade.seq or 0


def anything(message: Message) -> None: ...


def untyped(message):  # type: ignore[no-untyped-def]
    return message.yes_price


def compressed(credentials: Credentials) -> KalshiFeed:
    return KalshiFeed(credentials, compression=True)


def registrations(feed: KalshiFeed) -> None:
    assert_type(feed.on_trade(traded)(feed.wait_for("trade")), int)  # the function, unchanged
    feed.on_trade(anything)
    feed.on_trade(untyped)
    feed.on_trade(lambda trade: trade.yes_price)
    feed.on("trade", traded)
    feed.on("trade", anything, market_tickers="A")
    feed.on("trade", untyped)
    feed.on("brand_new", anything, allow_unknown=True)
    feed.on_communication(told)

    @feed.on_delta
    def moved(delta: OrderbookDelta) -> Decimal:
        return delta.price

    @feed.on_book(market_tickers=["A"])
    def changed(view: BookView) -> None:
        view.best_bid("no")

    @feed.on("fill", market_tickers=["A"])
    def filled(fill: Fill) -> None: ...

    @feed.on("brand_new")
    def new(message: UnknownMessage) -> None: ...

    @feed.on_error
    def failed(fault: FeedFault) -> None: ...

    @feed.on_market
    def happened(change: MarketChange) -> None:
        assert_type(change.market, Market)
        if change.change == "settled" and change.market.close_at is not None:
            assert_type(change.market.close_at, datetime)

    @feed.on_gap_filled
    def filled_again(gap: GapFilled) -> None:
        assert_type(gap.complete, bool)


def told(message: Communication) -> None: ...


def follow(feed: KalshiFeed, rest: Rest) -> None:
    following = feed.follow(
        series="KXBTC15M",
        channels="ticker",
        where=lambda market: market.volume,
        lead=5,
        limit=10,
        rest=rest,
    )
    assert_type(following.wait(5), Following)
    assert_type(following.state, SubscriptionState)
    for market in following.markets.values():
        assert_type(market, Market)
    assert_type(feed.book(following.market_tickers[0]).market, Market | None)
    feed.follow(event="KXBTC15M-1", channels=["trade"], limit=None).unsubscribe()


def waits(feed: KalshiFeed, kind: str) -> None:
    assert_type(feed.wait_for("trade", timeout=1), Trade)
    assert_type(feed.wait_for("trade", lambda trade: trade.count is not None and trade.count > 1), Trade)
    assert_type(feed.wait_for(kind), Any)
    with feed.messages("trade", "A") as trades:
        assert_type(trades, MessageStream[Trade])
        for trade in trades:
            assert_type(trade, Trade)
        assert_type(trades.get(1), Trade)
    wider: MessageStream[Message] = feed.messages("quote_created")
    assert_type(feed.wait_for("quote_created"), QuoteCreated)
    del wider


def over_rest(rest: Rest) -> None:
    for market in rest.markets(series="S", status="open"):
        assert_type(market, Market)
        assert_type(market.yes_bid, Decimal | None)
        assert_type(market.close_at, datetime | None)
    assert_type(rest.event("E").markets, tuple[Market, ...])
    assert_type(next(rest.trades("A", since=1.5)), Trade)
    assert_type([fill.trade_id for fill in rest.fills()], list[str | None])
    assert_type(next(rest.trades()).source, Literal["feed", "rest"])


def plain(feed: KalshiFeed, delta: OrderbookDelta) -> None:
    assert_type(delta.side, Literal["yes", "no"])
    assert_type(feed.book("A").view().best_ask(delta.side), Level | None)
    assert_type(delta.to_dict(float), dict[str, Any])
    assert_type(feed.url, str)
    assert_type(feed.error, KalshiFeedError | None)
