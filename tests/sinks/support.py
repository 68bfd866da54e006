"""Shared by the tests of the sinks: messages, a sink that obeys the test, and the books that tables hold."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from kalshi_feed import Gap, GapFilled, OrderbookDelta
from kalshi_feed.messages import from_rest
from kalshi_feed.messages.decoder import Decoder
from kalshi_feed.session.retry import ReconnectPolicy
from kalshi_feed.sinks import Row, Sink
from tests.cli.support import started

__all__ = [
    "QUICK",
    "Stubborn",
    "decoded",
    "delta",
    "fill",
    "filled",
    "folded",
    "gap",
    "killed_writer",
    "snapshot",
    "ticker",
    "trade",
]

QUICK = ReconnectPolicy(initial_delay=0.01, max_delay=0.1)
Books = dict[str, dict[str, dict[Decimal, Decimal]]]


def decoded(type_: str, body: dict[str, Any], **envelope: Any) -> Any:
    """Return the message of a frame."""
    return Decoder().decode(json.dumps({"type": type_, "sid": 1, **envelope, "msg": body}).encode())


def delta(
    seq: int = 2,
    ticker: str = "KX-A",
    price: str = "0.5400",
    change: str = "3.00",
    side: str = "yes",
    at: float = 1_760_000_000.123,
) -> OrderbookDelta:
    body = {
        "market_ticker": ticker,
        "side": side,
        "price_dollars": price,
        "delta_fp": change,
        "ts_ms": round(at * 1000),
    }
    found = decoded("orderbook_delta", body, seq=seq)
    assert isinstance(found, OrderbookDelta)
    return found


def snapshot(seq: int = 1, ticker: str = "KX-A") -> Any:
    levels = {
        "yes_dollars_fp": [["0.5300", "10.00"], ["0.5400", "1.50"]],
        "no_dollars_fp": [["0.4000", "7.00"]],
    }
    return decoded("orderbook_snapshot", {"market_ticker": ticker, **levels}, seq=seq)


def trade(
    ticker: str = "KX-A",
    trade_id: str = "d91bc706-ee49-470d-82d8-11418bda6fed",
    at: float = 1_760_000_000.123,
    source: str = "feed",
) -> Any:
    body = {
        "market_ticker": ticker,
        "trade_id": trade_id,
        "yes_price_dollars": "0.3600",
        "no_price_dollars": "0.6400",
        "count_fp": "136.00",
        "taker_outcome_side": "no",
        "ts_ms": round(at * 1000),
    }
    return from_rest.trade(body) if source == "rest" else decoded("trade", body)


def fill(trade_id: str = "fill-1", at: float = 1_760_000_000.123, source: str = "feed") -> Any:
    body = {
        "market_ticker": "KX-A",
        "trade_id": trade_id,
        "order_id": "order-1",
        "is_taker": True,
        "yes_price_dollars": "0.3600",
        "count_fp": "2.50",
        "fee_cost": "0.012345",
        "outcome_side": "no",
        "book_side": "ask",
        "subaccount": 3,
        "ts_ms": round(at * 1000),
    }
    return from_rest.fill(body) if source == "rest" else decoded("fill", body)


def filled(
    since: datetime, until: datetime, channel: str = "trade", complete: bool = True, reason: str = ""
) -> GapFilled:
    return GapFilled(channel, since, until, ("KX-A",), 2, 1, complete, reason)


def ticker(ticker: str = "KX-A") -> Any:
    body = {
        "market_ticker": ticker,
        "price_dollars": "0.4800",
        "yes_bid_dollars": "0.4500",
        "volume_fp": "33896.00",
    }
    return decoded("ticker", body)


def gap(reason: str = "sequence gap") -> Gap:
    return Gap("orderbook_delta", 1, 7, 9, ("KX-A", "KX-B"), reason)


class Stubborn(Sink):
    """Keeps rows in memory. It fails as long as ``error`` is set, and waits while ``go_on`` is not."""

    batch_rows = 5
    batch_seconds = 60.0

    def __init__(self) -> None:
        self.batches: list[list[Row]] = []
        self.tries: list[list[Row]] = []
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.entered = threading.Event()
        self.closed = 0

    def write(self, rows: Sequence[Row]) -> None:
        self.tries.append(list(rows))
        self.entered.set()
        self.go_on.wait(20)
        if self.error is not None:
            raise self.error
        self.batches.append(list(rows))

    def close(self) -> None:
        self.closed += 1

    @property
    def items(self) -> list[Any]:
        return [row.item for batch in self.batches for row in batch]

    @property
    def numbers(self) -> list[int]:
        return [row.n for batch in self.batches for row in batch]

    def __repr__(self) -> str:
        return "stubborn"


def folded(
    snapshots: Iterable[Sequence[Any]],
    deltas: Iterable[Sequence[Any]],
    parse: Callable[[Any], Any] = json.loads,
) -> Books:
    """Fold snapshots (n, ticker, yes, no) and deltas (n, ticker, side, price, delta) into books, in order."""
    books: Books = {}
    for _, market, *rest in sorted((*snapshots, *deltas), key=lambda row: row[0]):
        if len(rest) == 2:
            sides = ({Decimal(price): Decimal(size) for price, size in parse(side)} for side in rest)
            books[market] = dict(zip(("yes", "no"), sides, strict=True))
        else:
            levels, price = books[market][rest[0]], Decimal(rest[1])
            levels[price] = levels.get(price, Decimal(0)) + Decimal(rest[2])
            if not levels[price]:
                del levels[price]
    return books


def killed_writer(address: str, at_least: int = 1_000) -> int:
    """Run writer.py and kill -9 it in the middle; returns how many rows it had reported as written."""
    announced = 0
    with started("-m", "tests.sinks.writer", address, PGAPPNAME="kalshi-writer") as process:
        assert process.stdout is not None
        while announced < at_least:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            announced = int(line)
        process.kill()
        rest, _ = process.communicate(timeout=20)
    return max([announced, *map(int, rest.split("\n")[:-1])])
