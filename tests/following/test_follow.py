"""feed.follow() against a series of the simulator, live and in a replay."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import ConfigurationError, KalshiFeed, MarketChange, SubscriptionState
from kalshi_feed.books import store
from kalshi_feed.following import Following
from kalshi_feed.following.roster import STEPS
from kalshi_feed.messages.listed import Market
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange
from tests.support import wait_until

SERIES = "KXSIM15M"


class Watch:
    """What the callbacks of a feed have seen."""

    def __init__(self, feed: KalshiFeed) -> None:
        self.steps: dict[str, list[str]] = defaultdict(list)
        self.seen: dict[str, list[str]] = defaultdict(list)  # "snapshot", "trade"
        self.undescribed: list[str] = []  # markets whose snapshot came before anything was known about them
        self._feed = feed
        feed.on_market(self._on_market)
        feed.on_snapshot(self._on_snapshot)
        feed.on_trade(lambda trade: self.seen[trade.market_ticker].append("trade"))

    def _on_market(self, change: MarketChange) -> None:
        assert change.market.ticker == change.market_ticker and change.series_ticker == SERIES
        self.steps[change.market_ticker].append(change.change)

    def _on_snapshot(self, snapshot: Any) -> None:
        self.seen[snapshot.market_ticker].append("snapshot")
        if self._feed.book(snapshot.market_ticker).market is None:
            self.undescribed.append(snapshot.market_ticker)


@pytest.mark.slow
def test_a_series_from_beginning_to_end(
    exchange: Exchange, feed: KalshiFeed, rest: Rest, tmp_path: Path
) -> None:
    watch = Watch(feed)
    path = tmp_path / "series.ndjson"
    recording = feed.record(path)
    following = feed.follow(series=SERIES, lead=0.8, linger=0.5, rest=rest)
    assert following.wait(5) is following and following.market_tickers == ()
    assert following.state is SubscriptionState.ACTIVE
    assert any(thread.name == "kalshi-feed-follow" for thread in threading.enumerate())
    run = exchange.run_series(SERIES, every=1, length=2, markets=2, rounds=3, pace=50.0)
    run.wait_for(6, "settled", 15)
    tickers = set(run.market_tickers)
    wait_until(lambda: all(watch.steps[ticker] == list(STEPS) for ticker in tickers))
    wait_until(lambda: following.market_tickers == ())
    wait_until(lambda: not any(s["channel"] == "orderbook_delta" for s in exchange.subscriptions))
    assert set(watch.steps) == tickers and not watch.undescribed
    assert all("trade" in watch.seen[ticker] for ticker in tickers)
    assert [ticker for ticker in tickers if watch.seen[ticker][0] != "snapshot"] == []
    assert sum(exchange.rest_requests.values()) <= 4
    market = feed.book(run.market_tickers[0]).market
    assert market is not None and market.result in ("yes", "no") and market.title
    recording.close()

    replay = KalshiFeed.replay(path)
    past = Watch(replay)
    again = replay.follow(series=SERIES)
    most = 0

    @replay.on_market
    def _(change: MarketChange) -> None:
        nonlocal most
        most = max(most, len(again.market_tickers))

    with replay:
        replay.run_forever()
    assert past.steps == watch.steps and not past.undescribed and most >= 2


def test_what_is_open_already(exchange: Exchange, feed: KalshiFeed) -> None:
    rest = Rest(url=exchange.rest_url, ssl_context=exchange.ssl_context)
    run = exchange.run_series(SERIES, every=30, markets=3, rounds=1)
    run.wait_for(3, "opened")
    watch = Watch(feed)
    following = feed.follow(
        series=SERIES, where=lambda market: not market.ticker.endswith("-01"), limit=1, rest=rest
    )
    following.wait(5)
    wait_until(lambda: watch.seen)
    [ticker] = following.market_tickers
    assert ticker.endswith("-00") and following.markets[ticker].title
    assert {ticker[-3:]: steps for ticker, steps in watch.steps.items()} == {
        "-00": ["announced", "opened"],
        "-02": ["announced", "opened"],
    }
    feed.close()
    assert not any("kalshi-feed" in thread.name for thread in threading.enumerate())
    feed.start()
    wait_until(lambda: len(watch.seen[ticker]) > 1 and "snapshot" in watch.seen[ticker][1:])
    following.unsubscribe()
    wait_until(lambda: not exchange.subscriptions)
    assert following.state is SubscriptionState.CLOSED
    rest.close()


def never(market: Market) -> bool:
    raise AssertionError


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "a series or an event"),
        ({"series": "A", "event": "B"}, "a series or an event"),
        ({"series": "KXMVECROSS"}, "combos"),
        ({"series": "A", "channels": "communications"}, "cannot be followed"),
        ({"series": "A", "channels": ("trade", "fills")}, "'fills' cannot be followed: .*, fill, "),
        ({"series": "A", "lead": -1}, "lead"),
        ({"series": "A", "linger": float("nan")}, "linger"),
        ({"series": "A", "limit": 0}, "limit"),
        ({"series": "A", "where": 1}, "where"),
        ({"series": "A", "rest": 1}, "rest must be a Rest"),
        ({"series": "A"}, "KALSHI_REST_URL"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    exchange: Exchange, options: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KALSHI_REST_URL", raising=False)
    feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
    with pytest.raises(ConfigurationError, match=text):
        feed.follow(**options)
    assert feed.subscriptions == ()


def test_a_where_that_raises_means_no_and_is_reported(
    exchange: Exchange, feed: KalshiFeed, rest: Rest
) -> None:
    faults: list[Any] = []
    feed.on_error(faults.append)
    exchange.run_series(SERIES, every=30, rounds=1).wait_for(1, "opened")
    following: Following = feed.follow(series=SERIES, where=never, rest=rest).wait(5)
    wait_until(lambda: faults)
    assert faults[0].kind == "callback" and "where()" in faults[0].message
    assert following.market_tickers == ()


def create(exchange: Exchange, number: int, opens_in: int = 100, lasts: int = 900) -> str:
    """Create a market of the series; return its ticker."""
    ticker, now = f"{SERIES}-26NOV30-{number}", exchange.now_us() // 1_000_000
    opens = now + opens_in
    exchange.create_market(
        ticker, event_ticker=f"{SERIES}-26NOV30", open_ts=opens, close_ts=opens + lasts, opened=False
    )
    return ticker


@pytest.mark.parametrize("how", ["lost", "disconnected"])
@pytest.mark.greenlets
def test_S49_a_market_whose_message_was_lost_comes_from_rest(
    exchange: Exchange, feed: KalshiFeed, rest: Rest, how: str
) -> None:
    watch = Watch(feed)
    feed.follow(series=SERIES, rest=rest).wait(5)
    if how == "lost":
        exchange.lose(1, "market_lifecycle_v2")
        missed, heard = create(exchange, 1), create(exchange, 2)  # the second shows the gap
        wait_until(lambda: watch.steps[heard] == ["announced"])
    else:
        exchange.reject_next(1)
        exchange.disconnect()
        exchange.wait_for_connections(0)
        missed = create(exchange, 1)
    wait_until(lambda: watch.steps[missed] == ["announced"])
    assert feed.book(missed).market == rest.market(missed)


@pytest.mark.slow
def test_S50_while_rest_fails_messages_and_the_clock_go_on(exchange: Exchange, feed: KalshiFeed) -> None:
    faults: list[Any] = []
    feed.on_error(faults.append)
    watch = Watch(feed)
    exchange.refuse_rest(None, 503)
    with Rest(url=exchange.rest_url, ssl_context=exchange.ssl_context, retry_for=0.0) as rest:
        following = feed.follow(series=SERIES, rest=rest)
        wait_until(lambda: faults)
        assert (faults[0].kind, following.state) == ("rest", SubscriptionState.PENDING)
        ticker = create(exchange, 1, opens_in=2, lasts=1)
        wait_until(lambda: watch.seen[ticker] == ["snapshot"])
        assert watch.steps[ticker] == ["announced"]
        wait_until(lambda: watch.steps[ticker] == ["announced", "opened", "closed"])
        exchange.determine(ticker, "yes")
        wait_until(lambda: watch.steps[ticker][-1] == "determined")
        assert len(faults) == 1


def test_an_event_and_a_market_that_closes_early_and_opens_again(
    exchange: Exchange, feed: KalshiFeed, rest: Rest
) -> None:
    watch = Watch(feed)
    ticker = create(exchange, 1, opens_in=1)
    other = f"{SERIES}-26DEC01-1"
    now = exchange.now_us() // 1_000_000
    exchange.create_market(
        other, event_ticker=f"{SERIES}-26DEC01", open_ts=now + 1, close_ts=now + 900, opened=False
    )
    following = feed.follow(event=f"{SERIES}-26NOV30", linger=0.2, rest=rest).wait(5)
    assert following.market_tickers == (ticker,)
    wait_until(lambda: watch.steps[ticker] == ["announced", "opened"])
    exchange.update_close(ticker, now)
    wait_until(lambda: watch.steps[ticker][2:] == ["rescheduled", "closed"])
    wait_until(lambda: following.market_tickers == ())
    exchange.update_close(ticker, now + 900)
    wait_until(lambda: watch.steps[ticker][4:] == ["rescheduled", "opened"])
    wait_until(lambda: following.market_tickers == (ticker,))
    exchange.open_market(ticker, {"0.40": 10}, {"0.50": 10})  # which was due before
    exchange.deactivate(ticker)
    wait_until(lambda: watch.steps[ticker][6:] == ["paused"])
    exchange.activate(ticker)
    wait_until(lambda: watch.steps[ticker][7:] == ["resumed"])
    assert other not in watch.steps and other not in watch.seen


@pytest.mark.slow
def test_R39_the_wall_clock_is_set_while_it_follows(
    exchange: Exchange, feed: KalshiFeed, rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour forward, and then two back."""
    watch = Watch(feed)
    following = feed.follow(series=SERIES, lead=0.5, linger=0.2, rest=rest).wait(5)
    ticker, real = create(exchange, 1, opens_in=5, lasts=1), time.time
    opens = exchange.now_us() // 1_000_000 + 5
    wait_until(lambda: watch.steps[ticker] == ["announced"])
    for shift in (3600.0, -3600.0):
        before = exchange.rest_requests["/markets"]
        monkeypatch.setattr(time, "time", lambda shift=shift: real() + shift)
        wait_until(lambda before=before: exchange.rest_requests["/markets"] > before)  # type: ignore[misc]
    assert watch.steps[ticker] == ["announced"] and real() < opens + 0.5
    wait_until(lambda: "opened" in watch.steps[ticker])
    assert opens - 0.7 < real() < opens + 1.5
    wait_until(lambda: "closed" in watch.steps[ticker] and not following.market_tickers)
    assert opens + 0.3 < real() < opens + 3


