"""Server-sent events: what a client is sent, how many clients there may be, and how a slow one is dropped.

Owns Slots, events() and drop_if_slow(). Nothing is queued for a client: its stream looks at the books
whenever the client can take more, so it always gets the newest.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ...events import FeedState

if TYPE_CHECKING:
    from ...books.store import OrderBook
    from .process_state import ProcessState

__all__ = ["Slots", "drop_if_slow", "events"]

_SEND_BUFFER: Final = 64 * 1024  # bytes; the system's default hides a slow client for megabytes
# where these servers put their connection into the WSGI environment
_SOCKETS: Final = (
    "gunicorn.socket",
    "werkzeug.socket",
)


class Slots:
    """How many streams may be open at once. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()  # guards the count; nothing is called under it
        self._size = size
        self.taken = 0
        self.ended = False  # all streams are to end, and no new one may begin

    def take(self) -> bool:
        """Take a slot; False if there is none."""
        with self._lock:
            if self.ended or self.taken >= self._size:
                return False
            self.taken += 1
            return True

    def give_back(self) -> None:
        """Give back a slot that was taken."""
        with self._lock:
            self.taken -= 1


def drop_if_slow(environ: Mapping[str, Any], timeout: float) -> None:
    """Make the server drop this connection if its client takes no bytes for ``timeout`` seconds.

    A server that does not share its socket with the application (Waitress, uWSGI) has limits of its own.
    """
    for name in _SOCKETS:
        connection = environ.get(name)
        if connection is not None:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
                connection.settimeout(timeout)


def events(state: ProcessState, market_ticker: str | None) -> Iterator[str]:
    """The events for one client: of one market, or of all markets with the feed's metrics.

    ``history`` (once per market: prices and trades until now), ``book`` (the newest, at most one in
    ``stream_interval`` seconds), ``trade`` (each one, at most the last fifty between two looks), ``feed``
    (state and health, when they change), and every ``stream_heartbeat`` seconds a comment, or for all markets
    the metrics. Ends when the feed is CLOSED, or when all streams are to end.
    """
    settings = state.settings
    books: dict[str, OrderBook] = {}
    versions: dict[str, int] = {}
    trades: dict[str, int] = {}
    status: dict[str, Any] = {}
    beat = time.monotonic()
    yield "retry: 1000\n\n"
    while True:
        parts = []
        for ticker in state.market_tickers() if market_ticker is None else (market_ticker,):
            book = books.get(ticker) or state.served(ticker)
            if book is None:
                continue
            version = book.version  # before the book is read: at worst one book is sent twice
            if ticker not in books:
                books[ticker] = book
                past = state.tape.trades(ticker)
                parts.append(
                    _event(
                        "history",
                        {"market_ticker": ticker, "prices": state.tape.prices(ticker), "trades": past},
                    )
                )
                trades[ticker] = past[-1]["number"] if past else 0
            for trade in state.tape.trades(ticker, trades[ticker]):
                parts.append(_event("trade", {"market_ticker": ticker, **trade}))
                trades[ticker] = trade["number"]
            if versions.get(ticker) != version:
                parts.append(_event("book", state.book(book, settings.stream_depth)))
                versions[ticker] = version
        # before the status is read, so that a stream that ends with its feed has sent CLOSED
        is_over = state.slots.ended or state.feed.state is FeedState.CLOSED
        now, before, status = time.monotonic(), status, state.status()
        is_due = now - beat >= settings.stream_heartbeat
        if status != before or (is_due and market_ticker is None):
            parts.append(_event("feed", state.metrics()))
        elif is_due and not parts:
            parts.append(": heartbeat\n\n")
        if is_due:
            beat = now
        if parts:
            yield "".join(parts)
        if is_over:  # not after FAILED: the page keeps showing that
            return
        time.sleep(settings.stream_interval)


def _event(kind: str, data: object) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
