"""A program to be killed: puts deltas into a store endlessly, and prints how many were written."""

from __future__ import annotations

import sys

from kalshi_feed.sinks import Batcher, open_sink

from .support import QUICK, delta


def main() -> None:
    batcher = Batcher(
        open_sink(sys.argv[1]),
        batch_rows=50,
        batch_seconds=0.02,
        max_pending=500,
        when_full="block",
        retry=QUICK,
    )
    seq = 0
    while True:
        seq += 1
        batcher.put(delta(seq))
        if seq % 100 == 0:
            print(batcher.stats().written, flush=True)


if __name__ == "__main__":
    main()
