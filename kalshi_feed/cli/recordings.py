"""What ``kalshi-feed record``, ``replay`` and ``convert`` do, and how far along they are.

Owns the loops, the progress line and the summaries. Main thread, except for the callbacks.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from ..books.book import BookStatus
from ..books.store import OrderBook
from ..dispatch import REPLIES
from ..errors import FeedClosedError, KalshiFeedError, StaleBookError, UnknownMarketError
from ..events import FeedFault, FeedState, GapFilled, MarketChange
from ..feed import KalshiFeed
from ..recording.tables import Converter
from ..recording.writing import Recording
from .changes import event_text
from .errors import Failed
from .model import counted, printable, quote
from .monitor import Monitor
from .notes import time_text
from .show import quiet_log, show
from .subscribing import Subject, raise_failure
from .watched import Watched
from .watching import ChangePrinter

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["convert", "follow", "heard_nothing", "lines_of", "record", "replay", "report_fault"]

_LOOK: Final = 0.1  # seconds between two looks
_TERMINAL_PACE: Final = 0.5  # seconds between two lines of progress, each replacing the one before
_PIPE_PACE: Final = 10.0
_BOOKS_SHOWN: Final = 20
_NEWS: Final = 1_000  # lines about markets that wait to be written
_SAYS_NOTHING: Final = {*REPLIES, "orderbook_snapshot"}  # a snapshot counts by its book


class Progress:
    """A line of progress on standard error: rewritten in a terminal, a new one every 10 s elsewhere. Main
    thread only."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._is_terminal = sys.stderr.isatty()
        self._due = time.monotonic() + (_TERMINAL_PACE if self._is_terminal else _PIPE_PACE)
        self._last: tuple[float, int] = (time.monotonic(), 0)

    def look(self, messages: int, what: str) -> None:
        """Write the line if it is due; the rate is that since the last line."""
        now = time.monotonic()
        if self._quiet or now < self._due:
            return
        self._due = now + (_TERMINAL_PACE if self._is_terminal else _PIPE_PACE)
        rate = (messages - self._last[1]) / (now - self._last[0])
        self._last = (now, messages)
        line = f"{counted(messages, 'message')}, {rate:,.0f}/s, {what}"
        self._write(f"\r\x1b[K{line}" if self._is_terminal else line)

    def say(self, text: str) -> None:
        """Write a line of its own, also if it is not due."""
        clear = "\r\x1b[K" if self._is_terminal else ""
        if not self._quiet or text.startswith("warning: "):
            with contextlib.suppress(OSError):
                click.echo(clear + printable(text), err=True)

    def end(self) -> None:
        """Clear the line in a terminal."""
        if self._is_terminal and not self._quiet:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        # the terminal or the pipe is gone: the recording matters more
        with contextlib.suppress(OSError):
            click.echo(text, nl=not self._is_terminal, err=True)


def record(
    feed: KalshiFeed,
    subject: Subject,
    rest: Rest | None,
    path: str,
    *,
    rotate_bytes: float | None,
    rotate_seconds: float | None,
    seconds: float | None,
    quiet: bool,
) -> dict[str, Any]:
    """Record until Ctrl-C or for ``seconds``; returns the summary. ``rest``, which this closes, is needed for
    series and events. Raises KalshiFeedError."""
    feed.on_error(report_fault)
    size = int(rotate_bytes) if rotate_bytes else None
    progress, begun = Progress(quiet), time.monotonic()
    watched = Watched(feed, subject, rest, say=progress.say)
    recording = feed.record(path, rotate_bytes=size, rotate_seconds=rotate_seconds)
    useless = False

    def judge() -> None:
        nonlocal useless
        useless = watched.followed.is_useless or heard_nothing(feed)

    try:
        with recording:
            follow(
                feed,
                watched,
                progress,
                seconds,
                lambda: progress.look(recording.messages, _where(recording, feed)),
                judge,
            )
    except (KalshiFeedError, Failed):
        if useless:
            for file in recording.paths:
                file.unlink(missing_ok=True)  # it would block the next attempt under the same name
        raise
    finally:
        progress.end()
    stats = feed.stats()
    return {
        "files": [str(file) for file in recording.paths],
        "messages": recording.messages,
        "missed": recording.missed,
        "bytes": recording.file_bytes,
        "seconds": round(time.monotonic() - begun, 3),
        "gaps": stats.gaps,
        "reconnects": stats.reconnects,
        **watched.summary(),
    }


def heard_nothing(feed: KalshiFeed) -> bool:
    """Whether nothing came but replies and the snapshots of markets that the exchange does not have.

    A closed feed no longer knows that, and then it is False.
    """
    if feed.stats().messages.keys() - _SAYS_NOTHING:
        return False
    return all(_never_came(book) for book in feed.books.values())


def _never_came(book: OrderBook) -> bool:
    try:
        book.view(require_live=True)
    except UnknownMarketError as error:
        return not error.was_known
    except StaleBookError as error:
        return error.status == BookStatus.PENDING.value
    return False


