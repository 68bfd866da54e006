"""What tests can make the exchange do: books, messages, lost and broken frames, broken connections, odd
answers."""

from __future__ import annotations

import socket
import time
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed.simulator import Exchange

from .peer import Fold, Peer


def seqs(messages: list[dict[str, Any]]) -> list[int]:
    return [message["seq"] for message in messages]


def subscribe_both(peer: Peer) -> Fold:
    fold = Fold()
    for message in peer.subscribe("orderbook_delta", "trade", tickers=("A", "B")):
        fold.feed(message)
    return fold


# -- truth ---------------------------------------------------------------------------------------------------


def test_changes_reach_truth_and_subscribers_alike(exchange: Exchange, peer: Peer) -> None:
    fold = subscribe_both(peer)
    exchange.change("A", "yes", "0.40", "-10")
    exchange.change("A", "no", Decimal("0.1234"), Decimal("0.01"))
    first, second = peer.take(2)
    assert first["msg"]["price_dollars"] == "0.4000" and first["msg"]["delta_fp"] == "-10.00"
    assert second["msg"]["price_dollars"] == "0.1234" and second["msg"]["delta_fp"] == "0.01"
    assert second["msg"]["ts"].endswith("Z") and abs(second["msg"]["ts_ms"] / 1000 - time.time()) < 5
    assert (first["msg"]["clock"], second["msg"]["clock"]) == (1, 2)
    fold.feed(first)
    fold.feed(second)
    assert fold.books == exchange.books()
    assert exchange.book("A") == {
        "yes": {Decimal("0.41"): Decimal("5.5")},
        "no": {Decimal("0.1234"): Decimal("0.01"), Decimal("0.55"): Decimal(7)},
    }


def test_impossible_books_and_changes_are_refused(exchange: Exchange) -> None:
    with pytest.raises(ValueError, match=r"would leave -1\.00"):
        exchange.change("A", "yes", "0.40", -11)
    with pytest.raises(ValueError, match="not between 0 and 1"):
        exchange.change("A", "yes", "1.01", 1)
    with pytest.raises(ValueError, match="finer"):
        exchange.change("A", "yes", "0.40001", 1)
    with pytest.raises(ValueError, match="side"):
        exchange.change("A", "maybe", "0.40", 1)
    with pytest.raises(ValueError, match="above zero"):
        exchange.set_book("A", yes={"0.4": 0})
    with pytest.raises(ValueError, match="number"):
        exchange.set_book("A", yes={"x": 1})
    with pytest.raises(LookupError, match="add_market"):
        exchange.change("NOBODY", "yes", "0.4", 1)
    with pytest.raises(LookupError, match="not open"):
        exchange.reset(connection=7)
    with pytest.raises(ValueError, match="unknown channel"):
        exchange.send("orderbook", {})
    assert exchange.book("A")["yes"] == {Decimal("0.4"): 10, Decimal("0.41"): Decimal("5.5")}


def test_set_book_settle_and_snapshot_are_unsolicited_snapshots(exchange: Exchange, peer: Peer) -> None:
    fold = subscribe_both(peer)
    exchange.set_book("A", no={"0.9": 3})
    exchange.settle("B")
    exchange.snapshot("A")
    replaced, settled, again = peer.take(3)
    for message in (replaced, settled, again):
        assert message["type"] == "orderbook_snapshot" and "id" not in message
        fold.feed(message)
    assert "yes_dollars_fp" not in settled["msg"] and "no_dollars_fp" not in settled["msg"]
    assert settled["msg"]["market_id"]
    assert fold.books == exchange.books()
    assert replaced["msg"] == again["msg"]


# -- frames --------------------------------------------------------------------------------------------------


