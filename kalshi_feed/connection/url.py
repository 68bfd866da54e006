"""Which server to dial: a url is checked once, when the feed (or Rest) is made, and split into its parts.

Owns the rules for urls: wss:// and https:// everywhere, ws:// and http:// on loopback only.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from ..errors import ConfigurationError

__all__ = ["Endpoint", "is_loopback_host", "parse_rest_url", "parse_url"]

EXAMPLE: Final = "wss://external-api-ws.kalshi.com/trade-api/ws/v2"
REST_EXAMPLE: Final = "https://external-api.kalshi.com/trade-api/v2"


class _Rules(NamedTuple):
    """What a kind of url must look like; ``ports`` and ``instead`` are by scheme."""

    what: str
    secure: str
    example: str
    ports: dict[str, int]
    instead: dict[str, str]  # what to write in place of the other kind's schemes


_FEED: Final = _Rules("WebSocket", "wss", EXAMPLE, {"ws": 80, "wss": 443}, {"http": "ws", "https": "wss"})
_REST: Final = _Rules(
    "REST", "https", REST_EXAMPLE, {"http": 80, "https": 443}, {"ws": "http", "wss": "https"}
)


@dataclass(frozen=True, repr=False)
class Endpoint:
    """A checked url. Immutable, so thread-safe.

    ``path`` is the exact request target, with the query if there is one; ``host`` has no brackets around an
    IPv6 address.
    """

    url: str
    scheme: str
    host: str
    port: int
    path: str
    is_loopback: bool

    @property
    def sign_path(self) -> str:
        """The part of the target that is signed: the path without the query (PROTOCOL.md 1.2)."""
        return self.path.partition("?")[0]

    @property
    def is_secure(self) -> bool:
        """Whether it is wss:// or https://."""
        return self.scheme in ("wss", "https")

    @property
    def authority(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The strings to redact if the server echoes them: the query may hold a token."""
        query = self.path.partition("?")[2]
        return query, *(value for _, value in parse_qsl(query))

    @property
    def redacted(self) -> str:
        """The url without its query, for logs and messages."""
        return f"{self.scheme}://{self.authority}{self.sign_path}"

    def __str__(self) -> str:
        return self.redacted

    def __repr__(self) -> str:
        return f"Endpoint({self.redacted!r})"


def parse_url(url: str) -> Endpoint:
    """Check a feed's url and split it into its parts.

    Raises ConfigurationError, which says what to write instead and never shows a password or the query.
    """
    return _parse(url, _FEED)


def parse_rest_url(url: str) -> Endpoint:
    """Like parse_url(), for the url of the REST API: its path is the common beginning of all paths, without
    a slash at its end."""
    endpoint = _parse(url, _REST)
    if "?" in endpoint.path:
        raise ConfigurationError(
            "has a query (?…), which the url of the REST API cannot have; remove it", "url"
        )
    path = endpoint.path.rstrip("/")
    return replace(endpoint, path=path, url=f"{endpoint.scheme}://{endpoint.authority}{path}")


def _parse(url: str, rules: _Rules) -> Endpoint:
    if not isinstance(url, str):
        raise ConfigurationError(f"must be a str like {rules.example!r}, not {type(url).__name__}", "url")
    if any(character <= " " or character == "\x7f" for character in url) or "\\" in url:
        raise ConfigurationError(
            "contains a space, a control character or a backslash; percent-encode it", "url"
        )
    if not url.isascii():
        raise ConfigurationError(
            "contains non-ASCII characters; write the host in punycode (xn--…), percent-encode the path",
            "url",
        )
    parts = _split(url, rules)
    _check_scheme(parts, url, rules)
    if "@" in parts.netloc:
        raise ConfigurationError(
            "contains a user name or password, but Kalshi expects an API key and signed headers; remove it",
            "url",
        )
    if parts.fragment or url.endswith("#"):
        raise ConfigurationError(
            f"has a fragment (#…), which a {rules.what} url cannot have; remove it", "url"
        )
    if ";" in parts.path:
        raise ConfigurationError("has a ';' in its path; write it as %3B", "url")
    host = parts.hostname
    if not host:
        raise ConfigurationError(f"has no host; write one like {rules.example!r}", "url")
    if not _can_be_looked_up(host):
        raise ConfigurationError(
            "has an invalid host name: each part between its dots must have 1 to 63 characters", "url"
        )
    port = _port(parts, rules)
    loopback = is_loopback_host(host)
    if parts.scheme != rules.secure and not loopback:
        raise ConfigurationError(
            f"would send the signed headers to {host} unencrypted; write {rules.secure}:// "
            f"({parts.scheme}:// is for loopback only)",
            "url",
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    name = f"[{host}]" if ":" in host else host
    canonical = f"{parts.scheme}://{name}:{port}{path}"
    return Endpoint(canonical, parts.scheme, host, port, path, loopback)


def is_loopback_host(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or a loopback address; does no lookup."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _can_be_looked_up(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _split(url: str, rules: _Rules) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # unbalanced brackets and the like
        pass
    raise ConfigurationError(f"cannot be parsed; write one like {rules.example!r}", "url")


def _check_scheme(parts: SplitResult, url: str, rules: _Rules) -> None:
    if parts.scheme in rules.ports and url[len(parts.scheme) :].startswith("://"):
        return
    if parts.scheme in rules.instead:
        wanted = rules.instead[parts.scheme]
        raise ConfigurationError(
            f"starts with {parts.scheme}://; the {rules.what} url starts with {wanted}://", "url"
        )
    raise ConfigurationError(f"must start with {rules.secure}://, like {rules.example!r}", "url")


def _port(parts: SplitResult, rules: _Rules) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None:
        return rules.ports[parts.scheme]
    if port == 0:
        raise ConfigurationError("has a port that is not a number from 1 to 65535", "url")
    return port
