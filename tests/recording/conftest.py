"""The exchange and the feeds of the feed's own tests."""

from __future__ import annotations

from tests.feed.conftest import exchange, make_feed

__all__ = ["exchange", "make_feed"]
