"""RFQs, quotes and batches: which client gets which message, and how an execution changes the account."""

from __future__ import annotations

import uuid
import zlib
from typing import Any

import pytest

from kalshi_feed.simulator import Exchange
from kalshi_feed.simulator.rfqs import HIDDEN_ID

from .peer import Peer


def communications(peer: Peer, **params: Any) -> None:
    peer.send("subscribe", {"channels": ["communications"], **params})
    assert peer.recv()["type"] == "subscribed"


def heard(peer: Peer) -> list[tuple[str, dict[str, Any]]]:
    return [(message["type"], message["msg"]) for message in peer.barrier()]


def test_a_quote_on_the_accounts_request_is_executed(exchange: Exchange, peer: Peer) -> None:
    communications(peer)
    peer.subscribe("fill", "user_orders", "market_positions", "trade")
    rfq_id = exchange.create_rfq("A", contracts=20, subaccount=2)
    quote_id = exchange.quote(rfq_id, "0.35", "0.60")
    exchange.accept(quote_id, "yes")
    order_id = exchange.execute(quote_id)
    got = peer.barrier()
    assert [message["seq"] for message in got if message["sid"] == 1] == [1, 2, 3, 4]
    messages = {message["type"]: message["msg"] for message in got}
    assert list(messages) == [
        "rfq_created", "quote_created", "quote_accepted", "trade", "fill", "user_order", "market_position",
        "quote_executed",
    ]  # fmt: skip
    created, quote, accepted = (messages[name] for name in ("rfq_created", "quote_created", "quote_accepted"))
    assert (created["id"], created["market_ticker"], created["contracts_fp"]) == (rfq_id, "A", "20.00")
    assert "target_cost_dollars" not in created and created["created_ts"].endswith("Z")
    assert created["creator_id"] == quote["rfq_creator_id"] != quote["quote_creator_id"]
    assert (quote["yes_bid_dollars"], quote["no_bid_dollars"], quote["subaccount"]) == ("0.3500", "0.6000", 2)
    assert quote["yes_contracts_offered_fp"] == quote["no_contracts_offered_fp"] == "20.00"
    assert (accepted["accepted_side"], accepted["contracts_accepted_fp"]) == ("yes", "20.00")
    fill, executed = messages["fill"], messages["quote_executed"]
    assert (fill["outcome_side"], fill["yes_price_dollars"], fill["is_taker"]) == ("no", "0.3500", True)
    assert (fill["order_id"], fill["subaccount"], fill["post_position_fp"]) == (order_id, 2, "-20.00")
    assert (
        fill["trade_id"] == messages["trade"]["trade_id"] and messages["trade"]["taker_outcome_side"] == "no"
    )
    assert messages["user_order"]["status"] == "executed"
    assert (executed["order_id"], executed["quote_id"], executed["rfq_id"]) == (order_id, quote_id, rfq_id)
    assert executed["client_order_id"] == messages["user_order"]["client_order_id"]
    for late in (exchange.execute, exchange.accept, exchange.quote):
        with pytest.raises(LookupError, match="there is no open"):
            late(rfq_id if late == exchange.quote else quote_id)
    assert exchange.book("A")["yes"] and exchange.orders[0]["remaining_count_fp"] == "0.00"


def test_the_account_quotes_on_anothers_request(exchange: Exchange, peer: Peer) -> None:
    communications(peer)
    rfq_id = exchange.create_rfq("A", target_cost=5, own=False, legs=[("A", "yes"), ("X-1", "no")])
    quote_id = exchange.quote(rfq_id, no_bid="0.75", subaccount=4)
    exchange.accept(quote_id, "no")
    exchange.execute(quote_id)
    (_, created), (_, quote), (_, accepted), (_, executed) = heard(peer)
    assert created["creator_id"] == quote["rfq_creator_id"] == HIDDEN_ID != quote["quote_creator_id"]
    assert created["target_cost_dollars"] == "5.000000"
    assert created["mve_selected_legs"][1] == {"event_ticker": "X", "market_ticker": "X-1", "side": "no"}
    # 5 / (1 - 0.75)
    assert (quote["no_contracts_offered_fp"], quote["yes_bid_dollars"]) == (
        "20.00",
        "0.0000",
    )
    assert "yes_contracts_offered_fp" not in quote and quote["subaccount"] == 4
    assert accepted["contracts_accepted_fp"] == "20.00" and executed["subaccount"] == 4
    (fill,) = exchange.fills
    assert (fill["outcome_side"], fill["yes_price_dollars"], fill["is_taker"]) == ("no", "0.2500", False)
    withdrawn = exchange.create_rfq("A", contracts=1, own=False)
    exchange.delete_rfq(withdrawn)
    assert [type_ for type_, _ in heard(peer)] == ["rfq_created", "rfq_deleted"]
    with pytest.raises(LookupError, match="no open request"):
        exchange.quote(withdrawn, "0.5")


