"""``kalshi-feed record --to``: writes rows to a database instead of frames to a file.

Owns the progress line and the summary. Main thread, except for the callbacks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from ..events import FeedState
from ..feed import KalshiFeed
from ..sinks import Batcher, SinkTrouble, open_sink
from .model import counted, printable
from .recordings import Progress, follow, report_fault
from .subscribing import Subject
from .watched import Watched

if TYPE_CHECKING:
    from ..rest import Rest

__all__ = ["store"]

_PATIENCE: Final = 10.0  # seconds to keep trying, at the end, to write what is left


def store(
    feed: KalshiFeed,
    subject: Subject,
    rest: Rest | None,
    address: str,
    *,
    seconds: float | None,
    quiet: bool,
) -> dict[str, Any]:
    """Write rows to the store until Ctrl-C or for ``seconds``; returns the summary. ``rest``, which this
    closes, is needed for series and events. Raises KalshiFeedError."""
    sink = open_sink(address)
    progress, begun = Progress(quiet), time.monotonic()
    batcher = Batcher(sink, on_trouble=_report)
    feed.on_error(report_fault)
    try:
        batcher.subscribe_to(feed)
        watched = Watched(feed, subject, rest, say=progress.say)
        follow(
            feed,
            watched,
            progress,
            seconds,
            lambda: progress.look(batcher.stats().received, _where(batcher, feed)),
        )
    finally:
        feed.close()
        left = batcher.close(_PATIENCE)
    progress.end()
    stats, feed_stats = batcher.stats(), feed.stats()
    return {
        "store": str(sink),
        "rows": stats.written,
        "unwritten": len(left),
        "dropped": stats.dropped + feed_stats.dropped,
        "seconds": round(time.monotonic() - begun, 3),
        "gaps": feed_stats.gaps,
        "reconnects": feed_stats.reconnects,
        **watched.summary(),
        "trouble": [stats.last_error] if left else [],
    }


def _where(batcher: Batcher, feed: KalshiFeed) -> str:
    stats = batcher.stats()
    waiting = f", {stats.pending:,} waiting" if stats.is_failing else ""
    dropped = f", {stats.dropped:,} dropped" if stats.dropped else ""
    state = "" if feed.state is FeedState.CONNECTED else f", {feed.state.value}"
    return f"{counted(stats.written, 'row')} written{waiting}{dropped}{state}"


def _report(trouble: SinkTrouble) -> None:
    click.echo(printable(trouble.message), err=True)
