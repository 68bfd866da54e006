"""Which relay the environment names: KALSHI_RELAY, and the variables that begin like it.

Owns their meaning, for from_env(), the command line, Flask and the samples alike. An empty variable counts as
unset. Thread-safe: functions, and a value that does not change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from ..connection.environment import RELAY_VARIABLE
from ..connection.redaction import without_locals
from ..credentials import KEY_ID_VARIABLE, PATH_VARIABLE, PEM_VARIABLE
from ..errors import ConfigurationError
from .address import PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE, parse_redis_url, relay_password
from .layout import DEFAULT_NAME, keys_of

__all__ = [
    "CA_VARIABLE",
    "KEY_VARIABLES",
    "NAME_VARIABLE",
    "PASSWORD_FILE_VARIABLE",
    "PASSWORD_VARIABLE",
    "RELAY_VARIABLES",
    "RelayAccess",
    "consumer_arguments",
    "consumer_from",
    "naming_variables",
    "refuse_key",
    "relay_access",
]

NAME_VARIABLE: Final = "KALSHI_RELAY_NAME"
CA_VARIABLE: Final = "KALSHI_RELAY_CA_FILE"
RELAY_VARIABLES: Final = (
    RELAY_VARIABLE,
    NAME_VARIABLE,
    PASSWORD_VARIABLE,
    PASSWORD_FILE_VARIABLE,
    CA_VARIABLE,
)
KEY_VARIABLES: Final = (KEY_ID_VARIABLE, PATH_VARIABLE, PEM_VARIABLE)

_VARIABLES: Final = {
    "url": RELAY_VARIABLE,
    "name": NAME_VARIABLE,
    "password": PASSWORD_VARIABLE,
    "ca_file": CA_VARIABLE,
}  # by the argument of from_relay() that each is passed as
_CONNECTS: Final = "a relay's consumer has no connection to the exchange"
_FILLS: Final = "the relay's own feed fills its gaps, for all of its consumers"
# arguments of KalshiFeed that a consumer cannot have, and why
_IMPOSSIBLE: Final = {
    **dict.fromkeys(("credentials", "url", "proxy", "ssl_context", "use_yes_price"), _CONNECTS),
    **dict.fromkeys(
        ("reconnect", "connect_timeout", "idle_timeout", "max_message_size", "compression"), _CONNECTS
    ),
    **dict.fromkeys(("fill_gaps", "fill_timeout", "fill_since"), _FILLS),
}
T = TypeVar("T")


@dataclass(frozen=True)
class RelayAccess:
    """How to reach a relay: Redis's url, the relay's name, and what Redis asks for. Immutable; its repr shows
    neither the url, which may contain a password, nor the password."""

    url: str = field(repr=False)
    name: str = DEFAULT_NAME
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of KalshiFeed.from_relay() that say so."""
        return {"url": self.url, "name": self.name, "password": self.password, "ca_file": self.ca_file}


@without_locals
def relay_access(environ: Mapping[str, str]) -> RelayAccess | None:
    """The relay that the environment names, or None if KALSHI_RELAY is not set.

    Reads KALSHI_RELAY (redis://, rediss:// or unix://), KALSHI_RELAY_NAME (by default "main"); the password,
    unless the url has one, in KALSHI_RELAY_PASSWORD or in the file KALSHI_RELAY_PASSWORD_FILE; and
    KALSHI_RELAY_CA_FILE, the certificates (PEM) to trust for rediss://. Raises ConfigurationError, which
    names the variable.
    """
    url = environ.get(RELAY_VARIABLE, "")
    if not url:
        return None
    name = environ.get(NAME_VARIABLE) or DEFAULT_NAME
    with naming_variables():
        keys_of(name)
        has_password = bool(parse_redis_url(url).login.secrets)  # as everywhere, it comes first
    password = None if has_password else relay_password(environ)
    return RelayAccess(url, name, password, environ.get(CA_VARIABLE) or None)


def refuse_key(environ: Mapping[str, str]) -> None:
    """Raise ConfigurationError if the environment has a key as well as a relay."""
    found = next((name for name in KEY_VARIABLES if environ.get(name)), None)
    if found is not None:
        raise ConfigurationError(
            f"{RELAY_VARIABLE} and {found} are both set: a feed reads either from a relay or, with a key, "
            "from the exchange itself; unset the one you do not mean"
        )


@contextlib.contextmanager
def naming_variables() -> Iterator[None]:
    """Let a ConfigurationError about an argument of from_relay() name the variable that it came from."""
    try:
        yield
    except ConfigurationError as error:
        variable = _VARIABLES.get(error.argument or "")
        if variable is None:
            raise
        raise ConfigurationError(error.problem, variable) from error.__cause__


def consumer_arguments(access: RelayAccess, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of KalshiFeed.from_relay() for this relay, with ``overrides``: arguments of KalshiFeed or
    of from_relay().

    ``name`` is the prefix of the threads' names, as it is for any other feed. Raises ConfigurationError for
    what a consumer cannot have.
    """
    for argument in overrides:
        if (why := _IMPOSSIBLE.get(argument)) is not None:
            raise ConfigurationError(
                f"makes no sense while {RELAY_VARIABLE} is set, because {why}: leave out the one or unset "
                "the other",
                argument,
            )
    more = dict(overrides)
    if "name" in more:
        more["thread_name"] = more.pop("name")
    return access.arguments() | more


@without_locals
def consumer_from(make: Callable[..., T], environ: Mapping[str, str], overrides: Mapping[str, Any]) -> T:
    """Return what ``make``, which is KalshiFeed.from_relay, makes for the environment's relay, which must be
    set. Raises ConfigurationError, also if there is a key as well."""
    refuse_key(environ)
    access = relay_access(environ)
    assert access is not None
    arguments = consumer_arguments(access, overrides)
    with naming_variables():
        return make(**arguments)
