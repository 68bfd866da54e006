"""Drives kalshi-sdk 22.4 (asyncio), which keeps the books itself.

``KalshiConfig`` takes both URLs; ws:// is accepted for loopback only. ``maxsize`` has to be raised: with the
default of 1000 and its overflow strategy, a burst ends the session (PEER_MAXSIZE sets it). PEER_ORJSON=1 has
it decode with orjson, an option that it documents; orjson must be installed for that.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from kalshi.auth import KalshiAuth
from kalshi.config import KalshiConfig
from kalshi.ws.client import KalshiWebSocket
from kalshi.ws.models.orderbook_delta import OrderbookDeltaMessage
from peer_run import HTTP_URL, KEY_FILE, KEY_ID, TICKERS, TIMEOUT, WANT, WS_URL, Run

MAXSIZE = int(os.environ.get("PEER_MAXSIZE", "5000000"))


def config() -> KalshiConfig:
    options: dict[str, Any] = {}
    if os.environ.get("PEER_ORJSON"):
        import orjson

        options["ws_json_loads"] = orjson.loads
    return KalshiConfig(base_url=HTTP_URL, ws_base_url=WS_URL, **options)


def book_as_text(book: Any) -> dict[str, dict[str, str]]:
    return {
        side: {str(level.price): str(level.quantity) for level in getattr(book, side)}
        for side in ("yes", "no")
    }


async def main() -> None:
    client = KalshiWebSocket(auth=KalshiAuth.from_key_path(KEY_ID, str(KEY_FILE)), config=config())
    run, error = Run(), None
    async with client.connect() as session:

        def books() -> dict[str, Any]:
            found = {ticker: session._orderbook_mgr.get(ticker) for ticker in TICKERS}
            return {ticker: book_as_text(book) if book else None for ticker, book in found.items()}

        stream = await session.subscribe_orderbook_delta(tickers=TICKERS, maxsize=MAXSIZE)
        try:
            async with asyncio.timeout(TIMEOUT):
                async for message in stream:
                    if type(message) is OrderbookDeltaMessage:
                        if not run.deltas:
                            run.begin()
                        run.deltas += 1
                        if run.deltas >= WANT:
                            break
        except Exception as raised:
            error = repr(raised)[:200]
        run.end()
        run.report("kalshi-sdk", run.deltas >= WANT, books, error=error)


asyncio.run(main())
