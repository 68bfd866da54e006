"""A feed with fill_gaps: what it missed comes over REST, once, in order, and in the replay as well."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import ConfigurationError, KalshiFeed
from kalshi_feed.engine import holes
from kalshi_feed.engine.live import HoleEnd
from kalshi_feed.filling import jobs, judging
from kalshi_feed.rest import Rest
from kalshi_feed.session.session import Session
from kalshi_feed.simulator import Exchange
from tests.support import end_if_it_hangs, wait_until

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
    subscribed,
    trade,
)

ACCOUNT = ("fill", "user_orders", "market_positions")


@pytest.mark.greenlets
def test_S52_a_lost_connection(exchange: Exchange, rest: Rest, tmp_path: Path) -> None:
    path = tmp_path / "all.ndjson"
    with filling(exchange, rest) as feed:
        heard = Heard(feed)
        feed.record(path)
        feed.subscribe(ACCOUNT).wait(5)
        subscribed(feed, "trade")
        wait_until(lambda: len(heard.gaps) == 2)  # orders and positions at the beginning
        resting = exchange.place_order(A, "yes", 0.01, 5)
        exchange.fill(A, price=0.4)
        trade(exchange, 1, 2)
        wait_until(lambda: len(heard.trades) >= 2 and heard.fills and heard.messages["user_order"])

        exchange.rest_delay = 0.3  # long enough for live trades to come before the answer
        disconnect(exchange)
        trade(exchange, 3, 4)
        trade(exchange, 55, market=B)
        exchange.cancel_order(resting)
        exchange.fill(A, price=0.45)
        back(feed)
        trade(exchange, 5, 6)
        trade(exchange, 56, market=B)
        wait_until(lambda: len(heard.gaps) == 6)
        trade(exchange, 7)
        wait_until(lambda: heard.prices(A).endswith("7"))
        assert heard.prices(A) == "1 2 [3] [4] 5 6 7" and heard.prices(B) == "[55] 56"
        assert [fill.source for fill in heard.fills] == ["feed", "rest"]
        assert [fill["trade_id"] for fill in exchange.fills] == [fill.trade_id for fill in heard.fills]
        last = heard.messages["user_order"][-1]
        assert (last.order_id, last.status, last.source) == (resting, "canceled", "rest")
        assert heard.messages["market_position"][-1].source == "rest"
        gaps = {gap.channel: gap for gap in heard.gaps[2:]}
        assert gaps["trade"].market_tickers == (A, B)
        assert (gaps["trade"].found, gaps["trade"].matched, gaps["fill"].found) == (3, 5, 1)
        assert all(gap.complete and not gap.reason for gap in heard.gaps)
        assert gaps["trade"].since <= heard.trades[2].time <= gaps["trade"].until
    assert heard.faults == []
    again = replayed(path)
    assert again.order == heard.order and again.messages == heard.messages and again.gaps == heard.gaps


def test_S52_gaps_within_a_connection(exchange: Exchange, rest: Rest, tmp_path: Path) -> None:
    path = tmp_path / "gaps.ndjson"
    with filling(exchange, rest) as feed:
        heard = Heard(feed)
        feed.record(path)
        subscribed(feed, "trade")
        trade(exchange, 1)
        exchange.lose(1, "trade")
        trade(exchange, 2, 3, 4)
        wait_until(lambda: heard.prices(A) == "1 [2] 3 4")
        wait_until(lambda: heard.gaps)
        assert heard.gap("trade").complete
        exchange.corrupt({"count_fp": "many"}, type="trade")
        trade(exchange, 5, 6)
        wait_until(lambda: heard.prices(A).endswith("[5] 6"))
        wait_until(lambda: len(heard.gaps) == 2)
        exchange.error(25, channel="trade")  # the subscription dies, and is made again
        trade(exchange, 7)
        wait_until(lambda: len(heard.gaps) == 3)
        trade(exchange, 8)
        wait_until(lambda: heard.prices(A).endswith("8"))
        assert heard.prices(A) == "1 [2] 3 4 [5] 6 [7] 8"
        assert [gap.found for gap in heard.gaps] == [1, 1, 1]
    assert replayed(path).order == heard.order


@pytest.mark.greenlets
def test_S53_rest_is_slower_than_the_timeout(exchange: Exchange, rest: Rest, tmp_path: Path) -> None:
    path = tmp_path / "slow.ndjson"
    with filling(exchange, rest, fill_timeout=0.3) as feed:
        heard = Heard(feed)
        exchange.rest_delay = 1.0
        one_missed(exchange, feed, heard)
        trade(exchange, 3)
        begun = time.monotonic()
        wait_until(lambda: is_holding_some(feed))
        already = len(heard.order)
        feed.record(path)  # in the middle
        wait_until(lambda: heard.prices(A) == "1 3")
        assert 0.2 < time.monotonic() - begun < 0.9
        trade(exchange, 4)
        wait_until(lambda: heard.prices(A) == "1 3 4")
        wait_until(lambda: heard.gaps)
        assert heard.prices(A) == "1 3 4 [2]" and heard.gap("trade").complete
    assert replayed(path).order == heard.order[already:]


def test_no_waiting_at_all(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KALSHI_REST_URL", exchange.rest_url)
    with filling(exchange, True, fill_timeout=0) as feed:
        heard = Heard(feed)
        feed.subscribe("trade").wait(5)  # of all markets
        trade(exchange, 1)
        wait_until(lambda: heard.trades)
        exchange.rest_delay = 0.3
        disconnect(exchange)
        trade(exchange, 2)
        back(feed)
        trade(exchange, 3)
        wait_until(lambda: heard.prices(A) == "1 3")
        wait_until(lambda: heard.gaps)
        assert heard.prices(A) == "1 3 [2]" and heard.gap("trade").market_tickers == ()
    assert all("ticker" not in request.query for request in exchange.rest_log)


def test_lost_again_and_closed_while_trades_wait(exchange: Exchange, rest: Rest, tmp_path: Path) -> None:
    path = tmp_path / "again.ndjson"
    with filling(exchange, rest, fill_timeout=60) as feed:
        heard = Heard(feed)
        feed.record(path)
        exchange.rest_down = 503
        one_missed(exchange, feed, heard)
        trade(exchange, 3)
        wait_until(lambda: is_holding_some(feed))
        assert heard.prices(A) == "1"
        disconnect(exchange)
        trade(exchange, 4)
        wait_until(lambda: heard.prices(A) == "1 3")  # older than the next gap
        back(feed, 2)
        trade(exchange, 5)
        wait_until(lambda: is_holding_some(feed))
        assert heard.prices(A) == "1 3"
        exchange.rest_down = None
        wait_until(lambda: heard.gaps)
        assert heard.prices(A) == "1 3 [2] [4] 5" and heard.gap("trade").complete
        assert set(heard.faults) <= {"rest"}
        exchange.rest_down = "hang"
        disconnect(exchange)
        trade(exchange, 6)
        back(feed, 3)
        trade(exchange, 7)
        wait_until(lambda: is_holding_some(feed))
        rest.close()  # the feed does not own it
    assert heard.prices(A) == "1 3 [2] [4] 5 7"
    assert (heard.gaps[1].complete, heard.gaps[1].reason) == (False, "the feed was closed")
    assert heard.gaps[1].since <= heard.trades[-1].time
    assert replayed(path).order == heard.order


def test_a_fill_has_the_id_of_its_trade(exchange: Exchange, rest: Rest) -> None:
    with filling(exchange, rest) as feed:
        heard = Heard(feed)
        feed.subscribe("fill").wait(5)
        subscribed(feed, "trade")
        disconnect(exchange)
        trade(exchange, 1)
        exchange.fill(A, price=0.4)
        wait_until(lambda: len(heard.gaps) == 2)
        (known,), (first,) = heard.trades, heard.fills
        for id_ in (first.trade_id, known.trade_id, "last"):
            exchange.send("fill", {"trade_id": id_, "market_ticker": A, "order_id": "O"}, check=False)
        wait_until(lambda: heard.fills[-1].trade_id == "last")
        # the first one has come over REST, and the second one's trade
        assert [fill.trade_id for fill in heard.fills] == [first.trade_id, known.trade_id, "last"]
        assert feed.stats().ignored["duplicate"] == 1


def test_an_older_gap_does_not_release(
    exchange: Exchange, rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holes, "_MERGE", -1e9)  # each loss is a gap of its own
    exchange.rest_down = 503
    with filling(exchange, rest, fill_timeout=60) as feed:
        heard, engine = Heard(feed), engine_of(feed)
        subscribed(feed, "trade")
        disconnect(exchange)
        back(feed)
        disconnect(exchange)
        back(feed, 2)
        trade(exchange, 1)
        wait_until(lambda: is_holding_some(feed))
        (first, _), (second, _) = engine.holes
        for number, prices in ((first, ""), (second, "1")):
            hole = engine.holes.get(number)
            assert hole is not None
            assert engine.fill(hole, (), releases=True, end=HoleEnd(0, True)) == 0
            wait_until(lambda: len(heard.gaps) == 1 + (number == second))  # noqa: B023
            assert heard.prices(A) == prices
            assert engine.fill(hole, (), end=HoleEnd(0, True)) is None  # it is closed


@pytest.mark.parametrize("offset", [-180.0, 180.0])
def test_R40_a_clock_that_is_off_by_minutes(exchange: Exchange, rest: Rest, offset: float) -> None:
    exchange.clock_offset = offset
    exchange.max_clock_skew = 1000
    with filling(exchange, rest) as feed:
        heard = Heard(feed)
        feed.subscribe("fill").wait(5)
        subscribed(feed, "trade")
        trade(exchange, 1)
        exchange.fill(A, price=0.4)
        wait_until(lambda: heard.trades and heard.fills)
        disconnect(exchange)
        trade(exchange, 2)
        exchange.fill(A, price=0.4)
        wait_until(lambda: len(heard.gaps) == 2, 10)
        assert heard.prices(A).startswith("1 ") and heard.prices(A).count("[2]") == 1
        assert len(heard.fills) == 2
        assert all(gap.complete and gap.found == 1 for gap in heard.gaps)
        assert abs((heard.gaps[0].until.timestamp() - time.time()) - offset) < 5


def test_S54_ids_that_never_match(exchange: Exchange, rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_UNSURE", 0.0)  # both clocks are this machine's
    exchange.quirks.rest_trade_ids_differ = True
    with filling(exchange, rest) as feed:
        heard = Heard(feed)
        subscribed(feed, "trade")
        trade(exchange, 1)
        wait_until(lambda: heard.prices(A) == "1")  # later than the confirmation, by more than a rounding
        trade(exchange, 2)
        wait_until(lambda: heard.prices(A) == "1 2")
        disconnect(exchange)
        trade(exchange, 3)
        wait_until(lambda: heard.gaps)
        gap = heard.gap("trade")
        assert (gap.found, gap.complete) == (0, False) and "ids of trades are not" in gap.reason
        assert heard.prices(A) == "1 2" and heard.faults == ["rest"]
        exchange.quirks.rest_trade_ids_differ = False  # a match ends it
        trade(exchange, 4)
        wait_until(lambda: heard.prices(A) == "1 2 4")
        disconnect(exchange)
        trade(exchange, 5)
        wait_until(lambda: len(heard.gaps) == 2)
        assert heard.prices(A).endswith("[5]") and heard.gaps[1].complete and heard.faults == ["rest"]


def test_fill_since(exchange: Exchange, rest: Rest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "since.ndjson"
    trade(exchange, 1)
    time.sleep(0.01)
    since = time.time()
    trade(exchange, 2, 3)
    exchange.fill(A, price=0.4)
    exchange.rest_trades_seconds = 1.0
    monkeypatch.setattr(jobs, "_HISTORICAL", 1.0)
    wait_until(lambda: time.time() > since + 1.2, what="the trades to be in the archive")
    with filling(exchange, rest, fill_since=since) as feed:
        heard = Heard(feed)
        feed.record(path)
        feed.subscribe("fill").wait(5)
        subscribed(feed, "trade", markets=A)
        trade(exchange, 4)
        wait_until(lambda: len(heard.gaps) == 2)
        assert heard.prices(A) == "[2] [3] 4" and [fill.source for fill in heard.fills] == ["rest"]
        assert abs(heard.gap("trade").since.timestamp() - since) < 0.001
        assert all(gap.complete for gap in heard.gaps)
    assert replayed(path).order == heard.order
    assert exchange.rest_requests["/historical/trades"] and exchange.rest_requests["/markets/trades"]


def test_a_defect_of_ours(exchange: Exchange, rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    real, armed = Session.receive, []

    def receive(session: Session, *arguments: Any) -> None:
        if armed:
            armed.clear()
            raise RuntimeError("planted")
        real(session, *arguments)

    monkeypatch.setattr(Session, "receive", receive)
    with filling(exchange, rest) as feed:
        heard = Heard(feed)
        subscribed(feed, "trade")
        trade(exchange, 1)
        wait_until(lambda: heard.trades)
        armed.append(True)
        trade(exchange, 2)
        wait_until(lambda: heard.gaps)
        assert heard.prices(A) == "1 [2]" and heard.gap("trade").complete and heard.faults == ["defect"]


def test_S53_account_data_that_lags(exchange: Exchange, rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange.rest_lag = 1.5
    with filling(exchange, rest) as feed:
        heard = Heard(feed)
        feed.subscribe("fill").wait(5)
        disconnect(exchange)
        exchange.fill(A, price=0.4)
        wait_until(lambda: heard.gaps)
        assert len(heard.fills) == 1 and heard.gap("fill").complete
        monkeypatch.setattr(jobs, "MOST_LAG", 0.5)
        exchange.rest_lag = 60
        disconnect(exchange)
        exchange.fill(A, price=0.4)
        wait_until(lambda: len(heard.gaps) == 2)
        assert not heard.gaps[1].complete and "complete up to" in heard.gaps[1].reason


def test_S55_what_cannot_be_read_is_given_up(exchange: Exchange, rest: Rest) -> None:
    with filling(exchange, rest) as feed:
        heard = Heard(feed)
        subscribed(feed, "trade")
        exchange.rest_down = 403
        disconnect(exchange)
        trade(exchange, 1)
        wait_until(lambda: heard.gaps)
        assert not heard.gap("trade").complete and "403" in heard.gap("trade").reason
        assert heard.faults == ["rest"]
        trade(exchange, 2)
        wait_until(lambda: heard.prices(A) == "2")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_asks_nothing(exchange: Exchange, rest: Rest) -> None:
    with filling(exchange, rest) as feed:
        heard = Heard(feed)
        exchange.rest_delay = 0.3
        one_missed(exchange, feed, heard)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later: fork with threads
            pid = os.fork()
        if not pid:
            end_if_it_hangs()
            feed.close()
            time.sleep(0.8)
            os._exit(0 if len(heard.trades) == 1 else 1)
        wait_until(lambda: heard.gaps)
        assert heard.prices(A) == "1 [2]" and os.waitpid(pid, 0)[1] == 0
        assert len(exchange.rest_log) == 4  # two for each market, and none from the child


def test_arguments(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(**options: Any) -> None:
        KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context, **options)

    monkeypatch.delenv("KALSHI_REST_URL", raising=False)
    with pytest.raises(ConfigurationError, match="KALSHI_REST_URL"):
        make(fill_gaps=True)
    with pytest.raises(ConfigurationError, match="fill_since needs fill_gaps"):
        make(fill_since=1.0)
    monkeypatch.setenv("KALSHI_REST_URL", exchange.rest_url)
    for wrong in ({"fill_timeout": -1}, {"fill_since": "now"}, {"fill_gaps": "yes"}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            make(**({"fill_gaps": True} | wrong))
    with pytest.raises(ConfigurationError, match="fill_timeout"):
        make(fill_timeout=-1)
    make(fill_gaps=True)
