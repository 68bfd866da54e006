"""Which exchange and whose key, or which relay, from the options and the environment.

Owns the meaning of --env, --url, --rest-url, --ca-file, --key-id, --key-file and --compress, and that
KALSHI_RELAY takes their place. Thread-safe: functions only.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import click

from ..connection.context import ca_context
from ..connection.environment import (
    RELAY_VARIABLE,
    REST_VARIABLE,
    checked_url,
    exchange_context,
    exchange_url,
    rest_url,
    rest_url_of,
)
from ..connection.url import parse_rest_url
from ..credentials import KEY_ID_VARIABLE, PATH_VARIABLE, PEM_VARIABLE, Credentials
from ..errors import ConfigurationError, CredentialsError
from ..feed import KalshiFeed
from ..relay.address import parse_redis_url
from ..relay.client import RedisClient
from ..relay.environment import (
    CA_VARIABLE,
    NAME_VARIABLE,
    PASSWORD_FILE_VARIABLE,
    PASSWORD_VARIABLE,
    RelayAccess,
    consumer_from,
    naming_variables,
    relay_access,
)
from ..session.channels import rule_of
from .errors import Misused
from .model import printable

if TYPE_CHECKING:
    import ssl

    from ..rest import Rest

__all__ = [
    "consumer_for",
    "context_for",
    "credentials_for",
    "exchange_feed_for",
    "feed_for",
    "log_warnings",
    "reads_relay",
    "refuse_beside_relay",
    "relay_for",
    "rest_url_for",
    "url_for",
]


def reads_relay() -> bool:
    """Whether the environment names a relay to read from, in place of the exchange."""
    return bool(os.environ.get(RELAY_VARIABLE))


def feed_for(
    *,
    env: str | None,
    url: str | None,
    ca_file: str | None,
    key_id: str | None,
    key_file: str | None,
    compress: bool | None = None,
    channels: Collection[str] = (),
) -> KalshiFeed:
    """Make the feed that the options and the environment ask for: with its own connection to the exchange, or
    a relay's consumer for these ``channels``. Prints the log's warnings about them.

    Raises ConfigurationError, also if the extra redis is needed and not installed.
    """
    if reads_relay():
        refuse_beside_relay(
            env=env, url=url, ca_file=ca_file, key_id=key_id, key_file=key_file, compress=compress
        )
        return consumer_for(channels)
    return exchange_feed_for(
        env=env, url=url, ca_file=ca_file, key_id=key_id, key_file=key_file, compress=compress
    )


def refuse_beside_relay(**options: str | bool | None) -> None:
    """Raise ConfigurationError for an option of the exchange that was given, by its name as an argument: the
    environment names a relay."""
    given = next((name for name, value in options.items() if value is not None), None)
    if given is not None:
        raise ConfigurationError(
            f"makes no sense while {RELAY_VARIABLE} is set: the command reads from that relay, and the relay "
            f"from the exchange; leave it out, or unset {RELAY_VARIABLE}",
            "--" + given.replace("_", "-"),
        )


def consumer_for(channels: Collection[str] = ()) -> KalshiFeed:
    """Make a consumer of the environment's relay, of its account's data if one of the ``channels`` is the
    account's. Raises ConfigurationError, also if the extra redis is not installed."""
    more = {"account": True} if any(rule_of(name).is_account for name in channels) else {}
    return consumer_from(KalshiFeed.from_relay, os.environ, more)


def relay_for(
    *, to: str | None, name: str | None, password_file: str | None, ca_file: str | None
) -> RelayAccess:
    """Where a relay is to write, by the options, otherwise by the environment, which must say it. Raises
    ConfigurationError in terms of what was given."""
    options = {
        RELAY_VARIABLE: ("--to", to),
        NAME_VARIABLE: ("--name", name),
        PASSWORD_FILE_VARIABLE: ("--redis-password-file", password_file),
        CA_VARIABLE: ("--redis-ca-file", ca_file),
    }
    given = {variable: value for variable, (_, value) in options.items() if value is not None}
    environ = {**os.environ, **given}
    if password_file is not None:
        environ.pop(PASSWORD_VARIABLE, None)
    try:
        access = relay_access(environ)
        assert access is not None
        with naming_variables():
            RedisClient(access.url, password=access.password, ca_file=access.ca_file).close()
        if to is not None and parse_redis_url(to).login.secrets:
            raise ConfigurationError(
                "contains a password, and other users of this machine can see the command line: put it into "
                f"{PASSWORD_VARIABLE}, or into a file for --redis-password-file",
                RELAY_VARIABLE,
            )
    except ConfigurationError as error:
        if error.argument not in given:
            raise
        raise ConfigurationError(error.problem, options[error.argument][0]) from error.__cause__
    return access


