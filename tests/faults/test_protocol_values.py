"""S11-S20, S22, S34: numbers that are not numbers, JSON that is not JSON, fields that are missing, odd or
new."""

# mypy: no-strict-equality

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed import FeedState, KalshiFeed, ProtocolError
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.connection.raw_server import TEXT, frame
from tests.faults.witness import Witness
from tests.feed.support import A, B, FeedMaker, HurriedFeed, Recorder, wait_equal
from tests.support import wait_until

BAD_DELTAS: dict[str, dict[str, Any]] = {
    "price NaN": {"price_dollars": "NaN"},
    "price Infinity": {"price_dollars": "Infinity"},
    "price too high": {"price_dollars": "1.0001"},
    "price negative": {"price_dollars": "-0.5000"},
    "price with an exponent": {"price_dollars": "5e-1"},
    "price too fine": {"price_dollars": "0.40001"},
    "price with a blank": {"price_dollars": " 0.4000"},
    "price with an underscore": {"price_dollars": "0.4_0"},
    "price in other digits": {"price_dollars": "0.٤"},
    "price empty": {"price_dollars": ""},
    "price a number too fine": {"price_dollars": 0.40001},
    "price null": {"price_dollars": None},
    "price huge": {"price_dollars": "9" * 5000},
    "size NaN": {"delta_fp": "NaN"},
    "size with an exponent": {"delta_fp": "1e400"},
    "size too fine": {"delta_fp": "0.001"},
    "size huge": {"delta_fp": "1" * 5000},
    "size with a plus": {"delta_fp": "+1.00"},
    "size empty": {"delta_fp": ""},
    "size a list": {"delta_fp": ["1.00"]},
    "side unknown": {"side": "maybe"},
    "side missing": {"side": None},
    "ticker a number": {"market_ticker": 5},
    "ticker null": {"market_ticker": None},
    "msg null": {"msg": None},
    "msg a list": {"msg": []},
    "msg a string": {"msg": "delta"},
    "seq a string": {"seq": "7"},
    "seq negative": {"seq": -1},
    "seq true": {"seq": True},
    "seq a fraction": {"seq": 2.5},
    "seq beyond 64 bits": {"seq": 2**70},
    "seq null": {"seq": None},
    "sid a string": {"sid": "1"},
    "sid null": {"sid": None, "seq": None},
    "type a number": {"type": 5},
    "type null": {"type": None},
}


MISSING = {
    f"no {name}": name
    for name in ("market_ticker", "side", "price_dollars", "delta_fp", "msg", "seq", "type")
}


@pytest.mark.parametrize("fields", [*BAD_DELTAS.values(), *MISSING.values()], ids=[*BAD_DELTAS, *MISSING])
def test_S14_S15_S19_S20_bad_delta(
    fields: dict[str, Any] | str, exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    witness.change(A, "yes", "0.4", 1)
    if isinstance(fields, str):
        exchange.corrupt({}, remove=(fields,), type="orderbook_delta")
    else:
        exchange.corrupt(fields, type="orderbook_delta")
    witness.change(A, "yes", "0.4", 2)
    witness.change(A, "no", "0.54", 3)
    witness.change(B, "no", "0.8", 4)
    wait_until(lambda: heard.faults, what="the fault")
    wait_until(lambda: heard.gaps, what="the gap")
    wait_equal(feed, exchange, A, B)
    witness.change(A, "yes", "0.4", "0.5")
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: heard.of("orderbook_delta")[-1].delta == Decimal("0.5"))
    fault = heard.faults[0]
    assert fault.kind == "protocol"
    assert isinstance(fault.error, ProtocolError)
    assert len(fault.message) < 1000
    stats = feed.stats()
    assert stats.faults["protocol"] >= 1
    assert stats.gaps >= 1
    assert (stats.reconnects, feed.state) == (0, FeedState.CONNECTED)
    assert A in heard.gaps[0].market_tickers
    deltas = [
        d for d in heard.received if getattr(d, "type", "") == "orderbook_delta" and d.market_ticker == A
    ]
    # 3 may come after the repair
    assert [d.delta for d in deltas] in (
        [1, Decimal("0.5")],
        [1, 3, Decimal("0.5")],
    )
    # the loss is announced before the market's next data
    assert (
        heard.received.index(deltas[0])
        < heard.received.index(heard.gaps[0])
        < heard.received.index(deltas[1])
    )
    witness.check()