def follow(
    feed: KalshiFeed,
    watched: Watched,
    progress: Progress,
    seconds: float | None,
    look: Callable[[], object],
    on_failure: Callable[[], object] = lambda: None,
) -> None:
    """Run the feed until Ctrl-C or for ``seconds`` and close it.

    ``look`` is called ten times a second, ``on_failure`` before the feed is closed because of an error. What
    happens to followed markets, and what fills a gap, becomes a line above the progress. Raises
    KalshiFeedError, and Failed if the feed has never been connected or the exchange knows nothing of what was
    asked for.
    """
    news: deque[str] = deque(maxlen=_NEWS)

    def hear(event: MarketChange | GapFilled) -> None:
        if not isinstance(event, MarketChange) or event.change != "announced":
            news.append(event_text(event, time_text(None)))

    def report() -> None:
        while news:
            progress.say(news.popleft())

    feed.on_market(hear)
    feed.on_gap_filled(hear)
    end = None if seconds is None else time.monotonic() + seconds
    with quiet_log():
        with contextlib.suppress(KeyboardInterrupt), feed, contextlib.closing(watched):
            try:
                while end is None or time.monotonic() < end:
                    watched.look()
                    report()
                    look()
                    time.sleep(_LOOK if end is None else max(0.0, min(_LOOK, end - time.monotonic())))
            except (KalshiFeedError, Failed):
                on_failure()
                raise
        feed.close()  # also if Ctrl-C came while it was being started
        report()
    watched.check()


def _where(recording: Recording, feed: KalshiFeed) -> str:
    parts = f" in {len(recording.paths)} files" if len(recording.paths) > 1 else ""
    missed = f", {recording.missed:,} missed" if recording.missed else ""
    state = "" if feed.state is FeedState.CONNECTED else f", {feed.state.value}"
    return f"{_size(recording.file_bytes)}{parts}{missed}{state}"


def replay(feed: KalshiFeed, *, plain: bool, as_json: bool, view: bool) -> dict[str, Any]:
    """Play to the end or until Ctrl-C; returns the summary. Raises KalshiFeedError, and OSError if the output
    is closed."""
    feed.on_error(report_fault)
    printer = ChangePrinter(feed, as_json=as_json) if plain or as_json else None
    monitor = Monitor(feed, (), f"replay of {feed.url}") if view else None
    progress, begun = Progress(plain or as_json or view), time.monotonic()
    with quiet_log(), feed:
        with contextlib.suppress(KeyboardInterrupt, FeedClosedError):
            while feed.state is not FeedState.CLOSED:
                raise_failure(feed)
                if printer is not None:
                    printer.wait(_LOOK, lambda: None)
                elif monitor is not None and feed.books:
                    show(monitor, None, check=lambda: _until_closed(feed))
                else:
                    time.sleep(_LOOK)
                progress.look(feed.stats().messages_total, f"{feed.replayed or 0.0:.0%} of the recording")
            feed.run_forever()  # until everything queued has been delivered
        if printer is not None:
            printer.check()
        progress.end()
        stats, elapsed = feed.stats(), time.monotonic() - begun
        views = [book.view() for book in feed.books.values()]
    return {
        "messages": stats.messages_total,
        "seconds": round(elapsed, 3),
        "messages_per_second": round(stats.messages_total / max(elapsed, 0.001)),
        "by_type": dict(stats.messages),
        "gaps": stats.gaps,
        "resyncs": stats.resyncs,
        "reconnects": stats.reconnects,
        "faults": dict(stats.faults),
        "books": {
            one.market_ticker: f"{one.status.value} yes {quote(one.best_bid(), one.best_ask())}"
            for one in views
        },
    }


def _until_closed(feed: KalshiFeed) -> None:
    if feed.state is FeedState.CLOSED:
        raise FeedClosedError("the recording has ended")


def convert(converter: Converter, *, quiet: bool) -> dict[str, Any]:
    """Write the tables; returns the summary. Raises ConfigurationError, and OSError if the disk is full."""
    progress, begun = Progress(quiet), time.monotonic()
    for _ in converter.steps():
        progress.look(converter.messages, f"{converter.progress:.0%} of the recording")
    progress.end()
    return {
        "messages": converter.messages,
        "files": [str(path) for path in converter.paths],
        "rows": dict(converter.rows),
        "seconds": round(time.monotonic() - begun, 3),
        "trouble": converter.trouble,
    }


def lines_of(summary: dict[str, Any]) -> list[str]:
    """A summary as lines for people."""
    lines = []
    for name, value in summary.items():
        label = name.replace("_", " ")
        if name == "bytes":
            lines.append(f"size: {_size(value)}")
        elif name == "files":
            lines += [f"file: {path}" for path in value]
        elif name == "unknown_markets":
            lines += [f"unknown market: {printable(ticker)}" for ticker in value]
        elif name == "trouble":
            lines += [f"trouble: {text}" for text in value]
        elif name == "books":
            lines += [f"{ticker} {text}" for ticker, text in list(value.items())[:_BOOKS_SHOWN]]
            if len(value) > _BOOKS_SHOWN:
                lines.append(f"… and {counted(len(value) - _BOOKS_SHOWN, 'more book')}")
        elif isinstance(value, dict):
            if value:
                lines.append(f"{label}: " + ", ".join(f"{key} {count:,}" for key, count in value.items()))
        else:
            lines.append(f"{label}: {value:,}" if isinstance(value, (int, float)) else f"{label}: {value}")
    return [printable(line) for line in lines]


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def report_fault(fault: FeedFault) -> None:
    """Print what is wrong with the disk or with REST: nothing else says so."""
    if fault.kind in ("recording", "rest"):
        click.echo(
            f"\n{printable(fault.message)}" if sys.stderr.isatty() else printable(fault.message), err=True
        )
