from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable

import pytest
import websocket

from kalshi_feed.connection.redaction import RedactingFilter, detach, holds_secret, install_log_filter, redact

from .conftest import SIGNATURE


@pytest.mark.parametrize(
    "text",
    [
        f"KALSHI-ACCESS-SIGNATURE: {SIGNATURE}",
        f"{{'KALSHI-ACCESS-SIGNATURE': '{SIGNATURE}'}}",
        f'"kalshi-access-signature"="{SIGNATURE}"',
        f"b'Proxy-Authorization': b'Basic {SIGNATURE}'",
        f"bad value {SIGNATURE[:42]}",  # a part of it
        "Cookie: session=secretvalue",
    ],
)
def test_K11_known_shapes(text: str) -> None:
    clean = redact(text)
    assert SIGNATURE[:20] not in clean and "secretvalue" not in clean and "[redacted]" in clean
    assert holds_secret(text)


@pytest.mark.parametrize("signature", ["Bytes", "b64", "'quoted'", "b'bytes'"])
def test_K03_K11_no_character_of_a_headers_value_is_left(signature: str) -> None:
    assert (
        re.sub("b?'", "", redact(f"KALSHI-ACCESS-SIGNATURE: {signature}"))
        == "KALSHI-ACCESS-SIGNATURE: [redacted]"
    )


@pytest.mark.parametrize("sign", ["\\/", "&#43;", "&#x2F;", "%2B", "/", "+"])
def test_K11_signs_of_base64_however_they_are_written(sign: str) -> None:
    assert redact(f"bad {sign.join(['abcdefgh'] * 10)}== here") == "bad [redacted] here"


@pytest.mark.parametrize("written", [str.upper, str.lower])
def test_K11_given_secrets_however_they_are_echoed(written: Callable[[str], str]) -> None:
    assert redact(f"key {written('My-Key-Id')} at 9", ["my-key-id", "", "at"]) == "key [redacted] at 9"
    assert redact("password 12345678", ["12345678"]) == "password [redacted]"
    assert not holds_secret("key not found", ["my-key-id"])


def failing(secret: str) -> None:
    try:
        raise ValueError("inner")
    except ValueError:
        raise OSError("outer")  # noqa: B904


def test_K02_detached_cause_holds_no_frames() -> None:
    try:
        failing("hunter2secret")
    except OSError as caught:
        error = caught
    cause = detach(error)
    assert cause is error and error.__traceback__ is None and error.__context__ is None
    assert "hunter2secret" not in "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )


def test_K02_cause_that_contains_a_secret_is_left_out() -> None:
    assert detach(ValueError("my-key-id is unknown"), ["my-key-id"]) is None
    outer = ValueError("x")
    outer.__cause__ = ValueError("my-key-id")
    assert detach(outer, ["my-key-id"]) is None


def test_K03_websocket_clients_own_trace_is_redacted(caplog: pytest.LogCaptureFixture) -> None:
    websocket.enableTrace(True, handler=logging.NullHandler())
    try:
        logger = logging.getLogger("websocket")
        with caplog.at_level(1, "websocket"):
            logger.debug("GET / HTTP/1.1\r\nKALSHI-ACCESS-SIGNATURE: %s\r\nHost: x", SIGNATURE)
            logger.debug("nothing %s", "secret")
    finally:
        websocket.enableTrace(False)
    assert SIGNATURE not in caplog.text and "Host: x" in caplog.text and "nothing secret" in caplog.text


def test_K03_headers_that_urllib3_quotes_are_redacted(caplog: pytest.LogCaptureFixture) -> None:
    """It does so when it cannot read an answer's headers, which may be an echo of ours."""
    install_log_filter("urllib3.connection")
    install_log_filter("urllib3.connection")
    logger, signature = logging.getLogger("urllib3.connection"), "c2lnbmF0dXJl" * 8
    assert len(logger.filters) == 1
    try:
        raise ValueError(f"KALSHI-ACCESS-KEY: the-whole-id\\r\\nKALSHI-ACCESS-SIGNATURE: {signature}")
    except ValueError as error:
        logger.warning("Failed to parse headers: %s", error, exc_info=True)
    logger.warning("a url of %s", "x" * 50)
    assert (
        "Failed to parse" in caplog.text
        and "the-whole-id" not in caplog.text
        and signature not in caplog.text
    )
    assert "x" * 50 in caplog.text  # other programs' lines stay as they are


def test_a_record_that_cannot_be_formatted_is_left_to_logging() -> None:
    record = logging.LogRecord("websocket", logging.DEBUG, __file__, 1, "malformed %d", ("x",), None)
    assert RedactingFilter().filter(record)
