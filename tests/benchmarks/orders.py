"""A client's orders, and the clock it runs. Shared by all clients; imports nothing from kalshi_feed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from typing import NamedTuple


class Orders(NamedTuple):
    """What a client must do. ``want``: how many messages of the stream it waits for."""

    client: str
    url: str = ""
    pem: str = ""
    ca: str = ""
    core: int = -1
    markets: int = 100
    want: int = 0
    seconds: float = 0.0
    channels: tuple[str, ...] = ("orderbook_delta",)
    kind: str = "orderbook_delta"  # of the messages counted
    callbacks: int = 1
    on_book: bool = False
    workers: int = 1
    wait: bool = False  # in book.wait_for_update, instead of in a callback
    load: str = ""  # what else the process does: "", "flask" or "computing"
    switch_interval: float = 0.0  # seconds; 0 keeps Python's default
    redis: str = ""  # where a relay's stream is

    @property
    def tickers(self) -> list[str]:
        """The markets, as the server names them."""
        return [f"MKT-{index}" for index in range(self.markets)]

    def command(self) -> bytes:
        """One subscribe command for everything."""
        params = {"channels": self.channels, "market_tickers": self.tickers, "use_yes_price": True}
        return json.dumps({"id": 1, "cmd": "subscribe", "params": params}).encode()


class Clock:
    """Wall and CPU time at three moments: subscribed, first message of the stream, last one."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []

    def mark(self, *_: object) -> None:
        """Record one of the moments."""
        self._marks.append((time.perf_counter(), time.process_time()))

    def figures(self) -> dict[str, float]:
        """Seconds for the stream, and for everything since the confirmation (with the snapshots). CPU time
        covers all threads."""
        subscribed, begun, ended = self._marks
        return {
            "seconds": ended[0] - begun[0],
            "cpu_seconds": ended[1] - begun[1],
            "whole_seconds": ended[0] - subscribed[0],
            "whole_cpu_seconds": ended[1] - subscribed[1],
        }


def digest(books: Iterable[tuple[str, dict[int, int], dict[int, int]]]) -> str:
    """A digest of books, to compare those of two processes: market, yes and no levels of each."""
    whole = hashlib.sha256()
    for market, yes, no in sorted(books, key=lambda book: book[0]):
        whole.update(repr((market, sorted(yes.items()), sorted(no.items()))).encode())
    return whole.hexdigest()
