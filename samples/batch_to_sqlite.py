"""Every change of some order books into SQLite, in batches; nothing is lost at Ctrl-C, and gaps are on record.

python samples/batch_to_sqlite.py --simulate --file deltas.db
python samples/batch_to_sqlite.py KXNFLGAME-25OCT13-SF-KC --file deltas.db     (KALSHI_API_KEY_ID … set)

A batch is written after --batch changes or --every seconds, whichever comes first. The tables share one numbering
``n``, the order in which things came: a snapshot followed by its market's deltas gives the book at any point, and a row
in ``holes`` says that something is missing there.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from _common import close_after, feed_for, parser

from kalshi_feed import FeedState, Gap, Lagged, OrderbookDelta, OrderbookSnapshot, StateChange

SCHEMA = """
create table if not exists deltas (n integer primary key, market_ticker text, side text, price text, delta text,
                                   seq integer, ts_ms integer);
create table if not exists snapshots (n integer primary key, market_ticker text, yes text, no text, seq integer);
create table if not exists holes (n integer primary key, at real, what text);
"""
INSERTS = {
    "deltas": "insert into deltas values (?, ?, ?, ?, ?, ?, ?)",
    "snapshots": "insert into snapshots values (?, ?, ?, ?, ?)",
    "holes": "insert into holes values (?, ?, ?)",
}
Row = tuple[Any, ...]


class Writer:
    """A thread with a database. put_*() are the feed's callbacks; close() returns when all they got is on disk."""

    def __init__(self, file: str, batch: int, every: float, stop: Callable[[], object]) -> None:
        self.received = 0  # deltas; the worker thread alone counts
        self.written = 0
        self.error: sqlite3.Error | None = None
        self._batch, self._every, self._stop = batch, every, stop
        self._database = sqlite3.connect(file, check_same_thread=False)  # opened here, where the caller sees an error
        self._database.execute("pragma journal_mode = wal")
        self._database.executescript(SCHEMA)
        # Bounded: if the disk is slower than the market, put() waits here, the feed's own queue fills, and the feed
        # says Lagged: a loss, but one that is written down.
        self._rows: queue.Queue[tuple[str, Row] | None] = queue.Queue(maxsize=batch * 10)
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def put_delta(self, delta: OrderbookDelta) -> None:
        self.received += 1
        texts = (delta.market_ticker, delta.side, str(delta.price), str(delta.delta))
        self._rows.put(("deltas", (*texts, delta.seq, delta.ts_ms)))

    def put_snapshot(self, snapshot: OrderbookSnapshot) -> None:
        sides = (json.dumps([[str(level.price), str(level.quantity)] for level in s]) for s in (snapshot.yes, snapshot.no))
        self._rows.put(("snapshots", (snapshot.market_ticker, *sides, snapshot.seq)))

    def put_gap(self, gap: Gap) -> None:
        self._hole(f"gap in {gap.channel}: {gap.reason}, {', '.join(gap.market_tickers)}")

    def put_lagged(self, lagged: Lagged) -> None:
        self._hole(f"too slow here: {lagged.dropped} messages dropped, {', '.join(lagged.market_tickers)}")

    def put_state(self, change: StateChange) -> None:
        if change.state is FeedState.RECONNECTING:
            self._hole(f"connection lost: {change.reason}")

    def _hole(self, what: str) -> None:
        print(what, file=sys.stderr)
        self._rows.put(("holes", (time.time(), what)))

    def close(self) -> None:
        self._rows.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            with contextlib.closing(self._database) as database:
                self._write(database)
        except sqlite3.Error as error:
            self.error = error
            threading.Thread(target=self._stop).start()
            while self._rows.get() is not None:  # the callbacks must not wait for ever; main() tells what happened
                pass

    def _write(self, database: sqlite3.Connection) -> None:
        last = max(database.execute(f"select coalesce(max(n), 0) from {table}").fetchone()[0] for table in INSERTS)
        more = True
        while more:
            more, items = self._take()
            tables: dict[str, list[Row]] = {}
            for table, row in items:
                last += 1
                tables.setdefault(table, []).append((last, *row))
            with database:  # one transaction a batch
                for table, rows in tables.items():
                    database.executemany(INSERTS[table], rows)
            self.written += len(tables.get("deltas", ()))

    def _take(self) -> tuple[bool, list[tuple[str, Row]]]:
        """The next batch, and whether there will be another."""
        items: list[tuple[str, Row]] = []
        due = time.monotonic() + self._every
        while len(items) < self._batch:
            try:
                item = self._rows.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                break
            if item is None:
                return False, items
            items.append(item)
        return True, items


def main() -> None:
    options = parser("Write every change of some order books into SQLite, in batches.")
    options.add_argument("--file", default="deltas.db")
    options.add_argument("--batch", type=int, default=500, help="changes")
    options.add_argument("--every", type=float, default=1.0, help="seconds")
    chosen = options.parse_args()
    with feed_for(chosen) as (feed, tickers):
        try:
            writer = Writer(chosen.file, chosen.batch, chosen.every, feed.close)
        except sqlite3.Error as error:
            sys.exit(f"{chosen.file}: {error}")
        try:
            feed.on_snapshot(writer.put_snapshot)
            feed.on_delta(writer.put_delta)
            feed.on_gap(writer.put_gap)
            feed.on_lagged(writer.put_lagged)
            feed.on_state(writer.put_state)
            feed.subscribe("orderbook_delta", tickers)
            close_after(feed, chosen.seconds)
            feed.run_forever()  # Ctrl-C closes the feed; what it has read is still given to the callbacks
        finally:
            feed.close()
            writer.close()
        print(f"received {writer.received} deltas, wrote {writer.written}, dropped {feed.stats().dropped}")
        if writer.error is not None or writer.received != writer.written:
            sys.exit(f"not everything is in {chosen.file}: {writer.error}")


if __name__ == "__main__":
    main()
