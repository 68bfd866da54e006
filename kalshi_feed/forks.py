"""Descriptors that a child process must not keep: fork() copies them, and the exchange would not see the parent's end.

Owns the note of what is open. The child closes its copies without a word to the peer, so the parent's connection goes on. Must not
import anything of the package. Thread-safe as a WeakSet is; without a lock, which the child could find held for ever.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    import socket

__all__ = ["close_in_child"]


_open: WeakSet[socket.socket] = WeakSet()


def close_in_child(sock: socket.socket) -> socket.socket:
    """``sock`` is closed in every child process that fork() makes. Returns it."""
    _open.add(sock)
    return sock


def _after_fork() -> None:
    for sock in list(_open):
        with suppress(OSError):
            sock.close()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
