"""Cases to compare: run in turn, round after round, and the results of the rounds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any, NamedTuple

from tests.benchmarks.spawn import Bench, cores

Figures = dict[str, Any]


class Scale(NamedTuple):
    """How much of everything a run does."""

    rounds: int
    deltas: int
    seconds: float  # length of a paced stream
    books: int  # in the sections about many books


FULL = Scale(rounds=11, deltas=200_000, seconds=5.0, books=10_000)
QUICK = Scale(rounds=3, deltas=40_000, seconds=1.0, books=1_000)


class Case(NamedTuple):
    """One client on one server. ``want``: the number of messages, by which times are divided."""

    name: str
    client: str
    server: dict[str, Any]
    want: int
    orders: dict[str, Any] = {}  # noqa: RUF012  # a NamedTuple's default, never changed
    held_against: str = ""  # the case by whose results this one's are divided


def compare(cases: Sequence[Case], rounds: int, *, also_bound: bool = False) -> dict[str, Figures]:
    """The microseconds per message of each case, in its quickest and its median round, and their ratios to
    the case it is held against. ``also_bound``: the same of processes that are bound to a core each, as
    ``bound``.

    ``ratio`` is quickest by quickest: what the code can do on an idle machine.
    ``ratio_median`` is the median of the ratios within a round.
    """
    ways = (False, True) if also_bound and cores()[0] >= 0 else (False,)
    seen: dict[bool, dict[str, list[Figures]]] = {way: {case.name: [] for case in cases} for way in ways}
    with ExitStack() as stack:
        benches = {way: stack.enter_context(Bench(bound=way)) for way in ways}
        for number in range(rounds):
            for case in cases:
                for way, bench in benches.items():
                    say(f"round {number + 1} of {rounds}: {case.name}{', bound' if way else ''}")
                    markets = case.server.get("markets", 100)
                    url = bench.server(**case.server)
                    seen[way][case.name].append(
                        bench.client(case.client, url, markets=markets, want=case.want, **case.orders)
                    )
    say("")
    wants = {case.name: case.want for case in cases}
    figures = {case.name: _summary(case, seen[False], wants) for case in cases}
    if len(ways) > 1:
        for case in cases:
            figures[case.name]["bound"] = _summary(case, seen[True], wants)
    return figures


def _summary(case: Case, seen: dict[str, list[Figures]], wants: dict[str, int]) -> Figures:
    mine, others = seen[case.name], seen.get(case.held_against)
    figures: Figures = {"want": case.want, "rounds": len(mine)}
    for key in ("seconds", "cpu_seconds", "whole_seconds", "whole_cpu_seconds"):
        values = [one[key] / case.want * 1e6 for one in mine]
        name = key.replace("seconds", "us")
        figures[name], figures[f"{name}_median"] = min(values), median(values)
    for key in ("dropped", "views"):
        if key in mine[0]:
            figures[key] = max(one[key] for one in mine)
    if others:
        figures["held_against"] = case.held_against
        share = wants[case.held_against] / case.want
        for key, name in (
            ("seconds", "ratio"),
            ("cpu_seconds", "cpu_ratio"),
            ("whole_seconds", "whole_ratio"),
        ):
            figures[name] = share * min(one[key] for one in mine) / min(one[key] for one in others)
            figures[f"{name}_median"] = share * median(
                one[key] / other[key] for one, other in zip(mine, others, strict=True)
            )
    return figures


def say(text: str) -> None:
    """Show the progress, if stderr is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)
