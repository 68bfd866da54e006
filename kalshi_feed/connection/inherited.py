"""Descriptors that a child process must not keep: fork() copies them, and the exchange would not see the parent's end.

Owns the note of what is open. The child closes its copies without a word to the peer, so the parent's connection goes on. Must not
import anything of the package. Thread-safe as a WeakSet is; without a lock, which the child could find held for ever.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Protocol, TypeVar
from weakref import WeakSet

__all__ = ["not_inherited"]


class _Closeable(Protocol):
    def close(self) -> object: ...


T = TypeVar("T", bound=_Closeable)
_open: WeakSet[_Closeable] = WeakSet()


def not_inherited(thing: T) -> T:
    """``thing`` (a socket, a selector) is closed in every child process that fork() makes."""
    _open.add(thing)
    return thing


def _after_fork() -> None:
    for thing in list(_open):
        with suppress(OSError):
            thing.close()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
