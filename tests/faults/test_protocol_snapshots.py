"""S07-S10, S12, S13, S29, S33: how a book begins, is replaced, changes, and goes on in silence."""

# mypy: no-strict-equality

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed import BookStatus, FeedState, KalshiFeed
from kalshi_feed.simulator import Exchange
from tests.faults.witness import Witness, actions, number_of
from tests.feed.support import A, B, FeedMaker, HurriedFeed, Recorder, wait_equal
from tests.support import wait_until


def test_S07_delta_before_its_snapshot_is_neither_applied_nor_delivered(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
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


def test_S08_snapshots_before_the_confirmation(exchange: Exchange, make_feed: FeedMaker) -> None:
    """Whatever comes before the `subscribed` reveals its sid: nothing is dropped, and nothing is asked for
    again."""
    exchange.quirks.snapshot_before_subscribed = True
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    subscription = feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    witness.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: len(heard.of("orderbook_delta")) == 1)
    assert sorted(subscription.sids.values()) == [1, 2]
    assert heard.gaps == heard.faults == []
    assert actions(exchange) == ["subscribe", "subscribe"]
    witness.check()


def test_S08_snapshots_whose_confirmation_never_comes(exchange: Exchange, make_feed: FeedMaker) -> None:
    """Asked again, the exchange answers `ok`: the books that came before were right."""
    exchange.quirks.snapshot_before_subscribed = True
    feed = make_feed(HurriedFeed).start()
    feed.wait_until_connected(5)
    exchange.lose(type="subscribed")
    subscription = feed.subscribe("orderbook_delta", [A, B])
    wait_equal(feed, exchange, A, B)
    subscription.wait(5)
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A, B)
    assert (feed.stats().gaps, feed.stats().reconnects, actions(exchange)) == (
        0,
        0,
        ["subscribe", "subscribe"],
    )


def test_S09_an_unsolicited_snapshot_replaces_the_book(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.set_book(A, yes={"0.2": 5}, no={"0.7": "1.5"})
    witness.note()
    wait_equal(feed, exchange, A, B)
    exchange.snapshot(A)
    witness.change(A, "yes", "0.2", 1)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: len(heard.of("orderbook_delta")) == 1)
    assert [s.market_ticker for s in heard.of("orderbook_snapshot")[2:]] == [A, A]
    assert heard.gaps == heard.faults == []  # nothing was lost
    witness.check()


