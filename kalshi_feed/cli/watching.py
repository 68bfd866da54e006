"""``kalshi-feed watch``: the view of a real feed, or one line per message.

Owns ChangePrinter. Main thread, except for the callbacks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final

import click

from ..feed import KalshiFeed
from ..following import Following
from ..messages import Message, OrderbookDelta, OrderbookSnapshot
from .changes import event_json, event_text, message_json, message_text
from .descriptions import Descriptions
from .model import printable
from .monitor import Monitor
from .notes import FeedEvent, clock_text
from .show import quiet_log, say, show
from .subscribing import Subject, hidden_types
from .watched import Watched

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["ChangePrinter", "run"]

_LOOK: Final = 0.1  # seconds between two looks at the feed


def run(
    feed: KalshiFeed,
    subject: Subject,
    rest: Rest | None,
    seconds: float | None,
    *,
    plain: bool,
    as_json: bool = False,
) -> None:
    """Watch until Ctrl-C or for ``seconds``; ``rest``, which this closes, is needed for series and events.

    Raises KalshiFeedError, OSError if the output is closed, and Failed if the feed has never been connected
    or the exchange knows none of the markets.
    """
    draws = not (plain or as_json)
    watched = Watched(feed, subject, rest, warns=not draws)
    followings = watched.followed.followings
    try:
        if not draws:
            relayed = feed.stats().relay is not None
            hides = hidden_types(subject.channels, follows=subject.follows, relayed=relayed)
            printer = ChangePrinter(
                feed, as_json=as_json, hides=hides, only=_markets_of(subject, followings) if relayed else None
            )
            with quiet_log(), feed, contextlib.closing(watched):
                printer.wait(seconds, watched.look)
        else:
            channels = printable(", ".join(subject.channels))
            title = "  ".join([*subject.series, *subject.events, feed.url, channels])
            monitor = Monitor(feed, subject.market_tickers, title, subject.channels, followings)
            descriptions = Descriptions(rest, subject.market_tickers)

            def check() -> None:
                watched.look()
                monitor.waiting = watched.followed.waiting
                monitor.described = descriptions.look()

            with quiet_log(), feed, contextlib.closing(descriptions), contextlib.closing(watched):
                try:
                    show(monitor, seconds, check=check, leave_summary=True)
                finally:
                    watched.report()
    except KeyboardInterrupt:
        pass  # the way to end it
    watched.check()


def _markets_of(subject: Subject, followings: Sequence[Following]) -> Callable[[str], bool]:
    """Whether a market was asked for: a relay's consumer also gets those of others."""
    named = frozenset(subject.market_tickers)
    return lambda ticker: ticker in named or any(ticker in one.market_tickers for one in followings)


class ChangePrinter:
    """Prints one line per message and event on standard output, except for messages of the types it
    ``hides``, and of markets other than those that ``only`` is true for. The thread that runs callbacks
    prints; the main thread waits."""

    def __init__(
        self,
        feed: KalshiFeed,
        *,
        as_json: bool = False,
        hides: Collection[str] = (),
        only: Callable[[str], bool] | None = None,
    ) -> None:
        self._feed = feed
        self._as_json = as_json
        self._hides = hides
        self._only = only
        self._broken: Exception | None = None
        self._ended = threading.Event()
        feed.on_message(self._message)
        feed.on_state(self._event)
        feed.on_gap(self._event)
        feed.on_gap_filled(self._event)
        feed.on_market(self._event)
        feed.on_lagged(self._event)
        feed.on_error(self._event)

    def wait(self, seconds: float | None, check: Callable[[], object]) -> None:
        """Wait for ``seconds``, or indefinitely. Raises what ``check`` raises, and what this object's own
        check() does."""
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            check()
            if self._ended.wait(_LOOK if end is None else max(0.0, min(_LOOK, end - time.monotonic()))):
                break
        self.check()

    def check(self) -> None:
        """Raise the OSError or ClickException that ended the output, if one did."""
        if self._broken is not None:
            raise self._broken

    def _message(self, message: Message) -> None:
        if message.type in self._hides or self._is_others(message.market_ticker):
            return
        changed = isinstance(message, (OrderbookDelta, OrderbookSnapshot))
        book = self._feed.book(message.market_ticker).view() if changed and message.market_ticker else None
        if self._as_json:
            self._print(message_json(message, book))
        else:
            self._print(message_text(message, book, clock_text(self._feed, message.time)))

    def _is_others(self, market_ticker: str | None) -> bool:
        return self._only is not None and market_ticker is not None and not self._only(market_ticker)

    def _event(self, event: FeedEvent) -> None:
        feed = self._feed
        self._print(
            event_json(event, feed.now()) if self._as_json else event_text(event, clock_text(feed, None))
        )

    def _print(self, line: str) -> None:
        if self._broken is None:
            try:
                say(line)
            except (OSError, click.ClickException) as error:  # the pipe was closed, or the disk is full
                self._broken = error
                self._ended.set()
