"""As fast as the server sends: the feed against the floor, plain and over TLS, and what each extra costs."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.captured import CHANGES, FILES, MARKETS
from tests.benchmarks.rounds import Case, Figures, Scale, compare
from tests.benchmarks.tables import number, table

FLOOR = "floor"
CAPTURED = "captured"
SNAPSHOT_LEVELS = (20, 200, 2_000)


def run(scale: Scale) -> Figures:
    """Run all cases."""
    return {
        "feed": compare(_feed(scale.deltas), scale.rounds, also_bound=True),
        "left_out": {} if FILES else {CAPTURED: "there are no recordings in ../shared/capture"},
        "extras": compare(_extras(scale.deltas), max(scale.rounds // 2, 2)),
        "snapshots": compare(_snapshots(scale.deltas), max(scale.rounds // 2, 2)),
    }


def _feed(deltas: int) -> list[Case]:
    plain: dict[str, Any] = {"markets": 100, "deltas": deltas}
    cases = [
        *_pair("", plain),
        *_pair("TLS", {**plain, "tls": True}),
        *_pair("new sizes", {**plain, "kind": "new sizes"}),
        *_pair("new sizes, TLS", {**plain, "kind": "new sizes", "tls": True}),
        Case("websocket-client", "websocket_client", plain, deltas // 20, {}, FLOOR),
    ]
    for kind in ("ticker", "trade"):
        channels = ["orderbook_delta", kind]
        server = {**plain, "kind": f"{kind}s", "channels": channels}
        cases += _pair(f"{kind}s", server, {"kind": kind, "channels": channels})
    if FILES:
        captured = {"markets": MARKETS, "deltas": min(deltas, CHANGES), "kind": "captured"}
        cases += _pair(CAPTURED, captured)
    return cases


def _pair(name: str, server: dict[str, Any], orders: dict[str, Any] | None = None) -> list[Case]:
    """The feed on these frames, held against the floor on the same ones."""
    floor, feed = (", ".join(filter(None, (client, name))) for client in ("floor", "feed"))
    channels = {"channels": server["channels"]} if "channels" in server else {}
    return [
        Case(floor, "floor", server, server["deltas"], channels),
        Case(feed, "throughput", server, server["deltas"], orders or {}, floor),
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
        ("feed", "Throughput, 100 markets; captured frames: 8"),
        ("extras", "What extras cost"),
        ("snapshots", "Snapshots, a message each"),
    ):
        parts.append(f"### {title}\n\n{rows(figures[key])}")
    parts += [f"{name}: left out, {why}\n" for name, why in figures["left_out"].items()]
    return "\n".join(parts)


def rows(cases: dict[str, Figures]) -> str:
    """One row per case."""
    is_bound = any("bound" in one for one in cases.values())
    head = (
        "",
        "µs a message",
        "median",
        "CPU µs",
        "× floor",
        "median",
        "CPU",
        "median",
        "messages/s",
        "dropped",
    )
    return table(
        head + (("bound: × floor", "CPU") if is_bound else ()),
        [
            (
                name,
                number(one["us"]),
                number(one["us_median"]),
                number(one["cpu_us"]),
                number(one.get("ratio")),
                number(one.get("ratio_median")),
                number(one.get("cpu_ratio")),
                number(one.get("cpu_ratio_median")),
                f"{1e6 / one['us']:,.0f}",
                number(one.get("dropped")),
                *([number(one["bound"].get(key)) for key in ("ratio", "cpu_ratio")] if is_bound else ()),
            )
            for name, one in cases.items()
        ],
    )
