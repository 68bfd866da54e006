"""HTTP proxies: which one to use, and what to send it.

Owns the proxy url, the environment's rules and the CONNECT request; ``dial`` moves the bytes. A proxy never
sees Kalshi's headers: they travel through the tunnel, inside TLS.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError
from .url import Endpoint, is_loopback_host

__all__ = ["Proxy", "connect_request", "find_proxy", "parse_proxy"]

EXAMPLE: Final = "http://proxy.example:3128"


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy. Immutable, so thread-safe; its repr shows no credentials.

    ``variable`` is the environment variable that named it; None if the program passed it.
    """

    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    variable: str | None = field(default=None, repr=False, compare=False)

    @property
    def how_to_bypass(self) -> str:
        """What to do instead of going through it, for messages."""
        return _how_to_bypass(self.variable)

    @property
    def authority(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def basic(self) -> str:
        """The credentials in base64, as Proxy-Authorization takes them; empty if there are none."""
        if self.username is None:
            return ""
        return base64.b64encode(f"{self.username}:{self.password or ''}".encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The strings to redact if the proxy echoes them."""
        return self.username or "", self.password or "", self.basic

    def __str__(self) -> str:
        return f"http://{self.authority}"


def _how_to_bypass(variable: str | None) -> str:
    how = "pass proxy=''" if variable is None else "set NO_PROXY='*'"
    return f"{how} to connect directly"


def parse_proxy(url: str, variable: str | None = None) -> Proxy:
    """Split a proxy's url into its parts; ``variable`` is the environment variable it came from, if any.

    Raises ConfigurationError, which never shows the url: it may contain a password.
    """
    source = "proxy" if variable is None else f"the environment variable {variable}"
    if not isinstance(url, str):
        raise ConfigurationError(f"{source} must be a url like {EXAMPLE!r}, not {type(url).__name__}")
    if any(character <= " " or character == "\x7f" for character in url) or not url.isascii():
        raise ConfigurationError(
            f"{source} contains a space, a control or a non-ASCII character; percent-encode it"
        )
    scheme, separator, _ = url.partition("://")
    if not separator:
        url, scheme = f"http://{url}", "http"
    scheme = scheme.lower()
    if scheme.startswith("socks"):
        raise ConfigurationError(
            f"{source} is a SOCKS proxy, which is not supported; use an http:// proxy, or "
            f"{_how_to_bypass(variable)}"
        )
    if scheme == "https":
        raise ConfigurationError(
            f"{source} is an https:// proxy (TLS to the proxy itself), which is not supported; "
            "write http://… if it also speaks plain HTTP (the feed's own TLS goes through it), "
            f"or {_how_to_bypass(variable)}"
        )
    if scheme != "http":
        raise ConfigurationError(f"{source} must be a url like {EXAMPLE!r}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        username, password = parts.username, parts.password
    except ValueError:
        host = None
    if not host or port == 0:
        raise ConfigurationError(f"{source} cannot be parsed as a url like {EXAMPLE!r}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigurationError(f"{source} has more than a host and a port; write it like {EXAMPLE!r}")
    return Proxy(
        host,
        80 if port is None else port,
        None if username is None else unquote(username),
        None if password is None else unquote(password),
        variable,
    )


def find_proxy(
    endpoint: Endpoint, explicit: str | Proxy | bool | None, environ: Mapping[str, str]
) -> Proxy | None:
    """Return the proxy to use for ``endpoint``, or None for a direct connection.

    ``explicit`` wins if given: a url (for loopback, too), or ``""`` or False for none. Otherwise it is the
    environment's https_proxy, then all_proxy (lower case first), unless no_proxy lists the host or the host
    is on loopback. So ws://, for loopback only, never gets one from there. Raises ConfigurationError.
    """
    if explicit is not None:
        if explicit is False or explicit == "":
            return None
        proxy = explicit if isinstance(explicit, Proxy) else parse_proxy(explicit)  # type: ignore[arg-type]  # True is refused there
        if endpoint.is_loopback and not is_loopback_host(proxy.host):
            # what is allowed on loopback, plain ws:// and unverified TLS, would then leave this machine
            raise ConfigurationError(
                f"url is on loopback, but proxy is another machine, with its own loopback; "
                f"{proxy.how_to_bypass}"
            )
        return proxy
    if endpoint.is_loopback or _is_excluded(
        endpoint, environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    ):
        return None
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        if environ.get(name):
            return parse_proxy(environ[name], name)
    return None


def _is_excluded(endpoint: Endpoint, no_proxy: str) -> bool:
    for entry in no_proxy.lower().replace(",", " ").split():
        if entry == "*" or _matches(endpoint, entry):
            return True
    return False


def _matches(endpoint: Endpoint, entry: str) -> bool:
    try:
        return ipaddress.ip_address(endpoint.host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:  # one of the two is a name
        pass
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and "]" not in port:
        if int(port) != endpoint.port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").removeprefix(".")
    return bool(entry) and (endpoint.host == entry or endpoint.host.endswith(f".{entry}"))


def connect_request(endpoint: Endpoint, proxy: Proxy) -> bytes:
    """Build the CONNECT request: the target and the proxy's own credentials, nothing else."""
    lines = [f"CONNECT {endpoint.authority} HTTP/1.1", f"Host: {endpoint.authority}"]
    if proxy.basic:
        lines.append(f"Proxy-Authorization: Basic {proxy.basic}")
    return "\r\n".join([*lines, "", ""]).encode()
