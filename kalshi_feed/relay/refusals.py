"""Redis's refusals and failures as RelayErrors that say what to do. Owns their wording, and which of them may
pass by themselves.

redis-py's errors are told apart by the names of their classes, so that this module needs no redis-py: some
lose the word that the server's answer began with. Thread-safe: functions and constants.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from ..connection.failures import peer_words
from ..errors import RelayError
from .address import PASSWORD_VARIABLE

__all__ = ["IdTaken", "Situation", "may_go_on", "moved_to", "translated"]


class IdTaken(RelayError):
    """XADD was refused because the stream has this id, or a greater one, already."""

    retryable = False


class Situation(NamedTuple):
    """Where an error happened: ``where`` is the url without user and password, ``timeout`` in seconds,
    ``has_answered`` whether this connection has brought a valid reply before. Immutable."""

    where: str
    user: str | None
    secrets: Iterable[str]
    timeout: float
    has_answered: bool
    is_secure: bool


# the first word of an answer, for errors whose text lacks it
_CODES: Final = {
    "AuthenticationError": "NOAUTH",
    "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT",
    "MasterDownError": "MASTERDOWN",
    "ClusterDownError": "CLUSTERDOWN",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
# what may pass by itself, and what to do about it
_PASSES: Final = {
    "ASK": "the key is just moving to another node of the cluster",
    "BUSY": "a script keeps Redis busy",
    "CLUSTERDOWN": "the cluster is incomplete: a node with some of its keys is down",
    "LOADING": "Redis has just started, and is still reading its data from the disk",
    "MASTERDOWN": "this is a replica that has lost its master",
    "MISCONF": "Redis cannot write to its disk, so it takes nothing; its log says why",
    "MOVED": "the key keeps moving between the nodes of the cluster",
    "NOREPLICAS": "too few of its replicas are connected (min-replicas-to-write)",
    "OOM": "its memory is used up (maxmemory); give it more, or keep a shorter part of the stream",
    "READONLY": "this is a replica, which takes nothing; the url must name the master",
    "TRYAGAIN": "the key is just moving to another node of the cluster",
}
# what stays as it is until someone changes it
_STAYS: Final = {
    "CROSSSLOT": "a relay's keys are always on one node; is something between us and the cluster?",
    "DENIED": "Redis is in protected mode: give it a password, or let it listen on loopback only",
    "NOPROTO": "Redis 5 or newer is required",
    "WRONGTYPE": "another program uses a key of that name; give the relay another name, or another database",
}
# what an answer without a word of its own says, in small letters; the rest as above
_SAID: Final = (
    ("max number of clients", True, "close some of its clients, or raise maxclients"),
    ("without any password configured", False, "this Redis has no password: leave ours out"),
    ("unknown command", False, "Redis 5 or newer is required, and the command must not be renamed"),
    ("db index is out of range", False, "this Redis has fewer databases; write a smaller number in the url"),
    ("select is not allowed", False, "a cluster has database 0 only; leave the number out of the url"),
)
_MOVED: Final = re.compile(r"(?:MOVED )?\d+ (.*):(\d{1,5})")
_DROPPED: Final = {"READONLY", "MASTERDOWN", "CLUSTERDOWN", "LOADING", "NOAUTH"}


def translated(error: Exception, at: Situation) -> RelayError:
    """Return redis-py's error as ours: no traceback, no password, and advice."""
    names = [kind.__name__ for kind in type(error).__mro__]
    if isinstance(error, RelayError):
        failure = type(error)(f"Redis at {at.where}: {error}", retryable=error.retryable)
        failure.__cause__ = error.__cause__
        return failure
    text = peer_words(str(error).strip() or type(error).__name__, at.secrets)
    if "equal or smaller than the target stream top item" in text:
        failure = IdTaken(f"Redis at {at.where} refused an entry: {text}")
    elif "TimeoutError" in names:
        failure = RelayError(
            f"Redis at {at.where} did not answer within {at.timeout:g} s: it is busy or frozen, or the "
            "network is down"
        )
    elif "InvalidResponse" in names:
        failure = _invalid(text, at)
    elif "ResponseError" in names or "AuthenticationError" in names or "BusyLoadingError" in names:
        failure = _refusal(text, _code(names, text), at)
    elif "max number of clients" in text:
        failure = _refusal(text, "ERR", at)
    elif "DataError" in names:
        failure = RelayError(f"a command for Redis cannot be encoded: {text}", retryable=False)
    else:
        failure = _lost(text, at)
    failure.__cause__ = type(error)(text) if names[0] != "MovedError" and names[0] != "AskError" else None
    return failure


def may_go_on(error: Exception) -> bool:
    """Whether the connection can be used after this error. Otherwise it is dropped, and the next one looks
    the host name up again."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return "ResponseError" in names and _code(names, str(error)) not in _DROPPED


def moved_to(error: object) -> tuple[str, int] | None:
    """Return host and port of the cluster's node that has the key, if that is what Redis answered. The host
    may be "", for the same as before."""
    if not isinstance(error, Exception):
        return None
    # older versions of redis-py know the answer in a cluster's client only
    if type(error).__name__ != "MovedError" and not str(error).startswith("MOVED "):
        return None
    found = _MOVED.fullmatch(str(error))
    return None if found is None else (found[1].strip("[]"), int(found[2]))


def _code(names: list[str], text: str) -> str:
    for name in names:
        if name in _CODES:
            return _CODES[name]
    word = text.partition(" ")[0]
    return word if word.isupper() else "ERR"


def _refusal(text: str, code: str, at: Situation) -> RelayError:
    who = f"the user {at.user!r}" if at.user else "the default user"
    said = f"Redis at {at.where} refused a command: {text}"
    for phrase, retryable, advice in _SAID:
        if phrase in text.lower():
            return RelayError(f"{said}; {advice}", retryable=retryable)
    if code in _PASSES:
        return RelayError(f"{said}; {_PASSES[code]}")
    if code == "NOAUTH":
        if at.secrets:
            advice = f"it does not accept {who} with the password that it was given"
        else:
            advice = f"set {PASSWORD_VARIABLE} or {PASSWORD_VARIABLE}_FILE, and write the user into the url"
        return RelayError(f"{said}; {advice}", retryable=False)
    if code == "NOPERM":
        return RelayError(
            f"{said}; its ACL must give {who} what a relay and its consumers need", retryable=False
        )
    advice = f"; {_STAYS[code]}" if code in _STAYS else ""
    return RelayError(said + advice, retryable=False)


def _invalid(text: str, at: Situation) -> RelayError:
    if at.has_answered:
        return RelayError(f"Redis at {at.where} sent something that is not a reply: {text}")
    return RelayError(
        f"the server at {at.where} does not speak Redis's protocol ({text}); check the url's host and port",
        retryable=False,
    )


def _lost(text: str, at: Situation) -> RelayError:
    advice = ""
    if not at.has_answered and not at.is_secure:
        advice = "; if it expects TLS, the url must begin with rediss://"
    return RelayError(f"the connection to Redis at {at.where} was lost: {text}{advice}")
