"""Every change of some order books into SQLite, in batches. Ctrl-C and SIGTERM lose nothing.

.venv/bin/python samples/batch_to_sqlite.py --simulate --file deltas.db
.venv/bin/python samples/batch_to_sqlite.py KXNFLGAME-25OCT13-SF-KC     (KALSHI_API_KEY_ID … set)

A batch is written after --batch rows or --every seconds, whichever comes first. ``run`` and ``n`` order the
rows of all tables: a snapshot followed by its market's deltas gives the book at any point. A row in ``holes``
marks where something is missing.
"""

from __future__ import annotations

import sys

from _common import close_after, feed_for, parser, say

from kalshi_feed.sinks import Batcher, SinkTrouble, SQLiteSink


def report(trouble: SinkTrouble) -> None:
    print(trouble.message, file=sys.stderr)


def main() -> None:
    options = parser("Write every change of some order books into SQLite, in batches.")
    options.add_argument("--file", default="deltas.db")
    options.add_argument("--batch", type=int, default=500, help="rows")
    options.add_argument("--every", type=float, default=1.0, help="seconds")
    options.add_argument(
        "--patience",
        type=float,
        default=10.0,
        help="seconds to keep trying, at the end, to write what is left",
    )
    chosen = options.parse_args()
    with feed_for(chosen) as (feed, tickers):
        batcher = Batcher(
            SQLiteSink(chosen.file), batch_rows=chosen.batch, batch_seconds=chosen.every, on_trouble=report
        )
        batcher.subscribe_to(feed)
        try:
            feed.subscribe("orderbook_delta", tickers)
            close_after(feed, chosen.seconds)
            # Ctrl-C or SIGTERM closes the feed; the batcher still gets what it has read
            feed.run_forever()
        finally:
            feed.close()
            left = batcher.close(chosen.patience)
        stats = batcher.stats()
        say(
            f"received {stats.received} rows, wrote {stats.written}, dropped "
            f"{feed.stats().dropped + stats.dropped}",
            feed,
        )
        if left:
            sys.exit(f"{len(left)} rows are not in {chosen.file}: {stats.last_error}")


if __name__ == "__main__":
    main()
