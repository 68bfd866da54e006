"""Shared by the tests of the whole feed: names, recorders, and the book as plain dicts."""

from __future__ import annotations

import sys
import textwrap
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from kalshi_feed import BookView, FeedFault, FeedState, Gap, KalshiFeed, Lagged, OrderBook, StateChange
from kalshi_feed.session.timing import Timing
from kalshi_feed.simulator import Exchange
from tests.support import wait_until

__all__ = [
    "A",
    "B",
    "C",
    "CuriousFeed",
    "FeedMaker",
    "Held",
    "HurriedFeed",
    "Recorder",
    "channels_of",
    "impossible_delta",
    "in_thread",
    "markets_of",
    "own_threads",
    "program",
    "sides",
    "wait_equal",
    "wait_markets",
]

A, B, C = "KXTEST-26-A", "KXTEST-26-B", "KXTEST-26-C"
FeedMaker = Callable[..., KalshiFeed]


class HurriedFeed(KalshiFeed):
    """A feed whose session has only short waits."""

    _timing = Timing(ack=0.3, snapshot=0.3, retry_initial=0.02, retry_max=0.1, healthy=0.5, healthy_live=0.2)


class CuriousFeed(KalshiFeed):
    """A feed that asks again soon."""

    _timing = Timing(ask_unknown=0.05, ask_unknown_max=0.2, ask_unknown_pace=0.01)


class Recorder:
    """Everything that the feed reports, in order. The worker appends, the test reads."""

    def __init__(self, feed: KalshiFeed) -> None:
        self.received: list[Any] = []
        self.states: list[StateChange] = []
        self.gaps: list[Gap] = []
        self.lags: list[Lagged] = []
        self.faults: list[FeedFault] = []
        self.messages: list[Any] = []
        for register, kept in (
            (feed.on_state, self.states),
            (feed.on_gap, self.gaps),
            (feed.on_lagged, self.lags),
            (feed.on_error, self.faults),
            (feed.on_message, self.messages),
        ):
            register(self._keeper(kept))

    def _keeper(self, kept: list[Any]) -> Callable[[Any], None]:
        def keep(item: Any) -> None:
            self.received.append(item)
            kept.append(item)

        return keep

    def kinds(self) -> list[str]:
        """The kinds of the faults so far."""
        return [fault.kind for fault in self.faults]

    def steps(self) -> list[FeedState]:
        """The states entered so far."""
        return [change.state for change in self.states]

    def of(self, type_: str) -> list[Any]:
        """The messages of a type so far."""
        return [message for message in self.messages if message.type == type_]


class Held:
    """A callback that does not return before ``go_on`` is set; ``seen`` holds what it was called with."""

    def __init__(self) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.seen: list[Any] = []

    def __call__(self, item: Any) -> None:
        self.seen.append(item)
        self.entered.set()
        self.go_on.wait(20)


def sides(book: OrderBook | BookView) -> dict[str, dict[Decimal, Decimal]]:
    """A book as the simulator knows it."""
    view = book.view() if isinstance(book, OrderBook) else book
    return {side: dict(view.bids(side)) for side in ("yes", "no")}


def wait_equal(feed: KalshiFeed, exchange: Exchange, *tickers: str, timeout: float = 5.0) -> None:
    """Wait until the books are LIVE and equal the exchange's."""
    for ticker in tickers:
        book = feed.book(ticker)
        wait_until(
            lambda: book.is_live and sides(book) == exchange.book(ticker),  # noqa: B023
            timeout,
            f"the book of {ticker} ({book}) to equal the exchange's",
        )


def impossible_delta(ticker: str) -> dict[str, Any]:
    """A complete delta, in order, that removes more than can be there."""
    return {
        "market_ticker": ticker,
        "market_id": "4f5c2e39-5132-4147-ba3f-b3485ad89427",
        "side": "yes",
        "price_dollars": "0.5000",
        "delta_fp": "-1000000.00",
        "ts": "2026-10-26T00:00:00Z",
        "ts_ms": 1_793_000_000_000,
        "clock": 1,
    }


def own_threads() -> list[str]:
    """The names of the feeds' threads that are running now."""
    return sorted(thread.name for thread in threading.enumerate() if "kalshi-feed" in thread.name)


_ROOT = Path(__file__).parents[2]
_PROGRAM = """
import json, os, signal, ssl, threading, time
from kalshi_feed import *
from tests.feed.support import HurriedFeed, own_threads
url, key_id, key, ca = sys.argv[1:]
credentials, context = Credentials.from_file(key_id, key), ssl.create_default_context(cafile=ca)
make = lambda cls=KalshiFeed, **options: cls(credentials, url=url, ssl_context=context, **options)
feed = make()
"""


def program(exchange: Exchange, folder: Path, body: str) -> list[str]:
    """The command line of a separate program with a feed for the exchange; ``make()`` makes more of them."""
    key, ca = exchange.write_credentials(folder)
    code = f"import sys\nsys.path.insert(0, {str(_ROOT)!r})" + _PROGRAM + textwrap.dedent(body)
    return [sys.executable, "-W", "error", "-c", code, exchange.url, exchange.api_key_id, str(key), str(ca)]


class in_thread:
    """Runs a call in its own thread; ``result()`` returns or raises what it did, within a time limit."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._outcome: Any = None
        self._error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._call()
        except BaseException as error:
            self._error = error

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def ended(self, timeout: float = 5.0) -> BaseException | None:
        """What it raised, or None if it returned. Fails the test if it still runs after ``timeout``."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"the call still runs after {timeout} s"
        return self._error

    def result(self, timeout: float = 5.0) -> Any:
        """What it returned; raises what it raised."""
        error = self.ended(timeout)
        if error is not None:
            raise error
        return self._outcome


def channels_of(exchange: Exchange) -> list[str]:
    """The channels that are open on the exchange."""
    return sorted(s["channel"] for s in exchange.subscriptions)


def markets_of(exchange: Exchange, channel: str) -> list[str] | None:
    """The tickers the exchange has on a channel, None for all. Fails if the channel is not open."""
    (found,) = [s for s in exchange.subscriptions if s["channel"] == channel]
    markets = found["market_tickers"]
    return None if markets is None else sorted(markets)


def wait_markets(exchange: Exchange, channel: str, markets: list[str] | None) -> None:
    """Wait until the exchange has exactly these markets on the channel; None means all of them."""
    wait_until(
        lambda: channel in channels_of(exchange) and markets_of(exchange, channel) == markets,
        what=f"{channel} of {markets} at the exchange: {exchange.subscriptions}",
    )
