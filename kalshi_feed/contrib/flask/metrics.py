"""The feed's figures in Prometheus's text format. Needs the extra ``prometheus``: imported when somebody asks for them.

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
    registry = CollectorRegistry()
    registry.register(FeedCollector(feed))
    return generate_latest(registry), CONTENT_TYPE_LATEST
