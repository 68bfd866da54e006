"""Frames that break WebSocket's rules or our limit: a new connection, and the books are right again."""

from __future__ import annotations

from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import BINARY, TEXT, frame
from tests.feed.support import A, FeedMaker, Recorder, wait_equal
from tests.support import wait_until


def test_text_that_is_not_utf_8_ends_the_connection(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    exchange.send_bytes(frame(TEXT, b'{"type":"\xff\xfe"}'))
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A)
    assert "1007" in heard.states[2].reason


def test_message_above_the_limit_ends_the_connection(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(max_message_size=2048)
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    exchange.send_raw('{"type":"news","msg":"' + "x" * 3000 + '"}')
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A)
    assert "1009" in heard.states[2].reason
    assert heard.of("news") == []


def test_binary_frame_is_ignored_counted_and_reported(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    exchange.send_bytes(frame(BINARY, b'{"type":"orderbook_delta"}'))
    wait_until(lambda: heard.kinds() == ["binary_frame"])
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)
    assert feed.stats().faults == {"binary_frame": 1}
    assert feed.stats().gaps == 0
