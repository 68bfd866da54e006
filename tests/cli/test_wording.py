"""Messages of the package in the command line's own terms, and reasons in a few words."""

from __future__ import annotations

import pytest

from kalshi_feed.cli.wording import in_own_terms, short


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("The channels are a, b; allow_unknown=True sends the name as it is", "The channels are a, b"),
        (
            "unknown 'x': did you mean 'y'? (allow_unknown=True takes the name)",
            "unknown 'x': did you mean 'y'?",
        ),
        (
            "unknown issuer; pass ssl_context=ssl.create_default_context(cafile='the company CA.pem')",
            "unknown issuer; pass --ca-file 'the company CA.pem'",
        ),
        ("check the proxy, or pass proxy='' to connect directly", None),
        ("url names no host", "--url names no host"),
        ("the url names no host", "the url names no host"),
        ("nothing to change here: at once", "nothing to change here: at once"),
    ],
)
def test_options_stand_in_place_of_arguments(text: str, own: str | None) -> None:
    assert in_own_terms(text) == (own or "check the proxy, or set NO_PROXY='*' to connect directly")


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
