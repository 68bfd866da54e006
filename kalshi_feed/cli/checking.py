"""``kalshi-feed check``: goes from the key to the first snapshot, with the package's own dial and feed.

Owns the command, runs the steps and shows them. Main thread only.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..connection.dial import STEPS as DIAL_STEPS
from ..connection.dial import dial
from ..connection.environment import REST_VARIABLE
from ..connection.failures import local_time
from ..connection.proxy import Proxy, find_proxy
from ..connection.transport import Transport
from ..connection.url import Endpoint, parse_url
from ..connection.wakeup import Wakeup
from ..credentials import Credentials
from ..errors import ConfigurationError, HandshakeRejected, KalshiFeedError, UnknownMarketError
from ..feed import KalshiFeed
from ..session.retry import ReconnectPolicy
from .about import about_of
from .access import (
    context_for,
    credentials_for,
    log_warnings,
    reads_relay,
    refuse_beside_relay,
    rest_url_for,
    url_for,
)
from .check import (
    NOT_REACHED,
    STEPS,
    UNKNOWN_KEY,
    Report,
    Step,
    advice,
    clock,
    market_step,
    rest_step,
    stood_still,
    unknown_market,
)
from .check_relay import RELAY_STEPS, check_relay
from .errors import reporting_errors
from .model import About, level_counts, printable, quote
from .options import POSITIVE, exchange_options, json_option, refuse_both, rest_url_option
from .wording import in_own_terms

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["check", "run"]

_WITHOUT_TICKER = "market_lifecycle_v2"  # needs no market, and is quiet
_MESSAGE_SIZE = 1024 * 1024
_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_WORDS = {"failed": "FAILED", "skipped": "-"}


@click.command(short_help="Find out why it does not work, step by step.")
@click.argument("ticker", required=False)
@exchange_options
@rest_url_option
@click.option(
    "--timeout",
    type=POSITIVE,
    default=10.0,
    show_default=True,
    help="Seconds to allow for each of connecting, the confirmation and the snapshot.",
)
@json_option(False, "the result")
def check(
    ticker: str | None,
    env: str | None,
    url: str | None,
    ca_file: str | None,
    key_id: str | None,
    key_file: str | None,
    rest_url: str | None,
    compress: bool | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Find out why it does not work: test the way to the exchange, step by step.

    \b
    key        there is a key, and it can sign
    url        the address, the CA file and the proxy's url make sense
    dns, tcp   the host of the exchange (or of the proxy) is found and answers
    proxy      the proxy lets us through
    tls        the certificate is accepted
    clock      this machine's clock agrees with the exchange's
    handshake  the exchange accepts the key
    subscribe  the exchange confirms a subscription
    snapshot   the exchange has the market TICKER, and sends its book
    rest       the REST API answers and accepts the key (needs the extra rest)
    market     what REST says about TICKER: its title, when it closes, how it ended

    It says what is wrong with the first step that fails, and what to do. The exit code is 0 if all went well,
    and 1 otherwise. Nothing is ordered or changed, and only the first characters of the key id are shown.

    If KALSHI_RELAY is set, it tests the way to the relay instead:

    \b
    relay      the environment's settings make sense
    redis      Redis answers, and accepts user and password
    read       this user may read what the relay writes
    wish       this user may ask the relay for markets
    writer     a relay writes now
    lag        how long after its time an entry is here
    feed       the relay is connected to the exchange, and a consumer has caught up
    snapshot   the book of the market TICKER arrives

    \b
    Examples:
      kalshi-feed check
      kalshi-feed check KXNFLGAME-25OCT13-SF-KC --env demo
      kalshi-feed check TICKER --json | jq .failed
    """
    refuse_both("--env", "--url", env is not None and url is not None)
    options = {
        "env": env,
        "url": url,
        "ca_file": ca_file,
        "key_id": key_id,
        "key_file": key_file,
        "rest_url": rest_url,
    }
    steps: tuple[str, ...] = STEPS
    if reads_relay():
        steps = RELAY_STEPS
        with reporting_errors():
            refuse_beside_relay(**options, compress=compress)
    shown = None if as_json else _Shown(steps)
    report = Report((lambda step: None) if shown is None else shown.step, steps)
    with contextlib.nullcontext() if shown is None else shown:
        if reads_relay():
            check_relay(report, ticker, timeout)
        else:
            run(report, ticker, timeout, **options, compress=compress)
    if shown is None:
        click.echo(json.dumps(report.to_dict()))
    else:
        shown.line("", "", report.verdict(), "bold")
    sys.exit(0 if report.failed is None else 1)


