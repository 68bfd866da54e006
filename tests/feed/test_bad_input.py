"""What a good exchange never sends: counted, told, the books it touched STALE and repaired, and the feed goes on."""

# mypy: no-strict-equality

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed import BookStatus, FeedState, KalshiFeed, ProtocolError, UnknownMessage
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import BINARY, TEXT, frame
from tests.feed.support import A, B, FeedMaker, HurriedFeed, Recorder, sides, wait_equal
from tests.support import wait_until


class Witness:
    """Sees every live book that callbacks could see, and what the exchange's book has ever been."""

    def __init__(self, feed: KalshiFeed, exchange: Exchange) -> None:
        self._exchange = exchange
        self._feed = feed
        self._seen: list[Any] = []
        self.truths: dict[str, list[Any]] = {ticker: [] for ticker in (A, B)}
        self.note()
        for register in (feed.on_message, feed.on_book, feed.on_error, feed.on_gap):
            register(self._look)

    def _look(self, told: object) -> None:
        for ticker in (A, B):
            view = self._feed.book(ticker).view()
            if view.is_live:
                self._seen.append((ticker, sides(view)))

    def note(self) -> None:
        """The exchange's books are as they should be seen now."""
        for ticker in (A, B):
            self.truths[ticker].append(self._exchange.book(ticker))

    def change(self, ticker: str, side: str, price: str, delta: Any) -> None:
        """A change of the exchange's book, and what it is then."""
        self._exchange.change(ticker, side, price, delta)
        self.note()

    def check(self) -> None:
        """Nothing wrong was LIVE at any moment."""
        wait_until(lambda: self._seen, what="a callback that sees a live book")
        for ticker, seen in tuple(self._seen):
            assert seen in self.truths[ticker], f"the book of {ticker} was LIVE with {seen}"


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
    "price a number": {"price_dollars": 0.4},
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
    "msg a text": {"msg": "delta"},
    "seq a text": {"seq": "7"},
    "seq negative": {"seq": -1},
    "seq true": {"seq": True},
    "seq a fraction": {"seq": 2.5},
    "seq beyond 64 bits": {"seq": 2**70},
    "seq null": {"seq": None},
    "sid a text": {"sid": "1"},
    "sid null": {"sid": None, "seq": None},
    "type a number": {"type": 5},
    "type null": {"type": None},
}


