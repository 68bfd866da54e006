"""``kalshi-feed exchange``: the simulator as a server for other processes.

Owns what is printed about it and the folder of key and CA. Main thread only.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .model import printable
from .monitor import time_text

if TYPE_CHECKING:
    from ..simulator import Exchange

__all__ = ["run"]

_LOOK = 0.1  # seconds between two looks


def run(exchange: Exchange, seconds: float | None, *, as_json: bool = False) -> None:
    """Serve until Ctrl-C or for ``seconds``, and tell who connects. Raises OSError if the port is taken.

    ``as_json``: how to reach it for a program, in one line, and nothing more.
    """
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="kalshi-exchange-") as folder:
        with exchange:
            key_file, ca_file = exchange.write_credentials(folder)
            if as_json:
                click.echo(json.dumps(_address(exchange, key_file, ca_file)))
            else:
                click.echo("\n".join(_introduction(exchange, key_file, ca_file)))
            _serve(exchange, seconds, tell=not as_json)


def _address(exchange: Exchange, key_file: Path, ca_file: Path) -> dict[str, Any]:
    return {
        "url": exchange.url,
        "api_key_id": exchange.api_key_id,
        "key_file": str(key_file),
        "ca_file": str(ca_file),
        "market_tickers": list(exchange.market_tickers),
        "rate": exchange.rate,
    }


def _introduction(exchange: Exchange, key_file: Path, ca_file: Path) -> list[str]:
    tickers = exchange.market_tickers
    environ = f"KALSHI_API_KEY_ID={exchange.api_key_id} KALSHI_PRIVATE_KEY_PATH={shlex.quote(str(key_file))}"
    watch = f"kalshi-feed watch {tickers[0]} --url {exchange.url} --ca-file {shlex.quote(str(ca_file))}"
    more = f" … {tickers[-1]} ({len(tickers)})" if len(tickers) > 1 else ""
    return [
        f"url       {exchange.url}",
        f"key id    {exchange.api_key_id}",
        f"key file  {key_file}",
        f"CA file   {ca_file}",
        f"markets   {tickers[0]}{more}, {exchange.rate:g} changes per second",
        "",
        "In another terminal:",
        f"  {environ} {watch}",
        "",
        "Ctrl-C ends it.",
    ]


def _serve(exchange: Exchange, seconds: float | None, *, tell: bool) -> None:
    end = None if seconds is None else time.monotonic() + seconds
    shown, connections = 0, 0
    while end is None or time.monotonic() < end:
        time.sleep(_LOOK if end is None else max(0.0, min(_LOOK, end - time.monotonic())))
        if not tell:
            continue
        handshakes, now = exchange.handshakes, exchange.connections
        for one in handshakes[shown:]:
            key = printable(one.api_key_id[:8])
            click.echo(f"{time_text(None)} handshake of key {key}… answered with {one.status}")
        if now != connections:
            click.echo(f"{time_text(None)} {now} connection{'' if now == 1 else 's'} open")
        shown, connections = len(handshakes), now
