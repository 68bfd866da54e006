"""Who takes part in the chaos of a relay, with a supervisor that starts again what ends."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kalshi_feed.simulator import Exchange
from tests.faults.oracle import Oracle
from tests.faults.toxic_proxy import ToxicProxy
from tests.relay.redis_server import RedisServer
from tests.soak.relay.parts import ConsumerPart, RelayPart
from tests.soak.relay.processes import Part, Workshop
from tests.soak.report import resident_mb

__all__ = ["Slot", "Stage"]

MARKETS: Final = 30
RATE: Final = 400.0
RESTARTS_AFTER: Final = 0.3  # seconds after a process has ended, as a supervisor would
EXCESS: Final = 0.3  # seconds: a new connection may be seen before the end of an old one
_CLOCKS: Final = {"relay": -180.0, "standby": 300.0, "ahead": 420.0, "behind": -420.0}
"""The wall clocks of some processes, in seconds ahead of the others'."""


@dataclass
class Slot:
    """A process that is always there: started again when it ends."""

    name: str
    config: RelayPart | ConsumerPart
    proxy: ToxicProxy | None
    part: Part
    restart_at: float | None = None


class _Connections:
    """Counts the open connections at the exchange. A context manager with a thread."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.allowed = 1  # set by the run's thread
        self.most = 0
        self.excess = 0.0  # seconds: the longest time with more than is allowed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="connections", daemon=True)

    def __enter__(self) -> _Connections:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def _watch(self) -> None:
        since: float | None = None
        while not self._stop.wait(0.01):
            now, count = time.monotonic(), self._exchange.connections
            if count <= self.allowed:
                since = None
                self.most = max(self.most, count)
            else:
                since = since or now
                self.excess = max(self.excess, now - since)
                if now - since > EXCESS:
                    self.most = max(self.most, count)


class Stage:
    """The exchange, Redis, and all processes. A context manager; for one thread.

    ``finding`` gets what must not happen, ``log`` what happens; ``counts``: how often a relay has given up.
    """

    def __init__(
        self, *, seed: int, plant: str, finding: Callable[[str], object], log: Callable[[str], object]
    ) -> None:
        self._seed = seed
        self._plant = plant
        self._finding = finding
        self._log = log
        self._stack = ExitStack()
        self._next_note = 0.0
        self.slots: dict[str, Slot] = {}
        self.counts: Counter[str] = Counter()
        self.memory: defaultdict[str, list[float]] = defaultdict(list)  # MB of each process, every 5 s

    def __enter__(self) -> Stage:
        with self._stack as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kalshi-chaos-")))
            self.exchange = stack.enter_context(
                Exchange(
                    MARKETS,
                    key_type="ed25519",
                    rate=RATE,
                    seed=self._seed,
                    heartbeat=0.5,
                    max_clock_skew=3_600.0,
                )
            )
            self.server = stack.enter_context(RedisServer(durable=True))
            self.oracle = Oracle(self.exchange, self._folder / "truth")
            self.connections = stack.enter_context(_Connections(self.exchange))
            self.workshop = stack.enter_context(Workshop(self._folder))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    # -- who takes part --------------------------------------------------------------------------------------

    def _add(self, name: str, config: RelayPart | ConsumerPart, proxy: ToxicProxy | None) -> None:
        part = self.workshop.start(config, name, _CLOCKS.get(name, 0.0))
        self.slots[name] = Slot(name, config, proxy, part)

    def add_relay(self, name: str, *, standby: bool = False) -> None:
        proxy = self._new_proxy()
        self._add(name, self.relay_config(proxy.port, standby), proxy)

    def relay_config(self, port: int, standby: bool) -> RelayPart:
        key, ca = self.exchange.write_credentials(self._folder)
        return RelayPart(
            redis=self.server.address(port=port),
            exchange=self.exchange.url,
            key_id=self.exchange.api_key_id,
            key=str(key),
            ca=str(ca),
            standby=standby,
        )

    def add_consumer(self, name: str, *, proxied: bool = False, workers: int = 1) -> None:
        proxy = self._new_proxy() if proxied else None
        config = ConsumerPart(
            redis=self.server.address(port=proxy.port if proxy else None),
            truth=str(self._folder / "truth"),
            tickers=self.exchange.market_tickers,
            name=name,
            workers=workers,
            plant=self._plant,
        )
        self._add(name, config, proxy)

    def _new_proxy(self) -> ToxicProxy:
        return self._stack.enter_context(ToxicProxy(self.server.port, seed=self._seed))

    @property
    def consumers(self) -> list[Slot]:
        return [slot for slot in self.slots.values() if isinstance(slot.config, ConsumerPart)]

    @property
    def relays(self) -> list[Slot]:
        return [slot for slot in self.slots.values() if isinstance(slot.config, RelayPart)]

    def leader(self) -> Slot:
        """The relay that writes; the first one if that is not known."""
        return next((slot for slot in self.relays if _is_writer(slot.part)), self.relays[0])

    # -- the supervisor --------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Wait, and look after the processes meanwhile."""
        until = time.monotonic() + seconds
        while True:
            self.tend()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.02))

    def tend(self) -> None:
        """Start again what has ended, and note memory."""
        now = time.monotonic()
        for slot in self.slots.values():
            part = slot.part
            if part.ended is not None and slot.restart_at is None:
                slot.restart_at = now + RESTARTS_AFTER
                if not part.is_expected_to_end:
                    self._ended_by_itself(slot)
            if slot.restart_at is not None and now >= slot.restart_at and part.ended is not None:
                slot.restart_at = None
                slot.part = self.workshop.start(slot.config, slot.name, _CLOCKS.get(slot.name, 0.0))
        if now >= self._next_note:
            self._next_note = now + 5.0
            for slot in self.slots.values():
                self.memory[f"{slot.name} {slot.part.pid}"].append(resident_mb(slot.part.pid))
            self.memory["redis"].append(resident_mb(self.server.pid) if self.server.is_running else 0.0)
            self.exchange.forget()

    def _ended_by_itself(self, slot: Slot) -> None:
        part = slot.part
        part.kill()  # reaps it
        error = part.last.get("ended", {}).get("error", "")
        text = f"{slot.name} ended by itself with {part.ended}: {error}"
        self._log(f"        {text}")
        if isinstance(slot.config, RelayPart) and part.ended == 3 and "another relay" in error:
            self.counts["(relay gave up the lease)"] += 1
        elif isinstance(slot.config, RelayPart) and part.ended == 3 and not _has_relayed(part):
            self.counts["(relay could not start)"] += 1  # it did not reach Redis
        else:
            self._finding(text)

    def end_part(self, part: Part) -> None:
        code = part.end()
        if code != 0:
            self._finding(f"{part.name} did not end well: {code}, {part.last.get('ended')}")


def _is_writer(part: Part) -> bool:
    line = part.last.get("relay")
    return line is not None and bool(line["is_writer"]) and part.ended is None


def _has_relayed(part: Part) -> bool:
    return "relay" in part.last
