"""``kalshi-feed watch``: the view, or one line per change, of a real feed.

Owns the choice of credentials and exchange from options and environment, and the plain lines. Main thread, but for the
callbacks.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from ..errors import ConfigurationError
from ..feed import DEMO_URL, PRODUCTION_URL, KalshiFeed
from ..messages import Fill, Message, OrderbookDelta, OrderbookSnapshot, Ticker, Trade
from ..session.events import FeedFault, Gap, Lagged, StateChange
from .model import printable, quote
from .monitor import Monitor, fill_text, note_of, time_text, trade_text
from .show import quiet_log, raise_failure, show

__all__ = ["CHANNELS", "feed_for", "run"]

CHANNELS: Final = ("orderbook_delta", "trade")
_URLS: Final = {"production": PRODUCTION_URL, "demo": DEMO_URL}
_LOOK: Final = 0.1  # seconds between two looks at the feed
_RAW: Final = 300  # characters shown of a message this package does not know


def feed_for(*, env: str | None, url: str | None, ca_file: str | None, key_id: str | None, key_file: str | None) -> KalshiFeed:
    """The feed that options and environment ask for. Raises ConfigurationError."""
    if env is not None and url is not None:
        raise ConfigurationError("--env and --url both name an exchange: give one of them")
    environ = dict(os.environ)
    if key_id is not None:
        environ["KALSHI_API_KEY_ID"] = key_id
    if key_file is not None:
        environ["KALSHI_PRIVATE_KEY_PATH"] = key_file
        environ.pop("KALSHI_PRIVATE_KEY", None)
    if env is not None:
        url = _URLS[env]
    arguments: dict[str, Any] = {} if url is None else {"url": url}
    if ca_file is not None:
        arguments["ssl_context"] = _context(ca_file)
    return KalshiFeed.from_env(environ=environ, **arguments)


def feed_address(feed: KalshiFeed) -> str:
    """The url, as the feed's repr tells it."""
    return repr(feed).split()[1]


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        problem = "it holds no certificate in PEM form"
    except OSError as error:
        problem = error.strerror or str(error)
    else:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
    raise ConfigurationError(f"the CA file {ca_file!r} cannot be used: {problem}")


def run(feed: KalshiFeed, market_tickers: Sequence[str], channels: Sequence[str], seconds: float | None, *, plain: bool) -> None:
    """Watch until Ctrl-C or for ``seconds``. Raises KalshiFeedError, and OSError when nobody reads the output."""
    tickers = tuple(dict.fromkeys(market_tickers))
    subscription = feed.subscribe(channels, tickers)

    def check() -> None:
        raise_failure(feed)
        if subscription.error is not None:
            raise subscription.error

    try:
        if plain:
            printer = ChangePrinter(feed)
            with quiet_log(), feed:
                printer.wait(seconds, check)
        else:
            monitor = Monitor(feed, tickers, f"{printable(', '.join(channels))} of {feed_address(feed)}")
            with quiet_log(), feed:
                show(monitor, seconds, check=check)
    except KeyboardInterrupt:
        pass  # the way to end it


class ChangePrinter:
    """One line on standard output per message and event. The worker thread prints; the main thread waits."""

    def __init__(self, feed: KalshiFeed) -> None:
        self._feed = feed
        self._broken: OSError | None = None
        self._ended = threading.Event()
        feed.on_message(self._message)
        for register in (feed.on_state, feed.on_gap, feed.on_lagged, feed.on_error):
            register(self._event)

    def wait(self, seconds: float | None, check: Callable[[], object]) -> None:
        """Wait for ``seconds``, or for ever. Raises what ``check`` raises, and OSError when the output is gone."""
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            check()
            if self._ended.wait(_LOOK if end is None else max(0.0, min(_LOOK, end - time.monotonic()))):
                break
        if self._broken is not None:
            raise self._broken

    def _message(self, message: Message) -> None:
        what = change_text(message)
        if isinstance(message, (OrderbookDelta, OrderbookSnapshot)):
            book = self._feed.book(message.market_ticker).view()
            what += f"  | {book.status.value} yes {quote(book.best_bid(), book.best_ask())}"
        self._print(f"{time_text(getattr(message, 'time', None))} {what}")

    def _event(self, event: StateChange | Gap | Lagged | FeedFault) -> None:
        self._print(f"{time_text(None)} {note_of(event)[0]}")

    def _print(self, line: str) -> None:
        if self._broken is None:
            try:
                click.echo(line)
            except OSError as error:  # nobody reads any more, or the disk is full
                self._broken = error
                self._ended.set()


def change_text(message: Message) -> str:
    """A message in one line, without its time."""
    ticker = printable(message.market_ticker)
    if isinstance(message, OrderbookDelta):
        return f"{ticker} delta {message.side} {message.price:.4f} {message.delta:+,.2f}"
    if isinstance(message, OrderbookSnapshot):
        return f"{ticker} snapshot, {len(message.yes)} yes and {len(message.no)} no levels"
    if isinstance(message, Trade):
        return f"{trade_text(message)} traded"
    if isinstance(message, Fill):
        return fill_text(message)
    if isinstance(message, Ticker):
        return f"{ticker} ticker last {message.price} bid {message.yes_bid} ask {message.yes_ask}"
    return f"{message.type} {printable(getattr(message, 'raw', message))[:_RAW]}"
