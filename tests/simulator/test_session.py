"""Commands and their answers, sids and sequence numbers, over a real connection (PROTOCOL.md 3-5)."""

from __future__ import annotations

import json
import time
import uuid
from decimal import Decimal
from typing import Any

import pytest
import websocket

from kalshi_feed.simulator import Exchange
from kalshi_feed.simulator.settings import Quirks
from kalshi_feed.simulator.subscriptions import SEQUENCED

from .peer import Fold, Peer


def shape(message: dict[str, Any]) -> tuple[Any, ...]:
    return message["type"], message.get("sid"), message.get("seq")


def test_subscribe_confirms_then_sends_a_snapshot_per_market(peer: Peer) -> None:
    ack, first, second = peer.subscribe("orderbook_delta", tickers=("A", "B"))
    assert ack["type"] == "subscribed"
    assert ack["id"] == 1
    assert ack["msg"] == {"channel": "orderbook_delta", "sid": 1}
    assert "seq" not in ack and "sid" not in ack
    assert [shape(first), shape(second)] == [("orderbook_snapshot", 1, 1), ("orderbook_snapshot", 1, 2)]
    assert first["msg"]["yes_dollars_fp"] == [["0.4000", "10.00"], ["0.4100", "5.50"]]
    assert first["msg"]["no_dollars_fp"] == [["0.5500", "7.00"]]
    assert first["msg"]["clock"] == 0
    assert "no_dollars_fp" not in second["msg"]
    uuid.UUID(first["msg"]["market_id"])
    assert "id" not in first
    now_ms = time.time() * 1000
    assert all(abs(message["sending_ts_ms"] - now_ms) < 5000 for message in (ack, first, second))


def test_every_channel_can_be_subscribed_and_gets_the_next_sid(peer: Peer) -> None:
    params = {"channels": list(SEQUENCED), "market_tickers": ["B"]}
    peer.send("subscribe", params)
    acks = [message for message in peer.take(len(SEQUENCED) + 1) if message["type"] == "subscribed"]
    assert [ack["msg"]["channel"] for ack in acks] == list(SEQUENCED)
    assert [ack["msg"]["sid"] for ack in acks] == list(range(1, 14))
    assert all(ack["id"] == 1 for ack in acks)
    listed = peer.ask("list_subscriptions")
    assert listed["type"] == "ok" and "sid" not in listed and "seq" not in listed
    assert listed["msg"] == [{"channel": channel, "sid": sid} for sid, channel in enumerate(SEQUENCED, 1)]


def test_a_second_subscribe_answers_ok_with_the_whole_list_and_only_new_snapshots(peer: Peer) -> None:
    peer.subscribe("orderbook_delta", tickers=("A",))
    again = peer.ask("subscribe", {"channels": ["orderbook_delta"], "market_tickers": ["A"]})
    assert shape(again) == ("ok", 1, 2)
    assert again["msg"] == {"market_tickers": ["A"]} and again["id"] == 2
    peer.send("subscribe", {"channels": ["orderbook_delta", "trade"], "market_tickers": ["A", "B"]})
    ok, snapshot, opened = peer.take(3)
    assert shape(ok) == ("ok", 1, 3) and ok["msg"] == {"market_tickers": ["A", "B"]}
    assert shape(snapshot) == ("orderbook_snapshot", 1, 4) and snapshot["msg"]["market_ticker"] == "B"
    assert opened["type"] == "subscribed" and opened["msg"] == {"channel": "trade", "sid": 2}
    assert peer.barrier() == []


