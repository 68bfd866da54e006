"""The commands record, replay and convert with their options. Owns their words; must not hold logic. Main
thread only."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from typing import Any, Literal

import click

from ..feed import KalshiFeed
from ..recording.tables import Converter
from . import recordings, storing, watching
from .errors import Failed, reporting_errors

__all__ = ["convert", "record", "replay"]

_SECONDS = click.FloatRange(min=0, min_open=True)
_GAPS = click.option(
    "--gaps",
    type=click.Choice(["strict", "ignore"]),
    default="strict",
    show_default=True,
    help="What missing sequence numbers mean: a book that is STALE until its next snapshot, or nothing "
    "(for captures that hold only some of a subscription's markets).",
)
_JSON = click.option(
    "--json", "as_json", is_flag=True, help="No progress; the summary as one JSON object on standard output."
)
_FILES = click.argument("files", nargs=-1, required=True, metavar="FILE...")


@click.command()
@click.argument("tickers", nargs=-1, required=True, metavar="TICKER...")
@click.option("-o", "--output", metavar="FILE", help="A new file: .ndjson, .ndjson.gz or .ndjson.zst.")
@click.option(
    "--to",
    "store",
    metavar="STORE",
    help="In place of a file: postgresql://USER@HOST/DATABASE (extra postgres), sqlite:///FILE or "
    "parquet:FOLDER (extra arrow).",
)
@click.option("--rotate-mb", type=_SECONDS, help="Begin a next file (FILE.0002…) after so many megabytes.")
@click.option("--rotate-minutes", type=_SECONDS, help="Begin a next file after so many minutes.")
@click.option(
    "--channel", "channels", multiple=True, help="May be repeated; by default orderbook_delta and trade."
)
@click.option(
    "--env",
    type=click.Choice(["production", "demo"]),
    help="Which exchange; by default as KALSHI_URL or KALSHI_ENV says.",
)
@click.option("--url", help="Another address, wss://…; of `kalshi-feed exchange`, for one.")
@click.option(
    "--ca-file", help="Certificates (PEM) to trust in place of certifi's; by default KALSHI_CA_FILE's."
)
@click.option("--key-id", help="The API key id; by default KALSHI_API_KEY_ID's.")
@click.option("--key-file", help="The private key's file; by default KALSHI_PRIVATE_KEY_PATH's.")
@click.option("--seconds", type=_SECONDS, help="How long; by default until Ctrl-C.")
@_JSON
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
    seconds: float | None,
    as_json: bool,
) -> None:
    """Write every frame of these markets to a file, with its receive time in nanoseconds.

    The file can be read while it is written, and after a kill: at most the last second is lost. A file that
    exists is never overwritten. A disk that is full does not end it: what is missing is told and counted, and
    the recording goes on in a next file once there is room. Ctrl-C ends it; the exit code is 1 if messages
    are missing.

    With --to, snapshots, deltas, trades, tickers and every loss become rows of tables. While the store is
    away, up to 200,000 rows wait in memory and are written when it is back. The password of PostgreSQL is
    better in PGPASSWORD or ~/.pgpass than on the command line, where other users of the machine see it.

    \b
    Examples:
      kalshi-feed record KXNFLGAME-25OCT13-SF-KC -o game.ndjson.gz kalshi-feed record TICKER OTHER -o
      day.ndjson.zst --rotate-minutes 60 --channel orderbook_delta --channel ticker kalshi-feed record TICKER
      -o five.ndjson.gz --env demo --seconds 300 --json kalshi-feed record TICKER --to sqlite:///markets.db
      kalshi-feed record TICKER --to postgresql://feed@localhost/markets --channel orderbook_delta --channel
      ticker
    """
    if (output is None) == (store is None):
        raise click.UsageError("give either -o FILE or --to STORE")
    if store is not None and (rotate_mb or rotate_minutes):
        raise click.UsageError("--rotate-mb and --rotate-minutes are for -o FILE")
    with reporting_errors():
        feed = watching.feed_for(env=env, url=url, ca_file=ca_file, key_id=key_id, key_file=key_file)
        wanted = channels or watching.CHANNELS
        if store is not None:
            summary = storing.store(feed, tickers, wanted, store, seconds=seconds, quiet=as_json)
        elif output is not None:
            summary = recordings.record(
                feed,
                tickers,
                wanted,
                output,
                rotate_bytes=rotate_mb * 1e6 if rotate_mb else None,
                rotate_seconds=rotate_minutes * 60 if rotate_minutes else None,
                seconds=seconds,
                quiet=as_json,
            )
    _print(summary, as_json)
    if any(summary.get(name) for name in ("missed", "unwritten", "dropped")):
        sys.exit(1)


@click.command()
@_FILES
@click.option(
    "--speed",
    default="max",
    show_default=True,
    metavar="1|10|max",
    help="1 is as it was, 10 ten times as fast.",
)
@click.option(
    "--at",
    metavar="TIME",
    help="Begin at this moment: 2026-08-05T03:45:00 (UTC, or with an offset), or +90 (seconds).",
)
@click.option("--until", metavar="TIME", help="End before this moment, given as for --at.")
@_GAPS
@click.option("--plain", is_flag=True, help="One line per change with the book after it; times are UTC.")
@_JSON
def replay(
    files: tuple[str, ...],
    speed: str,
    at: str | None,
    until: str | None,
    gaps: Literal["strict", "ignore"],
    plain: bool,
    as_json: bool,
) -> None:
    """Play a recording, or a capture of the exchange's frames: the same books, gaps and reconnects as it had.

    FILE is what `kalshi-feed record` wrote (its first file plays all its parts), or lines of JSON: frames as
    they came, or as {"recv_ms": …, "event": frame}. In a terminal with a --speed the live view is shown. Ends
    with a summary.

    \b
    Examples:
      kalshi-feed replay game.ndjson.gz
      kalshi-feed replay game.ndjson.gz --speed 10 --at 2025-10-13T20:15:00-04:00
      kalshi-feed replay capture.ndjson.gz --gaps ignore --json
      kalshi-feed replay day.*.ndjson.zst --plain | grep TICKER > changes.txt
    """
    with reporting_errors():
        pace = _speed(speed)
        feed = KalshiFeed.replay(
            _named(files), speed=pace, at=_moment("--at", at), until=_moment("--until", until), gaps=gaps
        )
        view = pace != "max" and not plain and not as_json and sys.stdout.isatty()
        summary = recordings.replay(feed, plain=plain, view=view, quiet=as_json)
    if as_json or not plain:
        _print(summary, as_json)


@click.command()
@_FILES
@click.option(
    "--to",
    "kind",
    type=click.Choice(["parquet", "csv"]),
    required=True,
    help="The format; parquet needs the extra arrow.",
)
@click.option(
    "-o", "--output", "folder", default=".", show_default=True, metavar="FOLDER", help="Where the tables go."
)
@_GAPS
@_JSON
def convert(
    files: tuple[str, ...],
    kind: Literal["parquet", "csv"],
    folder: str,
    gaps: Literal["strict", "ignore"],
    as_json: bool,
) -> None:
    """Write a recording as tables: deltas, trades and top of book, for pandas, polars, DuckDB or a
    spreadsheet.

    Makes NAME.deltas.parquet, NAME.trades.parquet and NAME.top.parquet; prices and sizes are decimals, times
    are UTC. Files that exist are not overwritten. The memory used does not grow with the recording.

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
    _print(summary, as_json)


def _named(files: tuple[str, ...]) -> str | tuple[str, ...]:
    """One file may stand for all parts of its recording; several are those."""
    return files[0] if len(files) == 1 else files


def _print(summary: dict[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(summary) if as_json else "\n".join(recordings.lines_of(summary)))


def _speed(text: str) -> float | Literal["max"]:
    if text == "max":
        return "max"
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor 'max'", param_hint="--speed") from None


def _moment(option: str, text: str | None) -> datetime | float | None:
    if text is None:
        return None
    try:
        if text.startswith("+"):
            return float(text)
        moment = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time: write 2026-08-05T03:45:00 (UTC), 2026-08-05T03:45:00-04:00, or +90",
            param_hint=option,
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