def exchange_feed_for(
    *,
    env: str | None,
    url: str | None,
    ca_file: str | None,
    key_id: str | None,
    key_file: str | None,
    compress: bool | None = None,
    rest_url: str | None = None,
    fill_gaps: bool = False,
) -> KalshiFeed:
    """Make a feed with its own connection to the exchange; print the log's warnings about the options.

    ``fill_gaps``: over REST, at ``rest_url``. Raises ConfigurationError, and Misused if the extra rest is
    needed and not installed.
    """
    with log_warnings() as warnings:
        address = url_for(env, url)
        context = context_for(ca_file)
        try:
            credentials = credentials_for(key_id, key_file)
        except CredentialsError as error:
            if error.argument is None and (options := _missing(key_id, key_file)):
                raise CredentialsError(f"{error.problem}; or give {options}") from error
            raise
        rest: Rest | bool = False
        if fill_gaps:
            rest = _rest_with(credentials, rest_url_for(env, url, rest_url), context)
        feed = KalshiFeed(
            credentials, url=address, ssl_context=context, compression=bool(compress), fill_gaps=rest
        )
    for text in warnings:
        click.echo(f"warning: {printable(text)}", err=True)
    return feed


def _rest_with(credentials: Credentials, url: str, context: ssl.SSLContext | None) -> Rest:
    try:
        from ..rest import Rest
    except ImportError as error:
        raise Misused(str(error)) from error
    return Rest(credentials, url=url, ssl_context=context)


@contextlib.contextmanager
def log_warnings() -> Iterator[list[str]]:
    """Collect the package's log warnings, and keep them off standard error."""
    heard: list[str] = []

    class Handler(logging.Handler):
        """Keeps the text of each warning. Main thread only."""

        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    log, handler = logging.getLogger("kalshi_feed"), Handler(logging.WARNING)
    log.addHandler(handler)
    try:
        yield heard
    finally:
        log.removeHandler(handler)


def credentials_for(key_id: str | None, key_file: str | None) -> Credentials:
    """The key from the options, or from the environment where they are left out. Raises CredentialsError."""
    environ = dict(os.environ)
    if key_id is not None:
        environ[KEY_ID_VARIABLE] = key_id
    if key_file is not None:
        environ[PATH_VARIABLE] = key_file
        environ.pop(PEM_VARIABLE, None)
    try:
        return Credentials.from_env(environ)
    except CredentialsError as error:
        if key_file is None or error.argument != PATH_VARIABLE:
            raise
        raise CredentialsError(error.problem, "--key-file") from error


def _missing(key_id: str | None, key_file: str | None) -> str:
    """The options that could say what neither they nor the environment do."""
    environ = os.environ
    absent = [
        option
        for option, given in (
            ("--key-id", key_id or environ.get(KEY_ID_VARIABLE)),
            ("--key-file", key_file or environ.get(PATH_VARIABLE) or environ.get(PEM_VARIABLE)),
        )
        if not given
    ]
    return " and ".join(absent)


def url_for(env: str | None, url: str | None) -> str:
    """The url from the options, otherwise from the environment. Raises ConfigurationError."""
    if env is not None and url is not None:
        raise ConfigurationError("--env and --url contradict each other: give one of them")
    if url is not None:
        return url
    return exchange_url(os.environ if env is None else {"KALSHI_ENV": env})


def rest_url_for(env: str | None, url: str | None, rest: str | None) -> str:
    """The url of the REST API from the options ``--env``, ``--url`` (the feed's) and ``--rest-url``,
    otherwise from the environment. Raises ConfigurationError."""
    if rest is not None:
        return checked_url(rest, parse_rest_url, "--rest-url")
    if env is not None:
        return rest_url({"KALSHI_ENV": env})
    if url is None:
        return rest_url(os.environ)
    try:
        return rest_url_of(url)
    except ConfigurationError:
        if os.environ.get(REST_VARIABLE):
            return rest_url(os.environ)
        raise


def context_for(ca_file: str | None) -> ssl.SSLContext | None:
    """A context that trusts the certificates in the option's file, otherwise in the environment's.

    None without either. Raises ConfigurationError.
    """
    return exchange_context(os.environ) if ca_file is None else ca_context(ca_file)
