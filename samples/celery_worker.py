"""Celery: tasks that look at live order books. Each process of the pool has its own feed.

.venv/bin/python samples/celery_worker.py --simulate    worker and tasks in this process, no broker needed
KALSHI_TICKERS=TICKER,OTHER .venv/bin/celery --workdir samples -A celery_worker worker --concurrency 2

    from celery_worker import quote
    quote.delay("TICKER").get(timeout=10)            # {"bid": "0.3700", "ask": "0.3900"}

Broker and results are Celery's own settings: CELERY_BROKER_URL and CELERY_RESULT_BACKEND, or the module that
CELERY_CONFIG_MODULE names.
"""

from __future__ import annotations

import os
import sys

from _common import simulated_exchange
from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from kalshi_feed import KalshiFeed, KalshiFeedError
from kalshi_feed.contrib.process import ProcessFeed

app = Celery("celery_worker")
if os.environ.get("CELERY_CONFIG_MODULE"):
    app.config_from_envvar("CELERY_CONFIG_MODULE")


def make_feed() -> KalshiFeed:
    feed = KalshiFeed.from_env()
    feed.subscribe("orderbook_delta", os.environ["KALSHI_TICKERS"].split(","))
    return feed


feeds = ProcessFeed(make_feed)


@worker_process_init.connect
def start(**_: object) -> None:
    """In each process of the pool, after the fork: the books are ready when the first task arrives."""
    feeds.get()


@worker_process_shutdown.connect
def close(**_: object) -> None:
    """Pool processes skip the interpreter's usual exit, in which feeds close themselves."""
    feeds.close()


@app.task(autoretry_for=(KalshiFeedError,), max_retries=3, default_retry_delay=1)
def quote(ticker: str) -> dict[str, str | None]:
    """Return the best yes bid and ask; Celery retries while the book is not LIVE."""
    view = feeds.get().wait_for_book(ticker, timeout=5).view(require_live=True)
    bid, ask = view.best_bid(), view.best_ask()
    return {"bid": str(bid.price) if bid else None, "ask": str(ask.price) if ask else None}


def simulate() -> None:
    """Ask for every simulated market, from a worker in a thread of this process."""
    from celery.contrib.testing.worker import start_worker

    app.conf.update(broker_url="memory://", result_backend="cache+memory://")
    with simulated_exchange():
        try:
            with start_worker(app, perform_ping_check=False):
                for ticker in os.environ["KALSHI_TICKERS"].split(","):
                    print(ticker, quote.delay(ticker).get(timeout=10))
        finally:
            feeds.close()


if __name__ == "__main__":
    if sys.argv[1:] != ["--simulate"]:
        sys.exit("run it with celery, or try --simulate")
    simulate()
