"""The processes of ``kalshi-feed demo --relay``: the relay and its consumers, and what they report.

Owns what runs in them. Each is a process of its own, started with ``start_part()``, that reports to the demo
over a pipe and ends when the demo says so, or is gone. Imports as little as it can: each process does that.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..books.book import BookView
from ..credentials import Credentials
from ..errors import KalshiFeedError
from ..feed import KalshiFeed
from ..messages import OrderbookDelta

if TYPE_CHECKING:
    from ..relay import Relay

__all__ = [
    "NAME",
    "BookChange",
    "BookReport",
    "DemoPart",
    "PartReport",
    "run_consumer",
    "run_relay",
    "start_part",
]

NAME: Final = "demo"
_PACE: Final = 0.1  # seconds between two reports
_EVERY: Final = 4  # of these changes, one is compared
_MOST: Final = 400  # comparisons that one report holds at most
_ENDS_WITHIN: Final = 5.0  # seconds


class BookChange(NamedTuple):
    """One change of one book, as all processes know it. Immutable."""

    market_ticker: str
    seq: int
    ts_ms: int


@dataclass(frozen=True)
class BookReport:
    """A market's best prices ("" for an empty side) and its status. Immutable."""

    status: str
    bid: str
    ask: str


@dataclass(frozen=True)
class PartReport:
    """What one process reports. Immutable.

    ``live_after``: seconds from the start of its feed until all books were LIVE, None before. ``sums``: since
    the last report, by market and change, the checksum of the whole book after it, and when a callback saw it
    (time.monotonic(), which is the same for all processes). ``error``: why it cannot go on.
    """

    state: str
    books: dict[str, BookReport] = field(default_factory=dict)
    rate: float = 0.0
    messages: int = 0
    live_after: float | None = None
    sums: dict[BookChange, tuple[int, float]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    error: str = ""


class DemoPart:
    """A process of the demo, as the demo sees it. Main thread only."""

    def __init__(self, process: multiprocessing.process.BaseProcess, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe
        self.last: PartReport | None = None

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid or 0

    def reports(self) -> list[PartReport]:
        """What it has reported since the last call."""
        found: list[PartReport] = []
        try:
            while self._pipe.poll():
                found.append(self._pipe.recv())
        except (EOFError, OSError):
            if self.last is None or not self.last.error:
                found.append(PartReport("ended", error="the process has ended"))
        if found:
            self.last = found[-1]
        return found

    def ask(self, what: str) -> None:
        """Ask it to "join" (a consumer), for its "books" (whole ones, in the next report's ``extra``), or for
        its "end"."""
        try:
            self._pipe.send(what)
        except OSError:
            pass  # it has ended

    def end(self) -> None:
        """Wait for its end, for which it was asked; kill it if that takes too long."""
        self._process.join(_ENDS_WITHIN)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_ENDS_WITHIN)
        self._pipe.close()


def start_part(run: Callable[..., None], *arguments: object) -> DemoPart:
    """Start a process that calls ``run(pipe, *arguments)``."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return DemoPart(process, ours)


def run_relay(
    pipe: Connection,
    url: str,
    key: tuple[str, str],
    ca_file: str,
    redis_url: str,
    market_tickers: Sequence[str],
) -> None:
    """The relay's process: a feed with the ``key`` (its id and its file), and the relay of it."""
    from ..connection.context import ca_context
    from ..relay import Relay

    feed = KalshiFeed(Credentials.from_file(*key), url=url, ssl_context=ca_context(ca_file))
    feed.subscribe(["orderbook_delta", "trade"], market_tickers)
    _report(pipe, feed, market_tickers, lambda: Relay(feed, redis_url, name=NAME))


def run_consumer(pipe: Connection, redis_url: str, market_tickers: Sequence[str]) -> None:
    """A consumer's process: once the demo asks it to "join", what any program with KALSHI_RELAY does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if pipe.recv() != "join":
            return
    except (EOFError, OSError):
        return  # the demo is gone
    feed = KalshiFeed.from_relay(redis_url, name=NAME)
    feed.subscribe(["orderbook_delta", "trade"], market_tickers)
    _report(pipe, feed, market_tickers)


def _report(
    pipe: Connection,
    feed: KalshiFeed,
    market_tickers: Sequence[str],
    make_relay: Callable[[], Relay] | None = None,
) -> None:
    """Run the feed, and report until the demo asks for the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo, which ends this process
    logging.getLogger("kalshi_feed").addHandler(logging.NullHandler())  # the demo has the terminal
    sums: dict[BookChange, tuple[int, float]] = {}

    def compare(delta: OrderbookDelta) -> None:
        if delta.seq is None or delta.seq % _EVERY or len(sums) >= _MOST:
            return
        now = time.monotonic()
        view = feed.book(delta.market_ticker or "").view()
        if view.is_live and view.seq == delta.seq:  # no later change is in it yet
            sums[BookChange(view.market_ticker, delta.seq, delta.ts_ms or 0)] = (_checksum(view), now)

    feed.on_delta(compare)
    began, live_after = time.monotonic(), None
    relay = None if make_relay is None else make_relay()
    try:
        (feed if relay is None else relay).start()
        while True:
            wants_books = False
            if pipe.poll(_PACE if live_after is not None else _PACE / 50):
                asked = pipe.recv()
                if asked == "end":
                    break
                wants_books = asked == "books"
            views = [feed.book(ticker).view() for ticker in market_tickers]
            if live_after is None and all(view.is_live for view in views):
                live_after = time.monotonic() - began
            extra: dict[str, Any] = {} if relay is None else {"relay": relay.stats().to_dict()}
            if wants_books:
                extra["books"] = {view.market_ticker: _whole(view) for view in views if view.is_live}
            stats = feed.stats()
            pipe.send(
                PartReport(
                    state=stats.state.value,
                    books={view.market_ticker: _short(view) for view in views},
                    rate=stats.rate_1s,
                    messages=stats.messages_total,
                    live_after=live_after,
                    sums={change: sums.pop(change) for change in tuple(sums)},  # callbacks add to it
                    extra=extra,
                )
            )
    except (EOFError, OSError):
        pass  # the demo is gone
    except KalshiFeedError as error:
        pipe.send(PartReport(feed.state.value, error=str(error)))
    finally:
        if relay is not None:
            relay.close()
        feed.close()


def _short(view: BookView) -> BookReport:
    bid, ask = view.best_bid(), view.best_ask()
    return BookReport(
        view.status.value,
        "" if bid is None else f"{bid.price:.4f}",
        "" if ask is None else f"{ask.price:.4f}",
    )


def _whole(view: BookView) -> dict[str, dict[Any, Any]]:
    return {side: dict(view.bids(side)) for side in ("yes", "no")}


def _checksum(view: BookView) -> int:
    return zlib.crc32(repr([tuple(map(tuple, view.bids(side))) for side in ("yes", "no")]).encode())
