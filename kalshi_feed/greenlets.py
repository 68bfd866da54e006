"""What gevent and eventlet have done to this process: with them, a thread may be a greenlet.

Both replace parts of the standard library ("monkey patching"), at any time, also after this package was
imported. So nothing here is decided at import, and no other module of the core keeps a class or a function of
``threading``, ``select``, ``socket`` or ``time.sleep`` from then. Neither library is ever imported here.

With gevent, the core's own threads, which only move bytes, stay real threads: they use what Python had before
the patch, from original(). Callbacks and waits are the user's, so they are greenlets, and so is all that
waits for them. A gevent lock may be released by any thread, which is how a real thread wakes a greenlet. With
eventlet that does not work, so there all threads are greenlets.

Owns the questions, and how a greenlet gives way. Thread-safe; safe in a signal handler.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Final, Literal

__all__ = [
    "Kind",
    "free_in_child",
    "lock",
    "may_wait",
    "original",
    "pass_on",
    "reentrant_lock",
    "take_turns",
    "thread_kind",
    "unpatched_socketio",
]

Kind = Literal["thread", "gevent", "eventlet"]
# Seconds. gevent runs fifty callbacks of its loop before it looks at sockets and timers, so a sleep of 0 lets
# none of those have a turn.
_TURN: Final = 0.0002


def thread_kind() -> Kind:
    """What a new ``threading.Thread`` is here and now."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        return "gevent"
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return "eventlet"
    return "thread"


def original(module: str, name: str) -> Any:
    """What ``name`` was in a module of the standard library before gevent patched it, if it did."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(__import__(module), name)


def lock() -> threading.Lock:
    """A lock between real threads. A greenlet that holds it must not let another one run."""
    return original("_thread", "allocate_lock")()  # type: ignore[no-any-return]


def reentrant_lock() -> threading.RLock:
    """The same, reentrant. All greenlets of a thread are one owner to it."""
    return original("_thread", "RLock")()  # type: ignore[no-any-return]


def free_in_child(held: threading.Lock) -> None:
    """In a forked child: free a lock(), which a thread that does not exist here may hold."""
    if hasattr(held, "_at_fork_reinit"):  # eventlet's has no such thread
        held._at_fork_reinit()


def may_wait() -> bool:
    """Whether the caller may block: anything but the event loop itself, which also runs signal handlers."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return True
    me = greenlet.getcurrent()
    gevent, eventlet = sys.modules.get("gevent.hub"), sys.modules.get("eventlet.hubs")
    if gevent is not None and isinstance(me, gevent.Hub):
        return False
    return eventlet is None or thread_kind() != "eventlet" or me is not eventlet.get_hub().greenlet


def take_turns() -> None:
    """Let the other greenlets run, and the event loop look at sockets and timers."""
    time.sleep(_TURN)


def pass_on(error: BaseException) -> bool:
    """Raise a Ctrl-C, which hits whichever greenlet happens to run, in the main one; False if it is no Ctrl-C
    or has come to the right place.
    """
    kind = thread_kind()
    if not isinstance(error, KeyboardInterrupt) or kind == "thread":
        return False
    if kind == "gevent":
        sys.modules["gevent"].get_hub().handle_system_error(KeyboardInterrupt, error)
    else:
        sys.modules["eventlet.hubs"].get_hub().schedule_call_global(0, _raise, error)
    return True


def _raise(error: BaseException) -> None:
    raise error


def unpatched_socketio() -> str | None:
    """The library whose event loop a Socket.IO server of this process runs on without its patch, if so.

    The feed's callbacks run on real threads then, and what they emit() waits until something else happens to
    wake the loop.
    """
    if thread_kind() != "thread":
        return None
    for library in ("gevent", "eventlet"):
        if any(f"engineio.async_drivers.{name}" in sys.modules for name in (library, f"{library}_uwsgi")):
            return library
    return None
