"""``python -m tests.soak.relay.visitors CONFIG``: consumers that come, look at a book or two, and are gone.

CONFIG is a VisitorsPart as JSON. Each line of the input is a Visit as JSON, made by a process of its own: a
fork of this one, which has no threads. It writes a line of JSON when it has seen what it came for.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Final

from kalshi_feed import KalshiFeed, KalshiFeedError
from kalshi_feed.stats import ConsumerStats
from tests.faults.oracle import SharedTruth, Views
from tests.soak.relay.parts import scale_lease, tell

__all__ = ["Visit", "VisitorsPart"]

_PATIENCE: Final = 20.0  # seconds for a book


@dataclasses.dataclass(frozen=True)
class VisitorsPart:
    """Where the visitors go. ``truth``: the oracle's file, for all ``tickers``; ``lease``: in seconds."""

    redis: str
    truth: str
    tickers: tuple[str, ...]
    lease: float
    role: str = "visitors"


@dataclasses.dataclass(frozen=True)
class Visit:
    """One consumer: it waits for the books of these markets, looks at them for ``stays`` seconds, and ends.
    ``how``: "close", "exit" (without a word) or "kill" (-9)."""

    number: int
    tickers: list[str]
    stays: float
    how: str


def _visit(part: VisitorsPart, visit: Visit) -> None:
    """What the process of a visitor does."""
    began = time.monotonic()
    views = Views(SharedTruth(Path(part.truth), part.tickers))
    feed = KalshiFeed.from_relay(part.redis)
    error, took = "", 0.0
    try:
        feed.start()
        books = [feed.wait_for_book(ticker, timeout=_PATIENCE) for ticker in visit.tickers]
        took = time.monotonic() - began
        until = time.monotonic() + visit.stays
        while True:
            for book in books:
                views.check(book.view())
            if time.monotonic() >= until:
                break
            time.sleep(0.05)
    except KalshiFeedError as failed:
        error = repr(failed)
    tell(
        "visit",
        number=visit.number,
        took=took,
        checked=views.checked,
        wrong=views.wrong.texts[:3],
        error=error,
        how=visit.how,
        stats=dataclasses.asdict(feed.stats().relay or ConsumerStats()),
    )
    if visit.how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if visit.how == "exit":
        sys.stdout.flush()
        os._exit(0)
    feed.close()


def main() -> int:
    config = json.loads(sys.argv[1])
    config["tickers"] = tuple(config["tickers"])
    part = VisitorsPart(**config)
    scale_lease(part.lease)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends with its input
    gc.freeze()
    tell("started")
    running: dict[int, Visit] = {}
    rest, is_open = b"", True
    while is_open or running:
        if is_open and select.select([0], [], [], 0.05)[0]:
            data = os.read(0, 65_536)
            is_open = bool(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                visit = Visit(**json.loads(line))
                pid = os.fork()
                if not pid:
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    code = 1
                    try:
                        _visit(part, visit)
                        code = 0
                    finally:
                        sys.stdout.flush()
                        sys.stderr.flush()
                        os._exit(code)
                running[pid] = visit
        elif not is_open:
            time.sleep(0.05)
        while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            visit = running.pop(ended[0])
            code = os.waitstatus_to_exitcode(ended[1])
            tell("gone", number=visit.number, code=code, expected=-9 if visit.how == "kill" else 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
