"""What Rest returns is what the exchange has: markets, events, series, trades and the account."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed import ConfigurationError, Fill, KalshiFeed, MarketPosition, RestError, Trade, UserOrder
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange

from .conftest import MakeRest

NAIVE = datetime.now(timezone.utc).replace(tzinfo=None)
T1, T2, B = "KXA-26NOV30-T1", "KXA-26NOV30-T2", "KXB-26NOV30"


def test_a_market(rest: Rest) -> None:
    market = rest.market(T1)
    assert (market.ticker, market.market_ticker, market.event_ticker, market.series_ticker) == (
        T1,
        T1,
        "KXA-26NOV30",
        "KXA",
    )
    assert (market.yes_bid, market.yes_ask) == (Decimal("0.40"), Decimal("0.45"))
    assert (market.yes_bid_size, market.volume) == (Decimal(10), Decimal(0))
    assert market.open_at is not None and market.close_at is not None
    assert market.open_at.tzinfo is not None and market.open_at < market.close_at
    assert market.status == "active" and market.title and market.price_ranges
    assert repr(market).startswith(f"Market({T1} status active yes_bid 0.4000 yes_ask 0.4500")
    plain = json.loads(json.dumps(market.to_dict()))
    assert plain["market_ticker"] == T1 and plain["yes_bid"] == "0.4000"
    assert market.to_dict(float)["yes_ask"] == 0.45


def test_markets_by_series_event_tickers_and_status(rest: Rest, exchange: Exchange) -> None:
    def tickers(**options: Any) -> set[str]:
        return {market.ticker for market in rest.markets(**options)}

    assert tickers() == {T1, T2, B}
    assert tickers(series="KXA") == tickers(event="KXA-26NOV30") == {T1, T2}
    assert tickers(tickers=[B, T2]) == {T2, B} and tickers(tickers=B) == {B}
    assert tickers(status="open") == {T1, T2, B} and tickers(status="settled") == set()
    assert tickers(combos=False) == {T1, T2, B} and tickers(combos=True) == set()


def test_a_list_is_as_long_as_its_pages(
    rest: Rest, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kalshi_feed.rest.client._MOST", 2)
    monkeypatch.setattr("kalshi_feed.rest.client._MOST_TICKERS", 2)
    exchange.quirks.rest_pages_overlap = 1
    found = [market.ticker for market in rest.markets()]
    assert sorted(found) == [T1, T2, B]
    asked = exchange.rest_requests["/markets"]
    assert asked > 1
    assert len(list(rest.markets(tickers=[T1, T2, B]))) == 3
    assert next(rest.markets()).ticker == found[0]  # of the first page
    assert exchange.rest_log[-1].query["limit"] == "2"


def test_an_event_and_its_markets(rest: Rest) -> None:
    event = rest.event("KXA-26NOV30")
    assert {market.ticker for market in event.markets} == {T1, T2}
    assert (event.event_ticker, event.series_ticker) == ("KXA-26NOV30", "KXA") and event.title
    assert "2 markets" in repr(event) and len(event.to_dict()["markets"]) == 2
    assert [one.event_ticker for one in rest.events(series="KXA")] == ["KXA-26NOV30"]
    assert [len(one.markets) for one in rest.events(series="KXA", with_markets=True)] == [2]


def test_series(rest: Rest) -> None:
    assert rest.series("KXA").ticker == "KXA"
    assert {one.ticker for one in rest.series_list()} == {"KXA", "KXB"}


def test_trades_are_the_feeds_own(rest: Rest, exchange: Exchange) -> None:
    with KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed:
        feed.subscribe("trade", [T1]).wait(5)
        with feed.messages("trade") as trades:
            exchange.trade(T1, "yes", "0.40", 3)
            live = trades.get(timeout=5)
    (found,) = rest.trades(T1)
    assert isinstance(found, Trade) and (found.type, found.source, live.source) == ("trade", "rest", "feed")
    for name in ("trade_id", "market_ticker", "yes_price", "no_price", "count", "taker_outcome_side", "time"):
        assert getattr(found, name) == getattr(live, name), name
    assert found.to_dict().keys() == live.to_dict().keys()
    assert (found.to_dict()["source"], live.to_dict()["source"]) == ("rest", "feed")
    assert "source rest" in repr(found) and "source" not in repr(live)


def test_trades_of_an_interval(rest: Rest, exchange: Exchange) -> None:
    exchange.trade(T1, "yes", "0.40", 1)
    now = datetime.now(timezone.utc)
    assert len(list(rest.trades())) == 1
    assert len(list(rest.trades(T1, since=now - timedelta(seconds=5), until=now + timedelta(seconds=5)))) == 1
    assert list(rest.trades(T1, until=time.time() - 10)) == []
    query = exchange.rest_log[-2].query
    assert int(query["max_ts"]) - int(query["min_ts"]) in (10, 11)  # whole seconds, rounded outwards
    assert list(rest.trades(since=1000.5, until=2000.5)) == []
    assert (exchange.rest_log[-1].query["min_ts"], exchange.rest_log[-1].query["max_ts"]) == ("1000", "2001")
    assert list(rest.trades(historical=True)) == []


def test_the_account(rest: Rest, exchange: Exchange) -> None:
    names = (
        "market_ticker",
        "trade_id",
        "order_id",
        "yes_price",
        "count",
        "fee",
        "outcome_side",
        "book_side",
    )
    with KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed:
        feed.subscribe("fill").wait(5)
        with feed.messages("fill") as fills:
            exchange.place_order(T1, side="yes", price="0.45", count=2)
            live = fills.get(timeout=5)
    (fill,) = rest.fills()
    assert isinstance(fill, Fill) and fill.source == "rest" and fill.time == live.time
    for name in names:
        assert getattr(fill, name) == getattr(live, name), name
    assert [one.trade_id for one in rest.fills(market_tickers=[T1, B])] == [fill.trade_id]
    assert list(rest.fills(market_tickers=B)) == []
    (order,) = rest.orders(T1)
    assert isinstance(order, UserOrder) and (order.order_id, order.source) == (fill.order_id, "rest")
    assert [one.order_id for one in rest.orders(status="executed")] == [fill.order_id]
    (position,) = rest.positions()
    assert isinstance(position, MarketPosition) and (position.market_ticker, position.source) == (T1, "rest")
    assert position.position == 2 and position.extra["total_traded_dollars"]
    assert abs(rest.user_data_timestamp() - datetime.now(timezone.utc)) < timedelta(seconds=5)


def test_the_exchange(rest: Rest, exchange: Exchange) -> None:
    assert rest.clock_skew is None
    status = rest.exchange_status()
    assert (status.exchange_active, status.trading_active) == (True, True)
    assert rest.limits().usage_tier == "basic" and rest.limits().requests_per_second == 20
    assert rest.historical_cutoff() < datetime.now(timezone.utc) - timedelta(days=80)
    assert rest.clock_skew is not None and abs(rest.clock_skew) < 3


def test_market_data_needs_no_key(make_rest: MakeRest, exchange: Exchange) -> None:
    rest = make_rest(credentials=None)
    assert rest.market(T1).ticker == T1
    with pytest.raises(RestError, match="needs an API key") as refused:
        list(rest.fills())
    assert refused.value.status == 401 and not refused.value.retryable
    assert exchange.rest_requests["/portfolio/fills"] == 1


def test_connections_are_kept(rest: Rest, exchange: Exchange) -> None:
    for _ in range(5):
        rest.market(T1)
    assert len({request.connection for request in exchange.rest_log}) == 1


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda rest: rest.market(""), "market_ticker contains ''"),
        (lambda rest: rest.market(["A"]), "market_ticker must be a string, not list"),
        (lambda rest: rest.markets(status="active"), "status must be 'unopened', 'open'"),
        (lambda rest: rest.markets(tickers=[]), "tickers is empty"),
        (lambda rest: rest.markets(series="A B"), "series contains 'A B'"),
        (lambda rest: rest.trades(since=NAIVE), "since has no time zone"),
        (lambda rest: rest.trades(until="now"), "until must be an aware datetime or Unix seconds"),
        (lambda rest: rest.trades(since=2, until=1), "since is after until"),
        (lambda rest: rest.orders(status="open"), "status must be 'resting'"),
        (lambda rest: Rest("key"), "credentials must be a Credentials or None"),
        (lambda rest: Rest(timeout=0), "timeout must be a number of at least"),
        (lambda rest: Rest(retry_for=True), "retry_for must be a number"),
        (lambda rest: Rest(tokens_per_second="fast"), "tokens_per_second must be a number"),
        (lambda rest: Rest(url="http://exchange.example/"), "unencrypted; write https://"),
        (lambda rest: Rest(url="wss://exchange.example/"), "the REST url starts with https://"),
        (lambda rest: Rest(url="https://exchange.example/?a=b"), "has a query"),
        (lambda rest: Rest(proxy="socks5://proxy.example"), "SOCKS"),
    ],
)
def test_wrong_arguments_are_refused_at_once(rest: Rest, exchange: Exchange, call: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        call(rest)
    assert problem in str(refused.value)
    assert exchange.rest_requests == {}


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "https://external-api.kalshi.com:443/trade-api/v2"),
        ({"KALSHI_ENV": "demo"}, "https://external-api.demo.kalshi.co:443/trade-api/v2"),
        (
            {"KALSHI_URL": "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2"},
            "https://external-api.demo.kalshi.co:443/trade-api/v2",
        ),
        (
            {"KALSHI_REST_URL": "http://127.0.0.1:8000/trade-api/v2/", "KALSHI_ENV": "demo"},
            "http://127.0.0.1:8000/trade-api/v2",
        ),
    ],
)
def test_the_environment_names_the_exchange(environ: dict[str, str], url: str) -> None:
    with Rest.from_env(environ=environ) as rest:
        assert rest.url == url


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"KALSHI_URL": "wss://127.0.0.1:8443/trade-api/ws/v2"}, "KALSHI_REST_URL is not set"),
        ({"KALSHI_REST_URL": "ws://127.0.0.1/"}, "KALSHI_REST_URL starts with ws://"),
        ({"KALSHI_CA_FILE": "/nowhere.pem"}, "KALSHI_CA_FILE"),
        ({"KALSHI_API_KEY_ID": "x"}, "KALSHI_PRIVATE_KEY_PATH"),
    ],
)
def test_an_environment_that_makes_no_sense(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Rest.from_env(environ=environ)


def test_the_environments_key_and_certificates_are_used(exchange: Exchange, tmp_path: Any) -> None:
    key_file, ca_file = exchange.write_credentials(tmp_path)
    environ = {
        "KALSHI_API_KEY_ID": exchange.api_key_id,
        "KALSHI_PRIVATE_KEY_PATH": str(key_file),
        "KALSHI_REST_URL": exchange.rest_url,
        "KALSHI_CA_FILE": str(ca_file),
    }
    with Rest.from_env(environ=environ) as rest:
        assert rest.limits().usage_tier == "basic"
