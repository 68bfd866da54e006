"""Gaps that are filled while something else goes wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kalshi_feed import FeedState, ReconnectPolicy
from kalshi_feed.engine import holding, holes
from kalshi_feed.engine.metering import Metering
from kalshi_feed.filling import filler, jobs
from kalshi_feed.filling.filler import Filler
from kalshi_feed.messages import from_rest
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange
from tests.support import wait_until

from .support import (
    A,
    B,
    Heard,
    back,
    disconnect,
    engine_of,
    filling,
    is_holding_some,
    one_missed,
    replayed,
    rest_of,
    subscribed,
    trade,
)


def test_a_checkpoint_while_trades_wait(exchange: Exchange, rest: Rest, tmp_path: Path) -> None:
    """As after inputs that the recording had to leave out: no trade is delivered twice in the replay."""
    path = tmp_path / "all.ndjson"
    with filling(exchange, rest, fill_timeout=60) as feed:
        heard = Heard(feed)
        feed.record(path)
        exchange.rest_down = 503
        one_missed(exchange, feed, heard)
        trade(exchange, 3)
        wait_until(lambda: is_holding_some(feed))
        with engine_of(feed).store.lock:
            tap = engine_of(feed).tap
            assert tap is not None
            tap.renewed(time.monotonic())
        exchange.rest_down = None
        wait_until(lambda: heard.gaps)
    assert heard.prices(A) == "1 [2] 3" == replayed(path).prices(A)


def test_a_gap_begins_while_one_that_knows_enough_goes_on(
    exchange: Exchange, rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both end. A market that is wanted already is not subscribed to too late."""
    monkeypatch.setattr(holes, "_MOST_KNOWN", 2)
    with filling(exchange, rest, reconnect=ReconnectPolicy(initial_delay=0.5, max_delay=0.5)) as feed:
        heard = Heard(feed)
        subscribed(feed, "trade", markets=A)
        trade(exchange, 1, 2)
        wait_until(lambda: len(heard.trades) == 2)
        disconnect(exchange)
        wait_until(lambda: feed.state is FeedState.RECONNECTING)
        engine = engine_of(feed)
        engine.missed(("trade",), (A, B), engine.exchange_time())
        trade(exchange, 3)
        wait_until(lambda: len(heard.gaps) == 2)
    assert {gap.market_tickers for gap in heard.gaps} == {(A,), (B,)}
    assert heard.prices(A) == "1 2 [3]"


def test_what_is_read_between_two_dials_does_not_overflow_the_queue(
    exchange: Exchange, rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holes, "_MERGE", 0.0)
    monkeypatch.setattr(jobs, "_AT_ONCE", 2)
    policy = ReconnectPolicy(initial_delay=0.6, max_delay=0.6)
    with filling(exchange, rest, queue_size=8, fill_timeout=0, reconnect=policy) as feed:
        heard = Heard(feed)
        subscribed(feed, "trade", markets=A)
        exchange.rest_down = 503
        disconnect(exchange)
        trade(exchange, *range(1, 41))
        back(feed)
        trade(exchange, 41)
        wait_until(lambda: heard.trades)
        disconnect(exchange)
        exchange.rest_down = None
        wait_until(lambda: len(heard.gaps) == 2)
        assert feed.stats().dropped == 0
    assert len(heard.trades) == 41


def test_a_failure_long_after_a_gap_is_not_its_end(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes long, such as hours of fill_since, is not given up because of one failure."""
    monkeypatch.setattr(filler, "GIVE_UP", 0.5)
    with rest_of(exchange, timeout=1.0) as rest, filling(exchange, rest) as feed:
        heard = Heard(feed)

        def recover(_: object) -> None:
            exchange.rest_down = None

        feed.on_error(recover)
        subscribed(feed, "trade", markets=A)
        exchange.rest_down = "hang"
        disconnect(exchange)
        trade(exchange, 1)
        back(feed)
        wait_until(lambda: heard.gaps)
    assert heard.gap("trade").complete and heard.prices(A) == "[1]"


def test_more_trades_than_are_remembered(
    exchange: Exchange, rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is delivered again when REST is asked again."""
    monkeypatch.setattr(holding, "_MOST_IDS", 4)
    monkeypatch.setattr(jobs, "_MANY", 4)
    monkeypatch.setattr(jobs, "_TAIL", 0.01)
    with filling(exchange, rest, fill_timeout=0) as feed:
        heard = Heard(feed)
        subscribed(feed, "trade", markets=A)
        disconnect(exchange)
        trade(exchange, *range(1, 21))
        back(feed)
        wait_until(lambda: heard.gaps)
    assert [int(one.yes_price * 100) for one in heard.trades] == list(range(1, 21))
    assert (heard.gap("trade").found, heard.gap("trade").complete) == (20, True)


def test_a_start_that_comes_too_late(exchange: Exchange, rest: Rest) -> None:
    """As after a close() in a signal handler: no thread goes on, and the next start() has one again."""
    with filling(exchange, rest) as feed:
        pass
    (one,) = engine_of(feed).companions
    assert isinstance(one, Filler)
    one.start()
    one.join(time.monotonic() + 2)
    assert one._thread is not None and not one._thread.is_alive()
    with feed:
        wait_until(lambda: one._thread is not None and one._thread.is_alive())


def test_what_came_over_rest_says_nothing_about_the_latency() -> None:
    metering, old = Metering(time), from_rest.trade({"trade_id": "x", "ticker": A, "ts_ms": 1})
    metering.received(1, [old], 0, time.monotonic())
    assert metering._exchange_latency.count == 0


def test_a_market_that_is_unsubscribed_before_rest_answers(exchange: Exchange, rest: Rest) -> None:
    """Its trades were missed while it was subscribed: follow() leaves what closes in a long outage."""
    with filling(exchange, rest, reconnect=ReconnectPolicy(initial_delay=0.5, max_delay=0.5)) as feed:
        heard = Heard(feed)
        wanted = feed.subscribe("trade", (A, B)).wait(5)
        trade(exchange, 1)
        wait_until(lambda: heard.trades)
        disconnect(exchange)
        wait_until(lambda: feed.state is FeedState.RECONNECTING)
        trade(exchange, 2)
        wanted.delete_markets(A)
        trade(exchange, 3, market=B)
        wait_until(lambda: heard.gaps, 10)
        assert heard.prices(A) == "1 [2]" and heard.prices(B) == "[3]" and heard.gap("trade").complete
        disconnect(exchange)
        wait_until(lambda: feed.state is FeedState.RECONNECTING)
        trade(exchange, 4, market=B)
        wanted.unsubscribe()
        feed.subscribe("ticker", B).wait(5)
        wait_until(lambda: len(heard.gaps) == 2, 10)
        assert heard.prices(B) == "[3]" and not heard.gaps[1].complete
        assert heard.gaps[1].reason == "no longer subscribed to"
