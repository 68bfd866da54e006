"""The GIL: how long a thread that computes may keep it from the reader.

Each system call and each decryption releases the GIL, and a thread that computes takes it, by Python's
default for 5 ms. Over TLS every record is a decryption, and the worker waits for the GIL, too: next to such a
thread, a feed of 1,000 messages a second was 15 to 30 ms behind (p99), and over TLS at times hundreds; with
turns of half a millisecond it is 5 to 8 ms (tests/benchmarks, latency). The other thread loses a tenth of
its speed to the feed that is now served in time. So the turns are short as long as the reader is seen to
wait, and the program's own where no other thread computes.

Owns the process's switch interval during that time. Thread-safe, except that Python has no compare-and-set
for it: a value that the program sets between our look and our change is lost.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from ..forks import call_in_child

__all__ = ["Hurry", "restore", "shorten"]

# seconds a waiting thread grants the one that has the GIL; a value that no program would set itself
_OURS: Final = 0.000487

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
    """Around each read: keeps the turns short while a read of the last ``lasting`` seconds had to wait.

    A read never blocks, so whatever it takes beyond its work is a wait: for the GIL or for a core. Not
    thread-safe; owned by the reader.
    """

    __slots__ = ("_began", "_cpu", "_lasting", "_until")

    def __init__(self, lasting: float = 1.0) -> None:
        self._lasting = lasting
        self._until = 0.0  # the turns are short until then (time.monotonic()); 0: they are the program's own
        self._began = 0.0  # when this read began
        self._cpu = 0.0  # the CPU time of this thread at that moment, while the turns are short

    def __enter__(self) -> None:
        self._began = time.monotonic()
        if self._until:
            self._cpu = time.thread_time()

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        waited, limit = now - self._began, sys.getswitchinterval() / 2
        if self._until:
            waited -= time.thread_time() - self._cpu
        if waited > limit:
            self._until = now + self._lasting
            shorten()  # again, because another feed may have restored it
        elif self._until and now > self._until:
            self.end()

    def end(self) -> None:
        """The turns are the program's own again, for this feed."""
        if self._until:
            self._until = 0.0
            restore()
