"""``kalshi-feed exchange``: runs the simulator as a server for other processes.

Owns what is printed about it, and the folder with its key and CA. Main thread only.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Failed
from .model import counted, printable
from .notes import time_text
from .show import say

if TYPE_CHECKING:
    from ..simulator import Exchange

__all__ = ["run"]

_LOOK = 0.1  # seconds between two looks


def run(
    exchange: Exchange,
    seconds: float | None,
    *,
    series: tuple[str, float] | None = None,
    keys: str | None = None,
    as_json: bool = False,
) -> None:
    """Serve until Ctrl-C or for ``seconds``, and print who connects. Raises Failed if the port is taken.

    ``series`` is one to run, and how many seconds each of its markets is open. ``keys`` is the folder where
    the exchange keeps its keys. With ``as_json``, one JSON object says how to reach it, and nothing else is
    printed.
    """
    try:
        exchange.start()
    except OSError as error:
        raise Failed(
            f"the exchange cannot listen on port {exchange.port}: {error.strerror or error}"
        ) from error
    # The folder goes first, so that no key stays behind if closing the exchange is cut short.
    with contextlib.suppress(KeyboardInterrupt), exchange, _files(exchange, keys) as (key_file, ca_file):
        tickers = exchange.market_tickers  # those that stay
        if series is not None:
            exchange.run_series(series[0], every=series[1])
        if as_json:
            say(json.dumps(_address(exchange, tickers, series, key_file, ca_file)))
        else:
            for line in _introduction(exchange, tickers, series, key_file, ca_file):
                say(line)
        _serve(exchange, seconds, verbose=not as_json)


@contextlib.contextmanager
def _files(exchange: Exchange, keys: str | None) -> Iterator[tuple[Path, Path]]:
    """The files of the key and the CA: kept ones, or temporary ones that are removed at the end."""
    if keys is not None:
        folder = Path(keys).absolute()
        yield folder / "key.pem", folder / "ca.pem"
        return
    with tempfile.TemporaryDirectory(prefix="kalshi-exchange-") as temporary:
        yield exchange.write_credentials(temporary)


def _address(
    exchange: Exchange,
    tickers: Sequence[str],
    series: tuple[str, float] | None,
    key_file: Path,
    ca_file: Path,
) -> dict[str, Any]:
    running = {} if series is None else {"series_ticker": series[0]}
    return {
        "url": exchange.url,
        "rest_url": exchange.rest_url,
        "api_key_id": exchange.api_key_id,
        "key_file": str(key_file),
        "ca_file": str(ca_file),
        "market_tickers": list(tickers),
        "rate": exchange.rate,
        **running,
    }


def _introduction(
    exchange: Exchange,
    tickers: Sequence[str],
    series: tuple[str, float] | None,
    key_file: Path,
    ca_file: Path,
) -> list[str]:
    environ = {
        "KALSHI_URL": exchange.url,
        "KALSHI_REST_URL": exchange.rest_url,
        "KALSHI_CA_FILE": str(ca_file),
        "KALSHI_API_KEY_ID": exchange.api_key_id,
        "KALSHI_PRIVATE_KEY_PATH": str(key_file),
    }
    changes = "change" if exchange.rate == 1 else "changes"
    more = f" … {tickers[-1]} ({len(tickers)})" if len(tickers) > 1 else ""
    named = [] if series is None else [f"series    {series[0]}, a new market every {series[1]:g} s"]
    follow = [] if series is None else [f"  kalshi-feed watch --series {series[0]}"]
    return [
        f"markets   {tickers[0]}{more}, {exchange.rate:g} {changes} per second",
        *named,
        "",
        "In another terminal:",
        *(f"  export {name}={shlex.quote(value)}" for name, value in environ.items()),
        f"  kalshi-feed watch {tickers[0]}",
        *follow,
        "",
        "Ctrl-C stops it.",
    ]


def _serve(exchange: Exchange, seconds: float | None, *, verbose: bool) -> None:
    end = None if seconds is None else time.monotonic() + seconds
    shown, connections = 0, 0
    while end is None or time.monotonic() < end:
        time.sleep(_LOOK if end is None else max(0.0, min(_LOOK, end - time.monotonic())))
        if not verbose:
            continue
        handshakes, now = exchange.handshakes, exchange.connections
        for one in handshakes[shown:]:
            key = printable(one.api_key_id[:8])
            say(f"{time_text(None)} handshake of key {key}… answered with {one.status}")
        if now != connections:
            say(f"{time_text(None)} {counted(now, 'connection')} open")
        shown, connections = len(handshakes), now
