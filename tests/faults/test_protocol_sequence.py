"""S01-S06, S21, S31, S32: frames that are missing, doubled, out of order, of another subscription, or
numbered differently."""

# mypy: no-strict-equality

from __future__ import annotations

import json
from typing import Any

import pytest

from kalshi_feed import BookStatus, FeedState, KalshiFeed, UnknownMessage
from kalshi_feed.connection.byte_stream import CHUNK_BYTES
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import TEXT, frame
from tests.faults.witness import Witness, actions, number_of
from tests.feed.support import A, B, FeedMaker, HurriedFeed, Recorder, wait_equal
from tests.support import wait_until


def test_S01_lost_frame_makes_every_book_of_the_channel_stale(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.ignore_commands("update_subscription")  # so that there is time to look at the gap
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


def test_S01_a_gap_is_repaired_with_one_command(exchange: Exchange, feed: KalshiFeed) -> None:
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


def test_S01_S04_number_far_ahead_costs_a_repair_and_no_more(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(HurriedFeed)
    witness = Witness(feed, exchange)
    subscription = feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    sid = subscription.sids["orderbook_delta"]
    exchange.corrupt({"seq": 10**12}, type="orderbook_delta")
    witness.change(A, "yes", "0.4", 1)
    witness.change(A, "yes", "0.4", 2)
    wait_equal(feed, exchange, A, B)
    assert subscription.sids["orderbook_delta"] == sid
    assert feed.stats().reconnects == 0
    witness.check()


def test_S02_duplicate_is_delivered_once(exchange: Exchange, feed: KalshiFeed) -> None:
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


def test_S03_swapped_deltas_are_repaired(exchange: Exchange, make_feed: FeedMaker) -> None:
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


def test_S05_unknown_sid_is_reported_once_and_ignored(exchange: Exchange, feed: KalshiFeed) -> None:
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


def test_S21_unknown_type_is_delivered_as_it_is(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    named: list[Any] = []
    feed.on("brand_new", named.append)
    feed.wait_until_connected(5)
    exchange.send_raw(
        json.dumps({"type": "brand_new", "msg": {"market_ticker": A, "depth": [1, 2]}, "extra": None})
    )
    wait_until(lambda: named and heard.messages)
    assert named == heard.of("brand_new")
    message = named[0]
    assert isinstance(message, UnknownMessage)
    assert message.market_ticker == A
    assert message.raw == {"type": "brand_new", "msg": {"market_ticker": A, "depth": [1, 2]}, "extra": None}
    assert feed.stats().messages["brand_new"] == 1
    assert heard.faults == []


def test_S01_deltas_of_a_stale_market_wait_for_its_own_snapshot(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    """One market has its snapshot and the other does not: only the first one's deltas are applied and
    delivered."""
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.ignore_commands("update_subscription")
    exchange.lose(type="orderbook_delta")
    witness.change(A, "yes", "0.4", 1)
    witness.change(A, "yes", "0.4", 2)
    wait_until(lambda: heard.gaps)
    exchange.snapshot(A)
    witness.change(A, "yes", "0.4", 3)
    witness.change(B, "no", "0.8", 4)
    wait_equal(feed, exchange, A)
    wait_until(lambda: len(heard.of("orderbook_delta")) == 1)
    assert feed.book(B).status is BookStatus.STALE
    exchange.snapshot(B)
    witness.change(B, "no", "0.8", 5)
    wait_equal(feed, exchange, B)
    wait_until(lambda: len(heard.of("orderbook_delta")) == 2)
    assert [(d.market_ticker, d.delta) for d in heard.of("orderbook_delta")] == [(A, 3), (B, 5)]
    assert feed.stats().ignored == {"stale_book": 2}
    witness.check()


def test_S02_a_storm_of_duplicates_repairs_nothing(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    feed.subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.duplicate(n=200)
    for n in range(200):
        exchange.change((A, B)[n % 2], "yes", "0.1", 1)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: len(heard.of("orderbook_delta")) == 200)
    wait_until(lambda: feed.stats().ignored == {"duplicate": 200})
    assert (feed.stats().gaps, actions(exchange)) == (0, ["subscribe"])


def test_S04_numbers_that_start_at_1_again(exchange: Exchange, make_feed: FeedMaker) -> None:
    """Repaired each time, and never taken for old duplicates. A repair that works is not a reason to
    reconnect."""
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    for times in range(1, 5):
        for _ in range(3):
            witness.change(A, "yes", "0.4", 1)
        wait_equal(feed, exchange, A, B)
        exchange.restart_seq("orderbook_delta")
        witness.change(A, "yes", "0.4", 1)
        wait_until(lambda: len(heard.gaps) == times)  # noqa: B023
        witness.change(B, "no", "0.8", 1)
        wait_equal(feed, exchange, A, B)
    assert {(gap.reason, gap.received) for gap in heard.gaps} == {("sequence went back", 1)}
    wait_until(lambda: feed.stats().resyncs == 4)
    assert feed.stats().reconnects == 0
    witness.check()


def test_S06_the_same_sid_and_numbers_after_a_reconnect(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    subscription = feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    for reconnects in range(1, 4):
        wait_equal(feed, exchange, A, B)
        assert subscription.sids == {"orderbook_delta": 1}
        for _ in range(reconnects):  # so that the numbers of the next connection are lower, equal, higher
            witness.change(A, "yes", "0.4", 1)
        exchange.reset()
        witness.change(B, "no", "0.8", 1)
        wait_until(lambda: feed.stats().reconnects == reconnects)  # noqa: B023
    wait_equal(feed, exchange, A, B)
    assert {feed.book(A).seq, feed.book(B).seq} == {1, 2}
    assert heard.gaps == heard.faults == []  # the state change announces what may have been missed
    witness.check()


def test_S21_the_number_of_an_unknown_type_counts(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    feed.subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    for _ in range(3):
        exchange.send("orderbook_delta", {"market_ticker": A}, type="hello_v9", check=False)
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)
    wait_until(lambda: len(heard.of("hello_v9")) == 3)
    assert heard.gaps == []
    exchange.lose(type="hello_v9")
    exchange.send("orderbook_delta", {"market_ticker": A}, type="hello_v9", check=False)
    exchange.change(A, "yes", "0.4", 1)
    wait_until(lambda: len(heard.gaps) == 1)
    wait_equal(feed, exchange, A, B)
    assert feed.stats().faults == {}


@pytest.mark.parametrize(
    "quirks", [{}, {"replies_repeat_seq": True}, {"replies_have_seq": False}], ids=["counts", "echo", "none"]
)
def test_S31_replies_may_use_up_a_number_or_repeat_one_or_have_none(
    quirks: dict[str, bool], exchange: Exchange, make_feed: FeedMaker
) -> None:
    for name, value in quirks.items():
        setattr(exchange.quirks, name, value)
    feed = make_feed(HurriedFeed)
    heard = Recorder(feed)
    subscription = feed.start().subscribe(["orderbook_delta", "trade"], A).wait(5)
    wait_equal(feed, exchange, A)
    for _ in range(5):
        subscription.add_markets(B).wait(5)
        exchange.change(A, "yes", "0.4", 1)
        exchange.trade(A, "yes", "0.4", 1)
        wait_equal(feed, exchange, A, B)
        subscription.delete_markets(B)
        wait_until(lambda: [s["market_tickers"] for s in exchange.subscriptions] == [[A], [A]])
    other = feed.subscribe("market_lifecycle_v2").wait(5)
    other.unsubscribe()
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)
    wait_until(lambda: len(heard.of("trade")) == 5)
    assert heard.gaps == heard.faults == []
    # a repeated number is not a duplicate
    assert feed.stats().ignored.keys() <= {"ended_subscription"}
    exchange.lose(type="ok")  # where replies are counted, a lost reply is a gap; it is never a false one
    subscription.add_markets(B)
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A, B)
    exchange.lose(type="orderbook_delta")
    exchange.change(A, "yes", "0.4", 1)
    exchange.change(A, "yes", "0.4", 1)
    wait_until(lambda: heard.gaps)
    wait_equal(feed, exchange, A, B)


@pytest.mark.parametrize("numbered", ["next", "last", "none"])
def test_S32_requested_snapshots_may_be_numbered_differently(
    numbered: Any, exchange: Exchange, make_feed: FeedMaker
) -> None:
    """They take the next number, as was observed (PROTOCOL.md 5.2). If they repeat the last one, they are
    just as good. If they have none, we cannot know whether they took one: the repair goes up the ladder, and
    the books are right in the end."""
    exchange.quirks.get_snapshot_seq = numbered
    feed = make_feed(HurriedFeed)
    witness = Witness(feed, exchange)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.lose(type="orderbook_delta")
    witness.change(A, "yes", "0.4", 1)
    witness.change(A, "yes", "0.4", 1)
    wait_until(lambda: feed.stats().gaps == 1 or feed.stats().reconnects)
    wait_equal(feed, exchange, A, B)
    bad = {"market_ticker": A, "side": "yes", "price_dollars": "0.4000", "delta_fp": "-99.00"}
    exchange.send("orderbook_delta", bad, check=False)  # touches only one market
    wait_until(lambda: feed.stats().faults.get("negative_size"))
    wait_equal(feed, exchange, A, B)
    witness.change(B, "no", "0.8", 1)
    wait_equal(feed, exchange, A, B)
    assert (number_of(exchange, "unsubscribe") + feed.stats().reconnects == 0) is (numbered != "none")
    witness.check()


def test_S32_one_repair_in_flight_however_many_gaps(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    for _ in range(5):
        exchange.lose(type="orderbook_delta")
        witness.change(A, "yes", "0.4", 1)
        witness.change(A, "yes", "0.4", 1)
    wait_until(lambda: len(heard.gaps) == 5)
    wait_equal(feed, exchange, A, B)
    assert number_of(exchange, "get_snapshot") <= 5
    assert number_of(exchange, "unsubscribe") == feed.stats().reconnects == 0
    witness.check()


def test_S32_gaps_that_hit_every_repair_end_the_connection(exchange: Exchange, make_feed: FeedMaker) -> None:
    """Three repairs fail within a minute."""
    feed = make_feed(HurriedFeed)
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.swap(type="orderbook_delta")
    witness.change(A, "yes", "0.4", 1)
    for asked in range(1, 4):
        exchange.lose(type="orderbook_snapshot", n=2, connection=0)
        witness.change(A, "yes", "0.4", 1)
        exchange.wait_for_command("update_subscription", n=asked)
        witness.change(A, "yes", "0.4", 1)  # shows that something is missing again
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: FeedState.RECONNECTING in heard.steps())
    assert "three repairs" in heard.states[2].reason
    witness.check()


def test_S32_a_gap_with_every_frame_is_bounded(exchange: Exchange, make_feed: FeedMaker) -> None:
    """Gaps are never dropped from the queue, so the feed leaves an exchange whose numbers are nonsense."""
    feed = make_feed()
    heard = Recorder(feed)
    subscription = feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    sid = subscription.sids["trade"]
    trade = {
        "market_ticker": A,
        "yes_price_dollars": "0.4000",
        "no_price_dollars": "0.6000",
        "count_fp": "1.00",
    }
    frames = [
        json.dumps({"type": "trade", "sid": sid, "seq": 10 * n, "msg": trade}).encode()
        for n in range(1, 3001)
    ]
    exchange.send_bytes(b"".join(frame(TEXT, payload) for payload in frames))
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: FeedState.RECONNECTING in heard.steps())
    assert "gaps within" in heard.states[2].reason
    assert 1000 <= len(heard.gaps) < 1000 + CHUNK_BYTES // len(frames[0])
