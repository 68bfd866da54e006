"""Everything the simulator writes fits the published schemas, and it can write every message in them."""

from __future__ import annotations

from typing import Any

from kalshi_feed.simulator import Exchange
from kalshi_feed.simulator.commands import TEXTS
from kalshi_feed.simulator.subscriptions import SEQUENCED

from .peer import Peer, wait_until
from .spec import Spec

COMBOS = {"A": [("L-1", "yes")], "B": [("L-1", "yes"), ("L-2", "no")]}


def trade(exchange: Exchange) -> None:
    group = exchange.create_order_group(100)
    exchange.place_order("A", "yes", "0.46", 9, order_group_id=group, expiration_ts_ms=5000)
    exchange.place_order("A", "no", "0.20", 9, action="sell", post_only=True)
    order_id = exchange.place_order("A", "yes", "0.30", 9, client_order_id="mine", subaccount=5)
    exchange.amend_order(order_id, price="0.31")
    exchange.decrease_order(order_id, 1)
    exchange.trade("A", "no", "0.69", 2)
    exchange.take("A", "no", 30)
    exchange.fill("A", order_id=exchange.place_order("A", "no", "0.20", 1))
    exchange.fill("A", side="no", price="0.55", count="1.5")
    exchange.cancel_order(exchange.place_order("A", "no", "0.20", 1), reason="ExpiryCancel")
    exchange.update_order_group_limit(group, 50)
    exchange.trigger_order_group(group)
    exchange.reset_order_group(group)
    exchange.delete_order_group(group)
    exchange.ticker("A")
    exchange.set_book("A", yes={"0.40": 1})


def ask_for_quotes(exchange: Exchange) -> None:
    for own in (True, False):
        rfq_id = exchange.create_rfq("A", contracts=20, own=own, legs=COMBOS["B"], collection_ticker="KXMVE")
        quote_id = exchange.quote(rfq_id, "0.35", "0.60")
        exchange.accept(quote_id)
        exchange.execute(quote_id)
        exchange.delete_rfq(exchange.create_rfq("A", target_cost=20, own=own))
        for client_batch_id in (None, "mine"):
            batch_id = exchange.create_rfq_batch(
                COMBOS, target_cost=5, own=own, client_batch_id=client_batch_id
            )
            made = exchange.quote_batch(batch_id, {"A": ("0.2", 0), "B": ("0.3", "0.5")})
            exchange.accept_batch(made)
            exchange.execute_batch(made, failed=["A"] if client_batch_id else ["A", "B"])
            exchange.delete_rfq_batch(batch_id)


def live(exchange: Exchange) -> None:
    for ticker in ("NEW-1", "KXMVE-NEW-1"):
        exchange.create_market(ticker, yes={"0.5": 1}, floor_strike=1.5, custom_strike={"a": "b"})
        exchange.deactivate(ticker)
        exchange.activate(ticker)
        exchange.update_close(ticker, 2_000_000_000)
        exchange.fill(ticker)
        exchange.determine(ticker, "yes")
        exchange.settle_market(ticker)
        exchange.create_event(ticker[:-2], strike_date=5, strike_period="day")
    exchange.update_price_levels("A", "deci_cent")
    exchange.update_metadata("A", yes_sub_title="above", strike_type="between", floor_strike=1, cap_strike=2)
    exchange.update_event_fees("NEW", "flat", 1)
    exchange.update_event_fees("NEW")


def publish(exchange: Exchange) -> None:
    for minute in range(15):  # one of them is the last of a quarter-hour
        exchange.clock_offset = 60 * minute
        exchange.publish_index("BRTI")
    exchange.clock_offset = 0
    exchange.publish_underlying("Metal.XAU/USD")


def command(peer: Peer) -> list[dict[str, Any]]:
    """Draw every kind of answer."""
    sids = {channel: sid for sid, channel in enumerate(SEQUENCED, 1)}
    for channel, name in (("orderbook_delta", "B"), ("ticker", "B"), ("user_orders", "B")):
        peer.update(sids[channel], "add_markets", name)
    peer.update(sids["orderbook_delta"], "get_snapshot", "A")
    peer.update(sids["ticker"], "delete_markets", "B", send_initial_snapshot=True)
    for channel in ("cfbenchmarks_value", "cfbenchmarks_value_5hz"):
        update = {"sid": sids[channel], "index_ids": ["BRTI"]}
        for action in ("subscribe_indices", "unsubscribe_indices", "indexlist"):
            peer.send("update_subscription", {**update, "action": action})
    update = {"sid": sids["pyth_value"], "underlying_tickers": ["Metal.XAG/USD"]}
    for action in ("subscribe_underlyings", "unsubscribe_underlyings", "underlying_list"):
        peer.send("update_subscription", {**update, "action": action})
    peer.send("subscribe", {"channels": list(SEQUENCED), "market_tickers": ["A"]})
    peer.send("unsubscribe", {"sids": [99]})
    peer.send("explode")
    return peer.barrier()


