"""Foreign exceptions and HTTP answers as our errors: the cases that other tests' servers never produce."""

from __future__ import annotations

import ssl
from datetime import datetime, timezone

import pytest

from kalshi_feed.connection.failures import connection_failed, lost_reason, rejected
from kalshi_feed.connection.http import Answer
from kalshi_feed.connection.url import parse_url
from kalshi_feed.errors import ConnectionFailed, TLSError

PRODUCTION = parse_url("wss://external-api-ws.kalshi.com/trade-api/ws/v2")
DEMO = parse_url("wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2")


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "reason"
    return error


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, "clock"),
        (10, "clock"),
        (18, "its issuer is not known. Behind a company proxy that inspects TLS, pass ssl_context="),
        (62, "url's host"),
        (64, "url's host"),
        (23, "which server answers"),
    ],
)
def test_T01_T02_T03_each_certificate_error_has_its_advice(code: int, words: str) -> None:
    error = connection_failed(certificate_error(code), "the TLS handshake", PRODUCTION, None)
    assert isinstance(error, TLSError) and words in str(error)


def test_H01_the_other_environments_key() -> None:
    now = datetime.now(timezone.utc)
    assert "production key does not work" in str(rejected(Answer(401, "", {}), DEMO, now))
    assert "a demo key works with KALSHI_ENV=demo" in str(rejected(Answer(401, "", {}), PRODUCTION, now))


def test_H09_whatever_it_is_it_is_a_connection_failed() -> None:
    error = connection_failed(ZeroDivisionError("odd\x1b[2J"), "connecting", PRODUCTION, None)
    assert type(error) is ConnectionFailed and "ZeroDivisionError: odd [2J" in str(error)
    assert lost_reason(ZeroDivisionError("odd"), False) == "ZeroDivisionError: odd"
    assert "error 5" in str(connection_failed(OSError("error 5"), "connecting", PRODUCTION, None))
