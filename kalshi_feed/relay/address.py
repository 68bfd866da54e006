"""Where a relay's Redis is, and who we are there: urls, users and passwords. Owns their rules, and how a
password stays secret.

redis://host, rediss://host (TLS) or unix:///path of a socket. A url may hold a user and a password; what it
leaves out comes from the argument ``password``, or from the environment. Thread-safe: functions and immutable
objects.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ..connection.redaction import without_locals
from ..errors import ConfigurationError

__all__ = [
    "PASSWORD_FILE_VARIABLE",
    "PASSWORD_VARIABLE",
    "RedisAddress",
    "RedisLogin",
    "parse_redis_url",
    "relay_password",
]

PASSWORD_VARIABLE: Final = "KALSHI_RELAY_PASSWORD"
PASSWORD_FILE_VARIABLE: Final = "KALSHI_RELAY_PASSWORD_FILE"

_EXAMPLE: Final = "redis://host:6379/0"
_SCHEMES: Final = ("redis", "rediss", "unix")
_PORT: Final = 6379
_MOST_DATABASES: Final = 2**31 - 1
_LONGEST_FILE: Final = 65_536  # bytes; a password is shorter
_INSTEAD: Final = {  # of parameters that other clients take from a url
    "username": "write the user in front of the host: redis://user@host",
    "password": f"set {PASSWORD_VARIABLE} or {PASSWORD_FILE_VARIABLE} instead",
    "db": "write the database as the path: redis://host:6379/0",
    "ssl_ca_certs": "pass ca_file instead",
    "ssl_cert_reqs": "certificates are always verified; pass ca_file for a CA of your own",
    "ssl_check_hostname": "host names are always checked; pass ca_file for a CA of your own",
}


class RedisLogin:
    """A user name and a password, either of which may be missing. redis-py asks it what to send.

    Shows no password, and cannot be pickled or copied. Thread-safe: immutable.
    """

    __slots__ = ("_password", "user")

    def __init__(self, user: str | None, password: str | None) -> None:
        self.user = user
        self._password = password

    def __bool__(self) -> bool:
        return self.user is not None or self._password is not None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The strings that must not show up anywhere."""
        return () if self._password is None else (self._password,)

    def with_password(self, password: str | None) -> RedisLogin:
        """Return a login with this password, or itself if there is none."""
        return self if password is None else RedisLogin(self.user, password)

    def get_credentials(self) -> tuple[str, ...]:
        """Return the arguments of AUTH."""
        password = self._password or ""
        return (password,) if self.user is None else (self.user, password)

    def __repr__(self) -> str:
        return f"<RedisLogin {self.user or 'default'}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a RedisLogin cannot be pickled or copied, because it holds a password")


@dataclass(frozen=True, repr=False)
class RedisAddress:
    """A checked url. ``path`` is that of a unix socket, which has no ``host``: either is "". An IPv6 address
    has no brackets. Immutable, so thread-safe."""

    scheme: str
    host: str
    port: int
    path: str
    database: int
    login: RedisLogin

    @property
    def is_secure(self) -> bool:
        """Whether it is rediss://."""
        return self.scheme == "rediss"

    @property
    def redacted(self) -> str:
        """The url without user and password."""
        if self.path:
            return f"unix://{self.path}" + (f"?db={self.database}" if self.database else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}" + (f"/{self.database}" if self.database else "")

    def at(self, host: str, port: int) -> RedisAddress:
        """Return the address of another node of its cluster, which has database 0 only."""
        return replace(self, host=host, port=port, database=0)

    def __str__(self) -> str:
        return self.redacted

    def __repr__(self) -> str:
        return f"RedisAddress({self.redacted!r})"


