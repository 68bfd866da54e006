"""Drives kalshi-simple-ws-orderbook 1.0.0 (a thread with an asyncio loop), which keeps the books itself.

It cannot run as published:

- It installs its modules at the top level but uses relative imports, so they are wrapped in a package here.
- It reads ``yes``, ``price`` and ``delta``, the integer cents that the exchange no longer sends, so a
  subclass turns the current fields into scaled integers and passes them to the peer's own handlers.
- Its URL comes from an enum, so ``WS_BASE_URL`` is set on the client.
- It declares no dependencies, so peers.py lists them.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import sys
import threading
import types
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from peer_run import KEY_FILE, KEY_ID, PORT, TICKERS, TIMEOUT, WANT, Run

PRICE_UNITS, SIZE_UNITS = 10000, 100  # a dollar, a contract

found = importlib.util.find_spec("ws_feed")
if found is None or found.origin is None:
    raise ModuleNotFoundError("kalshi-simple-ws-orderbook is not installed")
package = types.ModuleType("simple_orderbook")
package.__path__ = [str(Path(found.origin).parent)]
sys.modules[package.__name__] = package
runner = importlib.import_module("simple_orderbook.runner")
clients = importlib.import_module("simple_orderbook.kalshi_clients")
orderbook_manager = importlib.import_module("simple_orderbook.orderbook_manager")
out, sys.stdout = sys.stdout, io.StringIO()  # the peer prints to stdout

run, done = Run(), threading.Event()


def in_units(levels: list[list[str]]) -> list[tuple[int, int]]:
    return [(round(float(price) * PRICE_UNITS), round(float(size) * SIZE_UNITS)) for price, size in levels]


class Manager(orderbook_manager.OrderbookManager):
    """The peer's manager of books, given what it can read."""

    def handle_snapshot(self, msg: dict[str, Any]) -> None:
        super().handle_snapshot(
            {
                "market_ticker": msg["market_ticker"],
                "market_id": msg["market_id"],
                "yes": in_units(msg["yes_dollars_fp"]),
                "no": in_units(msg["no_dollars_fp"]),
            }
        )

    def handle_delta(self, msg: dict[str, Any]) -> None:
        if not run.deltas:
            run.begin()
        super().handle_delta(
            {
                "market_ticker": msg["market_ticker"],
                "price": round(float(msg["price_dollars"]) * PRICE_UNITS),
                "delta": round(float(msg["delta_fp"]) * SIZE_UNITS),
                "side": msg["side"],
            }
        )
        run.deltas += 1
        if run.deltas == WANT:
            run.end()
            done.set()


def levels_as_text(levels: dict[int, int]) -> dict[str, str]:
    return {f"{price / PRICE_UNITS:.4f}": f"{size / SIZE_UNITS:.2f}" for price, size in levels.items()}


manager = Manager()
client = clients.KalshiWebSocketClient(
    KEY_ID, serialization.load_pem_private_key(KEY_FILE.read_bytes(), None)
)
client.WS_BASE_URL = f"ws://127.0.0.1:{PORT}"
runner.start_background_feed(manager, client, TICKERS)
complete = done.wait(TIMEOUT)


def books() -> dict[str, Any]:
    return {
        ticker: {side: levels_as_text(book[side]) for side in ("yes", "no")}
        for ticker, book in manager.orderbooks.items()
    }


run.report("kalshi-simple-ws-orderbook", complete, books, out, dropped=manager.dropped_messages)
os._exit(0 if complete else 1)  # the peer cannot be stopped
