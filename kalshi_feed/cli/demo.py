"""``kalshi-feed demo``: a simulated exchange and a real feed connected to it, compared at the end.

Owns Summary and ``run()``. The exchange's own books are the truth; the comparison is exact, because the
exchange is paused and everything it sent has been applied.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..errors import KalshiFeedError
from ..feed import KalshiFeed
from .model import counted
from .monitor import Monitor
from .show import quiet_log, show
from .subscribing import raise_failure

if TYPE_CHECKING:
    from ..simulator import Exchange

__all__ = ["Summary", "comparison", "run", "wait"]

_READY = 20.0  # seconds for all books to become LIVE
_CAUGHT_UP = 10.0  # seconds for the feed to apply what the exchange has sent
_PAUSE = 0.01


@dataclass(frozen=True)
class Summary:
    """The result of the demo; latencies in seconds. Immutable."""

    seconds: float
    deltas: int
    updates_per_second: float
    books: int
    books_matching: int
    reconnects: int
    gaps: int
    dropped: int
    latency_p50: float | None
    latency_p99: float | None
    differing: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether no book differs."""
        return not self.differing

    def to_dict(self) -> dict[str, Any]:
        """The summary as ``--json`` prints it."""
        return {
            "deltas": self.deltas,
            "updates_per_second": round(self.updates_per_second, 1),
            "books": self.books,
            "books_matching": self.books_matching,
            "reconnects": self.reconnects,
            "dropped": self.dropped,
            "latency_ms_p50": _ms(self.latency_p50),
            "latency_ms_p99": _ms(self.latency_p99),
        }

    def lines(self) -> list[str]:
        """The summary as lines for people."""
        lines = [
            f"{counted(self.deltas, 'delta')} in {self.seconds:.1f} s, "
            f"{self.updates_per_second:,.1f} updates per second",
            f"books equal to the exchange's: {self.books_matching}/{self.books}",
            f"reconnects {self.reconnects}, gaps {self.gaps}, dropped {self.dropped}",
            f"processing latency p50 {_text(self.latency_p50)}, p99 {_text(self.latency_p99)}",
        ]
        if self.differing:
            more = " …" if len(self.differing) > 5 else ""
            lines.append(f"these books differ from the exchange's: {', '.join(self.differing[:5])}{more}")
        return lines


def run(
    exchange: Exchange, seconds: float | None, *, view: bool = True, console: Console | None = None
) -> Summary:
    """Show the books of the running ``exchange`` until Ctrl-C or for ``seconds``, compare them, return the
    summary.

    With ``view=False`` nothing is shown. The exchange is paused at the end. Raises KalshiFeedError.
    """
    tickers = exchange.market_tickers
    with (
        quiet_log(),
        KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed,
    ):
        monitor = Monitor(feed, tickers, f"a simulated exchange on {exchange.url}  TLS, signed handshake")
        feed.subscribe(["orderbook_delta", "trade"], tickers)
        before = 0
        try:
            deadline = time.monotonic() + _READY
            for ticker in tickers:
                feed.wait_for_book(ticker, timeout=max(0.0, deadline - time.monotonic()))
            monitor.begun, before = time.monotonic(), monitor.deltas
            if view:
                show(monitor, seconds, console=console)
            else:
                wait(feed, seconds)
        except KeyboardInterrupt:
            pass  # the summary is still printed
        elapsed, during = monitor.elapsed, monitor.deltas - before
        differing = comparison(exchange, feed, exchange.market_tickers)
        stats = feed.stats()
        return Summary(
            seconds=elapsed,
            deltas=monitor.deltas,
            updates_per_second=during / max(elapsed, 0.001),
            books=len(tickers),
            books_matching=len(tickers) - len(differing),
            reconnects=stats.reconnects,
            gaps=stats.gaps,
            dropped=stats.dropped,
            latency_p50=stats.processing_latency_p50,
            latency_p99=stats.processing_latency_p99,
            differing=differing,
        )


def wait(feed: KalshiFeed, seconds: float | None) -> None:
    """Wait until Ctrl-C or for ``seconds``. Raises the feed's fatal error."""
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        raise_failure(feed)
        time.sleep(0.1 if end is None else max(0.0, min(0.1, end - time.monotonic())))


def comparison(exchange: Exchange, feed: KalshiFeed, tickers: Sequence[str]) -> tuple[str, ...]:
    """Pause the exchange; return those of the markets whose book is not LIVE, or not the exchange's.

    The answer to list_subscriptions comes after everything sent before it, so by then all of that is in the
    books.
    """
    deadline = time.monotonic() + _CAUGHT_UP

    def left() -> float:
        return max(0.0, deadline - time.monotonic())

    exchange.pause()
    try:
        exchange.wait_until_sent(left())
        feed.list_subscriptions(left())
        for ticker in tickers:
            feed.wait_for_book(ticker, left())
        while feed.stats().queue_depth and left():
            time.sleep(_PAUSE)
    except (KalshiFeedError, TimeoutError):
        pass  # compare anyway: a book that is not there does not match
    truth = exchange.books()
    return tuple(ticker for ticker in tickers if not _matches(feed, ticker, truth[ticker]))


def _matches(feed: KalshiFeed, ticker: str, truth: Any) -> bool:
    view = feed.book(ticker).view()
    return view.is_live and all(dict(view.bids(side)) == truth[side] for side in ("yes", "no"))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _text(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.2f} ms"