def test_bad_requests_and_quotes_are_refused(exchange: Exchange) -> None:
    for sizes in ({}, {"contracts": 1, "target_cost": 1}, {"contracts": 0}, {"target_cost": -1}):
        with pytest.raises(ValueError, match="contracts"):
            exchange.create_rfq("A", **sizes)  # type: ignore[arg-type]
    with pytest.raises(LookupError, match="add_market"):
        exchange.create_rfq("NOBODY", contracts=1)
    rfq_id = exchange.create_rfq("A", contracts=1)
    for bids in ((0, 0), ("0.5", "0.6"), (1, 0)):
        with pytest.raises(ValueError, match="bids below 1"):
            exchange.quote(rfq_id, *bids)
    with pytest.raises(ValueError, match="buys less than"):
        exchange.quote(exchange.create_rfq("A", target_cost="0.0001"), "0.5")
    quote_id = exchange.quote(rfq_id, "0.5")
    with pytest.raises(ValueError, match="accept first"):
        exchange.execute(quote_id)
    with pytest.raises(ValueError, match="no bid for no"):
        exchange.accept(quote_id, "no")
    exchange.accept(quote_id)
    with pytest.raises(ValueError, match="accepted already"):
        exchange.accept(quote_id)
    with pytest.raises(ValueError, match="at least one"):
        exchange.create_rfq_batch({}, contracts=1)


COMBOS = {"A": [("L-1", "yes"), ("L-2", "no")], "B": [("L-1", "yes"), ("L-3", "yes")]}


def test_the_requester_of_a_batch_hears_the_best_quotes(exchange: Exchange, peer: Peer) -> None:
    communications(peer)
    batch_id = exchange.create_rfq_batch(
        COMBOS, target_cost=5, client_batch_id="mine", collection_ticker="KXMVE"
    )
    ids = exchange.batch_rfq_ids(batch_id)
    exchange.quote_batch(batch_id, {"A": ("0.20", 0)})
    better = exchange.quote_batch(batch_id, {"A": ("0.10", "0.75"), "B": (0, "0.80")})
    exchange.accept_batch(better, "no")
    orders = exchange.execute_batch(better, failed=["B"])
    (_, created), (_, first), (_, best), (_, child), (type_, executed) = heard(peer)
    assert [leg["market_ticker"] for leg in created["legs"]] == ["L-1", "L-2", "L-3"]
    assert [rfq["leg_indices"] for rfq in created["rfqs"]] == [[0, 1], [0, 2]]
    assert [rfq["id"] for rfq in created["rfqs"]] == list(ids.values())
    assert (first["version"], first["yes_complete"], first["no_complete"]) == (1, False, False)
    assert (best["version"], best["yes_complete"], best["no_complete"]) == (2, False, True)
    a, b = best["rfqs"]
    assert (a["yes_bid_dollars"], a["yes_contracts_offered_fp"]) == ("0.2000", "6.25")
    assert (b["no_bid_dollars"], b["no_contracts_offered_fp"]) == (
        "0.8000",
        "25.00",
    ) and "yes_bid_dollars" not in b
    assert child["rfq_batch_id"] == batch_id and [child["order_id"]] == orders
    assert type_ == "rfq_batch_executed" and executed["client_batch_id"] == "mine"
    assert (executed["executed_rfq_ids"], executed["failed_rfq_ids"]) == ([ids["A"]], [ids["B"]])
    assert executed["close_reason"] == "partially executed"
    exchange.delete_rfq_batch(batch_id)
    ((type_, deleted),) = heard(peer)
    assert (type_, deleted["id"], deleted["rfq_ids"]) == ("rfq_batch_deleted", batch_id, [ids["B"]])
    with pytest.raises(LookupError, match="no batch"):
        exchange.quote_batch(batch_id, {"B": ("0.5", 0)})
    with pytest.raises(LookupError, match="no open batch quote"):
        exchange.execute_batch(better)


