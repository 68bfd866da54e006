"""What holds a thread up just now: a handler of logging, or a wait for the feed.

Owns the two notes and logging from the feed's threads. Must not import anything of the package. Thread-safe without a lock: single
operations on a dict and a set, so that it works in a signal handler too.
"""

from __future__ import annotations

import logging
import os
import time
from threading import get_ident
from typing import Final

__all__ = ["is_logging", "log_safely", "waiting"]

_BLOCKED_AFTER: Final = 1.0  # seconds in a handler of logging
_logging: dict[int, float] = {}  # thread ident: when it gave a record to the handlers (time.monotonic())
waiting: Final[set[int]] = set()  # idents of the threads that wait for something the reader has yet to bring


def log_safely(logger: logging.Logger, level: int, text: str, *args: object, error: BaseException | None = None) -> None:
    """Log; a handler that raises ends no thread of ours. Never called under a lock.

    A handler that blocks keeps its own lock, and whoever logs next would hang on that: while one of the feed's threads is stuck in
    there, the records of the others are left out.
    """
    now, me = time.monotonic(), get_ident()
    if any(now - since > _BLOCKED_AFTER for since in tuple(_logging.values())):
        return
    _logging[me] = now
    try:
        logger.log(level, text, *args, exc_info=error)
    except Exception:
        pass
    finally:
        _logging.pop(me, None)


def is_logging(ident: int | None) -> bool:
    """Whether that thread is inside a handler of logging."""
    return ident in _logging


def _after_fork() -> None:
    _logging.clear()
    waiting.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
