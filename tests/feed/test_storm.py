"""Moving markets and random faults: the invariants in kalshi_feed/README.md, as seen by callbacks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from kalshi_feed import FeedState, Gap
from kalshi_feed.simulator import Exchange
from tests.feed.bookkeeper import Bookkeeper
from tests.feed.support import FeedMaker, HurriedFeed, impossible_delta, own_threads, sides
from tests.support import wait_until

SECONDS = 3.0
MARKETS = 20


def _strike(exchange: Exchange, dice: random.Random, tickers: list[str]) -> None:
    """One fault, or one rare event that is not a fault."""
    ticker = dice.choice(tickers)
    strikes: list[Callable[[], None]] = [
        lambda: exchange.lose(dice.randint(1, 5)),
        lambda: exchange.duplicate(dice.randint(1, 5)),
        lambda: exchange.swap(),
        lambda: exchange.corrupt({"delta_fp": "NaN"}, type="orderbook_delta"),
        lambda: exchange.corrupt({"seq": dice.randint(1, 10_000)}, type="orderbook_delta"),
        lambda: exchange.corrupt({"market_ticker": dice.choice(tickers)}, type="trade"),
        lambda: exchange.send_raw("{"),
        lambda: exchange.send("orderbook_delta", impossible_delta(ticker)),
        lambda: exchange.snapshot(ticker),
        lambda: exchange.error(25, channel="orderbook_delta"),
        lambda: exchange.end_subscription("orderbook_delta"),
        lambda: exchange.refuse_commands(27),
        lambda: exchange.ignore_commands(),
        exchange.reset,
        exchange.disconnect,
        lambda: exchange.reject_next(status=503),
    ]
    dice.choice(strikes)()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_storm(seed: int, make_feed: FeedMaker) -> None:
    dice = random.Random(seed)
    with Exchange(MARKETS, key_type="ed25519", rate=2000.0, seed=seed, heartbeat=0.2) as exchange:
        tickers = list(exchange.market_tickers)
        feed = make_feed(
            HurriedFeed,
            credentials=exchange.credentials,
            url=exchange.url,
            ssl_context=exchange.ssl_context,
            queue_size=1_000_000,
        )
        keeper = Bookkeeper(feed)
        with feed:
            feed.subscribe(["orderbook_delta", "trade"], tickers).wait(5)
            until = time.monotonic() + SECONDS
            strikes = 0
            while time.monotonic() < until:
                _strike(exchange, dice, tickers)
                strikes += 1
                received = feed.stats().messages_total
                pause = time.monotonic() + dice.choice((0.0, 0.01, 0.1))
                wait_until(lambda: time.monotonic() > pause or feed.stats().messages_total > received + 100)  # noqa: B023
            exchange.behave()
            exchange.quiesce()
            for ticker in tickers:
                wait_until(
                    lambda: feed.books[ticker].is_live and sides(feed.books[ticker]) == exchange.book(ticker),  # noqa: B023
                    15,
                    f"the book of {ticker} to be right again (seed {seed})",
                )
            assert feed.state is FeedState.CONNECTED
            wait_until(
                lambda: keeper.books == exchange.books(), what="the books made of callbacks to be right"
            )
            wait_until(lambda: feed.health().is_ok)
            assert own_threads() == ["kalshi-feed-reader", "kalshi-feed-worker-0"]
        stats = feed.stats()
        assert keeper.wrong == []
        assert strikes > 30
        assert stats.gaps == len([item for item in keeper.received if isinstance(item, Gap)]) > 0
        assert stats.reconnects > 0
        assert stats.dropped == 0
        assert keeper.kinds().count("callback") == 0
