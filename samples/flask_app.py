"""Flask: live order books as JSON, as server-sent events and as a page. One feed per process, started by its
first request.

python samples/flask_app.py --simulate                                        then open http://127.0.0.1:5000/
KALSHI_TICKERS=TICKER,OTHER gunicorn --chdir samples -c samples/gunicorn.conf.py 'flask_app:create_app()'

    /                                the page: ladders, price lines, state
    /books  /books/<ticker>          200, 404 for a market that is not served, 503 while its book is not LIVE
    /stream  /stream/<ticker>        server-sent events
    /health  /metrics                200, or 503 while no data can arrive; for Prometheus
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading

from _common import end_as_ctrl_c, parser
from flask import Flask

from kalshi_feed.contrib.flask import FeedExtension, feed_blueprint

feeds = FeedExtension()


def create_app() -> Flask:
    """The application. The key, the exchange and the markets are the environment's, or ``app.config``'s."""
    app = Flask(__name__)
    feeds.init_app(app)
    app.register_blueprint(feed_blueprint())
    return app


def main() -> None:
    options = parser("Serve live order books.")
    options.add_argument("--port", type=int, default=5000)
    options.add_argument("--debug", action="store_true", help="with Flask's reloader")
    chosen = options.parse_args()
    end_as_ctrl_c()  # else a simulated exchange's key stayed behind
    if chosen.env:
        os.environ["KALSHI_ENV"] = chosen.env
        os.environ.pop("KALSHI_URL", None)  # which would win
    if chosen.tickers:
        os.environ["KALSHI_TICKERS"] = ",".join(chosen.tickers)
    if not (chosen.simulate or os.environ.get("KALSHI_TICKERS")):
        sys.exit("name at least one TICKER, or try --simulate")
    if chosen.seconds:
        # Flask's server ends with Ctrl-C alone
        timer = threading.Timer(chosen.seconds, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()
    # the reloader's child uses its parent's exchange
    if chosen.simulate and "WERKZEUG_RUN_MAIN" not in os.environ:
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
    except KeyboardInterrupt:
        pass  # before the server caught it
    finally:
        feeds.close(app)


if __name__ == "__main__":
    main()
