"""The few places where tests look inside a feed. They are all here, so that a change of the engine is one
edit."""

from __future__ import annotations

from typing import Any

from kalshi_feed import KalshiFeed
from kalshi_feed.books.store import BookStore
from kalshi_feed.connection.transport import Transport
from kalshi_feed.engine.engine import Engine
from kalshi_feed.session.session import Session
from kalshi_feed.session.wanted import Wanted
from kalshi_feed.threads import FeedingThread

__all__ = ["engine", "reader", "session", "store", "streams", "transport", "waiters", "wanted"]


def engine(feed: KalshiFeed) -> Engine:
    """The engine: the parts put together."""
    return feed._engine


def store(feed: KalshiFeed) -> BookStore:
    """The books and their lock."""
    return feed._engine.store


def session(feed: KalshiFeed) -> Session:
    """The protocol without I/O."""
    return feed._engine.session


def wanted(feed: KalshiFeed) -> Wanted:
    """What users want."""
    return feed._engine.wanted


def transport(feed: KalshiFeed) -> Transport | None:
    """The current connection."""
    found: Transport | None = getattr(feed._engine, "_transport", None)
    return found


def reader(feed: KalshiFeed) -> FeedingThread | None:
    """The thread that drives the session."""
    return feed._engine._reader


def waiters(feed: KalshiFeed) -> int:
    """How many threads wait for a book, a state or an answer."""
    return len(feed._engine.store._waiters)


def streams(feed: KalshiFeed) -> int:
    """How many streams (and waits for a message) are open."""
    streams: dict[Any, None] = feed._engine.dispatcher._streams
    return len(streams)
