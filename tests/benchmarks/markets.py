"""The same stream spread over 1 to 10,000 markets: deltas alone, and everything including the snapshots."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.rounds import Case, Figures, Scale, compare
from tests.benchmarks.tables import number, table

FINE = "the most, at prices between the cents"
FINE_LEVELS = 102


def run(scale: Scale) -> Figures:
    """Measure by number of markets. The floor of each case reads the same frames."""
    counts = [n for n in (1, 10, 100, 1_000, 10_000) if n <= scale.books]
    cases = []
    for markets in counts:
        # with a pause before the deltas, only they are timed; "whole" comes from the runs without it
        for pause in (0.3, 0.0) if markets == counts[-1] else (0.3,):
            server: dict[str, Any] = {"markets": markets, "deltas": scale.deltas, "pause": pause}
            floor, name = f"floor, {markets}", f"{markets}"
            if not pause:
                floor, name = floor + ", at once", name + ", at once"
            cases.append(Case(floor, "floor", server, scale.deltas))
            cases.append(Case(name, "throughput", server, scale.deltas, {}, floor))
    server = {"markets": counts[-1], "deltas": scale.deltas, "pause": 0.3, "levels": FINE_LEVELS}
    cases.append(Case(FINE, "throughput", server, scale.deltas, {}, f"floor, {counts[-1]}"))
    figures: Figures = compare(cases, scale.rounds)
    return figures | {"counts": counts}


def text(figures: Figures) -> str:
    """The table."""
    of_100 = figures["100"]["us"]
    rows = []
    for markets in (*figures["counts"], FINE):
        one = figures[f"{markets}"]
        whole = figures.get(f"{markets}, at once", {}).get("whole_ratio")
        rows.append(
            (
                f"{markets:,}" if isinstance(markets, int) else markets,
                number(one["us"]),
                number(one["us_median"]),
                number(one["ratio"]),
                f"{100 * of_100 / one['us']:.0f} %",
                number(whole),
            )
        )
    head = (
        "markets",
        "µs a delta",
        "median",
        "× floor",
        "throughput, of that at 100",
        "with snapshots × floor",
    )
    return f"### Markets\n\n{table(head, rows)}"
