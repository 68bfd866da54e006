"""Errors carry their data, read well, and survive being copied, pickled and raised in another thread."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timezone

import pytest

import kalshi_feed
from kalshi_feed import errors
from kalshi_feed.errors import (
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

SAMPLES: list[KalshiFeedError] = [
    KalshiFeedError("x"),
    ConfigurationError("x"),
    ConfigurationError("has no host", "url"),
    CredentialsError("x"),
    ConnectionFailed("x"),
    HandshakeRejected("busy", 503, "Unavailable", 7.5, datetime(2026, 10, 26, tzinfo=timezone.utc)),
    AuthenticationError("no", 401, "NOT_FOUND"),
    TLSError("x"),
    TLSError("x", "pass y"),
    ProxyError("no", 407),
    ConnectionLost(1006, "gone"),
    ProtocolError("odd", "{", "trade", 1, 2, "A"),
    SubscriptionError(26, "limit", "orderbook_delta", ("A", "B")),
    StaleBookError("A", "STALE"),
    UnknownMarketError("A", True),
    WaitTimeout("x"),
    FeedClosedError("x"),
    FeedForkedError("x"),
    SinkError("x"),
    RelayError("Redis refuses the password", retryable=False),
    RestError(404, "not_found", "market not found", "/markets/A", "write it in uppercase"),
]


def ids(error: KalshiFeedError) -> str:
    return type(error).__name__


def test_every_class_is_public_and_sampled() -> None:
    assert {type(error).__name__ for error in SAMPLES} == set(errors.__all__)
    assert all(getattr(kalshi_feed, name) is getattr(errors, name) for name in errors.__all__)


@pytest.mark.parametrize("error", SAMPLES, ids=ids)
def test_copies_are_the_same_error(error: KalshiFeedError) -> None:
    for twin in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error) and twin is not error
        assert (twin.args, vars(twin), str(twin)) == (error.args, vars(error), str(error))


@pytest.mark.parametrize("error", SAMPLES, ids=ids)
def test_fresh_keeps_the_cause_and_nothing_of_the_traceback(error: KalshiFeedError) -> None:
    cause = OSError("why")
    try:
        raise copy.copy(error) from cause
    except KalshiFeedError as raised:
        twin = raised.fresh()
    assert type(twin) is type(error) and str(twin) == str(error) and vars(twin) == vars(error)
    assert twin.__cause__ is cause and twin.__suppress_context__ and twin.__traceback__ is None


def test_the_tree() -> None:
    assert issubclass(CredentialsError, ConfigurationError) and issubclass(ConfigurationError, ValueError)
    for failed in (HandshakeRejected, TLSError, ProxyError):
        assert issubclass(failed, ConnectionFailed)
    assert issubclass(AuthenticationError, HandshakeRejected)
    assert issubclass(WaitTimeout, TimeoutError)
    assert not issubclass(ConnectionLost, ConnectionFailed)
    assert all(issubclass(type(error), KalshiFeedError) for error in SAMPLES)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (KalshiFeedError("x"), False),
        (ConfigurationError("x"), False),
        (ConnectionFailed("x"), True),
        (TLSError("x"), False),
        (ConnectionLost(), True),
        (ProxyError("x"), True),
        (ProxyError("x", 502), True),
        (ProxyError("x", 407), False),
        (ProxyError("x", 401), False),
        *[(HandshakeRejected("x", status), True) for status in (200, 301, 302, 308, 408, 429, 500, 503)],
        *[(HandshakeRejected("x", status), False) for status in (0, 204, 400, 404, 426)],
        (AuthenticationError("x", 401), False),
        (AuthenticationError("x", 403), False),
    ],
    ids=str,
)
def test_what_the_feed_tries_again(error: KalshiFeedError, retryable: bool) -> None:
    assert error.retryable is retryable


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigurationError("no markets"), "no markets"),
        (ConfigurationError("has no host", "url"), "url has no host"),
        (TLSError("expired"), "expired"),
        (
            TLSError("its issuer is not known", "Pass ssl_context="),
            "its issuer is not known. Pass ssl_context=",
        ),
        (HandshakeRejected("busy", 503, "Unavailable"), "busy"),
        (ProxyError("no", 407), "no"),
        (ConnectionLost(), "the connection was lost: closed without a close frame"),
        (ConnectionLost(None, "reset"), "the connection was lost: reset"),
        (ConnectionLost(1001), "the connection was closed with code 1001"),
        (ConnectionLost(1001, "bye"), "the connection was closed with code 1001: bye"),
        (ProtocolError("odd"), "odd"),
        (ProtocolError("odd", "{"), "odd in '{'"),
        (SubscriptionError(9, "no"), "the exchange refused the subscription: error 9, no"),
        (SubscriptionError(9, "no", "fill"), "the exchange refused the subscription fill: error 9, no"),
        (
            SubscriptionError(26, "limit", "trade", ("A", "B", "C")),
            "the exchange refused the subscription trade for A, B, C: error 26, limit",
        ),
        (
            SubscriptionError(26, "limit", "trade", ("A", "B", "C", "D")),
            "the exchange refused the subscription trade for A, B, C …: error 26, limit",
        ),
    ],
)
def test_messages_of_errors(error: KalshiFeedError, text: str) -> None:
    assert str(error) == text


def test_a_stale_book_says_what_to_do() -> None:
    text = str(StaleBookError("A", "PENDING"))
    assert "book of A is PENDING, not LIVE" in text and "wait_for_book()" in text
