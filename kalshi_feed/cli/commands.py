"""The commands and their options.

Owns what the command line says in its help; holds no logic of its own. Main thread only.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from . import demo as demonstration
from . import recording_commands, relay_command, serve, watching
from .access import feed_for
from .asking import rest_beside
from .checking import check
from .demo import Summary
from .errors import Failed, Misused, reporting_errors
from .finding import markets as find_markets
from .options import (
    POSITIVE,
    check_ticker,
    json_option,
    market_options,
    plain_option,
    refuse_both,
    seconds_option,
    wanted,
)
from .relay_demo import RelaySummary, run_relay_demo
from .rolling import RollingSummary, run_rolling

if TYPE_CHECKING:
    from ..simulator import Exchange

__all__ = ["group"]

_MARKETS = click.IntRange(1, 10_000)
_RATE = click.FloatRange(0, 100_000)
_EVERY = 15.0  # seconds
_PIPE_CLOSED = 141  # what a shell reports of a program that SIGPIPE ended: 128 + 13


class _Group(click.Group):
    """The commands. A pipe that closes (`| head`) ends any of them quietly. Main thread only."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise click.exceptions.Exit(_PIPE_CLOSED) from None


def _exchange(markets: int, rate: float, port: int = 0, keys: str | None = None) -> Exchange:
    try:
        from ..simulator import Exchange
    except ImportError as error:
        raise Misused(str(error)) from error
    try:
        return Exchange(markets=markets, rate=rate, port=port, keys=keys)
    except ValueError as error:
        raise Misused(str(error)) from error
    except OSError as error:
        raise Failed(f"the keys cannot be kept in {keys!r}: {error.strerror or error}") from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="kalshi-feed")
def group() -> None:
    """Kalshi's WebSocket feed: live order books in the terminal, recordings, and a simulated exchange.

    \b
    Examples:
      kalshi-feed demo                                    see it run: no key needed
      kalshi-feed demo --markets 50 --rate 2000 --seconds 60
      kalshi-feed markets bitcoin                         find the tickers of open markets: no key needed
      kalshi-feed check TICKER                            find out why it does not work, step by step
      kalshi-feed watch TICKER                            with a key in the environment, see watch --help
      kalshi-feed watch TICKER --env demo --plain | tee changes.txt
      kalshi-feed record TICKER -o game.ndjson.gz         every frame, with its receive time
      kalshi-feed replay game.ndjson.gz --speed 10        the same books, gaps and reconnects again
      kalshi-feed convert game.ndjson.gz --to csv         tables of deltas, trades and the top of the book
      kalshi-feed exchange --markets 10 --rate 100        a simulated exchange for programs to connect to
      kalshi-feed relay TICKER --to redis://localhost     one connection for many processes, over Redis

    Every command has its own --help. The exit code is 0 for success, 1 if the command could not be carried
    out, 2 if it makes no sense, and 141 if the pipe it printed to was closed.

    --json prints one JSON object per line where a command streams or lists (watch, replay, markets), and one
    object where it sums up (the others).

    \b
    For completion of commands, options and channels with the Tab key, put the line for your shell into
    ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish:
      bash  eval "$(_KALSHI_FEED_COMPLETE=bash_source kalshi-feed)"
      zsh   eval "$(_KALSHI_FEED_COMPLETE=zsh_source kalshi-feed)"
      fish  _KALSHI_FEED_COMPLETE=fish_source kalshi-feed | source
    """


@group.command(short_help="See it run: a simulated exchange, no key needed.")
@click.option(
    "--seconds",
    type=POSITIVE,
    default=30.0,
    show_default=True,
    help="How long to run; Ctrl-C ends it earlier.",
)
@click.option(
    "--markets",
    "demo_markets",
    type=_MARKETS,
    help="How many markets, by default 5; with --series how many open together, by default 2.",
)
@click.option(
    "--rate", type=_RATE, default=200.0, show_default=True, help="Book changes per second, over all markets."
)
@click.option(
    "--series",
    "is_rolling",
    is_flag=True,
    help="Show how a series is followed: markets open every 5 seconds and close 10 seconds later. Needs the "
    "extra rest.",
)
@click.option(
    "--relay",
    "is_relayed",
    is_flag=True,
    help="Show a relay and three consumers side by side, each in a process of its own. Needs the extra redis "
    "and an installed redis-server, which is started for it.",
)
@json_option(False, "the summary. Shows no live view")
def demo(
    seconds: float,
    demo_markets: int | None,
    rate: float,
    is_rolling: bool,
    is_relayed: bool,
    as_json: bool,
) -> None:
    """Run a simulated exchange and a feed connected to it, over TLS with a signed handshake; no key needed.

    Shows the live books, and ends with a summary that compares every book with the exchange's own. The exit
    code is 1 if any of them differs, or if a market of the series was missed.

    \b
    Examples:
      kalshi-feed demo
      kalshi-feed demo --series
      kalshi-feed demo --relay
      kalshi-feed demo --markets 50 --rate 2000 --seconds 600
      kalshi-feed demo --seconds 5 --json
    """
    refuse_both("--series", "--relay", is_rolling and is_relayed)
    summary: Summary | RollingSummary | RelaySummary
    if is_relayed:
        with reporting_errors(), _exchange(demo_markets or 5, rate) as exchange:
            summary = run_relay_demo(exchange, seconds, view=not as_json)
    elif is_rolling:
        markets = demo_markets or 2
        with reporting_errors(), _exchange(0, 0.0) as exchange:
            summary = run_rolling(exchange, seconds, markets=markets, rate=rate, view=not as_json)
    else:
        with reporting_errors(), _exchange(demo_markets or 5, rate) as exchange:
            summary = demonstration.run(exchange, seconds, view=not as_json)
    click.echo(json.dumps(summary.to_dict()) if as_json else "\n".join(summary.lines()))
    if not summary.is_right:
        sys.exit(1)


