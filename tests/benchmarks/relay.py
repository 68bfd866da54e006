"""One connection for many processes: how long a change takes over the relay, and what every part costs.

Everything runs in processes of its own, on all cores: an exchange, the relay, a real redis-server, the
consumers. Latency counts from the relay's read, which is the time that its entry in Redis has; with a direct
feed, from the feed's own read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from statistics import mean, median, quantiles
from typing import Any, NamedTuple

from tests.benchmarks.parts import Part, cpu_seconds, proportional_megabytes
from tests.benchmarks.rounds import FULL, Figures, Scale, say
from tests.benchmarks.spawn import Bench
from tests.benchmarks.tables import number, table

MARKETS = 200
SIMULATED = 10  # messages at once, as the simulator sends 2,000 a second
REPEATS = 3
JOINERS = 5
JOINER_BOOKS = 1_000
JOINER_RATE = 2_000
FROZEN = 4.0  # seconds
BACKLOG_RATE = 10_000
RATES = (10_000, 20_000, 30_000, 40_000, 60_000, 80_000)
MANY = (1_000, 5_000, 10_000)
CONSUMERS = (2, 4, 8, 16, 24)
BOUND_P99 = 5_000.0  # µs: a relay with a larger p99 than this has come to its end


class Case(NamedTuple):
    """A stream and who takes it in."""

    name: str
    rate: int
    consumers: int = 1
    direct: bool = False  # feeds with connections of their own, instead of a relay and consumers
    markets: int = MARKETS
    bunch: int = 1  # messages that the exchange sends at once
    wanted: tuple[int, int] | None = None  # p50 and p99 from the relay's read to the book, in µs


CASES = (
    Case("1 consumer, 1,000/s", 1_000, wanted=(1_500, 5_000)),
    Case("1 consumer, 5,000/s", 5_000, wanted=(1_500, 5_000)),
    Case("8 consumers, 2,000/s", 2_000, 8, wanted=(3_000, 10_000)),
    Case("8 consumers, 2,000/s, 10 at once", 2_000, 8, bunch=SIMULATED, wanted=(3_000, 10_000)),
    Case("1 feed, 1,000/s", 1_000, direct=True),
    Case("1 feed, 5,000/s", 5_000, direct=True),
    Case("8 feeds, 2,000/s", 2_000, 8, direct=True),
    Case("8 feeds, 2,000/s, 10 at once", 2_000, 8, direct=True, bunch=SIMULATED),
)
QUICK_CASES = (CASES[0], CASES[4])


def run(scale: Scale) -> Figures:
    """Measure everything, or, where something is missing, say what."""
    if missing := _missing():
        return {"missing": missing}
    is_full = scale.rounds >= FULL.rounds
    figures: Figures = {"load": os.getloadavg(), "redis_server": _version()}
    with Bench() as bench:
        figures["cases"] = _cases(bench, CASES if is_full else QUICK_CASES, scale, REPEATS if is_full else 1)
        figures["joiner"] = _join(bench, JOINER_BOOKS, JOINERS if is_full else 2)
        if is_full:
            figures["backlog"] = _backlog(bench, BACKLOG_RATE, FROZEN)
            figures["limits"] = _limits(bench, scale)
    say("")
    return figures


def _missing() -> str:
    if shutil.which("redis-server") is None:
        return "redis-server is not installed here (Debian's package is redis-server)"
    try:
        import pytest  # noqa: F401  # the servers are those of the tests
        import redis  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed here (extra test)"
    return "" if os.path.exists("/proc/self/schedstat") else "there is no /proc/PID/schedstat here"


def _version() -> str:
    said = subprocess.run(["redis-server", "--version"], check=True, capture_output=True, text=True).stdout
    return next((word[2:] for word in said.split() if word.startswith("v=")), said.strip())


def _cases(bench: Bench, cases: Sequence[Case], scale: Scale, repeats: int) -> dict[str, Figures]:
    """All cases, round after round; of each the round with the best p99."""
    best: dict[str, Figures] = {}
    for repeat in range(repeats):
        for case in cases:
            say(f"relay {repeat + 1} of {repeats}: {case.name}")
            mine = measure(bench, case, scale.seconds)
            key = "read_to_book"
            if case.name not in best or mine[key]["p99"] < best[case.name][key]["p99"]:
                best[case.name] = mine
    return best


class Setting:
    """An exchange, and a redis-server with a relay unless the case does without. Used by one thread, as a
    context manager."""

    def __init__(self, bench: Bench, case: Case, seconds: float) -> None:
        self._stack = ExitStack()
        self._orders = {"pem": str(bench.folder / "key.pem"), "markets": case.markets, "seconds": seconds}
        self.parts: dict[str, int] = {}  # process ids by name
        try:
            self.exchange = self._part(
                "exchange",
                "tests.benchmarks.relay_exchange",
                markets=case.markets,
                rate=case.rate,
                seconds=seconds,
                bunch=case.bunch,
                clients=case.consumers if case.direct else 1,
            )
            self._orders["url"] = self.exchange.report()["url"]
            self._case = case
            if not case.direct:
                from tests.relay.redis_server import RedisServer  # needs pytest

                server = self._stack.enter_context(RedisServer())
                self.parts["redis-server"] = server.pid
                self._orders["redis"] = server.url
                self.relay = self.client("relay", "relay")
                self.relay.report()  # that its books are LIVE
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Setting:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _part(self, name: str, module: str, **orders: Any) -> Part:
        part = self._stack.enter_context(Part(module, **orders))
        self.parts[name] = part.pid
        return part

    def client(self, name: str, client: str, **orders: Any) -> Part:
        """Start a client."""
        return self._part(name, "tests.benchmarks.relay_clients", client=client, **{**self._orders, **orders})

    def clients(self) -> list[Part]:
        """Start the feeds or consumers of the case, and wait until all their books are LIVE."""
        kind = "direct" if self._case.direct else "consumer"
        parts = [self.client(f"{kind} {index}", kind) for index in range(self._case.consumers)]
        for part in parts:
            part.report()
        return parts


def measure(bench: Bench, case: Case, seconds: float, frozen: float = 0.0) -> Figures:
    """One stream from its beginning to its end. ``frozen``: for so many seconds, the clients are stopped."""
    with Setting(bench, case, seconds) as setting:
        clients = setting.clients()
        load, began = os.getloadavg()[0], time.perf_counter()
        before = {name: cpu_seconds(pid) for name, pid in setting.parts.items()}
        setting.exchange.report()  # that all clients are there
        setting.exchange.say("go")
        if frozen:
            time.sleep(1)
            for client in clients:
                client.freeze(frozen)
        sent = setting.exchange.report(seconds + 60)
        for client in clients:
            client.report()  # that it has seen the end
        elapsed = time.perf_counter() - began
        cores = {
            name: 100 * (cpu_seconds(pid) - before[name]) / elapsed for name, pid in setting.parts.items()
        }
        memory = {name: proportional_megabytes(pid) for name, pid in setting.parts.items()}
        seen = []
        for client in clients:
            client.say("report")
            seen.append(client.report())
        relay: Figures = {}
        if not case.direct:
            setting.relay.say("report")
            relay = setting.relay.report()
    return {
        **case._asdict(),
        "load": load,
        "seconds": sent["seconds"],
        "latest_ms": sent["latest_ms"],
        **_summary(seen, cores, memory),
        "equal_books": sum(one["books"] == sent["books"] for one in seen),
        "lost": max(sent["sent"] - one["messages"] for one in seen),
        "catching_up": [one["catching_up"] for one in seen if one.get("catching_up")],
        "relay": relay,
    }


def _summary(seen: list[Figures], cores: dict[str, float], memory: dict[str, float]) -> Figures:
    clients = [name for name in cores if name.startswith(("consumer", "direct"))]
    figures: Figures = {
        "cpu_percent": {
            **{name: percent for name, percent in cores.items() if name not in clients},
            "client": mean(cores[name] for name in clients),
            "all": sum(percent for name, percent in cores.items() if name != "exchange"),
        },
        "megabytes": {
            **{name: size for name, size in memory.items() if name not in (*clients, "exchange")},
            "client": mean(memory[name] for name in clients),
            "all": sum(size for name, size in memory.items() if name != "exchange"),
        },
        "gaps": sum(one["gaps"] for one in seen),
        "faults": sum(one["faults"] for one in seen),
        "dropped": sum(one["dropped"] for one in seen),
    }
    for key in ("read_to_book", "read_to_callback", "sent_to_callback"):
        figures[key] = _percentiles([one[key] for one in seen])
    return figures


def _percentiles(delays: list[list[float]]) -> Figures:
    """Of all messages at all clients, in µs; ``worst_p99`` is that of the client with the largest."""
    cuts = quantiles([delay for one in delays for delay in one], n=1000, method="inclusive")
    worst = max(quantiles(one, n=100, method="inclusive")[98] for one in delays)
    return {
        "p50": cuts[499],
        "p99": cuts[989],
        "p999": cuts[998],
        "max": max(map(max, delays)),
        "worst_p99": worst,
    }


def _join(bench: Bench, books: int, tries: int) -> Figures:
    """How long a consumer that comes late takes until it has all books."""
    say(f"relay: a late joiner with {books} books")
    case = Case("a late joiner", JOINER_RATE, markets=books, bunch=SIMULATED)
    with Setting(bench, case, 4 + 2.5 * tries) as setting:
        setting.exchange.report()
        setting.exchange.say("go")
        time.sleep(1)
        seen = setting.client("joiner", "joiner", want=tries).report()["tries"]
    seconds = [one["seconds"] for one in seen]
    return {
        "books": books,
        "rate": JOINER_RATE,
        "best": min(seconds),
        "median": median(seconds),
        "worst": max(seconds),
        "behind_seconds": max(one["behind_seconds"] for one in seen),
        "tries": seen,
    }


def _backlog(bench: Bench, rate: int, frozen: float) -> Figures:
    """A consumer is stopped for a while; how quickly it takes in what it has missed."""
    say(f"relay: a consumer stopped for {frozen:g} s")
    figures = measure(bench, Case("a backlog", rate, bunch=SIMULATED), frozen + 4, frozen)
    caught = figures["catching_up"]
    return {
        "rate": rate,
        "frozen": frozen,
        "equal_books": figures["equal_books"],
        "lost": figures["lost"],
        "messages_per_second": caught[0]["messages"] / caught[0]["seconds"] if caught else None,
        "seconds": caught[0]["seconds"] if caught else None,
    }


def _limits(bench: Bench, scale: Scale) -> Figures:
    """How far one relay goes: more messages, more consumers, more markets, each until p99 leaves the
    bound."""
    seconds = scale.seconds
    series = {
        "rates": [Case(f"{rate:,}/s, 1 consumer", rate, bunch=rate // 1_000) for rate in RATES],
        "consumers": [Case(f"2,000/s, {many} consumers", 2_000, many) for many in CONSUMERS],
        "markets": [Case(f"2,000/s, {many:,} markets", 2_000, markets=many) for many in MANY],
    }
    limits: Figures = {}
    for name, cases in series.items():
        limits[name] = []
        for case in cases:
            say(f"relay: {case.name}")
            limits[name].append(measure(bench, case, seconds))
            if limits[name][-1]["read_to_book"]["p99"] > 4 * BOUND_P99:
                break
    return limits


def text(figures: Figures) -> str:
    """The tables."""
    if "missing" in figures:
        return f"### Relay\n\nNot measured: {figures['missing']}.\n"
    cases, joiner = figures["cases"], figures["joiner"]
    parts = [
        f"### Relay, {MARKETS} markets, µs from the relay's read\n\n{_latencies(cases.values())}",
        f"### Relay, % of a core and MB (PSS)\n\n{_costs(cases.values())}",
        f"### Relay, a late joiner\n\n{joiner['books']:,} books are LIVE after {number(joiner['best'])} s "
        f"(best of {len(joiner['tries'])}; median {number(joiner['median'])} s, worst "
        f"{number(joiner['worst'])} s), at {joiner['rate']:,} messages a second; the newest change in them "
        f"is at most {number(1000 * joiner['behind_seconds'])} ms old by then.\n",
    ]
    if backlog := figures.get("backlog"):
        parts.append(
            f"### Relay, a backlog\n\nStopped for {backlog['frozen']:g} s at {backlog['rate']:,} messages a "
            f"second, a consumer takes in {number(backlog['messages_per_second'])} messages a second until "
            f"it has caught up, {number(backlog['seconds'])} s later ({backlog['lost']} messages lost).\n"
        )
    for name, what in (("rates", "messages"), ("consumers", "consumers"), ("markets", "markets")):
        if limits := figures.get("limits", {}).get(name):
            parts.append(f"### Relay, more and more {what}\n\n{_latencies(limits)}\n{_costs(limits)}")
    parts.append(f"Load average before: {figures['load'][0]:.2f}.\n")
    return "\n".join(parts)


def rows(figures: Figures) -> list[tuple[str, str]]:
    """The rows of the page; none if it was not measured."""
    if "missing" in figures:
        return []
    found = []
    for one in figures["cases"].values():
        if not one["direct"]:
            book, called = one["read_to_book"], one["read_to_callback"]
            found.append(
                (
                    f"relay's read to the book, {one['name']}",
                    f"p50 {number(book['p50'])} µs, p99 {number(book['p99'])}; to the callback p50 "
                    f"{number(called['p50'])}, p99 {number(called['p99'])}; {one['equal_books']} of "
                    f"{one['consumers']} have the exchange's books",
                )
            )
    for one in figures["cases"].values():
        if other := _direct(one, figures["cases"].values()):
            cpu, memory = one["cpu_percent"], one["megabytes"]
            feed, feeds = other["cpu_percent"]["client"], other["cpu_percent"]["all"]
            found.append(
                (
                    f"CPU and memory, {one['name']}",
                    f"relay {number(cpu['relay'])} % of a core, redis-server {number(cpu['redis-server'])} "
                    f"%, each consumer {number(cpu['client'])} % (a feed of its own: {number(feed)} %); all "
                    f"{number(cpu['all'] / feeds)} × as many feeds, memory "
                    f"{number(memory['all'] / other['megabytes']['all'])} ×",
                )
            )
    joiner = figures["joiner"]
    found.append(
        (
            f"a late consumer, {joiner['books']:,} books, {joiner['rate']:,}/s",
            f"LIVE and caught up after {number(joiner['best'])} s (median {number(joiner['median'])} s)",
        )
    )
    if (backlog := figures.get("backlog")) and backlog["messages_per_second"]:
        what = f"{number(backlog['messages_per_second'])} messages a second"
        found.append((f"a consumer that was stopped for {backlog['frozen']:g} s", f"takes in {what}"))
    if limits := figures.get("limits"):
        kept = [one for one in limits["rates"] if one["read_to_book"]["p99"] <= BOUND_P99 and not one["lost"]]
        most = f"{max((one['rate'] for one in kept), default=0):,} messages a second"
        found.append((f"one relay keeps p99 below {BOUND_P99 / 1000:g} ms", f"up to {most}"))
    return found


def _direct(case: Figures, cases: Iterable[Figures]) -> Figures | None:
    """The feeds of their own with the same stream."""
    if case["direct"]:
        return None
    alike = ("rate", "consumers", "bunch", "markets")
    return next((one for one in cases if one["direct"] and all(one[key] == case[key] for key in alike)), None)


def _latencies(cases: Iterable[Figures]) -> str:
    rows = []
    for one in cases:
        rows.append(
            (
                one["name"],
                *(number(one["read_to_book"][key]) for key in ("p50", "p99", "p999", "max")),
                _verdict(one),
                *(number(one["read_to_callback"][key]) for key in ("p50", "p99")),
                *(number(one["sent_to_callback"][key]) for key in ("p50", "p99")),
                f"{one['equal_books']} of {one['consumers']}",
                f"{one['load']:.1f}",
            )
        )
    head = ("", "book p50", "p99", "p99.9", "max", "wanted", "callback p50", "p99")
    return table((*head, "since it was sent p50", "p99", "equal books", "load"), rows)


def _verdict(one: Figures) -> str:
    if not one["wanted"]:
        return ""
    p50, p99 = one["wanted"]
    book = one["read_to_book"]
    met = book["p50"] <= p50 and book["p99"] <= p99
    return f"{number(p50)}, {number(p99)}: {'met' if met else 'missed'}"


def _costs(cases: Iterable[Figures]) -> str:
    cases, rows = list(cases), []
    for one in cases:
        cpu, memory = one["cpu_percent"], one["megabytes"]
        other = _direct(one, cases)
        feed = other and other["cpu_percent"]["client"]
        rows.append(
            (
                one["name"],
                *(number(cpu.get(name)) for name in ("exchange", "relay", "redis-server", "client", "all")),
                number(feed and cpu["relay"] / feed),
                number(other and cpu["all"] / other["cpu_percent"]["all"]),
                *(number(memory.get(name)) for name in ("relay", "redis-server", "client", "all")),
                number(other and memory["all"] / other["megabytes"]["all"]),
            )
        )
    head = ("", "% exchange", "relay", "redis-server", "client", "all", "relay × a feed", "all × feeds")
    return table((*head, "MB relay", "redis-server", "client", "all", "× feeds"), rows)
