"""A feed whose connection is compressed: everything is as without, and each connection begins afresh."""

from __future__ import annotations

import pytest

from kalshi_feed.simulator import Exchange
from tests import inside
from tests.feed.bookkeeper import Bookkeeper
from tests.feed.conftest import QUICK
from tests.feed.support import A, B, FeedMaker, HurriedFeed
from tests.support import wait_until


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("accepts", [True, False])
def test_books_are_right_on_every_connection(
    exchange: Exchange, make_feed: FeedMaker, takeover: bool, accepts: bool
) -> None:
    exchange.quirks.context_takeover = takeover
    exchange.compression = accepts
    feed = make_feed(HurriedFeed, compression=True)
    keeper = Bookkeeper(feed, QUICK)
    feed.subscribe(["orderbook_delta", "trade"], [A, B])
    with feed:
        for connection in range(3):
            wait_until(lambda number=connection: feed.stats().reconnects == number)  # type: ignore[misc]
            keeper.wait_right(exchange, A, B)
            transport = inside.transport(feed)
            assert transport is not None and transport.is_compressed is accepts
            before = transport.bytes_received
            for step in range(50):
                exchange.change(A, "yes", "0.30", 1 + step)
            keeper.wait_right(exchange, A, B)
            if takeover and accepts:
                assert transport.bytes_received - before < 50 * 100
            exchange.reset()
    assert keeper.wrong == [] and keeper.kinds() == []
    assert [handshake.status for handshake in exchange.handshakes] == [101] * len(exchange.handshakes)


def test_a_feed_that_did_not_ask_gets_nothing_compressed(exchange: Exchange, make_feed: FeedMaker) -> None:
    with make_feed() as feed:
        feed.wait_until_connected(5)
        transport = inside.transport(feed)
        assert transport is not None and not transport.is_compressed
    assert "SEC-WEBSOCKET-EXTENSIONS" not in exchange.handshakes[0].headers
