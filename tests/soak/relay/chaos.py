"""One exchange, one Redis, a relay, later a standby too, and four consumers; everything that can go wrong;
and an oracle that watches at every consumer.

It ends by itself. Each fault must be over for all consumers within PROMISED_SECONDS of its end.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.soak.relay.parts import ConsumerPart, RelayPart
from tests.soak.relay.schedule import ALONE, WITH_STANDBY, Episode, episodes
from tests.soak.relay.stage import EXCESS, Slot, Stage
from tests.soak.relay.strikes import Strikes

__all__ = ["PROMISED_SECONDS", "RelayChaos", "RelayOutcome"]

PROMISED_SECONDS: Final = 30.0  # much of it is for a busy machine, to start Python
BEFORE_SECONDS: Final = 60.0
SHARE_ALONE: Final = 0.65  # of the time: without a standby
SETTLES: Final = 1.2  # seconds after a fault: if it does any harm, that shows by then
STOP_AFTER: Final = 5  # findings of the run itself; more would tell us nothing new


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
        self._log = log
        self._ends: list[tuple[float, Callable[[], object]]] = []  # when a strike is over, and what ends it
        finding = self.outcome.findings.append
        self._stage = Stage(seed=seed, plant=plant, finding=finding, log=log)
        self._strikes = Strikes(self._stage, finding)

    def run(self) -> RelayOutcome:
        """Run all of it; return what was found. Never raises for a finding."""
        began = time.monotonic()
        with self._stage as stage:
            stage.add_relay("relay")
            stage.add_consumer("plain")
            stage.add_consumer("ahead", proxied=True)
            stage.add_consumer("behind", proxied=True)
            stage.add_consumer("workers", workers=2)
            if self._recovered(began, BEFORE_SECONDS):
                self._log(f"everything is LIVE after {time.monotonic() - began:.1f} s")
                self._go_through()
            else:
                self.outcome.findings.append(
                    f"the books were not LIVE before anything went wrong: {self._troubles()}"
                )
            self._end_all()
            self._judge()
        return self.outcome

    def _go_through(self) -> None:
        now = time.monotonic()
        self._storm(ALONE, now + SHARE_ALONE * self.outcome.seconds)
        self._with_standby()
        self._storm(WITH_STANDBY, now + self.outcome.seconds)
        self._check_end()

    def _with_standby(self) -> None:
        """From now on there are two relays."""
        self._stage.connections.allowed = 2
        relay = self._stage.slots["relay"]
        assert isinstance(relay.config, RelayPart) and relay.proxy is not None
        self._stage.end_part(relay.part)
        relay.config = self._stage.relay_config(relay.proxy.port, standby=True)
        relay.restart_at = time.monotonic()
        self._stage.tend()
        self._stage.add_relay("standby", standby=True)
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
            self._stage.wait(episode.calm)
            self._live_through(episode)

    def _live_through(self, episode: Episode) -> None:
        began = time.monotonic()
        lost = {slot.name: slot.part.announced for slot in self._stage.consumers}
        for strike in episode.strikes:
            self.outcome.faults[strike.kind] += 1
            end = self._strikes.begin(strike, alone=len(episode.strikes) == 1)
            self._ends.append((time.monotonic() + strike.seconds, end))
        while self._ends:
            self._ends.sort(key=lambda item: item[0])
            at, end = self._ends[0]
            self._stage.wait(at - time.monotonic())
            self._ends.pop(0)
            end()
        over = time.monotonic()
        names = " and ".join(strike.kind for strike in episode.strikes)
        if not self._recovered(over, PROMISED_SECONDS):
            self.outcome.findings.append(
                f"{names}: not right again after {PROMISED_SECONDS:.0f} s: {self._troubles()}"
            )
        took = {slot.name: self._recovery(slot, began, over) for slot in self._stage.consumers}
        self.outcome.recoveries[episode.kind] += took.values()
        self.outcome.outages[episode.kind] += (self._outage(slot, began) for slot in self._stage.consumers)
        oldest = max(slot.part.oldest_since(began) for slot in self._stage.consumers)
        self._log(
            f"{over - began:5.1f} s of {names}; then "
            + ", ".join(f"{name} {seconds:.1f}" for name, seconds in took.items())
            + f"; LIVE and {oldest:.1f} s old; lost "
            + ", ".join(str(max(slot.part.announced - lost[slot.name], 0)) for slot in self._stage.consumers)
        )

    def _recovery(self, slot: Slot, began: float, over: float) -> float:
        """How long a consumer was not right after the end of a fault."""
        changes = [line for line in slot.part.lines if line["what"] == "sample" and line["at"] > began]
        if not changes:
            return 0.0
        last = changes[-1]
        end = time.monotonic() if last["trouble"] else last["at"]
        return max(0.0, end - over)

    def _outage(self, slot: Slot, began: float) -> float:
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
            self._stage.wait(0.05)
            samples = [slot.part.last.get("sample") for slot in self._stage.consumers]
            if all(
                sample is not None and not sample["trouble"] and sample["at"] > since + SETTLES
                for sample in samples
            ):
                return True
        return False

    def _troubles(self) -> str:
        texts = []
        for slot in self._stage.slots.values():
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

    # -- the end ---------------------------------------------------------------------------------------------

    def _check_end(self) -> None:
        """With the markets at rest, every book equals the exchange's, and one more change of each gets
        through everywhere."""
        self._stage.exchange.quiesce(PROMISED_SECONDS)
        for late in ("behind", "undelivered"):  # a change may lie in a loss, the next one must arrive
            at = time.monotonic()
            while not (missing := self._missing(at, late)) == {} and time.monotonic() < at + PROMISED_SECONDS:
                self._stage.wait(0.05)
            if missing:
                self.outcome.findings.append(
                    f"with the markets at rest, {late} are {missing}: {self._troubles()}"
                )
            for ticker in self._stage.exchange.market_tickers:
                self._stage.exchange.change(ticker, "yes", "0.0100", "1")

    def _missing(self, since: float, late: str) -> dict[str, Any]:
        """What is not right later than ``since``, by consumer."""
        samples = {slot.name: slot.part.last.get("sample") for slot in self._stage.consumers}
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
        for slot in [*self._stage.consumers, *self._stage.relays]:
            if slot.part.ended is None:
                self._stage.end_part(slot.part)

    def _judge(self) -> None:
        """Sum up what the consumers have found."""
        outcome = self.outcome
        outcome.faults += self._stage.counts
        sums: Counter[str] = Counter()
        announced: Counter[str] = Counter()
        faults: Counter[str] = Counter()
        oldest = 0.0
        for part in self._stage.workshop.parts:
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
        outcome.findings += self._stage.workshop.complaints()
        seen = self._stage.connections
        if seen.excess > EXCESS:
            outcome.findings.append(f"{seen.most} connections at the exchange for {seen.excess:.2f} s")
        outcome.figures |= {
            "wrong_live_books": sums["wrong_live"],
            "unannounced_losses": sums["unannounced"],
            "wrong_deliveries": sums["wrong_deliveries"],
            "faults": outcome.faults.total(),
            "changes": self._stage.oracle.changes,
            "deltas_delivered": sums["deltas"],
            "live_views_checked": sums["views"],
            "oldest_live_seconds": oldest,
            "losses_announced": dict(announced),
            "consumer_reconnects": sums["reconnects"],
            "consumer_faults": dict(faults),
            "most_connections": self._stage.connections.most,
            "recovery_seconds": {kind: spread(values) for kind, values in sorted(outcome.recoveries.items())},
            "memory_mb": {
                name: [round(notes[len(notes) // 3]), round(notes[-1])]
                for name, notes in self._stage.memory.items()
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
