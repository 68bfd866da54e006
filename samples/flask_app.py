"""Flask: live order books as JSON. One feed per process, started by the process's first request.

python samples/flask_app.py --simulate                                        then http://127.0.0.1:5000/book/KXSIM-001
KALSHI_TICKERS=TICKER,OTHER gunicorn --chdir samples -w 4 'flask_app:create_app()'

    /book/<ticker>   200, 404 for a market that is not served, 503 while its book is not LIVE
    /health          200, 503 while no data can arrive

Importing this starts no thread and create_app() neither: the debug reloader's watching parent and gunicorn's master,
with --preload or without, hold no feed, and every worker has its own. Threads and sockets do not survive a fork.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from _common import address_from_env, parser
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from kalshi_feed import Credentials, FeedFault, KalshiFeed, KalshiFeedError

PATIENCE = 2.0  # seconds a request waits for a book that is not LIVE yet


class FeedOfProcess:
    """The feed of whichever process asks for it, made and started when it first does. Thread-safe."""

    def __init__(self, tickers: list[str]) -> None:
        self._credentials = Credentials.from_env()  # a missing or wrong key stops the server when it starts, not later
        self._tickers = tickers
        self._lock = threading.Lock()  # guards the two below; making and starting a feed does not wait for the network
        self._feed: KalshiFeed | None = None
        self._pid = 0
        self.unknown: set[str] = set()  # markets that the exchange does not know

    def get(self) -> KalshiFeed:
        with self._lock:
            if self._feed is None or self._pid != os.getpid():
                feed = KalshiFeed.from_env(credentials=self._credentials, **address_from_env())
                feed.on_error(self._remember)
                feed.subscribe("orderbook_delta", self._tickers)
                self._feed, self._pid = feed.start(), os.getpid()
            return self._feed

    def close(self) -> None:
        with self._lock:
            if self._feed is not None and self._pid == os.getpid():
                self._feed.close()

    def _remember(self, fault: FeedFault) -> None:
        if fault.kind == "unknown_market":
            self.unknown.add(fault.context["market_ticker"])


def create_app() -> Flask:
    """The application. Serves the markets that KALSHI_TICKERS names, with commas between them."""
    tickers = [ticker for ticker in os.environ.get("KALSHI_TICKERS", "").split(",") if ticker]
    if not tickers:
        raise RuntimeError("set KALSHI_TICKERS to the markets to serve, with commas between them")
    feed_of_process = FeedOfProcess(tickers)
    app = Flask(__name__)
    app.extensions["kalshi_feed"] = feed_of_process

    @app.get("/book/<ticker>")
    def book(ticker: str) -> ResponseReturnValue:
        # Only what was asked for at the start: a stranger's url must not make this server subscribe to things.
        if ticker not in tickers or ticker in feed_of_process.unknown:
            return jsonify(error=f"no market {ticker} here"), 404
        feed = feed_of_process.get()
        try:
            view = feed.wait_for_book(ticker, timeout=PATIENCE).view(require_live=True)
        except KalshiFeedError as error:  # not connected, no snapshot, STALE, a key that is refused …
            return jsonify(error=str(error), status=503), 503
        answer: dict[str, Any] = view.to_dict()
        answer["spread"] = None if (spread := view.spread()) is None else str(spread)
        return jsonify(answer)

    @app.get("/health")
    def health() -> ResponseReturnValue:
        found = feed_of_process.get().health()
        return jsonify(found.to_dict()), 503 if found.status == "down" else 200

    return app


def main() -> None:
    options = parser("Serve live order books as JSON.")
    options.add_argument("--port", type=int, default=5000)
    options.add_argument("--debug", action="store_true", help="with Flask's reloader")
    chosen = options.parse_args()
    if chosen.env:
        os.environ["KALSHI_ENV"] = chosen.env
    if chosen.tickers:
        os.environ["KALSHI_TICKERS"] = ",".join(chosen.tickers)
    if chosen.seconds:
        # Flask's server ends with Ctrl-C alone
        timer = threading.Timer(chosen.seconds, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()
    if chosen.simulate and "WERKZEUG_RUN_MAIN" not in os.environ:  # the reloader's child uses its parent's exchange
        import tempfile

        from kalshi_feed.simulator import Exchange

        with tempfile.TemporaryDirectory() as folder, Exchange(markets=3, rate=60) as exchange:
            key_file, ca_file = exchange.write_credentials(folder)
            os.environ |= {
                "KALSHI_API_KEY_ID": exchange.api_key_id,
                "KALSHI_PRIVATE_KEY_PATH": str(key_file),
                "KALSHI_URL": exchange.url,
                "KALSHI_CA_FILE": str(ca_file),
            }
            os.environ.setdefault("KALSHI_TICKERS", ",".join(exchange.market_tickers))
            serve(chosen.port, chosen.debug)
    else:
        serve(chosen.port, chosen.debug)


def serve(port: int, debug: bool) -> None:
    app = create_app()
    try:
        app.run(port=port, debug=debug)
    finally:
        app.extensions["kalshi_feed"].close()


if __name__ == "__main__":
    main()
