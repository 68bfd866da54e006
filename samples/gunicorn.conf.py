"""gunicorn's settings for flask_app.py: workers with threads for the streams, and streams that end when a
worker is to end.

KALSHI_TICKERS=TICKER,OTHER gunicorn --chdir samples -c samples/gunicorn.conf.py 'flask_app:create_app()'
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

workers = 2  # each has a feed of its own
worker_class = "gthread"
# each open page or stream holds one: more than KALSHI_STREAM_CLIENTS (32), so that others are answered too
threads = 40


def post_worker_init(worker: Any) -> None:
    """Streams never end by themselves: without this a worker waits for them until it is killed, and its feed
    is not closed."""
    before: Any = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        worker_int(worker)
        before(number, frame)

    signal.signal(signal.SIGTERM, end)


def worker_int(worker: Any) -> None:
    """Ctrl-C."""
    from flask_app import feeds

    feeds.end_streams(worker.wsgi)
