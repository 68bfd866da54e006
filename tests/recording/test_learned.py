"""What follow() has learned about markets is recorded, and a replay reports it at the same moment."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kalshi_feed import KalshiFeed, MarketChange
from kalshi_feed.books import store
from kalshi_feed.messages.flat import wire_number
from kalshi_feed.messages.listed import Market, market_in, market_json
from kalshi_feed.simulator import Exchange
from tests.support import wait_until

WIRE = {
    "ticker": "KXA-1-T2",
    "event_ticker": "KXA-1",
    "title": "A, or not?",
    "status": "active",
    "open_time": "2026-11-30T15:00:00Z",
    "close_time": 1_796_054_400,
    "floor_strike": 100.25,
    "custom_strike": {"who": "A"},
    "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
    "yes_bid_dollars": "0.4000",
    "brand_new": [1, {"x": None}],
}
DECODE = msgspec.json.Decoder(dict[str, Any], float_hook=wire_number).decode
MARKET = market_in(DECODE(msgspec.json.encode(WIRE)))


def test_a_market_as_json_is_the_same_market() -> None:
    assert market_in(DECODE(market_json(Market(ticker="A")))) == Market(ticker="A")
    assert market_in(DECODE(market_json(MARKET))) == MARKET
    assert MARKET.extra == {"brand_new": [1, {"x": None}]} and MARKET.floor_strike == Decimal("100.25")


def test_learned_live_and_in_the_replay(tmp_path: Path) -> None:
    market = MARKET
    path = tmp_path / "learned.ndjson"
    changes: list[MarketChange] = []
    with Exchange(key_type="ed25519") as exchange:
        exchange.add_market("KXA-1-T2", yes={"0.40": 10}, no={"0.55": 7})
        with KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed:
            feed.on_market(changes.append)
            book = feed.wait_for_book("KXA-1-T2", timeout=5)
            assert book.market is None
            feed._engine.learn_markets([(market, None)])
            assert book.market == market and not changes
            feed.record(path)  # its checkpoint has the market
            feed._engine.learn_markets([(market, "opened"), (market, "closed")])
            wait_until(lambda: len(changes) == 2)
    assert changes == [
        MarketChange("KXA-1-T2", "KXA-1", "KXA", "opened", market),
        MarketChange("KXA-1-T2", "KXA-1", "KXA", "closed", market),
    ]
    assert changes[0].to_dict()["market"]["title"] == "A, or not?"

    replay = KalshiFeed.replay(path)
    again: list[MarketChange] = []

    @replay.on_market
    def _(change: MarketChange) -> None:
        again.append(change)
        assert replay.book("KXA-1-T2").market == market

    with replay:
        replay.run_forever()
    assert again == changes
    assert replay.book("KXA-1-T2").market == market


def test_a_lifecycle_channel_describes_markets_too(tmp_path: Path) -> None:
    """Without follow(), live and in the replay."""
    path = tmp_path / "heard.ndjson"
    with (
        Exchange(key_type="ed25519") as exchange,
        KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed,
    ):
        feed.record(path)
        feed.subscribe("market_lifecycle_v2").wait(5)
        closes = exchange.now_us() // 1_000_000 + 900
        exchange.create_market("KXA-1-T2", event_ticker="KXA-1", title="A, or not?", close_ts=closes)
        book = feed.book("KXA-1-T2")
        wait_until(lambda: book.market is not None and book.market.title)
        first = book.market
        assert first is not None and first.close_at is not None and first.close_at.timestamp() == closes
        exchange.settle("KXA-1-T2")
        exchange.determine("KXA-1-T2", "yes")
        wait_until(lambda: book.market is not None and book.market.result)
        last = book.market
        assert last is not None and (last.status, last.title) == ("determined", "A, or not?")

    replay = KalshiFeed.replay(path)
    seen: list[Market | None] = []
    replay.on_lifecycle(lambda message: seen.append(replay.book("KXA-1-T2").market))
    with replay:
        replay.run_forever()
    assert seen[0] == first and seen[-1] == last


def test_descriptions_are_forgotten_unless_their_book_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_LEAST_MARKETS", 10)
    books = store.BookStore()
    books._most_markets = 20
    held = books.handle("M0")
    for number in range(200):
        with books.lock:
            books.learn_market_locked(Market(ticker=f"M{number}"))
        assert len(books.markets) <= 22
    assert held.market == Market(ticker="M0")
    assert books.handle("M1").market is None and books.handle("M199").market is not None
