"""The package's errors in the command line's own terms: options in place of arguments, short reasons.

Pure functions.
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import ConfigurationError, KalshiFeedError, RestError, TLSError

__all__ = ["in_own_terms", "short"]

# by the arguments they are passed as
_OPTIONS: Final = {"url": "--url", "at": "--at", "until": "--until", "allow": "--allow"}
_TRUST: Final = "--ca-file FILE trusts the certificates in FILE"
_URL: Final = re.compile(r"\b(https?|wss?)://\S+?(:? |$)")
_DOING: Final = re.compile(r"^[^;:]{1,80} failed: ")


def in_own_terms(error: KalshiFeedError) -> str:
    """The error's message with this command line's options in place of Python's arguments."""
    if isinstance(error, ConfigurationError) and error.argument is not None:
        return f"{_OPTIONS.get(error.argument, error.argument)} {error.problem}"
    if isinstance(error, TLSError):
        return f"{error.problem}; {_TRUST}" if error.advice else error.problem
    if isinstance(error, RestError) and isinstance(error.__cause__, KalshiFeedError):
        return in_own_terms(error.__cause__)
    return str(error)


def short(reason: str) -> str:
    """Why a connection was lost or could not be made: without the url, which the screen shows anyway, and
    without advice."""
    text = _DOING.sub("", _URL.sub("", reason))
    return text.partition("; ")[0].strip(" :") or reason
