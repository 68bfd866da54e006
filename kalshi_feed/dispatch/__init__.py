"""Callbacks, the bounded queue, the worker threads, streams and waits.

Owns the hand-over from the reader to the users. Must not import anything of the package but errors, session.events
and stats; no sockets, no books (it is given a function that makes a view).
"""

from __future__ import annotations

from .dispatcher import Dispatcher
from .mailbox import Counters
from .registry import ALL_DATA, BOOKS
from .stream import MessageStream

__all__ = ["ALL_DATA", "BOOKS", "Counters", "Dispatcher", "MessageStream"]