def test_a_dead_book_sends_no_deltas_and_a_mute_one_no_snapshots(exchange: Exchange, peer: Peer) -> None:
    subscribe_both(peer)
    exchange.dead_books = ["A"]
    exchange.mute_books = ["B"]
    exchange.change("A", "yes", "0.40", 1)
    exchange.change("B", "yes", "0.10", 1)
    peer.update(1, "get_snapshot", "A", "B")
    found = peer.barrier()
    assert [(m["type"], m["msg"]["market_ticker"]) for m in found] == [
        ("orderbook_delta", "B"),
        ("orderbook_snapshot", "A"),
    ]
    first = found[0]["seq"]
    assert seqs(found) == [first, first + 1]  # no number is missing
    assert exchange.book("A")["yes"][Decimal("0.4")] == 11
    exchange.behave()
    exchange.change("A", "yes", "0.40", 1)
    exchange.snapshot("B")
    assert seqs(peer.barrier()) == [first + 2, first + 3]


def test_numbers_that_start_again(exchange: Exchange, peer: Peer) -> None:
    subscribe_both(peer)
    exchange.restart_seq("orderbook_delta")
    exchange.change("A", "yes", "0.40", 1)
    exchange.change("A", "yes", "0.40", 1)
    assert seqs(peer.barrier()) == [1, 2]


def test_lost_frames_keep_their_numbers_and_the_truth(exchange: Exchange, peer: Peer) -> None:
    subscribe_both(peer)
    exchange.lose(2)
    for _ in range(3):
        exchange.change("A", "yes", "0.40", 1)
    assert seqs(peer.barrier()) == [5]
    assert exchange.lost == 2
    assert exchange.book("A")["yes"][Decimal("0.4")] == 13
    exchange.lose(type="trade")
    exchange.change("A", "yes", "0.40", 1)
    exchange.trade("A", "yes", "0.45", 1)
    assert [message["type"] for message in peer.barrier()] == ["orderbook_delta"]
    exchange.lose(type="ok")
    id_ = peer.update(1, "add_markets", "A")
    assert id_ == exchange.wait_for_command("update_subscription")["id"]
    exchange.change("A", "yes", "0.40", 1)
    assert peer.recv()["seq"] == 8  # the ok was 7


def test_doubled_swapped_and_corrupted_frames(exchange: Exchange, peer: Peer) -> None:
    subscribe_both(peer)
    exchange.duplicate()
    exchange.change("A", "yes", "0.40", 1)
    assert seqs(peer.barrier()) == [3, 3]
    exchange.swap()
    exchange.change("A", "yes", "0.40", 1)
    exchange.change("A", "yes", "0.40", 1)
    assert seqs(peer.barrier()) == [5, 4]
    exchange.corrupt({"price_dollars": "NaN", "seq": "6"}, remove=("side",))
    exchange.change("A", "yes", "0.40", 1)
    (broken,) = peer.barrier()
    assert broken["msg"]["price_dollars"] == "NaN" and broken["seq"] == "6" and "side" not in broken["msg"]
    exchange.corrupt({"msg": []})
    exchange.change("A", "yes", "0.40", 1)
    assert peer.recv()["msg"] == []


