"""The GIL while bytes are read: a thread that takes it from the reader gives it back quickly.

Each system call and each decryption releases the GIL, and a thread that computes takes it, by Python's
default for 5 ms. Over TLS every record is a decryption: next to such a thread, a feed of 1,000 messages a
second was 50 to 300 ms behind; now it is 4 to 17 ms (tests/benchmarks, latency). The short turns cost that
thread nothing worth measuring.

Owns the process's switch interval during those moments. Thread-safe, except that Python has no
compare-and-set for it: a value that the program sets between our look and our change is lost.
"""

from __future__ import annotations

import sys
from typing import Final

from ..forks import call_in_child

__all__ = ["restore", "shorten"]

# seconds a waiting thread grants the one that has the GIL; a value that no program would set itself
_OURS: Final = 0.000047

_program: float | None = None  # the program's own interval, while ours is in effect
_as_set = 0.0  # ours, as Python returns it


def shorten() -> None:
    """Shorten the turns of all threads until ``restore``, unless the program has made them about as short."""
    global _program, _as_set
    before = sys.getswitchinterval()
    if before > 2 * _OURS:
        _program = before
        sys.setswitchinterval(_OURS)
        _as_set = sys.getswitchinterval()


def restore() -> None:
    """Restore the program's own interval, unless another feed already has or the program set a new one."""
    global _program
    before, _program = _program, None
    if before is not None and sys.getswitchinterval() == _as_set:
        sys.setswitchinterval(before)


call_in_child(restore)  # the reader that would have restored it stayed in the parent
