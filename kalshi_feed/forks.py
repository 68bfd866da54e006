"""What a child process must forget: fork() copies every object and descriptor, but none of the threads that
keep them going.

Owns the package's one hook for that, and the note of what it calls, oldest first: what the modules registered
as they were imported, then the objects in the order in which they were made. None prevents the others. Must
not import anything of the package. Thread-safe by single operations on a dict; without a lock, which the
child could find held for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from inspect import ismethod
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

if TYPE_CHECKING:
    import socket

__all__ = ["call_in_child", "close_in_child"]

# By what is called, or the weak reference to it: a function that returns what is to be called, or None where
# its object is gone.
_registered: dict[Any, Callable[[], Callable[[], object] | None]] = {}


def call_in_child(forget: Callable[[], object]) -> None:
    """Call ``forget`` in every child process that fork() makes, before anything else of ours runs there.

    A method does not keep its object alive. It needs no lock: the child's one thread is the one that forked,
    and a lock may be held by one that does not exist there.
    """
    if ismethod(forget):
        method = WeakMethod(forget, lambda gone: _registered.pop(gone, None))
        _registered[method] = method
    else:
        _registered[forget] = lambda: forget


def close_in_child(sock: socket.socket) -> socket.socket:
    """``sock`` is closed in every child process, without a word to the peer: the parent's connection goes on.
    Returns it.

    If the child kept its copy, the exchange would not see the parent's end.
    """
    call_in_child(sock.close)
    return sock


def _after_fork() -> None:
    """Call all of them; what they raise is raised at the end, where Python reports it and goes on."""
    errors: list[BaseException] = []
    for find in list(_registered.values()):
        forget = find()
        try:
            if forget is not None:
                forget()
        except OSError:
            pass  # a descriptor that was closed behind the socket's back
        except BaseException as error:
            errors.append(error)
    if errors:
        raise errors[0]


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
