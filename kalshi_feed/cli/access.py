"""Which exchange and whose key, from the options and the environment.

Owns the meaning of --env, --url, --ca-file, --key-id and --key-file. Thread-safe: functions only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..connection.context import ca_context
from ..connection.environment import exchange_context, exchange_url
from ..credentials import PATH_VARIABLE, Credentials
from ..errors import ConfigurationError, CredentialsError
from ..feed import KalshiFeed

if TYPE_CHECKING:
    import ssl

__all__ = ["context_for", "credentials_for", "feed_for", "url_for"]


def feed_for(
    *, env: str | None, url: str | None, ca_file: str | None, key_id: str | None, key_file: str | None
) -> KalshiFeed:
    """Make the feed that the options and the environment ask for. Raises ConfigurationError."""
    address = url_for(env, url)
    return KalshiFeed(credentials_for(key_id, key_file), url=address, ssl_context=context_for(ca_file))


def credentials_for(key_id: str | None, key_file: str | None) -> Credentials:
    """The key from the options, or from the environment where they are left out. Raises CredentialsError."""
    environ = dict(os.environ)
    if key_id is not None:
        environ["KALSHI_API_KEY_ID"] = key_id
    if key_file is not None:
        environ[PATH_VARIABLE] = key_file
        environ.pop("KALSHI_PRIVATE_KEY", None)
    try:
        return Credentials.from_env(environ)
    except CredentialsError as error:
        if key_file is None or error.argument != PATH_VARIABLE:
            raise
        raise CredentialsError(error.problem, "--key-file") from error


def url_for(env: str | None, url: str | None) -> str:
    """The url from the options, or else from the environment. Raises ConfigurationError."""
    if env is not None and url is not None:
        raise ConfigurationError("--env and --url contradict each other: give one of them")
    if url is not None:
        return url
    return exchange_url(os.environ if env is None else {"KALSHI_ENV": env})


def context_for(ca_file: str | None) -> ssl.SSLContext | None:
    """A context that trusts the certificates in the option's file, or else in the environment's; None without
    either. Raises ConfigurationError."""
    return exchange_context(os.environ) if ca_file is None else ca_context(ca_file)
