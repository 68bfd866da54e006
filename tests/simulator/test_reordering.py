"""Commands that arrive together are answered in another order, never before one that could affect them."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import websocket

from kalshi_feed.simulator import Exchange
from kalshi_feed.simulator.reordering import PendingCommand, reordered, touched_by
from kalshi_feed.simulator.subscriptions import OpenChannel

from .peer import Fold, Peer, wait_until

TOGETHER = 12


def send_together(
    exchange: Exchange, peer: Peer, *commands: tuple[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Send the commands, with the ids 101, 102 ..., in one TLS record; returns all the answers."""
    before = len(exchange.commands)
    texts = [
        json.dumps({"id": id_, "cmd": cmd, "params": params})
        for id_, (cmd, params) in enumerate(commands, 101)
    ]
    frames = [websocket.ABNF.create_frame(text, websocket.ABNF.OPCODE_TEXT).format() for text in texts]
    assert peer.ws.sock is not None
    peer.ws.sock.sendall(b"".join(frames))
    # the barrier's own is not one of them
    wait_until(lambda: len(exchange.commands) == before + len(commands))
    answers = peer.barrier()
    assert [command["id"] for command in exchange.commands[before:-1]] == list(
        range(101, 101 + len(commands))
    )
    return answers


def of_markets(sid: int, action: str, *tickers: str) -> tuple[str, dict[str, Any]]:
    return "update_subscription", {"sid": sid, "action": action, "market_tickers": list(tickers)}


@pytest.fixture
def many(exchange: Exchange) -> Iterator[list[str]]:
    tickers = [f"M{number:02d}" for number in range(TOGETHER)]
    for ticker in tickers:
        exchange.add_market(ticker, yes={"0.5": 1})
    yield tickers


def test_additions_are_answered_out_of_order_with_sorted_lists(
    exchange: Exchange, peer: Peer, many: list[str]
) -> None:
    fold = Fold()
    for message in peer.subscribe("orderbook_delta", tickers=("B",)):
        fold.feed(message)
    answers = send_together(
        exchange, peer, *(of_markets(1, "add_markets", ticker) for ticker in reversed(many))
    )
    ids = [message["id"] for message in answers if message["type"] == "ok"]
    assert ids != sorted(ids) and sorted(ids) == list(range(101, 101 + TOGETHER))
    for message in answers:
        fold.feed(message)  # numbers go up by one in the order of sending
        if message["type"] == "ok":
            assert message["msg"]["market_tickers"] == sorted(message["msg"]["market_tickers"])
    for ok, snapshot in zip(answers[::2], answers[1::2], strict=True):
        assert (ok["type"], snapshot["type"]) == ("ok", "orderbook_snapshot")
        assert snapshot["msg"]["market_ticker"] == many[::-1][ok["id"] - 101]
    assert set(fold.books) == {"B", *many}


def test_the_order_is_the_same_again_and_the_seeds_own(many: list[str]) -> None:
    def order(seed: int | None) -> list[int]:
        with Exchange(many, seed=seed, key_type="ed25519") as exchange, Peer(exchange) as peer:
            peer.subscribe("orderbook_delta", tickers=(many[0],))
            answers = send_together(
                exchange, peer, *(of_markets(1, "get_snapshot", ticker) for ticker in many)
            )
            return [message["id"] for message in answers]

    assert order(None) == order(None) != order(7) == order(7)


def test_quirks_keep_the_order(exchange: Exchange, peer: Peer, many: list[str]) -> None:
    exchange.quirks.answers_in_order = exchange.quirks.lists_in_order = True
    peer.subscribe("trade", tickers=("B",))
    answers = send_together(
        exchange, peer, *(of_markets(1, "add_markets", ticker) for ticker in reversed(many))
    )
    assert [message["id"] for message in answers] == list(range(101, 101 + TOGETHER))
    assert answers[-1]["msg"]["market_tickers"] == ["B", *reversed(many)]