BAD_SNAPSHOTS: dict[str, dict[str, Any]] = {
    "price NaN": {"yes_dollars_fp": [["NaN", "1.00"]]},
    "size negative": {"yes_dollars_fp": [["0.4000", "-1.00"]]},
    "size infinite": {"no_dollars_fp": [["0.4000", "Infinity"]]},
    "two levels at one price": {"yes_dollars_fp": [["0.4000", "1.00"], ["0.4000", "2.00"]]},
    "half a level": {"yes_dollars_fp": [["0.4000"]]},
    "three quarters of a level": {"yes_dollars_fp": [["0.4000", "1.00", "2.00"]]},
    "levels in a dict": {"yes_dollars_fp": {"0.4000": "1.00"}},
    "a string": {"no_dollars_fp": "none"},
    "numbers too fine": {"no_dollars_fp": [[0.4, 1.001]]},
    "no ticker": {"market_ticker": None},
}


@pytest.mark.parametrize("fields", BAD_SNAPSHOTS.values(), ids=BAD_SNAPSHOTS)
def test_S13_S14_S20_bad_snapshot(fields: dict[str, Any], exchange: Exchange, make_feed: FeedMaker) -> None:
    """A first snapshot, and one in mid-stream, that cannot be read."""
    feed = make_feed(HurriedFeed)
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().wait_for_book(B, timeout=5)
    exchange.corrupt(fields, type="orderbook_snapshot")
    feed.wait_for_book(A, timeout=5)
    wait_until(heard.kinds)
    assert heard.kinds()[:1] == ["protocol"]
    wait_equal(feed, exchange, A, B)
    exchange.corrupt(fields, type="orderbook_snapshot")
    exchange.set_book(A, yes={"0.6": 1})
    witness.note()
    wait_equal(feed, exchange, A, B)
    assert feed.stats().faults["protocol"] == 2
    assert feed.stats().reconnects == 0
    witness.check()


UNREADABLE = {
    "malformed": b'{"type": "orderbook_delta", "sid": 1, ',
    "empty": b"",
    "blank": b"  ",
    "null": b"null",
    "a number": b"17",
    "a string": b'"hello"',
    "a list": b"[]",
    "two objects": b"{}{}",
    "trailing garbage": b'{"type":"ok","id":1}x',
    "two elements": b'{"type":"trade"},{"type":"trade"}',
    "no type": b'{"sid":1,"seq":3,"msg":{}}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "NaN literal": b'{"type":"orderbook_delta","sid":1,"seq":2,"msg":{"price_dollars":NaN}}',
    "deep nesting": b"[" * 100_000,
    "deep nesting inside": b'{"type":"trade","sid":2,"msg":' + b'{"a":' * 50_000,
    "deep and closed": b'{"type":"news","msg":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "a huge number": b'{"type":"orderbook_delta","sid":1,"seq":' + b"9" * 5000 + b',"msg":{}}',
    "a huge exponent": b'{"type":"orderbook_delta","sid":1,"seq":1e400,"msg":{}}',
}


@pytest.mark.parametrize("payload", UNREADABLE.values(), ids=UNREADABLE)
def test_S16_S17_unreadable_frame(payload: bytes, exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.send_bytes(frame(TEXT, payload))
    witness.change(A, "yes", "0.4", 2)
    exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: heard.faults, what="the fault")
    wait_until(lambda: heard.of("trade"), what="the trade after it")
    wait_equal(feed, exchange, A, B)
    assert heard.kinds() == ["protocol"]
    fault = heard.faults[0]
    assert isinstance(fault.error, ProtocolError)
    assert len(fault.error.frame) <= 200
    assert fault.error.__cause__ is None or fault.error.__cause__.__traceback__ is None
    assert feed.stats().faults == {"protocol": 1}
    assert feed.stats().messages["unreadable"] == 1
    assert feed.stats().reconnects == 0
    witness.check()


