"""Makes the recordings of this folder again, with the code that PYTHONPATH names. See README.md for when,
which is rarely.

python tests/recording/corpus/make.py FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kalshi_feed import KalshiFeed, ReconnectPolicy
from kalshi_feed.simulator import Exchange

A, B = "KXTEST-26-A", "KXTEST-26-B"


def wait_until(check: Callable[[], object], what: str) -> None:
    """Poll for at most 10 s."""
    end = time.monotonic() + 10
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def quiet_exchange() -> Exchange:
    """Two markets whose books move only when the test moves them."""
    exchange = Exchange(key_type="ed25519")
    exchange.add_market(A, yes={"0.40": 10, "0.3950": "2.5"}, no={"0.54": 7, "0.50": 100})
    exchange.add_market(B, yes={"0.10": 1}, no={"0.80": 3})
    return exchange


def feed_of(exchange: Exchange, **options: Any) -> KalshiFeed:
    """A feed that reconnects at once."""
    policy = ReconnectPolicy(initial_delay=0.02, max_delay=0.1)
    return KalshiFeed(
        exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context, reconnect=policy, **options
    )


def levels(exchange: Exchange, *tickers: str) -> dict[str, Any]:
    """The exchange's books, as expected.json holds them."""
    return {
        ticker: {
            side: {f"{price:.4f}": f"{size:.2f}" for price, size in book.items()}
            for side, book in exchange.book(ticker).items()
        }
        for ticker in tickers
    }


def settle(exchange: Exchange, feed: KalshiFeed, *tickers: str) -> dict[str, Any]:
    """Wait until the feed's books are the exchange's, and return them."""
    for ticker in tickers:
        book = feed.book(ticker)

        def is_right(ticker: str = ticker, book: Any = book) -> bool:
            view = book.view()
            return book.is_live and {side: dict(view.bids(side)) for side in ("yes", "no")} == exchange.book(
                ticker
            )

        wait_until(is_right, f"the book of {ticker}")
    return levels(exchange, *tickers)


def eventful(path: Path) -> dict[str, Any]:
    """A gap, a late frame of that gap, a refusal, a reconnect, changes of what is wanted."""
    with quiet_exchange() as exchange, feed_of(exchange) as feed:
        recording = feed.record(path)
        subscription = feed.subscribe(["orderbook_delta", "trade", "ticker"], [A, B]).wait(5)
        settle(exchange, feed, A, B)
        for step in range(6):
            exchange.change(A, "yes", "0.30", 1 + step)
            exchange.change(B, "no", "0.20", 1)
            exchange.ticker(A)
        settle(exchange, feed, A, B)
        exchange.swap()
        exchange.change(A, "yes", "0.31", 4)
        exchange.change(B, "yes", "0.11", "0.5")
        wait_until(lambda: feed.stats().resyncs == 1, "the repair")
        settle(exchange, feed, A, B)
        exchange.refuse_commands(14, "Permission denied", "subscribe")
        feed.subscribe("fill")
        exchange.reset()
        wait_until(lambda: feed.stats().reconnects, "the reconnect")
        settle(exchange, feed, A, B)
        subscription.delete_markets(B).wait(5)
        exchange.change(A, "no", "0.54", -3)
        books = settle(exchange, feed, A)
        recording.close()
    return {"gaps": ["sequence gap"], "books": books}


def rotated(path: Path) -> dict[str, Any]:
    """Three parts of one recording."""
    with quiet_exchange() as exchange, feed_of(exchange) as feed:
        recording = feed.record(path, rotate_bytes=6_000)
        feed.subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
        books = settle(exchange, feed, A, B)
        for part in (1, 2):
            while len(recording.paths) == part:
                exchange.change(A, "yes", "0.33", part)
                exchange.change(B, "no", "0.77", "0.25")
                books = settle(exchange, feed, A, B)
                time.sleep(0.02)
        exchange.change(B, "yes", "0.12", 9)
        books = settle(exchange, feed, A, B)
        recording.close()
        parts = [path.name for path in recording.paths]
    return {"gaps": [], "books": books, "parts": parts}


def cents(path: Path) -> dict[str, Any]:
    """Record book messages of before March 2026: prices in whole cents, sizes in whole contracts."""
    frames = [
        {"type": "orderbook_snapshot", "sid": 1, "seq": 1,
         "msg": {"market_ticker": A, "yes": [[8, 300], [22, 333]], "no": [[54, 20], [56, 146]]}},
        {"type": "orderbook_delta", "sid": 1, "seq": 2, "msg": {"market_ticker": A, "price": 22, "delta": -33, "side": "yes"}},  # noqa: E501
        {"type": "orderbook_delta", "sid": 1, "seq": 3, "msg": {"market_ticker": A, "price": 54, "delta": -20, "side": "no"}},  # noqa: E501
    ]  # fmt: skip
    with quiet_exchange() as exchange, feed_of(exchange, use_yes_price=False) as feed:
        recording = feed.record(path)
        exchange.wait_for_connections(1)
        exchange.lose(1, "orderbook_snapshot")
        feed.subscribe(["orderbook_delta"], [A]).wait(5)
        for frame in frames:
            exchange.send_raw(json.dumps(frame, separators=(",", ":")))
        wait_until(lambda: feed.book(A).seq == 3, "the last delta")
        recording.close()
    books = {A: {"yes": {"0.0800": "300.00", "0.2200": "300.00"}, "no": {"0.5600": "146.00"}}}
    return {"gaps": [], "books": books}


def main(folder: Path) -> None:
    """Make them all."""
    expected = {
        "eventful.ndjson": eventful(folder / "eventful.ndjson"),
        "compressed.ndjson.gz": eventful(folder / "compressed.ndjson.gz"),
        "rotated.ndjson": rotated(folder / "rotated.ndjson"),
        "cents.ndjson": cents(folder / "cents.ndjson"),
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