def run(
    report: Report,
    market_ticker: str | None,
    timeout: float,
    *,
    env: str | None,
    url: str | None,
    ca_file: str | None,
    key_id: str | None,
    key_file: str | None,
    rest_url: str | None,
    compress: bool | None,
) -> None:
    """Run the steps, as far as they go, and add them to ``report``; the other arguments are the command's
    options."""
    with log_warnings() as heard:
        try:
            key = credentials_for(key_id, key_file)
        except ConfigurationError as error:
            _failed(report, "key", error)
            return
        text = f"id {printable(key.api_key_id[:8])}…, {key.key_type} private key"
        report.add(Step("key", "warning" if heard else "ok", "; ".join([text, *heard])))
        try:
            endpoint = parse_url(url_for(env, url))
            proxy = find_proxy(endpoint, None, os.environ)
            context = context_for(ca_file)
            feed = KalshiFeed(
                key,
                url=endpoint.url,
                ssl_context=context,
                compression=bool(compress),
                connect_timeout=timeout,
                reconnect=ReconnectPolicy.never(),
            )
        except ConfigurationError as error:
            _failed(report, "url", error)
            return
        report.add(Step("url", "ok", endpoint.redacted + (f" through {proxy}" if proxy else "")))
        rest = _Asking(key, lambda: rest_url_for(env, url, rest_url), context, timeout)
        if _dialled(report, key, endpoint, proxy, context, timeout, bool(compress)):
            _subscribed(report, feed, endpoint, market_ticker, timeout, rest)
        if report.failed is None:
            _asked(report, rest, market_ticker)


def _failed(
    report: Report,
    step: str,
    error: KalshiFeedError,
    endpoint: Endpoint | None = None,
    proxy: Proxy | None = None,
) -> None:
    known = report.failed is not None  # a wrong clock, whose step has the advice already
    report.add(
        Step(step, "failed", in_own_terms(error), () if known else advice(step, error, endpoint, proxy))
    )
    report.end(NOT_REACHED)


def _dialled(
    report: Report,
    key: Credentials,
    endpoint: Endpoint,
    proxy: Proxy | None,
    context: ssl.SSLContext | None,
    timeout: float,
    compress: bool,
) -> bool:
    """From DNS to the handshake, on a connection of its own. Returns whether all of it worked."""
    left = [
        step for step in DIAL_STEPS if (step != "proxy" or proxy) and (step != "tls" or endpoint.is_secure)
    ]
    times = [time.monotonic()]

    def done(step: str, found: str) -> None:
        left.remove(step)
        times.append(time.monotonic())
        if step != "handshake":  # added after the clock has been judged
            report.add(Step(step, "ok", found, seconds=times[-1] - times[-2]))

    wakeup = Wakeup()
    try:
        transport: Transport = dial(
            endpoint,
            lambda: key.headers(endpoint.sign_path, int(time.time() * 1000)),
            ssl_context=context,
            proxy=proxy,
            deadline=times[0] + timeout,
            wakeup=wakeup,
            cancelled=lambda: False,
            max_message_size=_MESSAGE_SIZE,
            idle_timeout=timeout,
            compression=compress,
            progress=done,
        )
    except KalshiFeedError as error:
        if isinstance(error, HandshakeRejected) and error.server_time is not None:
            refused = error.status == 401 and UNKNOWN_KEY not in error.reason
            report.add(clock((local_time() - error.server_time).total_seconds(), refused))
        elif left[0] == "handshake":
            report.add(Step("clock", "skipped", "the exchange did not send its time"))
        _failed(report, left[0], error, endpoint, proxy)
        return False
    finally:
        wakeup.close()
    transport.close(time.monotonic() + 1.0)
    if transport.clock_skew is not None:
        report.add(clock(transport.clock_skew, refused=False))
    accepted = "the exchange accepts the key"
    if compress:
        accepted += ", and will compress" if transport.is_compressed else ", but does not compress"
    report.add(Step("handshake", "ok", accepted, seconds=times[-1] - times[-2]))
    return True


