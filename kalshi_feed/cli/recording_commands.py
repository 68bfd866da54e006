"""The commands record, replay and convert with their options.

Owns what their help says; holds no logic. Main thread only.
"""

from __future__ import annotations

import json
import math
import sys
from datetime import datetime, timezone
from typing import Any, Literal

import click

from ..feed import KalshiFeed
from ..recording.tables import Converter
from . import recordings, storing
from .access import feed_for
from .asking import rest_beside
from .errors import Failed, reporting_errors
from .options import (
    POSITIVE,
    files_argument,
    gaps_option,
    json_option,
    market_options,
    plain_option,
    refuse_both,
    wanted,
)

__all__ = ["convert", "print_summary", "record", "replay"]


def _speed(context: click.Context, parameter: click.Parameter, text: str) -> float | Literal["max"]:
    if text == "max":
        return "max"
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not (speed > 0 and math.isfinite(speed)):
        raise click.BadParameter(f"{text!r} is neither a positive number nor 'max'")
    return speed


def _moment(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | float | None:
    if text is None:
        return None
    try:
        if text.startswith("+"):
            seconds = float(text)
            if not math.isfinite(seconds):
                raise ValueError
            return seconds
        moment = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a time: write 2026-08-05T03:45:00 (UTC), 2026-08-05T03:45:00-04:00, or +90"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


@click.command(short_help="Record every frame to a file, or rows to a database.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(),
    help="A new file: .ndjson, .ndjson.gz or .ndjson.zst (extra zstd).",
)
@click.option(
    "--to",
    "store",
    metavar="STORE",
    help="Instead of a file: postgresql://USER@HOST/DATABASE (extra postgres), sqlite:///FILE or "
    "parquet:FOLDER (extra arrow).",
)
@click.option(
    "--rotate-mb", type=POSITIVE, help="Start the next file (FILE.0002…) after this many megabytes."
)
@click.option("--rotate-minutes", type=POSITIVE, help="Start the next file after this many minutes.")
@market_options
@json_option(False, "the summary. Shows no progress")
def record(
    tickers: tuple[str, ...],
    output: str | None,
    store: str | None,
    rotate_mb: float | None,
    rotate_minutes: float | None,
    channels: tuple[str, ...],
    env: str | None,
    url: str | None,
    ca_file: str | None,
    key_id: str | None,
    key_file: str | None,
    compress: bool | None,
    seconds: float | None,
    as_json: bool,
    followed_series: tuple[str, ...],
    followed_events: tuple[str, ...],
    rest_url: str | None,
) -> None:
    """Record every frame of these markets to a file, with its receive time in nanoseconds.

    The file can be read while it is being written, and after a kill: at most the last second is lost. An
    existing file is never overwritten. A full disk does not end the recording: missing messages are reported
    and counted, and it goes on in the next file once there is room. Ctrl-C ends it; the exit code is 1 if
    messages are missing.

    With --series or --event it records every market of them from before it opens until a minute after it
    has closed, for as long as it runs.

    With --to, snapshots, deltas, trades, tickers, fills and every loss become rows of tables. While the store
    is away, up to 200,000 rows wait in memory and are written when it is back. Put PostgreSQL's password into
    PGPASSWORD or ~/.pgpass: other users of the machine can see the command line.

    \b
    Examples:
      kalshi-feed record KXNFLGAME-25OCT13-SF-KC -o game.ndjson.gz
      kalshi-feed record --series KXBTC15M -o btc.ndjson.gz --rotate-minutes 60
      kalshi-feed record TICKER OTHER -o day.ndjson.zst --rotate-minutes 60
      kalshi-feed record TICKER -o five.ndjson.gz --env demo --seconds 300 --json
      kalshi-feed record TICKER --to sqlite:///markets.db --channel orderbook_delta --channel ticker
      kalshi-feed record TICKER --to postgresql://feed@localhost/markets
    """
    if output is None and store is None:
        raise click.UsageError("where to? Give -o FILE or --to STORE")
    refuse_both("-o FILE", "--to STORE", output is not None and store is not None)
    refuse_both("--to STORE", "--rotate-mb", store is not None and rotate_mb is not None)
    refuse_both("--to STORE", "--rotate-minutes", store is not None and rotate_minutes is not None)
    if rest_url is not None and not (followed_series or followed_events):
        raise click.UsageError("--rest-url needs --series or --event: nothing else is asked over REST")
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
        rest = None
        if subject.follows:
            rest = rest_beside(subject, env=env, url=url, rest_url=rest_url, ca_file=ca_file)
        if store is not None:
            summary = storing.store(feed, subject, rest, store, seconds=seconds, quiet=as_json)
        elif output is not None:
            summary = recordings.record(
                feed,
                subject,
                rest,
                output,
                rotate_bytes=rotate_mb * 1e6 if rotate_mb else None,
                rotate_seconds=rotate_minutes * 60 if rotate_minutes else None,
                seconds=seconds,
                quiet=as_json,
            )
    print_summary(summary, as_json)
    if any(summary.get(name) for name in ("missed", "unwritten", "dropped")):
        sys.exit(1)


@click.command(short_help="Play a recording: the same books, gaps and reconnects.")
@files_argument
@click.option(
    "--speed",
    default="max",
    show_default=True,
    metavar="1|10|max",
    callback=_speed,
    help="1 plays it as it happened, 10 ten times as fast.",
)
@click.option(
    "--at",
    metavar="TIME",
    callback=_moment,
    help="Begin at this moment: 2026-08-05T03:45:00 (UTC, or with an offset), or +90 (seconds).",
)
@click.option(
    "--until", metavar="TIME", callback=_moment, help="End before this moment, written as for --at."
)
@gaps_option
@plain_option
@json_option(True, "every message and event, with the book after it, and at the end the summary")
def replay(
    files: tuple[str, ...],
    speed: float | Literal["max"],
    at: datetime | float | None,
    until: datetime | float | None,
    gaps: Literal["strict", "ignore"],
    plain: bool,
    as_json: bool,
) -> None:
    """Play a recording, or a capture of the exchange's frames: the same books, gaps and reconnects again.

    FILE is what `kalshi-feed record` wrote (its first file plays all its parts), or lines of JSON: the plain
    frames, or {"recv_ms": …, "event": frame}. With a --speed, a terminal shows the live view. Ends with a
    summary. All times are the recording's, in UTC.

    \b
    Examples:
      kalshi-feed replay game.ndjson.gz
      kalshi-feed replay game.ndjson.gz --speed 10 --at 2025-10-13T20:15:00-04:00
      kalshi-feed replay capture.ndjson.gz --gaps ignore --json | tail -1 | jq .books
      kalshi-feed replay day.*.ndjson.zst --plain | grep TICKER > changes.txt
    """
    refuse_both("--plain", "--json", plain and as_json)
    with reporting_errors():
        feed = KalshiFeed.replay(_named(files), speed=speed, at=at, until=until, gaps=gaps)
        view = speed != "max" and not plain and not as_json and sys.stdout.isatty()
        summary = recordings.replay(feed, plain=plain, as_json=as_json, view=view)
    if as_json:
        print_summary({"type": "feed_summary"} | summary, as_json)
    elif not plain:
        print_summary(summary, as_json)


@click.command(short_help="Turn a recording into Parquet or CSV tables.")
@files_argument
@click.option(
    "--to",
    "kind",
    type=click.Choice(["parquet", "csv"]),
    required=True,
    help="The format; parquet needs the extra arrow.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(),
    default=".",
    show_default=True,
    metavar="FOLDER",
    help="Where the tables go.",
)
@gaps_option
@json_option(False, "the summary. Shows no progress")
def convert(
    files: tuple[str, ...],
    kind: Literal["parquet", "csv"],
    folder: str,
    gaps: Literal["strict", "ignore"],
    as_json: bool,
) -> None:
    """Turn a recording into tables of deltas, trades and the top of the book, for pandas, polars, DuckDB or a
    spreadsheet.

    Makes NAME.deltas.parquet, NAME.trades.parquet and NAME.top.parquet; prices and sizes are decimals, times
    are UTC. Existing files are not overwritten. Memory use does not grow with the recording.

    \b
    Examples:
      kalshi-feed convert game.ndjson.gz --to parquet
      kalshi-feed convert day.*.ndjson.zst --to csv -o tables
    """
    with reporting_errors():
        converter = Converter(_named(files), kind, folder, gaps=gaps)
        try:
            summary = recordings.convert(converter, quiet=as_json)
        except OSError as error:
            raise Failed(f"the tables cannot be written: {error.strerror or error}") from error
    print_summary(summary, as_json)


def _named(files: tuple[str, ...]) -> str | tuple[str, ...]:
    """One file stands for all parts of its recording; several files are the parts themselves."""
    return files[0] if len(files) == 1 else files


def print_summary(summary: dict[str, Any], as_json: bool) -> None:
    """Print what a command has done: one JSON object, or lines for people."""
    click.echo(json.dumps(summary) if as_json else "\n".join(recordings.lines_of(summary)))
