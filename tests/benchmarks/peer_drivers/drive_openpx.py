"""Drives openpx 0.3.1 (a Rust engine behind a blocking iterator), which keeps the books itself, in Rust.

``api_url`` sets the URL. The peer subscribes with one command per market, to the channels orderbook_delta and
trade.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from openpx import Delta, Exchange, Snapshot
from peer_run import DUMP, HTTP_URL, KEY_FILE, KEY_ID, TICKERS, TIMEOUT, WANT, Run

run = Run()
others: dict[str, int] = {}
books: dict[str, dict[str, dict[str, str]]] = {}


def field(thing: Any, name: str) -> Any:
    return thing[name] if isinstance(thing, dict) else getattr(thing, name)


def dump_snapshot(snapshot: Any) -> None:
    bids, asks = field(snapshot.book, "bids"), field(snapshot.book, "asks")
    books[snapshot.market_id] = {
        "yes": {f"{field(level, 'price'):.4f}": f"{field(level, 'size'):.2f}" for level in bids},
        "no": {f"{1 - field(level, 'price'):.4f}": f"{field(level, 'size'):.2f}" for level in asks},
    }


def dump_delta(delta: Any) -> None:
    book = books.setdefault(delta.market_id, {"yes": {}, "no": {}})
    for change in delta.changes:
        side = "yes" if str(field(change, "side")).lower() in ("bid", "buy") else "no"
        price, size = field(change, "price"), field(change, "size")
        key = f"{price if side == 'yes' else 1 - price:.4f}"
        if size <= 0:
            book[side].pop(key, None)
        else:
            book[side][key] = f"{size:.2f}"


def finish(complete: bool) -> None:
    run.report("openpx", complete, lambda: books, other=others)
    os._exit(0 if complete else 1)


def main() -> None:
    options = {"api_key_id": KEY_ID, "private_key_pem": KEY_FILE.read_text(), "api_url": HTTP_URL}
    socket = Exchange("kalshi", options).websocket()
    threading.Timer(TIMEOUT, finish, (False,)).start()
    socket.connect()
    updates = socket.updates()
    for ticker in TICKERS:
        socket.subscribe(ticker)
    for update in updates:
        if type(update) is Delta:
            if not run.deltas:
                run.begin()
            run.deltas += 1
            if DUMP:
                dump_delta(update)
            if run.deltas >= WANT:
                finish(True)
        else:
            name = type(update).__name__
            others[name] = others.get(name, 0) + 1
            if DUMP and type(update) is Snapshot:
                dump_snapshot(update)


main()
