"""What the dispatch tests share: real messages, and a callback that records its calls and can be awaited."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from kalshi_feed.dispatch import Dispatcher
from kalshi_feed.events import FeedState, StateChange
from kalshi_feed.messages import decode

CONNECTED = StateChange(FeedState.CONNECTING, FeedState.CONNECTED)
LONG = 10.0  # seconds; no wait comes near this unless something is broken


def delta(market_ticker: str, seq: int = 0) -> Any:
    return decode(
        json.dumps(
            {
                "type": "orderbook_delta",
                "sid": 1,
                "seq": seq,
                "msg": {
                    "market_ticker": market_ticker,
                    "price_dollars": "0.5000",
                    "delta_fp": "1.00",
                    "side": "yes",
                },
            }
        )
    )


def trade(market_ticker: str | None, seq: int = 0) -> Any:
    body = {} if market_ticker is None else {"market_ticker": market_ticker}
    return decode(json.dumps({"type": "trade", "sid": 2, "seq": seq, "msg": {"trade_id": "t", **body}}))


def unknown(wire_type: str) -> Any:
    return decode(json.dumps({"type": wire_type, "sid": 3, "msg": {}}))


def subscribed() -> Any:
    return decode('{"type":"subscribed","id":1,"msg":{"channel":"trade","sid":2}}')


class Collector:
    """A callback that keeps what it gets, with the thread it came on. Thread-safe."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.threads: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, item: Any) -> None:
        with self._changed:
            self.items.append(item)
            self.threads.append(threading.current_thread().name)
            self._changed.notify_all()

    def wait(self, count: int) -> list[Any]:
        return self.wait_until(lambda items: len(items) >= count)

    def wait_until(self, predicate: Callable[[list[Any]], object]) -> list[Any]:
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(self.items), LONG):
                raise AssertionError(f"it did not come; got {len(self.items)}: {self.items[-3:]}")
            return list(self.items)


class Gate:
    """A callback that blocks until it is opened, to fill the queue behind it."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._opened = threading.Event()
        self.items: list[Any] = []

    def __call__(self, item: Any) -> None:
        self.items.append(item)
        self.entered.set()
        assert self._opened.wait(LONG)

    def open(self) -> None:
        self._opened.set()


def put(dispatcher: Dispatcher, *items: Any, status_changed: tuple[str, ...] = ()) -> None:
    dispatcher.put(list(items), time.perf_counter(), status_changed)


def soon(seconds: float = LONG) -> float:
    return time.monotonic() + seconds


def seqs(items: list[Any]) -> list[int]:
    return [item.seq for item in items if hasattr(item, "seq")]
