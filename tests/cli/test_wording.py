"""Errors of the package in the command line's own terms, and reasons in a few words."""

from __future__ import annotations

import pytest

from kalshi_feed import ConfigurationError, ConnectionFailed, CredentialsError, KalshiFeedError, TLSError
from kalshi_feed.cli.wording import in_own_terms, short


@pytest.mark.parametrize(
    ("error", "own"),
    [
        (ConfigurationError("has no host", "url"), "--url has no host"),
        (ConfigurationError("has no host", "KALSHI_URL"), "KALSHI_URL has no host"),
        (ConfigurationError("is after the end", "at"), "--at is after the end"),
        (ConfigurationError("url and at stay as they are"), "url and at stay as they are"),
        (CredentialsError("is the key itself", "--key-file"), "--key-file is the key itself"),
        (
            TLSError("no issuer", "Pass ssl_context="),
            "no issuer; --ca-file FILE trusts the certificates in FILE",
        ),
        (TLSError("it has expired"), "it has expired"),
        (ConnectionFailed("refused"), "refused"),
    ],
    ids=str,
)
def test_options_stand_in_place_of_arguments(error: KalshiFeedError, own: str) -> None:
    assert in_own_terms(error) == own


URL = "wss://example.com:443/trade-api/ws/v2"


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (
            f"{URL}: connecting failed: the connection was refused: nothing listens there",
            "the connection was refused: nothing listens there",
        ),
        (
            f"{URL}: looking up example.com failed: the host name cannot be resolved "
            "(Name or service not known); check the url and the network's DNS",
            "the host name cannot be resolved (Name or service not known)",
        ),
        (
            f"{URL} answered the handshake with 503 (maintenance); try later",
            "answered the handshake with 503 (maintenance)",
        ),
        ("the connection was reset", "the connection was reset"),
        ("", ""),
        (URL, URL),
    ],
)
def test_a_short_reason_has_no_url_and_no_advice(reason: str, text: str) -> None:
    assert short(reason) == text
