"""Texts of the package in the command line's own terms: options in place of Python arguments, short reasons.

Pure functions.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["in_own_terms", "short"]

# What a message of the package advises a program to write, and what to type instead.
_TERMS: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(; | \()allow_unknown=True[^;)]*\)?", ""),
        (r"ssl_context=ssl\.create_default_context\(cafile=['\"]?([^'\")]*)['\"]?\)", r"--ca-file '\1'"),
        (r"(pass )?ssl_context=\S*", "use --ca-file FILE"),
        (r"pass proxy=''", "set NO_PROXY='*'"),
        (r"pass password=, or set", "set"),
        (r"pass credentials=", "use --key-id and --key-file"),
        (r"write subscribe\('(\w+)', \['?([^\]']*)'?\]\)", r"write \2 --channel \1"),
        (r"^(url|speed|at|until)\b", r"--\1"),
        (r", 'max' or 'wait',", " or max,"),
        (r"; unsubscribe from it", ""),
        (r"\bKALSHI_ENV=", "--env "),
    )
)
_URL: Final = re.compile(r"\b(https?|wss?)://\S+?(:? |$)")
_DOING: Final = re.compile(r"^[^;:]{1,80} failed: ")


def in_own_terms(text: str) -> str:
    """A message of the package with the options of this command line in place of Python's arguments."""
    for pattern, replacement in _TERMS:
        text = pattern.sub(replacement, text)
    return text


def short(reason: str) -> str:
    """Why a connection was lost or could not be made: without the url, which the screen shows anyway, and
    without advice."""
    text = _DOING.sub("", _URL.sub("", reason))
    return text.partition("; ")[0].strip(" :") or reason