def test_every_sequenced_channel_can_lose_frames(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("market_lifecycle_v2", "communications", "order_group_updates", "fill")
    peer.send("subscribe", {"channels": ["pyth_value"], "underlying_tickers": ["all"]})
    peer.recv()
    exchange.lose(4)
    for _ in range(2):
        exchange.fill("A")  # it has no number, so it is not lost
        exchange.create_event("E")
        exchange.create_rfq("A", contracts=1)
        exchange.create_order_group(1)
        exchange.publish_underlying("Metal.XAU/USD")
    got = [(message["type"], message.get("seq")) for message in peer.barrier()]
    assert got == [
        ("fill", None),
        ("fill", None),
        ("event_lifecycle", 2),
        ("rfq_created", 2),
        ("order_group_updates", 2),
        ("pyth_value", 2),
    ]


def test_faults_can_be_meant_for_one_connection(exchange: Exchange, peer: Peer) -> None:
    subscribe_both(peer)
    with Peer(exchange) as second:
        subscribe_both(second)
        exchange.lose(connection=1)
        exchange.change("A", "yes", "0.40", 1)
        exchange.change("A", "yes", "0.40", 1)
        assert seqs(peer.barrier()) == [3, 4]
        assert seqs(second.barrier()) == [4]
        exchange.reset(connection=0)
        exchange.wait_for_connections(1)
        assert second.ask("list_subscriptions")["type"] == "ok"
        exchange.reject_next(5)
        exchange.lose(5)
        exchange.behave()
        exchange.change("A", "yes", "0.40", 1)
        assert seqs(second.barrier()) == [5]


def test_send_makes_the_envelope_and_send_raw_does_not(exchange: Exchange, peer: Peer) -> None:
    subscribe_both(peer)
    before = exchange.book("A")
    absurd = {"market_ticker": "A", "side": "yes", "price_dollars": "2", "delta_fp": "-99"}
    exchange.send("orderbook_delta", absurd, check=False)
    exchange.send("trade", {"odd": True}, type="trade_v9")
    exchange.send_raw('{"type":"hello"')
    exchange.send_bytes(b"\x81\x02hi")
    delta, trade = peer.take(2)
    assert (delta["type"], delta["sid"], delta["seq"], delta["msg"]["delta_fp"]) == (
        "orderbook_delta",
        1,
        3,
        "-99",
    )
    assert (trade["type"], trade["sid"], trade["seq"]) == ("trade_v9", 2, 1)
    assert [peer.text(), peer.text()] == ['{"type":"hello"', "hi"]
    assert exchange.book("A") == before


def test_errors_of_a_sid_are_numbered_and_terminal_ones_end_it(exchange: Exchange, peer: Peer) -> None:
    subscribe_both(peer)
    exchange.error(27, channel="orderbook_delta")
    exchange.error(10, channel="orderbook_delta")
    exchange.error(18)
    limited, dead, loose = peer.take(3)
    assert (limited["sid"], limited["seq"], limited["msg"]) == (
        1,
        3,
        {"code": 27, "msg": "Too many requests"},
    )
    assert (dead["sid"], dead["seq"]) == (1, 4)
    assert "sid" not in loose and "seq" not in loose and "id" not in loose
    exchange.change("A", "yes", "0.40", 1)
    assert peer.barrier() == []
    ack = peer.subscribe("orderbook_delta", tickers=("A",))[0]
    assert ack["type"] == "subscribed" and ack["msg"]["sid"] == 3


def test_end_subscription(exchange: Exchange, peer: Peer) -> None:
    subscribe_both(peer)
    exchange.end_subscription("orderbook_delta")
    message = peer.recv()
    assert (message["type"], message["sid"], message["seq"]) == ("unsubscribed", 1, 3) and "id" not in message
    assert [item["channel"] for item in exchange.subscriptions] == ["trade"]


# -- commands ------------------------------------------------------------------------------------------------


def test_commands_can_be_refused_and_ignored(exchange: Exchange, peer: Peer) -> None:
    exchange.refuse_commands(26, cmd="subscribe")
    exchange.refuse_commands(18, "mine", n=None, cmd="unsubscribe")
    exchange.ignore_commands("list_subscriptions", n=2)
    peer.send("list_subscriptions")
    peer.send("list_subscriptions")
    reply = peer.ask("subscribe", {"channels": ["trade"]})
    assert reply["id"] == 3 and reply["msg"] == {"code": 26, "msg": "Subscription market limit exceeded"}
    for _ in range(2):
        assert peer.ask("unsubscribe", {"sids": [1]})["msg"] == {"code": 18, "msg": "mine"}
    assert peer.ask("list_subscriptions")["msg"] == []
    assert peer.ask("subscribe", {"channels": ["trade"]})["type"] == "subscribed"


def test_commands_are_recorded(exchange: Exchange, peer: Peer) -> None:
    peer.ws.send("not json")
    peer.recv()
    peer.subscribe("trade")
    assert exchange.wait_for_command("subscribe")["params"] == {"channels": ["trade"]}
    assert [(command["cmd"], command["connection"]) for command in exchange.commands] == [
        (None, 0),
        ("subscribe", 0),
    ]
    assert exchange.commands[0]["raw"] == "not json"
    with pytest.raises(TimeoutError, match="command 2 of kind 'subscribe'"):
        exchange.wait_for_command("subscribe", 0.01, n=2)
    with pytest.raises(TimeoutError, match="5 open connections"):
        exchange.wait_for_connections(5, 0.01)


# -- connections ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [False, True])
def test_reset_is_a_reset(frozen: bool) -> None:
    # without TLS: many Pythons report a reset below TLS as an end of file
    with Exchange(tls=False, key_type="ed25519") as exchange, Peer(exchange) as peer:
        if frozen:
            exchange.freeze()
        exchange.reset()
        exchange.wait_for_connections(0)
        assert isinstance(peer.until_closed().__cause__, ConnectionResetError)


def test_disconnect_is_an_end_without_a_close_frame(exchange: Exchange, peer: Peer) -> None:
    exchange.send_raw("last words")
    exchange.disconnect()
    assert peer.text() == "last words"
    closed = peer.until_closed()
    assert closed.code is None and not isinstance(closed.__cause__, ConnectionResetError)
    peer.shutdown()
    exchange.wait_for_connections(0)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1013, 3000, None])
