"""Indices and underlyings: named, moving, averaged, listed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from kalshi_feed.simulator import Exchange
from kalshi_feed.simulator.references import (
    FIVE_HZ,
    INDICES,
    UNDERLYINGS,
    UNIT,
    Reference,
    value_text,
    value_units,
)

from .peer import Peer, wait_until

SLOW, FAST, PYTH = "cfbenchmarks_value", "cfbenchmarks_value_5hz", "pyth_value"


def subscribe(peer: Peer, channel: str, names: list[str]) -> None:
    key = "underlying_tickers" if channel == PYTH else "index_ids"
    peer.send("subscribe", {"channels": [channel], key: names})
    assert peer.recv()["type"] == "subscribed"


def test_a_published_value_reaches_its_subscribers(exchange: Exchange, peer: Peer) -> None:
    subscribe(peer, SLOW, ["BRTI", "LTCUSD_RTI"])
    subscribe(peer, FAST, ["all"])
    subscribe(peer, PYTH, ["Metal.XAU/USD"])
    exchange.publish_index("BRTI", "68000.12")
    exchange.publish_index("ETHUSD_RTI", 2500)
    exchange.publish_index("LTCUSD_RTI")
    exchange.publish_underlying("Metal.XAU/USD", "2365.12345")
    exchange.publish_underlying("InterestRate.US2Y", "-0.1")
    slow, fast, eth, ltc, gold = peer.barrier()
    assert [(m["type"], m["sid"], m["seq"]) for m in (slow, fast, eth, ltc, gold)] == [
        (SLOW, 1, 1),
        (FAST, 2, 1),
        (FAST, 2, 2),
        (SLOW, 1, 2),
        (PYTH, 3, 1),
    ]
    msg = slow["msg"]
    upstream = json.loads(msg["data"])
    assert (upstream["type"], upstream["id"], upstream["value"]) == ("value", "BRTI", "68000.1200")
    assert upstream["time"] == msg["received_at"] and abs(msg["received_at"] / 1000 - time.time()) < 5
    average = msg["avg_60s_data"]
    assert (average["value"], average["window_size"]) == ("68000.12000000", 1)
    assert average["window_end_ts_exclusive"] - average["window_start_ts_ms"] == 60_000
    assert fast["msg"]["value_usd"] == "68000.12000000" and fast["msg"]["data"] == msg["data"]
    assert ltc["msg"]["index_id"] == "LTCUSD_RTI"
    assert gold["msg"]["value_usd"] == "2365.12345000" and "data" not in gold["msg"]


def test_lists_show_everything_on_offer(exchange: Exchange, peer: Peer) -> None:
    subscribe(peer, SLOW, [])
    subscribe(peer, FAST, ["BRTI"])
    subscribe(peer, PYTH, ["Metal.XAU/USD"])
    exchange.publish_index("NEWRTI", 1)
    with pytest.raises(LookupError, match="'OLDRTI'"):
        exchange.publish_index("OLDRTI")
    with pytest.raises(ValueError, match="finer"):
        exchange.publish_index("BRTI", "0.000000001")
    with pytest.raises(ValueError, match="number"):
        exchange.publish_underlying("Metal.XAU/USD", "gold")
    lists = [
        peer.ask("update_subscription", {"sid": sid, "action": action})
        for sid, action in ((1, "indexlist"), (2, "indexlist"), (3, "underlying_list"))
    ]
    assert [(m["type"], m["id"], m["sid"], m["seq"]) for m in lists] == [
        (f"{SLOW}_indexlist", 4, 1, 1),
        (f"{FAST}_indexlist", 5, 2, 1),
        (f"{PYTH}_underlying_list", 6, 3, 1),
    ]
    assert lists[0]["msg"] == {"index_ids": sorted([*INDICES, "NEWRTI"])}
    assert lists[1]["msg"] == {"index_ids": sorted(FIVE_HZ)}
    assert lists[2]["msg"] == {"underlying_tickers": sorted(UNDERLYINGS)}


def test_names_are_added_dropped_and_all(exchange: Exchange, peer: Peer) -> None:
    subscribe(peer, SLOW, ["BRTI"])

    def names(action: str, *ids: str) -> Any:
        return peer.ask("update_subscription", {"sid": 1, "action": action, "index_ids": list(ids)})["msg"]

    assert names("subscribe_indices", "ETHUSD_RTI") == {"index_ids": ["BRTI", "ETHUSD_RTI"]}
    assert names("unsubscribe_indices", "BRTI") == {"index_ids": ["ETHUSD_RTI"]}
    again = peer.ask("subscribe", {"channels": [SLOW], "index_ids": ["SOLUSD_RTI"], "skip_ticker_ack": True})
    assert again["msg"] == {"index_ids": ["ETHUSD_RTI", "SOLUSD_RTI"]}
    assert names("subscribe_indices", "all") == {"index_ids": ["all"]}
    exchange.publish_index("XRPUSD_RTI")
    assert peer.recv()["msg"]["index_id"] == "XRPUSD_RTI"
    assert names("unsubscribe_indices", "all") == {"index_ids": []}
    exchange.publish_index("XRPUSD_RTI")
    assert peer.barrier() == []


def test_values_move_while_a_client_listens() -> None:
    with Exchange(key_type="ed25519") as exchange, Peer(exchange) as peer:
        subscribe(peer, FAST, ["BRTI"])
        subscribe(peer, SLOW, ["BRTI"])
        subscribe(peer, PYTH, ["Metal.XAU/USD"])
        time.sleep(0.3)
        assert peer.barrier() == []  # with rate=0 they do not move
        exchange.references_move = True
        got: list[dict[str, Any]] = []

        def moved() -> bool:
            got.extend(peer.barrier())
            return len([m for m in got if m["type"] == PYTH]) >= 2

        wait_until(moved)
        values = [m["msg"]["value_usd"] for m in got if m["type"] == FAST]
        assert 5 <= len(values) <= 15 and len(set(values)) > 3
        assert 1 <= len([m for m in got if m["type"] == SLOW]) <= 3
        exchange.pause()
        peer.barrier()
        time.sleep(0.3)
        assert peer.barrier() == []


def test_averages_of_the_last_minute_and_of_the_quarter_hour() -> None:
    index = Reference("BRTI", 100 * UNIT)
    start = 14 * 60_000  # the last minute of a quarter-hour
    for second, dollars in ((-30, 100), (10, 200), (20, 300)):
        index.value = dollars * UNIT
        index.record(start + second * 1000)
    msg = index.index_message(start + 20_000)
    assert (msg["avg_60s_data"]["value"], msg["avg_60s_data"]["window_size"]) == ("200.00000000", 3)
    quarter = msg["last_60s_windowed_average_15min"]
    assert (quarter["value"], quarter["window_size"], quarter["window_start_ts_ms"]) == (
        "250.00000000",
        2,
        start,
    )
    index.record(start + 60_000)
    msg = index.index_message(start + 60_000)
    assert "last_60s_windowed_average_15min" not in msg and msg["avg_60s_data"]["window_size"] == 3


def test_values_as_text() -> None:
    for text in ("0.00000001", "-0.10000000", "68000.12000000"):
        assert value_text(value_units(text)) == text