def test_S51_an_event_that_is_not_named_after_its_series(
    exchange: Exchange, feed: KalshiFeed, rest: Rest
) -> None:
    watch = Watch(feed)
    feed.follow(series=SERIES, rest=rest).wait(5)
    opens = exchange.now_us() // 1_000_000 + 2
    for event, series in (("KXODD-1", SERIES), ("KXODD-2", "KXODD")):
        exchange.create_event(event, series_ticker=series)
        exchange.create_market(
            f"{event}-A", event_ticker=event, open_ts=opens, close_ts=opens + 60, opened=False
        )
    wait_until(lambda: watch.seen["KXODD-1-A"] == ["snapshot"])
    assert dict(watch.steps) == {"KXODD-1-A": ["announced"]}
    assert exchange.rest_requests["/markets"] == 2  # it did not come from there


def test_two_that_follow_the_same_market_report_each_change_once(
    exchange: Exchange, feed: KalshiFeed, rest: Rest
) -> None:
    """A series and one of its events; and one that follows again hears what is so already."""
    watch = Watch(feed)
    first = feed.follow(series=SERIES, linger=0.0, rest=rest).wait(5)
    second = feed.follow(event=f"{SERIES}-26NOV30", channels="ticker", linger=0.0, rest=rest).wait(5)
    tickers = [create(exchange, number, opens_in=1) for number in range(5)]
    wait_until(lambda: all(watch.steps[ticker] == ["announced", "opened"] for ticker in tickers))
    for ticker in tickers:
        exchange.open_market(ticker, {"0.40": 10}, {"0.50": 10})
        exchange.deactivate(ticker)
        exchange.activate(ticker)
    now = exchange.now_us() // 1_000_000
    exchange.update_close(tickers[0], now)
    wait_until(lambda: watch.steps[tickers[0]][2:] == ["paused", "resumed", "rescheduled", "closed"])
    wait_until(lambda: first.market_tickers == second.market_tickers == tuple(tickers[1:]))
    exchange.update_close(tickers[0], now + 900)
    again = ["rescheduled", "opened"]
    wait_until(lambda: watch.steps[tickers[0]][6:] == again and len(first.market_tickers) == 5)
    wait_until(lambda: len(second.market_tickers) == 5)
    assert watch.steps[tickers[1]][2:] == ["paused", "resumed"]
    second.unsubscribe()
    watch.steps.clear()
    feed.follow(event=f"{SERIES}-26NOV30", rest=rest).wait(5)
    wait_until(lambda: all(watch.steps[ticker] == ["announced", "opened"] for ticker in tickers))


def test_many_that_are_announced_at_once_are_described(
    exchange: Exchange, feed: KalshiFeed, rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store keeps the newest descriptions only, and those of markets that have a book."""
    monkeypatch.setattr(store, "_LEAST_MARKETS", 5)
    feed._engine.store._most_markets = 10
    watch = Watch(feed)
    feed.follow(series=SERIES, lead=1.0, rest=rest).wait(5)
    tickers = [create(exchange, number, opens_in=2) for number in range(30)]
    wait_until(lambda: all(watch.seen[ticker] for ticker in tickers))
    assert watch.undescribed == []
