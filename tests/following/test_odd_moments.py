"""What users do to a follow() at odd moments, and what happens when our own code breaks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kalshi_feed import FeedForkedError, KalshiFeed, KalshiFeedError, SubscriptionState, WaitTimeout
from kalshi_feed.following import Following, follower
from kalshi_feed.following.roster import Roster
from kalshi_feed.messages.listed import Market
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange
from kalshi_feed.threads import ServiceThread
from tests.support import end_if_it_hangs, wait_until

SERIES = "KXSIM15M"


def create(exchange: Exchange, number: int = 1, opens_in: int = 2) -> str:
    """Create a market of the series that is open for 15 minutes; return its ticker."""
    ticker, opens = f"{SERIES}-26NOV30-{number}", exchange.now_us() // 1_000_000 + opens_in
    exchange.create_market(
        ticker, event_ticker=f"{SERIES}-26NOV30", open_ts=opens, close_ts=opens + 900, opened=False
    )
    return ticker


def our_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if "follow" in one.name or "rest" in one.name]


def listed(exchange: Exchange) -> int:
    return exchange.rest_requests.get("/markets", 0)


def test_a_start_that_comes_after_the_close(exchange: Exchange, feed: KalshiFeed, rest: Rest) -> None:
    """As when a signal handler closes the feed in the middle of start(): the next start() still follows."""
    following = feed.follow(series=SERIES, rest=rest).wait(5)
    feed.close()
    assert following._follower is not None
    following._follower.start()
    wait_until(lambda: not our_threads())
    feed.start()
    ticker = create(exchange)
    wait_until(lambda: following.market_tickers == (ticker,))


def test_a_feed_that_fails_is_not_a_defect_of_follow(
    exchange: Exchange, feed: KalshiFeed, rest: Rest
) -> None:
    faults: list[Any] = []
    feed.on_error(faults.append)
    feed.follow(series=SERIES, rest=rest).wait(5)
    feed._engine.dispatcher.end_streams(KalshiFeedError("it has failed"))
    wait_until(lambda: not our_threads())
    assert faults == []


@pytest.mark.slow
def test_a_where_that_does_not_return(
    exchange: Exchange, feed: KalshiFeed, rest: Rest, caplog: pytest.LogCaptureFixture
) -> None:
    going_on, was_asked = threading.Event(), threading.Event()

    def where(market: Market) -> bool:
        was_asked.set()
        return going_on.wait(20)

    ticker = create(exchange)
    following = feed.follow(series=SERIES, where=where, rest=rest)
    assert was_asked.wait(5)
    with pytest.raises(WaitTimeout, match=r"where\(\) has been running for"):
        following.wait(1.1)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "kalshi_feed"):
        feed.close(0.2)
    assert time.monotonic() - began < 2 and "where() has not returned" in caplog.text
    feed.start()
    assert following.market_tickers == ()
    going_on.set()
    wait_until(lambda: following.market_tickers == (ticker,))


def test_a_defect_of_our_own_is_reported_and_what_it_lost_is_listed(
    exchange: Exchange, feed: KalshiFeed, rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[Any] = []
    feed.on_error(faults.append)
    monkeypatch.setattr(follower, "_AFTER_DEFECT", 0.1)
    following = feed.follow(series=SERIES, rest=rest).wait(5)
    before = listed(exchange)

    def broken(*_: object) -> bool:
        monkeypatch.undo()
        raise AssertionError("broken")

    monkeypatch.setattr(Roster, "heard", broken)
    ticker = create(exchange)
    wait_until(lambda: following.market_tickers == (ticker,))
    [fault] = faults
    assert fault.kind == "defect" and "AssertionError('broken')" in fault.message
    assert listed(exchange) > before


@pytest.mark.parametrize("where", ["Rest", "thread"])
def test_a_list_that_breaks_is_asked_for_again(
    exchange: Exchange, feed: KalshiFeed, rest: Rest, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    faults: list[Any] = []
    feed.on_error(faults.append)
    monkeypatch.setattr(follower, "_AFTER_DEFECT", 0.1)
    monkeypatch.setattr(follower, "FIRST_RETRY", 0.1)
    start = ServiceThread.start

    def broken(*arguments: Any, **_: object) -> None:
        if where == "Rest" or arguments[0].name.endswith("-rest"):
            monkeypatch.undo()
            raise RuntimeError("broken")
        start(*arguments)

    if where == "Rest":
        monkeypatch.setattr(Rest, "markets", broken)
    else:
        monkeypatch.setattr(ServiceThread, "start", broken)
    feed.follow(series=SERIES, rest=rest).wait(5)
    assert [fault.kind for fault in faults] == ["defect" if where == "Rest" else "rest"]


@pytest.mark.slow
@pytest.mark.greenlets
def test_S50_a_rest_that_does_not_answer_holds_up_nothing(exchange: Exchange, feed: KalshiFeed) -> None:
    exchange.rest_down = "hang"
    with Rest(url=exchange.rest_url, ssl_context=exchange.ssl_context, timeout=2.5, retry_for=0) as rest:
        following = feed.follow(series=SERIES, rest=rest)
        wait_until(lambda: "kalshi-feed-rest" in our_threads())
        ticker = create(exchange)
        wait_until(lambda: following.market_tickers == (ticker,))
        began = time.monotonic()
        feed.close()
        assert time.monotonic() - began < 2
        wait_until(lambda: not our_threads())


def test_close_waits_for_what_unsubscribe_has_ended(exchange: Exchange, feed: KalshiFeed, rest: Rest) -> None:
    exchange.rest_delay = 0.2
    for _ in range(3):
        following = feed.follow(series=SERIES, rest=rest)
        wait_until(lambda: "kalshi-feed-rest" in our_threads())
        following.unsubscribe()
    feed.close()
    assert not our_threads()
    feed.follow(series=SERIES, rest=rest)
    assert len(feed._engine.companions) == 1  # what has ended is not kept


@pytest.mark.greenlets
@pytest.mark.parametrize("place", ["where", "on_market"])
def test_everything_can_be_called_on_the_feeds_threads(
    exchange: Exchange, feed: KalshiFeed, rest: Rest, place: str
) -> None:
    """close(), start(), follow() and unsubscribe() in where() and in a callback."""
    seen: list[str] = []
    calls: list[Any] = []
    following: Following | None = None

    def call(about: object) -> bool:
        if following is not None and not calls:
            calls.append(feed.follow(event="KXOTHER-1", rest=rest))
            calls[0].unsubscribe()
            feed.close()
            wait_for = 0 if place == "on_market" else 1  # a callback cannot: the feed waits for it
            calls.append(wait_for)
            if wait_for:
                feed.start()
        return True

    if place == "on_market":
        feed.on_market(call)
    feed.on_market(lambda change: seen.append(change.change))
    following = feed.follow(series=SERIES, where=call if place == "where" else None, rest=rest)
    following.wait(5)
    ticker = create(exchange, opens_in=1)
    wait_until(lambda: len(calls) == 2)
    if place == "on_market":
        wait_until(lambda: not our_threads())
        feed.start()
    wait_until(lambda: following.market_tickers == (ticker,) and "opened" in seen)
    following.unsubscribe()
    assert following.state is SubscriptionState.CLOSED and feed.subscriptions == ()


def test_nothing_is_left_of_a_follow_that_cannot_start(
    exchange: Exchange, feed: KalshiFeed, rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: ServiceThread) -> None:
        raise RuntimeError("can't start new thread")

    feed.start()
    monkeypatch.setattr(ServiceThread, "start", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        feed.follow(series=SERIES, rest=rest)
    assert feed.subscriptions == ()


def test_a_lifecycle_channel_that_is_refused(exchange: Exchange, feed: KalshiFeed, rest: Rest) -> None:
    exchange.refuse_commands(8, "Unknown channel name", "subscribe")
    following = feed.follow(series=SERIES, rest=rest)
    wait_until(lambda: following.state is SubscriptionState.FAILED)
    assert following.error is not None and following.error.code == 8


def test_in_a_forked_child(exchange: Exchange, feed: KalshiFeed, rest: Rest) -> None:
    following = feed.follow(series=SERIES, rest=rest).wait(5)
    child = os.fork()
    if child == 0:
        end_if_it_hangs()
        try:
            assert SERIES in repr(following)
            for name in ("market_tickers", "markets", "state", "sids", "channels", "error"):
                with pytest.raises(FeedForkedError):
                    getattr(following, name)
            with pytest.raises(FeedForkedError):
                following.wait(1)
            with pytest.raises(FeedForkedError):
                following.unsubscribe()
            feed.close()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ticker = create(exchange)
    wait_until(lambda: following.market_tickers == (ticker,))


def test_a_market_that_is_refused_does_not_end_the_following(
    exchange: Exchange, feed: KalshiFeed, rest: Rest
) -> None:
    """Although it was the only one at the time, as it is in a series of 15 minutes."""
    following = feed.follow(series=SERIES, channels="orderbook_delta", rest=rest).wait(5)
    exchange.refuse_commands(26, "Market limit reached", "subscribe")
    first = create(exchange, 1)
    wait_until(lambda: following.error is not None)
    assert following.state is SubscriptionState.FAILED
    second = create(exchange, 2)
    wait_until(lambda: following.sids)
    assert [s["market_tickers"] for s in exchange.subscriptions if s["market_tickers"]] == [[second]]
    assert following.state is SubscriptionState.ACTIVE and following.market_tickers == (first, second)


def test_a_feed_that_fails_between_two_streams_is_not_a_defect(feed: KalshiFeed, rest: Rest) -> None:
    following = feed.follow(series=SERIES, rest=rest)
    dispatcher = feed._engine.dispatcher
    events = dispatcher.stream("event_lifecycle")
    dispatcher.end_streams(KalshiFeedError("fatal"))
    assert following._follower is not None
    following._follower._hear(events)


class ClockSetter(Rest):
    """The machine's clock is set when the first list has just been answered."""

    set_clock: Callable[[], None] | None

    def markets(self, **query: Any) -> Iterator[Market]:
        yield from super().markets(**query)
        if query["status"] == "open" and self.set_clock is not None:  # the last request of a list
            self.set_clock()
            self.set_clock = None


def test_R39_the_clock_is_set_while_rest_answers(
    exchange: Exchange, feed: KalshiFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What REST has said about the clock until then is not about the clock that we have now."""
    exchange.clock_offset, real = 180.0, time.time
    with ClockSetter(url=exchange.rest_url, ssl_context=exchange.ssl_context) as rest:
        rest.set_clock = lambda: monkeypatch.setattr(time, "time", lambda: real() - 3600)
        following = feed.follow(series=SERIES, rest=rest).wait(5)
        first = listed(exchange)
        follower = following._follower
        assert follower is not None
        assert abs(follower._now() - exchange.now_us() / 1e6) < 2
        wait_until(lambda: listed(exchange) > first)
        assert abs(follower._now() - exchange.now_us() / 1e6) < 2