@group.command(short_help="Show the live books of markets.")
@market_options
@plain_option
@json_option(True, "every message and event, with the book after it")
def watch(
    tickers: tuple[str, ...],
    env: str | None,
    url: str | None,
    channels: tuple[str, ...],
    plain: bool,
    as_json: bool,
    ca_file: str | None,
    key_id: str | None,
    key_file: str | None,
    compress: bool | None,
    seconds: float | None,
    followed_series: tuple[str, ...],
    followed_events: tuple[str, ...],
    rest_url: str | None,
) -> None:
    """Show the live books and trades of markets.

    The key comes from the environment: KALSHI_API_KEY_ID with KALSHI_PRIVATE_KEY_PATH (a file) or
    KALSHI_PRIVATE_KEY (the PEM text itself), and KALSHI_PRIVATE_KEY_PASSWORD if the key is encrypted. Or set
    KALSHI_RELAY=redis://… instead of a key, to watch what a relay has (see relay --help).

    A terminal shows the ladder of one market (the asks are the no side's bids at 1 − price), its trades, and
    a list of all markets. Tab, the arrows and 1-9 choose the market, / shows only those whose ticker
    contains what you type, ? lists all keys, q or Ctrl-C quits. Without the channel orderbook_delta it shows
    quotes and trades instead of the ladder. Messages of other channels are notes below, and have the screen
    if there is nothing else. If the output is not a terminal, it prints one line per second.

    With --series or --event the markets change by themselves: those that open join, those that are over go to
    the end of the list and leave it a minute later. The first market of the list is shown until a key chooses
    another one. Titles and times to close come over REST, if the extra rest is installed.

    \b
    Examples:
      kalshi-feed watch KXNFLGAME-25OCT13-SF-KC
      kalshi-feed watch TICKER OTHER --env demo --channel orderbook_delta --channel ticker
      kalshi-feed watch --series KXBTC15M
      kalshi-feed watch TICKER --channel trade
      kalshi-feed watch TICKER --plain --seconds 60 > changes.txt
      kalshi-feed watch TICKER --json | jq -c 'select(.type == "trade") | [.time, .yes_price, .count]'
    """
    refuse_both("--plain", "--json", plain and as_json)
    subject = wanted(tickers, followed_series, followed_events, channels)
    with reporting_errors():
        feed = feed_for(
            env=env,
            url=url,
            ca_file=ca_file,
            key_id=key_id,
            key_file=key_file,
            compress=compress,
            channels=subject.channels,
        )
        rest = rest_beside(subject, env=env, url=url, rest_url=rest_url, ca_file=ca_file)
        watching.run(feed, subject, rest, seconds, plain=plain, as_json=as_json)


@group.command(short_help="Run a simulated exchange for programs to connect to.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="The port on 127.0.0.1; by default a free one."
)
@click.option("--markets", type=_MARKETS, default=5, show_default=True, help="How many markets.")
@click.option(
    "--rate", type=_RATE, default=20.0, show_default=True, help="Book changes per second, over all markets."
)
@seconds_option
@click.option(
    "--keys",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Keep the key and the certificates in this folder: with the same --port, clients do not notice a "
    "restart.",
)
@click.option(
    "--series",
    "made_series",
    metavar="S",
    callback=check_ticker,
    help="Also run a series S, whose markets open and close all the time, for programs that follow it.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=1, max=86_400),
    help="How many seconds a market of the series is open, by default 15; then the next one opens.",
)
@json_option(False, "how to reach the exchange. Does not print who connects")
def exchange(
    port: int,
    markets: int,
    rate: float,
    seconds: float | None,
    keys: str | None,
    made_series: str | None,
    every: float | None,
    as_json: bool,
) -> None:
    """Run a simulated exchange on this machine, for programs under test.

    Prints the environment variables that a program needs to connect, as lines for a shell, and then who
    connects. The files of its private key and CA certificate are removed when it ends, unless --keys keeps
    them.

    \b
    Examples:
      kalshi-feed exchange --port 8443 --markets 10 --rate 100
      kalshi-feed exchange --port 8443 --keys ~/.kalshi-exchange
      kalshi-feed exchange --series KXTEST15S --every 15
      kalshi-feed exchange --json --seconds 600 > exchange.json &
    """
    if every is not None and made_series is None:
        raise click.UsageError("--every needs --series: only a series has markets that open and close")
    with reporting_errors():
        made = None if made_series is None else (made_series, every or _EVERY)
        serve.run(_exchange(markets, rate, port, keys), seconds, series=made, keys=keys, as_json=as_json)


for _command in (
    find_markets,
    check,
    recording_commands.record,
    recording_commands.replay,
    recording_commands.convert,
    relay_command.relay,
):
    group.add_command(_command)
