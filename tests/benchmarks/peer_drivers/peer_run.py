"""What the drivers in this folder have in common: their arguments, the measurement, and how they report it.

    python drive_PEER.py PORT KEY.pem MARKETS DELTAS

A driver subscribes to the books of MKT-0, MKT-1 and so on at a server on loopback, and is done after that
many deltas. Its last line of output is JSON: ``deltas``, ``seconds`` and ``cpu_seconds_window`` from the
first delta to the last, the process's ``cpu_seconds``, whether the run is ``complete``, and whatever else is
worth knowing about the peer. PEER_TIMEOUT limits the seconds it may take (default 120). PEER_DUMP names a
file for the final books, to compare one peer with another.

The drivers run in the peers' own virtual environments, so there is nothing here but the standard library.
They are called ``drive_...`` because Python looks for modules in a script's folder first: a pykalshi.py here
would be imported as the peer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

PORT, KEY_FILE, WANT = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[4])
TICKERS = [f"MKT-{number}" for number in range(int(sys.argv[3]))]
TIMEOUT = float(os.environ.get("PEER_TIMEOUT", "120"))
DUMP = os.environ.get("PEER_DUMP")
HTTP_URL = f"http://127.0.0.1:{PORT}/trade-api/v2"
WS_URL = f"ws://127.0.0.1:{PORT}/trade-api/ws/v2"
KEY_ID = "bench-key"

Levels = dict[Decimal, Decimal]


class Run:
    """One measurement. The driver counts in ``deltas``: a method called for every delta would be part of the
    peer's time."""

    def __init__(self) -> None:
        self.deltas = 0
        self._began: tuple[float, float] | None = None
        self._ended: tuple[float, float] | None = None

    def begin(self) -> None:
        """Call this when the first delta arrives."""
        self._began = _now()

    def end(self) -> None:
        """Call this when the last delta has been handled."""
        self._ended = _now()

    def report(
        self, peer: str, complete: bool, books: Callable[[], Any], out: TextIO | None = None, **more: Any
    ) -> None:
        """Print the result. ``books`` is called only if PEER_DUMP asks for them."""
        ended = self._ended or _now()
        began = self._began or ended
        if DUMP:
            Path(DUMP).write_text(json.dumps(books()))
        result = {
            "peer": peer,
            "deltas": self.deltas,
            "seconds": round(ended[0] - began[0], 6),
            "cpu_seconds": round(time.process_time(), 4),
            "cpu_seconds_window": round(ended[1] - began[1], 4),
            "complete": complete,
            **more,
        }
        print(json.dumps(result), file=out, flush=True)


class UserBooks:
    """The books that users of a peer without any have to keep themselves: Decimals, no checks."""

    def __init__(self) -> None:
        self._books: dict[str, dict[str, Levels]] = {}

    def replace(self, msg: dict[str, Any]) -> None:
        """Take over the ``msg`` of a snapshot."""
        self._books[msg["market_ticker"]] = {
            side: {Decimal(price): Decimal(size) for price, size in msg.get(f"{side}_dollars_fp") or []}
            for side in ("yes", "no")
        }

    def apply(self, msg: dict[str, Any]) -> None:
        """Change one level by the ``msg`` of a delta."""
        levels = self._books[msg["market_ticker"]][msg["side"]]
        price = Decimal(msg["price_dollars"])
        size = levels.get(price, Decimal(0)) + Decimal(msg["delta_fp"])
        if size <= 0:
            levels.pop(price, None)
        else:
            levels[price] = size

    def as_text(self) -> dict[str, Any]:
        """The books as PEER_DUMP holds them."""
        return {
            ticker: {
                side: {str(price): str(size) for price, size in levels.items()}
                for side, levels in book.items()
            }
            for ticker, book in self._books.items()
        }


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
