"""Drives pykalshi 2.0.0's Feed (a thread with an asyncio loop).

The Feed keeps no books, but the package has an ``OrderbookManager`` that users call themselves, one per
market, as here. There is no option for the URL, so the private ``_ws_url`` is set before the Feed starts.
"""

from __future__ import annotations

import threading
from typing import Any

from peer_run import HTTP_URL, KEY_FILE, KEY_ID, TICKERS, TIMEOUT, WANT, WS_URL, Run
from pykalshi import KalshiClient
from pykalshi.feed import Feed, OrderbookSnapshotMessage
from pykalshi.orderbook import OrderbookManager

run, done = Run(), threading.Event()
managers: dict[str, OrderbookManager] = {}

feed = Feed(KalshiClient(api_key_id=KEY_ID, private_key_path=str(KEY_FILE), api_base=HTTP_URL))
feed._ws_url = WS_URL


@feed.on("orderbook_delta")
def handle(message: Any) -> None:
    ticker = message.market_ticker
    manager = managers.get(ticker)
    if manager is None:
        manager = managers[ticker] = OrderbookManager(ticker)
    if isinstance(message, OrderbookSnapshotMessage):
        manager.apply_snapshot(message.yes_dollars, message.no_dollars)
        return
    if not run.deltas:
        run.begin()
    manager.apply_delta(message.side, message.price_dollars, message.delta_fp)
    run.deltas += 1
    if run.deltas == WANT:
        run.end()
        done.set()


def books() -> dict[str, Any]:
    return {ticker: {"yes": manager.yes, "no": manager.no} for ticker, manager in managers.items()}


feed.subscribe("orderbook_delta", market_tickers=TICKERS)
feed.start()
complete = done.wait(TIMEOUT)
run.report("pykalshi", complete, books, reconnects=feed.reconnect_count)
feed.stop()
