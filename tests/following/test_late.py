"""Markets that are subscribed to too late, and what fill_gaps makes of that."""

from __future__ import annotations

import pytest

from kalshi_feed import GapFilled, KalshiFeed, ReconnectPolicy
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange
from tests.support import wait_until


@pytest.mark.slow
def test_markets_that_open_while_the_connection_is_lost(exchange: Exchange) -> None:
    """The exchange has announced those of KXA before, and not those of KXB."""
    got: list[str | None] = []
    filled: list[GapFilled] = []
    with Rest(url=exchange.rest_url, ssl_context=exchange.ssl_context) as rest:
        feed = KalshiFeed(
            exchange.credentials,
            url=exchange.url,
            ssl_context=exchange.ssl_context,
            reconnect=ReconnectPolicy(initial_delay=6, max_delay=6),
            fill_gaps=rest,
        )
        feed.on_trade(lambda trade: got.append(trade.trade_id))
        feed.on_gap_filled(filled.append)
        with feed:
            for series, ahead in (("KXA", 5.0), ("KXB", 0.2)):
                feed.follow(series=series, channels="trade", lead=0.5, linger=5, rest=rest).wait(5)
                exchange.run_series(series, every=2, length=6, ahead=ahead, rounds=4, pace=50.0)
            wait_until(lambda: got, 10)
            exchange.reset()
            wait_until(lambda: filled, 20)
            exchange.pause()
            true = [trade["trade_id"] for trade in exchange.trades]
            wait_until(lambda: set(got) >= set(true), 5)
    assert len(got) == len(true) and filled[-1].complete, filled
    late = {ticker for gap in filled for ticker in gap.market_tickers}
    assert {ticker.partition("-")[0] for ticker in late} == {"KXA", "KXB"}
