"""Markets that move: never crossed, a plausible mixture, still when paused, and the same for every reader."""

from __future__ import annotations

import threading
import time
from decimal import Decimal

from kalshi_feed.simulator import Exchange
from kalshi_feed.simulator.markets import Market
from kalshi_feed.simulator.mover import Mover

from .peer import Fold, Peer, wait_until


def test_books_move_plausibly() -> None:
    mover = Mover(7)
    markets = [Market("cents"), Market("mills", tick=10)]
    trades = deltas = fractional = 0
    for market in markets:
        mover.fill(market)
        touched = set()
        for _ in range(20_000):
            changes, traded = mover.step(market)
            for side, price, delta in changes:
                assert delta
                market.apply(side, price, delta)
                touched.add(price)
                fractional += delta % 100 != 0
            trades += len(traded)
            deltas += len(changes)
            yes, no = market.best("yes"), market.best("no")
            assert yes is not None and no is not None and yes + no < 10_000
            assert 1 <= len(market.book["yes"]) <= 30 and 1 <= len(market.book["no"]) <= 30
        assert all(price % market.tick == 0 for price in touched)
        assert len(touched) > 20
    assert 0.05 <= trades / deltas <= 0.10
    assert 0.05 <= fractional / deltas <= 0.6


def test_a_seed_repeats_the_books() -> None:
    first, second, other = (Exchange(markets=6, seed=seed, key_type="ed25519") for seed in (3, 3, 4))
    assert first.books() == second.books() != other.books()
    assert first.market_tickers[0] == "KXSIM-001"
    prices = {price for book in first.books().values() for price in book["yes"]}
    assert any(price != round(price, 2) for price in prices)  # some markets are finer than a cent
    assert all(max(book["yes"]) + max(book["no"]) < 1 for book in first.books().values())


def test_two_readers_end_with_the_truth() -> None:
    with (
        Exchange(markets=10, seed=1, key_type="ed25519") as exchange,
        Peer(exchange) as plain,
        Peer(exchange) as turned,
    ):
        tickers = exchange.market_tickers
        folds = [Fold(), Fold(use_yes_price=True)]
        readers: list[threading.Thread] = []
        counts: dict[str, int] = {}
        for peer, fold in zip((plain, turned), folds, strict=True):
            params = {"channels": ["orderbook_delta", "trade", "ticker"], "market_tickers": list(tickers)}
            peer.send("subscribe", {**params, "use_yes_price": fold is folds[1]})
            exchange.wait_for_command("subscribe", n=len(readers) + 1)

            def read(peer: Peer = peer, fold: Fold = fold) -> None:
                while True:
                    message = peer.recv()
                    if message["type"] == "end":
                        return
                    if fold is folds[0]:
                        counts[message["type"]] = counts.get(message["type"], 0) + 1
                    fold.feed(message)

            readers.append(threading.Thread(target=read, daemon=True))
            readers[-1].start()
        exchange.rate = 2000
        wait_until(lambda: counts.get("orderbook_delta", 0) > 2000, 10)
        exchange.quiesce()
        truth = exchange.books()
        exchange.send_raw('{"type":"end"}')
        for reader in readers:
            reader.join(10)
            assert not reader.is_alive()
        assert folds[0].books == folds[1].books == truth == exchange.books()
        assert 0.04 < counts["trade"] / counts["orderbook_delta"] < 0.12
        assert counts["ticker"] > 5


def test_pause_stops_at_once_and_resume_goes_on() -> None:
    with Exchange(markets=2, rate=5000, seed=2, key_type="ed25519") as exchange:
        start = exchange.books()
        wait_until(lambda: exchange.books() != start)
        exchange.pause()
        held = exchange.books()
        time.sleep(0.05)
        assert exchange.books() == held
        exchange.resume()
        wait_until(lambda: exchange.books() != held)
        exchange.rate = 0
        exchange.pause()
        exchange.resume()
        held = exchange.books()
        time.sleep(0.05)
        assert exchange.books() == held


def test_scripted_markets_stand_still() -> None:
    with Exchange(markets=1, rate=2000, key_type="ed25519") as exchange:
        exchange.add_market("MINE", yes={"0.5": 1})
        start = exchange.book("KXSIM-001")
        wait_until(lambda: exchange.book("KXSIM-001") != start)
        assert exchange.book("MINE") == {"yes": {Decimal("0.5"): Decimal(1)}, "no": {}}
        exchange.settle("KXSIM-001")
        time.sleep(0.05)
        assert exchange.book("KXSIM-001") == {"yes": {}, "no": {}}
