"""The commands and their options. Owns the words of the command line. Must
not hold logic of its own. Main thread only.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from .. import __version__
from ..session.channels import CHANNELS
from . import demo as demonstration
from . import recording_commands, serve, watching
from .checking import check
from .errors import Failed, Misused, reporting_errors

if TYPE_CHECKING:
    from ..simulator import Exchange

__all__ = ["group"]

_SECONDS = click.FloatRange(min=0, min_open=True)
_MARKETS = click.IntRange(1, 10_000)
_RATE = click.FloatRange(0, 100_000)


def _channels(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The shell's completion of --channel."""
    return [name for name in CHANNELS if name.startswith(incomplete)]


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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="kalshi-feed")
def group() -> None:
    """Kalshi's WebSocket feed: live order books.

    \b
    Examples:
      kalshi-feed demo                              no key needed: a simulated exchange kalshi-feed demo
      --markets 50 --rate 2000 --seconds 60 kalshi-feed watch KXNFLGAME-25OCT13-SF-KC     with
      KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH set kalshi-feed watch TICKER --env demo --plain | tee
      changes.txt kalshi-feed check TICKER                      why does it not work? the way to the exchange,
      step by step kalshi-feed record TICKER -o game.ndjson.gz   every frame, with its receive time
      kalshi-feed replay game.ndjson.gz --speed 10  the same books, gaps and reconnects again kalshi-feed
      convert game.ndjson.gz --to csv   deltas, trades and top of book as tables kalshi-feed exchange
      --markets 10 --rate 100  a simulated exchange to connect programs to

    Each command has a --help of its own. The exit code is 0, 1 for what could not be done, 2 for what was
    asked wrongly.

    \b
    Completion of commands and options with the Tab key; put the line into ~/.bashrc, ~/.zshrc or
    ~/.config/fish/config.fish:
      bash  eval "$(_KALSHI_FEED_COMPLETE=bash_source kalshi-feed)"
      zsh   eval "$(_KALSHI_FEED_COMPLETE=zsh_source kalshi-feed)"
      fish  _KALSHI_FEED_COMPLETE=fish_source kalshi-feed | source
    """


@group.command(short_help="See it run: a simulated exchange, no key.")
@click.option(
    "--seconds", type=_SECONDS, default=30.0, show_default=True, help="How long; Ctrl-C ends it earlier."
)
@click.option("--markets", type=_MARKETS, default=5, show_default=True, help="How many markets.")
@click.option(
    "--rate", type=_RATE, default=200.0, show_default=True, help="Book changes per second, over all markets."
)
@click.option(
    "--json", "as_json", is_flag=True, help="No view; the summary as one JSON object on standard output."
)
def demo(seconds: float, markets: int, rate: float, as_json: bool) -> None:
    """A simulated exchange and a feed on it, over TLS with a signed handshake; no key needed.

    Shows the live books and ends with a summary that compares every book with the exchange's own. Exits with
    1 if one differs.

    \b
    Examples:
      kalshi-feed demo
      kalshi-feed demo --markets 50 --rate 2000 --seconds 600
      kalshi-feed demo --seconds 5 --json
    """
    with reporting_errors(), _exchange(markets, rate) as exchange:
        summary = demonstration.run(exchange, seconds, view=not as_json)
    click.echo(json.dumps(summary.to_dict()) if as_json else "\n".join(summary.lines()))
    if summary.differing:
        sys.exit(1)


@group.command(short_help="The live books of markets.")
@click.argument("tickers", nargs=-1, required=True, metavar="TICKER...")
@click.option(
    "--env",
    type=click.Choice(["production", "demo"]),
    help="Which exchange; by default as KALSHI_URL or KALSHI_ENV says.",
)
@click.option("--url", metavar="URL", help="Another address, wss://…; of `kalshi-feed exchange`, for one.")
@click.option(
    "--channel",
    "channels",
    multiple=True,
    shell_complete=_channels,
    metavar="NAME",
    help="May be repeated; by default orderbook_delta and trade.",
)
@click.option("--plain", is_flag=True, help="One line per change instead of the view.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object per change: the message, and the book after it."
)
@click.option(
    "--ca-file",
    type=click.Path(),
    help="Certificates (PEM) to trust in place of certifi's; by default KALSHI_CA_FILE's.",
)
@click.option("--key-id", help="The API key id; by default KALSHI_API_KEY_ID's.")
@click.option(
    "--key-file", type=click.Path(), help="The private key's file; by default KALSHI_PRIVATE_KEY_PATH's."
)
@click.option("--seconds", type=_SECONDS, help="How long; by default until Ctrl-C.")
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
    seconds: float | None,
) -> None:
    """The live books of markets of the real exchange.

    The key comes from the environment: KALSHI_API_KEY_ID with KALSHI_PRIVATE_KEY_PATH (a file) or
    KALSHI_PRIVATE_KEY (its text), and KALSHI_PRIVATE_KEY_PASSWORD if it is encrypted.

    In a terminal: the ladder of one market (asks are the other side's bids at 1 − price), its trades, and a
    list of all; Tab, the arrows and 1-9 choose the market, q or Ctrl-C ends it. Without a terminal: a line a
    second.

    \b
    Examples:
      kalshi-feed watch KXNFLGAME-25OCT13-SF-KC
      kalshi-feed watch TICKER OTHER --env demo --channel orderbook_delta --channel trade --channel ticker
      kalshi-feed watch TICKER --plain --seconds 60 > changes.txt
      kalshi-feed watch TICKER --json | jq -c 'select(.type == "trade") | [.time, .yes_price, .count]'
    """
    with reporting_errors():
        feed = watching.feed_for(env=env, url=url, ca_file=ca_file, key_id=key_id, key_file=key_file)
        watching.run(feed, tickers, channels or watching.CHANNELS, seconds, plain=plain, as_json=as_json)


@group.command(short_help="A simulated exchange to connect to.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="The port on 127.0.0.1; by default a free one."
)
@click.option("--markets", type=_MARKETS, default=5, show_default=True, help="How many markets.")
@click.option(
    "--rate", type=_RATE, default=20.0, show_default=True, help="Book changes per second, over all markets."
)
@click.option("--seconds", type=_SECONDS, help="How long; by default until Ctrl-C.")
@click.option(
    "--keys",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Keep key and certificates there: with the same --port, the next start is the same exchange.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="How to reach it as one JSON object on the first line, and nothing else.",
)
def exchange(
    port: int, markets: int, rate: float, seconds: float | None, keys: str | None, as_json: bool
) -> None:
    """A simulated exchange as a server on this machine, for programs under test.

    Prints the environment variables that lead a program to it, as lines for a shell; then who connects. The
    files of its private key and of its CA certificate are removed when it ends, unless --keys keeps them.

    \b
    Examples:
      kalshi-feed exchange --port 8443 --markets 10 --rate 100
      kalshi-feed exchange --port 8443 --keys ~/.kalshi-exchange
      kalshi-feed exchange --json --seconds 600 > exchange.json &
    """
    with reporting_errors():
        serve.run(_exchange(markets, rate, port, keys), seconds, keys=keys, as_json=as_json)


for _command in (check, recording_commands.record, recording_commands.replay, recording_commands.convert):
    group.add_command(_command)
