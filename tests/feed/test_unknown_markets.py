"""S39: markets that the exchange does not know, as users see them. R35, R36: books no longer wanted."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

import kalshi_feed
from kalshi_feed import BookStatus, BookView, KalshiFeed, StaleBookError, UnknownMarketError, WaitTimeout
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.support import wait_until

from .support import A, B, CuriousFeed, FeedMaker, Recorder, in_thread, sides, wait_equal

TYPO = "KXTYPO-26-A"


def actions(exchange: Exchange) -> list[str]:
    return [command["params"].get("action", command["cmd"]) for command in exchange.commands]


def test_S39_wait_for_book_raises_on_the_exchanges_answer(exchange: Exchange, feed: KalshiFeed) -> None:
    heard, views = Recorder(feed), list[BookView]()
    feed.on_book(views.append)
    with pytest.raises(
        UnknownMarketError,
        match=f"the exchange does not know the market {TYPO}: write the market's whole ticker",
    ) as caught:
        feed.wait_for_book(TYPO, timeout=5)
    assert (caught.value.market_ticker, caught.value.status, caught.value.was_known) == (
        TYPO,
        "UNKNOWN",
        False,
    )
    assert isinstance(caught.value, StaleBookError)
    book = feed.book(TYPO)
    assert book.status is BookStatus.UNKNOWN and not book.is_live and book.bids() == ()
    with pytest.raises(UnknownMarketError):
        book.view(require_live=True)
    assert not book.view().is_live and book.to_dict()["status"] == "UNKNOWN"
    assert feed.wait_for_book(A, timeout=5).is_live, "the others are unharmed"
    assert (
        feed.health().reasons == (f"1 market is unknown to the exchange: {TYPO}",)
        and feed.health().status == "degraded"
    )
    wait_until(lambda: heard.kinds() == ["unknown_market"])
    assert str(heard.faults[0].error) == str(caught.value) == heard.faults[0].message
    wait_until(
        lambda: [view.status for view in views if view.market_ticker == TYPO][-1:] == [BookStatus.UNKNOWN]
    )


def test_S39_lower_case_is_named(exchange: Exchange, feed: KalshiFeed) -> None:
    with pytest.raises(UnknownMarketError, match=f"write it in uppercase: {A}"):
        feed.wait_for_book(A.lower(), timeout=5)


def test_S39_wait_for_book_asks_once_more(exchange: Exchange, feed: KalshiFeed) -> None:
    feed.wait_for_book(A, timeout=5)
    for _ in range(2):
        with pytest.raises(UnknownMarketError):
            feed.wait_for_book(TYPO, timeout=5)
    assert actions(exchange) == ["subscribe", "add_markets", "delete_markets", "add_markets"]
    exchange.add_market(TYPO, yes={"0.30": 3})
    assert feed.wait_for_book(TYPO, timeout=5).bids()[0].quantity == 3
    exchange.change(TYPO, "yes", "0.30", 4)
    wait_equal(feed, exchange, TYPO)
    assert feed.health().is_ok and feed.subscriptions[0].state.value == "ACTIVE"


def test_S39_an_answer_that_comes_at_once_is_the_first_one(
    exchange: Exchange, feed: KalshiFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = inside.engine(feed).requests
    want_book = requests.want_book

    def want_and_be_answered(market_ticker: str) -> None:
        want_book(market_ticker)
        wait_until(lambda: feed.book(market_ticker).status is BookStatus.UNKNOWN)

    monkeypatch.setattr(requests, "want_book", want_and_be_answered)
    with pytest.raises(UnknownMarketError):
        feed.wait_for_book(TYPO, timeout=5)
    assert actions(exchange) == ["subscribe"]


def test_S39_it_becomes_live_by_itself_when_the_market_comes_to_be(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(CuriousFeed).start()
    feed.subscribe("orderbook_delta", [A, TYPO])
    wait_until(lambda: feed.book(TYPO).status is BookStatus.UNKNOWN)
    wait_until(lambda: actions(exchange).count("delete_markets") >= 2)
    exchange.add_market(TYPO, yes={"0.30": 3})
    wait_until(lambda: feed.book(TYPO).is_live)
    exchange.change(TYPO, "no", "0.30", 4)
    wait_equal(feed, exchange, TYPO)


def test_S39_it_becomes_live_as_soon_as_it_was_created(exchange: Exchange, feed: KalshiFeed) -> None:
    feed.subscribe("market_lifecycle_v2")
    feed.subscribe("orderbook_delta", [A, TYPO])
    wait_until(lambda: feed.book(TYPO).status is BookStatus.UNKNOWN)
    exchange.create_market(TYPO, yes={"0.30": 3})
    exchange.change(TYPO, "no", "0.30", 4)
    wait_equal(feed, exchange, TYPO)


def test_S39_a_market_that_is_over_is_reported_and_does_not_degrade(
    exchange: Exchange, feed: KalshiFeed
) -> None:
    heard = Recorder(feed)
    subscription = feed.subscribe("orderbook_delta", [A, B])
    feed.wait_for_book(A, timeout=5)
    feed.wait_for_book(B, timeout=5)
    exchange.remove_market(A)
    subscription.request_snapshot(A)
    wait_until(lambda: feed.book(A).status is BookStatus.UNKNOWN)
    assert feed.health().is_ok
    with pytest.raises(
        UnknownMarketError, match=f"no longer knows the market {A}: the market is over"
    ) as caught:
        feed.wait_for_book(A, timeout=5)
    assert caught.value.was_known
    wait_until(lambda: heard.kinds() == ["unknown_market"])


def test_S39_a_wait_ends_with_its_timeout_when_no_one_answers(exchange: Exchange, feed: KalshiFeed) -> None:
    with pytest.raises(UnknownMarketError):
        feed.wait_for_book(TYPO, timeout=5)
    exchange.mute_books = {TYPO}
    with pytest.raises(WaitTimeout, match=f"no snapshot of {TYPO} has come; its book is UNKNOWN"):
        feed.wait_for_book(TYPO, timeout=0.1)


# -- R36 -----------------------------------------------------------------------------------------------------


def test_R36_wait_for_update_ends_when_the_book_is_no_longer_wanted(
    exchange: Exchange, feed: KalshiFeed
) -> None:
    book = feed.wait_for_book(A, timeout=5)
    call = in_thread(book.wait_for_update)
    wait_until(lambda: inside.waiters(feed) == 1)
    feed.subscriptions[0].unsubscribe()
    assert call.result().status is BookStatus.CLOSED, "that is the update"
    with pytest.raises(StaleBookError, match=rf"book of {A} is CLOSED.*no longer subscribed"):
        book.wait_for_update()
    waiting = in_thread(lambda: book.wait_for_update(after=10**9))
    assert isinstance(waiting.ended(), StaleBookError)
    assert feed.wait_for_book(A, timeout=5) is book and book.is_live, "it comes back to life"


def test_R36_a_wait_for_more_than_the_end_is_woken_too(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    waiting = in_thread(lambda: book.wait_for_update(after=10**9))
    wait_until(lambda: inside.waiters(feed) == 1)
    feed.subscriptions[0].unsubscribe()
    assert isinstance(waiting.ended(), StaleBookError)


def test_R36_wait_for_update_of_a_book_that_was_never_wanted(exchange: Exchange, feed: KalshiFeed) -> None:
    with pytest.raises(StaleBookError, match=r"PENDING.*subscribes if necessary"):
        feed.book(B).wait_for_update()


def test_R36_wait_for_book_is_woken_when_someone_unsubscribes(exchange: Exchange, feed: KalshiFeed) -> None:
    exchange.mute_books = {A}
    call = in_thread(lambda: feed.wait_for_book(A))
    wait_until(lambda: inside.waiters(feed) == 1)
    feed.subscriptions[0].unsubscribe()
    error = call.ended()
    assert isinstance(error, StaleBookError) and error.status == "CLOSED"


def test_R36_before_the_start_a_wait_is_ended_too(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    subscription = feed.subscribe("orderbook_delta", [A])
    book = feed.book(A)
    call = in_thread(lambda: book.wait_for_update(after=10**9))
    wait_until(lambda: inside.waiters(feed) == 1)
    subscription.unsubscribe()
    assert isinstance(call.ended(), StaleBookError)


# -- R35 -----------------------------------------------------------------------------------------------------


def test_R35_a_market_neither_wanted_nor_held_is_forgotten(exchange: Exchange, feed: KalshiFeed) -> None:
    views: list[BookView] = []
    feed.on_book(views.append)
    feed.wait_for_book(B, timeout=5)
    tickers = [f"KXDAY-{n}" for n in range(100)]
    for ticker in tickers:
        exchange.add_market(ticker, yes={"0.30": 3})
        subscription = feed.subscribe("orderbook_delta", [ticker])
        assert feed.wait_for_book(ticker, timeout=5).is_live
        subscription.unsubscribe()
    wait_until(lambda: set(inside.store(feed).books) == {B}, what="forgetting")

    def closed() -> list[str | None]:
        return [
            *dict.fromkeys(view.market_ticker for view in tuple(views) if view.status is BookStatus.CLOSED)
        ]

    wait_until(lambda: closed() == tickers, what="on_book of the end")
    gc.collect()
    assert set(inside.store(feed)._handles) <= {B, tickers[-1]}
    assert inside.store(feed).view(tickers[0]) is None and set(feed.books) == {B}


def test_R35_a_handle_still_held_stays_readable_and_comes_back(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    levels, version = sides(book), book.version
    feed.subscriptions[0].unsubscribe()
    wait_until(lambda: inside.store(feed).books == {})
    assert book.status is BookStatus.CLOSED and sides(book) == levels and feed.book(A) is book
    assert feed.wait_for_book(A, timeout=5) is book and book.version > version
    exchange.change(A, "yes", "0.01", 1)
    wait_equal(feed, exchange, A)


def test_R35_on_book_hears_of_the_end_however_late_it_is(exchange: Exchange, feed: KalshiFeed) -> None:
    views, held = list[BookView](), threading.Event()

    def slow(view: BookView) -> None:
        held.wait(5)
        views.append(view)

    feed.wait_for_book(B, timeout=5)
    feed.on_book(slow)
    exchange.change(B, "yes", "0.01", 1)
    feed.wait_for_book(A, timeout=5)
    feed.subscriptions[1].unsubscribe()
    wait_until(lambda: A not in inside.store(feed).books)
    gc.collect()
    held.set()
    wait_until(lambda: [v.status.value for v in views if v.market_ticker == A][-1:] == ["CLOSED"])
    wait_until(lambda: A not in inside.store(feed)._handles)


def test_R35_handles_are_made_and_dropped_by_many_threads(exchange: Exchange, feed: KalshiFeed) -> None:
    """A market's handle is one object for everyone who holds it."""
    exchange.set_book(A, yes={"0.30": 3})
    stop, wrong = threading.Event(), list[Any]()

    def hold() -> None:
        while not stop.is_set():
            first, second = feed.book(A), feed.book(A)
            if first is not second or first._book is not second._book:
                wrong.append((first, second))

    calls = [in_thread(hold) for _ in range(3)]
    for _ in range(50):
        subscription = feed.subscribe("orderbook_delta", [A])
        book = feed.wait_for_book(A, timeout=5)
        if book is not feed.book(A):
            wrong.append(book)
        del book
        subscription.unsubscribe()
    stop.set()
    for call in calls:
        call.result()
    assert wrong == []


def test_the_new_names_are_public() -> None:
    assert (
        kalshi_feed.UnknownMarketError is UnknownMarketError and BookStatus("UNKNOWN") is BookStatus.UNKNOWN
    )
