"""From the server's send to the callback, at fixed rates, alone and with other work in the same process."""

from __future__ import annotations

from statistics import quantiles
from typing import Any, NamedTuple

from tests.benchmarks.rounds import Figures, Scale, say
from tests.benchmarks.spawn import Bench
from tests.benchmarks.tables import number, table

RATES = (10, 1_000, 5_000, 20_000)
BUSY_RATE = 1_000
SWITCH_INTERVALS = (0.0, 0.0002, 0.00005)
REPEATS = 2


class Run(NamedTuple):
    """One paced stream."""

    name: str
    rate: int
    orders: dict[str, Any]
    tls: bool = False


def _runs() -> list[Run]:
    runs = [Run(f"callback, {rate:,}/s", rate, {}) for rate in RATES]
    runs += [Run(f"wait_for_update, {rate:,}/s", rate, {"wait": True, "markets": 1}) for rate in RATES]
    runs.append(Run(f"callback, {BUSY_RATE:,}/s, Flask serves", BUSY_RATE, {"load": "flask"}))
    for interval in SWITCH_INTERVALS:
        what = f", switch interval {interval * 1000:g} ms" if interval else ""
        runs.append(
            Run(
                f"callback, {BUSY_RATE:,}/s, a thread computes{what}",
                BUSY_RATE,
                {"load": "computing", "switch_interval": interval},
            )
        )
    for interval in (0.0, 0.0005):
        what = f", switch interval {interval * 1000:g} ms" if interval else ""
        orders = {"load": "computing", "switch_interval": interval}
        runs.append(
            Run(f"callback, {BUSY_RATE:,}/s, TLS, a thread computes{what}", BUSY_RATE, orders, tls=True)
        )
    return runs


def run(scale: Scale) -> Figures:
    """The best of some repeats by p99: what the code can do on an idle machine."""
    figures: Figures = {}
    with Bench() as bench:
        for repeat in range(REPEATS if scale.rounds > 5 else 1):
            for name, rate, orders, tls in _runs():
                say(f"latency {repeat + 1}: {name}")
                want = max(int(rate * scale.seconds), 40)
                markets = orders.get("markets", 20)
                url = bench.server(
                    markets=markets, deltas=want, rate=rate, pause=0.2, **({"tls": True} if tls else {})
                )
                seen = bench.client(
                    "latency", url, **{"markets": markets, "want": want, "seconds": want / rate, **orders}
                )
                mine = _percentiles(seen["delays"])
                if name not in figures or mine["p99"] < figures[name]["p99"]:
                    figures[name] = mine | {"rate": rate}
    say("")
    return figures


def _percentiles(delays: list[float]) -> Figures:
    cuts = quantiles(delays, n=1000, method="inclusive")
    return {
        "count": len(delays),
        "p50": cuts[499],
        "p99": cuts[989],
        "p999": cuts[998] if len(delays) >= 1000 else None,
        "max": max(delays),
    }


def text(figures: Figures) -> str:
    """The table."""
    rows = [
        (name, *(number(one[key]) for key in ("p50", "p99", "p999", "max")), f"{one['count']:,}")
        for name, one in figures.items()
    ]
    return (
        "### Latency, µs from the server's "
        f"send\n\n{table(('', 'p50', 'p99', 'p99.9', 'max', 'messages'), rows)}"
    )
