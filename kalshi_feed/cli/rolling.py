"""``kalshi-feed demo --series``: a simulated series whose markets open and close all the time, followed.

Owns RollingSummary and ``run_rolling()``. The exchange's own list of what opened is the truth: every market
must have been followed, and the books of those that are open at the end are compared.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..feed import KalshiFeed
from ..messages import OrderbookSnapshot
from .asking import rest_of
from .demo import comparison, wait
from .model import counted
from .monitor import Monitor
from .show import quiet_log, show

if TYPE_CHECKING:
    from ..simulator import Exchange

__all__ = ["RollingSummary", "run_rolling"]

SERIES: Final = "KXDEMO"
EVERY: Final = 5.0  # seconds from one event to the next
LENGTH: Final = 10.0  # seconds that a market is open, so two events overlap
_LEAD: Final = 1.0
_LINGER: Final = 5.0
_CAUGHT_UP: Final = 10.0  # seconds for the feed to learn of what has opened last
_PAUSE: Final = 0.01


@dataclass(frozen=True)
class RollingSummary:
    """The result of the demo of a series. Immutable.

    Of the markets that ``opened``, ``followed`` had their book; ``missed`` are the others. ``differing`` are
    markets whose book is not the exchange's at the end.
    """

    seconds: float
    deltas: int
    trades: int
    opened: int
    closed: int
    settled: int
    missed: tuple[str, ...]
    books: int
    differing: tuple[str, ...]
    requests: int

    @property
    def is_right(self) -> bool:
        """Whether no market was missed and no book differs."""
        return not (self.missed or self.differing)

    def to_dict(self) -> dict[str, Any]:
        """The summary as ``--json`` prints it."""
        return {
            "deltas": self.deltas,
            "trades": self.trades,
            "markets_opened": self.opened,
            "markets_followed": self.opened - len(self.missed),
            "markets_closed": self.closed,
            "markets_settled": self.settled,
            "books": self.books,
            "books_matching": self.books - len(self.differing),
            "rest_requests": self.requests,
        }

    def lines(self) -> list[str]:
        """The summary as lines for people."""
        followed = self.opened - len(self.missed)
        lines = [
            f"{counted(self.deltas, 'delta')} and {counted(self.trades, 'trade')} in {self.seconds:.1f} s",
            f"markets of the series {SERIES}: {self.opened} opened, {self.closed} closed, "
            f"{self.settled} settled",
            f"followed from their first snapshot on: {followed}/{self.opened}, with "
            f"{counted(self.requests, 'request')} over REST",
            f"open books equal to the exchange's: {self.books - len(self.differing)}/{self.books}",
        ]
        for text, tickers in (("never followed", self.missed), ("these books differ", self.differing)):
            if tickers:
                lines.append(f"{text}: {', '.join(tickers[:5])}{' …' if len(tickers) > 5 else ''}")
        return lines


def run_rolling(
    exchange: Exchange, seconds: float | None, *, markets: int, rate: float, view: bool = True
) -> RollingSummary:
    """Run a series on the ``exchange``, show how it is followed until Ctrl-C or for ``seconds``, and return
    the summary.

    ``markets`` open together; ``rate`` is the book changes per second over all that are open. The exchange is
    paused at the end. Raises KalshiFeedError, and Misused if the extra rest is not installed.
    """
    rest = rest_of(exchange.rest_url, exchange.ssl_context)
    with (
        quiet_log(),
        KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed,
        rest,
    ):
        pace = rate * EVERY / (LENGTH * markets)
        series = exchange.run_series(SERIES, every=EVERY, length=LENGTH, markets=markets, pace=pace)
        snapshots: set[str] = set()

        def remember(snapshot: OrderbookSnapshot) -> None:
            snapshots.add(snapshot.market_ticker or "")

        feed.on_snapshot(remember)
        following = feed.follow(series=SERIES, lead=_LEAD, linger=_LINGER, rest=rest)
        many = counted(markets, "market")
        title = f"{SERIES} on a simulated exchange: {many} every {EVERY:.0f} s"
        monitor = Monitor(feed, (), title, followings=[following])
        monitor.waiting = f"no market of the series {SERIES} is open: waiting for the next one"
        try:
            if view:
                show(monitor, seconds)
            else:
                wait(feed, seconds)
        except KeyboardInterrupt:
            pass  # the summary is still printed
        elapsed = monitor.elapsed
        exchange.pause()
        counts = series.counts
        opened = series.market_tickers[: counts["opened"]]
        _catch_up(snapshots, opened)
        open_now = opened[counts["closed"] :]
        return RollingSummary(
            seconds=elapsed,
            deltas=monitor.deltas,
            trades=monitor.trade_count,
            opened=len(opened),
            closed=counts["closed"],
            settled=counts["settled"],
            missed=tuple(ticker for ticker in opened if ticker not in snapshots),
            books=len(open_now),
            differing=comparison(exchange, feed, open_now),
            requests=sum(exchange.rest_requests.values()),
        )


def _catch_up(snapshots: Collection[str], opened: Collection[str]) -> None:
    """Wait until the feed has the first snapshot of what has opened last."""
    deadline = time.monotonic() + _CAUGHT_UP
    while not all(ticker in snapshots for ticker in opened) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