def every_frame(exchange: Exchange, peer: Peer) -> list[dict[str, Any]]:
    ids: dict[str, Any] = {"index_ids": ["all"], "underlying_tickers": ["all"]}
    peer.send(
        "subscribe",
        {"channels": list(SEQUENCED), "market_tickers": ["A"], "send_initial_snapshot": True, **ids},
    )
    got = peer.barrier()
    got += command(peer)
    got.append(peer.ask("list_subscriptions"))
    with Peer(exchange) as unfiltered:
        unfiltered.subscribe(*(channel for channel in SEQUENCED if channel != "orderbook_delta"), **ids)
        for act in (trade, ask_for_quotes, live, publish):
            act(exchange)
            got += peer.barrier() + unfiltered.barrier()
    for code in sorted(TEXTS):
        exchange.refuse_commands(code)
        got.append(peer.ask("list_subscriptions"))
        exchange.error(code)
        exchange.error(code, channel="trade")
        peer.send("subscribe", {"channels": ["trade"]})
        got += peer.barrier()
    peer.send("unsubscribe", {"sids": [item["sid"] for item in exchange.subscriptions]})
    return got + peer.barrier()


def test_every_frame_is_valid_and_every_message_is_written(exchange: Exchange, peer: Peer) -> None:
    spec = Spec()
    names, events, wrong = set(), set(), []
    for frame in every_frame(exchange, peer):
        name, problems = spec.match(frame)
        names.add(name)
        if problems:
            wrong.append(f"{frame}\n    {problems}")
        if isinstance(frame.get("msg"), dict) and "event_type" in frame["msg"]:
            events.add((frame["type"], frame["msg"]["event_type"]))
    assert not wrong, "\n".join(wrong[:10])
    expected = {name for some in spec.data_messages().values() for name in some} | set(spec.replies())
    assert names == expected
    lived = {event for type_, event in events if type_ == "market_lifecycle_v2"}
    schema = spec.payload("marketLifecycleV2")["properties"]["msg"]["properties"]["event_type"]
    assert lived == {*schema["enum"], "metadata_updated"}
    grouped = {event for type_, event in events if type_ == "order_group_updates"}
    group_schema = spec.payload("orderGroupUpdates")["properties"]["msg"]["properties"]["event_type"]
    assert grouped == set(group_schema["enum"])


def test_the_error_codes_are_the_published_ones() -> None:
    schema = Spec().payload("errorResponse")["properties"]["msg"]["properties"]["code"]
    assert set(TEXTS) == set(schema["enum"])


def test_moving_markets_write_valid_frames() -> None:
    spec = Spec()
    with (
        Exchange(markets=3, rate=500, seed=3, key_type="ed25519", account_activity=True) as exchange,
        Peer(exchange) as peer,
    ):
        tickers = list(exchange.market_tickers)
        params = {"channels": list(SEQUENCED), "market_tickers": tickers, "use_yes_price": True}
        peer.send("subscribe", {**params, "index_ids": ["all"], "underlying_tickers": ["all"]})
        got: list[dict[str, Any]] = []

        def enough() -> bool:
            got.extend(peer.barrier())
            return {"pyth_value", "fill", "ticker", "trade"} <= {message["type"] for message in got}

        wait_until(enough, 10)
        exchange.pause()
    wrong = [(frame, problems) for frame in got[:3000] if (problems := spec.match(frame)[1])]
    assert not wrong, wrong[0]


def test_the_validator_finds_the_errors(exchange: Exchange, peer: Peer) -> None:
    """A validator that accepts everything would prove nothing."""
    spec = Spec()
    peer.subscribe("trade")
    exchange.trade("A", "yes", "0.45", 2)
    frame = peer.recv()
    assert spec.match(frame) == ("trade", [])
    for changed in (
        {**frame, "seq": 0},
        {**frame, "sid": "1"},
        {**frame, "more": 1},
        {key: frame[key] for key in frame if key != "seq"},
        {**frame, "msg": {**frame["msg"], "ts": True}},
        {**frame, "msg": {**frame["msg"], "trade_id": "x"}},
        {**frame, "msg": {**frame["msg"], "taker_side": "maybe"}},
        {**frame, "msg": {**frame["msg"], "more": 1}},
        {**frame, "msg": {key: value for key, value in frame["msg"].items() if key != "count_fp"}},
        {**frame, "type": "trade_v9"},
    ):
        assert spec.match(changed)[1], changed
