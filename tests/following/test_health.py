"""health() of a feed that follows: markets that have ended are named and do no harm, a list that never came
does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kalshi_feed import Health, KalshiFeed
from kalshi_feed.following import follower
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange
from tests.support import wait_until

SERIES = "KXSIM15M"


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(key_type="ed25519") as running:
        yield running


@pytest.mark.slow
def test_a_market_that_has_ended_does_not_degrade(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "FIRST_RETRY", 0.3)
    exchange.refuse_rest(1, 500)
    with (
        Rest(url=exchange.rest_url, ssl_context=exchange.ssl_context, retry_for=0) as rest,
        KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed,
    ):
        run = exchange.run_series(SERIES, every=1, length=2, rounds=1, determine_after=0.1, settle_after=0.2)
        [ticker] = run.market_tickers
        following = feed.follow(series=SERIES, rest=rest)
        wait_until(lambda: bool(feed.health().reasons) and feed.health().status == "degraded")
        [reason] = feed.health().reasons
        assert reason.startswith(f"the markets of the series {SERIES} cannot be listed: ") and "500" in reason
        following.wait(10)
        wait_until(lambda: feed.health() == Health("ok"))
        run.wait_for(1, "settled", 15)
        wait_until(lambda: bool(feed.health().notes) and "settled" in feed.health().notes[0])
        market = feed.book(ticker).market
        assert market is not None
        said = f"1 market has ended: {ticker} settled {market.result} ({market.title})"
        assert feed.health() == Health("ok", (), (said,))
        exchange.remove_market(ticker)
        exchange.reset()
        wait_until(lambda: feed.stats().reconnects == 1)
        wait_until(lambda: feed.health().status != "down")
        assert not feed.book(ticker).is_live and feed.health() == Health("ok", (), (said,))