@without_locals
def parse_redis_url(url: str) -> RedisAddress:
    """Check a url and split it into its parts: redis://[user[:password]@]host[:port][/database], rediss://…,
    or unix://[user[:password]@]/path[?db=database].

    Raises ConfigurationError, which says what to write instead, and shows no part of the url, since each may
    turn out to be a piece of a password.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"must be a str like {_EXAMPLE!r}, not {type(url).__name__}", "url")
    if any(character <= " " or character == "\x7f" for character in url) or "\\" in url:
        raise ConfigurationError(
            "contains a space, a control character or a backslash; percent-encode it", "url"
        )
    try:
        parts = urlsplit(url)
    except ValueError:  # unbalanced brackets and the like
        parts = None
    if parts is None:
        raise ConfigurationError(f"cannot be parsed; write one like {_EXAMPLE!r}", "url")
    if parts.scheme not in _SCHEMES or not url[len(parts.scheme) :].startswith("://"):
        raise ConfigurationError(
            f"must start with redis://, rediss:// (TLS) or unix://, like {_EXAMPLE!r}", "url"
        )
    if parts.fragment or url.endswith("#"):
        raise ConfigurationError(
            "has a fragment (#…), which the url of a Redis cannot have; if it belongs to the password, write "
            "%23 for the #",
            "url",
        )
    query = _query(parts)
    login = RedisLogin(unquote(parts.username or "") or None, unquote(parts.password or "") or None)
    if parts.scheme == "unix":
        path = unquote(parts.path)
        if parts.hostname or not path.strip("/"):
            raise ConfigurationError(
                "must have the absolute path of a socket: unix:///run/redis/redis.sock (three slashes)", "url"
            )
        return RedisAddress("unix", "", 0, path, _database(query.get("db", "0")), login)
    return RedisAddress(parts.scheme, _host(parts), _port(parts), "", _database(parts.path.strip("/")), login)


def relay_password(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the password that the environment names: KALSHI_RELAY_PASSWORD, or the content of the file
    KALSHI_RELAY_PASSWORD_FILE without the line break at its end. None if neither is set; an empty variable
    counts as unset.

    Raises ConfigurationError if both are set, or if the file cannot be used.
    """
    password, name = environ.get(PASSWORD_VARIABLE, ""), environ.get(PASSWORD_FILE_VARIABLE, "")
    if password and name:
        raise ConfigurationError(
            f"is set, and so is {PASSWORD_VARIABLE}; unset the one you do not mean", PASSWORD_FILE_VARIABLE
        )
    return _from_file(name) if name else password or None


def _from_file(name: str) -> str:
    content, problem = b"", ""
    try:
        with open(os.path.expanduser(name), "rb") as file:
            content = file.read(_LONGEST_FILE + 1)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    if problem:
        raise ConfigurationError(
            f"names the file {name!r}, which cannot be read: {problem}", PASSWORD_FILE_VARIABLE
        )
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    is_text = b"\n" not in content and b"\0" not in content and len(content) <= _LONGEST_FILE
    try:
        password = content.decode()
    except UnicodeDecodeError:  # which holds the content
        is_text, password = False, ""
    del content
    if not is_text or not password:
        password = ""
        raise ConfigurationError(
            f"names the file {name!r}, which must hold the password and nothing else, on one line in UTF-8",
            PASSWORD_FILE_VARIABLE,
        )
    return password


def _query(parts: SplitResult) -> dict[str, str]:
    """Return the parameters; only a unix socket has one, the database."""
    query = dict(parse_qsl(parts.query, keep_blank_values=True)) if parts.query else {}
    for name in query if parts.query else ():
        if (parts.scheme, name) == ("unix", "db"):
            continue
        if name in _INSTEAD:
            raise ConfigurationError(f"has a parameter {name!r}; {_INSTEAD[name]}", "url")
        raise ConfigurationError(
            "has a parameter (?…), and only unix:// takes one, ?db=0; if the ? belongs to the password, "
            "write %3F",
            "url",
        )
    return query


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if not host:
        raise ConfigurationError(f"has no host; write one like {_EXAMPLE!r}", "url")
    try:
        host.encode("idna")
    except UnicodeError:
        host = ""
    if not host or "%" in host:
        raise ConfigurationError(
            "has an invalid host name; if an @ or a / belongs to the password, write %40 or %2F", "url"
        )
    return host


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ConfigurationError(
            "has a port that is not a number from 1 to 65535; if a / belongs to the password, write %2F",
            "url",
        )
    return _PORT if port is None else port


def _database(digits: str) -> int:
    if not digits:
        return 0
    if not digits.isascii() or not digits.isdigit() or len(digits) > 10 or int(digits) > _MOST_DATABASES:
        raise ConfigurationError(
            f"has a database that is not a number; write one like {_EXAMPLE!r}, and %2F for a / in a "
            "password",
            "url",
        )
    return int(digits)
