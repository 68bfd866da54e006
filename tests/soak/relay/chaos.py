"""One exchange, one Redis, a relay, later a standby too, and four consumers; everything that can go wrong;
and an oracle that watches at every consumer.

It ends by itself. Each fault must be over for all consumers within PROMISED_SECONDS of its end.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kalshi_feed.relay.layout import keys_of
from kalshi_feed.simulator import Exchange
from tests.faults.oracle import Oracle
from tests.faults.toxic_proxy import ToxicProxy
from tests.relay.redis_server import RedisServer
from tests.soak.relay.parts import ConsumerPart, RelayPart
from tests.soak.relay.processes import Part, Workshop
from tests.soak.relay.schedule import ALONE, WITH_STANDBY, Episode, Strike, episodes
from tests.soak.report import resident_mb

__all__ = ["PROMISED_SECONDS", "RelayChaos", "RelayOutcome"]

MARKETS: Final = 30
RATE: Final = 400.0
PROMISED_SECONDS: Final = 20.0
BEFORE_SECONDS: Final = 30.0
SHARE_ALONE: Final = 0.65  # of the time: without a standby
RESTARTS_AFTER: Final = 0.3  # seconds after a process has ended, as a supervisor would
SETTLES: Final = 1.2  # seconds after a fault: if it does any harm, that shows by then
RIVAL_WITHIN: Final = 30.0  # seconds in which a second relay must have given up
STOP_AFTER: Final = 5  # findings of the run itself; more would tell us nothing new
_EXCESS: Final = 0.3  # seconds: a new connection may be seen before the end of an old one
_CLOCKS: Final = {"relay": -180.0, "standby": 300.0, "ahead": 420.0, "behind": -420.0}
"""The wall clocks of some processes, in seconds ahead of the others'."""


@dataclass
class RelayOutcome:
    """What a run has found. Written by the run's thread."""

    seed: int
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    # by kind of fault, for each consumer: seconds from its end until all books were right, and how long they
    # were not
    recoveries: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    outages: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def is_good(self) -> bool:
        """Whether nothing went wrong."""
        return not self.findings


@dataclass
class _Slot:
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
                if now - since > _EXCESS:
                    self.most = max(self.most, count)


