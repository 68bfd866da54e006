"""A second feed with the key and url of one that is running in the same process: a warning, logged once.

Usually a notebook cell ran twice. Owns the list of the feeds that were started, which keeps none of them
alive, and what was warned about. Thread-safe, also in a signal handler: single operations on dicts, no lock.
"""

from __future__ import annotations

import logging
from typing import Final
from weakref import ref

from ..events import FeedState
from ..forks import call_in_child
from .engine import Engine, log

__all__ = ["started"]

_Account = tuple[str, str]  # API key id, and url without its query

_started: Final[dict[ref[Engine], _Account]] = {}
_warned: Final[dict[_Account, ref[Engine]]] = {}  # and which feed's start it was


def started(engine: Engine, api_key_id: str) -> None:
    """Note that this feed was started; log a warning if another one with its key and url is running.

    Only once for each key and url in a process: enough for the user of a notebook, and a program that means
    to have two connections is not flooded.
    """
    account = (api_key_id, engine.peer)
    me = ref(engine, _forget)
    _started[me] = account
    # A feed may be collected at any allocation. list() of the keys makes none while it goes through them;
    # copy() does, and then counts fewer entries than it has.
    others = [other() for other in list(_started) if other != me and _started.get(other) == account]
    if any(map(_is_running, others)) and _warned.setdefault(account, me) is me:
        log(
            logging.WARNING,
            "a second feed with the key %s… was started for %s while the first one is running, so everything "
            "arrives twice. If that is a notebook cell that ran again: close() the first feed, which IPython "
            "may hold in Out[...], and let the cell begin with a close() of the feed it replaces",
            api_key_id[:4],
            engine.peer,
        )


def _is_running(engine: Engine | None) -> bool:
    return engine is not None and engine.abandonable and engine.state is not FeedState.FAILED


def _forget(gone: ref[Engine]) -> None:
    _started.pop(gone, None)


def _forget_all() -> None:
    """In a forked child, where the parent's feeds do not run."""
    _started.clear()
    _warned.clear()


call_in_child(_forget_all)