def test_add_and_delete_markets(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("orderbook_delta", tickers=("A",))
    peer.update(1, "add_markets", "B")
    ok, snapshot = peer.take(2)
    assert shape(ok) == ("ok", 1, 2) and ok["msg"] == {"market_tickers": ["A", "B"]}
    assert shape(snapshot) == ("orderbook_snapshot", 1, 3)
    peer.send("update_subscription", {"sids": [1], "action": "delete_markets", "market_ticker": "A"})
    ok = peer.recv()
    assert shape(ok) == ("ok", 1, 4) and ok["msg"] == {"market_tickers": ["B"]}
    exchange.change("A", "yes", "0.40", 1)
    exchange.change("B", "yes", "0.10", 1)
    (delta,) = peer.barrier()
    assert shape(delta) == ("orderbook_delta", 1, 5) and delta["msg"]["market_ticker"] == "B"


def test_get_snapshot_carries_the_commands_id_and_the_next_numbers(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("orderbook_delta", tickers=("A",))
    id_ = peer.update(1, "get_snapshot", "A", "B")
    a, b = peer.take(2)
    assert (a["id"], shape(a), b["id"], shape(b)) == (
        id_,
        ("orderbook_snapshot", 1, 2),
        id_,
        ("orderbook_snapshot", 1, 3),
    )
    exchange.change("B", "yes", "0.10", 1)
    assert peer.barrier() == []  # the snapshot of B did not subscribe to it
    assert peer.error("update_subscription", {"sid": 1, "action": "get_snapshot", "market_ticker": "A"}) == 14
    exchange.quirks.get_snapshot_ok = True
    peer.update(1, "get_snapshot", "A")
    assert [shape(message) for message in peer.take(2)] == [("ok", 1, 4), ("orderbook_snapshot", 1, 5)]


def test_unsubscribe_takes_a_number_and_a_new_subscription_a_new_sid(peer: Peer) -> None:
    peer.subscribe("orderbook_delta", "ticker", tickers=("A",))
    id_ = peer.send("unsubscribe", {"sids": [1, 2]})
    first, second = peer.take(2)
    assert shape(first) == ("unsubscribed", 1, 2) and first["id"] == id_ and "msg" not in first
    assert shape(second) == ("unsubscribed", 2, 1)
    ack, snapshot = peer.subscribe("orderbook_delta", tickers=("A",))
    assert ack["msg"]["sid"] == 3 and shape(snapshot) == ("orderbook_snapshot", 3, 1)


def test_an_unknown_market_has_an_empty_snapshot_without_an_id(peer: Peer) -> None:
    _, snapshot = peer.subscribe("orderbook_delta", tickers=("NOBODY",))
    assert snapshot["msg"] == {"market_ticker": "NOBODY", "market_id": "", "clock": 0}


def test_a_market_that_appears_later_is_served_to_a_client_that_adds_it_again(
    exchange: Exchange, peer: Peer
) -> None:
    """PROTOCOL.md 5.4: there is no evidence that it is served to a client that asked for it earlier."""
    sid = peer.subscribe("orderbook_delta", tickers=("A", "LATE"))[0]["msg"]["sid"]
    exchange.add_market("LATE", yes={"0.5": 1})
    exchange.change("LATE", "no", "0.3", 2)
    for action in ("delete_markets", "add_markets"):
        peer.ask("update_subscription", {"sid": sid, "action": action, "market_tickers": ["LATE"]})
    exchange.change("LATE", "no", "0.3", 2)
    snapshot, delta = peer.take(2)
    assert snapshot["msg"]["market_id"] and snapshot["msg"]["no_dollars_fp"] == [["0.3000", "2.00"]]
    assert delta["msg"]["market_ticker"] == "LATE" and delta["msg"]["clock"] == 2


def test_a_market_that_is_gone_is_unknown(exchange: Exchange, peer: Peer) -> None:
    sid = peer.subscribe("orderbook_delta", tickers=("A",))[0]["msg"]["sid"]
    exchange.remove_market("A")
    peer.send("update_subscription", {"sid": sid, "action": "get_snapshot", "market_tickers": ["A"]})
    (snapshot,) = peer.take(1)
    assert snapshot["msg"] == {"market_ticker": "A", "market_id": "", "clock": 0}
    with pytest.raises(LookupError, match="no market 'A'"):
        exchange.remove_market("A")


def test_a_market_that_appears_later_sends_a_snapshot_to_a_client_that_asked_before(
    exchange: Exchange, peer: Peer
) -> None:
    exchange.quirks.unknown_markets_flow = True
    peer.subscribe("orderbook_delta", tickers=("LATE",))
    exchange.add_market("LATE", yes={"0.5": 1})
    exchange.change("LATE", "no", "0.3", 2)
    snapshot, delta = peer.take(2)
    assert shape(snapshot) == ("orderbook_snapshot", 1, 2) and snapshot["msg"]["market_id"]
    assert shape(delta) == ("orderbook_delta", 1, 3) and delta["msg"]["clock"] == 1


def test_use_yes_price_converts_the_no_side(exchange: Exchange, peer: Peer) -> None:
    exchange.set_book("A", yes={"0.40": 1}, no={"0.55": 7, "0.5": 3})
    _, snapshot = peer.subscribe("orderbook_delta", tickers=("A",), use_yes_price=True)
    assert snapshot["msg"]["yes_dollars_fp"] == [["0.4000", "1.00"]]
    assert snapshot["msg"]["no_dollars_fp"] == [["0.4500", "7.00"], ["0.5000", "3.00"]]
    exchange.change("A", "no", "0.55", "-7")
    exchange.change("A", "yes", "0.40", "0.5")
    no, yes = peer.take(2)
    assert (no["msg"]["side"], no["msg"]["price_dollars"], no["msg"]["delta_fp"]) == ("no", "0.4500", "-7.00")
    assert (yes["msg"]["side"], yes["msg"]["price_dollars"]) == ("yes", "0.4000")
    fold = Fold(use_yes_price=True)
    for message in (snapshot, no, yes):
        fold.feed(message)
    assert fold.books["A"] == exchange.book("A")


def test_skip_ticker_ack(peer: Peer) -> None:
    peer.subscribe("orderbook_delta", tickers=("A",), skip_ticker_ack=True)
    peer.update(1, "add_markets", "B")
    ok, _ = peer.take(2)
    assert shape(ok) == ("ok", 1, 2) and "msg" not in ok


def test_ticker_by_id_with_a_first_state(exchange: Exchange, peer: Peer) -> None:
    _, snapshot = peer.subscribe("orderbook_delta", tickers=("A",))
    market_id = snapshot["msg"]["market_id"]
    peer.send("subscribe", {"channels": ["ticker"], "market_ids": [market_id], "send_initial_snapshot": True})
    ack, first = peer.take(2)
    assert ack["msg"] == {"channel": "ticker", "sid": 2}
    assert first["type"] == "ticker" and first["sid"] == 2 and "seq" not in first
    assert (first["msg"]["yes_bid_dollars"], first["msg"]["yes_ask_dollars"]) == ("0.4100", "0.4500")
    exchange.ticker("B")
    exchange.ticker("A")
    assert peer.recv()["msg"]["market_ticker"] == "A"
    other = str(uuid.uuid4())
    ok = peer.ask("update_subscription", {"sid": 2, "action": "add_markets", "market_ids": [other]})
    assert ok["msg"] == {"market_ids": sorted([market_id, other])} and "seq" not in ok


def test_unfiltered_channels_hear_of_every_market(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("trade", "ticker", "fill")
    exchange.trade("A", "yes", "0.45", 2)
    exchange.ticker("B")
    exchange.fill("A", side="no", price="0.55", count="1.5", order_id="mine")
    trade, ticker, fill = peer.take(3)
    assert shape(trade) == ("trade", 1, 1)
    assert (trade["msg"]["yes_price_dollars"], trade["msg"]["no_price_dollars"]) == ("0.4500", "0.5500")
    assert (trade["msg"]["taker_outcome_side"], trade["msg"]["taker_book_side"]) == ("yes", "bid")
    assert ticker["msg"]["market_ticker"] == "B"
    assert shape(fill) == ("fill", 3, None)
    assert (fill["msg"]["yes_price_dollars"], fill["msg"]["count_fp"]) == ("0.4500", "1.50")
    assert fill["msg"]["order_id"] == "mine" and fill["msg"]["book_side"] == "ask"


ORDERBOOK = {"channels": ["orderbook_delta"], "market_tickers": ["A"]}
ERRORS: list[tuple[str | None, Any, int]] = [
    ("subscribe", None, 2),
    ("subscribe", [], 1),
    ("subscribe", {}, 3),
    ("subscribe", {"channels": []}, 3),
    ("subscribe", {"channels": "trade"}, 1),
    ("subscribe", {"channels": ["trade", "orderbook_snapshot"]}, 8),
    ("subscribe", {"channels": ["orderbook_delta"]}, 14),
    ("subscribe", {"channels": ["orderbook_delta"], "market_tickers": ["A"], "market_ticker": "A"}, 11),
    ("subscribe", {"channels": ["ticker"], "market_id": "not a uuid"}, 11),
    ("subscribe", {"channels": ["trade"], "market_id": str(uuid.uuid4())}, 11),
    ("subscribe", {**ORDERBOOK, "use_yes_price": "yes"}, 1),
    ("subscribe", {"channels": ["cfbenchmarks_value_5hz"], "index_ids": "BRTI"}, 1),
    ("subscribe", {"channels": ["communications"], "shard_factor": 0}, 19),
    ("subscribe", {"channels": ["communications"], "shard_key": 0}, 20),
    ("subscribe", {"channels": ["communications"], "shard_factor": 2, "shard_key": 2}, 21),
    ("subscribe", {"channels": ["communications"], "shard_factor": 101}, 22),
    ("subscribe", {"channels": ["communications"], "user_filter": "others"}, 11),
    ("unsubscribe", {}, 4),
    ("unsubscribe", {"sids": [99]}, 7),
    ("unsubscribe", {"sids": ["1"]}, 1),
    ("update_subscription", {"action": "add_markets"}, 12),
    ("update_subscription", {"sids": [1, 2], "action": "add_markets"}, 12),
    ("update_subscription", {"sid": 99, "action": "add_markets"}, 7),
    ("update_subscription", {"sid": 1}, 15),
    ("update_subscription", {"sid": 1, "action": "explode"}, 13),
    ("update_subscription", {"sid": 1, "action": "add_markets"}, 14),
    ("update_subscription", {"sid": 2, "action": "get_snapshot", "market_tickers": ["A"]}, 13),
    ("update_subscription", {"sid": 3, "action": "subscribe_indices"}, 24),
    ("update_subscription", {"sid": 3, "action": "unsubscribe_indices", "index_ids": []}, 24),
    ("update_subscription", {"sid": 3, "action": "underlying_list"}, 13),
    ("update_subscription", {"sid": 3, "action": "add_markets", "market_tickers": ["A"]}, 13),
    ("update_subscription", {"sid": 4, "action": "subscribe_underlyings"}, 28),
    ("update_subscription", {"sid": 4, "action": "unsubscribe_underlyings"}, 28),
    ("subscribe_all", {}, 5),
    (None, {}, 5),
]


def test_each_wrong_command_draws_its_code_and_changes_nothing(peer: Peer) -> None:
    peer.subscribe("orderbook_delta", "trade", "cfbenchmarks_value", "pyth_value", tickers=("A",))
    for cmd, params, code in ERRORS:
        assert (cmd, params, peer.error(cmd, params)) == (cmd, params, code)
    assert [item["sid"] for item in peer.ask("list_subscriptions")["msg"]] == [1, 2, 3, 4]
    ok = peer.ask("subscribe", ORDERBOOK)
    assert shape(ok) == ("ok", 1, 2)  # errors of commands take no number


@pytest.mark.parametrize(
    "text", ["{", "[1]", '"subscribe"', "null", "", "[" * 5000, '{"id":-1}', '{"id":"x"}', '{"id":true}']
)
def test_a_frame_that_is_not_a_command_draws_error_1_without_an_id(
    exchange: Exchange, peer: Peer, text: str
) -> None:
    peer.ws.send(text)
    reply = peer.recv()
    assert reply["msg"] == {"code": 1, "msg": "Unable to process message"} and "id" not in reply
    assert peer.barrier() == []


@pytest.mark.parametrize("id_", [0, None])
def test_without_an_id_none_comes_back(peer: Peer, id_: int | None) -> None:
    assert "id" not in peer.ask("list_subscriptions", id_=id_)
    assert "id" not in peer.ask("explode", id_=id_)


def test_a_subscription_names_only_so_many_markets(exchange: Exchange, peer: Peer) -> None:
    exchange.market_limit = 2
    assert (
        peer.error("subscribe", {"channels": ["trade", "orderbook_delta"], "market_tickers": ["A", "B", "C"]})
        == 26
    )
    assert exchange.subscriptions == []
    peer.subscribe("orderbook_delta", tickers=("A",))
    update = {"sid": 1, "action": "add_markets", "market_tickers": ["B", "C"]}
    assert peer.error("update_subscription", update) == 26
    assert peer.error("subscribe", {"channels": ["orderbook_delta"], "market_tickers": ["B", "C"]}) == 26
    peer.update(1, "add_markets", "A", "B")
    ok, snapshot = peer.take(2)
    assert ok["msg"] == {"market_tickers": ["A", "B"]} and (ok["seq"], snapshot["seq"]) == (2, 3)
    peer.subscribe("trade")  # no filter, no limit
    exchange.market_limit = None
    peer.update(1, "add_markets", "C")
    assert [message["type"] for message in peer.take(2)] == ["ok", "orderbook_snapshot"]


def test_a_subscription_is_changed_only_so_often(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("orderbook_delta", tickers=("A",))
    peer.subscribe("trade", tickers=("A",))
    exchange.command_limit = 2
    peer.update(1, "add_markets", "A")
    peer.ask("subscribe", ORDERBOOK)
    peer.recv()
    assert peer.error("subscribe", ORDERBOOK) == 27
    update = {"sid": 1, "action": "add_markets", "market_tickers": ["B"]}
    assert peer.error("update_subscription", update) == 27
    assert (
        peer.ask("update_subscription", {**update, "sid": 2})["type"] == "ok"
    )  # each subscription has its own limit
    exchange.clock_offset = 1.0
    assert peer.ask("update_subscription", update)["type"] == "ok"


def test_a_channel_the_account_has_not_paid_for(exchange: Exchange, peer: Peer) -> None:
    exchange.not_entitled = {"pyth_value"}
    assert peer.error("subscribe", {"channels": ["trade", "pyth_value"], "underlying_tickers": ["all"]}) == 9
    assert exchange.subscriptions == []
    assert peer.subscribe("trade")[0]["type"] == "subscribed"


def test_sids_and_numbers_are_each_connections_own(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("trade")
    peer.subscribe("orderbook_delta", tickers=("A",))
    with Peer(exchange) as second:
        second.subscribe("orderbook_delta", tickers=("A",), use_yes_price=True)
        exchange.change("A", "no", "0.55", 1)
        mine, other = peer.recv(), second.recv()
        assert (shape(mine), shape(other)) == (("orderbook_delta", 2, 2), ("orderbook_delta", 1, 2))
        assert mine["msg"]["clock"] == other["msg"]["clock"] == 1
        assert mine["msg"]["price_dollars"] == "0.5500" and other["msg"]["price_dollars"] == "0.4500"


def test_quirks_play_the_other_answers(exchange: Exchange, peer: Peer) -> None:
    exchange.quirks.missing_ticker_code = 2
    assert peer.error("subscribe", {"channels": ["orderbook_delta"]}) == 2
    exchange.quirks.echo_id = False
    exchange.quirks.snapshot_before_subscribed = True
    exchange.quirks.replies_have_seq = False
    snapshot, ack = peer.subscribe("orderbook_delta", tickers=("A",))
    assert snapshot["type"] == "orderbook_snapshot" and "id" not in ack
    ok = peer.ask("subscribe", ORDERBOOK)
    assert ok["sid"] == 1 and "seq" not in ok
    exchange.quirks.replies_have_seq = exchange.quirks.replies_repeat_seq = True
    assert peer.ask("subscribe", ORDERBOOK)["seq"] == snapshot["seq"]
    exchange.quirks.get_snapshot_seq = "last"
    peer.update(1, "get_snapshot", "A")
    assert peer.recv()["seq"] == snapshot["seq"]
    exchange.quirks.get_snapshot_seq = "none"
    peer.update(1, "get_snapshot", "A")
    assert "seq" not in peer.recv()
    peer.send("unsubscribe", {"sids": [1]})
    assert peer.recv()["seq"] == snapshot["seq"]
    exchange.quirks = Quirks(use_yes_price=True)
    _, turned = peer.subscribe("orderbook_delta", tickers=("A",), use_yes_price=False)
    mine, other = snapshot["msg"]["no_dollars_fp"][0][0], turned["msg"]["no_dollars_fp"][0][0]
    assert Decimal(mine) + Decimal(other) == 1


def test_a_limit_of_markets_a_command(exchange: Exchange, peer: Peer) -> None:
    exchange.tickers_per_command = 1
    assert peer.error("subscribe", {"channels": ["orderbook_delta"], "market_tickers": ["A", "B"]}) == 26
    peer.subscribe("orderbook_delta", tickers=("A",))
    assert (
        peer.error("update_subscription", {"sid": 1, "action": "add_markets", "market_tickers": ["B", "C"]})
        == 26
    )
    peer.update(1, "add_markets", "B")
    assert [message["type"] for message in peer.take(2)] == ["ok", "orderbook_snapshot"]


def test_a_fragmented_command_is_one_command(exchange: Exchange, peer: Peer) -> None:
    text = json.dumps({"id": 7, "cmd": "list_subscriptions"})
    peer.ws.send_frame(websocket.ABNF.create_frame(text[:9], websocket.ABNF.OPCODE_TEXT, fin=0))
    peer.ws.send_frame(websocket.ABNF.create_frame(text[9:], websocket.ABNF.OPCODE_CONT))
    assert peer.recv()["id"] == 7