class RelayChaos:
    """One run. ``only``: faults with this in their names. ``plant``: a bug at every consumer
    (plants.py). ``log`` gets a line for each episode."""

    def __init__(
        self,
        *,
        seed: int,
        seconds: float,
        only: str = "",
        plant: str = "",
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.outcome = RelayOutcome(seed, seconds)
        self._only = only
        self._plant = plant
        self._log = log
        self._slots: dict[str, _Slot] = {}
        self._ends: list[tuple[float, Callable[[], object]]] = []  # when a strike is over, and what ends it
        self._memory: dict[str, list[float]] = defaultdict(list)
        self._next_note = 0.0

    def run(self) -> RelayOutcome:
        """Run all of it; return what was found. Never raises for a finding."""
        began = time.monotonic()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kalshi-chaos-")))
            self._exchange = stack.enter_context(
                Exchange(
                    MARKETS,
                    key_type="ed25519",
                    rate=RATE,
                    seed=self.outcome.seed,
                    heartbeat=0.5,
                    max_clock_skew=3_600.0,
                )
            )
            self._server = stack.enter_context(RedisServer(durable=True))
            self._oracle = Oracle(self._exchange, folder / "truth")
            self._connections = stack.enter_context(_Connections(self._exchange))
            self._stack = stack
            self._folder = folder
            self._workshop = stack.enter_context(Workshop(folder))
            self._add_relay("relay")
            self._add_consumer("plain")
            self._add_consumer("ahead", proxied=True)
            self._add_consumer("behind", proxied=True)
            self._add_consumer("workers", workers=2)
            now = time.monotonic()
            if self._recovered(now, BEFORE_SECONDS):
                self._log(f"everything is LIVE after {time.monotonic() - began:.1f} s")
                self._storm(ALONE, now + SHARE_ALONE * self.outcome.seconds)
                self._with_standby()
                self._storm(WITH_STANDBY, now + self.outcome.seconds)
                self._check_end()
            else:
                self.outcome.findings.append(
                    f"the books were not LIVE before anything went wrong: {self._troubles()}"
                )
            self._end_all()
            self._judge()
        return self.outcome

    # -- who takes part --------------------------------------------------------------------------------------

    def _add(self, name: str, config: RelayPart | ConsumerPart, proxy: ToxicProxy | None) -> None:
        part = self._workshop.start(config, name, _CLOCKS.get(name, 0.0))
        self._slots[name] = _Slot(name, config, proxy, part)

    def _add_relay(self, name: str, *, standby: bool = False) -> None:
        proxy = self._new_proxy()
        self._add(name, self._relay_config(proxy.port, standby), proxy)

    def _relay_config(self, port: int, standby: bool) -> RelayPart:
        key, ca = self._exchange.write_credentials(self._folder)
        return RelayPart(
            redis=self._server.address(port=port),
            exchange=self._exchange.url,
            key_id=self._exchange.api_key_id,
            key=str(key),
            ca=str(ca),
            standby=standby,
        )

    def _add_consumer(self, name: str, *, proxied: bool = False, workers: int = 1) -> None:
        proxy = self._new_proxy() if proxied else None
        config = ConsumerPart(
            redis=self._server.address(port=proxy.port if proxy else None),
            truth=str(self._folder / "truth"),
            tickers=self._exchange.market_tickers,
            name=name,
            workers=workers,
            plant=self._plant,
        )
        self._add(name, config, proxy)

    def _new_proxy(self) -> ToxicProxy:
        return self._stack.enter_context(ToxicProxy(self._server.port, seed=self.outcome.seed))

    @property
    def _consumers(self) -> list[_Slot]:
        return [slot for slot in self._slots.values() if isinstance(slot.config, ConsumerPart)]

    @property
    def _relays(self) -> list[_Slot]:
        return [slot for slot in self._slots.values() if isinstance(slot.config, RelayPart)]

    def _leader(self) -> _Slot:
        """The relay that writes; the first one if that is not known."""
        return next((slot for slot in self._relays if _is_writer(slot.part)), self._relays[0])

    def _with_standby(self) -> None:
        """From now on there are two relays."""
        self._connections.allowed = 2
        relay = self._slots["relay"]
        assert isinstance(relay.config, RelayPart) and relay.proxy is not None
        self._end_part(relay.part)
        relay.config = self._relay_config(relay.proxy.port, standby=True)
        relay.restart_at = time.monotonic()
        self._tend()
        self._add_relay("standby", standby=True)
        if not self._recovered(time.monotonic(), PROMISED_SECONDS):
            self.outcome.findings.append(f"not right again with a standby: {self._troubles()}")

    # -- the storm -------------------------------------------------------------------------------------------

    def _storm(self, kinds: dict[str, tuple[float, float]], until: float) -> None:
        kinds = {kind: seconds for kind, seconds in kinds.items() if self._only in kind}
        if not kinds:
            return
        for episode in episodes(self.outcome.seed, kinds):
            if time.monotonic() >= until or len(self.outcome.findings) > STOP_AFTER:
                return
            self._wait(episode.calm)
            self._live_through(episode)

    def _live_through(self, episode: Episode) -> None:
        began = time.monotonic()
        lost = {slot.name: slot.part.announced for slot in self._consumers}
        for strike in episode.strikes:
            self.outcome.faults[strike.kind] += 1
            end = self._begin(strike, alone=len(episode.strikes) == 1)
            self._ends.append((time.monotonic() + strike.seconds, end))
        while self._ends:
            self._ends.sort(key=lambda item: item[0])
            at, end = self._ends[0]
            self._wait(at - time.monotonic())
            self._ends.pop(0)
            end()
        over = time.monotonic()
        names = " and ".join(strike.kind for strike in episode.strikes)
        if not self._recovered(over, PROMISED_SECONDS):
            self.outcome.findings.append(
                f"{names}: not right again after {PROMISED_SECONDS:.0f} s: {self._troubles()}"
            )
        took = {slot.name: self._recovery(slot, began, over) for slot in self._consumers}
        self.outcome.recoveries[episode.kind] += took.values()
        self.outcome.outages[episode.kind] += (self._outage(slot, began) for slot in self._consumers)
        self._log(
            f"{over - began:5.1f} s of {names}; then "
            + ", ".join(f"{name} {seconds:.1f}" for name, seconds in took.items())
            + f"; LIVE and {max(slot.part.oldest_since(began) for slot in self._consumers):.1f} s old; lost "
            + ", ".join(str(max(slot.part.announced - lost[slot.name], 0)) for slot in self._consumers)
        )

    def _recovery(self, slot: _Slot, began: float, over: float) -> float:
        """How long a consumer was not right after the end of a fault."""
        changes = [line for line in slot.part.lines if line["what"] == "sample" and line["at"] > began]
        if not changes:
            return 0.0
        last = changes[-1]
        end = time.monotonic() if last["trouble"] else last["at"]
        return max(0.0, end - over)

    def _outage(self, slot: _Slot, began: float) -> float:
        """How long not all books of a consumer were right since then, as far as it could say."""
        seconds, since = 0.0, None
        for line in [line for line in slot.part.lines if line["what"] == "sample" and line["at"] > began]:
            if line["trouble"]:
                since = since or line["at"]
            elif since is not None:
                seconds, since = seconds + line["at"] - since, None
        return seconds if since is None else seconds + time.monotonic() - since

    def _recovered(self, since: float, within: float) -> bool:
        """Wait until all consumers have been right at once, later than ``since``."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            self._wait(0.05)
            samples = [slot.part.last.get("sample") for slot in self._consumers]
            if all(
                sample is not None and not sample["trouble"] and sample["at"] > since + SETTLES
                for sample in samples
            ):
                return True
        return False

    def _troubles(self) -> str:
        texts = []
        for slot in self._slots.values():
            last = slot.part.last
            if isinstance(slot.config, ConsumerPart):
                sample, state = last.get("sample"), last.get("state")
                if sample is None:
                    texts.append(f"{slot.name} says nothing")
                elif sample["trouble"]:
                    texts.append(f"{slot.name}: {sample['trouble']}, {sample['report']['fault_texts'][-3:]}")
                    texts.append(f"its last state {state and (state['state'], state['reason'])}")
            else:
                texts.append(f"{slot.name}: {last.get('relay')}")
        return "; ".join(texts)

    def _wait(self, seconds: float) -> None:
        """Wait, and look after the processes meanwhile."""
        until = time.monotonic() + seconds
        while True:
            self._tend()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.02))

    def _tend(self) -> None:
        """Start again what has ended, and note memory."""
        now = time.monotonic()
        for slot in self._slots.values():
            part = slot.part
            if part.ended is not None and slot.restart_at is None:
                slot.restart_at = now + RESTARTS_AFTER
                if not part.is_expected_to_end:
                    self._ended_by_itself(slot)
            if slot.restart_at is not None and now >= slot.restart_at and part.ended is not None:
                slot.restart_at = None
                slot.part = self._workshop.start(slot.config, slot.name, _CLOCKS.get(slot.name, 0.0))
        if now >= self._next_note:
            self._next_note = now + 5.0
            for slot in self._slots.values():
                self._memory[f"{slot.name} {slot.part.pid}"].append(resident_mb(slot.part.pid))
            self._memory["redis"].append(resident_mb(self._server.pid) if self._server.is_running else 0.0)
            self._exchange.forget()

    def _ended_by_itself(self, slot: _Slot) -> None:
        part = slot.part
        part.kill()  # reaps it
        error = part.last.get("ended", {}).get("error", "")
        text = f"{slot.name} ended by itself with {part.ended}: {error}"
        self._log(f"        {text}")
        if isinstance(slot.config, RelayPart) and part.ended == 3 and "another relay" in error:
            self.outcome.faults["(relay gave up the lease)"] += 1
        elif isinstance(slot.config, RelayPart) and part.ended == 3 and not _has_relayed(part):
            self.outcome.faults["(relay could not start)"] += 1  # it did not reach Redis
        else:
            self.outcome.findings.append(text)

    # -- the faults ------------------------------------------------------------------------------------------

    def _begin(self, strike: Strike, alone: bool) -> Callable[[], object]:
        """Begin a fault; return what ends it."""
        kind, dice = strike.kind, strike.dice
        who, _, what = kind.partition(" ")
        if who == "Redis":
            return self._strike_redis(what)
        if who == "exchange":
            return self._strike_exchange(what, dice)
        if kind == "second relay":
            return self._rival(alone)
        if kind == "lease taken away":
            self._server.client().set(keys_of("main").lease, "an intruder", px=1_000 + int(3_000 * dice))
            return _nothing
        if who.startswith("consumer"):
            slots = [slot for slot in self._consumers if slot.proxy or who == "consumer"]
            slot = slots[int(dice * len(slots))]
        elif who.startswith("standby"):
            slot = next((slot for slot in self._relays if slot is not self._leader()), self._relays[0])
        else:
            slot = self._leader()
        return self._strike_network(slot, what) if who.endswith("'s") else self._strike_process(slot, what)

    def _strike_redis(self, what: str) -> Callable[[], object]:
        server, data = self._server, self._server.folder / "data"
        if what.startswith("frozen"):
            server.freeze()
            return server.thaw
        if what == "killed, older data":
            old = server.folder / "old"
            shutil.copytree(data, old)

            def go_back() -> None:
                server.kill()
                server.forget()
                old.rename(data)
                server.start()

            return go_back
        server.kill()
        if what == "killed, data lost":
            server.forget()
        return server.start

    def _strike_exchange(self, what: str, dice: float) -> Callable[[], object]:
        exchange = self._exchange
        if what == "restarts":
            exchange.close()
            return exchange.start
        with contextlib.suppress(LookupError):
            if what == "resets":
                exchange.reset()
            elif what == "loses frames":
                exchange.lose(1 + int(dice * 20), "orderbook_delta" if dice > 0.2 else None)
        return _nothing

    def _strike_network(self, slot: _Slot, what: str) -> Callable[[], object]:
        proxy = slot.proxy
        assert proxy is not None
        if what == "network cut":
            proxy.cut(reset=True)
            return _nothing
        if what == "network down":
            proxy.refusing = True
            proxy.cut()
        else:
            proxy.down.black_hole = proxy.up.black_hole = True
        return proxy.heal

    def _strike_process(self, slot: _Slot, what: str) -> Callable[[], object]:
        part = slot.part
        if part.ended is not None:
            return _nothing
        if what == "killed":
            part.kill()
            return _nothing
        if what == "ended":
            self._end_part(part)
            return _nothing
        part.freeze()
        if isinstance(slot.config, ConsumerPart):
            return part.thaw

        def thaw() -> None:
            for consumer in self._consumers:
                consumer.part.say("excuse")
            part.thaw()

        return thaw

    def _rival(self, alone: bool) -> Callable[[], object]:
        proxy = self._slots["relay"].proxy
        assert proxy is not None
        rival = self._workshop.start(self._relay_config(proxy.port, standby=False), "rival")

        def end() -> None:
            deadline = time.monotonic() + RIVAL_WITHIN
            while rival.ended is None and time.monotonic() < deadline:
                self._wait(0.05)
            rival.kill()
            error = rival.last.get("ended", {}).get("error", "nothing")
            if alone and "another relay" not in error:
                self.outcome.findings.append(f"a second relay did not give up: {error}")

        return end

    def _end_part(self, part: Part) -> None:
        code = part.end()
        if code != 0:
            self.outcome.findings.append(f"{part.name} did not end well: {code}, {part.last.get('ended')}")

    # -- the end ---------------------------------------------------------------------------------------------

    def _check_end(self) -> None:
        """With the markets at rest, every book equals the exchange's, and one more change of each gets
        through everywhere."""
        self._exchange.quiesce(PROMISED_SECONDS)
        for late in ("behind", "undelivered"):  # a change may lie in a loss, the next one must arrive
            at = time.monotonic()
            while not (missing := self._missing(at, late)) == {} and time.monotonic() < at + PROMISED_SECONDS:
                self._wait(0.05)
            if missing:
                self.outcome.findings.append(
                    f"with the markets at rest, {late} are {missing}: {self._troubles()}"
                )
            for ticker in self._exchange.market_tickers:
                self._exchange.change(ticker, "yes", "0.0100", "1")

    def _missing(self, since: float, late: str) -> dict[str, Any]:
        """What is not right later than ``since``, by consumer."""
        samples = {slot.name: slot.part.last.get("sample") for slot in self._consumers}
        return {
            name: None if sample is None else sample["trouble"] or sample["behind"] or sample[late]
            for name, sample in samples.items()
            if sample is None
            or sample["at"] < since + SETTLES
            or sample["trouble"]
            or sample["behind"]
            or sample[late]
        }

    def _end_all(self) -> None:
        self._log("the end")
        for slot in [*self._consumers, *self._relays]:
            if slot.part.ended is None:
                self._end_part(slot.part)

    def _judge(self) -> None:
        """Sum up what the consumers have found."""
        outcome = self.outcome
        sums: Counter[str] = Counter()
        announced: Counter[str] = Counter()
        faults: Counter[str] = Counter()
        oldest = 0.0
        for part in self._workshop.parts:
            report = part.last.get("report") or part.last.get("sample", {}).get("report")
            if report is None:
                continue
            for name in ("wrong_live", "unannounced", "wrong_deliveries", "views", "deltas", "snapshots"):
                sums[name] += report[name]
            for name in ("trades", "gaps", "reconnects", "dropped", "lagged"):
                sums[name] += report[name]
            announced.update(report["announced"])
            faults.update(report["faults"])
            oldest = max(oldest, report["oldest"])
            outcome.findings += [f"{part.name}: {text}" for text in report["findings"]]
            if report["dropped"] != report["lagged"] and "report" in part.last:
                outcome.findings.append(
                    f"{part.name}: {report['dropped']} dropped, {report['lagged']} announced by Lagged"
                )
        outcome.findings += self._workshop.complaints()
        if self._connections.excess > _EXCESS:
            outcome.findings.append(
                f"{self._connections.most} connections at the exchange for {self._connections.excess:.2f} s"
            )
        outcome.figures |= {
            "wrong_live_books": sums["wrong_live"],
            "unannounced_losses": sums["unannounced"],
            "wrong_deliveries": sums["wrong_deliveries"],
            "faults": outcome.faults.total(),
            "changes": self._oracle.changes,
            "deltas_delivered": sums["deltas"],
            "live_views_checked": sums["views"],
            "oldest_live_seconds": oldest,
            "losses_announced": dict(announced),
            "consumer_reconnects": sums["reconnects"],
            "consumer_faults": dict(faults),
            "most_connections": self._connections.most,
            "recovery_seconds": {kind: spread(values) for kind, values in sorted(outcome.recoveries.items())},
            "memory_mb": {
                name: [round(notes[len(notes) // 3]), round(notes[-1])]
                for name, notes in self._memory.items()
                if len(notes) >= 12
            },
        }
        outcome.figures["outage_seconds"] = {
            kind: spread(values) for kind, values in sorted(outcome.outages.items())
        }
        outcome.figures["recovery_seconds"]["all"] = spread(
            [seconds for values in outcome.recoveries.values() for seconds in values]
        )


def spread(values: list[float]) -> dict[str, float]:
    """Return number, median, p99 and maximum."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    return {
        "n": len(ordered),
        "p50": round(ordered[len(ordered) // 2], 2),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 2),
        "max": round(ordered[-1], 2),
    }


def _is_writer(part: Part) -> bool:
    line = part.last.get("relay")
    return line is not None and bool(line["is_writer"]) and part.ended is None


def _has_relayed(part: Part) -> bool:
    return "relay" in part.last


def _nothing() -> None:
    pass
