"""What else a feed can do, a relay's consumer can do, too: record, follow, block, fork, and be forgotten."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import pytest

from kalshi_feed import (
    BookStatus,
    BookView,
    FeedForkedError,
    FeedState,
    KalshiFeed,
    StaleBookError,
    SubscriptionError,
    SubscriptionState,
)
from kalshi_feed.connection.environment import REST_VARIABLE
from kalshi_feed.relay import Relay
from kalshi_feed.relay.layout import keys_of
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, Held, Recorder, channels_of, own_threads, sides, wait_equal
from tests.support import end_if_it_hangs, wait_until

from .consumers import ConsumerMaker, RelayMaker
from .redis_server import RedisServer


def replayed(path: Path) -> tuple[dict[str, BookView], Recorder]:
    """The last LIVE views of a recording, and all that it reports."""
    feed = KalshiFeed.replay(path)
    heard = Recorder(feed)
    views: dict[str, BookView] = {}
    feed.on_book(lambda view: views.update({view.market_ticker: view} if view.is_live else {}))
    feed.run_forever()
    return views, heard


def test_record(
    exchange: Exchange,
    relay: Relay,
    make_consumer: ConsumerMaker,
    redis_server: RedisServer,
    tmp_path: Path,
) -> None:
    """What it has taken in, with the relay's times; across a hole, each message once."""
    feed = make_consumer()
    heard = Recorder(feed)
    path = tmp_path / "consumer.ndjson"
    with feed.record(path) as recording, feed:
        wait_equal(feed, exchange, A, B)
        feed.subscribe("ticker", [A]).wait(5)
        exchange.change(A, "yes", "0.40", 1)
        exchange.ticker(A)
        wait_until(lambda: heard.of("ticker"))
        exchange.reset()
        wait_until(lambda: heard.steps()[-2:] == [FeedState.RECONNECTING, FeedState.CONNECTED])
        wait_equal(feed, exchange, A, B)
        redis_server.freeze()
        for size in range(2, 12):
            exchange.change(A, "yes", "0.40", size)
        wait_until(lambda: feed.state is FeedState.RECONNECTING)
        client = redis_server.client()
        redis_server.thaw()
        client.xtrim(keys_of("main").stream, maxlen=1, approximate=False)
        wait_equal(feed, exchange, A, B)
        exchange.change(B, "no", "0.80", 5)
        wait_equal(feed, exchange, A, B)
        wait_until(lambda: len(heard.of("orderbook_delta")) > 1)
    assert recording.missed == 0
    views, seen = replayed(path)
    assert {ticker: sides(view) for ticker, view in views.items()} == {t: exchange.book(t) for t in (A, B)}
    assert not seen.faults
    live = [m.to_dict() for m in heard.messages if m.type in ("orderbook_delta", "ticker")]
    again = [m.to_dict() for m in seen.messages if m.type in ("orderbook_delta", "ticker")]
    assert again[-1] == live[-1]
    assert all(message in again for message in live)
    assert len(again) == len(live)


def test_follow(
    exchange: Exchange, make_relay: RelayMaker, make_consumer: ConsumerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay follows it for its consumers; ``where`` is theirs. A refusal is an error here."""
    monkeypatch.setenv(REST_VARIABLE, exchange.rest_url)
    exchange.rest_tier = None
    make_relay(allow=["KXSIM15M"])
    run = exchange.run_series("KXSIM15M", every=5, length=30, markets=3, rounds=1)
    feed, other = make_consumer().start(), make_consumer().start()
    heard: list[str] = []
    other.on_market(lambda change: heard.append(change.market_ticker))
    following = feed.follow(series="KXSIM15M", where=lambda market: not market.ticker.endswith("1")).wait(20)
    wait_until(lambda: len(other.follow(series="KXSIM15M").wait(20).market_tickers) == 3, 20)
    assert set(following.market_tickers) < set(run.market_tickers)
    assert len(following.market_tickers) == 2
    assert following.state is SubscriptionState.ACTIVE
    assert all(feed.wait_for_book(ticker, 5).market for ticker in following.market_tickers)
    wait_until(lambda: set(heard) == set(run.market_tickers))
    refused = other.follow(series="KXOTHER")
    with pytest.raises(SubscriptionError, match=r"refuses it.*KXOTHER"):
        refused.wait(5)
    assert refused.state is SubscriptionState.FAILED
    for one in other.subscriptions:
        one.unsubscribe()
    following.unsubscribe()
    wait_until(lambda: "market_lifecycle_v2" not in channels_of(exchange))
    wait_equal(feed, exchange, A, B)


def test_slow_callbacks_that_block(exchange: Exchange, relay: Relay, make_consumer: ConsumerMaker) -> None:
    """Nothing is dropped, and that the reader waits for them is not the relay's silence."""
    held = Held()
    feed = make_consumer(queue_size=1, overflow="block", silence=1.0)
    heard: list[str] = []
    feed.on("trade")(held)
    feed.on("trade")(lambda message: heard.append(str(message.count_fp)))
    states = Recorder(feed).states
    with feed:
        wait_equal(feed, exchange, A, B)
        for count in range(1, 6):
            exchange.trade(A, "yes", "0.46", count)
            time.sleep(0.1)  # each in a turn of its own
        assert held.entered.is_set()
        time.sleep(1.5)
        held.go_on.set()
        wait_until(lambda: len(held.seen) == 5)
        wait_until(lambda: len(heard) == 5)
        assert FeedState.RECONNECTING not in [change.state for change in states]


def test_dropped_without_close(relay: Relay, make_consumer: ConsumerMaker, redis_server: RedisServer) -> None:
    """Its threads end."""
    before = own_threads()
    feed = KalshiFeed.from_relay(redis_server.url)
    feed.start().wait_for_book(A, 5)
    assert len(own_threads()) == len(before) + 3
    with pytest.warns(ResourceWarning, match="without close"):
        del feed
        gc.collect()
    wait_until(lambda: own_threads() == before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork(exchange: Exchange, relay: Relay, make_consumer: ConsumerMaker) -> None:
    """The child says what to do, and does not disturb the parent."""
    feed = make_consumer().start()
    feed.wait_for_book(A, 5)
    pid = os.fork()
    if pid == 0:
        end_if_it_hangs()
        code = 1
        try:
            feed.book(A)
        except FeedForkedError:
            feed.close()
            with KalshiFeed.from_relay(feed._engine._client.redacted) as mine:  # type: ignore[attr-defined]
                code = 0 if sides(mine.wait_for_book(A, 5)) == exchange.book(A) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    exchange.change(A, "yes", "0.40", 1)
    wait_equal(feed, exchange, A, B)
    assert feed.state is FeedState.CONNECTED


def test_views_are_immutable_and_stale_ones_refuse(
    exchange: Exchange, relay: Relay, make_consumer: ConsumerMaker, redis_server: RedisServer
) -> None:
    """A view taken while LIVE stays so; a STALE book refuses require_live, and still answers."""
    feed = make_consumer().start()
    book = feed.wait_for_book(A, 5)
    wait_until(lambda: feed.state is FeedState.CONNECTED)
    view = book.view(require_live=True)
    redis_server.kill()
    wait_until(lambda: not book.is_live)
    assert view.is_live
    with pytest.raises(StaleBookError, match="STALE"):
        book.view(require_live=True)
    assert book.best_bid() == view.best_bid()
    assert book.version > view.version
    assert book.status is BookStatus.STALE
    assert "STALE" in repr(book)
    redis_server.start()