def test_S17_a_peer_that_sends_only_garbage_is_left(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    for _ in range(30):
        exchange.send_raw("garbage")
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A)
    wait_until(lambda: FeedState.RECONNECTING in heard.steps())
    assert "unreadable frames" in heard.states[2].reason


def test_S11_negative_result_makes_the_book_stale_and_is_repaired(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    version = feed.book(B).version
    bad = {"market_ticker": A, "side": "yes", "price_dollars": "0.4000", "delta_fp": "-11.00"}
    exchange.send("orderbook_delta", bad, check=False)
    wait_until(lambda: heard.kinds() == ["negative_size"])
    wait_until(lambda: heard.gaps)
    assert heard.gaps[0].market_tickers == (A,)
    wait_equal(feed, exchange, A, B)
    assert heard.of("orderbook_delta") == []
    assert feed.book(B).version == version  # the other market is not affected
    assert feed.stats().resyncs == 1
    witness.check()


def test_S14_bad_trade_touches_no_book(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    feed.subscribe(["orderbook_delta", "trade"], [A]).wait(5)
    book = feed.wait_for_book(A, timeout=5)
    version = book.version
    exchange.corrupt({"yes_price_dollars": "2.0000"}, type="trade")
    exchange.trade(A, "yes", "0.4", 1)
    exchange.trade(A, "yes", "0.4", 2)
    wait_until(lambda: [t.count for t in heard.of("trade")] == [2])
    assert heard.kinds() == ["protocol"]
    assert [gap.channel for gap in heard.gaps] == ["trade"]
    assert book.is_live
    assert book.version == version


def test_S19_a_frame_without_its_sid_is_known_by_its_type(exchange: Exchange, feed: KalshiFeed) -> None:
    """There is one subscription per channel, and the number shows whether something is missing."""
    heard = Recorder(feed)
    feed.subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.corrupt({}, remove=("sid",), n=4)
    exchange.change(A, "yes", "0.4", 1)
    exchange.trade(A, "yes", "0.4", 1)
    exchange.change(B, "no", "0.8", 1)
    exchange.snapshot(A)
    wait_until(lambda: len(heard.of("orderbook_delta")) == 2 and len(heard.of("trade")) == 1)
    wait_equal(feed, exchange, A, B)
    assert heard.gaps == heard.faults == []


def test_S22_unknown_fields_and_missing_optional_ones_do_no_harm(
    exchange: Exchange, feed: KalshiFeed
) -> None:
    heard = Recorder(feed)
    feed.subscribe(["orderbook_delta", "trade"], [A]).wait(5)
    wait_equal(feed, exchange, A)
    exchange.corrupt(
        {"new_field": {"deep": [1]}, "ts": "yesterday", "clock": "?"},
        remove=("market_id", "ts_ms", "sending_ts_ms"),
    )
    exchange.change(A, "yes", "0.4", 1)
    exchange.corrupt(
        {},
        remove=("trade_id", "taker_side", "is_block_trade", "ts", "ts_ms", "taker_outcome_side"),
        type="trade",
    )
    exchange.trade(A, "yes", "0.4", 1)
    wait_until(lambda: len(heard.of("trade")) == 1)
    wait_equal(feed, exchange, A)
    assert heard.faults == heard.gaps == []
    assert heard.of("orderbook_delta")[0].time is None
    assert heard.of("trade")[0].trade_id is None


BAD_IDS = {
    "a string": "1",
    "true": True,
    "negative": -1,
    "a fraction": 1.5,
    "beyond 64 bits": 2**70,
    "a list": [1],
}


@pytest.mark.parametrize("value", BAD_IDS.values(), ids=BAD_IDS)
@pytest.mark.parametrize("name", ["id", "sid", "seq"])
def test_S15_numbers_of_a_reply_that_are_not_numbers(
    name: str, value: Any, exchange: Exchange, make_feed: FeedMaker
) -> None:
    """The reply is as good as lost: the feed asks again and goes on."""
    feed = make_feed(HurriedFeed)
    heard, witness = Recorder(feed), Witness(feed, exchange)
    subscription = feed.start().subscribe("orderbook_delta", A).wait(5)
    wait_equal(feed, exchange, A)
    exchange.corrupt({name: value}, type="ok")
    subscription.add_markets(B).wait(5)
    wait_equal(feed, exchange, A, B)
    witness.change(A, "yes", "0.4", 1)
    witness.change(B, "no", "0.8", 1)
    wait_equal(feed, exchange, A, B)
    wait_until(heard.kinds)
    assert heard.kinds()[0] == "protocol"
    assert feed.stats().reconnects == 0
    witness.check()


def test_S16_S17_a_flood_of_unreadable_frames_is_bounded(exchange: Exchange, make_feed: FeedMaker) -> None:
    """One read may bring twenty thousand of them, and each may have been a delta of any book."""
    many = [f"KXMANY-{n}" for n in range(1000)]
    for ticker in many:
        exchange.add_market(ticker, yes={"0.5": 1})
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().subscribe(["orderbook_delta", "trade"], many).wait(10)
    wait_equal(feed, exchange, *many)
    exchange.send_bytes(frame(TEXT, b"x") * 20_000 + frame(TEXT, b"[" * 100_000) * 20)
    wait_until(lambda: feed.stats().reconnects == 1, 10)
    wait_equal(feed, exchange, *many, timeout=10)
    assert len(heard.gaps) <= 2 * 11
    assert len(heard.faults) < 250  # a hundred per second
    assert feed.stats().faults["protocol"] > 100


def test_S17_what_the_peer_makes_up_is_not_kept(exchange: Exchange, make_feed: FeedMaker) -> None:
    """Endless types, markets and subscriptions leave nothing behind (invariant 8)."""
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().subscribe("orderbook_delta", A).wait(5)
    wait_equal(feed, exchange, A)
    for n in range(1000):
        exchange.send("orderbook_delta", {"market_ticker": f"KXFAKE-{n}"}, type=f"type-{n}", check=False)
        made_up = {
            "market_ticker": f"KXFAKE-{n}",
            "side": "yes",
            "price_dollars": "0.1000",
            "delta_fp": "1.00",
        }
        exchange.send("orderbook_delta", made_up, check=False)
        exchange.send(
            "orderbook_delta",
            {"market_ticker": f"KXFAKE-{n}", "market_id": "u"},
            type="orderbook_snapshot",
            check=False,
        )
        exchange.send_raw(
            json.dumps({"type": "trade", "sid": 100 + n, "seq": 1, "msg": {"market_ticker": f"KXFAKE-{n}"}})
        )
    exchange.send("orderbook_delta", {}, type="x" * 1000, check=False)
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)
    wait_until(lambda: len(heard.of("type-999")) == 1)
    stats = feed.stats()
    assert len(stats.messages) <= 201 and stats.messages["other"] > 700
    assert stats.ignored == {"unwanted": 2000, "unknown_sid": 1000}
    assert len(heard.faults) <= 100 and set(heard.kinds()) == {"unknown_sid"}
    assert list(feed.books) == [A] and len(inside.store(feed).books) == 1
    assert heard.gaps == []


def test_S34_old_future_and_missing_times_only_change_a_metric(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    for times, offset in enumerate((-2.0, 3600.0), 1):
        exchange.clock_offset = offset
        for _ in range(20):
            exchange.change(A, "yes", "0.4", 1)
            exchange.trade(B, "yes", "0.5", 1)
        wait_until(lambda: len(heard.of("trade")) == 20 * times)  # noqa: B023
    exchange.corrupt({}, remove=("ts_ms", "ts", "sending_ts_ms"), n=10)
    for _ in range(10):
        exchange.change(B, "no", "0.8", 1)
    wait_until(lambda: len(heard.of("orderbook_delta")) == 50 and len(heard.of("trade")) == 40)
    wait_equal(feed, exchange, A, B)
    stats = feed.stats()
    assert stats.exchange_latency_p99 is not None and 1.5 < stats.exchange_latency_p99 < 4
    assert heard.gaps == heard.faults == [] and stats.reconnects == 0
    assert feed.health().is_ok
    sent = [delta.time.timestamp() - time.time() for delta in heard.of("orderbook_delta")[:40]]
    assert -10 < min(sent) < -1 and max(sent) > 3000
    assert heard.of("orderbook_delta")[45].time is None
