"""S23-S28, S30, S37, S38: refusals, endings, silence, many markets, changes of mind. More in
tests/feed/test_subscriptions*.py."""

# mypy: no-strict-equality

from __future__ import annotations

import pytest

from kalshi_feed import BookStatus, FeedState, KalshiFeed, SubscriptionError, SubscriptionState
from kalshi_feed.simulator import Exchange
from tests.faults.witness import Witness, actions, number_of
from tests.feed.support import A, B, FeedMaker, HurriedFeed, Recorder, in_thread, wait_equal
from tests.support import wait_until

C = "KXTEST-26-C"


def test_S23_a_refusal_reaches_everyone_who_waits_and_is_not_retried(
    exchange: Exchange, feed: KalshiFeed
) -> None:
    feed.wait_for_book(B, timeout=5)
    exchange.freeze()
    exchange.refuse_commands(11, "Invalid parameter", cmd="update_subscription")
    subscription = feed.subscribe("orderbook_delta", A)
    waits = [in_thread(lambda: subscription.wait(30)), in_thread(lambda: feed.wait_for_book(A, timeout=30))]
    waits.append(in_thread(lambda: subscription.wait(30)))
    exchange.thaw()
    for wait in waits:
        error = wait.ended()
        assert isinstance(error, SubscriptionError) and (error.code, error.market_tickers) == (11, (A,))
    exchange.change(B, "no", "0.8", 1)
    wait_equal(feed, exchange, B)
    assert actions(exchange) == ["subscribe", "add_markets"]


@pytest.mark.parametrize("code", [10, 17, 25])
def test_S24_a_terminal_error_that_names_no_subscription(
    code: int, exchange: Exchange, make_feed: FeedMaker
) -> None:
    """The feed does not know which subscription is dead, so it vouches for none of the books: a new
    connection."""
    feed = make_feed(HurriedFeed)
    heard, witness = Recorder(feed), Witness(feed, exchange)
    feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.error(code)
    wait_until(lambda: feed.stats().reconnects == 1)
    witness.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A, B)
    wait_until(lambda: FeedState.RECONNECTING in heard.steps())
    assert f"error {code}" in heard.states[2].reason
    witness.check()