def _subscribed(
    report: Report,
    feed: KalshiFeed,
    endpoint: Endpoint,
    market_ticker: str | None,
    timeout: float,
    rest: _Asking,
) -> None:
    """The feed's last two steps, with a feed as any program would use it."""
    step = "subscribe"
    channel = _WITHOUT_TICKER if market_ticker is None else "orderbook_delta"
    began = time.monotonic()
    try:
        with feed:
            feed.wait_until_connected(timeout)
            feed.subscribe(channel, market_ticker).wait(timeout)
            text = channel if market_ticker is None else f"{channel} of {printable(market_ticker)}"
            confirmed = Step(step, "ok", f"{text} is confirmed", seconds=time.monotonic() - began)
            if market_ticker is None:
                report.add(stood_still(confirmed, feed.stats().stalls))
                report.add(Step("snapshot", "skipped", "name a TICKER to see whether its book arrives"))
                return
            report.add(confirmed)
            step, began = "snapshot", time.monotonic()
            view = feed.wait_for_book(market_ticker, timeout).view()
            levels = level_counts(len(view.bids("yes")), len(view.bids("no")))
            best = f"yes {quote(view.best_bid(), view.best_ask())}"
            came = Step(step, "ok", f"{levels}, {best}", seconds=time.monotonic() - began)
            report.add(stood_still(came, feed.stats().stalls))
    except UnknownMarketError as error:
        report.add(unknown_market(error, endpoint, rest.about(error.market_ticker)))
        report.end(NOT_REACHED)
    except KalshiFeedError as error:
        _failed(report, step, error, endpoint)


@dataclass(frozen=True)
class _Asking:
    """How to ask REST; seconds. Immutable."""

    key: Credentials
    find_url: Callable[[], str]
    context: ssl.SSLContext | None
    timeout: float

    def rest(self) -> Rest:
        """Raises ConfigurationError, and ImportError if the extra is not installed."""
        from ..rest import Rest

        url, timeout = self.find_url(), self.timeout
        return Rest(self.key, url=url, ssl_context=self.context, timeout=timeout, retry_for=timeout)

    def about(self, market_ticker: str) -> About | None:
        """What REST says about the market; None if it does not know it, or cannot be asked."""
        try:
            with self.rest() as rest:
                return _about(rest, market_ticker)
        except (KalshiFeedError, ImportError):
            return None


def _about(rest: Rest, market_ticker: str) -> About:
    market = rest.market(market_ticker)
    return about_of(market, datetime.now(timezone.utc) - timedelta(seconds=rest.clock_skew or 0.0))


def _asked(report: Report, asking: _Asking, market_ticker: str | None) -> None:
    """The steps after the feed's own: the REST API, and what it says about the market."""
    step, began = "rest", time.monotonic()
    try:
        with asking.rest() as rest:
            status, limits = rest.exchange_status(), rest.limits()
            report.add(rest_step(rest.url, status, limits, rest.clock_skew, time.monotonic() - began))
            step, began = "market", time.monotonic()
            if market_ticker is None:
                report.add(Step(step, "skipped", "name a TICKER to see its title and when it closes"))
            else:
                report.add(market_step(_about(rest, market_ticker), time.monotonic() - began))
    except ImportError as error:
        report.add(Step("rest", "skipped", str(error)))
        report.end("needs the step rest")
    except ConfigurationError as error:
        if error.argument == REST_VARIABLE and not os.environ.get(REST_VARIABLE):
            report.add(Step("rest", "skipped", str(error)))  # another exchange, which may have none
            report.end("needs the step rest")
        else:
            _failed(report, step, error)
    except KalshiFeedError as error:
        _failed(report, step, error)


class _Shown:
    """Shows the steps on standard output as they are made: wrapped to the width of a terminal, or one line
    each elsewhere. Main thread only."""

    def __init__(self, steps: tuple[str, ...]) -> None:
        self._names = (*steps, "the end")
        self._console = Console(highlight=False)
        self._waiting = self._console.status(f"{steps[0]} …")

    def __enter__(self) -> _Shown:
        if self._console.is_terminal:
            self._waiting.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._waiting.stop()

    def step(self, step: Step) -> None:
        """Show a step, unless it was not reached."""
        if step.found == NOT_REACHED:
            return
        took = "" if step.seconds is None else f" ({step.seconds * 1000:.0f} ms)"
        self.line(_WORDS.get(step.status, step.status), step.name, step.found + took, _STYLES[step.status])
        for text in step.advice:
            self.line("", "", f"→ {text}", "")
        next_step = self._names[self._names.index(step.name) + 1]
        self._waiting.update(f"{next_step} …")

    def line(self, word: str, name: str, text: str, style: str) -> None:
        """Show one line in three columns; ``style`` is for the first."""
        text = printable(text)
        if not self._console.is_terminal:
            click.echo(f"{word:8} {name:10} {text}")
            return
        row = Table.grid(padding=(0, 1))
        row.add_column(width=8)
        row.add_column(width=10)
        row.add_column(ratio=1, overflow="fold")
        row.add_row(Text(word, style), name, Text(text, "dim" if style == "dim" else ""))
        self._console.print(row)
