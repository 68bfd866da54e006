"""S35, S36, and the market that dies alone: books that are wrong, or look wrong, although every frame came in
order."""

# mypy: no-strict-equality

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed import FeedState, KalshiFeed
from kalshi_feed.session.timing import Timing
from kalshi_feed.simulator import Exchange
from tests.faults.witness import Witness, number_of
from tests.feed.support import A, B, FeedMaker, Recorder, sides, wait_equal
from tests.support import wait_until


class DoubtingFeed(KalshiFeed):
    """A feed that becomes suspicious quickly, and soon again."""

    _timing = Timing(
        ack=0.3, snapshot=0.3, retry_initial=0.02, retry_max=0.1, healthy=0.5, contradiction=0.2, recheck=60.0
    )


def hear_until(exchange: Exchange, ticker: str, condition: Any) -> None:
    """Send tickers of the market as the exchange sees it, until something happens."""

    def hear() -> Any:
        exchange.ticker(ticker)
        return condition()

    wait_until(hear)


# -- a market that dies alone --------------------------------------------------------------------------------


def test_S29_a_market_that_dies_alone_is_noticed_by_its_ticker(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    """Its deltas stop, no number is missing, and the other markets go on."""
    feed = make_feed(DoubtingFeed)
    heard = Recorder(feed)
    feed.start().subscribe(["orderbook_delta", "ticker"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.dead_books = [A]
    exchange.change(A, "yes", "0.41", 5)
    exchange.change(B, "no", "0.8", 1)
    wait_equal(feed, exchange, B)
    assert feed.book(A).is_live and sides(feed.book(A)) != exchange.book(A)
    hear_until(exchange, A, lambda: number_of(exchange, "get_snapshot"))
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: heard.kinds() == ["doubted_book"])
    told = [
        item for item in heard.received if getattr(item, "type", "") not in ("ticker", "orderbook_delta")
    ][-3:]
    # the loss first, then the snapshot
    assert told == [
        heard.faults[0],
        heard.gaps[0],
        heard.of("orderbook_snapshot")[-1],
    ]
    assert heard.gaps[0].market_tickers == (A,)
    assert exchange.commands[-1]["params"]["market_tickers"] == [A]
    exchange.change(A, "yes", "0.42", 5)  # dead again, and not asked for a second time within a minute
    for _ in range(100):
        exchange.ticker(A)
    exchange.change(B, "no", "0.8", 1)
    wait_equal(feed, exchange, B)
    assert number_of(exchange, "get_snapshot") == 1


def test_S29_a_market_that_dies_alone_is_noticed_by_its_trades(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(DoubtingFeed)
    feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.dead_books = [A]
    exchange.change(A, "no", "0.54", -7)
    # the asks at 0.46 and 0.50 are gone: trades at 0.90 are possible now
    exchange.change(A, "no", "0.50", -100)

    def trade() -> int:
        exchange.trade(A, "yes", "0.9", 1)
        return number_of(exchange, "get_snapshot")

    wait_until(trade)
    wait_equal(feed, exchange, A, B)


def test_S29_a_dead_market_that_answers_nothing_is_stale(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(DoubtingFeed)
    heard = Recorder(feed)
    feed.start().subscribe(["orderbook_delta", "ticker"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.dead_books = exchange.mute_books = [A]
    exchange.change(A, "yes", "0.41", 5)
    hear_until(exchange, A, lambda: not feed.book(A).is_live)
    wait_until(lambda: "1 book is STALE" in feed.health().reasons)
    wait_until(lambda: "no_snapshot" in heard.kinds())
    assert heard.kinds() == ["doubted_book", "no_snapshot"]
    assert feed.book(B).is_live and feed.stats().reconnects == 0
    exchange.behave()
    exchange.snapshot(A)
    wait_equal(feed, exchange, A, B)
    assert feed.health().is_ok


def test_S33_markets_that_move_are_never_suspected() -> None:
    """Books, tickers and trades of busy markets race all the time, without a single false alarm."""
    with Exchange(20, key_type="ed25519", rate=2000, seed=7) as busy:
        feed = DoubtingFeed(busy.credentials, url=busy.url, ssl_context=busy.ssl_context)
        heard = Recorder(feed)
        with feed:
            feed.subscribe(["orderbook_delta", "ticker", "trade"], busy.market_tickers).wait(5)
            wait_until(lambda: len(heard.of("ticker")) > 400 and len(heard.of("trade")) > 50, 20)
            busy.rate = 20  # quiet ones: their books stand still between their tickers
            before = len(heard.of("ticker"))
            wait_until(lambda: len(heard.of("ticker")) > before + 30, 20)
            busy.quiesce()
            wait_equal(feed, busy, *busy.market_tickers)
            assert heard.faults == [] and number_of(busy, "get_snapshot") == 0
            assert feed.state is FeedState.CONNECTED


# -- S35: the price scale of the no side ---------------------------------------------------------------------


@pytest.mark.parametrize("use_yes_price", [True, False])
def test_S35_the_convention_is_always_stated_and_the_book_the_same(
    use_yes_price: bool, exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(use_yes_price=use_yes_price)
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    witness.change(A, "no", "0.55", 3)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: heard.of("orderbook_delta"))
    (delta,) = heard.of("orderbook_delta")
    assert (delta.price, delta.price_dollars) == (Decimal("0.55"), "0.4500" if use_yes_price else "0.5500")
    assert feed.book(A).best_ask("yes") == (Decimal("0.45"), 3)
    exchange.reset()
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A, B)
    said = [c["params"]["use_yes_price"] for c in exchange.commands if c["cmd"] == "subscribe"]
    assert said == [use_yes_price, use_yes_price]
    assert feed.stats().faults == {}
    witness.check()


@pytest.mark.parametrize("use_yes_price", [True, False])
def test_S35_an_exchange_that_answers_in_the_other_convention_is_found_out(
    use_yes_price: bool, exchange: Exchange, make_feed: FeedMaker
) -> None:
    """A reversed no side offers far too much: the book is crossed, flagged and reported."""
    exchange.quirks.use_yes_price = not use_yes_price
    exchange.set_book(A, yes={"0.60": 10, "0.02": 5}, no={"0.38": 7, "0.01": 100})
    feed = make_feed(DoubtingFeed, use_yes_price=use_yes_price)
    heard = Recorder(feed)
    book = feed.start().wait_for_book(A, timeout=5)
    assert book.is_crossed
    wait_until(lambda: heard.kinds() == ["crossed_book"])


def test_S35_the_ticker_reveals_it_too(exchange: Exchange, make_feed: FeedMaker) -> None:
    """A reversed book need not be crossed. Then the ticker contradicts it, and the snapshot that the feed
    asks for confirms that."""
    exchange.quirks.use_yes_price = False
    feed = make_feed(DoubtingFeed)
    feed.start().subscribe(["orderbook_delta", "ticker"], A).wait(5)
    wait_until(lambda: feed.book(A).is_live)
    assert not feed.book(A).is_crossed and feed.book(A).best_ask("yes") != (Decimal("0.46"), 7)
    hear_until(exchange, A, lambda: number_of(exchange, "get_snapshot") == 1)


# -- S36: crossed --------------------------------------------------------------------------------------------


def test_S36_a_crossed_book_that_lasts_is_flagged_reported_and_asked_for_once(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(DoubtingFeed)
    heard, witness = Recorder(feed), Witness(feed, exchange)
    flags: list[bool] = []
    feed.on_book(lambda view: flags.append(view.is_crossed), market_tickers=A)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    assert not feed.book(A).is_crossed
    witness.change(A, "no", "0.61", 2)
    wait_equal(feed, exchange, A)
    view = feed.book(A).view()
    assert view.is_crossed and view.to_dict()["is_crossed"] and (view.spread() or 0) < 0
    wait_until(lambda: heard.kinds() == ["crossed_book"])
    assert heard.faults[0].context == {"market_ticker": A}
    wait_until(lambda: len(heard.of("orderbook_snapshot")) == 3)
    assert feed.book(A).is_live and feed.book(A).is_crossed  # the exchange itself says so
    for _ in range(50):
        witness.change(B, "no", "0.8", 1)
    wait_equal(feed, exchange, A, B)
    witness.change(A, "no", "0.61", -2)
    wait_equal(feed, exchange, A)
    assert not feed.book(A).is_crossed
    wait_until(lambda: flags[-1] is False and True in flags)
    assert heard.kinds() == ["crossed_book"] and number_of(exchange, "get_snapshot") == 1
    witness.check()


def test_S36_a_book_that_only_we_see_crossed_is_put_right(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(DoubtingFeed)
    heard = Recorder(feed)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    wrong = {"market_ticker": A, "side": "no", "price_dollars": "0.7000", "delta_fp": "5.00"}
    exchange.send("orderbook_delta", wrong, check=False)
    wait_until(lambda: feed.book(A).is_crossed)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: heard.kinds() == ["crossed_book", "doubted_book"])
    assert heard.gaps[0].market_tickers == (A,)
