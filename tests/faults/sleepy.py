"""A feed in a child process whose clocks the test moves: the machine sleeps, or someone sets the wall clock.

Needs Linux and a C compiler: the clocks come from clock_shim.c, preloaded into the child.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from kalshi_feed.simulator import Exchange
from tests.faults.toxic_proxy import ToxicProxy
from tests.feed.support import A, B, program
from tests.support import wait_until

__all__ = ["CAN_SLEEP", "SleepyFeed", "clock_shim"]

COMPILER: Final = shutil.which("cc")
# Python 3.10 waits by the wall clock
CAN_SLEEP: Final = sys.platform == "linux" and sys.version_info >= (3, 11) and COMPILER is not None

_BODY: Final = """
from kalshi_feed.sinks import Batcher, open_sink
folder = {folder!r}
def tell(what, **more):
    sys.stdout.write(json.dumps(dict(what=what, at=time.monotonic(), wall=time.time(), **more)) + "\\n")
    sys.stdout.flush()
unix = lambda moment: moment and moment.timestamp()
feed.on_state(lambda c: tell("state", state=c.state.value, reason=c.reason, started=unix(c.gap_started), ended=unix(c.gap_ended)))
feed.on_gap(lambda gap: tell("gap", reason=gap.reason, started=unix(gap.gap_started), tickers=gap.market_tickers))
feed.on_book(lambda view: tell("book", status=view.status.value, ticker=view.market_ticker, updated=unix(view.updated_at)))
feed.on_delta(lambda delta: tell("delta"))
store = Batcher(open_sink("sqlite:///" + folder + "/rows.db"))
store.subscribe_to(feed)
feed.record(folder + "/night.ndjson")
feed.subscribe("orderbook_delta", {markets!r})
feed.start()
for line in sys.stdin:
    tell("clocks", boot=time.clock_gettime(time.CLOCK_BOOTTIME), wall_ns=time.time_ns(), stalls=feed.stats().stalls.count)
feed.close()
store.close()
"""  # noqa: E501


def clock_shim(folder: Path) -> Path:
    """Compile the library that is preloaded into a process with clocks of its own; return its path."""
    library = folder / "clock_shim.so"
    assert COMPILER is not None
    source = Path(__file__).with_name("clock_shim.c")
    subprocess.run(
        [COMPILER, "-O1", "-Wall", "-shared", "-fPIC", "-o", str(library), str(source)], check=True
    )
    return library


class SleepyFeed:
    """A feed of the exchange, behind ``proxy``, with two books, a database and a recording in ``folder``. A
    context manager.

    ``heard`` is what its callbacks received, in order: dicts with ``what``, and when the call came: ``at``
    (time.monotonic(), the same clock in both processes) and ``wall`` (the child's wall clock).
    """

    def __init__(self, exchange: Exchange, proxy: ToxicProxy, folder: Path) -> None:
        self.heard: list[dict[str, Any]] = []
        self.recording = folder / "night.ndjson"
        self.store = folder / "rows.db"
        place = folder / "clocks"
        place.write_bytes(bytes(16))
        with place.open("r+b") as file:
            self._ahead = mmap.mmap(file.fileno(), 16)
        command = program(exchange, folder, _BODY.format(folder=str(folder), markets=[A, B]))
        command[command.index(exchange.url)] = exchange.url.replace(str(exchange.port), str(proxy.port))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LD_PRELOAD": str(clock_shim(folder)), "CLOCK_SHIM": str(place)},
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> SleepyFeed:
        self._listener.start()
        try:
            wait_until(lambda: self.live_since(0) == {A, B}, 20, "two LIVE books")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child cleanly. Idempotent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(20) == 0
        finally:
            self._process.kill()
            self._process.wait()
            self._listener.join(5)
            assert self._process.stdout is not None
            self._process.stdout.close()
            if not self._ahead.closed:
                self._ahead.close()

    def jump(self, *, wall: float, boot: float = 0.0) -> float:
        """Move the child's clocks ahead by this many seconds at once, all but the monotonic one; return
        when."""
        moved = [
            a + round(b * 1e9) for a, b in zip(struct.unpack("qq", self._ahead[:]), (wall, boot), strict=True)
        ]
        at = time.monotonic()
        self._ahead[:] = struct.pack("qq", *moved)
        return at

    def sleep(self, seconds: float) -> float:
        """The machine sleeps. Returns when it woke up."""
        return self.jump(wall=seconds, boot=seconds)

    def freeze(self, seconds: float, frozen: float) -> float:
        """The machine sleeps, and freezes its processes ``frozen`` seconds earlier; return when it woke."""
        os.kill(self._process.pid, signal.SIGSTOP)
        time.sleep(frozen)
        woke = self.sleep(seconds)
        os.kill(self._process.pid, signal.SIGCONT)
        return woke

    def clocks(self) -> dict[str, Any]:
        """Return what the child's clocks say, and how often its reader stood still."""
        assert self._process.stdin is not None
        before = len(self.of("clocks"))
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        wait_until(lambda: len(self.of("clocks")) > before)
        return self.of("clocks")[-1]

    def of(self, what: str, since: float = 0.0, **having: Any) -> list[dict[str, Any]]:
        """Return what was reported of this kind since then, with these values."""
        return [
            one
            for one in list(self.heard)
            if one["what"] == what
            and one["at"] >= since
            and all(one[name] == value for name, value in having.items())
        ]

    def live_since(self, since: float) -> set[str]:
        """The markets whose latest news since then is that they are LIVE."""
        last = {one["ticker"]: one["status"] for one in self.of("book", since)}
        return {ticker for ticker, status in last.items() if status == "LIVE"}

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.heard.append(json.loads(line))
