"""The processes of a run, as the one that runs it sees them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

from tests.faults.sleepy import CAN_SLEEP, clock_shim
from tests.soak.relay.parts import ConsumerPart, RelayPart
from tests.soak.relay.visitors import VisitorsPart

__all__ = ["Part", "Workshop"]

_ROOT: Final = Path(__file__).parents[3]
_ENDS_WITHIN: Final = 15.0

AnyPart = RelayPart | ConsumerPart | VisitorsPart


class Part:
    """One process. Its methods belong to the thread that runs everything; ``heard`` is written by a thread of
    its own."""

    def __init__(self, config: AnyPart, name: str, folder: Path, env: dict[str, str]) -> None:
        self.name = name
        self.config = config
        self.began = time.monotonic()
        self.last: dict[str, dict[str, Any]] = {}  # the newest line of each kind
        self.lines: list[dict[str, Any]] = []  # of the kinds "sample" (changes only), "state" and "ended"
        self.ages: deque[tuple[float, float]] = deque(maxlen=200)  # of LIVE books, from the samples
        self.log = folder / f"{name}.log"
        self.is_frozen = False
        self.is_expected_to_end = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-X", "faulthandler", "-W", "error", "-m"),
                    "tests.soak.relay." + ("visitors" if config.role == "visitors" else "parts"),
                    json.dumps(dataclasses.asdict(config)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=_ROOT,
                env=env,
                start_new_session=True,  # Ctrl-C is for the run
            )
        self._listener = threading.Thread(target=self._listen, name=f"listen-{name}", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """Its exit code, if it has ended."""
        return self._process.poll()

    def say(self, command: str) -> None:
        """Write a command to it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.is_frozen = True
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.is_frozen = False
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9, and wait for it."""
        self.is_expected_to_end = True
        self._process.kill()
        self._reap()

    def end(self, within: float = _ENDS_WITHIN) -> int | None:
        """Ask it to end; return its exit code, or None if it did not end in time and was killed."""
        self.is_expected_to_end = True
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.send_signal(signal.SIGTERM)
        self.thaw()
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # faulthandler writes all stacks to the log
            time.sleep(0.2)
            code = None
        self._process.kill()
        self._reap()
        return code

    def _reap(self) -> None:
        self._process.wait()
        self._listener.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                item = json.loads(line)
            except ValueError:  # killed while it wrote
                continue
            before = self.last.get(item["what"])
            if item["what"] in ("state", "ended", "visit", "gone") or (
                item["what"] == "sample" and (not before or bool(before["trouble"]) != bool(item["trouble"]))
            ):
                self.lines.append(item)
            if item["what"] == "sample":
                self.ages.append((item["at"], item["age"]))
            self.last[item["what"]] = item

    def oldest_since(self, since: float) -> float:
        """How old a LIVE book of a consumer has been since then, in seconds."""
        return max((age for at, age in self.ages if at >= since), default=0.0)

    @property
    def announced(self) -> int:
        """How many changes a consumer has missed and announced."""
        report = self.last.get("sample", {}).get("report")
        return sum(report["announced"].values()) if report else 0


class Workshop:
    """Starts processes, each with a wall clock of its own where that is possible, and ends them all. A
    context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shim = clock_shim(folder) if CAN_SLEEP else None
        self.parts: list[Part] = []  # all that were ever started
        self._names: dict[str, int] = {}

    def start(self, config: AnyPart, name: str, clock: float = 0.0) -> Part:
        """Start a process, whose wall clock is ``clock`` seconds ahead. The same name may be used again."""
        env = {**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"}
        if self._shim is not None and clock:
            place = self._folder / f"{name}.clocks"
            place.write_bytes(struct.pack("qq", round(clock * 1e9), 0))
            env |= {"LD_PRELOAD": str(self._shim), "CLOCK_SHIM": str(place)}
        part = Part(config, name, self._folder, env)
        self.parts.append(part)
        return part

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *exc: object) -> None:
        for part in self.parts:
            if part.ended is None:
                part.kill()

    def complaints(self) -> list[str]:
        """What the processes' logs have that should not be there."""
        texts = []
        for log in sorted(self._folder.glob("*.log")):
            text = log.read_text(errors="replace")
            for sign in ("Traceback", "defect in kalshi_feed", "Fatal Python error", "Warning:"):
                if (at := text.find(sign)) >= 0:
                    texts.append(f"the log of {log.stem}: {text[at : at + 1500]}")
                    break
        return texts