@pytest.mark.parametrize("fields", BAD_DELTAS.values(), ids=BAD_DELTAS)
def test_bad_delta(fields: dict[str, Any], exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    witness.change(A, "yes", "0.4", 1)
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
    deltas = [d for d in heard.told if getattr(d, "type", "") == "orderbook_delta" and d.market_ticker == A]
    assert [d.delta for d in deltas] in ([1, Decimal("0.5")], [1, 3, Decimal("0.5")])  # 3 may come after the repair
    # the loss is told before the next data of the market
    assert heard.told.index(deltas[0]) < heard.told.index(heard.gaps[0]) < heard.told.index(deltas[1])
    witness.check()


BAD_SNAPSHOTS: dict[str, dict[str, Any]] = {
    "price NaN": {"yes_dollars_fp": [["NaN", "1.00"]]},
    "size negative": {"yes_dollars_fp": [["0.4000", "-1.00"]]},
    "size infinite": {"no_dollars_fp": [["0.4000", "Infinity"]]},
    "two levels at one price": {"yes_dollars_fp": [["0.4000", "1.00"], ["0.4000", "2.00"]]},
    "half a level": {"yes_dollars_fp": [["0.4000"]]},
    "three quarters of a level": {"yes_dollars_fp": [["0.4000", "1.00", "2.00"]]},
    "levels in a dict": {"yes_dollars_fp": {"0.4000": "1.00"}},
    "a text": {"no_dollars_fp": "none"},
    "numbers": {"no_dollars_fp": [[0.4, 1.0]]},
    "no ticker": {"market_ticker": None},
}


@pytest.mark.parametrize("fields", BAD_SNAPSHOTS.values(), ids=BAD_SNAPSHOTS)
def test_bad_snapshot(fields: dict[str, Any], exchange: Exchange, make_feed: FeedMaker) -> None:
    """A first snapshot and one in mid-stream that cannot be read."""
    feed = make_feed(HurriedFeed)
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().wait_for_book(B, timeout=5)
    exchange.corrupt(fields, type="orderbook_snapshot")
    feed.wait_for_book(A, timeout=5)
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
    "a text": b'"hello"',
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
def test_unreadable_frame(payload: bytes, exchange: Exchange, make_feed: FeedMaker) -> None:
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


def test_a_peer_that_sends_only_garbage_is_left(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    for _ in range(30):
        exchange.send_raw("garbage")
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A)
    wait_until(lambda: FeedState.RECONNECTING in heard.steps())
    assert "unreadable frames" in heard.states[2].reason


def test_text_that_is_not_utf_8_ends_the_connection(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    exchange.send_bytes(frame(TEXT, b'{"type":"\xff\xfe"}'))
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A)
    assert "1007" in heard.states[2].reason


def test_message_above_the_limit_ends_the_connection(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(max_message_size=2048)
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    exchange.send_raw('{"type":"news","msg":"' + "x" * 3000 + '"}')
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A)
    assert "1009" in heard.states[2].reason
    assert heard.of("news") == []


def test_binary_frame_is_ignored_counted_and_told(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    exchange.send_bytes(frame(BINARY, b'{"type":"orderbook_delta"}'))
    wait_until(lambda: heard.kinds() == ["binary_frame"])
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)
    assert feed.stats().faults == {"binary_frame": 1}
    assert feed.stats().gaps == 0


def test_delta_before_its_snapshot_is_neither_applied_nor_delivered(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(HurriedFeed)
    heard, witness = Recorder(feed), Witness(feed, exchange)
    delta = {"market_ticker": A, "side": "yes", "price_dollars": "0.9000", "delta_fp": "5.00"}
    feed.start().wait_until_connected(5)
    exchange.corrupt({"type": "orderbook_delta", "msg": delta}, type="orderbook_snapshot")
    feed.subscribe("orderbook_delta", [A, B])
    wait_until(lambda: heard.faults)
    assert heard.faults[0].kind == "delta_before_snapshot"
    assert A in heard.faults[0].message
    wait_equal(feed, exchange, A, B)
    assert heard.of("orderbook_delta") == []
    assert feed.stats().faults == {"delta_before_snapshot": 1}
    witness.check()


def test_unknown_sid_is_told_once_and_ignored(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    feed.subscribe(["orderbook_delta", "trade"], [A]).wait(5)
    book = feed.wait_for_book(A, timeout=5)
    delta = {"market_ticker": A, "side": "yes", "price_dollars": "0.9000", "delta_fp": "5.00"}
    for seq in (1, 2, 3):
        exchange.send_raw(json.dumps({"type": "orderbook_delta", "sid": 99, "seq": seq, "msg": delta}))
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)
    wait_until(lambda: len(heard.of("orderbook_delta")) == 1)
    assert heard.kinds() == ["unknown_sid"]
    assert heard.faults[0].context["sid"] == 99
    assert heard.gaps == []
    assert book.is_live


def test_negative_result_makes_the_book_stale_and_is_repaired(exchange: Exchange, make_feed: FeedMaker) -> None:
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
    assert feed.book(B).version == version  # the other market was not touched
    assert feed.stats().resyncs == 1
    witness.check()


def test_lost_frame_makes_every_book_of_the_channel_stale(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.ignore_commands("update_subscription")  # so that the gap can be looked at
    exchange.lose(type="orderbook_delta")
    witness.change(A, "yes", "0.4", 1)
    witness.change(B, "no", "0.8", 1)
    wait_until(lambda: heard.gaps)
    (gap,) = heard.gaps
    assert (gap.channel, gap.expected, gap.received, gap.reason) == ("orderbook_delta", 3, 4, "sequence gap")
    assert set(gap.market_tickers) == {A, B}
    assert gap.sid == feed.subscriptions[0].sids["orderbook_delta"]
    assert {feed.book(t).status for t in (A, B)} == {BookStatus.STALE}
    assert heard.of("orderbook_delta") == []  # B's came after the gap
    assert feed.health().status == "degraded"
    assert "STALE" in feed.health().reasons[0]
    exchange.snapshot(A)
    exchange.snapshot(B)  # any snapshot will do
    wait_equal(feed, exchange, A, B)
    assert feed.health().is_ok
    witness.check()


def test_number_far_ahead_costs_a_new_subscription_and_no_more(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(HurriedFeed)
    witness = Witness(feed, exchange)
    subscription = feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    sid = subscription.sids["orderbook_delta"]
    exchange.corrupt({"seq": 10**12}, type="orderbook_delta")
    witness.change(A, "yes", "0.4", 1)
    witness.change(A, "yes", "0.4", 2)
    wait_equal(feed, exchange, A, B)
    assert subscription.sids["orderbook_delta"] > sid
    assert feed.stats().reconnects == 0
    witness.check()


def test_a_gap_is_repaired_with_one_command(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    feed.subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.lose(n=1)
    for n in range(5):
        exchange.change(A, "yes", "0.4", 1 + n)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: feed.stats().resyncs == 1)
    assert len([c for c in exchange.commands if c.get("params", {}).get("action") == "get_snapshot"]) == 1
    assert len(heard.gaps) == 1


def test_duplicate_is_delivered_once(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    feed.subscribe(["orderbook_delta", "trade"], [A]).wait(5)
    wait_equal(feed, exchange, A)
    exchange.duplicate(n=2)
    exchange.change(A, "yes", "0.4", 1)
    exchange.trade(A, "yes", "0.4", 2)
    exchange.trade(A, "yes", "0.4", 3)
    wait_until(lambda: len(heard.of("trade")) == 2)
    wait_equal(feed, exchange, A)
    assert [d.delta for d in heard.of("orderbook_delta")] == [1]
    assert [t.count for t in heard.of("trade")] == [2, 3]
    assert heard.gaps == heard.faults == []


def test_swapped_deltas_are_repaired(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.swap()
    witness.change(A, "yes", "0.4", 1)
    witness.change(A, "yes", "0.4", 2)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: heard.gaps)
    assert 1 not in [d.delta for d in heard.of("orderbook_delta")]
    witness.check()


def test_bad_trade_touches_no_book(exchange: Exchange, feed: KalshiFeed) -> None:
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


def test_unknown_type_is_delivered_as_it_is(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    named: list[Any] = []
    feed.on("brand_new", named.append)
    feed.wait_until_connected(5)
    exchange.send_raw(json.dumps({"type": "brand_new", "msg": {"market_ticker": A, "depth": [1, 2]}, "extra": None}))
    wait_until(lambda: named and heard.messages)
    assert named == heard.of("brand_new")
    message = named[0]
    assert isinstance(message, UnknownMessage)
    assert message.market_ticker == A
    assert message.raw == {"type": "brand_new", "msg": {"market_ticker": A, "depth": [1, 2]}, "extra": None}
    assert feed.stats().messages["brand_new"] == 1
    assert heard.faults == []


def test_unknown_fields_and_missing_optional_ones_do_no_harm(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    feed.subscribe(["orderbook_delta", "trade"], [A]).wait(5)
    wait_equal(feed, exchange, A)
    exchange.corrupt({"new_field": {"deep": [1]}, "ts": "yesterday", "clock": "?"}, remove=("market_id", "ts_ms", "sending_ts_ms"))
    exchange.change(A, "yes", "0.4", 1)
    exchange.corrupt({}, remove=("trade_id", "taker_side", "is_block_trade", "ts", "ts_ms", "taker_outcome_side"), type="trade")
    exchange.trade(A, "yes", "0.4", 1)
    wait_until(lambda: len(heard.of("trade")) == 1)
    wait_equal(feed, exchange, A)
    assert heard.faults == heard.gaps == []
    assert heard.of("orderbook_delta")[0].time is None
    assert heard.of("trade")[0].trade_id is None
