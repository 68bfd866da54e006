"""HTTP/1.1 as the exchange speaks it: requests read from bytes, answers turned into bytes.

Owns the syntax and its limits. Sans I/O: the bytes come from ``connection`` and go back to it.
"""

from __future__ import annotations

import email.utils
import http
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs, unquote

from .wire import encode_json

PREFIX = "/trade-api/v2"

MAX_HEAD = 32 * 1024
MAX_BODY = 256 * 1024
MAX_HEADERS = 100
MAX_AHEAD = 2 * (MAX_HEAD + MAX_BODY)  # bytes a client may have sent ahead of the answers

_LONGEST_START = 64  # bytes after which a request line shows whether it is for REST
_REST_START = re.compile(rb"[\r\n]*[A-Za-z]{1,20} +%b[/? \r\n]" % PREFIX.encode())
_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}) ([!-~]+) HTTP/1\.([01])")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\n\r]*?)[ \t]*")

# The connection's fate with an answer: kept, closed after it, reset instead of it, or closed in the middle.
Fate = Literal["keep", "close", "reset", "cut"]


@dataclass(frozen=True)
class HttpRequest:
    """One request. ``headers`` by upper-case name; ``repr`` does not show them, because of the signature."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    keep_alive: bool = True

    @property
    def raw_path(self) -> str:
        """The path as it was sent, which is what the client signs."""
        return self.target.partition("?")[0]

    @property
    def path(self) -> str:
        """The path below ``PREFIX``, unquoted."""
        return unquote(self.raw_path)[len(PREFIX) :]

    @property
    def query(self) -> dict[str, str]:
        """The parameters; of one that is given several times the last."""
        parsed = parse_qs(self.target.partition("?")[2], keep_blank_values=True)
        return {name: values[-1] for name, values in parsed.items()}


@dataclass(frozen=True)
class HttpAnswer:
    """One answer. ``delay``: seconds until it is sent."""

    status: int
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    fate: Fate = "keep"
    raw: bytes | None = None  # sent instead of everything else

    def encoded(self, now_us: int) -> bytes:
        """The bytes to send; the Date header says ``now_us``."""
        if self.raw is not None:
            return self.raw
        try:
            phrase = http.HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        headers = {
            "Date": email.utils.formatdate(now_us / 1e6, usegmt=True),
            "Content-Type": "application/json",
            "Content-Length": str(len(self.body)),
            "Connection": "keep-alive" if self.fate == "keep" else "close",
            **self.headers,
        }
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        whole = "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body
        return whole[: len(whole) - len(self.body) // 2 - 1] if self.fate == "cut" else whole


def failure(status: int, code: str, message: str, *, fate: Fate = "keep", **more: str) -> HttpAnswer:
    """An error as JSON."""
    body = encode_json({"error": {"code": code, "message": message, **more}})
    return HttpAnswer(status, body, fate=fate)


def speaks_rest(opening: bytes | bytearray) -> bool | None:
    """Whether a connection that begins with these bytes speaks REST; None if it cannot be known yet.

    An upgrade below ``PREFIX`` is not REST.
    """
    if _REST_START.match(opening) is None:
        return None if len(opening) < _LONGEST_START and b"\n" not in opening.lstrip(b"\r\n") else False
    end = opening.find(b"\r\n\r\n")
    if end < 0:
        return None if len(opening) <= MAX_HEAD else True
    return re.search(rb"\r\nupgrade[ \t]*:", opening[:end].lower()) is None


class RequestReader:
    """Reads the requests of one connection. Owned by the connection's thread."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # bytes that contain no end of a head
        self._request: HttpRequest | None = None  # whose body is awaited
        self._body = 0  # how much of it is still to come
        self._broken = False

    @property
    def begun(self) -> bool:
        """Whether part of a request has been read."""
        return bool(self._buffer) or self._request is not None

    def feed(self, data: bytes) -> bool:
        """Take bytes; False if the client has sent too much ahead of the answers."""
        if not self._broken:
            self._buffer += data
        return len(self._buffer) <= MAX_AHEAD

    def next(self) -> HttpRequest | HttpAnswer | None:
        """The next complete request, or the answer to one that cannot be read: it closes the connection."""
        if self._broken:
            return None
        if self._request is None:
            del self._buffer[: len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))]
            end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
            if max(end, 0) > MAX_HEAD or (end < 0 and len(self._buffer) > MAX_HEAD):
                return self._refuse(431, "headers_too_large", f"the headers have more than {MAX_HEAD} bytes")
            if end < 0:
                self._searched = len(self._buffer)
                return None
            head = bytes(self._buffer[:end]).decode("latin-1")
            del self._buffer[: end + 4]
            self._searched = 0
            refusal = self._read_head(head)
            if refusal is not None:
                return refusal
        dropped = min(self._body, len(self._buffer))
        del self._buffer[:dropped]
        self._body -= dropped
        if self._body:
            return None
        request, self._request = self._request, None
        return request

    def _read_head(self, head: str) -> HttpAnswer | None:
        first, *lines = head.split("\r\n")
        match = _REQUEST_LINE.fullmatch(first)
        if match is None:
            return self._refuse(400, "bad_request", "the request line is not one of HTTP/1.1")
        headers: dict[str, str] = {}
        if len(lines) > MAX_HEADERS:
            return self._refuse(431, "headers_too_large", f"there are more than {MAX_HEADERS} headers")
        for line in lines:
            parts = _HEADER.fullmatch(line)
            if parts is None:
                return self._refuse(400, "bad_request", "a header is malformed")
            name, value = parts[1].upper(), parts[2]
            if name in ("CONTENT-LENGTH", "HOST") and headers.get(name, value) != value:
                return self._refuse(400, "bad_request", f"{name} is there twice")
            headers[name] = value
        if "TRANSFER-ENCODING" in headers:
            return self._refuse(501, "not_implemented", "transfer encodings are not supported")
        length = headers.get("CONTENT-LENGTH", "0")
        if re.fullmatch(r"[0-9]{1,18}", length) is None:
            return self._refuse(400, "bad_request", "the Content-Length is not a number")
        if int(length) > MAX_BODY:
            return self._refuse(413, "too_large", f"the body has more than {MAX_BODY} bytes")
        self._body = int(length)
        wish = headers.get("CONNECTION", "").lower()
        keep_alive = "close" not in wish if match[3] == "1" else "keep-alive" in wish
        self._request = HttpRequest(match[1], match[2], headers, keep_alive)
        return None

    def _refuse(self, status: int, code: str, message: str) -> HttpAnswer:
        self._broken = True
        self._buffer.clear()
        return failure(status, code, message, fate="close")
