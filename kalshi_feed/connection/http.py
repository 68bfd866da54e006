"""HTTP answers: the status, the headers and what they say about time, and the beginning of the body.

Owns the parsing of a proxy's and a server's answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Final

__all__ = ["Answer", "NotHttp", "parse_answer"]

RETRY_AFTER_MAX: Final = 60.0
# an earlier Date comes from a device without a clock
OLDEST_DATE: Final = datetime(2020, 1, 1, tzinfo=timezone.utc)
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([^\r\n]*))?")
# A script or style sheet without an end tag was cut off.
_TAGS: Final = re.compile(r"<(script|style)\b.*?(?:</\1>|\Z)|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]*\r\n")


class NotHttp(Exception):
    """The peer's answer is not HTTP, or is far too long."""


@dataclass(frozen=True)
class Answer:
    """Status line, headers and the first bytes of the body.

    Names of headers are in lower case. Of several with one name the last one wins, except that extensions
    are a list, which may be spread over several.
    """

    status: int
    phrase: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def server_time(self) -> datetime | None:
        """The Date header as an aware datetime; None if it is missing or implausible (H11)."""
        time = _http_date(self.headers.get("date", ""))
        return time if time is not None and time >= OLDEST_DATE else None

    def retry_after(self, now: datetime) -> float | None:
        """Retry-After in seconds, at most 60; None if it is missing or nonsense (H04)."""
        value = self.headers.get("retry-after", "").strip()
        if re.fullmatch("[0-9]+", value):
            return RETRY_AFTER_MAX if len(value) > 9 else min(float(value), RETRY_AFTER_MAX)
        when = _http_date(value)
        if when is None:
            return None
        return min(max((when - (self.server_time or now)).total_seconds(), 0.0), RETRY_AFTER_MAX)

    @property
    def text(self) -> str:
        """The server's own words on one line: the body, or the status line's phrase if the body is empty."""
        body = self.body
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            body = _unchunked(body)
        text = _TAGS.sub(" ", body.decode("utf-8", "replace"))
        printable = "".join(character if character.isprintable() else " " for character in text)
        return " ".join(printable.split()) or self.phrase


def parse_answer(head: bytes) -> Answer | None:
    """Parse ``head``, which ends with the empty line; None if it does not start like an HTTP/1 answer."""
    status_line, _, rest = head.partition(b"\r\n")
    found = _STATUS_LINE.fullmatch(status_line)
    if found is None:
        return None
    headers: dict[str, str] = {}
    for line in rest.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            name, value = name.strip().lower(), value.strip()
            if name == "sec-websocket-extensions" and name in headers:
                value = f"{headers[name]}, {value}"
            headers[name] = value
    phrase = (found[2] or b"").decode("latin-1")
    return Answer(
        int(found[1]),
        "".join(character if character.isprintable() else " " for character in phrase).strip(),
        headers,
    )


def _unchunked(body: bytes) -> bytes:
    """The content of a chunked body, as far as it has arrived and makes sense."""
    content, at = bytearray(), 0
    while found := _CHUNK.match(body, at):
        size = int(found[1], 16)
        content += body[found.end() : found.end() + size]
        at = found.end() + size + 2
    return bytes(content)


def _http_date(value: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(value)
        return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
