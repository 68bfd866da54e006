"""Callbacks, the bounded queue, the worker threads, streams and waits.

Owns the path of messages from the reader to the users. It knows nothing about books: it is given a function
that returns a view.
"""

from __future__ import annotations

from .delivery import Delivery, checked_count
from .dispatcher import Dispatcher
from .inline import InlineDispatcher
from .mailbox import Counters
from .registry import ALL_DATA, BOOKS, REPLIES
from .stream import Blocking, MessageStream

__all__ = [
    "ALL_DATA",
    "BOOKS",
    "REPLIES",
    "Blocking",
    "Counters",
    "Delivery",
    "Dispatcher",
    "InlineDispatcher",
    "MessageStream",
    "checked_count",
]
