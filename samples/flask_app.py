"""Flask: live order books as JSON, as server-sent events and as a page.

Each process starts its feed at its first request.

.venv/bin/python samples/flask_app.py --simulate            then open http://127.0.0.1:5000/
.venv/bin/python samples/flask_app.py --series KXBTC15M     with the extra rest; also with --simulate
KALSHI_TICKERS=TICKER .venv/bin/gunicorn --chdir samples -c samples/gunicorn.conf.py 'flask_app:create_app()'

    /                                the page: ladders, price lines, state
    /books  /books/<ticker>          200; 404 for a market that isn't served; 503 while its book is not LIVE
    /stream  /stream/<ticker>        server-sent events
    /health  /metrics                200, or 503 while no data can arrive; for Prometheus
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from _common import end_as_ctrl_c, into_environment, parser, simulated_exchange
from flask import Flask

from kalshi_feed import KalshiFeedError
from kalshi_feed.contrib.flask import FeedExtension, feed_blueprint

feeds = FeedExtension()


def create_app() -> Flask:
    """Return the application. Key, exchange and markets come from the environment, or from ``app.config``."""
    app = Flask(__name__)
    feeds.init_app(app)
    app.register_blueprint(feed_blueprint())
    return app


def main() -> None:
    options = parser("Serve live order books.")
    options.add_argument("--port", type=int, default=5000)
    options.add_argument(
        "--series", help="a series whose markets come and go by themselves, such as KXBTC15M"
    )
    options.add_argument("--debug", action="store_true", help="with Flask's reloader")
    chosen = options.parse_args()
    end_as_ctrl_c()  # otherwise a simulated exchange's key would be left behind
    into_environment(chosen)
    if chosen.seconds:
        # nothing but Ctrl-C ends Flask's server
        timer = threading.Timer(chosen.seconds, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()
    # the reloader's child uses its parent's exchange
    if chosen.simulate and "WERKZEUG_RUN_MAIN" not in os.environ:
        with simulated_exchange(chosen.series):
            serve(chosen.port, chosen.debug)
    else:
        serve(chosen.port, chosen.debug)


def serve(port: int, debug: bool) -> None:
    try:
        app = create_app()
    except KalshiFeedError as error:  # no key, a key that can't be read …
        sys.exit(f"{type(error).__name__}: {error}")
    try:
        app.run(port=port, debug=debug)
    except KeyboardInterrupt:
        pass  # it came before the server could catch it
    finally:
        feeds.close(app)


if __name__ == "__main__":
    main()
