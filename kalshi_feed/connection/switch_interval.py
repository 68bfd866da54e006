"""The interpreter lock while bytes are taken in: whoever takes it from the reader then gives it back soon.

Each system call and each decryption lets go of the lock, and a thread that computes takes it, by Python's
default for 5 ms. Over TLS every record is a decryption: beside such a thread a feed of 1,000 messages a
second was 50 to 300 ms behind; now it is 4 to 17 (tests/benchmarks, latency). Short turns cost that thread
nothing worth measuring.

Owns the process's switch interval for those moments. Thread-safe, but that Python has no compare-and-set for
it: what a program sets between our look at the interval and our change is lost.
"""

from __future__ import annotations

import sys
from typing import Final

from ..forks import call_in_child

__all__ = ["restore", "shorten"]

# seconds: what a waiting thread leaves the one that has the lock; a value that no program would set
_OURS: Final = 0.000047

_program: float | None = None  # the program's own interval, while ours stands in its place
_as_set = 0.0  # ours, as Python gives it back


def shorten() -> None:
    """Shorten the turns of all threads, until ``restore``; nothing to do where the program has made them
    about as short."""
    global _program, _as_set
    before = sys.getswitchinterval()
    if before > 2 * _OURS:
        _program = before
        sys.setswitchinterval(_OURS)
        _as_set = sys.getswitchinterval()


def restore() -> None:
    """Put the program's own interval back, unless another feed has, or the program has set a new one
    meanwhile."""
    global _program
    before, _program = _program, None
    if before is not None and sys.getswitchinterval() == _as_set:
        sys.setswitchinterval(before)


call_in_child(restore)  # the reader that would have done it stayed in the parent
