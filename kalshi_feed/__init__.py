"""Kalshi's WebSocket feed for synchronous programs: reader thread, live order books, callbacks and waits.

Owns the public names; everything else is internal.
"""

from __future__ import annotations

from . import compiled as _compiled  # noqa: F401  # first, see there
from .books.book import BookStatus, BookView
from .books.store import OrderBook
from .credentials import Credentials
from .dispatch import MessageStream
from .errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    FeedClosedError,
    FeedForkedError,
    HandshakeRejected,
    KalshiFeedError,
    ProtocolError,
    ProxyError,
    RelayError,
    RestError,
    SinkError,
    StaleBookError,
    SubscriptionError,
    TLSError,
    UnknownMarketError,
    WaitTimeout,
)
from .events import FeedFault, FeedState, Gap, GapFilled, Lagged, MarketChange, StateChange
from .feed import DEMO_URL, PRODUCTION_URL, KalshiFeed
from .following import Following
from .messages import (
    CfBenchmarks5HzValue,
    CfBenchmarksValue,
    EventFeeUpdate,
    EventLifecycle,
    Fill,
    MarketLifecycle,
    MarketPosition,
    Message,
    MultivariateMarketLifecycle,
    OrderbookDelta,
    OrderbookSnapshot,
    OrderGroupUpdate,
    PythValue,
    Ticker,
    Trade,
    UnknownMessage,
    UserOrder,
)
from .messages.values import Level
from .recording.writing import Recording
from .session.retry import ReconnectPolicy
from .stats import FeedStats, Health, Stalls
from .subscription import Subscription, SubscriptionState
from .version import __version__

__all__ = [
    "DEMO_URL",
    "PRODUCTION_URL",
    "AuthenticationError",
    "BookStatus",
    "BookView",
    "CfBenchmarks5HzValue",
    "CfBenchmarksValue",
    "ConfigurationError",
    "ConnectionFailed",
    "ConnectionLost",
    "Credentials",
    "CredentialsError",
    "EventFeeUpdate",
    "EventLifecycle",
    "FeedClosedError",
    "FeedFault",
    "FeedForkedError",
    "FeedState",
    "FeedStats",
    "Fill",
    "Following",
    "Gap",
    "GapFilled",
    "HandshakeRejected",
    "Health",
    "KalshiFeed",
    "KalshiFeedError",
    "Lagged",
    "Level",
    "MarketChange",
    "MarketLifecycle",
    "MarketPosition",
    "Message",
    "MessageStream",
    "MultivariateMarketLifecycle",
    "OrderBook",
    "OrderGroupUpdate",
    "OrderbookDelta",
    "OrderbookSnapshot",
    "ProtocolError",
    "ProxyError",
    "PythValue",
    "ReconnectPolicy",
    "Recording",
    "RelayError",
    "RestError",
    "SinkError",
    "StaleBookError",
    "Stalls",
    "StateChange",
    "Subscription",
    "SubscriptionError",
    "SubscriptionState",
    "TLSError",
    "Ticker",
    "Trade",
    "UnknownMarketError",
    "UnknownMessage",
    "UserOrder",
    "WaitTimeout",
    "__version__",
]


def __dir__() -> list[str]:
    """The public names only, so that Tab after ``kalshi_feed.`` does not offer the inner modules."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
