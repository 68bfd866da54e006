"""Flask: one live feed in each server process, its books as JSON and as server-sent events, and a page that
shows them.

    feeds = FeedExtension(app)                      # app.config["KALSHI_TICKERS"] …
    app.register_blueprint(feed_blueprint(), url_prefix="/kalshi")

Owns the two public names; needs the extra ``flask``.
"""

from __future__ import annotations

from ...extras import how_to_install

try:
    import flask as _flask  # noqa: F401
except ImportError:
    raise ImportError(f"kalshi_feed.contrib.flask needs Flask; {how_to_install('flask')}") from None

from .extension import FeedExtension
from .views import feed_blueprint

__all__ = ["FeedExtension", "feed_blueprint"]
