"""The command relay with its options.

Owns what its help says; holds no logic. Main thread only.
"""

from __future__ import annotations

import os

import click

from ..connection.environment import RELAY_VARIABLE
from ..relay.layout import DEFAULT_NAME
from ..session.channels import rule_of
from . import relaying
from .access import exchange_feed_for, relay_for
from .asking import rest_for
from .errors import reporting_errors
from .options import (
    channel_option,
    event_option,
    exchange_options,
    json_option,
    rest_url_option,
    seconds_option,
    series_option,
    tickers_argument,
)
from .recording_commands import print_summary
from .subscribing import CHANNELS, Subject

__all__ = ["relay"]


@click.command(short_help="Share one connection with many processes, over Redis.")
@tickers_argument
@series_option
@event_option
@click.option(
    "--to",
    metavar="URL",
    help="The Redis to write to: redis://[USER@]HOST[:PORT], rediss://… (TLS) or unix://PATH; by default "
    "KALSHI_RELAY.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="The relay's name: several can share a Redis; by default KALSHI_RELAY_NAME, otherwise "
    f"{DEFAULT_NAME}.",
)
@channel_option
@click.option(
    "--allow",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="What consumers may ask for: markets, series and events by name, such as 'KXNFL*'. Repeat it for "
    "several; by default anything.",
)
@click.option(
    "--account",
    is_flag=True,
    help="Also relay the account's channels (fills, orders, positions), in a stream of their own.",
)
@click.option(
    "--keep",
    type=click.FloatRange(10, 86_400),
    default=120.0,
    show_default=True,
    help="About how many seconds of the past Redis keeps, for consumers that were away.",
)
@click.option(
    "--standby",
    is_flag=True,
    help="If another relay writes, wait with a warm connection, and take over when it is gone.",
)
@click.option(
    "--fill-gaps",
    is_flag=True,
    help="Fetch the trades and fills of a lost connection over REST (extra rest).",
)
@click.option(
    "--redis-password-file",
    type=click.Path(),
    metavar="FILE",
    help="A file with Redis's password; by default KALSHI_RELAY_PASSWORD_FILE, or the password is in "
    "KALSHI_RELAY_PASSWORD.",
)
@click.option(
    "--redis-ca-file",
    type=click.Path(),
    metavar="FILE",
    help="Certificates (PEM) to trust for rediss://; by default KALSHI_RELAY_CA_FILE.",
)
@exchange_options
@rest_url_option
@seconds_option
@json_option(False, "the summary. Shows no progress")
def relay(
    tickers: tuple[str, ...],
    followed_series: tuple[str, ...],
    followed_events: tuple[str, ...],
    to: str | None,
    name: str | None,
    channels: tuple[str, ...],
    patterns: tuple[str, ...],
    account: bool,
    keep: float,
    standby: bool,
    fill_gaps: bool,
    redis_password_file: str | None,
    redis_ca_file: str | None,
    env: str | None,
    url: str | None,
    ca_file: str | None,
    key_id: str | None,
    key_file: str | None,
    compress: bool | None,
    rest_url: str | None,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Share one connection to the exchange with any number of processes and machines: it writes what the feed
    receives to Redis. Needs the extra redis, and Redis 5 or newer.

    Programs read it with KALSHI_RELAY=redis://… in their environment, in place of a key:
    KalshiFeed.from_env(), the Flask extension, and the commands watch, record and check (in a shell:
    export KALSHI_RELAY=redis://localhost). They have the same
    books and callbacks, and subscribe as usual: what they ask for is added to the relay's own markets for as
    long as they want it. So a TICKER is not needed here.

    The key stays in this process; nothing of it is written to Redis. Put Redis's password into a file or the
    environment: other users of this machine can see the command line. While Redis is away, the newest data
    waits in memory, up to 64 MiB; what is lost beyond that is reported to every consumer. Ctrl-C ends it.

    \b
    Examples:
      kalshi-feed relay --to redis://localhost
      kalshi-feed relay KXNFLGAME-25OCT13-SF-KC --series KXBTC15M --to redis://localhost --allow 'KXNFL*'
      kalshi-feed relay --to rediss://relay@redis.internal --redis-password-file /run/secrets/redis --standby
    """
    if to is None and not os.environ.get(RELAY_VARIABLE):
        raise click.UsageError(f"where to? Give --to redis://HOST or set {RELAY_VARIABLE}")
    subject = _subject(tickers, followed_series, followed_events, channels, account)
    with reporting_errors():
        access = relay_for(to=to, name=name, password_file=redis_password_file, ca_file=redis_ca_file)
        exchange = {"env": env, "url": url, "ca_file": ca_file}
        feed = exchange_feed_for(
            **exchange,
            key_id=key_id,
            key_file=key_file,
            compress=compress,
            rest_url=rest_url,
            fill_gaps=fill_gaps,
        )
        rest = rest_for(**exchange, rest_url=rest_url) if subject.follows else None
        summary = relaying.run(
            feed,
            subject,
            rest,
            access,
            allow=patterns or ("*",),
            account=account,
            keep=keep,
            standby=standby,
            seconds=seconds,
            quiet=as_json,
        )
    print_summary(summary, as_json)


def _subject(
    tickers: tuple[str, ...],
    series: tuple[str, ...],
    events: tuple[str, ...],
    channels: tuple[str, ...],
    account: bool,
) -> Subject:
    """What the relay subscribes to by itself, which may be nothing. Raises UsageError."""
    for channel in channels:
        rule = rule_of(channel)
        if rule.is_account and not account:
            raise click.UsageError(
                f"--channel {channel} is about your account: add --account, which keeps it in a stream of "
                "its own, and give access to that only to those who may read it"
            )
        if rule.filter_required and not (tickers or series or events):
            raise click.UsageError(f"--channel {channel} needs a TICKER, --series S or --event E")
    return Subject(tuple(dict.fromkeys(tickers)), channels or CHANNELS, series, events)
