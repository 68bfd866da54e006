"""Hundreds of consumers, each a process that lives for a moment, come and go at one relay.

What they wanted must end with their leases, and neither the relay nor Redis may grow. Two consumers stay all
the time, and their wishes must not end.
"""

from __future__ import annotations

import dataclasses
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from kalshi_feed.relay.layout import keys_of
from kalshi_feed.simulator import Exchange
from tests.faults.oracle import Oracle
from tests.relay.redis_server import RedisServer
from tests.soak.relay.chaos import spread
from tests.soak.relay.parts import ConsumerPart, RelayPart
from tests.soak.relay.processes import Part, Workshop
from tests.soak.relay.visitors import Visit, VisitorsPart
from tests.soak.report import growth

__all__ = ["RelayChurn"]

MARKETS: Final = 60
RATE: Final = 150.0
RESIDENT_MARKETS: Final = 4  # of each resident
LEASE: Final = 6.0
AT_ONCE: Final = 6  # more visitors would only wait for each other
NOTE_SECONDS: Final = 2.0
PROMISED_SECONDS: Final = 30.0
WARM_UP: Final = 0.3  # the share of the notes that is not judged
WARM_SECONDS: Final = 120.0  # a shorter run says nothing about megabytes
MOST_MB: Final = 2.0  # of growth per minute
MOST_OBJECTS: Final = 0.03  # more objects at the end than after the warm-up, as a share