def test_S24_a_subscription_that_dies_again_and_again_is_asked_for_more_and_more_slowly(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(HurriedFeed)
    heard = Recorder(feed)
    feed.start().subscribe("orderbook_delta", [A, B]).wait(5)
    for deaths in range(1, 6):
        wait_equal(feed, exchange, A, B)
        exchange.error(25, channel="orderbook_delta")
        wait_until(lambda: len(heard.gaps) == deaths)  # noqa: B023
        assert {feed.book(t).status for t in (A, B)} <= {BookStatus.STALE, BookStatus.LIVE}
    wait_equal(feed, exchange, A, B)
    assert actions(exchange) == ["subscribe"] * 6
    assert feed.stats().reconnects == 0


def test_S26_already_subscribed_is_looked_up_and_set_right(exchange: Exchange, make_feed: FeedMaker) -> None:
    """The code is retired. If it comes anyway, the list of subscriptions shows what exists."""
    feed = make_feed(HurriedFeed).start()
    feed.wait_until_connected(5)
    exchange.refuse_commands(6, "Already subscribed", cmd="subscribe", n=3)
    subscription = feed.subscribe("orderbook_delta", [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    assert subscription.state is SubscriptionState.ACTIVE
    assert number_of(exchange, "subscribe") == 4 and number_of(exchange, "list_subscriptions") <= 4
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A, B)
    assert feed.stats().reconnects == 0


def test_S27_a_market_that_the_exchange_refuses_by_name(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.add_market(C, yes={"0.3": 1})
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    exchange.corrupt(
        {"type": "error", "msg": {"code": 16, "msg": "no", "market_ticker": C}},
        remove=("sid", "seq"),
        type="ok",
    )
    exchange.quirks.replies_have_seq = False
    subscription = feed.subscribe("orderbook_delta", [B, C])
    with pytest.raises(SubscriptionError) as refused:
        subscription.wait(5)
    assert (refused.value.code, refused.value.market_tickers) == (16, (C,))
    wait_equal(feed, exchange, A, B)
    assert feed.book(C).status is BookStatus.CLOSED
    assert (subscription.error and subscription.error.code, set(feed.books)) == (16, {A, B})
    assert heard.gaps == []


@pytest.mark.parametrize("lost", ["add_markets", "delete_markets", "unsubscribe", "list_subscriptions"])
def test_S28_no_answer_to_any_other_command(lost: str, exchange: Exchange, make_feed: FeedMaker) -> None:
    """The feed asks once more after the deadline. Without a second answer, it replaces the connection."""
    feed = make_feed(HurriedFeed)
    subscription = feed.start().subscribe("orderbook_delta", [A]).wait(5)
    wait_equal(feed, exchange, A)
    if lost == "delete_markets":
        subscription.add_markets(B).wait(5)
    exchange.ignore_commands(n=2)
    if lost == "add_markets":
        subscription.add_markets(B)
    elif lost == "delete_markets":
        subscription.delete_markets(B)
    elif lost == "unsubscribe":
        subscription.unsubscribe()
    else:
        assert feed.list_subscriptions(5)
    wait_until(lambda: feed.stats().reconnects == 1)
    wanted = {"add_markets": [A, B], "unsubscribe": []}.get(lost, [A])
    wait_equal(feed, exchange, *wanted)
    wait_until(lambda: [t for s in exchange.subscriptions for t in s["market_tickers"]] == wanted)
    on_the_first = [c for c in exchange.commands if c["connection"] == 0]
    assert actions(exchange)[: len(on_the_first)].count(lost) == 2


def test_S30_an_end_that_crosses_our_own_is_not_a_reason_to_subscribe_again(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(HurriedFeed)
    heard = Recorder(feed)
    subscription = feed.start().subscribe("orderbook_delta", A).wait(5)
    other = feed.subscribe("trade", A).wait(5)
    exchange.silence()
    exchange.end_subscription("orderbook_delta")
    subscription.unsubscribe()
    exchange.wait_for_command("unsubscribe")
    exchange.thaw()
    other.add_markets(B).wait(5)
    wait_until(lambda: number_of(exchange, "unsubscribe") == 1 and "exchange_error" in heard.kinds())
    assert [s["channel"] for s in exchange.subscriptions] == ["trade"]
    assert number_of(exchange, "subscribe") == 2 and feed.stats().reconnects == 0
    assert feed.book(A).status is BookStatus.CLOSED


def test_S37_five_thousand_markets_in_parts_and_at_a_pace(exchange: Exchange, feed: KalshiFeed) -> None:
    tickers = [f"KXMANY-{n:04d}" for n in range(5000)]
    for ticker in tickers:
        exchange.add_market(ticker, yes={"0.5": 1}, no={"0.4": 2})
    exchange.command_limit = (
        50  # changes of a subscription per second; a client without pacing would get error 27
    )
    subscription = feed.subscribe("orderbook_delta", tickers).wait(20)
    wait_until(
        lambda: (
            all(feed.books[t].is_live for t in tickers[::50]) and all(b.is_live for b in feed.books.values())
        ),
        20,
    )
    sent = exchange.commands
    assert [len(c["params"]["market_tickers"]) for c in sent] == [500] * 10
    assert feed.stats().faults == {}
    exchange.lose(type="orderbook_delta")
    exchange.change(tickers[7], "yes", "0.5", 1)
    exchange.change(tickers[8], "yes", "0.5", 1)
    wait_until(lambda: feed.stats().resyncs == 1, 20)
    assert all(book.is_live for book in feed.books.values())
    assert [len(c["params"]["market_tickers"]) for c in exchange.commands[10:]] == [500] * 10
    subscription.request_snapshot()
    wait_until(lambda: number_of(exchange, "get_snapshot") == 20)
    subscription.delete_markets(*tickers[1:])
    wait_until(lambda: [s["market_tickers"] for s in exchange.subscriptions] == [tickers[:1]], 20)
    wait_equal(feed, exchange, tickers[0])
    assert (feed.stats().reconnects, feed.stats().faults) == (0, {})


def test_S37_where_one_command_may_name_fewer_markets_the_parts_are_smaller(
    exchange: Exchange, feed: KalshiFeed
) -> None:
    """We do not know whether there is such a limit (PROTOCOL.md 11)."""
    tickers = [f"KXMANY-{n:04d}" for n in range(600)]
    for ticker in tickers:
        exchange.add_market(ticker, yes={"0.5": 1})
    exchange.tickers_per_command = 150
    subscription = feed.subscribe("orderbook_delta", tickers).wait(10)
    wait_equal(feed, exchange, *tickers, timeout=10)
    assert subscription.error is None
    assert all(len(c["params"]["market_tickers"]) <= 150 for c in exchange.commands[2:])


def test_S38_the_last_wish_wins_whatever_is_in_flight(exchange: Exchange, feed: KalshiFeed) -> None:
    """The user's mind changes many times before the exchange has answered the first command."""
    exchange.add_market(C, yes={"0.3": 1})
    feed.wait_until_connected(5)
    exchange.freeze()
    for tickers in ([A], [B], [A, B], [C]):
        feed.subscribe("orderbook_delta", tickers).unsubscribe()
    kept = feed.subscribe("orderbook_delta", [A])
    kept.add_markets(B, C)
    kept.delete_markets(A)
    exchange.thaw()
    kept.wait(5)
    wait_equal(feed, exchange, B, C)
    wait_until(lambda: [sorted(s["market_tickers"]) for s in exchange.subscriptions] == [[B, C]])
    assert feed.book(A).status is BookStatus.CLOSED
    # no subscription that the feed does not know of
    assert dict(feed.list_subscriptions(5)) == dict(kept.sids)
    exchange.change(B, "no", "0.8", 1)
    wait_equal(feed, exchange, B, C)
    assert feed.stats().gaps == 0