@pytest.mark.parametrize(("yes", "no"), [({"0.3": 4}, None), (None, {"0.3": 4}), (None, None)])
def test_S10_a_side_that_is_missing_is_empty(yes: Any, no: Any, exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    feed.subscribe("orderbook_delta", A).wait(5)
    wait_equal(feed, exchange, A)
    exchange.set_book(A, yes=yes, no=no)
    wait_equal(feed, exchange, A)
    book = feed.book(A)
    assert (book.best_bid("yes") is None, book.best_bid("no") is None) == (yes is None, no is None)
    assert heard.faults == []
    exchange.send(
        "orderbook_delta",
        {"market_ticker": A, "yes_dollars_fp": None},
        type="orderbook_snapshot",
        check=False,
    )
    wait_until(lambda: book.bids("yes") == book.bids("no") == ())
    assert book.is_live


def test_S12_levels_that_end_stay_and_begin(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    book = feed.wait_for_book(A, timeout=5)
    wait_equal(feed, exchange, A)
    exchange.change(A, "yes", "0.40", -10)  # to exactly nothing: no level is left
    exchange.change(A, "no", "0.5001", "0.01")  # where there was none
    wait_equal(feed, exchange, A)
    assert [level.price for level in book.bids("yes")] == [Decimal("0.3950")]
    assert book.depth_at("no", "0.5001") == Decimal("0.01")
    for price in ("0.3950", "0.7777"):  # by nothing, on a level that exists and on one that does not
        nothing = {"market_ticker": A, "side": "yes", "price_dollars": price, "delta_fp": "0.00"}
        exchange.send("orderbook_delta", nothing, check=False)
    wait_until(lambda: len(heard.of("orderbook_delta")) == 4)
    wait_equal(feed, exchange, A)
    assert [level.price for level in book.bids("yes")] == [Decimal("0.3950")]
    assert heard.gaps == heard.faults == []


def test_S13_unsorted_levels_and_empty_ones(exchange: Exchange, feed: KalshiFeed) -> None:
    """What cannot be meant (a price twice, a negative size) is refused: test_S13_S14_S20_bad_snapshot."""
    heard = Recorder(feed)
    feed.subscribe("orderbook_delta", A).wait(5)
    wait_equal(feed, exchange, A)
    levels = [["0.2000", "1.00"], ["0.4500", "2.00"], ["0.0100", "0.00"], ["0.3000", "3.00"]]
    snapshot = {"market_ticker": A, "market_id": "u", "yes_dollars_fp": levels}
    exchange.send("orderbook_delta", snapshot, type="orderbook_snapshot", check=False)
    wait_until(
        lambda: feed.book(A).bids("yes") == ((Decimal("0.45"), 2), (Decimal("0.3"), 3), (Decimal("0.2"), 1))
    )
    assert heard.faults == []


def test_S29_first_snapshots_that_do_not_come_are_asked_for(exchange: Exchange, make_feed: FeedMaker) -> None:
    """health() shows it while they are wanted, and nothing is LIVE without a base."""
    feed = make_feed(HurriedFeed)
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().wait_for_book(B, timeout=5)
    exchange.mute_books = [A]
    feed.subscribe("orderbook_delta", A).wait(5)
    witness.change(A, "yes", "0.4", 1)
    wait_until(lambda: number_of(exchange, "get_snapshot") >= 1)
    wait_until(lambda: not feed.health().is_ok)
    assert feed.health().reasons == (f"1 book is still without a snapshot: {A}",)
    wait_until(lambda: "no_snapshot" in heard.kinds())  # asked for twice, and reported
    assert (feed.book(A).status, feed.book(B).status) == (BookStatus.PENDING, BookStatus.LIVE)
    assert heard.of("orderbook_delta") == []
    assert feed.stats().reconnects == 0  # one mute market tears nothing down
    exchange.mute_books = ()
    exchange.snapshot(A)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: feed.health().is_ok)
    witness.check()


def test_S29_the_ladder_to_its_end(exchange: Exchange, make_feed: FeedMaker) -> None:
    """No market gets a snapshot: get_snapshot, then a new subscription, then a new connection."""
    feed = make_feed(HurriedFeed)
    heard = Recorder(feed)
    feed.start().wait_until_connected(5)
    exchange.mute_books = [A, B]
    feed.subscribe("orderbook_delta", [A, B]).wait(5)
    wait_until(lambda: feed.stats().reconnects == 1)
    asked = [(c["connection"], c.get("params", {}).get("action", c["cmd"])) for c in exchange.commands]
    assert [action for connection, action in asked if connection == 0] == [
        "subscribe", "get_snapshot", "unsubscribe", "subscribe", "get_snapshot",
    ]  # fmt: skip
    assert {feed.book(t).status for t in (A, B)} == {BookStatus.PENDING}
    exchange.mute_books = ()
    wait_equal(feed, exchange, A, B)
    assert "could not be repaired" in next(
        c.reason for c in heard.states if c.state is FeedState.RECONNECTING
    )


def test_S33_a_market_that_settles_stays_live_and_grows_old(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(HurriedFeed)
    heard = Recorder(feed)
    feed.start().subscribe(["orderbook_delta", "market_lifecycle_v2"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.settle(A)
    exchange.determine(A, "yes")
    exchange.settle_market(A)
    wait_until(lambda: len(heard.of("market_lifecycle_v2")) >= 2)
    book = feed.book(A)
    age = book.age()
    wait_until(lambda: (book.age() or 0) > (age or 0) + 1.0)  # longer than every deadline of this feed
    assert book.is_live and book.bids("yes") == book.bids("no") == ()
    assert heard.gaps == heard.faults == []
    assert feed.health().is_ok
    assert number_of(exchange, "get_snapshot") == 0
