"""``kalshi-feed markets``: finds markets by their words over REST, and lists them.

Owns the command, the search and the table. Main thread only.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from .about import about_of, title_of
from .asking import rest_for
from .columns import price_text
from .errors import Failed, reporting_errors
from .model import counted, printable
from .options import ca_file_option, check_ticker, env_option, json_option, refuse_both, rest_url_option

if TYPE_CHECKING:
    from ..rest import Market

__all__ = ["markets"]

_ONE: Final = Decimal(1)
_LATEST: Final = datetime.max.replace(tzinfo=timezone.utc)
_NAMES: Final = ("ticker", "title", "bid", "ask", "volume", "closes")
_GAP: Final = 2  # columns between two fields
_LEAST_TITLE: Final = 8  # columns; a narrower title says nothing
_KEYS: Final[dict[str, Callable[[Market], Any]]] = {
    "volume": lambda market: (-(market.volume or 0), market.ticker),
    "close": lambda market: (market.close_at or _LATEST, market.ticker),
    "ticker": lambda market: market.ticker,
}


@click.command(short_help="Find markets and their tickers: no key needed.")
@click.argument("text", nargs=-1, metavar="[TEXT]...")
@click.option("--series", metavar="S", callback=check_ticker, help="Only markets of this series.")
@click.option("--event", metavar="E", callback=check_ticker, help="Only markets of this event.")
@click.option(
    "--status",
    type=click.Choice(["unopened", "open", "closed", "settled", "any"]),
    default="open",
    show_default=True,
    help="Only markets with this status.",
)
@click.option(
    "--sort",
    type=click.Choice(list(_KEYS)),
    default="volume",
    show_default=True,
    help="The largest volume first, the next to close first, or by ticker.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many to show at most."
)
@env_option
@rest_url_option
@ca_file_option
@json_option(True, "a market, with all of its fields")
def markets(
    text: tuple[str, ...],
    series: str | None,
    event: str | None,
    status: str,
    sort: str,
    limit: int,
    env: str | None,
    rest_url: str | None,
    ca_file: str | None,
    as_json: bool,
) -> None:
    """Find markets and their tickers. Needs the extra rest, but no key.

    TEXT is words that the ticker, the title or the sub-titles must contain, in any order and case. Without
    --series or --event it looks at all markets, which takes a while, and leaves out combinations.

    Prices are those of yes in dollars; a side without an offer is a dash. The exit code is 1 if no market
    matches.

    \b
    Examples:
      kalshi-feed markets bitcoin
      kalshi-feed markets --series KXBTC15M --sort close --limit 3
      kalshi-feed markets --event KXNFLGAME-25OCT13-SF --status any
      kalshi-feed markets --series KXBTC15M --json | jq -r .market_ticker
    """
    refuse_both("--env", "--rest-url", env is not None and rest_url is not None)
    words = " ".join(text).lower().split()
    with reporting_errors():
        with rest_for(env=env, url=None, rest_url=rest_url, ca_file=ca_file) as rest:
            found = rest.markets(
                series=series,
                event=event,
                status=None if status == "any" else status,  # type: ignore[arg-type]  # one of the choices
                combos=None if series or event else False,
            )
            with _progress() as show:
                matching = sorted(_matching(found, words, show), key=_KEYS[sort])
    if not matching:
        which = "" if status == "any" else f"{status} "
        matches = f" with {' '.join(words)!r}" if words else ""
        tips = ["other words"] if words else []
        tips += [f"another --{name}" for name, value in (("series", series), ("event", event)) if value]
        tips += ["--status any"] if status != "any" else []
        raise Failed(f"no {which}market{matches} was found" + (f"; try {' or '.join(tips)}" if tips else ""))
    shown = matching[:limit]
    if as_json:
        for market in shown:
            click.echo(json.dumps(market.to_dict()))
        return
    console = Console(highlight=False)
    for line in _lines(shown, console.width if console.is_terminal else None):
        click.echo(line)
    if len(shown) < len(matching):
        click.echo(f"{len(shown):,} of {counted(len(matching), 'market')}: --limit shows more", err=True)


def _matching(found: Iterable[Market], words: list[str], show: Callable[[int], object]) -> Iterator[Market]:
    for number, market in enumerate(found, 1):
        if number % 1000 == 0:
            show(number)
        parts = (market.ticker, market.title, market.yes_sub_title, market.no_sub_title)
        text = "\n".join(filter(None, parts)).lower()
        if all(word in text for word in words):
            yield market


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int], object]]:
    """Say on a terminal how many markets have been looked at: it may be tens of thousands."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda number: None
        return
    with console.status("looking …") as status:
        yield lambda number: status.update(f"looking … {number:,} markets")


def _lines(found: list[Market], width: int | None) -> Iterator[str]:
    """A table as wide as the terminal; without one as wide as needed. Only titles are cut."""
    now = datetime.now(timezone.utc)
    rows = [
        _NAMES,
        *((printable(market.ticker), title_of(market), *_numbers(market, now)) for market in found),
    ]
    widths = [max(cell_len(row[place]) for row in rows) for place in range(len(_NAMES))]
    if width is not None:
        widths[1] = min(widths[1], width - sum(widths) + widths[1] - _GAP * (len(_NAMES) - 1))
    for row in rows:
        fields = [
            _fitted(field, widths[place]) if place < 2 else f"{field:>{widths[place]}}"
            for place, field in enumerate(row)
            if place != 1 or widths[1] >= _LEAST_TITLE
        ]
        yield (" " * _GAP).join(fields).rstrip()


def _fitted(text: str, width: int) -> str:
    """Exactly ``width`` columns."""
    return (
        text + " " * (width - cell_len(text))
        if cell_len(text) <= width
        else f"{set_cell_size(text, width - 1)}…"
    )


def _numbers(market: Market, now: datetime) -> tuple[str, str, str, str]:
    bid, ask = market.yes_bid, market.yes_ask
    return (
        price_text(bid or None).strip(),
        price_text(ask if ask != _ONE else None).strip(),
        _contracts(market.volume),
        _time_left(market, now),
    )


def _contracts(volume: Decimal | None) -> str:
    if volume is None:
        return "-"
    return f"{volume / 1_000_000:,.1f}M" if volume >= 10_000_000 else f"{volume:,.0f}"


def _time_left(market: Market, now: datetime) -> str:
    """ "in 14 min", or what has become of the market."""
    about = about_of(market, now)
    if about.is_over or about.word == "paused":
        return about.word
    if market.close_at is None:
        return market.status or "-"
    left = market.close_at - now
    for unit, seconds in (("d", 86_400), ("h", 3600), ("min", 60)):
        if left.total_seconds() >= 2 * seconds:
            return f"in {left.total_seconds() // seconds:.0f} {unit}"
    return f"in {left.total_seconds():.0f} s"
