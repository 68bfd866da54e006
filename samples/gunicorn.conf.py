"""gunicorn's settings for flask_app.py: enough threads for the streams, which end when their worker does.

KALSHI_TICKERS=TICKER .venv/bin/gunicorn --chdir samples -c samples/gunicorn.conf.py 'flask_app:create_app()'
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

workers = 2  # each has its own feed
worker_class = "gthread"
# each open page or stream occupies one: more than KALSHI_STREAM_CLIENTS (32), to answer others too
threads = 40


def post_worker_init(worker: Any) -> None:
    """End the streams on SIGTERM: otherwise a worker waits for them until it is killed with its feed open."""
    before: Any = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        worker_int(worker)
        before(number, frame)

    signal.signal(signal.SIGTERM, end)


def worker_int(worker: Any) -> None:
    """Ctrl-C."""
    from flask_app import feeds

    feeds.end_streams(worker.wsgi)
