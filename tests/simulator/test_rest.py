"""The exchange over REST answers with what it reported on the feed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed.simulator import Exchange
from kalshi_feed.simulator.accounts import Account

from .peer import Peer
from .rest_client import RestClient

HOUR = 3600


@pytest.fixture
def rest(exchange: Exchange, tmp_path: Path) -> Iterator[RestClient]:
    with RestClient(exchange, tmp_path) as client:
        yield client


def tickers(markets: list[dict[str, Any]]) -> list[str]:
    return [market["ticker"] for market in markets]


def time_of(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


# -- HTTP ----------------------------------------------------------------------------------------------------
def test_one_connection_serves_many_requests_and_the_clock_is_the_exchanges(
    exchange: Exchange, rest: RestClient
) -> None:
    exchange.clock_offset = -7 * 86_400.0
    for _ in range(5):
        answer = rest.get("/exchange/status")
        assert answer.json() == {
            "exchange_active": True,
            "trading_active": True,
            "exchange_estimated_resume_time": None,
        }
    assert {entry.connection for entry in exchange.rest_log} == {1}
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(answer.content))
    week_ago = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    assert abs(week_ago + 7 * 86_400 - time.time()) < 5
    rest.get("/exchange/status", {"Connection": "close"})
    rest.get("/exchange/status")
    assert exchange.rest_log[-1].connection == 2
    assert exchange.rest_requests == {"/exchange/status": 7}
    assert exchange.connections == 0 and exchange.handshakes == []  # these are the feed's


def test_the_feed_and_rest_share_the_port(exchange: Exchange, rest: RestClient, peer: Peer) -> None:
    peer.subscribe("trade")
    assert rest.json("/exchange/status")["trading_active"] is True
    exchange.trading_active = False
    assert rest.json("/exchange/status")["trading_active"] is False
    exchange.trade("A", "yes", "0.45", 1)
    assert len(peer.barrier()) == 1
    assert exchange.url.startswith(f"wss://127.0.0.1:{exchange.port}/")
    assert exchange.rest_url == f"https://127.0.0.1:{exchange.port}/trade-api/v2"


def test_without_tls(tmp_path: Path) -> None:
    with Exchange(key_type="ed25519", tls=False) as plain, RestClient(plain, tmp_path) as client:
        assert plain.rest_url == f"http://127.0.0.1:{plain.port}/trade-api/v2"
        assert client.json("/portfolio/fills") == {"fills": [], "cursor": ""}


@pytest.mark.parametrize("key_type", ["rsa", "ed25519"])
def test_a_signature_by_hand(key_type: Any, tmp_path: Path) -> None:
    with Exchange(key_type=key_type) as exchange, RestClient(exchange, tmp_path) as client:
        path = "/portfolio/fills"
        assert client.get(path, client.signature(path), limit=5).status_code == 200
        stranger = Account("ed25519")
        old = int(time.time() * 1000) - 60_000
        for headers, details in (
            ({}, "MISSING_HEADERS"),
            ({**client.signature(path), "KALSHI-ACCESS-KEY": stranger.api_key_id}, "NOT_FOUND"),
            (client.signature(path, pem=stranger.private_key_pem()), "INCORRECT_API_KEY_SIGNATURE"),
            (client.signature(path, now_ms=old), "TIMESTAMP_EXPIRED"),
            (client.signature("/portfolio/orders"), "INCORRECT_API_KEY_SIGNATURE"),
            (client.signature(path + "?limit=5"), "INCORRECT_API_KEY_SIGNATURE"),
            (client.signature(path, method="POST"), "INCORRECT_API_KEY_SIGNATURE"),
        ):
            answer = client.get(path, headers, limit=5)
            assert (answer.status_code, answer.json()["error"]["details"]) == (401, details)
            assert answer.json()["error"]["code"] == "authentication_error"
        assert client.get("/markets").status_code == 200  # market data needs no key
        signatures = client.signature(path)["KALSHI-ACCESS-SIGNATURE"]
        assert signatures not in repr(exchange.rest_log)


def test_what_does_not_exist(exchange: Exchange, rest: RestClient) -> None:
    assert rest.error("/markets/NOPE") == (404, "market not found")
    assert rest.error("/markets/NOPE/orderbook") == (404, "market not found")
    assert rest.error("/events/NOPE") == (404, "event not found")
    assert rest.error("/series/NOPE") == (404, "series not found")
    for path in ("/nothing", "", "/", "/markets/", "/markets/A/trades", "/portfolio"):
        assert rest.error(path)[0] == 404
    posted = rest.session.post(exchange.rest_url + "/markets", json={"a": 1}, timeout=5)
    assert (posted.status_code, posted.json()["error"]["code"]) == (405, "method_not_allowed")
    assert rest.get("/markets").status_code == 200 and exchange.rest_log[-1].connection == 1
    headed = rest.session.head(exchange.rest_url + "/markets", timeout=5)
    assert (headed.status_code, headed.content, headed.headers["Connection"]) == (405, b"", "close")
    assert rest.get("/markets").status_code == 200
    assert exchange.rest_requests["?"] == 6


# -- markets -------------------------------------------------------------------------------------------------
def test_a_market_from_creation_to_settlement(exchange: Exchange, rest: RestClient) -> None:
    now = int(time.time())
    exchange.create_market(
        "KXQ-26-T5",
        open_ts=now + HOUR,
        close_ts=now + 2 * HOUR,
        title="Above 5?",
        yes_sub_title="above",
        floor_strike=5,
        opened=False,
    )
    market = rest.json("/markets/KXQ-26-T5")["market"]
    assert (market["status"], market["title"], market["yes_sub_title"], market["no_sub_title"]) == (
        "initialized",
        "Above 5?",
        "above",
        "No",
    )
    assert (market["event_ticker"], market["floor_strike"], market["result"]) == ("KXQ-26", 5, "")
    assert time_of(market["open_time"]) == now + HOUR and time_of(market["close_time"]) == now + 2 * HOUR
    assert "settlement_ts" not in market and "series_ticker" not in market
    with pytest.raises(ValueError, match="takes no orders: it is initialized"):
        exchange.place_order("KXQ-26-T5", "yes", "0.30", 1)

    exchange.clock_offset = HOUR + 1.0  # nothing is said when it opens
    exchange.open_market("KXQ-26-T5", yes={"0.40": 5}, no={"0.50": 7})
    exchange.trade("KXQ-26-T5", "yes", "0.50", 2)
    market = rest.json("/markets/KXQ-26-T5")["market"]
    assert (market["status"], market["volume_fp"], market["last_price_dollars"]) == (
        "active",
        "2.00",
        "0.5000",
    )
    assert (market["yes_bid_dollars"], market["yes_ask_dollars"], market["no_bid_dollars"]) == (
        "0.4000",
        "0.5000",
        "0.5000",
    )
    assert (market["yes_bid_size_fp"], market["yes_ask_size_fp"]) == ("5.00", "7.00")
    exchange.clock_offset = 2 * HOUR + 1.0
    assert rest.json("/markets/KXQ-26-T5")["market"]["status"] == "closed"
    exchange.update_close("KXQ-26-T5", now + 3 * HOUR)
    assert rest.json("/markets/KXQ-26-T5")["market"]["status"] == "active"
    exchange.deactivate("KXQ-26-T5")
    assert rest.json("/markets/KXQ-26-T5")["market"]["status"] == "inactive"
    exchange.determine("KXQ-26-T5", "yes")
    market = rest.json("/markets/KXQ-26-T5")["market"]
    assert (market["status"], market["result"], market["settlement_value_dollars"]) == (
        "determined",
        "yes",
        "1.0000",
    )
    exchange.settle_market("KXQ-26-T5")
    market = rest.json("/markets/KXQ-26-T5")["market"]
    assert market["status"] == "finalized"
    assert abs(time_of(market["settlement_ts"]) - exchange.now_us() / 1e6) < 5


def test_markets_are_filtered(exchange: Exchange, rest: RestClient) -> None:
    now = int(time.time())
    for number in range(3):
        exchange.create_market(f"KXQ-26-T{number}", close_ts=now + HOUR * (number + 1))
    exchange.create_market("KXQ-27-T0", open_ts=now + HOUR)
    exchange.create_market("KXMVE-1")
    exchange.settle("KXQ-26-T0")
    exchange.determine("KXQ-26-T1", "no")
    exchange.settle_market("KXQ-26-T1")

    def found(**query: Any) -> list[str]:
        return tickers(rest.json("/markets", **query)["markets"])

    assert found() == ["KXMVE-1", "KXQ-27-T0", "KXQ-26-T2", "KXQ-26-T1", "KXQ-26-T0", "B", "A"]
    assert found(series_ticker="KXQ") == ["KXQ-27-T0", "KXQ-26-T2", "KXQ-26-T1", "KXQ-26-T0"]
    assert found(series_ticker="KXQ", status="open") == ["KXQ-26-T2"]
    assert found(series_ticker="KXQ", status="unopened") == ["KXQ-27-T0"]
    assert found(status="closed") == ["KXQ-26-T0"] and found(status="settled") == ["KXQ-26-T1"]
    assert found(event_ticker="KXQ-27") == ["KXQ-27-T0"]
    assert found(tickers="B,KXQ-26-T2,NOPE") == ["KXQ-26-T2", "B"]
    assert found(mve_filter="only") == ["KXMVE-1"] and "KXMVE-1" not in found(mve_filter="exclude")
    assert found(min_close_ts=now + 3 * HOUR, max_close_ts=now + 3 * HOUR) == ["KXQ-26-T2"]
    assert found(status="settled", min_settled_ts=now - 5) == ["KXQ-26-T1"]
    assert found(status="settled", min_settled_ts=now + 60) == []
    assert found(min_created_ts=now - 5) == found() and found(max_updated_ts=now - 60) == []
    both = rest.error("/markets", min_close_ts=1, max_created_ts=2)
    assert both == (400, "the times created and close exclude each other")
    assert rest.error("/markets", status="open", min_settled_ts=1)[0] == 400
    assert rest.error("/markets", status="paused")[0] == 400
    assert rest.error("/markets", mve_filter="yes")[0] == 400
    assert rest.error("/markets", limit=1001) == (400, "limit must be from 0 to 1000")
    assert rest.error("/markets", limit="many") == (400, "limit must be an integer")
    assert rest.error("/markets", cursor="abc") == (400, "the cursor is invalid")
    assert [tickers(rest.json("/markets", limit=limit)["markets"]) for limit in (1, 0)] == [
        ["KXMVE-1"],
        found(),
    ]
    assert tickers(rest.pages("/markets", "markets", limit=2)) == found()


def test_events_and_series(exchange: Exchange, rest: RestClient) -> None:
    exchange.create_event("KXQ-26", title="What?", subtitle="When?", series_ticker="KXOTHER")
    exchange.create_market("KXQ-26-T0")
    exchange.create_market("KXQ-26-T1")
    exchange.create_market("KXMVE-1-2")
    exchange.trade("KXQ-26-T1", "yes", "0.50", 3)
    event = rest.json("/events/KXQ-26")
    assert tickers(event["markets"]) == ["KXQ-26-T0", "KXQ-26-T1"] and "markets" not in event["event"]
    assert {name: event["event"][name] for name in ("series_ticker", "title", "sub_title")} == {
        "series_ticker": "KXOTHER",
        "title": "What?",
        "sub_title": "When?",
    }
    nested = rest.json("/events/KXQ-26", with_nested_markets="true")
    assert list(nested) == ["event"] and nested["event"]["markets"] == event["markets"]
    events = rest.json("/events")["events"]
    assert [one["event_ticker"] for one in events] == ["B", "A", "KXQ-26"]  # what was announced came first
    assert "markets" not in events[0]
    of_series = rest.json("/events", series_ticker="KXOTHER", with_nested_markets="true")["events"]
    assert [tickers(one["markets"]) for one in of_series] == [["KXQ-26-T0", "KXQ-26-T1"]]
    assert tickers(rest.json("/markets", series_ticker="KXOTHER")["markets"]) == ["KXQ-26-T1", "KXQ-26-T0"]
    assert [one["event_ticker"] for one in rest.pages("/events", "events", limit=1)] == ["B", "A", "KXQ-26"]
    exchange.settle("A")
    assert [one["event_ticker"] for one in rest.json("/events", status="closed")["events"]] == ["A"]
    assert rest.json("/events", min_close_ts=int(time.time()) + 10**9)["events"] == []
    assert rest.error("/events", limit=201)[0] == 400
    assert {one["ticker"] for one in rest.json("/series")["series"]} == {"A", "B", "KXMVE", "KXOTHER"}
    assert rest.json("/series", category="Sports")["series"] == []
    series = rest.json("/series/KXOTHER", include_volume="true")["series"]
    assert (series["ticker"], series["category"], series["volume_fp"]) == ("KXOTHER", "Simulation", "3.00")


def test_a_book(exchange: Exchange, rest: RestClient) -> None:
    assert rest.json("/markets/A/orderbook") == {
        "orderbook_fp": {
            "yes_dollars": [["0.4000", "10.00"], ["0.4100", "5.50"]],
            "no_dollars": [["0.5500", "7.00"]],
        }
    }
    assert rest.json("/markets/A/orderbook", depth=1)["orderbook_fp"]["yes_dollars"] == [["0.4100", "5.50"]]
    assert rest.error("/markets/A/orderbook", depth=101)[0] == 400


# -- trades and the account ----------------------------------------------------------------------------------
def test_the_trades_of_the_feed(exchange: Exchange, rest: RestClient, peer: Peer) -> None:
    peer.subscribe("trade")
    for number in range(1, 8):
        exchange.trade("AB"[number % 2], "yes", "0.45", number)
    sent = [message["msg"] for message in peer.barrier()]
    got = rest.pages("/markets/trades", "trades", limit=2)[::-1]
    assert [trade["trade_id"] for trade in got] == [msg["trade_id"] for msg in sent]
    for trade, msg in zip(got, sent, strict=True):
        assert trade["ticker"] == msg["market_ticker"]
        assert int(time_of(trade["created_time"]) * 1000 + 0.0005) == msg["ts_ms"]
        for name in ("yes_price_dollars", "no_price_dollars", "count_fp", "taker_outcome_side"):
            assert trade[name] == msg[name]
        assert not {"ts", "ts_ms", "seq"} & set(trade)
    assert got == exchange.trades
    only = rest.pages("/markets/trades", "trades", ticker="A", limit=1)
    assert [trade["count_fp"] for trade in only] == ["6.00", "4.00", "2.00"]
    assert rest.json("/markets/trades", ticker="NOPE") == {"trades": [], "cursor": ""}
    assert rest.json("/markets/trades", is_block_trade="true")["trades"] == []


def test_min_ts_and_max_ts_are_whole_seconds(exchange: Exchange, rest: RestClient) -> None:
    # trades at 10.25, 11.25 ... 14.25 seconds
    start = int(time.time()) + 10
    for number in range(5):
        exchange.clock_offset += start + number + 0.25 - exchange.now_us() / 1e6
        exchange.trade("A", "yes", "0.45", number + 1)

    def found(**query: int) -> list[str]:
        return [trade["count_fp"] for trade in rest.json("/markets/trades", **query)["trades"]]

    assert found(min_ts=start + 2) == ["5.00", "4.00", "3.00"]
    assert found(max_ts=start + 1) == ["2.00", "1.00"]
    assert found(min_ts=start + 1, max_ts=start + 3) == ["4.00", "3.00", "2.00"]
    assert found(min_ts=start + 1, max_ts=start + 3, limit=1) == ["4.00"]


def test_old_trades_are_elsewhere(exchange: Exchange, rest: RestClient) -> None:
    exchange.trade("A", "yes", "0.45", 1)
    exchange.clock_offset = 60.0
    exchange.trade("A", "yes", "0.45", 2)
    exchange.rest_trades_seconds = 30.0
    assert [one["count_fp"] for one in rest.json("/markets/trades")["trades"]] == ["2.00"]
    assert [one["count_fp"] for one in rest.json("/historical/trades")["trades"]] == ["1.00"]
    cutoff = rest.json("/historical/cutoff")["trades_created_ts"]
    assert abs(time_of(cutoff) - (exchange.now_us() / 1e6 - 30)) < 5


def test_the_account_of_the_feed(exchange: Exchange, rest: RestClient, peer: Peer) -> None:
    peer.subscribe("fill", "user_orders", "market_positions")
    resting = exchange.place_order("A", "yes", "0.42", 3)
    exchange.place_order("B", "no", "0.90", 1, subaccount=2)  # takes the bid of yes
    exchange.fill("A", order_id=resting, count=1)
    canceled = exchange.place_order("A", "yes", "0.30", 1)
    exchange.cancel_order(canceled)
    messages = peer.barrier()
    sent = [message["msg"] for message in messages if message["type"] == "fill"]
    fills = rest.pages("/portfolio/fills", "fills", limit=1)
    assert [fill["fill_id"] for fill in fills] == [msg["trade_id"] for msg in reversed(sent)]
    assert {fill["fill_id"] for fill in fills} == {trade["trade_id"] for trade in exchange.trades}
    mine, other = fills
    assert (mine["ticker"], mine["market_ticker"], mine["order_id"]) == ("A", "A", resting)
    assert (mine["yes_price_dollars"], mine["no_price_dollars"], mine["outcome_side"]) == (
        "0.4200",
        "0.5800",
        "yes",
    )
    assert (other["subaccount_number"], other["is_taker"], other["fee_cost"]) == (
        2,
        True,
        sent[0]["fee_cost"],
    )
    assert mine["ts"] == sent[1]["ts"] and mine["trade_id"] == mine["fill_id"]

    assert len(rest.json("/portfolio/fills", ticker="A,B")["fills"]) == 2
    assert len(rest.json("/portfolio/fills", ticker="B")["fills"]) == 1
    assert len(rest.json("/portfolio/fills", order_id=resting)["fills"]) == 1
    assert len(rest.json("/portfolio/fills", subaccount=2)["fills"]) == 1
    assert rest.json("/portfolio/fills", max_ts=int(time.time()) - 60)["fills"] == []
    assert rest.error("/portfolio/fills", ticker=",".join(map(str, range(101))))[0] == 400

    last = {msg["msg"]["order_id"]: msg["msg"] for msg in messages if msg["type"] == "user_order"}
    orders = {order["order_id"]: order for order in rest.pages("/portfolio/orders", "orders", limit=1)}
    assert set(orders) == set(last)
    for order_id, order in orders.items():
        for name in ("status", "remaining_count_fp", "fill_count_fp", "last_update_time", "outcome_side"):
            assert order[name] == last[order_id][name]
    assert [one["order_id"] for one in rest.json("/portfolio/orders", status="resting")["orders"]] == [
        resting
    ]
    assert [one["order_id"] for one in rest.json("/portfolio/orders", status="canceled")["orders"]] == [
        canceled
    ]
    assert len(rest.json("/portfolio/orders", ticker="A")["orders"]) == 2
    assert len(rest.json("/portfolio/orders", event_ticker="B")["orders"]) == 1

    positions = rest.json("/portfolio/positions")
    assert [(one["ticker"], one["position_fp"]) for one in positions["market_positions"]] == [
        ("A", "1.00"),
        ("B", "-1.00"),
    ]
    reported = next(message["msg"] for message in reversed(messages) if message["type"] == "market_position")
    first = positions["market_positions"][0]
    assert (reported["market_ticker"], reported["position_cost_dollars"]) == (
        "A",
        first["market_exposure_dollars"],
    )
    assert abs(time_of(first["last_updated_ts"]) - time.time()) < 5
    assert [one["event_ticker"] for one in positions["event_positions"]] == ["A", "B"]
    exchange.determine("A", "yes")
    exchange.settle_market("A")
    assert [one["ticker"] for one in rest.json("/portfolio/positions")["market_positions"]] == ["B"]
    settled = rest.json("/portfolio/positions", settlement_status="settled")["market_positions"]
    assert [(one["position_fp"], one["realized_pnl_dollars"]) for one in settled] == [("0.00", "0.580000")]
    every = rest.pages("/portfolio/positions", "market_positions", settlement_status="all", limit=1)
    assert {one["ticker"] for one in every} == {"A", "B"}
    held = rest.json("/portfolio/positions", settlement_status="all", count_filter="position")
    assert [one["ticker"] for one in held["market_positions"]] == ["B"]


def test_everything_a_moving_market_has_sent(tmp_path: Path) -> None:
    with Exchange(markets=5, rate=1500, seed=3, account_activity=True, key_type="ed25519") as exchange:
        with Peer(exchange) as peer, RestClient(exchange, tmp_path) as client:
            peer.subscribe("trade", "fill")
            exchange.rest_tier = None
            deadline = time.monotonic() + 10
            while len(exchange.trades) < 150:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            exchange.quiesce()
            sent = peer.barrier()
            structures = {one["price_level_structure"]: one for one in client.json("/markets")["markets"]}
            assert structures["linear_cent"]["price_ranges"][0]["step"] == "0.0100"
            assert structures["deci_cent"]["price_ranges"][0]["step"] == "0.0010"
            reported = [message["msg"]["trade_id"] for message in sent if message["type"] == "trade"]
            listed = [trade["trade_id"] for trade in client.pages("/markets/trades", "trades", limit=40)]
            assert len(reported) >= 100 and listed[::-1][-len(reported) :] == reported
            fills = [message["msg"]["trade_id"] for message in sent if message["type"] == "fill"]
            every = [one["fill_id"] for one in client.pages("/portfolio/fills", "fills")][::-1]
            assert every == [fill["trade_id"] for fill in exchange.fills]
            assert every[len(every) - len(fills) :] == fills  # some may be older than the subscription


def test_the_limits_and_the_freshness(exchange: Exchange, rest: RestClient) -> None:
    limits = rest.json("/account/limits")
    assert limits["usage_tier"] == "basic"
    assert limits["read"] == {"refill_rate": 200, "bucket_capacity": 600}
    exchange.rest_tier = "premier"
    assert rest.json("/account/limits")["read"]["refill_rate"] == 1200
    as_of = time_of(rest.json("/exchange/user_data_timestamp")["as_of_time"])
    assert abs(as_of - datetime.now(timezone.utc).timestamp()) < 5
