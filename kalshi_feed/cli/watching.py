"""``kalshi-feed watch``: the view of a real feed, or one line per message.

Owns ChangePrinter. Main thread, except for the callbacks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import click

from ..events import FeedFault, Gap, Lagged, StateChange
from ..feed import KalshiFeed
from ..messages import Message, OrderbookDelta, OrderbookSnapshot
from .access import feed_for
from .changes import event_json, event_text, message_json, message_text
from .first_connection import FirstConnection
from .model import printable
from .monitor import Monitor
from .notes import clock_text
from .show import quiet_log, raise_failure, say, show
from .subscribing import raise_refusal, subscribe
from .unknown import UnknownTickers

__all__ = ["CHANNELS", "feed_for", "run"]

CHANNELS: Final = ("orderbook_delta", "trade")
_LOOK: Final = 0.1  # seconds between two looks at the feed


def run(
    feed: KalshiFeed,
    market_tickers: Sequence[str],
    channels: Sequence[str],
    seconds: float | None,
    *,
    plain: bool,
    as_json: bool = False,
) -> None:
    """Watch until Ctrl-C or for ``seconds``.

    Raises KalshiFeedError, OSError if the output is closed, and Failed if the feed has never been connected
    or the exchange knows none of the markets.
    """
    first = FirstConnection(feed)
    tickers = tuple(dict.fromkeys(market_tickers))
    subscriptions = subscribe(feed, channels, tickers)
    unknown = UnknownTickers(feed, tickers, channels, warns=plain or as_json)

    def check() -> None:
        raise_failure(feed)
        raise_refusal(subscriptions)
        unknown.look()

    try:
        if plain or as_json:
            printer = ChangePrinter(feed, as_json=as_json)
            with quiet_log(), feed:
                printer.wait(seconds, check)
        else:
            monitor = Monitor(feed, tickers, f"{feed.url}  {printable(', '.join(channels))}", channels)
            with quiet_log(), feed:
                try:
                    show(monitor, seconds, check=check, leave_summary=True)
                finally:
                    unknown.report()
    except KeyboardInterrupt:
        pass  # the way to end it
    first.check()


class ChangePrinter:
    """Prints one line per message and event on standard output. The thread that runs callbacks prints; the
    main thread waits."""

    def __init__(self, feed: KalshiFeed, *, as_json: bool = False) -> None:
        self._feed = feed
        self._as_json = as_json
        self._broken: Exception | None = None
        self._ended = threading.Event()
        feed.on_message(self._message)
        for register in (feed.on_state, feed.on_gap, feed.on_lagged, feed.on_error):
            register(self._event)

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
        changed = isinstance(message, (OrderbookDelta, OrderbookSnapshot))
        book = self._feed.book(message.market_ticker).view() if changed and message.market_ticker else None
        if self._as_json:
            self._print(message_json(message, book))
        else:
            self._print(message_text(message, book, clock_text(self._feed, message.time)))

    def _event(self, event: StateChange | Gap | Lagged | FeedFault) -> None:
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
