"""Drives pykalshi-client 1.3.0 (asyncio; imported as ``pykalshi``, like the other package).

``ClientConfig`` takes the URL. The client hands the text of each message to an async callback, in a task per
message, so the user decodes it a second time, with orjson here. It keeps no books, so ``UserBooks`` stands in
for what its users have to write.
"""

from __future__ import annotations

import asyncio
import os

import orjson
from cryptography.hazmat.primitives import serialization
from peer_run import KEY_FILE, KEY_ID, PORT, TICKERS, TIMEOUT, WANT, Run, UserBooks
from pykalshi.auth import KalshiCredentials
from pykalshi.config import ClientConfig
from pykalshi.ws_client import KalshiWebSocketClient


def credentials() -> KalshiCredentials:
    if hasattr(KalshiCredentials, "from_key_file"):
        return KalshiCredentials.from_key_file(KEY_ID, str(KEY_FILE))
    return KalshiCredentials(KEY_ID, serialization.load_pem_private_key(KEY_FILE.read_bytes(), None))


async def main() -> None:
    run, books, done = Run(), UserBooks(), asyncio.Event()

    async def on_message(text: str) -> None:
        message = orjson.loads(text)
        if message["type"] == "orderbook_delta":
            if not run.deltas:
                run.begin()
            books.apply(message["msg"])
            run.deltas += 1
            if run.deltas == WANT:
                run.end()
                done.set()
        elif message["type"] == "orderbook_snapshot":
            books.replace(message["msg"])

    config = ClientConfig(ws_base_url=f"ws://127.0.0.1:{PORT}")
    client = KalshiWebSocketClient(credentials(), config, on_message_callback=on_message)
    await client.connect()
    listener = asyncio.create_task(client.listener_loop())
    await client.add_markets(TICKERS, ["orderbook_delta"])
    finished = asyncio.create_task(done.wait())
    await asyncio.wait({finished, listener}, timeout=TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
    error = repr(listener.exception()) if listener.done() and listener.exception() else None
    run.report("pykalshi-client", done.is_set(), books.as_text, book="user code", error=error)
    await client.close()
    os._exit(0)


asyncio.run(main())