def test_close_connections_sends_the_code(exchange: Exchange, peer: Peer, code: int | None) -> None:
    exchange.send_raw("{}")
    exchange.close_connections(code, "" if code is None else "because")
    assert peer.recv() == {}
    closed = peer.until_closed()
    assert (closed.code, closed.reason) == ((code, "because") if code else (None, ""))
    exchange.wait_for_connections(0)


def test_a_peer_that_does_not_answer_the_close_is_dropped(exchange: Exchange, peer: Peer) -> None:
    started = time.monotonic()
    exchange.close_connections(1012, "restart")
    exchange.wait_for_connections(0)
    assert time.monotonic() - started < 2


def test_a_clients_close_is_answered(exchange: Exchange, peer: Peer) -> None:
    peer.ws.send_close(1000, b"done")
    assert peer.until_closed().code == 1000
    peer.shutdown()
    exchange.wait_for_connections(0)


def test_silence_and_freeze(exchange: Exchange, peer: Peer) -> None:
    subscribe_both(peer)
    exchange.heartbeat = 0.05
    exchange.silence()
    exchange.change("A", "yes", "0.40", 1)
    peer.send("list_subscriptions")
    exchange.wait_for_command("list_subscriptions")  # it still reads
    with pytest.raises(TimeoutError):
        peer.recv(0.2)
    exchange.thaw()
    assert [message["type"] for message in peer.take(2)] == ["orderbook_delta", "ok"]
    exchange.freeze()
    count = len(exchange.commands)
    peer.send("list_subscriptions")
    with pytest.raises(TimeoutError):
        peer.recv(0.2)
    assert len(exchange.commands) == count and exchange.connections == 1
    exchange.thaw()
    assert peer.recv()["type"] == "ok"


def test_a_slow_reader_gets_error_25_and_does_not_stall_others(exchange: Exchange) -> None:
    exchange.max_buffer = 200_000
    with Peer(exchange) as slow, Peer(exchange) as quick:
        for peer in (slow, quick):
            peer.subscribe("orderbook_delta", tickers=("A",))
        exchange.freeze(connection=0)
        for _ in range(1500):
            exchange.change("A", "yes", "0.40", 1)
        assert seqs(quick.take(1500)) == list(range(2, 1502))
        assert [item["connection"] for item in exchange.subscriptions] == [1]
        exchange.thaw(connection=0)
        *deltas, last = slow.barrier()
        assert seqs(deltas) == list(range(2, len(deltas) + 2))
        assert last["msg"] == {"code": 25, "msg": "Subscription buffer overflow"}
        assert (last["sid"], last["seq"]) == (1, len(deltas) + 2)


def test_no_delay_on_the_socket(exchange: Exchange, peer: Peer) -> None:
    (connection,) = exchange._core.open
    assert connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
