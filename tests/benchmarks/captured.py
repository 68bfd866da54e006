"""The exchange's own frames, from recordings of production, as one subscription to several markets.

Owns the weave: each market plays its own part of a recording, and they take turns. Ours are only sid, seq and
the market's name, and the snapshots, which are the books at the beginnings of the parts. There are such
frames only where ../shared/capture is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from tests.benchmarks.frames import Plan, text_frame
from tests.feed.captures import FILES, Fold, frames_of

__all__ = ["CHANGES", "FILES", "MARKETS", "Captured"]

MARKETS = 8
CHANGES = 59_000  # the recordings have a few more


class Captured:
    """MARKETS markets that play recordings, in place of a World."""

    def __init__(self, plan: Plan) -> None:
        assert plan.markets == MARKETS and plan.deltas <= CHANGES
        self._yes_price = plan.yes_price
        self._books: list[dict[str, Any]] = []  # the msg of each market's snapshot
        self._changes: list[list[dict[str, Any]]] = []
        for file in FILES:
            self._add(frames_of(file))

    def _add(self, frames: list[dict[str, Any]]) -> None:
        """Split a recording into parts of the same length; a short one is left out."""
        changes = [frame for frame in frames if frame["type"] == "orderbook_delta"]
        length = -(-len(changes) // (MARKETS // 2))
        if length < 1_000:
            return
        fold, number = Fold(frames), 0
        for frame in frames:
            if frame["type"] == "orderbook_delta":
                if number % length == 0:
                    sides = {
                        f"{side}_dollars_fp": [
                            [f"{price:.4f}", f"{size:.2f}"] for price, size in levels.items()
                        ]
                        for side, levels in fold.sides.items()
                    }
                    self._books.append({"market_id": frame["msg"]["market_id"], **sides})
                    self._changes.append([])
                self._changes[-1].append(frame)
                number += 1
            fold.take(frame)

    def snapshot(self, market: int, seq: int) -> bytes:
        """The book that the market begins with."""
        return self._encoded({"type": "orderbook_snapshot", "msg": self._books[market]}, market, seq)

    def stream(self, seq: int) -> Iterator[bytes]:
        """The changes, one of each market in turn; ``seq``: the last one used."""
        for turn in zip_longest(*self._changes[:MARKETS]):
            for market, frame in enumerate(turn):
                if frame is not None:
                    seq += 1
                    yield self._encoded(frame, market, seq)

    def _encoded(self, frame: dict[str, Any], market: int, seq: int) -> bytes:
        msg = frame["msg"] | {"market_ticker": f"MKT-{market}"}
        if self._yes_price:
            if msg.get("side") == "no":
                msg["price_dollars"] = _other_side(msg["price_dollars"])
            if "no_dollars_fp" in msg:
                msg["no_dollars_fp"] = [[_other_side(price), size] for price, size in msg["no_dollars_fp"]]
        whole = {"type": frame["type"], "sid": 1, "seq": seq, "msg": msg}
        return text_frame(json.dumps(whole, separators=(",", ":")).encode())


def _other_side(price: str) -> str:
    return f"{1 - float(price):.4f}"
