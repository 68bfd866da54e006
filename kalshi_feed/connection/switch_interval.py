"""The GIL while bytes are read: a thread that keeps it from the reader gives it back quickly.

Each system call and each decryption releases the GIL, and a thread that computes takes it, by Python's
default for 5 ms. Over TLS every record is a decryption: next to such a thread, a feed of 1,000 messages a
second was 50 to 300 ms behind; with short turns it is 4 to 17 ms (tests/benchmarks, latency). They cost that
thread nothing worth measuring. But where no other thread computes, reader and worker take turns needlessly
often: so the turns are short only while the reader has been seen to wait.

Owns the process's switch interval during those moments. Thread-safe, except that Python has no
compare-and-set for it: a value that the program sets between our look and our change is lost.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from ..forks import call_in_child

__all__ = ["Hurry", "restore", "shorten"]

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


class Hurry:
    """Around each read: the turns are short if a read of the last ``lasting`` seconds had to wait.

    A read never blocks, so whatever it takes beyond its work is a wait: for the GIL or for a core. Not
    thread-safe; owned by the reader.
    """

    __slots__ = ("_began", "_cpu", "_lasting", "_until")

    def __init__(self, lasting: float = 1.0) -> None:
        self._lasting = lasting
        self._until = 0.0  # the turns are short until then (time.monotonic())
        self._began = 0.0  # when this read began
        self._cpu = 0.0  # the CPU time of this thread at that moment, while the turns are short

    def __enter__(self) -> None:
        self._began = time.monotonic()
        if self._began < self._until:
            self._cpu = time.thread_time()
            shorten()

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        waited = now - self._began
        if self._began < self._until:
            restore()
            waited -= time.thread_time() - self._cpu
            limit = _OURS / 2
        else:
            limit = sys.getswitchinterval() / 2
        if waited > limit:
            self._until = now + self._lasting
