"""The loop that shows a running feed until it is told to stop: drawn in a terminal, a line a second elsewhere.

Owns the pace and the choice between the two. Main thread only.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

import click
from rich.console import Console
from rich.live import Live

from ..feed import KalshiFeed
from ..session.events import FeedState
from .model import Room
from .monitor import Monitor
from .render import draw, fitting, plain_line

__all__ = ["quiet_log", "raise_failure", "show"]

_FRAME = 0.125  # seconds between two drawings
_LINE = 1.0  # seconds between two lines
_SWITCH = 0.0005  # seconds a thread keeps the interpreter: drawing takes long and must not hold up the reader


def show(
    monitor: Monitor,
    seconds: float | None,
    *,
    check: Callable[[], object] | None = None,
    console: Console | None = None,
) -> None:
    """Show the feed for ``seconds`` (None: until Ctrl-C). ``check`` is called at each turn and may raise.

    Raises the feed's fatal error, KeyboardInterrupt, and OSError when nobody reads the output any more.
    """
    console = console or Console()
    drawn = console.is_terminal and not console.is_dumb_terminal
    with _nimble():
        if drawn:
            with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
                for _ in _turns(monitor, seconds, _FRAME, check):
                    screen = monitor.screen(fitting(console.width, console.height))
                    live.update(draw(screen, console.width), refresh=True)
        else:
            deltas, shown = monitor.deltas, time.monotonic()
            for _ in _turns(monitor, seconds, _LINE, check):
                now, screen = time.monotonic(), monitor.screen(Room(depth=1, rows=1, trades=1, notes=1))
                click.echo(plain_line(screen, screen.deltas - deltas, max(now - shown, 0.001)))
                deltas, shown = screen.deltas, now


def _turns(monitor: Monitor, seconds: float | None, pace: float, check: Callable[[], object] | None) -> Iterator[None]:
    """One turn each ``pace`` seconds and a last one at the end."""
    begun = time.monotonic()
    end = None if seconds is None else begun + seconds
    due = begun
    while True:
        due = max(due + pace, time.monotonic())
        until = due if end is None else min(due, end)
        while (left := until - time.monotonic()) > 0:
            raise_failure(monitor.feed)
            if check is not None:
                check()
            time.sleep(min(left, _FRAME))
        yield
        if end is not None and time.monotonic() >= end:
            return


def raise_failure(feed: KalshiFeed) -> None:
    """Raise the fatal error of a feed that has failed."""
    if feed.state is FeedState.FAILED:
        feed.start()


@contextlib.contextmanager
def _nimble() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(min(interval, _SWITCH))
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@contextlib.contextmanager
def quiet_log() -> Iterator[None]:
    """The feed's log does not write into the view; what matters of it comes as notes."""
    log, handler = logging.getLogger("kalshi_feed"), logging.NullHandler()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
