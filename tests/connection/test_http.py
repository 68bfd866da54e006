from __future__ import annotations

from datetime import datetime, timezone

import pytest

from kalshi_feed.connection.http import Answer, parse_answer

NOW = datetime(2026, 10, 26, 12, 0, 0, tzinfo=timezone.utc)


def test_parses_a_head() -> None:
    answer = parse_answer(
        b"HTTP/1.1 401 Unauthorized\r\nDate: Mon, 26 Oct 2026 12:00:00 GMT\r\nno colon\r\nX:  y \r\n\r\n"
    )
    assert answer is not None
    assert (answer.status, answer.phrase, answer.headers["x"]) == (401, "Unauthorized", "y")
    assert answer.server_time == NOW
    assert answer.text == "Unauthorized"


@pytest.mark.parametrize(
    "head",
    [b"", b"SSH-2.0", b"HTTP/1.1", b"HTTP/1.1 abc", b"HTTP/1.1 99 x", b"HTTP/2 200", b"HTTP/1.1 2000 x"],
)
def test_H09_not_http(head: bytes) -> None:
    assert parse_answer(head + b"\r\n\r\n") is None


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Mon, 99 Oct 2026 12:00:00 GMT",
        "Mon, 26 Oct 99999 12:00:00 GMT",
    ],
)
def test_H11_dates_not_to_be_believed(date: str) -> None:
    assert Answer(401, "", {"date": date}).server_time is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("1000000000", 60.0),
        ("9" * 5_000, 60.0),
        ("abc", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("Mon, 26 Oct 2026 12:00:07 GMT", 7.0),
        ("Mon, 26 Oct 2026 11:00:00 GMT", 0.0),
        ("Mon, 26 Oct 2036 12:00:00 GMT", 60.0),
    ],
)
def test_H04_retry_after(value: str, seconds: float | None) -> None:
    assert Answer(429, "", {"retry-after": value}).retry_after(NOW) == seconds
    assert Answer(429, "", {}).retry_after(NOW) is None


def test_H04_retry_after_is_measured_on_the_servers_clock() -> None:
    headers = {"retry-after": "Mon, 26 Oct 2026 12:10:07 GMT", "date": "Mon, 26 Oct 2026 12:10:00 GMT"}
    assert Answer(429, "", headers).retry_after(NOW) == 7.0


def test_text_is_one_readable_line() -> None:
    html = b"<html><style>b {}</style><body>Not\r\n <b>here</b>\x00\xff</body>"
    assert Answer(404, "Not Found", {}, html).text == "Not here \ufffd"
    chunked = Answer(401, "", {"transfer-encoding": "chunked"}, b'e\r\n{"code":"bad"}\r\n0\r\n\r\n')
    assert chunked.text == '{"code":"bad"}'
