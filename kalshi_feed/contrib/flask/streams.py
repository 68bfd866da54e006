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
    from ...messages.listed import Market
    from .process_state import ProcessState

__all__ = ["Slots", "drop_if_slow", "events"]

_MOST_PAST: Final = 100  # markets that are gone, whose result is still sent
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

    ``history`` (once per market: prices and trades until now), ``market`` (a followed market's description,
    when it changes), ``book`` (the newest, at most one in ``stream_interval`` seconds), ``trade`` (each one,
    at most the last fifty between two looks), ``gone`` (a market that is not served anymore; of the last
    hundred of them, ``market`` still comes), ``feed`` (state and health, when they change), and every
    ``stream_heartbeat`` seconds a comment, or for all markets the metrics. Ends when the feed is CLOSED, when
    the one market is gone, or when all streams are to end.
    """
    settings = state.settings
    client = _Client(state)
    status: dict[str, Any] = {}
    beat = time.monotonic()
    yield "retry: 1000\n\n"
    while True:
        if market_ticker is None:
            tickers = state.market_tickers()
        else:
            tickers = [market_ticker] if state.served(market_ticker) is not None else []
        parts = client.look(tickers)
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
        if is_over or not (tickers or market_ticker is None):  # not after FAILED: the page keeps showing that
            return
        time.sleep(settings.stream_interval)


class _Client:
    """What one client has been sent. Not thread-safe; its stream owns it."""

    def __init__(self, state: ProcessState) -> None:
        self._state = state
        self._books: dict[str, OrderBook] = {}
        self._past: dict[str, OrderBook] = {}  # of markets that are gone; held, so that they stay described
        self._described: dict[str, Market | None] = {}
        self._versions: dict[str, int] = {}
        self._trades: dict[str, int] = {}

    def look(self, market_tickers: list[str]) -> list[str]:
        """The events about what is new in these markets, which are all that are served now."""
        parts: list[str] = []
        for ticker in market_tickers:
            book = self._books.get(ticker) or self._begin(ticker, parts)
            if book is None:
                continue
            self._describe(ticker, book, parts)
            version = book.version  # before the book is read: at worst one book is sent twice
            for trade in self._state.tape.trades(ticker, self._trades[ticker]):
                parts.append(_event("trade", {"market_ticker": ticker, **trade}))
                self._trades[ticker] = trade["number"]
            if self._versions.get(ticker) != version:
                parts.append(_event("book", self._state.book(book, self._state.settings.stream_depth)))
                self._versions[ticker] = version
        served = set(market_tickers)
        for ticker in [ticker for ticker in self._books if ticker not in served]:
            self._end(ticker, parts)
        for ticker, book in self._past.items():
            self._describe(ticker, book, parts)
        return parts

    def _begin(self, ticker: str, parts: list[str]) -> OrderBook | None:
        book = self._state.served(ticker)
        if book is not None:
            self._books[ticker] = book
            self._past.pop(ticker, None)
            tape = self._state.tape
            past = tape.trades(ticker)
            self._trades[ticker] = past[-1]["number"] if past else 0
            parts.append(
                _event("history", {"market_ticker": ticker, "prices": tape.prices(ticker), "trades": past})
            )
        return book

    def _describe(self, ticker: str, book: OrderBook, parts: list[str]) -> None:
        market = book.market
        if market is not self._described.get(ticker):
            self._described[ticker] = market
            parts.append(_event("market", {"market_ticker": ticker, **self._state.description(book)}))

    def _end(self, ticker: str, parts: list[str]) -> None:
        self._describe(ticker, self._books[ticker], parts)
        self._past[ticker] = self._books.pop(ticker)
        del self._versions[ticker], self._trades[ticker]
        parts.append(_event("gone", {"market_ticker": ticker}))
        for old in list(self._past)[:-_MOST_PAST]:
            del self._past[old]
            self._described.pop(old, None)


def _event(kind: str, data: object) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
