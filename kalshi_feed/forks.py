"""What a forked child must forget: fork() copies all objects and descriptors, but not the threads.

Owns the package's one fork hook, and the list of what it calls, oldest first: what modules registered at
import, then the objects in the order in which they were made. An error in one does not keep the others from
being called. Thread-safe by single operations on a dict; a lock might stay held in the child forever.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from inspect import ismethod
from types import MethodType
from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    import socket

__all__ = ["call_in_child", "close_in_child"]

# By an object of its own for each: a function that returns what to call, or None if its owner is gone.
_registered: dict[object, Callable[[], Callable[[], object] | None]] = {}


def call_in_child(forget: Callable[[], object]) -> None:
    """Call ``forget`` in every forked child, before any other code of ours runs there.

    A method does not keep its object alive. ``forget`` must not take a lock: the child has only the thread
    that forked, and the lock may be held by one that does not exist there.
    """
    key = object()
    if not ismethod(forget):
        _registered[key] = lambda: forget
        return
    function, pop = forget.__func__, _registered.pop  # at interpreter exit, the globals may be gone
    owner = ref(forget.__self__, lambda gone: pop(key, None))

    def find() -> Callable[[], object] | None:
        alive = owner()
        return None if alive is None else MethodType(function, alive)

    _registered[key] = find


def close_in_child(sock: socket.socket) -> socket.socket:
    """Close ``sock`` in every forked child, without a word to the peer; return it.

    The parent's connection goes on. If the child kept its copy open, the exchange would not notice when the
    parent ends.
    """
    call_in_child(sock.close)
    return sock


def _after_fork() -> None:
    """Call them all; raise the first error at the end, where Python prints it and goes on."""
    errors: list[BaseException] = []
    for find in list(_registered.values()):
        forget = find()
        try:
            if forget is not None:
                forget()
        except OSError:
            pass  # the descriptor was closed without the socket's knowledge
        except BaseException as error:
            errors.append(error)
    if errors:
        raise errors[0]


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
