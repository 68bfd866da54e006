"""The feed's figures in Prometheus's text format. Needs the extra ``prometheus``: imported when somebody asks
for them.

Owns exposition().
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ...feed import KalshiFeed
from ..prometheus import FeedCollector

__all__ = ["exposition"]


def exposition(feed: KalshiFeed) -> tuple[bytes, str]:
    """What a scraper gets of this feed, and its content type."""
    # of its own: the library's global one would keep the feed of before a fork
    registry = CollectorRegistry()
    FeedCollector(feed, registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST
