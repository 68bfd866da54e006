"""The feed's metrics in Prometheus's text format. Needs the extra ``prometheus``, so imported on demand.

Owns exposition().
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ...feed import KalshiFeed
from ..prometheus import FeedCollector

__all__ = ["exposition"]


def exposition(feed: KalshiFeed) -> tuple[bytes, str]:
    """Return this feed's metrics as a scraper gets them, and their content type."""
    # a new one: the library's global registry would keep a feed from before a fork
    registry = CollectorRegistry()
    FeedCollector(feed, registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST
