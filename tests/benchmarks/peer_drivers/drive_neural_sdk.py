"""Drives neural-sdk 0.4.1's KalshiWebSocketClient (a thread with an asyncio loop).

It keeps no books, so ``UserBooks`` stands in for what its users have to write. The URL is an option, but the
client always makes an SSL context, which websockets refuses for ws://, so the context is removed before it
connects.
"""

from __future__ import annotations

import threading
from typing import Any

from neural.trading.websocket import KalshiWebSocketClient
from peer_run import KEY_FILE, KEY_ID, TICKERS, TIMEOUT, WANT, WS_URL, Run, UserBooks

run, books, done = Run(), UserBooks(), threading.Event()


def on_message(message: dict[str, Any]) -> None:
    type_ = message.get("type")
    if type_ == "orderbook_delta":
        if not run.deltas:
            run.begin()
        books.apply(message["msg"])
        run.deltas += 1
        if run.deltas == WANT:
            run.end()
            done.set()
    elif type_ == "orderbook_snapshot":
        books.replace(message["msg"])


client = KalshiWebSocketClient(
    api_key_id=KEY_ID, private_key_pem=KEY_FILE.read_bytes(), url=WS_URL, on_message=on_message
)
client.ssl_context = None
client.connect()
client.subscribe(["orderbook_delta"], market_tickers=TICKERS)
complete = done.wait(TIMEOUT)
run.report("neural-sdk", complete, books.as_text, book="user code")
client.close()
