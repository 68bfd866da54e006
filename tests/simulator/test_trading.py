"""The account: its orders in the books, their fills, positions and groups, and the messages about them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed.simulator import Exchange
from kalshi_feed.simulator.portfolio import Portfolio, Position, taker_fee

from .peer import Fold, Peer, wait_until

D = Decimal
ACCOUNT = ("fill", "user_orders", "market_positions", "order_group_updates")


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


def of(messages: list[dict[str, Any]], type_: str) -> list[dict[str, Any]]:
    return [message["msg"] for message in messages if message["type"] == type_]


def listen(peer: Peer) -> Fold:
    """Subscribe to everything about A and the account."""
    fold = Fold()
    for message in peer.subscribe("orderbook_delta", "trade", tickers=("A",)) + peer.subscribe(*ACCOUNT):
        fold.feed(message)
    return fold


# -- resting and matching ------------------------------------------------------------------------------------


def test_an_order_rests_in_the_book_and_its_delta_says_whose_it_is(exchange: Exchange, peer: Peer) -> None:
    fold = listen(peer)
    order_id = exchange.place_order(
        "A", "yes", "0.41", 10, client_order_id="mine", subaccount=3, expiration_ts_ms=5000
    )
    order, delta = peer.take(2)
    fold.feed(delta)
    assert fold.books["A"] == exchange.book("A") and exchange.book("A")["yes"][D("0.41")] == D("15.5")
    assert (delta["msg"]["delta_fp"], delta["msg"]["client_order_id"], delta["msg"]["subaccount"]) == (
        "10.00",
        "mine",
        3,
    )
    msg = order["msg"]
    assert (order["type"], order["sid"], "seq" in order) == ("user_order", 4, False)
    assert (msg["order_id"], msg["ticker"], msg["status"]) == (order_id, "A", "resting")
    assert (msg["outcome_side"], msg["book_side"], msg["yes_price_dollars"]) == ("yes", "bid", "0.4100")
    assert (msg["initial_count_fp"], msg["remaining_count_fp"], msg["fill_count_fp"]) == (
        "10.00",
        "10.00",
        "0.00",
    )
    assert (msg["client_order_id"], msg["subaccount_number"]) == ("mine", 3)
    assert (msg["expiration_ts_ms"], msg["expiration_time"]) == (5000, "1970-01-01T00:00:05Z")
    assert exchange.orders == [msg]
    exchange.change("A", "yes", "0.41", 1)
    assert "client_order_id" not in peer.recv()["msg"]  # another trader's
    exchange.cancel_order(order_id)
    delta, order = peer.take(2)
    assert (delta["msg"]["delta_fp"], delta["msg"]["client_order_id"]) == ("-10.00", "mine")
    assert (order["msg"]["status"], order["msg"]["remaining_count_fp"]) == ("canceled", "0.00")
    assert "last_update_reason" not in order["msg"] and order["msg"]["last_updated_ts_ms"] > 0
    with pytest.raises(LookupError, match="canceled"):
        exchange.cancel_order(order_id)


def test_selling_an_outcome_is_gaining_the_other(exchange: Exchange, peer: Peer) -> None:
    listen(peer)
    exchange.place_order("A", "yes", "0.44", 2, action="sell")
    order, delta = peer.take(2)
    assert (delta["msg"]["side"], delta["msg"]["price_dollars"]) == ("no", "0.5600")
    msg = order["msg"]
    assert (msg["outcome_side"], msg["book_side"], msg["yes_price_dollars"]) == ("no", "ask", "0.4400")
    assert (msg["side"], msg["is_yes"]) == ("yes", True)  # as it was placed


def test_a_crossing_order_takes_and_rests_with_the_remainder(exchange: Exchange, peer: Peer) -> None:
    fold = listen(peer)
    exchange.place_order("A", "yes", "0.46", 10, client_order_id="taker")  # 7 no contracts rest at 0.55
    got = peer.barrier()
    for message in got:
        fold.feed(message)
    assert types(got) == [
        "user_order",
        "orderbook_delta",
        "orderbook_delta",
        "trade",
        "fill",
        "user_order",
        "market_position",
    ]
    taken, rested = of(got, "orderbook_delta")
    assert (taken["side"], taken["price_dollars"], taken["delta_fp"]) == ("no", "0.5500", "-7.00")
    assert (rested["side"], rested["price_dollars"], rested["delta_fp"]) == ("yes", "0.4600", "3.00")
    assert (
        taken["clock"] == rested["clock"] and taken["client_order_id"] == rested["client_order_id"] == "taker"
    )
    (trade,), (fill,), (position,) = of(got, "trade"), of(got, "fill"), of(got, "market_position")
    assert (trade["taker_outcome_side"], trade["yes_price_dollars"], trade["count_fp"]) == (
        "yes",
        "0.4500",
        "7.00",
    )
    assert fill["trade_id"] == trade["trade_id"]
    assert (fill["is_taker"], fill["yes_price_dollars"], fill["count_fp"]) == (True, "0.4500", "7.00")
    assert (fill["outcome_side"], fill["post_position_fp"], fill["client_order_id"]) == (
        "yes",
        "7.00",
        "taker",
    )
    assert fill["fee_cost"] == "0.121300"  # 0.07 x 7 x 0.45 x 0.55, rounded up
    order = of(got, "user_order")[-1]
    assert (order["status"], order["fill_count_fp"], order["remaining_count_fp"]) == (
        "resting",
        "7.00",
        "3.00",
    )
    assert (order["taker_fill_cost_dollars"], order["taker_fees_dollars"]) == ("3.150000", "0.121300")
    assert (order["maker_fill_cost_dollars"], order["last_update_reason"]) == ("0.000000", "Trade")
    assert (position["position_fp"], position["position_cost_dollars"]) == ("7.00", "3.150000")
    assert position["fees_paid_dollars"] == position["position_fee_cost_dollars"] == "0.121300"
    assert (
        fold.books["A"]
        == exchange.book("A")
        == {"yes": {D("0.4"): 10, D("0.41"): D("5.5"), D("0.46"): 3}, "no": {}}
    )
    assert exchange.fills == [fill] and exchange.positions == [position]


def test_others_of_a_price_are_filled_first(exchange: Exchange, peer: Peer) -> None:
    first = exchange.place_order("A", "yes", "0.41", 2)
    second = exchange.place_order("A", "yes", "0.41", 2)
    fold = listen(peer)
    exchange.take("A", "no", 7)  # 5.5 from others, 1.5 from the first
    got = peer.barrier()
    for message in got:
        fold.feed(message)
    assert [delta["delta_fp"] for delta in of(got, "orderbook_delta")] == ["-5.50", "-1.50"]
    assert ["client_order_id" in delta for delta in of(got, "orderbook_delta")] == [False, True]
    (trade,), (fill,) = of(got, "trade"), of(got, "fill")
    assert (trade["taker_outcome_side"], trade["count_fp"], trade["no_price_dollars"]) == (
        "no",
        "7.00",
        "0.5900",
    )
    assert (fill["order_id"], fill["count_fp"], fill["is_taker"]) == (first, "1.50", False)
    assert fill["fee_cost"] == "0.000000"
    exchange.take("A", "no", 100, limit="0.59")  # the rest at 0.41 and nothing at 0.40
    got = peer.barrier()
    for message in got:
        fold.feed(message)
    assert [(fill["order_id"], fill["count_fp"]) for fill in of(got, "fill")] == [
        (first, "0.50"),
        (second, "2.00"),
    ]
    assert [order["status"] for order in of(got, "user_order")] == ["executed", "executed"]
    assert fold.books["A"] == exchange.book("A") == {"yes": {D("0.4"): 10}, "no": {D("0.55"): 7}}
    exchange.take("A", "yes", 7)
    assert [trade["count_fp"] for trade in of(peer.barrier(), "trade")] == ["7.00"]
    exchange.take("A", "yes", 7)
    assert peer.barrier() == []  # there are no offers


def test_a_trade_at_an_orders_price_fills_it(exchange: Exchange, peer: Peer) -> None:
    order_id = exchange.place_order("A", "yes", "0.40", 3)
    fold = listen(peer)
    exchange.trade("A", "no", "0.60", 2)
    exchange.trade("A", "yes", "0.45", 2)  # from the other side
    exchange.trade("A", "no", "0.60", 20)
    got = peer.barrier()
    for message in got:
        fold.feed(message)
    assert [(fill["order_id"], fill["count_fp"]) for fill in of(got, "fill")] == [
        (order_id, "2.00"),
        (order_id, "1.00"),
    ]
    assert [trade["count_fp"] for trade in of(got, "trade")] == ["2.00", "2.00", "20.00"]
    assert fold.books["A"] == exchange.book("A") and exchange.book("A")["yes"][D("0.4")] == 10


def test_fill_of_an_order_and_without_one(exchange: Exchange, peer: Peer) -> None:
    order_id = exchange.place_order("A", "no", "0.50", 4)
    listen(peer)
    exchange.fill("A", order_id=order_id, count="1.5", fee_cost="0.020000")
    got = peer.barrier()
    assert types(got) == ["orderbook_delta", "trade", "fill", "user_order", "market_position"]
    (fill,) = of(got, "fill")
    assert (fill["order_id"], fill["outcome_side"], fill["yes_price_dollars"]) == (order_id, "no", "0.5000")
    assert (fill["count_fp"], fill["post_position_fp"], fill["fee_cost"]) == ("1.50", "-1.50", "0.020000")
    assert of(got, "user_order")[0]["maker_fees_dollars"] == "0.020000"
    assert of(got, "market_position")[0]["fees_paid_dollars"] == "0.020000"
    exchange.fill("A", order_id=order_id)
    assert of(peer.barrier(), "user_order")[0]["status"] == "executed"
    with pytest.raises(ValueError, match=r"0\.00 of order"):
        exchange.fill("A", order_id=order_id)
    with pytest.raises(ValueError, match="leave them out"):
        exchange.fill("A", order_id=order_id, side="yes")
    before = exchange.book("A")
    exchange.fill("A", side="yes", price="0.3", count=6, subaccount=1)
    got = peer.barrier()
    assert types(got) == ["fill", "market_position"] and exchange.book("A") == before
    assert uuid.UUID(of(got, "fill")[0]["order_id"]) and of(got, "market_position")[0]["subaccount"] == 1
    assert [(item["subaccount"], item["position_fp"]) for item in exchange.positions] == [
        (0, "-4.00"),
        (1, "6.00"),
    ]


def test_private_channels_heed_their_market_filter(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("fill", "user_orders", "market_positions", tickers=("B",))
    exchange.place_order("A", "yes", "0.46", 1)
    exchange.place_order("B", "yes", "0.20", 1)
    exchange.fill("A")
    exchange.fill("B")
    got = peer.barrier()
    assert {message["msg"].get("ticker") or message["msg"]["market_ticker"] for message in got} == {"B"}
    assert types(got) == ["user_order", "fill", "market_position"]


# -- changes of orders ---------------------------------------------------------------------------------------


def test_amend_and_decrease(exchange: Exchange, peer: Peer) -> None:
    order_id = exchange.place_order("A", "yes", "0.42", 5)
    exchange.trade("A", "no", "0.58", 1)
    fold = listen(peer)
    exchange.amend_order(order_id, price="0.43", count=10)
    exchange.decrease_order(order_id, 2)
    got = peer.barrier()
    for message in got:
        fold.feed(message)
    assert [(item["price_dollars"], item["delta_fp"]) for item in of(got, "orderbook_delta")] == [
        ("0.4200", "-4.00"),
        ("0.4300", "9.00"),
        ("0.4300", "-2.00"),
    ]
    amended, decreased = of(got, "user_order")
    assert (amended["last_update_reason"], amended["yes_price_dollars"]) == ("Amend", "0.4300")
    assert (amended["initial_count_fp"], amended["remaining_count_fp"]) == ("10.00", "9.00")
    assert (decreased["last_update_reason"], decreased["remaining_count_fp"]) == ("Decrease", "7.00")
    exchange.amend_order(order_id, price="0.45")  # now it crosses the 7 at 0.55
    got = peer.barrier()
    for message in got:
        fold.feed(message)
    assert of(got, "fill")[0]["count_fp"] == "7.00" and of(got, "user_order")[-1]["status"] == "executed"
    assert fold.books["A"] == exchange.book("A")
    other = exchange.place_order("A", "yes", "0.10", 5)
    with pytest.raises(ValueError, match="above"):
        exchange.amend_order(other, count=0)
    with pytest.raises(ValueError, match=r"5\.00 left"):
        exchange.decrease_order(other, 6)
    exchange.decrease_order(other, 5)
    assert (exchange.orders[-1]["status"], exchange.orders[-1]["last_update_reason"]) == (
        "canceled",
        "Decrease",
    )


def test_post_only_and_self_trades(exchange: Exchange, peer: Peer) -> None:
    listen(peer)
    exchange.place_order("A", "yes", "0.45", 1, post_only=True)
    assert of(peer.barrier(), "user_order")[0]["last_update_reason"] == "PostOnlyCrossCancel"
    mine = exchange.place_order("A", "no", "0.55", 2)  # behind 7 of others
    peer.barrier()
    exchange.place_order("A", "yes", "0.45", 9)
    got = peer.barrier()
    assert of(got, "fill")[0]["count_fp"] == "7.00"
    last = of(got, "user_order")[-1]
    assert (last["status"], last["last_update_reason"]) == ("canceled", "SelfTradeCancel")
    assert exchange.book("A")["no"] == {D("0.55"): 2}
    exchange.place_order("A", "yes", "0.45", 1, self_trade_prevention_type="maker")
    orders = {order["order_id"]: order for order in exchange.orders}
    assert orders[mine]["last_update_reason"] == "SelfTradeCancel"
    assert exchange.book("A")["no"] == {} and exchange.book("A")["yes"][D("0.45")] == 1


def test_replacing_a_book_cancels_the_orders_in_it(exchange: Exchange, peer: Peer) -> None:
    listen(peer)
    replacements: list[tuple[Callable[[], None], str]] = [
        (lambda: exchange.set_book("A", yes={"0.3": 1}), "HaltCancel"),
        (lambda: exchange.add_market("A", yes={"0.3": 1}), "HaltCancel"),
        (lambda: exchange.settle("A"), "CloseCancel"),
    ]
    for replace, reason in replacements:
        exchange.place_order("A", "yes", "0.2", 1)
        peer.barrier()
        replace()
        got = peer.barrier()
        assert types(got) == ["user_order", "orderbook_snapshot"]
        assert of(got, "user_order")[0]["last_update_reason"] == reason
    with pytest.raises(ValueError, match="takes no orders: it is closed"):
        exchange.place_order("A", "yes", "0.2", 1)


def test_orders_that_the_exchange_refuses(exchange: Exchange) -> None:
    exchange.place_order("A", "yes", "0.42", 5)
    wrong: list[tuple[Any, Any, str]] = [
        (("A", "maybe", "0.5", 1), {}, "side"),
        (("A", "yes", 1, 1), {}, "between 0 and 1"),
        (("A", "yes", "0.5", 0), {}, "above 0"),
        (("A", "yes", "0.5", 1), {"action": "hold"}, "action"),
        (("A", "yes", "0.5", 1), {"subaccount": 64}, "subaccount"),
        (("A", "yes", "0.5", 1), {"self_trade_prevention_type": "none"}, "self_trade_prevention_type"),
    ]
    for arguments, more, complaint in wrong:
        with pytest.raises(ValueError, match=complaint):
            exchange.place_order(*arguments, **more)
    with pytest.raises(LookupError, match="add_market"):
        exchange.place_order("NOBODY", "yes", "0.5", 1)
    with pytest.raises(LookupError, match="no order group"):
        exchange.place_order("A", "yes", "0.5", 1, order_group_id="g")
    with pytest.raises(ValueError, match=r"5\.00 on the yes side at 0\.4200 are the account's own"):
        exchange.change("A", "yes", "0.42", -1)
    assert len(exchange.orders) == 1


# -- groups --------------------------------------------------------------------------------------------------


def test_an_order_group_cancels_its_orders_at_the_limit(exchange: Exchange, peer: Peer) -> None:
    fold = listen(peer)
    group = exchange.create_order_group(3)
    for price in ("0.43", "0.42"):
        exchange.place_order("A", "yes", price, 2, order_group_id=group)
    exchange.place_order("A", "yes", "0.42", 2)  # in no group
    fold_all(fold, peer)
    exchange.take("A", "no", 3, limit="0.58")  # 2 at 0.43 and 1 at 0.42: that is the limit
    got = fold_all(fold, peer)
    statuses = [order["status"] for order in of(got, "user_order")]
    assert statuses == ["executed", "resting", "canceled"]
    (update,) = of(got, "order_group_updates")
    assert (update["event_type"], update["order_group_id"]) == ("triggered", group)
    assert "contracts_limit_fp" not in update and update["ts_ms"] > 0
    assert fold.books["A"] == exchange.book("A") and exchange.book("A")["yes"][D("0.42")] == 2
    with pytest.raises(ValueError, match="reset_order_group"):
        exchange.place_order("A", "yes", "0.1", 1, order_group_id=group)
    exchange.reset_order_group(group)
    exchange.place_order("A", "yes", "0.1", 1, order_group_id=group)
    exchange.update_order_group_limit(group, 5)
    exchange.trigger_order_group(group)
    exchange.reset_order_group(group)
    exchange.place_order("A", "yes", "0.1", 1, order_group_id=group)
    exchange.delete_order_group(group)
    got = peer.barrier()
    updates = of(got, "order_group_updates")
    assert [update["event_type"] for update in updates] == [
        "reset",
        "limit_updated",
        "triggered",
        "reset",
        "deleted",
    ]
    assert updates[1]["contracts_limit_fp"] == "5.00"
    numbers = [message["seq"] for message in got if message["type"] == "order_group_updates"]
    assert numbers == [3, 4, 5, 6, 7]
    with pytest.raises(LookupError, match="no order group"):
        exchange.reset_order_group(group)


def fold_all(fold: Fold, peer: Peer) -> list[dict[str, Any]]:
    got = peer.barrier()
    for message in got:
        fold.feed(message)
    return got


# -- arithmetic ----------------------------------------------------------------------------------------------


def test_a_position_through_zero_and_settlement() -> None:
    position = Position("A", 0)
    position.gain("yes", 4000, 1000, 100)  # 10 yes at 0.40
    assert (position.quantity, position.cost, position.open_fees) == (1000, 4_000_000, 100)
    position.gain("no", 5000, 400, 50)  # 4 no at 0.50: 4 yes sold at 0.50
    assert (position.quantity, position.cost, position.realized) == (600, 2_400_000, 400_000)
    assert (position.open_fees, position.fees, position.volume) == (60, 150, 1400)
    position.gain("no", 7000, 1000, 0)  # 6 close at 0.30, 4 open at 0.70
    assert (position.quantity, position.cost, position.realized) == (-400, 2_800_000, -200_000)
    position.settle(0)  # no wins: 4 x (1 - 0.70)
    assert (position.quantity, position.cost, position.realized) == (0, 0, 1_000_000)
    position.settle(10_000)
    assert position.realized == 1_000_000


def test_fees_are_rounded_up_to_a_hundredth_of_a_cent() -> None:
    assert taker_fee(5_000, 100) == 17_500
    assert taker_fee(1, 1) == 100


def test_a_long_account_forgets_its_oldest_finished_orders(
    monkeypatch: pytest.MonkeyPatch, exchange: Exchange
) -> None:
    monkeypatch.setattr("kalshi_feed.simulator.portfolio.KEEP_ORDERS", 3)
    kept = exchange.place_order("A", "yes", "0.1", 1)
    for _ in range(10):
        exchange.cancel_order(exchange.place_order("A", "yes", "0.2", 1))
    assert len(exchange.orders) <= 7 and exchange.orders[0]["order_id"] == kept
    assert Portfolio().resting() == []


# -- activity ------------------------------------------------------------------------------------------------


def test_activity_of_the_account_keeps_the_books_true() -> None:
    with (
        Exchange(markets=2, rate=1500, seed=5, key_type="ed25519", account_activity=True) as exchange,
        Peer(exchange) as peer,
    ):
        exchange.pause()
        fold, got = Fold(), peer.subscribe("orderbook_delta", tickers=exchange.market_tickers)
        got += peer.subscribe("fill", "user_orders", "market_positions")
        for message in got:
            fold.feed(message)
        exchange.resume()
        wait_until(lambda: exchange.fills, 10)
        exchange.quiesce()
        got = fold_all(fold, peer)
        assert {"orderbook_delta", "fill", "user_order", "market_position"} <= set(types(got))
        assert fold.books == exchange.books()
        assert [message["msg"] for message in got if message["type"] == "fill"] == exchange.fills
        for book in exchange.books().values():
            assert max(book["yes"]) + max(book["no"]) < 1
        resting = [order for order in exchange.orders if order["status"] == "resting"]
        for order in resting:
            price = D(order["yes_price_dollars"])
            own = price if order["outcome_side"] == "yes" else 1 - price
            assert exchange.book(order["ticker"])[order["outcome_side"]][own] >= D(
                order["remaining_count_fp"]
            )