def test_the_maker_of_a_batch_quote_hears_of_it(exchange: Exchange, peer: Peer) -> None:
    communications(peer)
    batch_id = exchange.create_rfq_batch(COMBOS, contracts=3, own=False)
    made = exchange.quote_batch(batch_id, {"A": ("0.2", "0.7"), "B": ("0.3", 0)}, subaccount=1)
    with pytest.raises(ValueError, match="accept_batch first"):
        exchange.execute_batch(made)
    exchange.accept_batch(made, "no")
    exchange.execute_batch(made)
    got = heard(peer)
    assert [type_ for type_, _ in got] == [
        "rfq_batch_created", "batch_quote_created", "batch_quote_accepted", "quote_executed", "batch_quote_executed",  # noqa: E501
    ]  # fmt: skip
    _, created, accepted, _, executed = (msg for _, msg in got)
    assert [quote["market_ticker"] for quote in created["quotes"]] == ["A", "B"]
    assert [quote["market_ticker"] for quote in accepted["quotes"]] == ["A"]
    assert (
        accepted["quotes"][0]["contracts_accepted_fp"] == "3.00" and accepted["rfq_creator_id"] == HIDDEN_ID
    )
    assert (executed["close_reason"], executed["subaccount"]) == ("executed", 1)
    assert exchange.fills[0]["outcome_side"] == "no"
    with pytest.raises(LookupError, match="not for \\['A', 'C'\\]"):  # A is done
        exchange.quote_batch(batch_id, {"A": ("0.5", 0), "C": ("0.5", 0)})
    other = exchange.quote_batch(batch_id, {"B": ("0.3", 0)})
    with pytest.raises(ValueError, match="has no bid for no"):
        exchange.accept_batch(other, "no")


def test_user_filter_hides_the_requests_of_others_but_not_quotes(exchange: Exchange, peer: Peer) -> None:
    communications(peer, user_filter="self")
    theirs = exchange.create_rfq("A", contracts=1, own=False)
    exchange.quote(theirs, "0.5")
    batch_id = exchange.create_rfq_batch(COMBOS, contracts=1, own=False)
    exchange.delete_rfq_batch(batch_id)
    mine = exchange.create_rfq("A", contracts=1)
    exchange.delete_rfq(mine)
    assert [type_ for type_, _ in heard(peer)] == ["quote_created", "rfq_created", "rfq_deleted"]


def test_shards_share_the_stream(exchange: Exchange) -> None:
    tickers = [f"S-{number}" for number in range(20)]
    for ticker in tickers:
        exchange.add_market(ticker)
    with Peer(exchange) as first, Peer(exchange) as second:
        for key, peer in enumerate((first, second)):
            communications(peer, shard_factor=2, shard_key=key)
        for ticker in tickers:
            rfq_id = exchange.create_rfq(ticker, contracts=1)
            exchange.quote(rfq_id, "0.5")
        batch_id = exchange.create_rfq_batch({"S-0": [], "S-1": []}, contracts=1)
        exchange.quote_batch(batch_id, {"S-0": ("0.5", 0)})
        shares = [heard(peer) for peer in (first, second)]
    assert min(len(share) for share in shares) > 4 and sum(len(share) for share in shares) == 42
    whose = [{msg.get("market_ticker") for _, msg in share} - {None} for share in shares]
    assert not whose[0] & whose[1] and whose[0] | whose[1] == set(tickers)
    batches = [[type_ for type_, _ in share if type_.startswith("rfq_batch")] for share in shares]
    assert batches[zlib.crc32(batch_id.encode()) % 2] == ["rfq_batch_created", "rfq_batch_best_quotes"]
    assert uuid.UUID(batch_id)
