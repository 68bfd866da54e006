"""What the samples share: their options, and a feed connected to the real exchange or, with --simulate, to a
simulated one.

The real one needs KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH in the environment; KALSHI_ENV or --env
chooses production or demo. KALSHI_URL and KALSHI_CA_FILE name another address and its CA certificate, as
`kalshi-feed exchange` prints them. KALSHI_RELAY=redis://… instead of all these reads from a relay.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from kalshi_feed import (
    DEMO_URL,
    PRODUCTION_URL,
    BookStatus,
    FeedFault,
    FeedState,
    KalshiFeed,
    KalshiFeedError,
    StateChange,
    UnknownMarketError,
)

NO_TICKER = "name at least one TICKER, or try --simulate"
NO_SERIES = "name a SERIES, or try --simulate"
SIMULATED_SERIES = "KXSIM15M"
MARKETS = ("KALSHI_TICKERS", "KALSHI_SERIES", "KALSHI_EVENTS")  # any of them is enough
URLS = {"production": PRODUCTION_URL, "demo": DEMO_URL}


def parser(description: str, *, series: bool = False) -> argparse.ArgumentParser:
    """Return a parser with the options that every sample has; with ``series`` it takes one series, not
    markets.
    """
    found = argparse.ArgumentParser(description=description)
    if series:
        found.add_argument("series", nargs="?", metavar="SERIES", help="a series, such as KXBTC15M")
    else:
        found.add_argument(
            "tickers", nargs="*", metavar="TICKER", help="markets, such as KXNFLGAME-25OCT13-SF-KC"
        )
    found.add_argument(
        "--simulate",
        action="store_true",
        help=f"use a simulated exchange: needs no key and no {'SERIES' if series else 'TICKER'}",
    )
    found.add_argument(
        "--env", choices=list(URLS), help="which exchange (default: KALSHI_URL or KALSHI_ENV, or production)"
    )
    found.add_argument("--seconds", type=float, help="how long to run (default: until Ctrl-C)")
    return found


def into_environment(options: argparse.Namespace) -> None:
    """Put exchange and markets into the environment, from which a web application reads them.

    Ends the program if no market or series is named and none is simulated.
    """
    if options.env:
        os.environ["KALSHI_ENV"] = options.env
        os.environ.pop("KALSHI_URL", None)  # it would take precedence
    if options.tickers:
        os.environ["KALSHI_TICKERS"] = ",".join(options.tickers)
    if getattr(options, "series", None):
        os.environ["KALSHI_SERIES"] = options.series
    if not (options.simulate or any(os.environ.get(name) for name in MARKETS)):
        sys.exit(NO_TICKER)


@contextlib.contextmanager
def feed_for(options: argparse.Namespace) -> Iterator[tuple[KalshiFeed, list[str]]]:
    """Yield a feed, not started yet, and the markets to watch.

    Errors end the program with one line; so does a feed that has never connected, or one whose markets the
    exchange does not know.
    """
    unknown: list[UnknownMarketError] = []
    with errors_in_one_line() as changes:
        if options.simulate:
            from kalshi_feed.simulator import Exchange

            with Exchange(markets=3, rate=60) as exchange:
                feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
                feed.on_state(changes.append)
                tickers = options.tickers or list(exchange.market_tickers)
                close_without_markets(feed, tickers, unknown)
                yield feed, tickers
        else:
            if not options.tickers:
                sys.exit(NO_TICKER)
            feed = KalshiFeed.from_env(**chosen_url(options))
            feed.on_state(changes.append)
            close_without_markets(feed, options.tickers, unknown)
            yield feed, options.tickers
        if unknown:
            raise unknown[0]


@contextlib.contextmanager
def series_for(options: argparse.Namespace) -> Iterator[tuple[str, Callable[..., KalshiFeed]]]:
    """Yield the series to follow, and what makes a feed for its exchange, with further arguments of
    KalshiFeed.

    Errors end the program with one line; so does a feed that has never connected.
    """
    if not (options.series or options.simulate):
        sys.exit(NO_SERIES)
    series = options.series or SIMULATED_SERIES
    with errors_in_one_line() as changes, contextlib.ExitStack() as stack:
        if options.simulate:
            stack.enter_context(simulated_exchange(series))

        def make_feed(**arguments: Any) -> KalshiFeed:
            chosen = {} if options.simulate else chosen_url(options)
            if os.environ.get("KALSHI_RELAY"):  # the relay fills the gaps, for all that read from it
                arguments = {name: value for name, value in arguments.items() if not name.startswith("fill_")}
            feed = KalshiFeed.from_env(**chosen, **arguments)
            feed.on_state(changes.append)
            return feed

        yield series, make_feed


def chosen_url(options: argparse.Namespace) -> dict[str, Any]:
    """The argument of from_env() that --env stands for: it overrides KALSHI_URL and KALSHI_ENV."""
    return {"url": URLS[options.env]} if options.env else {}


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[list[StateChange]]:
    """End the program with one line after an error, and if the feed whose states are appended to the list
    has never connected.
    """
    changes: list[StateChange] = []
    try:
        yield changes
    except UnknownMarketError as error:
        sys.exit(f"{type(error).__name__}: {error.market_ticker}")  # the log has already said what to do
    except KalshiFeedError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    if not any(change.state is FeedState.CONNECTED for change in changes):
        lost = [change.reason for change in changes if change.state is FeedState.RECONNECTING]
        sys.exit(f"never connected: {lost[-1] if lost else 'the first attempt was still under way'}")


def close_without_markets(feed: KalshiFeed, tickers: list[str], found: list[UnknownMarketError]) -> None:
    """Close the feed if the exchange knows none of the markets (a typo, the other environment): nothing would
    ever come. ``found`` then has the reason. A market that is over ends nothing.
    """

    @feed.on_error
    def look(fault: FeedFault) -> None:
        error = fault.error
        if isinstance(error, UnknownMarketError) and not error.was_known:
            if all(feed.book(ticker).status is BookStatus.UNKNOWN for ticker in tickers):
                found.append(error)
                feed.close()


@contextlib.contextmanager
def simulated_exchange(series: str | None = None) -> Iterator[None]:
    """Run a simulated exchange and point the environment variables at it and at its markets; or at none, and
    run ``series``, of which two markets open every five seconds.
    """
    from kalshi_feed.simulator import Exchange

    with tempfile.TemporaryDirectory() as folder, Exchange(markets=3, rate=60) as exchange:
        key_file, ca_file = exchange.write_credentials(folder)
        os.environ.pop("KALSHI_RELAY", None)  # it would be a relay of another exchange
        os.environ |= {
            "KALSHI_API_KEY_ID": exchange.api_key_id,
            "KALSHI_PRIVATE_KEY_PATH": str(key_file),
            "KALSHI_URL": exchange.url,
            "KALSHI_REST_URL": exchange.rest_url,
            "KALSHI_CA_FILE": str(ca_file),
        }
        if series is None:
            os.environ.setdefault("KALSHI_TICKERS", ",".join(exchange.market_tickers))
        else:
            exchange.run_series(series, every=5, markets=2)
        yield


def say(line: str, feed: KalshiFeed) -> None:
    """Print a line at once, from any thread. Close the feed if the pipe is closed (`| head -2`)."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still buffered
        feed.close()


def end_as_ctrl_c() -> None:
    """Let SIGTERM, SIGHUP and SIGBREAK end the program as Ctrl-C does; run_forever() does this on its own."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a lost session sends SIGHUP more than once
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


def close_after(feed: KalshiFeed, seconds: float | None) -> None:
    """Close the feed after ``seconds``, from another thread; run_forever() then returns as after Ctrl-C."""
    if seconds is not None:
        timer = threading.Timer(seconds, feed.close)
        timer.daemon = True
        timer.start()
