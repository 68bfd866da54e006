"""The recordings of ../shared/capture, and a plain fold of their frames, to compare books with."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

__all__ = ["FILES", "Fold", "frames_of"]

CAPTURES = Path(__file__).parents[3] / "shared" / "capture"
FILES = sorted(CAPTURES.glob("*.ndjson.gz"))
Sides = dict[str, dict[Decimal, Decimal]]


class Fold:
    """The books of a recording as plain dicts of Decimals."""

    def __init__(self, frames: list[dict[str, Any]]) -> None:
        self.sides: Sides = {"yes": {}, "no": {}}
        low: dict[tuple[str, Decimal], Decimal] = {}
        level: dict[tuple[str, Decimal], Decimal] = {}
        for frame in frames:  # what must have been there before the deltas that precede the first snapshot
            if frame["type"] == "orderbook_snapshot":
                break
            if frame["type"] == "orderbook_delta":
                key = (frame["msg"]["side"], Decimal(frame["msg"]["price_dollars"]))
                level[key] = level.get(key, Decimal(0)) + Decimal(frame["msg"]["delta_fp"])
                low[key] = min(low.get(key, Decimal(0)), level[key])
        for (side, price), size in low.items():
            if size:
                self.sides[side][price] = -size

    def take(self, frame: dict[str, Any]) -> None:
        msg = frame["msg"]
        if frame["type"] == "orderbook_snapshot":
            for side in ("yes", "no"):
                self.sides[side] = {
                    Decimal(price): Decimal(size) for price, size in msg.get(f"{side}_dollars_fp") or []
                }
        elif frame["type"] == "orderbook_delta":
            levels, price = self.sides[msg["side"]], Decimal(msg["price_dollars"])
            levels[price] = levels.get(price, Decimal(0)) + Decimal(msg["delta_fp"])
            assert levels[price] >= 0
            if not levels[price]:
                del levels[price]


def frames_of(path: Path) -> list[dict[str, Any]]:
    """The frames of a recording, in order."""
    with gzip.open(path, "rt") as file:
        return [json.loads(line)["event"] for line in file]
