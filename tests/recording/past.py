"""A recording of many markets, and the books after each message, folded from the file alone."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from kalshi_feed import KalshiFeed, OrderBook
from kalshi_feed.simulator import Exchange
from tests.feed.support import A
from tests.support import wait_until

__all__ = ["Moment", "delta", "levels_of", "make_recording", "moments", "moved_to_2019", "snapshot"]

YEAR_2019 = 1_560_000_000_000_000_000  # Unix ns

Levels = dict[str, dict[Decimal, Decimal]]


class Moment(NamedTuple):
    """A book message in the file, and the books after it."""

    ns: int
    type: str
    market_ticker: str
    seq: int
    levels: Levels  # of its market
    seqs: dict[str, int]  # of every market


def make_recording(path: Path, *, markets: int, messages: int, rate: float) -> Path:
    """Record that many messages. Prices are recorded on each side's own scale."""
    with Exchange(markets, rate=rate, seed=11, key_type="ed25519") as exchange:
        feed = KalshiFeed(
            exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context, use_yes_price=False
        )
        with feed, feed.record(path):
            feed.subscribe(
                ["orderbook_delta", "trade"], [f"KXSIM-{number:03d}" for number in range(1, markets + 1)]
            ).wait(5)
            wait_until(lambda: feed.stats().messages_total >= messages, 60, "the messages")
    return path


def moments(path: Path) -> Iterator[Moment]:
    """Fold the file's frames into books, without any code of the package."""
    books: defaultdict[str, Levels] = defaultdict(lambda: {"yes": {}, "no": {}})
    seqs: dict[str, int] = {}
    for line in path.read_text().splitlines():
        plain: dict[str, Any] = json.loads(line)
        frame = plain.get("event")
        if not frame or frame["type"] not in ("orderbook_snapshot", "orderbook_delta"):
            continue
        body = frame["msg"]
        ticker = body["market_ticker"]
        if frame["type"] == "orderbook_snapshot":
            for side in ("yes", "no"):
                books[ticker][side] = {Decimal(p): Decimal(q) for p, q in body.get(f"{side}_dollars_fp", ())}
        else:
            levels, price = books[ticker][body["side"]], Decimal(body["price_dollars"])
            levels[price] = levels.get(price, Decimal(0)) + Decimal(body["delta_fp"])
            if not levels[price]:
                del levels[price]
        seqs[ticker] = frame["seq"]
        copy = {side: dict(levels) for side, levels in books[ticker].items()}
        yield Moment(plain["recv_ns"], frame["type"], ticker, frame["seq"], copy, dict(seqs))


def levels_of(book: OrderBook) -> Levels:
    """Return a feed's book in the same form."""
    view = book.view()
    return {side: {level.price: level.quantity for level in view.bids(side)} for side in ("yes", "no")}


def moved_to_2019(path: Path, to: Path) -> Path:
    """Return the same recording as if it had been made in 2019: every Unix time in ns is moved."""
    text = path.read_text()
    begins = min(int(ns) for ns in re.findall(r'"recv_ns":(\d+)', text))
    assert begins > time.time_ns() - 3_600_000_000_000
    moved = re.sub(
        r'(_ns":)(\d{18,})', lambda found: found[1] + str(int(found[2]) - begins + YEAR_2019), text
    )
    to.write_text(moved)
    return to


def delta(seq: int, ms: int, ticker: str = A) -> dict[str, Any]:
    """A line of a capture: one contract more."""
    body = {"market_ticker": ticker, "price_dollars": "0.4000", "delta_fp": "1.00", "side": "yes"}
    return {"recv_ms": ms, "event": {"type": "orderbook_delta", "sid": 1, "seq": seq, "msg": body}}


def snapshot(seq: int, ms: int, ticker: str = A) -> dict[str, Any]:
    """A line of a capture: as many contracts as its seq."""
    body = {"market_ticker": ticker, "market_id": "m", "yes_dollars_fp": [["0.4000", f"{seq}.00"]]}
    return {"recv_ms": ms, "event": {"type": "orderbook_snapshot", "sid": 1, "seq": seq, "msg": body}}
