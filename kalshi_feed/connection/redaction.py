"""Keeps secrets out of messages and tracebacks.

They could get there through a server that echoes our headers, through what websocket-client logs when tracing
is on, and through the local variables of frames that were given a secret. Owns the patterns, the log filter
and what happens to a traceback (K02, K03, K11).
"""

from __future__ import annotations

import functools
import logging
import re
import traceback
from collections.abc import Callable, Iterable
from typing import Final, ParamSpec, TypeVar

__all__ = ["RedactingFilter", "detach", "holds_secret", "install_log_filter", "redact", "without_locals"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

MASK: Final = "[redacted]"
_HEADERS: Final = re.compile(
    r"(kalshi-access-(?:key|signature)[\"']?\s*[:=]\s*(?:b?[\"'])?)[^\s\"',}<]+"
    r"|((?:(?:proxy-)?authorization|(?:set-)?cookie)[\"']?\s*[:=]\s*(?:b?[\"'])?)[^\r\n\"',}<]+",
    re.IGNORECASE,
)
# A long unbroken run is a signature, a token or a key; nobody who reads an error needs it.
# The characters after the dash are how JSON, HTML and urls escape "/", "+" and "=".
_OPAQUE: Final = re.compile(r"[A-Za-z0-9+/=_%\-\\&#;]{40,}")
_LEAST_LENGTH: Final = 4  # of a secret; hiding "ab" would mangle every message


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask the given secrets, the values of secret headers and long opaque runs in ``text``."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _LEAST_LENGTH:
            text = re.sub(re.escape(secret), MASK, text, flags=re.IGNORECASE)
    return _OPAQUE.sub(MASK, _HEADERS.sub(rf"\1\2{MASK}", text))


def holds_secret(text: str, secrets: Iterable[str] = ()) -> bool:
    """Whether ``redact`` would change ``text``."""
    return redact(text, secrets) != text


def detach(error: BaseException, secrets: Iterable[str] = ()) -> BaseException | None:
    """Strip ``error`` to travel as a ``__cause__``: no traceback in its chain, so no frame with secrets.

    Returns None if its message, or that of an error in its chain, contains a secret.
    """
    secrets = tuple(secrets)
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    if any(holds_secret(f"{link} {link.args!r}", secrets) for link in seen):
        return None
    for link in seen:
        link.__context__ = None  # what was meant to be seen is in __cause__
    return error


def without_locals(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a function that is given secrets: its errors keep their traceback, but no local variables."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            del args, kwargs
            raise

    return call


class RedactingFilter(logging.Filter):
    """Masks the secret headers in the log records of libraries. Thread-safe: it has no state."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except Exception:  # logging itself reports a record that cannot be formatted
            return True
        if _HEADERS.search(text):
            record.msg, record.args = redact(text), None
            record.exc_info = record.exc_text = None  # an error says the same, and its frames say more
        return True


def install_log_filter(name: str = "websocket") -> None:
    """Add the filter to a library's logger, once.

    websocket-client's ``enableTrace(True)`` prints the signed headers; urllib3 quotes headers that it cannot
    read, which may be ours if the server echoes them.
    """
    logger = logging.getLogger(name)
    if not any(isinstance(present, RedactingFilter) for present in logger.filters):
        logger.addFilter(RedactingFilter())
