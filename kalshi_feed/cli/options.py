"""The options that several commands have: one name, one help text and one meaning each.

Owns these options. Main thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..session.channels import CHANNELS as ALL_CHANNELS
from ..session.channels import OLD_FORM, advice_on, is_name, old_form
from .subscribing import CHANNELS, Subject

__all__ = [
    "POSITIVE",
    "ca_file_option",
    "channel_option",
    "check_ticker",
    "env_option",
    "exchange_options",
    "files_argument",
    "gaps_option",
    "json_option",
    "market_options",
    "plain_option",
    "refuse_both",
    "rest_url_option",
    "seconds_option",
    "tickers_argument",
    "wanted",
]

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

POSITIVE = click.FloatRange(min=0, min_open=True)


def _complete_channel(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in ALL_CHANNELS if name.startswith(incomplete)]


def _check_channels(
    context: click.Context, parameter: click.Parameter, channels: tuple[str, ...]
) -> tuple[str, ...]:
    for name in channels:
        if name in ALL_CHANNELS:
            continue
        old = old_form(name)
        advice = advice_on(name) if old is None else f"{OLD_FORM}; write {old[1]} --channel {old[0]}"
        raise click.BadParameter(f"unknown channel {name!r}: {advice}")
    return tuple(dict.fromkeys(channels))


def _check_tickers(
    context: click.Context, parameter: click.Parameter, tickers: tuple[str, ...]
) -> tuple[str, ...]:
    for ticker in tickers:
        if not is_name(ticker):
            raise click.BadParameter(
                f"{ticker!r}: write each ticker as an argument of its own, without spaces or commas"
            )
    return tickers


def check_ticker(context: click.Context, parameter: click.Parameter, ticker: str | None) -> str | None:
    """One ticker, in uppercase. Raises BadParameter."""
    if ticker is not None and not is_name(ticker):
        raise click.BadParameter(f"{ticker!r} is not one ticker")
    return None if ticker is None else ticker.upper()


def _check_followed(
    context: click.Context, parameter: click.Parameter, tickers: tuple[str, ...]
) -> tuple[str, ...]:
    for ticker in tickers:
        if not is_name(ticker):
            raise click.BadParameter(f"{ticker!r} is not one ticker: repeat {parameter.opts[0]} for each")
    return tuple(dict.fromkeys(ticker.upper() for ticker in tickers))


def wanted(
    tickers: tuple[str, ...], series: tuple[str, ...], events: tuple[str, ...], channels: tuple[str, ...]
) -> Subject:
    """What the command was asked for. Raises UsageError if it was nothing."""
    if not (tickers or series or events):
        raise click.UsageError(
            "which markets? Give a TICKER, --series S or --event E; `kalshi-feed markets` finds them"
        )
    return Subject(tuple(dict.fromkeys(tickers)), channels or CHANNELS, series, events)


env_option: Decorator[Any] = click.option(
    "--env",
    type=click.Choice(["production", "demo"]),
    help="Kalshi's own exchange, or its demo; by default KALSHI_ENV, otherwise production.",
)
ca_file_option: Decorator[Any] = click.option(
    "--ca-file",
    type=click.Path(),
    metavar="FILE",
    help="Certificates (PEM) to trust instead of certifi's; by default KALSHI_CA_FILE.",
)
rest_url_option: Decorator[Any] = click.option(
    "--rest-url",
    metavar="URL",
    help="The address of the REST API, https://…; by default KALSHI_REST_URL, otherwise the exchange's.",
)


def exchange_options(command: Command) -> Command:
    """--env, --url, --ca-file, --key-id, --key-file and --compress: which exchange, whose key, and how."""
    for option in (
        click.option(
            "--compress",
            is_flag=True,
            default=None,
            help="Ask the exchange to compress what it sends: about a tenth of the bytes, for some more work "
            "here.",
        ),
        click.option(
            "--key-file",
            type=click.Path(),
            metavar="FILE",
            help="The private key's file; by default KALSHI_PRIVATE_KEY_PATH.",
        ),
        click.option("--key-id", metavar="ID", help="The API key id; by default KALSHI_API_KEY_ID."),
        ca_file_option,
        click.option(
            "--url",
            metavar="URL",
            help="Another address, wss://…, such as that of `kalshi-feed exchange`; by default KALSHI_URL.",
        ),
        env_option,
    ):
        command = option(command)
    return command


tickers_argument: Decorator[Any] = click.argument(
    "tickers", nargs=-1, metavar="[TICKER]...", callback=_check_tickers
)
series_option: Decorator[Any] = click.option(
    "--series",
    "followed_series",
    multiple=True,
    callback=_check_followed,
    metavar="S",
    help="Follow the markets of a series: new ones join, finished ones leave. Repeat it for several. Needs "
    "the extra rest.",
)
event_option: Decorator[Any] = click.option(
    "--event",
    "followed_events",
    multiple=True,
    callback=_check_followed,
    metavar="E",
    help="Follow the markets of an event, as with --series.",
)
files_argument: Decorator[Any] = click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path()
)
channel_option: Decorator[Any] = click.option(
    "--channel",
    "channels",
    multiple=True,
    shell_complete=_complete_channel,
    callback=_check_channels,
    metavar="NAME",
    help="A channel; repeat it for several. By default orderbook_delta and trade. The "
    "channels of reference prices bring all of theirs.",
)
seconds_option: Decorator[Any] = click.option(
    "--seconds", type=POSITIVE, help="How long to run; by default until Ctrl-C."
)
gaps_option: Decorator[Any] = click.option(
    "--gaps",
    type=click.Choice(["strict", "ignore"]),
    default="strict",
    show_default=True,
    help="What missing sequence numbers mean. strict: the book is STALE until its next snapshot. ignore: "
    "nothing (for captures that hold only some of a subscription's markets).",
)
plain_option: Decorator[Any] = click.option(
    "--plain", is_flag=True, help="Print one line of text per message and event, with the book after it."
)


def json_option(streams: bool, what: str) -> Decorator[Any]:
    """--json: one JSON object per line where the command ``streams``, one object where it sums up."""
    begins = "Print one JSON object per line:" if streams else "Print one JSON object:"
    return click.option("--json", "as_json", is_flag=True, help=f"{begins} {what}.")


def market_options(command: Command) -> Command:
    """The options of the commands that connect to an exchange and watch markets."""
    decorated = seconds_option(exchange_options(rest_url_option(channel_option(command))))
    return tickers_argument(series_option(event_option(decorated)))  # type: ignore[no-any-return]


def refuse_both(first: str, second: str, given: bool) -> None:
    """Raise UsageError for two options that contradict each other, if both are ``given``."""
    if given:
        raise click.UsageError(f"{first} and {second} contradict each other: give one of them")
