"""As fast as the server sends: the feed against the floor, plain and over TLS, and what each extra costs."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.rounds import Case, Figures, Scale, compare
from tests.benchmarks.tables import number, table

FLOOR, TLS_FLOOR, SMALL_FLOOR = "floor", "floor, TLS", "floor, 20 levels"
SNAPSHOT_LEVELS = (20, 200, 2_000)


def run(scale: Scale) -> Figures:
    """Run all cases."""
    return {
        "feed": compare(_feed(scale.deltas), scale.rounds),
        "extras": compare(_extras(scale.deltas), max(scale.rounds // 2, 2)),
        "snapshots": compare(_snapshots(scale.deltas), max(scale.rounds // 2, 2)),
    }


def _feed(deltas: int) -> list[Case]:
    plain: dict[str, Any] = {"markets": 100, "deltas": deltas}
    secure = {**plain, "tls": True}
    return [
        Case(FLOOR, "floor", plain, deltas),
        Case("feed", "throughput", plain, deltas, {}, FLOOR),
        Case(TLS_FLOOR, "floor", secure, deltas),
        Case("feed, TLS", "throughput", secure, deltas, {}, TLS_FLOOR),
        Case("websocket-client", "websocket_client", plain, deltas // 20, {}, FLOOR),
    ]


def _extras(deltas: int) -> list[Case]:
    server: dict[str, Any] = {"markets": 100, "deltas": deltas}
    mixed = {**server, "kind": "mixed", "channels": ["orderbook_delta", "trade", "ticker"]}
    return [
        Case(FLOOR, "floor", server, deltas),
        Case("one callback", "throughput", server, deltas, {}, FLOOR),
        Case("no callback", "throughput", server, deltas, {"callbacks": 0}, FLOOR),
        Case("10 callbacks", "throughput", server, deltas, {"callbacks": 10}, FLOOR),
        Case("on_book only", "throughput", server, deltas, {"callbacks": 0, "on_book": True}, FLOOR),
        Case("one callback, workers=4", "throughput", server, deltas, {"workers": 4}, FLOOR),
        Case("floor, mixed", "floor", mixed, deltas, {"channels": mixed["channels"]}),
        Case(
            "mixed (20 % ticker, 10 % trade)",
            "throughput",
            mixed,
            deltas,
            {"channels": mixed["channels"]},
            "floor, mixed",
        ),
    ]


def _snapshots(deltas: int) -> list[Case]:
    cases = []
    for levels in SNAPSHOT_LEVELS:
        want = max(deltas // levels, 100)
        server = {"markets": 100, "deltas": want, "levels": levels, "kind": "snapshots"}
        name = f"floor, {levels} levels"
        cases.append(Case(name, "floor", server, want))
        cases.append(
            Case(f"{levels} levels", "throughput", server, want, {"kind": "orderbook_snapshot"}, name)
        )
    return cases


def text(figures: Figures) -> str:
    """The tables."""
    parts = []
    for key, title in (
        ("feed", "Throughput, 100 markets"),
        ("extras", "What extras cost"),
        ("snapshots", "Snapshots, a message each"),
    ):
        parts.append(f"### {title}\n\n{rows(figures[key])}")
    return "\n".join(parts)


def rows(cases: dict[str, Figures]) -> str:
    """One row per case."""
    return table(
        ("", "µs a message", "median", "CPU µs", "× floor", "median", "CPU", "messages/s", "dropped"),
        [
            (
                name,
                number(one["us"]),
                number(one["us_median"]),
                number(one["cpu_us"]),
                number(one.get("ratio")),
                number(one.get("ratio_median")),
                number(one.get("cpu_ratio")),
                f"{1e6 / one['us']:,.0f}",
                number(one.get("dropped")),
            )
            for name, one in cases.items()
        ],
    )