def test_commands_about_the_same_thing_keep_their_order(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("orderbook_delta", "trade", tickers=("A",))
    commands = [
        of_markets(sid, action, "B")
        for _ in range(6)
        for action in ("add_markets", "delete_markets")
        for sid in (1, 2)
    ]
    ids = [message["id"] for message in send_together(exchange, peer, *commands) if message["type"] == "ok"]
    assert ids != sorted(ids), "two channels owe each other nothing"
    for first in (101, 102):
        assert [id_ for id_ in ids if id_ % 2 == first % 2] == list(range(first, 101 + len(commands), 2))
    assert [one["market_tickers"] for one in exchange.subscriptions] == [["A"], ["A"]]


def test_a_list_and_a_guessed_sid_see_the_effects_of_earlier_commands(exchange: Exchange, peer: Peer) -> None:
    subscribes = [
        ("subscribe", {"channels": [channel]}) for channel in ("trade", "ticker", "fill", "user_orders")
    ]
    answers = send_together(
        exchange, peer, *subscribes, ("unsubscribe", {"sids": [4]}), ("list_subscriptions", {}), *subscribes
    )
    assert not [message for message in answers if message["type"] == "error"]
    (ended,) = (message for message in answers if message["type"] == "unsubscribed")
    (listed,) = (message for message in answers if message.get("id") == 106)
    assert ended["sid"] == 4 and sorted(item["sid"] for item in listed["msg"]) == [1, 2, 3]
    assert len(exchange.subscriptions) == 4


def test_the_first_commands_are_refused_whatever_the_order(
    exchange: Exchange, peer: Peer, many: list[str]
) -> None:
    peer.subscribe("trade", tickers=("B",))
    exchange.refuse_commands(18, n=2)
    exchange.ignore_commands(n=1)
    answers = send_together(exchange, peer, *(of_markets(1, "add_markets", ticker) for ticker in many))
    assert {message["id"] for message in answers if message["type"] == "error"} == {101, 102}
    assert {message["id"] for message in answers if message["type"] == "ok"} == set(
        range(104, 101 + TOGETHER)
    )


def test_no_command_overtakes_one_that_it_must_follow() -> None:
    subscriptions = {"trade": OpenChannel("trade", 1, False), "ticker": OpenChannel("ticker", 2, False)}
    chance = random.Random(1)
    kinds: list[dict[str, Any]] = [
        {"cmd": "list_subscriptions"},
        {"cmd": "subscribe", "params": {"channels": ["trade"], "market_ticker": "A"}},
        {"cmd": "subscribe", "params": {"channels": ["fill"], "market_ticker": "A"}},
        {"cmd": "subscribe", "params": {"channels": "wrong"}},
        {"cmd": "unsubscribe", "params": {"sids": [1]}},
        {"cmd": "unsubscribe", "params": {"sids": [3]}},
        *(
            {
                "cmd": "update_subscription",
                "params": {"sid": sid, "action": "add_markets", "market_ticker": ticker},
            }
            for sid in (1, 2, "x")
            for ticker in "ABC"
        ),
    ]
    changed = 0
    for _ in range(300):
        pending = [
            PendingCommand(touched_by(chance.choice(kinds), subscriptions), list)
            for _ in range(chance.randrange(12))
        ]
        places = [
            next(n for n, item in enumerate(pending) if item is found) for found in reordered(pending, chance)
        ]
        assert sorted(places) == list(range(len(pending)))
        for first, second in itertools.combinations(range(len(pending)), 2):
            if pending[second].must_follow(pending[first]):
                assert places.index(first) < places.index(second)
        changed += places != sorted(places)
    assert changed > 30


@pytest.mark.parametrize("channel", ["ticker", "trade", "fill", "orderbook_delta"])
def test_a_subscription_that_ends_before_it_is_confirmed(
    exchange: Exchange, peer: Peer, channel: str
) -> None:
    exchange.end_before_subscribed(channel, 10)
    peer.send("subscribe", {"channels": [channel], "market_tickers": ["A"], "send_initial_snapshot": True})
    error, ack = peer.barrier()
    assert (error["type"], error["sid"], error["msg"]["code"]) == ("error", 1, 10)
    assert (ack["type"], ack["msg"]) == ("subscribed", {"channel": channel, "sid": 1})
    assert exchange.subscriptions == []
    assert peer.subscribe(channel, tickers=("A",))[0]["msg"]["sid"] == 2
    with pytest.raises(ValueError, match="does not end"):
        exchange.end_before_subscribed(channel, 18)
    with pytest.raises(ValueError, match="unknown channel"):
        exchange.end_before_subscribed("trades")
