"""Keeps secrets out of texts: the server's echoes of our headers, and what websocket-client logs when tracing is on.

Owns the patterns and the log filter (K03, K11); must not import anything of the package.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["RedactingFilter", "detach", "holds_secret", "install_log_filter", "redact"]

MASK: Final = "[redacted]"
_HEADERS: Final = re.compile(
    r"(kalshi-access-(?:key|signature)[\"']?\s*[:=]\s*b?[\"']?)[^\s\"',}<]+"
    r"|((?:(?:proxy-)?authorization|(?:set-)?cookie)[\"']?\s*[:=]\s*b?[\"']?)[^\r\n\"',}<]+",
    re.IGNORECASE,
)
# A long unbroken run is a signature, a token or a key; no reader of an error needs it.
_OPAQUE: Final = re.compile(r"[A-Za-z0-9+/=_%-]{40,}")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` without the given secrets, without the values of secret headers and without long opaque runs."""
    for secret in sorted(_worth_hiding(secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _OPAQUE.sub(MASK, _HEADERS.sub(rf"\1\2{MASK}", text))


def holds_secret(text: str, secrets: Iterable[str] = ()) -> bool:
    """Whether ``redact`` would change ``text``."""
    return redact(text, secrets) != text


def _worth_hiding(secrets: Iterable[str]) -> set[str]:
    return {secret for secret in secrets if len(secret) >= 6 and not secret.isdigit()}  # digits: the timestamp


def detach(error: BaseException, secrets: Iterable[str] = ()) -> BaseException | None:
    """``error`` fit to travel as a ``__cause__``: no traceback anywhere in its chain, so no frame with headers or keys.

    None when its own text, or that of an error behind it, holds a secret.
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
        link.__context__ = None  # what was meant to be seen is a __cause__
    return error


class RedactingFilter(logging.Filter):
    """Masks the secret headers in records of the ``websocket`` logger. Thread-safe: holds no state."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except Exception:  # a record that cannot be formatted is logging's to report
            return True
        clean = _HEADERS.sub(rf"\1\2{MASK}", text)
        if clean != text:
            record.msg, record.args = clean, None
        return True


def install_log_filter() -> None:
    """Put the filter on websocket-client's logger, once: ``websocket.enableTrace(True)`` prints the signed headers."""
    logger = logging.getLogger("websocket")
    if not any(isinstance(present, RedactingFilter) for present in logger.filters):
        logger.addFilter(RedactingFilter())
