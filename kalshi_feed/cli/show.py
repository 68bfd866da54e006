"""The loop that shows a running feed: drawn in a terminal, one line per second elsewhere.

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

from .keys import REDRAW, Choice, anchored, pressed
from .layout import layout_for
from .model import Room, matching, printable
from .monitor import Monitor
from .render import draw, plain_line
from .subscribing import raise_failure
from .terminal import Terminal

__all__ = ["quiet_log", "say", "show"]

_FRAME = 0.125  # seconds between two frames if no key is pressed
_LINE = 1.0  # seconds between two lines
_ONE_LINE = Room(depth=1, rows=0, trades=0, notes=0)
_SWITCH = 0.0005  # seconds a thread keeps the GIL: drawing takes long and must not hold up the reader


def show(
    monitor: Monitor,
    seconds: float | None,
    *,
    check: Callable[[], object] | None = None,
    leave_summary: bool = False,
    console: Console | None = None,
) -> None:
    """Show the feed for ``seconds`` (None: until Ctrl-C). ``check`` is called at each turn and may raise.

    ``leave_summary``: a terminal's own screen gets a line about what was shown. Raises the feed's fatal
    error, KeyboardInterrupt (on Ctrl-C and on the key q), and OSError if the output is closed.
    """
    console = console or Console(force_terminal=sys.stdout.isatty())
    drawn = console.is_terminal and not console.is_dumb_terminal and not console.legacy_windows
    end = None if seconds is None else time.monotonic() + seconds

    def look() -> None:
        raise_failure(monitor.feed)
        if check is not None:
            check()

    with _nimble():
        if drawn:
            try:
                _draw(monitor, end, look, console)
            except KeyboardInterrupt:
                _leave(monitor, leave_summary)
                raise
            _leave(monitor, leave_summary)
        else:
            _print(monitor, end, look)


def _draw(monitor: Monitor, end: float | None, look: Callable[[], object], console: Console) -> None:
    choice = Choice()
    with Terminal(console) as terminal:
        while True:
            look()
            choice = anchored(choice, monitor.shown)
            layout = layout_for(
                *terminal.size, _listed(monitor, choice), monitor.shows, describes=monitor.describes
            )
            screen = monitor.screen(layout.room, choice.selected, choice.wanted)
            terminal.draw(
                draw(
                    screen,
                    layout,
                    keys=terminal.has_keys,
                    helping=choice.is_helping,
                    typing=choice.is_typing,
                )
            )
            left = _FRAME if end is None else min(_FRAME, end - time.monotonic())
            if left <= 0:
                return
            for key in terminal.keys(left):
                if key == REDRAW:
                    terminal.redraw()
                choice = pressed(choice, key, monitor.shown if monitor.shows.markets else ())
                if choice.is_over:
                    raise KeyboardInterrupt


def _listed(monitor: Monitor, choice: Choice) -> int:
    """How many markets need room: a filter that leaves fewer than two does not take the list away."""
    shown = monitor.shown
    return max(min(2, len(shown)), len(matching(shown, choice.wanted)))


def _leave(monitor: Monitor, summary: bool) -> None:
    if summary:
        with contextlib.suppress(OSError, click.ClickException):  # the terminal is gone
            say(monitor.summary())


def _print(monitor: Monitor, end: float | None, look: Callable[[], object]) -> None:
    deltas, shown = monitor.deltas, time.monotonic()
    while end is None or shown < end:
        due = shown + _LINE if end is None else min(shown + _LINE, end)
        while (left := due - time.monotonic()) > 0:
            look()
            time.sleep(min(left, _FRAME))
        now, before, deltas = time.monotonic(), deltas, monitor.deltas
        say(plain_line(monitor.screen(_ONE_LINE), deltas - before, max(now - shown, 0.001)))
        shown = now


def say(line: str) -> None:
    """Print a line on standard output, without control characters. Raises BrokenPipeError if the pipe was
    closed, ClickException if the line cannot be written for another reason."""
    try:
        click.echo(printable(line))
    except BrokenPipeError:
        raise  # the command ends quietly
    except OSError as error:
        raise click.ClickException(f"the output cannot be written: {error.strerror or error}") from error


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
    """Keep the feed's log out of the view, which shows what matters as notes."""
    log, handler = logging.getLogger("kalshi_feed"), logging.NullHandler()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
