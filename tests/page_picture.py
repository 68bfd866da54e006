"""Makes samples/pictures/page.png, the picture of the Flask page in README.md: ``python -m tests.page_picture
[FILE]``.

The exchange moves for a while first, so that the price line and the trades have something to show.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

from flask import Flask
from werkzeug.serving import make_server

from kalshi_feed.contrib.flask import FeedExtension, feed_blueprint
from kalshi_feed.simulator import Exchange
from tests.contrib.browser import missing, open_browser

PICTURE = Path(__file__).parents[1] / "samples" / "pictures" / "page.png"
SECONDS = 40


def main() -> None:
    if missing():
        sys.exit(missing())
    with tempfile.TemporaryDirectory() as folder, Exchange(markets=2, rate=40, seed=11) as exchange:
        key_file, ca_file = exchange.write_credentials(folder)
        app = Flask(__name__)
        app.config.update(
            KALSHI_API_KEY_ID=exchange.api_key_id,
            KALSHI_PRIVATE_KEY_PATH=key_file,
            KALSHI_URL=exchange.url,
            KALSHI_CA_FILE=ca_file,
            KALSHI_TICKERS=exchange.market_tickers,
        )
        feeds = FeedExtension(app)
        app.register_blueprint(feed_blueprint())
        server = make_server("127.0.0.1", 0, app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with open_browser() as browser:
                page = browser.new_page(viewport={"width": 1280, "height": 600}, color_scheme="dark")
                page.goto(f"http://127.0.0.1:{server.port}/")
                page.wait_for_timeout(SECONDS * 1000)
                page.screenshot(path=sys.argv[1] if len(sys.argv) > 1 else PICTURE)
        finally:
            server.shutdown()
            feeds.close(app)
            server.server_close()


if __name__ == "__main__":
    main()
