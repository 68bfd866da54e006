"""Processes that run side by side and are measured from outside: the relay section's.

A part prints a line of JSON when it has something to report, reads lines of orders, and ends with its
standard input. Owns Part, and what /proc says of a process.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.spawn import TOP

REPORTS_WITHIN = 60.0
_PAGE = 65_536


class Part:
    """One process. Used by one thread, as a context manager; nothing of it is left afterwards.

    ``module`` is run with ``orders`` as JSON.
    """

    def __init__(self, module: str, **orders: Any) -> None:
        self.name = f"{module.rpartition('.')[2]} {orders.get('client', '')}".strip()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(orders)],
            cwd=TOP,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._unread = b""

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def say(self, order: str) -> None:
        """Send it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(order.encode() + b"\n")

    def report(self, within: float = REPORTS_WITHIN) -> Any:
        """Return its next report. Raises RuntimeError if it ends or takes longer than ``within`` seconds."""
        assert self._process.stdout is not None
        number, until = self._process.stdout.fileno(), time.monotonic() + within
        while b"\n" not in self._unread:
            if not select.select([number], [], [], max(until - time.monotonic(), 0))[0]:
                raise RuntimeError(f"{self.name} has not reported for {within:g} s")
            if not (data := os.read(number, _PAGE)):
                raise RuntimeError(f"{self.name} has ended")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def freeze(self, seconds: float) -> None:
        """Stop it for a while (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(self.pid, signal.SIGCONT)


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process's threads so far, in nanoseconds' resolution (those that have ended are
    missing)."""
    total = 0
    for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(schedstat.read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):  # the thread has just ended
            pass
    return total / 1e9


def proportional_megabytes(pid: int) -> float:
    """The memory of a process, in which a page that others share counts in part (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"/proc/{pid}/smaps_rollup has no Pss")
