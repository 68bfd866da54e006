"""The README's pictures of the terminal; ``python -m tests.pictures`` redraws them into samples/pictures/.

Books, trades, gaps and states are those of a feed on a simulated exchange whose moves are seeded. What
differs from run to run (times of day, ages, rates, latencies) is replaced by that of one run of ``kalshi-feed
demo``.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from kalshi_feed import KalshiFeed
from kalshi_feed.cli.layout import layout_for
from kalshi_feed.cli.model import Figures, NoteLine, Room, Screen
from kalshi_feed.cli.monitor import Monitor
from kalshi_feed.cli.render import draw
from kalshi_feed.simulator import Exchange

FOLDER = Path(__file__).parents[1] / "samples" / "pictures"
MARKETS = (
    "KXNFLGAME-25OCT13SFKC-KC",
    "KXNFLGAME-25OCT13SFKC-SF",
    "KXFEDDECISION-25DEC-H0",
    "KXHIGHNY-25OCT13-B64.5",
    "KXBTCD-25OCT1317-T115000",
)
SEED, CHANGES, MARKED = 8, 680, 20
_FIGURES = Figures(
    rates=(214.0, 215.0, 215.0), latency_p50=0.00024, latency_p99=0.00211, exchange_latency_p50=0.00094
)


@dataclass(frozen=True)
class Picture:
    """One screen: its size, which market is chosen, and whether the connection was lost before."""

    name: str
    title: str
    width: int
    height: int
    selected: int = 0
    cut: bool = False


PICTURES = (
    Picture("watch", "kalshi-feed watch", 112, 30),
    Picture("watch-80x24", "80×24, not connected", 80, 24, selected=4, cut=True),
    Picture("watch-narrow", "40×24", 40, 24, selected=1),
)


def screens() -> Iterator[tuple[Picture, list[Text]]]:
    """Every picture with its lines."""
    with Exchange(markets=MARKETS, seed=SEED) as exchange:
        with KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed:
            monitor = Monitor(feed, MARKETS, "a simulated exchange  orderbook_delta, trade")
            feed.subscribe(["orderbook_delta", "trade"], MARKETS).wait(10)
            for ticker in MARKETS:
                feed.wait_for_book(ticker, timeout=10)
            for count in (CHANGES, MARKED):
                exchange._movement.batch(count, tickers=True)
                feed.list_subscriptions(10)  # its answer comes behind everything sent before
                _wait(lambda: _gathered(monitor))
                if count == CHANGES:
                    # the baseline for the marks at the first picture's levels
                    monitor.screen(Room(1, 0, 0, 0))
            for picture in sorted(PICTURES, key=lambda one: one.cut):
                if picture.cut:
                    exchange.reject_next(100, 503)
                    exchange.reset()
                    _wait(lambda: monitor.feed.stats().state.value == "RECONNECTING")
                layout = layout_for(picture.width, picture.height, len(MARKETS))
                screen = _settled(monitor.screen(layout.room, picture.selected), picture.cut)
                yield picture, draw(screen, layout)


def _gathered(monitor: Monitor) -> bool:
    """Whether everything that came has been through the callbacks."""
    came = monitor.feed.stats().messages
    return (monitor.deltas, monitor.trade_count) == (came.get("orderbook_delta"), came.get("trade"))


def _settled(screen: Screen, cut: bool) -> Screen:
    """Without what differs from run to run."""
    counted = replace(
        _FIGURES, deltas=screen.figures.deltas, trades=screen.figures.trades, gaps=screen.figures.gaps
    )
    notes = [NoteLine("20:15:00.124", "CONNECTED", "good")]
    if cut:
        counted = replace(counted, rates=(0.0, 129.0, 193.0))
        notes.append(
            NoteLine("20:15:14.871", "RECONNECTING: the connection was reset; attempt 3 in 5.2 s", "bad")
        )
    assert screen.ladder is not None
    return replace(
        screen,
        elapsed=18.0 if cut else 14.0,
        retry="in 2 s" if cut else "",
        ladder=replace(screen.ladder, age=3.6 if cut else 0.2),
        figures=counted,
        trades=tuple(
            replace(
                trade, time=f"20:15:{(14_700 - 311 * place) // 1000:02d}.{(14_700 - 311 * place) % 1000:03d}"
            )
            for place, trade in enumerate(screen.trades)
        ),
        notes=tuple(notes[-2:]),
    )


def _wait(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "the feed did not come to rest"
        time.sleep(0.01)


def svg(picture: Picture, lines: list[Text]) -> str:
    """The picture as SVG."""
    console = Console(
        record=True, file=io.StringIO(), width=picture.width, force_terminal=True, color_system="truecolor"
    )
    for line in lines:
        # in a style of their own they are left out: not all viewers keep blanks
        for blank in re.finditer(" +", line.plain):
            line.stylize("not strike", *blank.span())
        console.print(line, soft_wrap=True, highlight=False)
    drawn = console.export_svg(title=picture.title, unique_id=picture.name)
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # what a viewer would fetch


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for picture, lines in screens():
        path = FOLDER / f"{picture.name}.svg"
        path.write_text(svg(picture, lines), encoding="utf-8")
        print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
