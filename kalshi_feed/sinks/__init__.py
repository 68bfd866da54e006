"""The feed's messages into a database: in batches, kept in memory while it is down, every loss on record.

    from kalshi_feed.sinks import Batcher, PostgresSink

    with Batcher(PostgresSink("postgresql://user@host/markets")) as batcher, KalshiFeed.from_env() as feed:
        batcher.subscribe_to(feed)
        feed.subscribe(["orderbook_delta", "trade"], tickers)
        feed.run_forever()

A sink is an object with ``write(rows)`` and ``close()``: SQLiteSink, PostgresSink (extra ``postgres``),
ParquetSink (extra ``arrow``) or one of your own. A restarted program gets the trades and fills that it missed
with ``KalshiFeed.from_env(fill_gaps=True, fill_since=sink.stored_until())``; none is stored twice.

Owns the public names. The library of a store is imported only when its sink is made. Layers, from the top:
url > (sqlite, postgres, parquet, batcher) > reach > rows.
"""

from __future__ import annotations

from .batcher import Batcher, BatcherStats, SinkTrouble
from .parquet import ParquetSink
from .postgres import PostgresSink
from .rows import TABLES, Dropped, Row, Sink
from .sqlite import SQLiteSink
from .url import open_sink

__all__ = [
    "TABLES",
    "Batcher",
    "BatcherStats",
    "Dropped",
    "ParquetSink",
    "PostgresSink",
    "Row",
    "SQLiteSink",
    "Sink",
    "SinkTrouble",
    "open_sink",
]