class RelayChurn:
    """One run. ``log`` gets a line of progress now and then."""

    def __init__(
        self, *, seed: int, seconds: float, consumers: int, log: Callable[[str], None] = lambda text: None
    ) -> None:
        self.findings: list[str] = []
        self.figures: dict[str, Any] = {"seed": seed, "seconds": seconds, "consumers": consumers}
        self._dice = random.Random(seed)
        self._seed = seed
        self._seconds = seconds
        self._consumers = consumers
        self._log = log
        # (seconds, MB of the relay, MB of Redis without the stream of wishes, objects of the relay)
        self._notes: list[tuple[float, float, float, int]] = []
        self._most: Counter[str] = Counter()

    @property
    def is_good(self) -> bool:
        """Whether nothing went wrong."""
        return not self.findings

    def run(self) -> RelayChurn:
        """Run all of it. Never raises for a finding."""
        with (
            tempfile.TemporaryDirectory(prefix="kalshi-churn-") as folder,
            Exchange(MARKETS, key_type="ed25519", rate=RATE, seed=self._seed) as exchange,
            RedisServer() as server,
            Workshop(Path(folder)) as workshop,
        ):
            self._exchange, self._server, self._workshop = exchange, server, workshop
            self._truth = Path(folder) / "truth"
            self._oracle = Oracle(exchange, self._truth)
            key, ca = exchange.write_credentials(folder)
            self._relay = workshop.start(
                RelayPart(server.url, exchange.url, exchange.api_key_id, str(key), str(ca), lease=LEASE),
                "relay",
            )
            tickers = exchange.market_tickers
            residents = [self._resident(f"resident{n}", tickers, n) for n in range(2)]
            visitors = workshop.start(VisitorsPart(server.url, str(self._truth), tickers, LEASE), "visitors")
            if self._wait(lambda: self._are_well(residents) and "started" in visitors.last):
                self._let_them_come(visitors, tickers)
                self._wait_for_the_end(visitors, residents)
            else:
                self.findings.append(f"nothing worked at the beginning: {self._relay.last.get('relay')}")
            for part in (visitors, self._relay):
                if (code := part.end()) != 0:
                    self.findings.append(f"{part.name} did not end well: {code}")
            self._judge(visitors, residents)
            self.findings += workshop.complaints()
        return self

    def _resident(self, name: str, tickers: tuple[str, ...], number: int) -> Part:
        mine = tickers[number * RESIDENT_MARKETS : (number + 1) * RESIDENT_MARKETS]
        config = ConsumerPart(
            self._server.url, str(self._truth), mine, name, lease=LEASE, all_tickers=tickers
        )
        return self._workshop.start(config, name)

    def _are_well(self, residents: list[Part]) -> bool:
        return all(not part.last.get("sample", {"trouble": "silent"})["trouble"] for part in residents)

    def _wait(self, condition: Callable[[], bool], within: float = PROMISED_SECONDS) -> bool:
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    @staticmethod
    def _gone(visitors: Part) -> int:
        return sum(line["what"] == "gone" for line in visitors.lines)

    # -- the run ---------------------------------------------------------------------------------------------

    def _let_them_come(self, visitors: Part, tickers: tuple[str, ...]) -> None:
        began = time.monotonic()
        for number in range(self._consumers):
            due = began + self._seconds * number / self._consumers
            while (now := time.monotonic()) < due or number - self._gone(visitors) >= AT_ONCE:
                self._note(now - began)
                time.sleep(min(0.1, max(due - now, 0.01)))
            visit = Visit(
                number,
                self._dice.sample(tickers, self._dice.choice((1, 1, 2))),
                self._dice.choice((0.0, 0.2, 1.0)),
                self._dice.choice(("close", "close", "exit", "kill")),
            )
            visitors.say(json.dumps(dataclasses.asdict(visit)))
        while (now := time.monotonic()) < began + self._seconds:
            self._note(now - began)
            time.sleep(0.1)

    def _note(self, now: float) -> None:
        """Note memory and wishes, if it is time again."""
        stats = self._relay.last.get("relay", {})
        for name in ("consumers", "keys"):
            self._most[name] = max(self._most[name], stats.get(name, 0))
        if self._notes and now < self._notes[-1][0] + NOTE_SECONDS:
            return
        before = self._relay.last.get("count")
        self._relay.say("count")
        if not self._wait(lambda: self._relay.last.get("count") is not before, 5.0):
            return
        count, client = self._relay.last["count"], self._server.client()
        wishes = client.memory_usage(keys_of("main").wishes) or 0
        redis = (client.info("memory")["used_memory"] - wishes) / 2**20
        client.close()
        self._notes.append((now, count["mb"], redis, count["objects"]))
        if len(self._notes) % 5 == 1:
            self._log(
                f"{now:5.0f} s: {stats.get('consumers')} consumers with {stats.get('keys')} keys; relay "
                f"{count['mb']:.1f} MB, {count['objects']} objects; Redis {redis:.2f} MB"
            )

    def _wait_for_the_end(self, visitors: Part, residents: list[Part]) -> None:
        """No more come: all must go, and with them what they wanted; the residents stay."""

        if not self._wait(lambda: self._gone(visitors) == self._consumers):
            self.findings.append(f"only {self._gone(visitors)} of {self._consumers} consumers have ended")
        ended = time.monotonic()

        def wanted() -> tuple[int, int]:
            stats = self._relay.last["relay"]
            return stats["consumers"], stats["keys"]

        expected = (2, 2 * 2 * RESIDENT_MARKETS)  # of books and trades
        if not self._wait(lambda: wanted() == expected):
            self.findings.append(f"the relay has {wanted()} consumers and keys at the end, not {expected}")
        self.figures["wishes_ended_seconds"] = round(time.monotonic() - ended, 1)

        def markets() -> set[str]:
            return {
                ticker for item in self._exchange.subscriptions for ticker in item["market_tickers"] or ()
            }

        mine = set(self._exchange.market_tickers[: 2 * RESIDENT_MARKETS])
        if not self._wait(lambda: markets() == mine):
            self.findings.append(f"still subscribed at the exchange: {sorted(markets() - mine)}")
        if not self._are_well(residents):
            self.findings.append("those who stayed have lost their books")
        for part in residents:
            part.kill()
        if not self._wait(lambda: wanted() == (0, 0)):
            self.findings.append(f"the relay has {wanted()} consumers and keys when all are gone")
        if not self._wait(lambda: not self._exchange.subscriptions):
            self.findings.append(f"still subscribed at the end: {self._exchange.subscriptions}")

    # -- what it was -----------------------------------------------------------------------------------------

    def _judge(self, visitors: Part, residents: list[Part]) -> None:
        visits = [line for line in visitors.lines if line["what"] == "visit"]
        gone = [line for line in visitors.lines if line["what"] == "gone"]
        failed = [line for line in visits if line["error"]]
        self.findings += [f"visitor {line['number']}: {line['error']}" for line in failed[:5]]
        self.findings += [f"visitor {line['number']}: {text}" for line in visits for text in line["wrong"]]
        self.findings += [
            f"visitor {line['number']} ended with {line['code']}, not {line['expected']}"
            for line in gone
            if line["code"] != line["expected"]
        ][:5]
        if len(visits) != self._consumers:
            self.findings.append(f"{len(visits)} of {self._consumers} visitors have seen their books")
        reports = [part.last.get("sample", {}).get("report", {}) for part in residents]
        for part, report in zip(residents, reports, strict=True):
            self.findings += [f"{part.name}: {text}" for text in report.get("findings", ())]
        longest = LEASE + PROMISED_SECONDS / 3
        bound = round(2 + self._consumers / self._seconds * longest)
        if self._most["consumers"] > bound:
            self.findings.append(
                f"{self._most['consumers']} consumers had wishes at once, not {bound} at most"
            )
        warm = self._notes[int(len(self._notes) * WARM_UP) :]
        self.figures |= {
            "visits": len(visits),
            "wrong_live_books": sum(len(line["wrong"]) for line in visits)
            + sum(report.get("wrong_live", 0) for report in reports),
            "live_after_seconds": spread([line["took"] for line in visits if not line["error"]]),
            "bootstraps": sum(line["stats"]["bootstraps"] for line in visits),
            "holes": sum(line["stats"]["holes"] for line in visits),
            "most_consumers": self._most["consumers"],
            "most_keys": self._most["keys"],
        }
        if len(warm) < 6:
            return
        for place, name in ((1, "relay_mb"), (2, "redis_mb")):
            slope = growth([(note[0] / 60, note[place]) for note in warm])
            self.figures[name] = [round(warm[0][place], 2), round(warm[-1][place], 2)]
            self.figures[f"{name}_per_minute"] = round(slope, 3)
            if self._seconds >= WARM_SECONDS and slope > MOST_MB:
                self.findings.append(f"{name} grows by {slope:.2f} a minute")
        third = max(len(warm) // 3, 1)
        first, last = (sorted(note[3] for note in part)[third // 2] for part in (warm[:third], warm[-third:]))
        self.figures["relay_objects"] = [first, last]
        if last > first * (1 + MOST_OBJECTS):
            self.findings.append(f"the relay has {last} objects, and had {first}")
